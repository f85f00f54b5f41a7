//! The database's tables, their version, and the migrations from older ones.

mod blocks;

use rusqlite::Connection;

use super::folder::OpenError;

/// The version that this program writes.
const VERSION: i64 = 3;

/// "offh": distinguishes the file from other SQLite databases.
const APPLICATION_ID: i64 = 0x6f66_6668;

/// The steps from each version to the next; the first sets up an empty database.
const STEPS: [Step; VERSION as usize] = [
    Step::Sql(EVENTS),
    Step::Code(blocks::migrate),
    Step::Sql(PARTS),
];

enum Step {
    Sql(&'static str),
    Code(fn(&Connection) -> rusqlite::Result<()>),
}

/// Version 1: a row for each event.
const EVENTS: &str = "
    CREATE TABLE events (
        seq         INTEGER PRIMARY KEY,
        id          BLOB NOT NULL,
        received_at INTEGER NOT NULL,   -- nanoseconds since 1970
        kept_at     INTEGER NOT NULL,   -- milliseconds since 1970
        source      TEXT NOT NULL,
        session     TEXT,
        headers     BLOB NOT NULL,      -- JSON: [[name, base64 of the value], …]
        claim       BLOB NOT NULL,      -- 128 bits: what makes another event the same
        claim_until INTEGER NOT NULL,   -- milliseconds since 1970
        body        BLOB NOT NULL
    ) STRICT;
    CREATE TABLE consumers (
        name  TEXT PRIMARY KEY,
        saved BLOB NOT NULL             -- floor, waiting retries, settled ones above the floor
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE dead (
        consumer TEXT NOT NULL,
        seq      INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        reason   TEXT NOT NULL,
        at       INTEGER NOT NULL,      -- milliseconds since 1970
        PRIMARY KEY (consumer, seq)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX dead_by_seq ON dead (seq);
";

/// Version 3: a body may hold several events; documents have versions.
const PARTS: &str = "
    ALTER TABLE blocks ADD COLUMN format INTEGER NOT NULL DEFAULT 2;    -- see block.rs
    ALTER TABLE documents ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
    CREATE TABLE counters (
        name  TEXT PRIMARY KEY,         -- 'documents': the newest version
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO counters VALUES ('documents', 0);
    CREATE TABLE dead_letters (
        consumer TEXT NOT NULL,
        seq      INTEGER NOT NULL,
        part     INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        reason   TEXT NOT NULL,
        at       INTEGER NOT NULL,      -- milliseconds since 1970
        PRIMARY KEY (consumer, seq, part)
    ) STRICT, WITHOUT ROWID;
    INSERT INTO dead_letters SELECT consumer, seq, 1, attempts, reason, at FROM dead;
    DROP TABLE dead;
    CREATE INDEX dead_letters_by_position ON dead_letters (seq, part);
";

/// Returns the version of a database that this program may write to; 0 for a new one.
///
/// # Errors
///
/// If it is damaged, of another program, or of a newer version.
pub(super) fn check(database: &Connection) -> Result<usize, OpenError> {
    let pragma = |database: &Connection, name: &str| {
        database.pragma_query_value(None, name, |row| row.get::<_, i64>(0))
    };
    let (application, version) = (
        pragma(database, "application_id")?,
        pragma(database, "user_version")?,
    );
    let empty: bool = database.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| {
        row.get(0)
    })?;
    let new = empty && (application, version) == (0, 0);
    if !new && application != APPLICATION_ID {
        return Err(OpenError::NotOurs);
    }
    if version > VERSION {
        return Err(OpenError::Newer {
            found: version,
            known: VERSION,
        });
    }
    usize::try_from(version).map_err(|_| OpenError::NotOurs)
}

/// Migrates the database from `version` to [`VERSION`].
pub(super) fn migrate(database: &mut Connection, version: usize) -> Result<(), OpenError> {
    if version == STEPS.len() {
        // Writes nothing, because the database may turn out to be damaged.
        return Ok(());
    }
    let transaction = database.transaction()?;
    for step in &STEPS[version..] {
        match step {
            Step::Sql(sql) => transaction.execute_batch(sql)?,
            Step::Code(code) => code(&transaction)?,
        }
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::sqlite::{dead, store};
    use crate::journal::{Document, Position};

    #[test]
    fn a_database_of_version_1_is_migrated() {
        let mut database = Connection::open_in_memory().unwrap();
        database.execute_batch(EVENTS).unwrap();
        let ours = format!(
            "PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = 1;
             INSERT INTO dead VALUES ('handler:a', 7, 12, 'kept', 0);"
        );
        database.execute_batch(&ours).unwrap();
        assert!(store::documents(&database, "").is_err());

        let version = check(&database).unwrap();
        assert_eq!(version, 1);
        migrate(&mut database, version).unwrap();
        assert_eq!(check(&database).unwrap(), VERSION as usize);
        store::put_document(&database, "a", Some(b"1"), 7).unwrap();
        let documents = store::documents(&database, "").unwrap();
        let kept = Document {
            key: "a".to_owned(),
            value: b"1".to_vec(),
            version: 7,
        };
        assert_eq!(documents, [kept]);
        let dead = dead::of(&database, &[Position::first(7)]).unwrap();
        assert_eq!(dead[0].1.reason, "kept");
        // A second migration has nothing to do.
        migrate(&mut database, VERSION as usize).unwrap();
    }
}
