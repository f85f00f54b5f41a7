//! The statements of the log, the desks and the documents.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Params, Row, params};

use super::dead::{self, signed};
use super::folder::OpenError;
use crate::journal::block::{Block, Format};
use crate::journal::dedup::DedupEntry;
use crate::journal::{Document, ProgressChange, Record, SavedProgress, Seq, Share, Version};

/// Opens the database for writing. Until [`set_up_closing`], closing it leaves the WAL as it is:
/// SQLite would delete a WAL that it could not read, if the file with the WAL's index (`-shm`)
/// first cannot grow and then can only be read.
pub(super) fn open_writer(path: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let database = Connection::open_with_flags(path, flags)?;
    database.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    Ok(database)
}

/// Makes closing the database checkpoint the WAL, which by now has been read.
pub(super) fn set_up_closing(database: &Connection) -> rusqlite::Result<()> {
    let leave = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
    database.set_db_config(leave, false).map(drop)
}

/// Makes all later writes durable. Fails if there can be no WAL: in the other modes the last commit
/// ends with the removal of a file, which is not synced.
pub(super) fn set_up_writer(database: &Connection) -> Result<(), OpenError> {
    // Applies to a new database; an existing one keeps its page size.
    database.pragma_update(None, "page_size", PAGE)?;
    let mode = |row: &Row<'_>| row.get(0);
    let mode: String = database.pragma_update_and_check(None, "journal_mode", "WAL", mode)?;
    if mode != "wal" {
        return Err(OpenError::NoWal(mode));
    }
    database.pragma_update(None, "synchronous", "FULL")?;
    // The writer makes checkpoints itself, when no caller waits.
    database.pragma_update(None, "wal_autocheckpoint", 0)?;
    Ok(())
}

/// Copies everything into the database file and empties the WAL. Fails if a reader is in the way,
/// because the WAL is then not empty.
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

/// Copies as much of the WAL into the database file as readers allow. Without readers that is
/// everything, and the next commit starts the WAL from its beginning. Returns how many pages the WAL
/// has, and how many of them are left.
pub(super) fn bring_in(database: &Connection) -> rusqlite::Result<(usize, usize)> {
    database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        // -1 if another process makes a checkpoint.
        let (all, brought_in): (i64, i64) = (row.get(1)?, row.get(2)?);
        let pages = |count: i64| usize::try_from(count).unwrap_or(0);
        Ok((pages(all), pages(all - brought_in)))
    })
}

/// Returns the number of the oldest body; 0 if there is none.
pub(super) fn first(database: &Connection) -> rusqlite::Result<Seq> {
    let sql = "SELECT first FROM blocks ORDER BY last LIMIT 1";
    let first = database.query_row(sql, [], |row| row.get(0)).optional()?;
    Ok(first.unwrap_or(0))
}

/// Returns whether a sync has failed.
pub(super) fn is_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_FSYNC)
}

/// Returns the number of the newest body and when it became durable, in milliseconds since 1970; 0
/// and the earliest time if there is none.
pub(super) fn newest(database: &Connection) -> rusqlite::Result<(Seq, i64)> {
    let sql = "SELECT last, kept_at FROM blocks ORDER BY last DESC LIMIT 1";
    let newest = database.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)));
    Ok(newest.optional()?.unwrap_or((0, i64::MIN)))
}

/// Calls `each` with the dedup entries of the bodies after `after`, in order, without reading the
/// bodies.
pub(super) fn entries_after(
    database: &Connection,
    after: Seq,
    mut each: impl FnMut(DedupEntry) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let sql = "SELECT last, first, kept_at, format, claims, x'' FROM blocks \
               WHERE last > ? ORDER BY last";
    let mut statement = database.prepare(sql)?;
    let mut rows = statement.query([signed(after)])?;
    while let Some(row) = rows.next()? {
        let block = block(row)?;
        let entries = block.entries().ok_or_else(|| unreadable(&block))?;
        let later = entries.into_iter();
        later
            .filter(|entry| entry.position.seq() > after)
            .try_for_each(&mut each)?;
    }
    Ok(())
}

pub(super) fn insert(database: &Connection, block: &Block) -> rusqlite::Result<()> {
    let sql = "INSERT INTO blocks (last, first, kept_at, claims, events, format) \
               VALUES (?, ?, ?, ?, ?, ?)";
    let Block { keys, bodies, .. } = block;
    let format = block.format as i64;
    let values = params![block.last, block.first, block.kept_at, keys, bodies, format];
    execute(database, sql, values)
}

