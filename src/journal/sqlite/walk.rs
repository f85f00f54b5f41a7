//! [`Walk`]: goes through all blocks of a journal, also of one that SQLite cannot read in places.
//!
//! Where the next block cannot be found, the walk looks for the first number from which one can: a damaged page
//! hides the numbers of the rows below it, and those behind are found by the pages beside it. Each step is a
//! transaction of its own, so that a server that writes the journal meanwhile is not held up.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _};

use super::reading::SHARES;
use super::sql::signed;
use crate::EventId;
use crate::journal::block::{Block, Format};
use crate::journal::{Missing, Record, Seq};

/// What the walk has come to.
#[derive(Debug)]
pub(super) enum Piece {
    /// A row, with its values in the order of the columns.
    Block {
        first: Seq,
        last: Seq,
        values: Vec<Value>,
    },
    /// What is in the database of these bodies cannot be read.
    Unreadable { first: Seq, last: Seq },
    /// The end of the database cannot be read, and it is not known how many bodies there were after this one.
    EndUnreadable { after: Seq },
}

#[derive(Debug)]
pub(super) struct Walk<'a> {
    database: &'a Connection,
    /// Everything up to this number has been gone through.
    at: Seq,
    /// The newest number, as far as it is known. Without damage the walk ends with the last block.
    newest: Seq,
    is_over: bool,
}

impl<'a> Walk<'a> {
    /// Begins behind the body `after`. `known` is the newest body that other files know of.
    pub(super) fn new(database: &'a Connection, after: Seq, known: Seq) -> Self {
        Self {
            database,
            at: after,
            newest: known.max(newest(database).unwrap_or(0)),
            is_over: false,
        }
    }

    /// Returns what is next; `None` at the end.
    ///
    /// # Errors
    ///
    /// When the database cannot be read for another reason than damage.
    pub(super) fn next(&mut self) -> rusqlite::Result<Option<Piece>> {
        while !self.is_over {
            let piece = match damaged(self.find(self.at))? {
                Some(None) => return Ok(None),
                Some(Some((first, last))) => self.read(first, last)?,
                None => self.pass_damage()?,
            };
            // Otherwise retention has removed the row in this moment.
            if piece.is_some() {
                return Ok(piece);
            }
        }
        Ok(None)
    }

    /// Looks for the next block that can be found.
    fn pass_damage(&mut self) -> rusqlite::Result<Option<Piece>> {
        let (start, mut bad) = (self.at + 1, self.at);
        while bad < self.newest {
            // One by one at first. A row with a garbled number may seem to be very far away.
            let step = ((bad - self.at) / STEPS).max(1);
            let next = bad.saturating_add(step).min(self.newest);
            let Some(mut found) = damaged(self.find(next))? else {
                bad = next;
                continue;
            };
            let mut good = next;
            while good - bad > 1 {
                let middle = bad + (good - bad) / 2;
                match damaged(self.find(middle))? {
                    Some(other) => (good, found) = (middle, other),
                    None => bad = middle,
                }
            }
            return match found {
                // It holds the numbers from `start` on too.
                Some((first, last)) if first <= start => self.read(first, last),
                Some((first, _)) => Ok(self.unreadable(start, first - 1)),
                None => Ok(self.unreadable(start, good)),
            };
        }
        self.is_over = true;
        if start <= self.newest {
            return Ok(self.unreadable(start, self.newest));
        }
        Ok(Some(Piece::EndUnreadable { after: self.at }))
    }

    fn unreadable(&mut self, first: Seq, last: Seq) -> Option<Piece> {
        self.at = last;
        Some(Piece::Unreadable { first, last })
    }

    /// Finds the first block that ends after a body.
    fn find(&self, after: Seq) -> rusqlite::Result<Option<(Seq, Seq)>> {
        // The page above has the last number of a leaf: with `last > ?` SQLite would begin in the damaged leaf.
        let sql = "SELECT first, last FROM blocks WHERE last >= ? ORDER BY last LIMIT 1";
        let mut statement = self.database.prepare_cached(sql)?;
        let row = statement.query_row([signed(after + 1)], |row| Ok((row.get(0)?, row.get(1)?)));
        match row.optional()? {
            // The numbers are not those of a block: the page is another one, or garbled.
            Some((first, last)) if !is_possible(first, last) || last <= after => {
                Err(rusqlite::Error::InvalidQuery)
            }
            found => Ok(found),
        }
    }

