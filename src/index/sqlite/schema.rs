//! The index's tables, how much is in a row, and why one cannot be read or written.
//!
//! There is no migration: an index of another version is built again from the journal.

use std::path::Path;

use rusqlite::Connection;

use crate::journal::Unavailable;

/// Version 5 erases deleted events, and says how long attempts took and what refusing subscribers have answered.
const VERSION: i64 = 5;

const TABLES: &str = "
    CREATE TABLE segments (            -- what is known of a segment without reading it
        id         INTEGER PRIMARY KEY,
        count      INTEGER NOT NULL,
        size       INTEGER NOT NULL,   -- bytes of its events
        min_id     BLOB NOT NULL,      -- ids sort like the numbers they are
        max_id     BLOB NOT NULL,
        first_seq  INTEGER NOT NULL,   -- with those that duplicates are the same as
        last_seq   INTEGER NOT NULL,   -- 0 where all are duplicates
        max_number INTEGER NOT NULL,   -- with those that duplicates are the same as
        first_at   INTEGER NOT NULL,   -- nanoseconds since 1970
        last_at    INTEGER NOT NULL,
        kinds      INTEGER NOT NULL    -- a bit for each that occurs
    ) STRICT;
    CREATE INDEX by_max_id ON segments (max_id);
    CREATE INDEX by_last_seq ON segments (last_seq);
    CREATE TABLE contents (            -- apart, so that looking through the segments reads none of it
        id     INTEGER PRIMARY KEY,
        filter BLOB NOT NULL,          -- of its sessions
        events BLOB NOT NULL
    ) STRICT;
    CREATE TABLE attempts (
        id    INTEGER PRIMARY KEY,     -- the bucket's first id, and which blob of it
        count INTEGER NOT NULL,
        notes BLOB NOT NULL
    ) STRICT;
    CREATE TABLE state (
        indexed INTEGER NOT NULL,      -- events up to this one are in segments
        trimmed INTEGER NOT NULL,      -- events up to this one have left the journal
        erased  INTEGER NOT NULL,      -- everything up to this deletion is erased
        purged  INTEGER NOT NULL       -- as it was when the database was last written again
    ) STRICT;
    INSERT INTO state VALUES (0, 0, 0, 0);
";

pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    match open_known(path) {
        Ok(Some(database)) => return Ok(database),
        Ok(None) => log::info!(
            "{}: the index is of another version and is built again",
            path.display()
        ),
        Err(error) => log::warn!("{}: {error}; the index is built again", path.display()),
    }
    for suffix in ["", "-wal", "-shm"] {
        // The file may not exist.
        let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
    }
    open_known(path)?.ok_or(rusqlite::Error::InvalidQuery)
}

#[cfg(test)]
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Returns what `read` makes of the blob that the query selects for this id. The blob is damaged if
/// that is `None`.
pub(super) fn read_blob<T>(
    database: &Connection,
    sql: &str,
    id: i64,
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T> {
    let mut statement = database.prepare_cached(sql)?;
    let read = statement.query_row([id], |row| Ok(read(row.get_ref(0)?.as_blob()?)))?;
    read.ok_or(Failure::Damaged)
}

pub(super) fn clear(database: &mut Connection) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    transaction.execute_batch(
        "DELETE FROM segments; DELETE FROM contents; DELETE FROM attempts; \
         UPDATE state SET indexed = 0, trimmed = 0, erased = 0, purged = 0",
    )?;
    transaction.commit()
}

/// Opens an index of this version. Returns `None` for another version.
/// Says whether all that is removed is overwritten, or only where that costs no further write.
pub(super) fn overwrite_all(database: &Connection, all: bool) -> rusqlite::Result<()> {
    database.pragma_update(None, "secure_delete", if all { "ON" } else { "FAST" })
}

fn open_known(path: &Path) -> rusqlite::Result<Option<Connection>> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    // The writer makes checkpoints itself, when no search waits for it.
    database.pragma_update(None, "wal_autocheckpoint", 0)?;
    overwrite_all(&database, false)?;
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        VERSION => Ok(Some(database)),
        0 => {
            database.execute_batch(&format!(
                "BEGIN;{TABLES}PRAGMA user_version={VERSION};COMMIT"
            ))?;
            Ok(Some(database))
        }
        _ => Ok(None),
    }
}

/// The sizes of segments, batches and buckets.
#[derive(Debug, Clone, Copy)]
pub(super) struct IndexTuning {
    /// A segment with so many events is sealed, and so is a batch with so many attempts.
    pub(super) full: usize,
    /// How many consecutive bodies share a bucket of attempts. Part of the format.
    pub(super) bucket: u64,
    /// How many records are read together.
    pub(super) read_in_a_turn: usize,
    /// An index that lags by more bodies than this is being rebuilt, and searches do not wait for
    /// it.
    pub(super) far: u64,
}

pub(super) const TUNING: IndexTuning = IndexTuning {
    full: 8192,
    bucket: 1024,
    read_in_a_turn: 512,
    far: 50_000,
};

pub(super) type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why the index cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("index.db: {0}")]
    Database(#[from] rusqlite::Error),
    #[error(
        "index.db: its contents cannot be read; stop offhook and delete the file: it is built again"
    )]
    Damaged,
    #[error("reading the journal: {0}")]
    Journal(#[from] Unavailable),
}