/// Runs a statement, which is prepared once.
fn execute(database: &Connection, sql: &str, values: impl Params) -> rusqlite::Result<()> {
    database.prepare_cached(sql)?.execute(values).map(drop)
}

/// Returns the next records: at most `most`, and no more once they hold [`READ_BYTES`].
pub(super) fn read(
    database: &Connection,
    after: Seq,
    most: usize,
) -> rusqlite::Result<Vec<Record>> {
    let sql = "SELECT last, first, kept_at, format, x'', events FROM blocks \
               WHERE last > ? ORDER BY last";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([signed(after)])?;
    let (mut records, mut bytes) = (Vec::new(), 0);
    while records.len() < most
        && bytes < READ_BYTES
        && let Some(row) = rows.next()?
    {
        let block = block(row)?;
        for record in block.records(after, SHARES) {
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
    let number: i64 = row.get(3)?;
    let unknown = || {
        let why = format!("a block has format {number}, which this version does not know");
        rusqlite::Error::FromSqlConversionFailure(3, Type::Integer, why.into())
    };
    Ok(Block {
        last: row.get(0)?,
        first: row.get(1)?,
        kept_at: row.get(2)?,
        format: Format::of(number).ok_or_else(unknown)?,
        keys: row.get_ref(4)?.as_blob()?,
        bodies: row.get_ref(5)?.as_blob()?,
    })
}

fn unreadable<Bytes>(block: &Block<Bytes>) -> rusqlite::Error {
    let why = format!("events {} to {} cannot be read", block.first, block.last);
    rusqlite::Error::FromSqlConversionFailure(4, Type::Blob, why.into())
}

/// Reads the head and the rows in one transaction.
pub(super) fn saved(
    database: &Connection,
    consumer: &str,
) -> rusqlite::Result<Option<SavedProgress>> {
    let snapshot = database.unchecked_transaction()?;
    let sql = "SELECT saved FROM consumers WHERE name = ?";
    let head = snapshot.query_row(sql, [consumer], |row| row.get(0));
    let Some(head) = head.optional()? else {
        return Ok(None);
    };
    let sql = "SELECT key, value FROM progress WHERE consumer = ? ORDER BY key";
    let mut statement = snapshot.prepare_cached(sql)?;
    let rows = statement.query_map([consumer], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows = rows.collect::<rusqlite::Result<_>>()?;
    Ok(Some(SavedProgress { head, rows }))
}

pub(super) fn save(database: &Connection, change: &ProgressChange) -> rusqlite::Result<()> {
    dead::forget(database, &change.consumer, &change.revived)?;
    dead::add(database, &change.consumer, &change.dead)?;
    for (key, value) in &change.rows {
        if let Some(value) = value {
            let sql = "INSERT OR REPLACE INTO progress VALUES (?, ?, ?)";
            execute(database, sql, params![change.consumer, key, value])?;
        } else {
            let sql = "DELETE FROM progress WHERE consumer = ? AND key = ?";
            execute(database, sql, params![change.consumer, key])?;
        }
    }
    let sql = "INSERT OR REPLACE INTO consumers VALUES (?, ?)";
    execute(database, sql, params![change.consumer, change.head])
}

/// Stores the progress of a consumer that has none.
pub(super) fn introduce(database: &Connection, name: &str, head: &[u8]) -> rusqlite::Result<()> {
    let sql = "INSERT OR IGNORE INTO consumers VALUES (?, ?)";
    execute(database, sql, params![name, head])
}

pub(super) fn forget_consumer(database: &Connection, name: &str) -> rusqlite::Result<()> {
    execute(database, "DELETE FROM progress WHERE consumer = ?", [name])?;
    execute(database, "DELETE FROM consumers WHERE name = ?", [name])
}

pub(super) fn newest_document(database: &Connection) -> rusqlite::Result<Version> {
    let sql = "SELECT value FROM counters WHERE name = 'documents'";
    database.query_row(sql, [], |row| row.get(0))
}

/// Returns a document's last change; `None` if the document does not exist.
pub(super) fn version_of(database: &Connection, key: &str) -> rusqlite::Result<Option<Version>> {
    let sql = "SELECT version FROM documents WHERE key = ?";
    let mut statement = database.prepare_cached(sql)?;
    statement.query_row([key], |row| row.get(0)).optional()
}

pub(super) fn put_document(
    database: &Connection,
    key: &str,
    value: Option<&[u8]>,
    version: Version,
) -> rusqlite::Result<()> {
    if let Some(value) = value {
        let sql = "INSERT OR REPLACE INTO documents VALUES (?, ?, ?)";
        execute(database, sql, params![key, value, version])?;
    } else {
        execute(database, "DELETE FROM documents WHERE key = ?", [key])?;
    }
    let sql = "UPDATE counters SET value = ? WHERE name = 'documents'";
    execute(database, sql, [version])
}

/// Keys are compared byte by byte, so those with the prefix are adjacent.
pub(super) fn documents(database: &Connection, prefix: &str) -> rusqlite::Result<Vec<Document>> {
    let sql = "SELECT key, value, version FROM documents WHERE key >= ? ORDER BY key";
    let mut statement = database.prepare_cached(sql)?;
    let found = statement.query_map([prefix], |row| {
        Ok(Document {
            key: row.get(0)?,
            value: row.get(1)?,
            version: row.get(2)?,
        })
    })?;
    let is_behind = |document: &Document| !document.key.starts_with(prefix);
    found
        .take_while(|found| !found.as_ref().is_ok_and(is_behind))
        .collect()
}

/// The events that one transaction removes, from the oldest one on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Oldest {
    pub(super) first: Seq,
    pub(super) last: Seq,
}

/// Returns the oldest events up to `up_to` that one transaction removes: at most [`TRIM_AT_ONCE`]
/// events, in blocks of about [`TRIM_BYTES`]. Never the newest, because the next number is derived
/// from it.
pub(super) fn oldest(database: &Connection, up_to: Seq) -> rusqlite::Result<Option<Oldest>> {
    let first = first(database)?;
    if first == 0 {
        return Ok(None);
    }
    let last = up_to
        .min(newest(database)?.0.saturating_sub(1))
        .min(first + TRIM_AT_ONCE - 1);
    if last < first {
        return Ok(None);
    }
    let last = last.min(end_of_bytes(database)?);
    Ok(Some(Oldest { first, last }))
}

/// Removes the oldest events. Returns how many, or `None` if their dead letters are not all removed
/// yet.
pub(super) fn trim(database: &Connection, oldest: Oldest) -> rusqlite::Result<Option<usize>> {
    let Oldest { first, last } = oldest;
    if dead::trim(database, last, TRIM_LETTERS)? == TRIM_LETTERS {
        return Ok(None);
    }
    database.execute("DELETE FROM blocks WHERE last <= ?", [signed(last)])?;
    cut(database, last)?;
    let count = usize::try_from(last + 1 - first).expect("TRIM_AT_ONCE at most");
    Ok(Some(count))
}

/// Returns the last event of the oldest blocks that together reach [`TRIM_BYTES`]; at least one
/// block. Does not read the bodies.
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

/// Removes the events up to `end` from a block that also holds later ones.
fn cut(database: &Connection, end: Seq) -> rusqlite::Result<()> {
    let sql = "SELECT last, first, kept_at, format, claims, events FROM blocks \
               WHERE last > ?1 AND first <= ?1 ORDER BY last LIMIT 1";
    let rest = database.query_row(sql, [signed(end)], |row| {
        let shared = block(row)?;
        shared.without(end).ok_or_else(|| unreadable(&shared))
    });
    if let Some(rest) = rest.optional()? {
        let sql = "UPDATE blocks SET first = ?, claims = ?, events = ? WHERE last = ?";
        database.execute(sql, params![rest.first, rest.keys, rest.bodies, rest.last])?;
    }
    Ok(())
}

/// Returns the bytes of all pages in use.
pub(super) fn bytes(database: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| database.pragma_query_value(None, name, |row| row.get::<_, u64>(0));
    let used = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(used * pragma("page_size")?)
}

/// One process has the database file open and dispatches everything.
pub(super) const SHARES: Share = 1;

/// Large pages, because blocks are long and each page is written with its own system calls, first
/// to the WAL and then to the database.
pub(super) const PAGE: usize = 16 * 1024;

/// A consumer that is far behind reads about this much at a time, however long the bodies are.
const READ_BYTES: usize = 8 * 1024 * 1024;

/// How many events one transaction removes. Senders wait for it, a few milliseconds at most.
const TRIM_AT_ONCE: u64 = 1000;

/// The same limit in bytes, because removing a long body reads each of its pages.
const TRIM_BYTES: u64 = 1024 * 1024;

/// The same limit in dead letters.
const TRIM_LETTERS: usize = 2000;
