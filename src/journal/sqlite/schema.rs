//! The database's tables, their version, and the way from an older one.

use rusqlite::Connection;

use super::OpenError;

/// The version that this program writes.
const VERSION: i64 = 2;

/// "offh": tells the file from any other SQLite database.
const APPLICATION_ID: i64 = 0x6f66_6668;

/// The steps from each version to the next; the first makes an empty database one of ours.
const STEPS: [&str; VERSION as usize] = [
    "
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
",
    "
    CREATE TABLE documents (            -- small ones, of the server's own
        key   TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
",
];

/// The version of a database that this program may write to; 0 where it is new.
///
/// # Errors
///
/// When it is damaged, another program's, or from a newer version.
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

/// Brings the database from `version` to [`VERSION`].
pub(super) fn migrate(database: &mut Connection, version: usize) -> Result<(), OpenError> {
    if version == STEPS.len() {
        // Nothing is written: the database may turn out to be damaged.
        return Ok(());
    }
    let transaction = database.transaction()?;
    for step in &STEPS[version..] {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::store;
    use super::*;

    #[test]
    fn a_database_of_version_1_gets_what_it_lacks_and_keeps_what_it_has() {
        let mut database = Connection::open_in_memory().unwrap();
        database.execute_batch(STEPS[0]).unwrap();
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
        store::put_document(&database, "a", Some(b"1")).unwrap();
        let documents = store::documents(&database, "").unwrap();
        assert_eq!(documents, [("a".to_owned(), b"1".to_vec())]);
        let dead = store::dead_among(&database, &[7]).unwrap();
        assert_eq!(dead[0].1.reason, "kept");
        // A second time there is nothing to do.
        migrate(&mut database, VERSION as usize).unwrap();
    }
}
