//! [`Checkpointer`]: copies the WAL into the database, beside the commits.
//!
//! SQLite begins the WAL again only with a commit that finds all of it in the database. So a thread
//! with a connection of its own copies what is new every [`STEP`] bytes, and syncs the database file
//! itself: SQLite syncs it only in a pass that reaches the WAL's end. Once the WAL has [`LAP`] bytes, or
//! a quarter of what a small database has in use, the thread stops the reads, copies and syncs again, and only then stops the commits, for a last
//! pass over the few pages that came meanwhile.
//!
//! A pass counts what it has copied as done, synced or not. So after a failed sync nothing that was
//! copied can be trusted, and the thread ends: the WAL still has everything, and it cannot begin
//! again before another pass. The writer then closes all connections and opens the database again,
//! which makes SQLite forget what was copied.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::thread::{JoinHandle, Thread};

use rusqlite::{Connection, Error, OpenFlags};

use super::folder::OpenError;
use super::readers::Readers;
use super::store;
use crate::telemetry::{ONGOING, Throttle};

/// The thread that makes checkpoints. Dropping it waits for the pass that runs.
pub(super) struct Checkpointer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    /// Each commit holds it shared.
    commits: RwLock<()>,
    /// About how many bytes the WAL has grown since the last pass.
    grown: AtomicUsize,
    /// How many bytes of the database were in use at the last pass.
    used: AtomicUsize,
    /// Why a sync failed.
    failure: OnceLock<String>,
    ending: AtomicBool,
}

impl Checkpointer {
    /// Starts the thread for the database at `path`, which must have a WAL.
    pub(super) fn start(path: &Path, readers: &Arc<Readers>) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = store::open_writer(path, flags)?;
        database.pragma_update(None, "synchronous", "FULL")?;
        let page = database.pragma_query_value(None, "page_size", |row| row.get(0))?;
        let shared = Arc::new(Shared::default());
        let mut passes = Passes {
            database,
            readers: Arc::clone(readers),
            shared: Arc::clone(&shared),
            page,
            length: 0,
            told: false,
        };
        let thread = std::thread::Builder::new()
            .name("offhook-checkpoint".to_owned())
            .spawn(move || passes.run())
            .map_err(|error| OpenError::io(path, error))?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// A commit holds this guard. It waits only for the last pass of a lap.
    pub(super) fn commit(&self) -> RwLockReadGuard<'_, ()> {
        let commits = self.shared.commits.read();
        commits.unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts what a commit has added to the WAL.
    pub(super) fn grown(&self, bytes: usize) {
        let before = self.shared.grown.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes >= self.shared.step()
            && let Some(thread) = self.thread()
        {
            thread.unpark();
        }
    }

    /// Returns why the thread has ended, if it has. The database must then be opened again.
    pub(super) fn failure(&self) -> Option<&str> {
        let ended = self.thread.as_ref().is_some_and(JoinHandle::is_finished);
        let failure = || self.shared.failure.get().map_or(PANICKED, String::as_str);
        ended.then(failure)
    }

    /// Ends the thread. Returns why a sync failed, if one did.
    pub(super) fn end(self) -> Option<String> {
        let shared = Arc::clone(&self.shared);
        drop(self);
        shared.failure.get().cloned()
    }

