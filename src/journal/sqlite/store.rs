//! The statements.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};
use uuid::Uuid;

use super::super::claims::Made;
use super::super::record::Record;
use super::super::{Change, DeadLetter};
use crate::dispatch::{Saved, Seq};
use crate::{Received, Timestamp};

/// Makes what is written from now on durable.
pub(super) fn set_up_writer(database: &Connection) -> rusqlite::Result<()> {
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    Ok(())
}

/// Opens the database for reading.
pub(super) fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
}

/// Brings everything into the database file and empties the WAL.
///
/// # Errors
///
/// Also when a reader was in the way: then the WAL is not empty.
pub(super) fn checkpoint(database: &Connection) -> rusqlite::Result<()> {
    let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
    let hindered: bool = database.query_row(sql, [], |row| row.get(0))?;
    if hindered {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        let why = "the WAL is being read and cannot be emptied".to_owned();
        return Err(rusqlite::Error::SqliteFailure(busy, Some(why)));
    }
    Ok(())
}

pub(super) fn head(database: &Connection) -> rusqlite::Result<Seq> {
    database.query_row("SELECT coalesce(max(seq), 0) FROM events", [], |row| {
        row.get(0)
    })
}

pub(super) fn claims_after(
    database: &Connection,
    after: Seq,
    mut each: impl FnMut(Made) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sql = "SELECT seq, claim, claim_until FROM events WHERE seq > ? ORDER BY seq";
    let mut statement = database.prepare(sql)?;
    let mut rows = statement.query([after])?;
    while let Some(row) = rows.next()? {
        each(Made {
            seq: row.get(0)?,
            key: u128::from_le_bytes(row.get(1)?),
            until: row.get(2)?,
        })?;
    }
    Ok(())
}

pub(super) fn insert(
    database: &Connection,
    made: &Made,
    received: &Received,
    now: i64,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let received_at = i64::try_from(received.received_at.as_nanosecond()).unwrap_or(i64::MAX);
    database.prepare_cached(sql)?.execute(params![
        made.seq,
        received.id.as_bytes(),
        received_at,
        now,
        &*received.source,
        received.session,
        headers_json(received),
        made.key.to_le_bytes(),
        made.until,
        &received.body[..],
    ])?;
    Ok(())
}

/// The next records: at most `most`, and no further one when they hold [`READ_BYTES`].
pub(super) fn read(
    database: &Connection,
    after: Seq,
    most: usize,
) -> rusqlite::Result<Vec<Record>> {
    let sql = "SELECT seq, id, received_at, source, session, headers, body, kept_at FROM events \
               WHERE seq > ? ORDER BY seq LIMIT ?";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([signed(after), signed(most as u64)])?;
    let mut records = Vec::new();
    let mut bytes = 0;
    while bytes < READ_BYTES
        && let Some(row) = rows.next()?
    {
        let record = record(row)?;
        bytes += record.received.body.len();
        records.push(record);
    }
    Ok(records)
}

fn record(row: &Row<'_>) -> rusqlite::Result<Record> {
    let source: String = row.get(3)?;
    let body: Vec<u8> = row.get(6)?;
    let mut received = Received::new(source, body);
    received.id = Uuid::from_bytes(row.get(1)?);
    received.received_at =
        Timestamp::from_nanosecond(row.get::<_, i64>(2)?.into()).unwrap_or_default();
    received.session = row.get(4)?;
    received.headers = headers(row.get_ref(5)?.as_blob()?);
    Ok(Record {
        seq: row.get(0)?,
        kept_at: Timestamp::from_millisecond(row.get(7)?).unwrap_or_default(),
        received: Arc::new(received),
        events: None,
    })
}

pub(super) fn saved(database: &Connection, consumer: &str) -> rusqlite::Result<Option<Saved>> {
    let sql = "SELECT saved FROM consumers WHERE name = ?";
    let bytes: Option<Vec<u8>> = database
        .query_row(sql, [consumer], |row| row.get(0))
        .optional()?;
    let Some(bytes) = bytes else { return Ok(None) };
    // Never "nothing saved": the consumer would start from now, and skip what it has not done.
    Saved::decode(&bytes).map(Some).ok_or_else(|| {
        let why = format!("the saved progress of {consumer} cannot be read");
        rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, why.into())
    })
}

pub(super) fn save(database: &Connection, change: &Change) -> rusqlite::Result<()> {
    forget_dead(database, &change.consumer, &change.revived)?;
    let mut dead = database.prepare_cached("INSERT OR REPLACE INTO dead VALUES (?, ?, ?, ?, ?)")?;
    for letter in &change.dead {
        let at = letter.at.as_millisecond();
        dead.execute(params![
            change.consumer,
            letter.seq,
            letter.attempts,
            letter.reason,
            at
        ])?;
    }
    let mut saved = database.prepare_cached("INSERT OR REPLACE INTO consumers VALUES (?, ?)")?;
    saved.execute(params![change.consumer, change.saved.encode()])?;
    Ok(())
}

