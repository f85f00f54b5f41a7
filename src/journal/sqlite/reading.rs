//! Reads the log. What is damaged is skipped and reported: the rows before and after it are still served,
//! and the numbers that are missing come as [damaged](crate::journal::Missing::Damaged) records.

use rusqlite::{Connection, Error, ErrorCode, OptionalExtension as _, Row};

use super::damage::Damage;
use super::rows;
use super::sql::signed;
use crate::Timestamp;
use crate::journal::block::{Block, Format};
use crate::journal::dedup::DedupEntry;
use crate::journal::{Missing, Record, Seq, Share};

/// Returns the next records: at most `most`, and no more once they hold [`READ_BYTES`]. The log has
/// every number up to `head` that retention has not removed.
pub(super) fn read(
    database: &Connection,
    after: Seq,
    most: usize,
    head: Seq,
    damage: &Damage,
) -> rusqlite::Result<Vec<Record>> {
    let snapshot = database.unchecked_transaction()?;
    let at = after.max(trimmed(&snapshot)?);
    let mut batch = Batch {
        records: Vec::new(),
        bytes: 0,
        at,
        most,
        damage,
    };
    walk(&snapshot, RECORDS, at, head, |block| {
        batch.pass_gap(block.first, block.kept_at);
        batch.take(block);
        Ok(!batch.is_full())
    })?;
    if !batch.is_full() && batch.at < head {
        // What a start found missing is noted; anything else was stored since, so it is there.
        if self::head(&snapshot)? < head {
            return stale(batch.records);
        }
        let (_, kept_at) = newest(&snapshot)?;
        batch.pass_gap(head + 1, kept_at);
    }
    Ok(batch.records)
}

/// Returns the records, or an error if there are none: this connection does not see the newest commits, for
/// example because a file was removed. That is no damage, and the reader asks again.
fn stale(records: Vec<Record>) -> rusqlite::Result<Vec<Record>> {
    if records.is_empty() {
        let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY_SNAPSHOT);
        let why = "the newest events cannot be seen; was a file of the journal removed?";
        return Err(Error::SqliteFailure(error, Some(why.to_owned())));
    }
    Ok(records)
}

/// Collects records.
struct Batch<'a> {
    records: Vec<Record>,
    bytes: usize,
    /// Everything up to here was taken.
    at: Seq,
    most: usize,
    damage: &'a Damage,
}

impl Batch<'_> {
    fn is_full(&self) -> bool {
        self.records.len() >= self.most || self.bytes >= READ_BYTES
    }

    fn take(&mut self, block: &Block<&[u8]>) {
        for record in block.records(self.at, SHARES) {
            if self.is_full() {
                return;
            }
            if record.missing == Some(Missing::Damaged) {
                self.damage.body(&record);
            }
            self.at = record.seq;
            self.bytes += record.received.body.len();
            self.records.push(record);
        }
    }

    /// Takes the numbers before `next`, of which there is no row that can be read. Retention counts on
    /// times in order, so they get the time of what follows.
    fn pass_gap(&mut self, next: Seq, kept_at: i64) {
        if next <= self.at + 1 {
            return;
        }
        self.damage.bodies(self.at + 1, next - 1);
        let kept_at = Timestamp::from_millisecond(kept_at).unwrap_or_default();
        while self.at + 1 < next && !self.is_full() {
            self.at += 1;
            self.records.push(Record::damaged(self.at, kept_at, None));
        }
    }
}

/// Calls `each` with the dedup entries of the bodies after `after`, in order, without reading the
/// bodies. Those of a damaged block are lost: its events may be handed over twice.
pub(super) fn entries_after(
    database: &Connection,
    after: Seq,
    head: Seq,
    mut each: impl FnMut(DedupEntry) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    walk(database, ENTRIES, after, head, |block| {
        let entries = block.entries().unwrap_or_else(|| {
            log::error!(
                "journal: damaged: the dedup keys of events {} to {} cannot be read; if they are sent \
                 again, they are handed over twice",
                block.first,
                block.last
            );
            Vec::new()
        });
        let later = entries.into_iter();
        later
            .filter(|entry| entry.position.seq() > after)
            .try_for_each(&mut each)?;
        Ok(true)
    })
}

