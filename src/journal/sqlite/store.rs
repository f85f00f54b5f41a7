//! The statements.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::super::claims::Made;
use super::super::record::Record;
use super::super::{Change, DeadLetter};
use super::OpenError;
use super::block::Block;
use crate::Timestamp;
use crate::dispatch::Saved;
use crate::journal::Seq;

/// Opens the database for writing. Closed before [`set_up_closing`] it leaves the WAL as it is: SQLite
/// deletes a WAL that it could not read, where the file beside it that shares the index of it (`-shm`)
/// can first not be grown and then only be read.
pub(super) fn open_writer(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let database = Connection::open_with_flags(path, flags)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(database)
}

/// From now on the WAL is brought into the database when it is closed: it has been read.
pub(super) fn set_up_closing(database: &Connection) -> rusqlite::Result<()> {
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    Ok(())
}

/// Makes what is written from now on durable.
///
/// # Errors
///
/// Also when there can be no WAL: in the other modes the last commit ends with the removal of a file,
/// which is not synchronised.
pub(super) fn set_up_writer(database: &Connection) -> Result<(), OpenError> {
    // Of a new database; one that is there keeps what it has.
    database.pragma_update(None, "page_size", PAGE)?;
    let mode: String =
        database.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::NoWal(mode));
    }
    database.pragma_update(None, "synchronous", "FULL")?;
    // The writer does that itself, when nobody waits for it.
    database.pragma_update(None, "wal_autocheckpoint", 0)?;
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

/// Brings as much of the WAL into the database file as readers allow, which is all of it unless somebody
/// reads; the next commit begins the WAL anew then. How many pages are left.
pub(super) fn bring_in(database: &Connection) -> rusqlite::Result<i64> {
    database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (all, brought_in): (i64, i64) = (row.get(1)?, row.get(2)?);
        Ok(all - brought_in)
    })
}

pub(super) fn head(database: &Connection) -> rusqlite::Result<Seq> {
    database.query_row("SELECT coalesce(max(last), 0) FROM blocks", [], |row| {
        row.get(0)
    })
}

/// When the newest event was made durable, in milliseconds since 1970; the earliest time for none.
pub(super) fn last_kept_at(database: &Connection) -> rusqlite::Result<i64> {
    let sql = "SELECT kept_at FROM blocks ORDER BY last DESC LIMIT 1";
    let newest = database.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(newest.unwrap_or(i64::MIN))
}

/// The claims of the events after `after`, in their order. Bodies are not read.
pub(super) fn claims_after(
    database: &Connection,
    after: Seq,
    mut each: impl FnMut(Made) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sql = "SELECT last, first, kept_at, claims, x'' FROM blocks WHERE last > ? ORDER BY last";
    let mut statement = database.prepare(sql)?;
    let mut rows = statement.query([signed(after)])?;
    while let Some(row) = rows.next()? {
        let block = block(row)?;
        let made = block.made().ok_or_else(|| unreadable(&block))?;
        made.filter(|made| made.seq > after)
            .try_for_each(&mut each)?;
    }
    Ok(())
}

pub(super) fn insert(database: &Connection, block: &Block) -> rusqlite::Result<()> {
    let mut statement = database.prepare_cached("INSERT INTO blocks VALUES (?, ?, ?, ?, ?)")?;
    statement.execute(params![
        block.last,
        block.first,
        block.kept_at,
        block.claims,
        block.events
    ])?;
    Ok(())
}

/// The next records: at most `most`, and no further one when they hold [`READ_BYTES`].
pub(super) fn read(
    database: &Connection,
    after: Seq,
    most: usize,
) -> rusqlite::Result<Vec<Record>> {
    let sql = "SELECT last, first, kept_at, x'', events FROM blocks WHERE last > ? ORDER BY last";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([signed(after)])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < most
        && bytes < READ_BYTES
        && let Some(row) = rows.next()?
    {
        let block = block(row)?;
        for record in block.records(after) {
            if records.len() == most || bytes >= READ_BYTES {
                break;
            }
            let record = record.ok_or_else(|| unreadable(&block))?;
            bytes += record.received.body.len();
            records.push(record);
        }
    }
    Ok(records)
}

