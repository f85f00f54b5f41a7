//! [`Readers`]: a few connections that read, so that queries do not wait for each other.

use std::fmt::Display;
use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockWriteGuard};

use rusqlite::{Connection, OpenFlags};
use rustix::io::Errno;
use tokio::sync::Semaphore;

use super::folder;
use crate::journal::Unavailable;

/// The connections that read one database, at most [`MOST`]. They are opened when they are needed.
#[derive(Debug)]
pub(crate) struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    /// A connection that is never closed alone, see [`Readers::hold_open`].
    held: Mutex<Option<Connection>>,
    /// Each query holds it shared.
    gate: RwLock<()>,
    /// The permits of all queries.
    all: Arc<Semaphore>,
    /// The permits of queries that may take long. They leave a connection to the others.
    long: Arc<Semaphore>,
    /// The database file, to lock and to sync it; `None` before [`Readers::lock`] and after [`Readers::unlock`].
    /// Closing it ends all locks that this process has on the file, those of SQLite's connections too.
    file: Mutex<Option<File>>,
}

impl Readers {
    /// Prepares to read the database at `path`. Opens no connection.
    pub(crate) fn new(path: &Path) -> Arc<Self> {
        Arc::new(Self {
            path: path.to_owned(),
            idle: Mutex::default(),
            held: Mutex::default(),
            gate: RwLock::default(),
            all: Arc::new(Semaphore::new(MOST)),
            long: Arc::new(Semaphore::new(MOST - 1)),
            file: Mutex::default(),
        })
    }

    /// Keeps other processes out by a lock on the database file itself, also those that do not find the lock
    /// file. Returns whether none has it. On a local disk of Linux such a lock has nothing to do with those of
    /// SQLite; elsewhere, as over NFS, both may be the same kind, and then there is only the lock file.
    pub(super) fn lock(&self) -> std::io::Result<bool> {
        let mut opened = self.file();
        let file = opened.insert(File::open(&self.path)?);
        if !cfg!(target_os = "linux") {
            return Ok(true);
        }
        match folder::lock_alone(file) {
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(error)) if !has_no_such_lock(&error) => Err(error),
            _ => Ok(true),
        }
    }

    /// Ends the lock of [`Readers::lock`], while no connection is open. Another journal of this process may have
    /// the file open later, and would lose its locks if this one were closed then.
    pub(super) fn unlock(&self) {
        self.while_closed(|| drop(self.file().take()));
    }

    /// Runs a short query on a blocking thread.
    pub(crate) async fn look<T, E>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + Display + Send + 'static,
    {
        let permit = Arc::clone(&self.all).acquire_owned().await;
        let readers = Arc::clone(self);
        let looked = tokio::task::spawn_blocking(move || {
            // Held until the query ends, also if its caller no longer waits.
            let _permit = permit;
            readers.query(query)
        });
        match looked.await {
            Ok(found) => found.map_err(|error| Unavailable::Away(error.to_string())),
            Err(panicked) => Err(Unavailable::Away(panicked.to_string())),
        }
    }

    /// As [`Readers::look`], for a query that may take long. At most [`MOST`] - 1 run at the same
    /// time.
    pub(crate) async fn look_long<T, E>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Unavailable>
    where
        T: Send + 'static,
        E: From<rusqlite::Error> + Display + Send + 'static,
    {
        let permit = Arc::clone(&self.long).acquire_owned().await;
        let long = move |database: &Connection| {
            let _permit = permit;
            query(database)
        };
        self.look(long).await
    }

    fn query<T, E: From<rusqlite::Error>>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let _shared = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        let idle = self.idle().pop();
        let database = match idle {
            Some(database) => database,
            None => self.open()?,
        };
        let found = query(&database)?;
        // After an error it is closed: the next query opens the database again.
        self.idle().push(database);
        Ok(found)
    }

    /// Waits until no query runs, and lets none begin while the guard lives.
    pub(super) fn pause(&self) -> RwLockWriteGuard<'_, ()> {
        self.gate.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection that stays open until [`Readers::while_closed`]. While a connection is open,
    /// SQLite keeps its index of the WAL, which does not know of a commit that failed.
    pub(super) fn hold_open(&self) -> rusqlite::Result<()> {
        let database = self.open()?;
        // The first read opens the WAL.
        database.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(database);
        Ok(())
    }

    fn open(&self) -> rusqlite::Result<Connection> {
        let database = Connection::open_with_flags(&self.path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        // Damage is found when a page is read, and not later.
        database.pragma_update(None, "cell_size_check", true)?;
        Ok(database)
    }

    /// Does `work` while no connection of the pool is open.
    pub(crate) fn while_closed<T>(&self, work: impl FnOnce() -> T) -> T {
        let _alone = self.pause();
        self.idle().clear();
        self.held
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        work()
    }

    /// Writes the database file's pages from the system's memory to the disk.
    pub(super) fn sync_file(&self) -> std::io::Result<()> {
        let closed = || std::io::Error::other("the journal is closed");
        self.file().as_ref().ok_or_else(closed)?.sync_data()
    }

    fn file(&self) -> MutexGuard<'_, Option<File>> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the file system has no lock for a file that is open for reading: over NFS it would be one of the kind
/// that SQLite uses, and needs a file that is open for writing.
fn has_no_such_lock(error: &std::io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw_os_error);
    error.kind() == ErrorKind::Unsupported
        || matches!(number, Some(Errno::BADF | Errno::NOLCK | Errno::NOSYS))
}

/// How many connections read at the same time.
const MOST: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_missing_kind_of_lock_is_none() {
        for (number, is_none) in [
            (Errno::BADF, true),
            (Errno::NOLCK, true),
            (Errno::NOSYS, true),
            (Errno::OPNOTSUPP, true),
            (Errno::IO, false),
            (Errno::ACCESS, false),
        ] {
            assert_eq!(has_no_such_lock(&number.into()), is_none, "{number}");
        }
    }
}