/// Calls `each` with the blocks that hold bodies after `after` and are whole, in order, until it returns
/// false.
pub(super) fn walk(
    database: &Connection,
    sql: &str,
    after: Seq,
    head: Seq,
    mut each: impl FnMut(&Block<&[u8]>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let (mut from, mut step) = (after.saturating_add(1), 1);
    loop {
        let start = from;
        match walk_on(database, sql, &mut from, &mut each) {
            Err(error) if is_damage(&error) => {
                if from > start {
                    // This is another damaged place.
                    step = 1;
                }
                match readable(database, sql, from, step, head)? {
                    Some(next) => from = next,
                    None => return Ok(()),
                }
            }
            ended => return ended,
        }
        step *= 2;
    }
}

fn walk_on(
    database: &Connection,
    sql: &str,
    from: &mut Seq,
    each: &mut impl FnMut(&Block<&[u8]>) -> rusqlite::Result<bool>,
) -> rusqlite::Result<()> {
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([signed(*from)])?;
    while let Some(row) = rows.next()? {
        // The numbers of any other block are not to be trusted.
        if let Ok(block) = block(row)
            && block.is_whole()
            && block.last >= *from
        {
            *from = block.last + 1;
            if !each(&block)? {
                break;
            }
        }
    }
    Ok(())
}

/// Returns the first number after `from`, by `step` at first, from which on rows can be read again. Steps grow
/// slowly, so that rows between two damaged pages are not passed.
fn readable(
    database: &Connection,
    sql: &str,
    from: Seq,
    mut step: Seq,
    head: Seq,
) -> rusqlite::Result<Option<Seq>> {
    let is_readable = |from| {
        let mut statement = database.prepare_cached(sql)?;
        let mut rows = statement.query([signed(from)])?;
        match rows.next() {
            Ok(_) => Ok(true),
            Err(error) if is_damage(&error) => Ok(false),
            Err(error) => Err(error),
        }
    };
    let mut bad = from;
    let mut good = loop {
        let next = bad.saturating_add(step);
        if is_readable(next)? {
            break next;
        }
        if next > head {
            return Ok(None);
        }
        bad = next;
        step = step.max((bad - from) / STEPS);
    };
    while good - bad > 1 {
        let middle = bad + (good - bad) / 2;
        if is_readable(middle)? {
            good = middle;
        } else {
            bad = middle;
        }
    }
    Ok(Some(good))
}

/// Whether SQLite has found a page that cannot be as it was written. A page that the disk does not
/// return is no such error: it may return it later.
pub(super) fn is_damage(error: &Error) -> bool {
    let code = error.sqlite_error_code();
    matches!(
        code,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Reads a row of [`RECORDS`] or [`ENTRIES`].
pub(super) fn block<'row>(row: &'row Row<'_>) -> rusqlite::Result<Block<&'row [u8]>> {
    let number: i64 = row.get(3)?;
    Ok(Block {
        last: row.get(0)?,
        first: row.get(1)?,
        kept_at: row.get(2)?,
        format: Format::of(number).ok_or(Error::IntegralValueOutOfRange(3, number))?,
        keys: row.get_ref(4)?.as_blob()?,
        bodies: row.get_ref(5)?.as_blob()?,
        sums: row.get_ref(6)?.as_blob()?,
    })
}

/// Returns the number of the newest body and when it became durable, in milliseconds since 1970; 0
/// and the earliest time if there is none. Of a damaged row only the number counts, and only if it can be.
pub(super) fn newest(database: &Connection) -> rusqlite::Result<(Seq, i64)> {
    let sql = "SELECT last, first, kept_at, format, x'', x'', sums FROM blocks ORDER BY last DESC";
    let mut statement = database.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut claimed: Vec<Seq> = Vec::new();
    while let Some(row) = rows.next()? {
        match block(row) {
            Ok(block) if block.is_whole() => {
                let next = claimed
                    .into_iter()
                    .filter(|last| *last <= block.last + MOST_BEHIND);
                return Ok((next.fold(block.last, Seq::max), block.kept_at));
            }
            _ => claimed.extend(row.get::<_, Seq>(0).ok()),
        }
    }
    Ok((0, i64::MIN))
}

/// Returns the number of the newest body that was ever stored.
pub(super) fn head(database: &Connection) -> rusqlite::Result<Seq> {
    let lost = rows::counter(database, rows::LOST)?;
    Ok(newest(database)?.0.max(lost.unwrap_or(0)))
}

/// Returns the number up to which retention has removed bodies.
pub(super) fn trimmed(database: &Connection) -> rusqlite::Result<Seq> {
    if let Some(trimmed) = rows::counter(database, rows::TRIMMED)? {
        return Ok(trimmed);
    }
    let sql = "SELECT first FROM blocks ORDER BY last LIMIT 1";
    let first = database.query_row(sql, [], |row| row.get::<_, Seq>(0));
    Ok(first.optional()?.unwrap_or(1).saturating_sub(1))
}

/// One process has the database file open and dispatches everything.
pub(super) const SHARES: Share = 1;

/// What [`walk`] reads: the rows from a number on.
pub(super) const RECORDS: &str = "SELECT last, first, kept_at, format, x'', events, sums FROM blocks \
                                  WHERE last >= ? ORDER BY last";
pub(super) const ENTRIES: &str = "SELECT last, first, kept_at, format, claims, x'', sums FROM blocks \
                                  WHERE last >= ? ORDER BY last";

/// A consumer that is far behind reads about this much at a time, however long the bodies are.
const READ_BYTES: usize = 8 * 1024 * 1024;

/// A step over damage is at most this part of what was passed.
const STEPS: Seq = 16;

/// How far the number of a damaged row may be from the newest whole one: that of several blocks.
const MOST_BEHIND: Seq = 4096;