    fn thread(&self) -> Option<&Thread> {
        self.thread.as_ref().map(JoinHandle::thread)
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.shared.ending.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It has ended even if it panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// With so many bytes the WAL begins again.
    fn lap(&self) -> usize {
        (self.used.load(Ordering::Relaxed) / 4).clamp(2 * SHORTEST_STEP, LAP)
    }

    /// After so many bytes the thread copies what is new.
    fn step(&self) -> usize {
        (self.lap() / 2).min(STEP)
    }
}

/// What the thread works with.
struct Passes {
    database: Connection,
    readers: Arc<Readers>,
    shared: Arc<Shared>,
    /// The length of a page in bytes.
    page: usize,
    /// The length of the WAL at the last pass, in bytes.
    length: usize,
    /// Whether it was told that another program keeps the WAL from beginning again.
    told: bool,
}

/// Why a lap was not finished.
#[derive(Debug, thiserror::Error)]
enum Unfinished {
    /// Nothing is lost: the WAL grows until a pass succeeds or the disk is full, when commits fail.
    #[error("{0}")]
    Pass(Error),
    #[error("{0}")]
    Sync(String),
}

impl From<Error> for Unfinished {
    fn from(error: Error) -> Self {
        if store::is_sync(&error) {
            Self::Sync(error.to_string())
        } else {
            Self::Pass(error)
        }
    }
}

impl Passes {
    fn run(&mut self) {
        let told = Throttle::every(ONGOING);
        loop {
            if self.shared.ending.load(Ordering::SeqCst) {
                return;
            }
            if self.grown() < self.shared.step() {
                std::thread::park();
                continue;
            }
            match self.step() {
                Ok(()) => {}
                Err(Unfinished::Pass(error)) => {
                    if let Some(unsaid) = told.pass() {
                        let more = Throttle::more(unsaid);
                        log::error!(
                            "journal: the WAL cannot be brought into the database, and grows until it can: \
                             {error}{more}"
                        );
                    }
                }
                Err(Unfinished::Sync(why)) => {
                    let _ = self.shared.failure.set(why);
                    return;
                }
            }
        }
    }

    /// Copies what is new, and finishes the lap if it is time.
    fn step(&mut self) -> Result<(), Unfinished> {
        self.pass()?;
        self.sync()?;
        if self.length + self.grown() < self.shared.lap() {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let readers = Arc::clone(&self.readers);
        // A running read would keep the WAL from beginning again.
        let _no_reads = readers.pause();
        self.pass()?;
        self.sync()?;
        let _no_commits = shared.commits.write();
        let left = self.pass()?;
        if left == 0 {
            self.length = 0;
            self.told = false;
        } else if self.length >= LAP && !self.told {
            self.told = true;
            log::warn!(
                "journal: another program reads journal.db, so journal.db-wal ({} MB) cannot begin again \
                 and grows until that program ends its transaction",
                self.length / 1_000_000
            );
        }
        Ok(())
    }

    /// Copies what readers allow. Returns how many pages are left of those that it found.
    fn pass(&mut self) -> Result<usize, Unfinished> {
        // What is added meanwhile counts for the next pass.
        let grown = self.shared.grown.swap(0, Ordering::Relaxed);
        self.length += grown;
        let (pages, left) = store::bring_in(&self.database)?;
        self.length = pages * self.page;
        let used = usize::try_from(store::bytes(&self.database)?).unwrap_or(usize::MAX);
        self.shared.used.store(used, Ordering::Relaxed);
        Ok(left)
    }

    /// Syncs what a pass has copied, so that the last pass of a lap finds little to sync.
    fn sync(&self) -> Result<(), Unfinished> {
        let synced = self.readers.sync_file();
        synced.map_err(|error| Unfinished::Sync(format!("the database file: {error}")))
    }

    fn grown(&self) -> usize {
        self.shared.grown.load(Ordering::Relaxed)
    }
}

/// Copies a write-ahead log that has lost its name into the database. Returns whether all of it is there.
pub(super) fn save_wal(database: &Connection, readers: &Readers) -> bool {
    let _no_reads = readers.pause();
    let copied = store::bring_in(database);
    copied.is_ok_and(|(pages, left)| pages > 0 && left == 0) && readers.sync_file().is_ok()
}

const PANICKED: &str = "the thread that makes checkpoints has panicked";

/// After so many bytes the thread copies what is new. Fewer would copy the pages that each commit
/// changes more often; more would make one sync long, and the disk is shared with the commits.
const STEP: usize = 2 * 1024 * 1024;

/// The same for an empty database.
const SHORTEST_STEP: usize = 512 * 1024;

/// The WAL begins again at this size. A lap costs the commits one sync of the database and one of
/// the WAL's header.
const LAP: usize = 16 * 1024 * 1024;
