//! Deletes bodies: their blocks are written again without them, a few at a time.
//!
//! What a body leaves in the database is overwritten (`secure_delete`, see [`store::overwrite_all`]). But SQLite
//! may have moved rows between pages before, and a copy may be in the unused part of a page. So a journal
//! with new deletions is written again when it is closed ([`purge`]), unless it is large.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::damage::tell_row;
use super::sql::{execute, signed};
use super::{dead, reading, rows, store};
use crate::journal::block::erased::Erased;
use crate::journal::sum::Sum;
use crate::journal::{Deletion, Seq};

/// What one transaction has deleted.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    /// How many of the given bodies are done.
    pub(super) bodies: usize,
    /// How many events they held that were not deleted before.
    pub(super) events: usize,
    /// About how many bytes were written.
    pub(super) bytes: usize,
    /// The first body that cannot be deleted, because its block is damaged.
    pub(super) damaged: Option<Seq>,
}

/// Deletes the first of these bodies, which are sorted: at most [`DELETE_AT_ONCE`] bodies in blocks of about
/// [`DELETE_BYTES`], but at least one block. A block that is not what was written
/// stays, and those behind it are done. A page that cannot be read is an error.
pub(super) fn delete(database: &Connection, bodies: &[Seq], at: i64) -> rusqlite::Result<Deleted> {
    let mut deleted = Deleted::default();
    let before = newest(database)?;
    let mut number = before;
    while deleted.bodies < DELETE_AT_ONCE
        && deleted.bytes < DELETE_BYTES
        && let Some(first) = bodies.get(deleted.bodies)
    {
        let Some(last) = end_of_block(database, *first)? else {
            // All others are beyond the newest body.
            deleted.bodies = bodies.len();
            break;
        };
        let rest = &bodies[deleted.bodies..];
        let most = DELETE_AT_ONCE - deleted.bodies;
        let own = &rest[..rest.partition_point(|seq| *seq <= last).min(most)];
        match delete_in(database, last, own, at, number)? {
            Some(erased) => {
                number += erased.bodies.len() as u64;
                deleted.events += erased.events;
                if !erased.bodies.is_empty() {
                    deleted.bytes += erased.block.bytes();
                }
            }
            None => _ = deleted.damaged.get_or_insert(*first),
        }
        deleted.bodies += own.len();
    }
    if number > before {
        rows::set_counter(database, NUMBER, number)?;
    }
    Ok(deleted)
}

/// Deletes these bodies of one block. `number` is the newest deletion. Returns `None` if the block cannot be read.
fn delete_in(
    database: &Connection,
    last: Seq,
    own: &[Seq],
    at: i64,
    mut number: u64,
) -> rusqlite::Result<Option<Erased>> {
    let Some(erased) = erased(database, last, own, at)? else {
        return Ok(None);
    };
    if !erased.bodies.is_empty() {
        store::replace(database, &erased.block)?;
    }
    for seq in &erased.bodies {
        number += 1;
        let sql = "INSERT OR REPLACE INTO deletions VALUES (?, ?, ?)";
        let sum = deletion_sum(*seq, number);
        execute(database, sql, params![signed(*seq), signed(number), sum])?;
    }
    for seq in own {
        dead::delete(database, *seq)?;
    }
    Ok(Some(erased))
}

/// Returns the newest body of the block that holds `seq` or follows it.
fn end_of_block(database: &Connection, seq: Seq) -> rusqlite::Result<Option<Seq>> {
    let sql = "SELECT last FROM blocks WHERE last >= ? ORDER BY last LIMIT 1";
    let mut statement = database.prepare_cached(sql)?;
    let last = statement.query_row([signed(seq)], |row| row.get(0));
    last.optional()
}

/// Returns the block without these bodies; `None` if it cannot be read.
fn erased(
    database: &Connection,
    last: Seq,
    bodies: &[Seq],
    at: i64,
) -> rusqlite::Result<Option<Erased>> {
    let sql =
        "SELECT last, first, kept_at, format, claims, events, sums FROM blocks WHERE last = ?";
    let mut statement = database.prepare_cached(sql)?;
    statement.query_row([signed(last)], |row| {
        let block = reading::block(row).ok();
        Ok(block.and_then(|block| block.erased(bodies, at)))
    })
}

/// Returns the deletions after this one, in order, at most `most`.
pub(super) fn after(
    database: &Connection,
    number: u64,
    most: usize,
) -> rusqlite::Result<Vec<Deletion>> {
    let sql = "SELECT number, seq, sum FROM deletions WHERE number > ? ORDER BY number LIMIT ?";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([signed(number), signed(most as u64)])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, seq) = (row.get(0)?, row.get(1)?);
        if row.get::<_, i64>(2)? == deletion_sum(seq, number) {
            found.push(Deletion { number, seq });
        } else {
            tell_row("that an event was deleted", "the index may still list it");
        }
    }
    Ok(found)
}

/// Returns the number of the newest deletion.
pub(super) fn newest(database: &Connection) -> rusqlite::Result<u64> {
    if let Some(number) = rows::counter(database, NUMBER)? {
        return Ok(number);
    }
    // Retention has removed some of them, but what was written again before is known.
    let sql = "SELECT coalesce(max(number), 0) FROM deletions";
    let left: u64 = database.query_row(sql, [], |row| row.get(0))?;
    Ok(left.max(rows::counter(database, PURGED)?.unwrap_or(0)))
}

pub(super) fn deletion_sum(seq: Seq, number: u64) -> i64 {
    Sum::of("deletion").number(seq).number(number).end().into()
}

/// Writes the database again if there were deletions since the last time. No other connection may be open.
pub(super) fn purge(database: &Connection) -> rusqlite::Result<()> {
    let number = newest(database)?;
    if rows::counter(database, PURGED)?.unwrap_or(0) == number {
        return Ok(());
    }
    if store::bytes(database)? > MAX_PURGED {
        log::info!(
            "journal: it is too large to be written again after deletions; what was deleted is overwritten, but for \
             copies that SQLite may have left in unused parts of pages"
        );
        return Ok(());
    }
    database.execute_batch("VACUUM")?;
    rows::set_counter(database, PURGED, number)
}

/// The counter of deletions.
pub(super) const NUMBER: &str = "deletions";

/// The counter that says up to which deletion the database was written again.
pub(super) const PURGED: &str = "purged";

/// How many bodies one transaction deletes. Senders wait for it, a few milliseconds at most.
const DELETE_AT_ONCE: usize = 1000;

/// The same limit in bytes, because a block is written again as a whole.
pub(super) const DELETE_BYTES: usize = 1024 * 1024;

/// A larger journal is not written again, because that would take too long.
const MAX_PURGED: u64 = 512 * 1024 * 1024;
