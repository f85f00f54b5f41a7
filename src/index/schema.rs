//! The index's tables. There is no migration: an index that is not of this version is made anew.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

const VERSION: i64 = 1;

const TABLES: &str = "
    CREATE TABLE events (
        id           BLOB PRIMARY KEY,  -- time-ordered
        seq          INTEGER,           -- NULL for a duplicate, which is not in the journal
        duplicate_of INTEGER,
        at           INTEGER NOT NULL,  -- nanoseconds since 1970
        source       TEXT NOT NULL,
        session      TEXT,
        kind         TEXT NOT NULL,
        name         TEXT,
        bytes        INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX by_seq ON events (seq);
    CREATE INDEX by_session ON events (session, id);
    CREATE TABLE attempts (
        seq      INTEGER NOT NULL,
        at       INTEGER NOT NULL,
        consumer TEXT NOT NULL,
        attempt  INTEGER NOT NULL,
        outcome  TEXT NOT NULL,
        PRIMARY KEY (seq, at, consumer, attempt)
    ) STRICT, WITHOUT ROWID;
";

/// Opens the index for writing.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    match open_known(path) {
        Ok(database) => Ok(database),
        Err(error) => {
            log::warn!("{}: {error}; the index is made anew", path.display());
            for suffix in ["", "-wal", "-shm"] {
                // Where there is none, none needs to go.
                let _ = std::fs::remove_file(format!("{}{suffix}", path.display()));
            }
            open_known(path)
        }
    }
}

/// Opens the index for reading.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

fn open_known(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "NORMAL")?;
    let version: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match version {
        VERSION => Ok(database),
        0 => {
            database.execute_batch(&format!(
                "BEGIN;{TABLES}PRAGMA user_version={VERSION};COMMIT"
            ))?;
            Ok(database)
        }
        _ => Err(rusqlite::Error::InvalidQuery),
    }
}
