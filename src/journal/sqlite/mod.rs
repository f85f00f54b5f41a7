//! The engine `sqlite`: the journal in one database file, written by one thread.
//!
//! An append is answered when the transaction it is in is on the disk (`synchronous=FULL` in WAL
//! mode: the commit ends with fdatasync, or with fsync where SQLite was not built for that). The
//! thread takes everything that waits into one transaction, so the more there is to do the less each
//! event costs. Nothing but rowid tables is written on the way to an answer.
//!
//! After a failed write or synchronisation nothing is acknowledged until the database was closed,
//! opened again and brought into one whole file (a checkpoint that empties the WAL): what the system
//! may have dropped of the WAL's end can then no longer stand between two commits.

mod answer;
mod block;
mod queue;
mod schema;
mod store;
mod writer;

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::claims;
use super::record::{Appended, Entry, Record};
use super::tail::Tail;
use super::{Change, DeadLetter, Journal, Unavailable};
use crate::clock::Clock;
use crate::dispatch::Saved;
use crate::journal::Seq;
use crate::telemetry::JournalMetrics;

use queue::Queue;
use writer::{Operation, Writer};

/// The journal in one database file.
#[derive(Debug)]
pub(crate) struct Sqlite {
    queue: Arc<Queue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    reader: Arc<Mutex<Connection>>,
    tail: Arc<Tail>,
    ready: Arc<AtomicBool>,
}

impl Sqlite {
    /// Opens the journal in `folder`, creating it where there is none.
    ///
    /// # Errors
    ///
    /// When another process has it open, when it is damaged, no journal, or from a newer version.
    pub(crate) fn open(
        folder: &Path,
        metrics: JournalMetrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        create(folder).map_err(|error| OpenError::io(folder, error))?;
        let lock = lock(folder)?;
        let database = folder.join(FILE);
        missing(folder, &database)?;
        create_private(&database).map_err(|error| OpenError::io(folder, error))?;
        let ready = Arc::new(AtomicBool::new(true));
        let claims = folder.join(CLAIMS);
        let writer = Writer::open(&database, claims, Arc::clone(&ready), metrics, clock)?;
        let tail = Arc::clone(writer.tail());
        let reader = store::open_reader(&database)?;
        let queue = Arc::new(Queue::default());
        let asked = Arc::clone(&queue);
        let thread = std::thread::Builder::new()
            .name("offhook-journal".to_owned())
            .spawn(move || {
                // Until the last write is done nobody else opens the journal.
                let _lock = lock;
                writer.run(&asked);
            })
            .map_err(|error| OpenError::io(folder, error))?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
            reader: Arc::new(Mutex::new(reader)),
            tail,
            ready,
        })
    }

    async fn ask<T>(
        &self,
        operation: impl FnOnce(oneshot::Sender<Result<T, Unavailable>>) -> Operation,
    ) -> Result<T, Unavailable> {
        let (answer, asked) = oneshot::channel();
        self.queue.push(operation(answer))?;
        asked.await.map_err(|_| Unavailable::ended())?
    }

    /// Lets the thread write what waits, and end; returns its handle the first time.
    fn end(&self) -> Option<JoinHandle<()>> {
        self.queue.close();
        let thread = self.thread.lock();
        thread.unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn look<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let reader = Arc::clone(&self.reader);
        let looked = tokio::task::spawn_blocking(move || {
            query(&reader.lock().unwrap_or_else(PoisonError::into_inner))
        });
        let failed = |error: &dyn std::fmt::Display| Unavailable(error.to_string());
        looked
            .await
            .map_err(|error| failed(&error))?
            .map_err(|error| failed(&error))
    }
}

#[async_trait]
impl Journal for Sqlite {
    async fn append(&self, entry: Entry) -> Result<Appended, Unavailable> {
        let (answer, answered) = answer::answer();
        self.queue.push(Operation::Append(entry, answer))?;
        answered.await
    }

    async fn read(&self, after: Seq, most: usize) -> Result<Vec<Record>, Unavailable> {
        self.look(move |database| store::read(database, after, most))
            .await
    }

    async fn saved(&self, consumer: &str) -> Result<Option<Saved>, Unavailable> {
        let consumer = consumer.to_owned();
        self.look(move |database| store::saved(database, &consumer))
            .await
    }

    async fn save(&self, change: Change) -> Result<(), Unavailable> {
        self.ask(|answer| Operation::Save(change, answer)).await
    }

    async fn forget_consumer(&self, name: &str) -> Result<(), Unavailable> {
        let name = name.to_owned();
        self.ask(|answer| Operation::ForgetConsumer(name, answer))
            .await
    }

