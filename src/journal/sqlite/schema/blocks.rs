//! Version 2: events that became durable together share a row; documents.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use rusqlite::{Connection, Row, params};
use uuid::Uuid;

use crate::journal::block::{Block, Format};
use crate::journal::dedup::DedupEntry;
use crate::journal::{Parts, Position, Seq};
use crate::{Received, Timestamp};

const TABLES: &str = "
    CREATE TABLE blocks (
        last    INTEGER PRIMARY KEY,    -- the number of its newest event
        first   INTEGER NOT NULL,       -- the number of its oldest event
        kept_at INTEGER NOT NULL,       -- milliseconds since 1970
        claims  BLOB NOT NULL,          -- see journal/block.rs
        events  BLOB NOT NULL           -- see block.rs
    ) STRICT;
    CREATE TABLE documents (            -- small ones, of the server's own
        key   TEXT PRIMARY KEY,
        value BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// Moves the events of a version 1 database into blocks.
pub(super) fn migrate(database: &Connection) -> rusqlite::Result<()> {
    database.execute_batch(TABLES)?;
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
    use crate::journal::sqlite::store;

    /// A version 1 database with events in the form which that version wrote.
    fn version_1(events: impl Iterator<Item = (u64, i64)>) -> Connection {
        let database = Connection::open_in_memory().unwrap();
        database.execute_batch(super::super::EVENTS).unwrap();
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
        migrate(&database).unwrap();
        database.execute_batch(super::super::PARTS).unwrap();
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