pub(super) fn forget_consumer(database: &Connection, name: &str) -> rusqlite::Result<()> {
    database
        .prepare_cached("DELETE FROM consumers WHERE name = ?")?
        .execute([name])?;
    Ok(())
}

pub(super) fn put_document(
    database: &Connection,
    key: &str,
    value: Option<&[u8]>,
) -> rusqlite::Result<()> {
    match value {
        Some(value) => database
            .prepare_cached("INSERT OR REPLACE INTO documents VALUES (?, ?)")?
            .execute(params![key, value])?,
        None => database
            .prepare_cached("DELETE FROM documents WHERE key = ?")?
            .execute([key])?,
    };
    Ok(())
}

/// Keys are compared byte by byte, so those with the prefix stand beside each other.
pub(super) fn documents(
    database: &Connection,
    prefix: &str,
) -> rusqlite::Result<Vec<(String, Vec<u8>)>> {
    let sql = "SELECT key, value FROM documents WHERE key >= ? ORDER BY key";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([prefix])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let key: String = row.get(0)?;
        if !key.starts_with(prefix) {
            break;
        }
        found.push((key, row.get(1)?));
    }
    Ok(found)
}

/// Removes the oldest events up to `up_to`, at most [`TRIM_AT_ONCE`], but never the newest: the next
/// number is one more than its.
pub(super) fn trim(database: &Connection, up_to: Seq) -> rusqlite::Result<usize> {
    let end = "min(?1, (SELECT max(seq) - 1 FROM events), (SELECT min(seq) FROM events) + ?2 - 1)";
    let end: Option<Seq> = database.query_row(
        &format!("SELECT {end}"),
        params![signed(up_to), TRIM_AT_ONCE],
        |row| row.get(0),
    )?;
    database.execute("DELETE FROM dead WHERE seq <= ?", [end])?;
    database.execute("DELETE FROM events WHERE seq <= ?", [end])
}

/// What the pages in use take.
pub(super) fn bytes(database: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| database.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let used = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(used * pragma("page_size")?)
}

pub(super) fn all_dead(
    database: &Connection,
    consumer: Option<&str>,
    before: Option<(Seq, String)>,
    most: usize,
) -> rusqlite::Result<Vec<(String, DeadLetter)>> {
    let sql = "SELECT consumer, seq, attempts, reason, at FROM dead \
               WHERE (?1 IS NULL OR consumer = ?1) AND (?2 IS NULL OR (seq, consumer) < (?2, ?3)) \
               ORDER BY seq DESC, consumer DESC LIMIT ?4";
    let (seq, name) = before.unzip();
    let mut statement = database.prepare_cached(sql)?;
    let letters = statement.query_map(
        params![consumer, seq.map(signed), name, signed(most as u64)],
        named_letter,
    )?;
    letters.collect()
}

pub(super) fn dead_among(
    database: &Connection,
    events: &[Seq],
) -> rusqlite::Result<Vec<(String, DeadLetter)>> {
    let sql = "SELECT consumer, seq, attempts, reason, at FROM dead WHERE seq = ?";
    let mut statement = database.prepare_cached(sql)?;
    let mut all = Vec::new();
    for seq in events {
        for letter in statement.query_map([signed(*seq)], named_letter)? {
            all.push(letter?);
        }
    }
    Ok(all)
}

pub(super) fn forget_dead(
    database: &Connection,
    consumer: &str,
    events: &[Seq],
) -> rusqlite::Result<usize> {
    let sql = "DELETE FROM dead WHERE consumer = ? AND seq = ?";
    let mut statement = database.prepare_cached(sql)?;
    let gone = events
        .iter()
        .map(|seq| statement.execute(params![consumer, signed(*seq)]));
    gone.sum()
}

fn named_letter(row: &Row<'_>) -> rusqlite::Result<(String, DeadLetter)> {
    let letter = DeadLetter {
        seq: row.get(1)?,
        attempts: row.get(2)?,
        reason: row.get(3)?,
        at: Timestamp::from_millisecond(row.get(4)?).unwrap_or_default(),
    };
    Ok((row.get(0)?, letter))
}

/// SQLite's integers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn headers_json(received: &Received) -> Vec<u8> {
    let pairs = received.headers.iter();
    let pairs: Vec<_> = pairs
        .map(|(name, value)| (name, STANDARD.encode(value)))
        .collect();
    serde_json::to_vec(&pairs).expect("pairs of texts")
}

fn headers(json: &[u8]) -> Vec<(std::borrow::Cow<'static, str>, bytes::Bytes)> {
    let pairs: Vec<(String, String)> = serde_json::from_slice(json).unwrap_or_default();
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| {
            (
                name.into(),
                STANDARD.decode(value).unwrap_or_default().into(),
            )
        })
        .collect()
}

/// The WAL is brought into the database when it has so many pages of 4 KiB.
const CHECKPOINT_PAGES: i64 = 4096;

/// Who is far behind reads on in parts of about this size, however long the bodies are.
const READ_BYTES: usize = 8 * 1024 * 1024;

/// How many events are removed in one transaction, so that none takes long.
const TRIM_AT_ONCE: u64 = 2000;