fn block<'row>(row: &'row Row<'_>) -> rusqlite::Result<Block<&'row [u8]>> {
    Ok(Block {
        last: row.get(0)?,
        first: row.get(1)?,
        kept_at: row.get(2)?,
        claims: row.get_ref(3)?.as_blob()?,
        events: row.get_ref(4)?.as_blob()?,
    })
}

fn unreadable<Bytes>(block: &Block<Bytes>) -> rusqlite::Error {
    let why = format!("events {} to {} cannot be read", block.first, block.last);
    rusqlite::Error::FromSqlConversionFailure(4, Type::Blob, why.into())
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

/// Removes the oldest events up to `up_to`, at most [`TRIM_AT_ONCE`] and blocks of about
/// [`TRIM_BYTES`], but never the newest: the next number is one more than its.
pub(super) fn trim(database: &Connection, up_to: Seq) -> rusqlite::Result<usize> {
    let oldest = "SELECT first FROM blocks ORDER BY last LIMIT 1";
    let oldest: Option<Seq> = database
        .query_row(oldest, [], |row| row.get(0))
        .optional()?;
    let Some(oldest) = oldest else { return Ok(0) };
    let end = up_to
        .min(head(database)?.saturating_sub(1))
        .min(oldest + TRIM_AT_ONCE - 1);
    if end < oldest {
        return Ok(0);
    }
    let end = end.min(end_of_bytes(database)?);
    database.execute("DELETE FROM dead WHERE seq <= ?", [signed(end)])?;
    database.execute("DELETE FROM blocks WHERE last <= ?", [signed(end)])?;
    cut(database, end)?;
    Ok(usize::try_from(end + 1 - oldest).expect("TRIM_AT_ONCE at most"))
}

/// The last event of the oldest blocks, as many as have [`TRIM_BYTES`]; one at least. Their bodies are
/// not read for it.
fn end_of_bytes(database: &Connection) -> rusqlite::Result<Seq> {
    let sql = "SELECT last, length(events) FROM blocks ORDER BY last";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let (mut end, mut bytes) = (Seq::MAX, 0);
    while bytes < TRIM_BYTES
        && let Some(row) = rows.next()?
    {
        end = row.get(0)?;
        bytes += row.get::<_, u64>(1)?;
    }
    Ok(end)
}

/// Takes the events up to `end` out of the block that they share with later ones.
fn cut(database: &Connection, end: Seq) -> rusqlite::Result<()> {
    let sql = "SELECT last, first, kept_at, claims, events FROM blocks \
               WHERE last > ?1 AND first <= ?1 ORDER BY last LIMIT 1";
    let rest = database.query_row(sql, [signed(end)], |row| {
        let shared = block(row)?;
        shared.without(end).ok_or_else(|| unreadable(&shared))
    });
    let Some(rest) = rest.optional()? else {
        return Ok(());
    };
    let sql = "UPDATE blocks SET first = ?, claims = ?, events = ? WHERE last = ?";
    database.execute(
        sql,
        params![rest.first, rest.claims, rest.events, rest.last],
    )?;
    Ok(())
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

/// Each page is written to the WAL and to the database with calls of its own, and blocks are long.
pub(super) const PAGE: usize = 16 * 1024;

/// Who is far behind reads on in parts of about this size, however long the bodies are.
const READ_BYTES: usize = 8 * 1024 * 1024;

/// How many events are removed in one transaction, so that none takes long.
const TRIM_AT_ONCE: u64 = 2000;

/// The same in bytes: each page of a long body is read and written to be removed.
const TRIM_BYTES: u64 = 32 * 1024 * 1024;
