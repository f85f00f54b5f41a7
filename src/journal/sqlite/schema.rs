//! The database's tables, their version, and the migrations from older ones.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use super::folder::OpenError;
use crate::journal::block::{Block, Format};
use crate::journal::dedup::DedupEntry;
use crate::journal::{Parts, Position, Seq};
use crate::{Received, Timestamp};

/// The version that this program writes.
const VERSION: i64 = 3;

/// "offh": distinguishes the file from other SQLite databases.
const APPLICATION_ID: i64 = 0x6f66_6668;

/// The steps from each version to the next; the first sets up an empty database.
const STEPS: [fn(&Connection) -> rusqlite::Result<()>; VERSION as usize] = [
    |database| database.execute_batch(EVENTS),
    events_into_blocks,
    |database| database.execute_batch(PARTS),
];

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

/// Version 2: events that became durable together share a row; documents.
const BLOCKS: &str = "
    CREATE TABLE blocks (
        last    INTEGER PRIMARY KEY,    -- the number of its newest event
        first   INTEGER NOT NULL,       -- the number of its oldest event
        kept_at INTEGER NOT NULL,       -- milliseconds since 1970
        claims  BLOB NOT NULL,          -- see block.rs
        events  BLOB NOT NULL           -- see block.rs
    ) STRICT;
    CREATE TABLE documents (            -- small ones, of the server's own
        key   TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
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
    let pragma = |name| database.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let empty = "SELECT count(*) = 0 FROM sqlite_schema";
    let empty: bool = database.query_row(empty, [], |row| row.get(0))?;
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
        step(&transaction)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    Ok(())
}

/// Moves the events of a version 1 database into blocks.
fn events_into_blocks(database: &Connection) -> rusqlite::Result<()> {
    database.execute_batch(BLOCKS)?;
    let sql = "SELECT seq, claim, claim_until, kept_at, id, received_at, source, session, headers, \
               body FROM events ORDER BY seq";
    let mut statement = database.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut block = Block {
        format: Format::Whole,
        ..Block::default()
    };
    while let Some(row) = rows.next()? {
        let seq: Seq = row.get(0)?;
        let entry = DedupEntry {
            hash: u128::from_le_bytes(row.get(1)?),
            position: Position::first(seq),
            until: row.get(2)?,
        };
        let kept_at = row.get(3)?;
        // The events of a block became durable together, without gaps.
        let follows = block.kept_at == kept_at && block.last + 1 == seq;
        if !block.is_empty() && (!follows || block.is_full()) {
            insert(database, &block)?;
            block.clear();
        }
        block.kept_at = kept_at;
        let received = received(row)?;
        let parts = Parts::one(&received, 1);
        block.push(seq, &[entry], &received, &parts);
    }
    if !block.is_empty() {
        insert(database, &block)?;
    }
    database.execute_batch("DROP TABLE events")
}

fn insert(database: &Connection, block: &Block) -> rusqlite::Result<()> {
    let sql = "INSERT INTO blocks VALUES (?, ?, ?, ?, ?)";
    let mut statement = database.prepare_cached(sql)?;
    let Block {
        last,
        first,
        kept_at,
        keys,
        bodies,
        ..
    } = block;
    statement.execute(params![last, first, kept_at, keys, bodies])?;
    Ok(())
}

fn received(row: &Row<'_>) -> rusqlite::Result<Received> {
    let source: String = row.get(6)?;
    let body: Vec<u8> = row.get(9)?;
    let mut received = Received::new(source, body);
    received.id = Uuid::from_bytes(row.get(4)?);
    let at: i64 = row.get(5)?;
    received.received_at = Timestamp::from_nanosecond(at.into()).unwrap_or_default();
    received.session = row.get(7)?;
    let headers: Vec<(String, String)> =
        serde_json::from_slice(row.get_ref(8)?.as_blob()?).unwrap_or_default();
    let headers = headers.into_iter().map(|(name, value)| {
        let value = STANDARD.decode(value).unwrap_or_default();
        (Cow::Owned(name), Bytes::from(value))
    });
    received.headers = headers.collect();
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Document;
    use crate::journal::sqlite::{dead, store};

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

    /// A version 1 database with events in the form which that version wrote.
    fn version_1(events: impl Iterator<Item = (u64, i64)>) -> Connection {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch(EVENTS).unwrap();
        for (seq, kept_at) in events {
            let insert = "INSERT INTO events VALUES (?, ?, ?, ?, 'source', ?, ?, ?, ?, ?)";
            let headers = format!(r#"[["x-number","{}"]]"#, STANDARD.encode(seq.to_string()));
            let session = (seq % 2 == 0).then(|| format!("session {seq}"));
            let id = Uuid::from_u128(seq.into()).into_bytes();
            let (at, until) = (seq * 1_000_000_007, kept_at + 60_000);
            let (claim, body) = (u128::from(seq).to_le_bytes(), format!("body {seq}"));
            let (headers, body) = (headers.as_bytes(), body.as_bytes());
            let values = params![seq, id, at, kept_at, session, headers, claim, until, body];
            database.execute(insert, values).unwrap();
        }
        database
    }

    #[test]
    fn events_and_keys_of_version_1_are_kept() {
        // Groups of 100 that became durable together, then more than one block holds; one is
        // missing.
        let seqs = || (3..1000u64).filter(|seq| *seq != 700);
        let kept_at = |seq: u64| match seq {
            0..500 => (seq / 100).cast_signed(),
            _ => 5,
        };
        let database = version_1(seqs().map(|seq| (seq, kept_at(seq))));
        events_into_blocks(&database).unwrap();
        database.execute_batch(PARTS).unwrap();
        let records = store::read(&database, 0, 10_000).unwrap();
        assert_eq!(records.len(), 996);
        for (record, seq) in records.iter().zip(seqs()) {
            let received = &record.received;
            assert_eq!(record.seq, seq);
            assert_eq!(record.kept_at.as_millisecond(), kept_at(seq));
            assert_eq!(received.id, Uuid::from_u128(seq.into()));
            let at = i128::from(seq) * 1_000_000_007;
            assert_eq!(received.received_at.as_nanosecond(), at);
            assert_eq!(&*received.source, "source");
            let session = (seq % 2 == 0).then(|| format!("session {seq}"));
            assert_eq!(received.session, session);
            let number = Bytes::from(seq.to_string());
            assert_eq!(received.headers, [(Cow::Borrowed("x-number"), number)]);
            assert_eq!(received.body, format!("body {seq}"));
        }
        let mut claims = Vec::new();
        store::entries_after(&database, 10, |entry| {
            claims.push((entry.position.seq(), entry.hash, entry.until));
            Ok(())
        })
        .unwrap();
        let expected = seqs().filter(|seq| *seq > 10);
        let expected = expected.map(|seq| (seq, seq.into(), kept_at(seq) + 60_000));
        assert_eq!(claims, expected.collect::<Vec<_>>());
        assert_eq!(store::head(&database), Ok(999));
    }
}
