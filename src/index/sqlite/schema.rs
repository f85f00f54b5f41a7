//! The index's tables, how much is in a row, and why one cannot be read or written.
//!
//! There is no migration: an index of another version, or one that is damaged, is built again from the
//! journal. Every blob and every row that no blob covers has a checksum ([`super::sums`]). The rows that
//! each search goes by are checked when the index is opened, all others when they are read.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, Row, ffi, params};

use super::sums::{Kind, open_blob, sum_of};
use crate::journal::{Seq, Unavailable, create_private};

/// Version 5 has checksums, erases deleted events, and says how long attempts took and what refusing subscribers
/// have answered.
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
        kinds      INTEGER NOT NULL,   -- a bit for each that occurs
        sum        INTEGER NOT NULL    -- of the columns above
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
        purged  INTEGER NOT NULL,      -- as it was when the database was last written again
        sum     INTEGER NOT NULL       -- of the columns above
    ) STRICT;
    INSERT INTO state VALUES (0, 0, 0, 0, 0);
";

/// Opens the index at `path`. One that cannot be used is replaced by an empty one.
pub(super) fn open(path: &Path) -> Result<Connection> {
    match open_known(path) {
        Ok(Some(database)) => Ok(database),
        Ok(None) => {
            log::info!("index.db is of another version: {BUILT_AGAIN}");
            create(path)
        }
        Err(error) => {
            log::warn!("{error}: {BUILT_AGAIN}");
            create(path)
        }
    }
}

/// Creates an empty index at `path`, in place of what is there. No connection to that may be open.
pub(super) fn create(path: &Path) -> Result<Connection> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
    }
    open_known(path)?.ok_or(Failure::Damaged)
}

/// Tells one file from another: its device and its inode; `None` if there is no file.
pub(super) fn file_id(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(test)]
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Returns what `read` makes of the blob that the query selects for this id. The blob is damaged if
/// that is `None`, or if its checksum is not right.
pub(super) fn read_blob<T>(
    database: &Connection,
    sql: &str,
    (kind, id): (Kind, i64),
    read: impl FnOnce(&[u8]) -> Option<T>,
) -> Result<T> {
    let mut statement = database.prepare_cached(sql)?;
    let read = statement.query_row([id], |row| {
        let blob = open_blob(kind, id, row.get_ref(0)?.as_blob()?);
        Ok(blob.and_then(read))
    });
    read?.ok_or(Failure::Damaged)
}

/// The row of `state`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct State {
    /// Events up to this one are in segments.
    pub(super) indexed: Seq,
    /// Events up to this one have left the journal.
    pub(super) trimmed: Seq,
    /// Everything up to this deletion is erased.
    pub(super) erased: u64,
    /// What `erased` was when the database was last written again.
    pub(super) purged: u64,
}

impl State {
    pub(super) fn read(database: &Connection) -> Result<Self> {
        let sql = "SELECT indexed, trimmed, erased, purged, sum FROM state";
        let row = |row: &Row<'_>| {
            let state = Self {
                indexed: row.get(0)?,
                trimmed: row.get(1)?,
                erased: row.get(2)?,
                purged: row.get(3)?,
            };
            Ok((state, row.get(4)?))
        };
        let (state, sum): (Self, i64) = database.query_row(sql, [], row)?;
        // A new index has the sum 0.
        if state.sum() != sum && (state, sum) != (Self::default(), 0) {
            return Err(Failure::Damaged);
        }
        Ok(state)
    }

    pub(super) fn write(&self, database: &Connection) -> rusqlite::Result<()> {
        let Self {
            indexed,
            trimmed,
            erased,
            purged,
        } = *self;
        let sql = "UPDATE state SET indexed = ?, trimmed = ?, erased = ?, purged = ?, sum = ?";
        let values = params![indexed, trimmed, erased, purged, self.sum()];
        database.prepare_cached(sql)?.execute(values).map(drop)
    }

    fn sum(&self) -> i64 {
        let numbers = [self.indexed, self.trimmed, self.erased, self.purged];
        sum_of(&numbers.map(|number| Value::Integer(number.cast_signed())))
    }
}

/// Says whether all that is removed is overwritten, or only where that costs no further write.
pub(super) fn overwrite_all(database: &Connection, all: bool) -> rusqlite::Result<()> {
    database.pragma_update(None, "secure_delete", if all { "ON" } else { "FAST" })
}

/// Reads what every search goes by: a damaged row, or one that an index of SQLite's lacks, would hide
/// events.
fn check(database: &Connection) -> Result<()> {
    State::read(database)?;
    let sql = "PRAGMA integrity_check(segments)";
    let found: String = database.query_row(sql, [], |row| row.get(0))?;
    if found != "ok" {
        return Err(Failure::Damaged);
    }
    let mut statement = database.prepare("SELECT * FROM segments")?;
    let columns = statement.column_count();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let values = (0..columns - 1).map(|column| row.get(column));
        let values: Vec<Value> = values.collect::<rusqlite::Result<_>>()?;
        if sum_of(&values) != row.get::<_, i64>(columns - 1)? {
            return Err(Failure::Damaged);
        }
    }
    Ok(())
}

/// Opens an index of this version. Returns `None` for another version.
fn open_known(path: &Path) -> Result<Option<Connection>> {
    // It holds names and parts of answers. SQLite gives its other files the same permissions.
    create_private(path)?;
    let database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    // The writer makes checkpoints itself, when no search waits for it.
    database.pragma_update(None, "wal_autocheckpoint", 0)?;
    overwrite_all(&database, false)?;
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        VERSION => {
            check(&database)?;
            Ok(Some(database))
        }
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
    #[error("index.db: {0}")]
    Io(#[from] std::io::Error),
    #[error("index.db is damaged")]
    Damaged,
    #[error("index.db was removed or replaced")]
    Moved,
    #[error("index.db is of another journal, or of one that has gone back")]
    OfAnother,
    #[error("reading the journal: {0}")]
    Journal(#[from] Unavailable),
}

impl Failure {
    /// Returns whether only a new index helps. A disk that is full or cannot be read is none of its faults.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Damaged | Self::Moved | Self::OfAnother => true,
            Self::Io(_) | Self::Journal(_) => false,
            Self::Database(error) => match error.sqlite_error() {
                Some(error) => is_damage(error),
                // A row or a value that must be there is not.
                None => true,
            },
        }
    }
}

fn is_damage(error: &ffi::Error) -> bool {
    let damages = [
        ErrorCode::DatabaseCorrupt,
        ErrorCode::NotADatabase,
        ErrorCode::ConstraintViolation,
        ErrorCode::TypeMismatch,
    ];
    let extended = [
        // A table that is not there.
        ffi::SQLITE_ERROR,
        ffi::SQLITE_READONLY_DBMOVED,
        // The WAL is shorter than its index says.
        ffi::SQLITE_IOERR_SHORT_READ,
        ffi::SQLITE_IOERR_CORRUPTFS,
    ];
    damages.contains(&error.code) || extended.contains(&error.extended_code)
}

/// What a log line says when an index is replaced.
pub(super) const BUILT_AGAIN: &str =
    "the index is built again from the journal; attempts and duplicates from before are not in it";