    fn read(&mut self, first: Seq, last: Seq) -> rusqlite::Result<Option<Piece>> {
        let sql = "SELECT * FROM blocks WHERE last = ?";
        let mut statement = self.database.prepare_cached(sql)?;
        let columns = statement.column_count();
        let values = statement.query_row([signed(last)], |row| {
            (0..columns).map(|column| row.get(column)).collect()
        });
        match damaged(values.optional())? {
            Some(None) => Ok(None),
            Some(Some(values)) => {
                self.at = last;
                Ok(Some(Piece::Block {
                    first,
                    last,
                    values,
                }))
            }
            None => Ok(self.unreadable(first, last)),
        }
    }
}

/// Returns the newest number; `None` if it cannot be read. A garbled number does not fit to the row before.
fn newest(database: &Connection) -> Option<Seq> {
    let sql = "SELECT first, last FROM blocks ORDER BY last DESC LIMIT 16";
    let mut statement = database.prepare(sql).ok()?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows = rows.ok()?.filter_map(Result::ok);
    let rows: Vec<(Seq, Seq)> = rows
        .filter(|(first, last)| is_possible(*first, *last))
        .collect();
    let fits = rows.windows(2).find(|pair| pair[1].1 + 1 == pair[0].0);
    fits.map(|pair| pair[0].1).or(rows.first().map(|row| row.1))
}

fn is_possible(first: Seq, last: Seq) -> bool {
    (1..=last).contains(&first) && last - first < LONGEST
}

/// Turns damage into `None`.
fn damaged<T>(found: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match found {
        Err(error) if is_damage(&error) => Ok(None),
        found => found.map(Some),
    }
}

/// Returns the names of the log's columns; `None` if they cannot be read.
pub(super) fn columns(database: &Connection) -> Option<Vec<String>> {
    let sql = "SELECT name FROM pragma_table_info('blocks') ORDER BY cid";
    let names = database.prepare(sql).and_then(|mut statement| {
        let names = statement.query_map([], |row| row.get(0))?;
        names.collect::<rusqlite::Result<Vec<String>>>()
    });
    names.ok().filter(|names| !names.is_empty())
}

/// Returns the names of the columns that a row has by its values, where they cannot be read.
pub(super) fn likely_columns(values: &[Value]) -> Vec<String> {
    let is_new = matches!(values.get(3), Some(Value::Integer(_)));
    let names = if is_new { NEW_COLUMNS } else { COLUMNS };
    names.map(str::to_owned).to_vec()
}

/// Returns the block that a row has; `None` if it has none. Columns that a row of an older version lacks are
/// empty.
pub(super) fn block<'a>(columns: &[String], values: &'a [Value]) -> Option<Block<&'a [u8]>> {
    let value = |name: &str| values.get(columns.iter().position(|column| column == name)?);
    let number = |name| match value(name) {
        Some(Value::Integer(number)) => Some(*number),
        _ => None,
    };
    let blob = |name| match value(name) {
        Some(Value::Blob(blob)) => Some(&blob[..]),
        _ => None,
    };
    let block = Block {
        first: number("first")?.try_into().ok()?,
        last: number("last")?.try_into().ok()?,
        kept_at: number("kept_at")?,
        format: Format::of(number("format").unwrap_or(2))?,
        keys: blob("claims")?,
        bodies: blob("events")?,
        sums: blob("sums").unwrap_or_default(),
    };
    block.is_whole().then_some(block)
}

/// Returns the bodies of a block with their numbers; of one that is not what was written the id, where that can
/// be read.
pub(super) fn records(
    block: &Block<&[u8]>,
) -> impl Iterator<Item = (Seq, Result<Record, Option<EventId>>)> {
    block.records(0, SHARES).map(|record| {
        let id = record.received.id;
        let id = (!id.is_nil()).then(|| EventId::new(id, 1));
        let is_damaged = record.missing == Some(Missing::Damaged);
        (record.seq, if is_damaged { Err(id) } else { Ok(record) })
    })
}

/// Returns whether the file does not hold what a database holds. A disk that cannot be read at some place is
/// damage too.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    match error.sqlite_error() {
        // A table or a column that must be there is not.
        Some(error) if error.extended_code == rusqlite::ffi::SQLITE_ERROR => true,
        Some(error) => matches!(error.code, DatabaseCorrupt | NotADatabase | SystemIoFailure),
        // A row or a value that must be there is not.
        None => true,
    }
}

/// The columns of a log that was begun before version 6, in their order, and of a later one.
const COLUMNS: [&str; 7] = [
    "last", "first", "kept_at", "claims", "events", "format", "sums",
];
const NEW_COLUMNS: [&str; 7] = [
    "last", "first", "kept_at", "format", "sums", "claims", "events",
];

/// A block has fewer bodies.
const LONGEST: u64 = 65_536;

/// After so many steps of one, steps grow with the distance.
const STEPS: u64 = 1024;