    async fn put_document(&self, key: &str, value: Option<Vec<u8>>) -> Result<(), Unavailable> {
        let key = key.to_owned();
        self.ask(|answer| Operation::PutDocument(key, value, answer))
            .await
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Unavailable> {
        let prefix = prefix.to_owned();
        self.look(move |database| store::documents(database, &prefix))
            .await
    }

    async fn all_dead(
        &self,
        consumer: Option<&str>,
        before: Option<(Seq, &str)>,
        most: usize,
    ) -> Result<Vec<(String, DeadLetter)>, Unavailable> {
        let consumer = consumer.map(str::to_owned);
        let before = before.map(|(seq, name)| (seq, name.to_owned()));
        self.look(move |database| store::all_dead(database, consumer.as_deref(), before, most))
            .await
    }

    async fn dead_among(&self, events: &[Seq]) -> Result<Vec<(String, DeadLetter)>, Unavailable> {
        let events = events.to_vec();
        self.look(move |database| store::dead_among(database, &events))
            .await
    }

    async fn forget_dead(&self, consumer: &str, events: &[Seq]) -> Result<usize, Unavailable> {
        let (consumer, events) = (consumer.to_owned(), events.to_vec());
        self.ask(|answer| Operation::ForgetDead(consumer, events, answer))
            .await
    }

    async fn trim(&self, up_to: Seq) -> Result<usize, Unavailable> {
        self.ask(|answer| Operation::Trim(up_to, answer)).await
    }

    async fn bytes(&self) -> Result<u64, Unavailable> {
        self.look(store::bytes).await
    }

    async fn close(&self) {
        if let Some(thread) = self.end() {
            // A thread that has panicked has ended too.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }
}

/// Waits for what was asked for before.
impl Drop for Sqlite {
    fn drop(&mut self) {
        // Who opens the journal next must not meet it still open.
        if let Some(thread) = self.end() {
            let _ = thread.join();
        }
    }
}

/// Creates the folder where there is none, so that a power cut does not take it away again with all
/// that was acknowledged in it.
fn create(folder: &Path) -> std::io::Result<()> {
    let named = |path: &&Path| !path.as_os_str().is_empty();
    let new = folder.ancestors().filter(named);
    let new: Vec<&Path> = new.take_while(|path| !path.exists()).collect();
    std::fs::create_dir_all(folder)?;
    let above = new.iter().filter_map(|path| path.parent());
    { above }.try_for_each(|above| {
        let above = if named(&above) { above } else { Path::new(".") };
        match File::open(above).and_then(|above| above.sync_all()) {
            // It may be written to and not read, or be on a file system that does this by itself.
            Err(error) if UNSYNCED.contains(&error.kind()) => Ok(()),
            synced => synced,
        }
    })
}

/// Sees to it that a journal is not begun anew beside what another one has left: then its file is
/// gone, and everything in it.
fn missing(folder: &Path, database: &Path) -> Result<(), OpenError> {
    let has_bytes = |path: &Path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0);
    if has_bytes(database) {
        return Ok(());
    }
    let beside = ["journal.db-wal", "index.db"].map(|name| folder.join(name));
    let beside = beside.into_iter().find(|path| has_bytes(path));
    match beside.or_else(|| claims::any_run(&folder.join(CLAIMS))) {
        Some(beside) => Err(OpenError::Missing {
            file: database.to_owned(),
            beside,
        }),
        None => Ok(()),
    }
}

/// Creates the database for its owner alone, where there is none: it keeps everybody's messages and the
/// subscribers' secrets. SQLite gives its other files the same rights.
fn create_private(database: &Path) -> std::io::Result<()> {
    let mut options = std::fs::OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(database).map(drop)
}

/// Sees to it that one process has the journal.
fn lock(folder: &Path) -> Result<File, OpenError> {
    let path = folder.join("lock");
    let file = File::create(&path).map_err(|error| OpenError::io(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(folder.to_owned())),
        Err(TryLockError::Error(error)) => Err(OpenError::io(&path, error)),
    }
}

/// Why a journal cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(
        "{0}: another offhook has this journal open; stop it, or set journal.path to another folder"
    )]
    InUse(PathBuf),
    #[error(
        "{file}: there is no journal in it, and {beside} is of one: the journal is gone, and it is not begun anew without a word; restore {file} from a backup, or remove everything beside it to begin anew"
    )]
    Missing { file: PathBuf, beside: PathBuf },
    #[error(
        "the journal ends with event {found}, and with {known} when it was written last: the file is not the same; stop offhook, and bring back the file that was there"
    )]
    Replaced { found: Seq, known: Seq },
    #[error(
        "the file system cannot keep a write-ahead log (journal_mode {0}), and without one a power cut could take back what was acknowledged; set journal.path to a local disk"
    )]
    NoWal(String),
    #[error("the database is another program's; set journal.path to a folder of offhook's own")]
    NotOurs,
    #[error(
        "the journal is of version {found}, and this offhook knows versions up to {known}; use the newer offhook"
    )]
    Newer { found: i64, known: i64 },
    #[error(
        "the journal is damaged ({0}): nothing was changed; keep the folder, and restore it from a backup or set journal.path to a new one"
    )]
    Damaged(rusqlite::Error),
    #[error("{path}: {error}")]
    Io {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("the journal's database: {0}")]
    Database(rusqlite::Error),
}

impl OpenError {
    fn io(path: &Path, error: std::io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            error,
        }
    }
}

impl From<rusqlite::Error> for OpenError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
        match error.sqlite_error_code() {
            Some(DatabaseCorrupt | NotADatabase) => Self::Damaged(error),
            _ => Self::Database(error),
        }
    }
}

const FILE: &str = "journal.db";
const CLAIMS: &str = "claims";

/// What is said of a folder that cannot be synchronised.
const UNSYNCED: [ErrorKind; 3] = [
    ErrorKind::PermissionDenied,
    ErrorKind::InvalidInput,
    ErrorKind::Unsupported,
];
