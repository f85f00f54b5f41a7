//! Opens the database, and writes and trims the log.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, params};

use super::folder::OpenError;
use super::rows;
use super::sql::{execute, signed};
use super::{dead, reading};
use crate::journal::Seq;
use crate::journal::block::Block;

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
    database.pragma_update(None, "cell_size_check", true)?;
    // The writer makes checkpoints itself, when no caller waits.
    database.pragma_update(None, "wal_autocheckpoint", 0)?;
    // Another program that reads the journal may make the WAL long. When it begins again it is cut.
    database.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT, |_| Ok(()))?;
    overwrite_all(database, false)?;
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
    let mut checkpoint = database.prepare_cached("PRAGMA wal_checkpoint(PASSIVE)")?;
    checkpoint.query_row([], |row| {
        // -1 if another process makes a checkpoint.
        let (all, brought_in): (i64, i64) = (row.get(1)?, row.get(2)?);
        let pages = |count: i64| usize::try_from(count).unwrap_or(0);
        Ok((pages(all), pages(all - brought_in)))
    })
}

/// Returns whether a sync has failed.
pub(super) fn is_sync(error: &rusqlite::Error) -> bool {
    let code = error.sqlite_error().map(|error| error.extended_code);
    code == Some(rusqlite::ffi::SQLITE_IOERR_FSYNC)
}

/// Says whether all that is removed is overwritten, or only where that costs no further write: retention would
/// otherwise write as many bytes as it removes.
pub(super) fn overwrite_all(database: &Connection, all: bool) -> rusqlite::Result<()> {
    database.pragma_update(None, "secure_delete", if all { "ON" } else { "FAST" })
}

pub(super) fn insert(database: &Connection, block: &Block) -> rusqlite::Result<()> {
    // A row with this number can only be a damaged one, with another number before.
    let sql = "INSERT OR REPLACE INTO blocks (last, first, kept_at, claims, events, format, sums) \
               VALUES (?, ?, ?, ?, ?, ?, ?)";
    let Block {
        keys, bodies, sums, ..
    } = block;
    let format = block.format as i64;
    let (last, first, kept_at) = (block.last, block.first, block.kept_at);
    let values = params![last, first, kept_at, keys, bodies, format, sums];
    execute(database, sql, values)
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
pub(super) fn oldest(
    database: &Connection,
    up_to: Seq,
    head: Seq,
) -> rusqlite::Result<Option<Oldest>> {
    let first = reading::trimmed(database)? + 1;
    let last = up_to
        .min(head.saturating_sub(1))
        .min(first + TRIM_AT_ONCE - 1);
    if last < first {
        return Ok(None);
    }
    // A damaged row may have any number.
    let last = last.min(end_of_bytes(database)?).max(first);
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
    database.execute("DELETE FROM deletions WHERE seq <= ?", [signed(last)])?;
    cut(database, last)?;
    rows::set_counter(database, rows::TRIMMED, last)?;
    rows::forget_losses(database, last)?;
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

/// Removes the events up to `end` from a block that also holds later ones. A damaged block stays until
/// all its events go.
fn cut(database: &Connection, end: Seq) -> rusqlite::Result<()> {
    // Only the next block can hold any of them. Without an index of `first`, SQLite would look for another one
    // in the whole table.
    let sql = "SELECT last, first FROM blocks WHERE last > ? ORDER BY last LIMIT 1";
    let mut statement = database.prepare_cached(sql)?;
    let next = statement.query_row([signed(end)], |row| Ok((row.get(0)?, row.get(1).ok())));
    let next: Option<(i64, Option<Seq>)> = next.optional()?;
    let Some((last, _)) = next.filter(|(_, first)| first.is_some_and(|first| first <= end)) else {
        return Ok(());
    };
    let sql =
        "SELECT last, first, kept_at, format, claims, events, sums FROM blocks WHERE last = ?";
    let rest = database.prepare_cached(sql)?.query_row([last], |row| {
        let shared = reading::block(row).ok().filter(Block::is_whole);
        Ok(shared.and_then(|shared| shared.without(end)))
    });
    let Some(rest) = rest? else {
        return Ok(());
    };
    // The block may have had deleted bodies, and its old pages become free.
    overwrite_all(database, true)?;
    let replaced = replace(database, &rest);
    overwrite_all(database, false)?;
    replaced
}

/// Replaces a block by one with the same newest body.
pub(super) fn replace(database: &Connection, block: &Block) -> rusqlite::Result<()> {
    let sql = "UPDATE blocks SET first = ?, claims = ?, events = ?, sums = ? WHERE last = ?";
    let Block {
        first,
        keys,
        bodies,
        sums,
        ..
    } = block;
    let values = params![first, keys, bodies, sums, block.last];
    execute(database, sql, values)
}

/// Returns the bytes of all pages in use.
pub(super) fn bytes(database: &Connection) -> rusqlite::Result<u64> {
    bytes_in(database, "main")
}

/// The same of a database that is attached by this name.
pub(super) fn bytes_in(database: &Connection, schema: &str) -> rusqlite::Result<u64> {
    let pragma = |name: &str| {
        let mut pragma = database.prepare_cached(&format!("PRAGMA {schema}.{name}"))?;
        pragma.query_row([], |row| row.get::<_, u64>(0))
    };
    let used = pragma("page_count")?.saturating_sub(pragma("freelist_count")?);
    Ok(used * pragma("page_size")?)
}

/// Large pages, because blocks are long and each page is written with its own system calls, first
/// to the WAL and then to the database.
pub(super) const PAGE: usize = 16 * 1024;

/// The WAL is not longer while only offhook reads the journal.
const WAL_LIMIT: usize = 32 * 1024 * 1024;

/// How many events one transaction removes. Senders wait for it, a few milliseconds at most.
const TRIM_AT_ONCE: u64 = 1000;

/// The same limit in bytes, because removing a long body reads each of its pages.
const TRIM_BYTES: u64 = 1024 * 1024;

/// The same limit in dead letters.
const TRIM_LETTERS: usize = 2000;
