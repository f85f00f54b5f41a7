//! The index's tables. There is no migration: an index of another version is built again.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

const VERSION: i64 = 2;

const TABLES: &str = "
    CREATE TABLE segments (            -- what is known of a segment without reading it
        id         INTEGER PRIMARY KEY,
        count      INTEGER NOT NULL,
        size       INTEGER NOT NULL,   -- bytes of its events
        min_id     BLOB NOT NULL,      -- ids sort like the numbers they are
        max_id     BLOB NOT NULL,
        first_seq  INTEGER NOT NULL,   -- 0 where all are duplicates
        last_seq   INTEGER NOT NULL,
        max_number INTEGER NOT NULL,   -- with those that duplicates are the same as
        first_at   INTEGER NOT NULL,   -- nanoseconds since 1970
        last_at    INTEGER NOT NULL,
        kinds      INTEGER NOT NULL    -- a bit for each that occurs
    ) STRICT;
    CREATE INDEX by_max_id ON segments (max_id);
    CREATE INDEX by_last_seq ON segments (last_seq);
    CREATE TABLE contents (            -- apart, so that looking through the heads reads none of it
        id     INTEGER PRIMARY KEY,
        filter BLOB NOT NULL,          -- of its sessions
        events BLOB NOT NULL
    ) STRICT;
    CREATE TABLE attempts (
        id    INTEGER PRIMARY KEY,     -- of the bucket, times PARTS, and the part
        count INTEGER NOT NULL,
        notes BLOB NOT NULL
    ) STRICT;
    CREATE TABLE state (
        indexed INTEGER NOT NULL,      -- events up to this one are in segments
        trimmed INTEGER NOT NULL       -- events up to this one have left the journal
    ) STRICT;
    INSERT INTO state VALUES (0, 0);
";

/// Opens the index for writing.
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

/// Opens the index for reading.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Removes everything.
pub(super) fn clear(database: &mut Connection) -> rusqlite::Result<()> {
    let transaction = database.transaction()?;
    transaction.execute_batch(
        "DELETE FROM segments; DELETE FROM contents; DELETE FROM attempts; \
         UPDATE state SET indexed = 0, trimmed = 0",
    )?;
    transaction.commit()
}

/// Opens an index of this version. Returns `None` for another version.
fn open_known(path: &Path) -> rusqlite::Result<Option<Connection>> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
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
