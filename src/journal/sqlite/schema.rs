//! The database's tables, their version, and the migration from the version before.

use rusqlite::Connection;

use super::folder::OpenError;
use super::{reading, rows};

/// The version that this program writes. It also opens the four before.
pub(super) const VERSION: i64 = 6;

/// "offh": distinguishes the file from other SQLite databases.
const APPLICATION_ID: i64 = 0x6f66_6668;

/// Version 2: events that became durable together share a row.
const BLOCKS: &str = "
    CREATE TABLE blocks (
        last    INTEGER PRIMARY KEY,    -- the number of its newest event
        first   INTEGER NOT NULL,       -- the number of its oldest event
        kept_at INTEGER NOT NULL,       -- milliseconds since 1970
        claims  BLOB NOT NULL,          -- see block.rs
        events  BLOB NOT NULL           -- see block.rs
    ) STRICT;
    CREATE TABLE consumers (
        name  TEXT PRIMARY KEY,
        saved BLOB NOT NULL             -- floor, waiting retries, settled ones above the floor
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE documents (            -- small ones, of the server's own
        key   TEXT PRIMARY KEY,
        value BLOB NOT NULL
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

/// Version 4: the progress of a consumer has rows, so that a save writes only what has changed.
const PROGRESS: &str = "
    CREATE TABLE progress (
        consumer TEXT NOT NULL,
        key      BLOB NOT NULL,
        value    BLOB NOT NULL,         -- see dispatch/saved
        PRIMARY KEY (consumer, key)
    ) STRICT, WITHOUT ROWID;
";

/// Version 5: bodies have outlines and say why they are odd (see block.rs), and the counter `dedup_keys` says
/// how dedup keys are made (see rekey.rs).
const OUTLINES: &str = "";

/// Version 6: everything has a sum: blocks (see block.rs), and each row of the other tables (see rows.rs).
/// The counter `trimmed` says up to which body retention has removed the log.
const SUMS: &str = "
    ALTER TABLE blocks ADD COLUMN sums BLOB NOT NULL DEFAULT x'';       -- see block.rs
    ALTER TABLE consumers ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;    -- of the other columns
    ALTER TABLE progress ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE documents ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE counters ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE dead_letters ADD COLUMN sum INTEGER NOT NULL DEFAULT 0;
";

/// Version 6, too: bodies can be deleted.
const DELETIONS: &str = "
    CREATE TABLE deletions (
        seq    INTEGER PRIMARY KEY,         -- the body's number
        number INTEGER NOT NULL UNIQUE,     -- the deletion's own, in order
        sum    INTEGER NOT NULL             -- of the other columns
    ) STRICT;
";

/// The table of a new database: reading what stands before a long column does not read that.
const NEW_BLOCKS: &str = "
    DROP TABLE blocks;
    CREATE TABLE blocks (
        last    INTEGER PRIMARY KEY,
        first   INTEGER NOT NULL,
        kept_at INTEGER NOT NULL,
        format  INTEGER NOT NULL,
        sums    BLOB NOT NULL,
        claims  BLOB NOT NULL,
        events  BLOB NOT NULL
    ) STRICT;
";

/// Returns the version of a database that this program may write to; 0 for a new one.
pub(super) fn check(database: &Connection) -> Result<i64, OpenError> {
    check_in(database, "main")
}

/// The same of a database that is attached by this name.
pub(super) fn check_in(database: &Connection, schema: &str) -> Result<i64, OpenError> {
    let pragma = |name| database.pragma_query_value(Some(schema), name, |row| row.get::<_, i64>(0));
    let (application, found) = (pragma("application_id")?, pragma("user_version")?);
    let empty = format!("SELECT count(*) = 0 FROM {schema}.sqlite_schema");
    let empty: bool = database.query_row(&empty, [], |row| row.get(0))?;
    match found {
        0 if empty && application == 0 => Ok(found),
        _ if application != APPLICATION_ID => Err(OpenError::NotOurs),
        ..1 => Err(OpenError::NotOurs),
        1 => Err(OpenError::Older),
        2..=VERSION => Ok(found),
        _ => Err(OpenError::Newer {
            found,
            known: VERSION,
        }),
    }
}

/// Checks the tables beside the log: they are small, and a row that is not found there has consequences. A
/// new consumer for example would skip what is not settled.
pub(super) fn check_tables(database: &Connection) -> Result<(), OpenError> {
    for (pragma, table) in CHECKS {
        let sql = "SELECT count(*) > 0 FROM sqlite_schema WHERE name = ?";
        if !database.query_row(sql, [table], |row| row.get(0))? {
            continue;
        }
        let sql = format!("PRAGMA {pragma}({table})");
        let found: String = database.query_row(&sql, [], |row| row.get(0))?;
        if found != "ok" {
            return Err(OpenError::Damaged(format!("the table {table}: {found}")));
        }
    }
    Ok(())
}

/// There may be so many dead letters that their index is not compared with them.
const CHECKS: [(&str, &str); 6] = [
    ("integrity_check", "consumers"),
    ("integrity_check", "documents"),
    ("integrity_check", "counters"),
    ("integrity_check", "progress"),
    ("integrity_check", "deletions"),
    ("quick_check", "dead_letters"),
];

/// Migrates the database from `version` to [`VERSION`].
pub(super) fn migrate(database: &mut Connection, version: i64) -> Result<(), OpenError> {
    if version == VERSION {
        // Writes nothing, because the database may turn out to be damaged.
        return Ok(());
    }
    let transaction = database.transaction()?;
    let steps = [
        (2, BLOCKS),
        (3, PARTS),
        (4, PROGRESS),
        (5, OUTLINES),
        (6, SUMS),
        (6, DELETIONS),
    ];
    for (_, step) in steps.into_iter().filter(|(to, _)| version < *to) {
        transaction.execute_batch(step)?;
    }
    if version == 0 {
        transaction.execute_batch(NEW_BLOCKS)?;
    }
    rows::add_sums(&transaction)?;
    let trimmed = reading::trimmed(&transaction)?;
    rows::set_counter(&transaction, rows::TRIMMED, trimmed)?;
    // Fails before the migration is done, if it does.
    reading::newest(&transaction)?;
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use rusqlite::params;

    use super::*;
    use crate::clock::FakeClock;
    use crate::journal::block::{Block, Format};
    use crate::journal::contract::{
        all_there, duplicate, letter, letters, new, numbered, only_head, remarkable, seqs, trim_all,
    };
    use crate::journal::dedup::DedupEntry;
    use crate::journal::sqlite::Sqlite;
    use crate::journal::{
        Desks as _, Document, Documents as _, Events, Log as _, Parts, Position, Seq, TestFolder,
    };
    use crate::telemetry::JournalMetrics;
    use crate::{Received, Timestamp};

    /// Writes a journal of version 2 with these bodies, three in a block.
    fn write_version_2(folder: &Path, all: &[Received]) {
        let database = Connection::open(folder.join("journal.db")).unwrap();
        let sql = format!(
            "{BLOCKS}
             PRAGMA application_id = {APPLICATION_ID};
             PRAGMA user_version = 2;
             INSERT INTO consumers VALUES ('a', x'0102');
             INSERT INTO documents VALUES ('key', x'31');
             INSERT INTO dead VALUES ('a', 2, 12, 'failed', 1700000000123);"
        );
        database.execute_batch(&sql).unwrap();
        for (index, bodies) in all.chunks(3).enumerate() {
            let mut block = Block {
                kept_at: 7,
                format: Format::Whole,
                ..Block::default()
            };
            for (seq, received) in (3 * index as Seq + 1..).zip(bodies) {
                let key = numbered(seq.into()).parts[0].key;
                let entries = DedupEntry::all_of(key, Position::first(seq), 0);
                let parts = Parts::one(received, 1);
                block.push(seq, entries, received, &parts, &Events::Unread);
            }
            let sql = "INSERT INTO blocks VALUES (?, ?, ?, ?, ?)";
            let Block { keys, bodies, .. } = &block;
            let values = params![block.last, block.first, block.kept_at, keys, bodies];
            database.execute(sql, values).unwrap();
        }
    }

    #[tokio::test]
    async fn a_journal_of_the_version_before_opens() {
        let (folder, all) = (TestFolder::new(), remarkable());
        write_version_2(folder.path(), &all);
        let last = all.len() as Seq;
        let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
        let open =
            || Sqlite::open(folder.path(), JournalMetrics::unrecorded(), clock.clone()).unwrap();
        // The second time the database is of this version.
        for _ in 0..2 {
            let journal = open();
            all_there(&journal, &all).await;
            for seq in 1..=last {
                let again = journal.append(numbered(seq.into())).await;
                assert_eq!(again, Ok(duplicate(seq)));
            }
            let desk = journal.desk(0).await.unwrap();
            assert_eq!(desk.saved("a").await, Ok(Some(only_head([1, 2]))));
            assert_eq!(letters(&journal, "a").await, [letter(2, "failed")]);
            let kept = Document {
                key: "key".to_owned(),
                value: b"1".to_vec(),
                version: 0,
            };
            assert_eq!(journal.documents("").await, Ok(vec![kept]));
        }
        let journal = open();
        assert_eq!(new(&journal, numbered(1000)).await, last + 1);
        // A block of version 2 is cut.
        assert_eq!(trim_all(&journal, 2).await, 2);
        drop(journal);
        let left: Vec<Seq> = (3..=last + 1).collect();
        assert_eq!(seqs(&open(), 0, 100).await, left);
    }
}
