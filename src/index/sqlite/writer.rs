//! [`Writer`]: what is not in the database yet, and how it gets there.
//!
//! Events and attempts gather in memory, where searches see them too, and are written together: a
//! segment of events is one row. At low rates segments are small, so whatever is sealed takes in the
//! segments before it that are not much larger: their number grows with the logarithm of what was
//! written, and each event is rewritten as rarely.

use std::borrow::Borrow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::attempts::{self, Attempt, bucket};
use super::codec::{Decoded, encode};
use super::failure::Failure;
use super::schema;
use super::segment::{FULL_TEXT, Item, Segment};
use super::tuning::IndexTuning;
use crate::dialect::Decoder;
use crate::journal::{Position, Record, Seq};

/// What is not in the database yet, for the searches. Whoever has the lock sees the database and
/// this at one moment: it is held while one changes to the other.
#[derive(Debug, Default)]
pub(super) struct Open {
    /// Shared with searches; copied when something is added while one of them has it.
    pub(super) events: Arc<Segment>,
    pub(super) attempts: Vec<Attempt>,
    /// Events up to this one have left the journal.
    pub(super) trimmed: Seq,
}

/// The one that writes.
#[derive(Debug)]
pub(super) struct Writer {
    database: Connection,
    open: Arc<Mutex<Open>>,
    /// Events up to this one are in segments or in the open one.
    cursor: Seq,
    tuning: IndexTuning,
}

impl Writer {
    pub(super) fn new(database: Connection, tuning: IndexTuning) -> rusqlite::Result<Self> {
        let (cursor, trimmed) =
            database.query_row("SELECT indexed, trimmed FROM state", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
        let open = Open {
            trimmed,
            ..Open::default()
        };
        Ok(Self {
            database,
            open: Arc::new(Mutex::new(open)),
            cursor,
            tuning,
        })
    }

    pub(super) fn open(&self) -> &Arc<Mutex<Open>> {
        &self.open
    }

    /// Events up to this one are indexed.
    pub(super) fn cursor(&self) -> Seq {
        self.cursor
    }

    /// Takes events of the journal, in its order, until the open segment is full; returns how many.
    pub(super) fn add_records<R: Borrow<Record>>(
        &mut self,
        records: &[R],
        decoder: &Decoder,
    ) -> usize {
        let mut open = lock(&self.open);
        let segment = Arc::make_mut(&mut open.events);
        let mut count = 0;
        for record in records.iter().map(Borrow::borrow) {
            if segment.is_full(self.tuning.full) {
                break;
            }
            match &record.events {
                Some(events) => add_record(segment, record, events),
                None => add_record(segment, record, &decoder.decode(&record.received).1),
            }
            self.cursor = record.seq;
            count += 1;
        }
        count
    }

    /// Takes duplicates until the open segment is full; returns how many.
    pub(super) fn add_duplicates<'a>(&self, items: impl Iterator<Item = Item<'a>>) -> usize {
        let mut open = lock(&self.open);
        let segment = Arc::make_mut(&mut open.events);
        let mut count = 0;
        for item in items {
            if segment.is_full(self.tuning.full) {
                break;
            }
            segment.push(&item);
            count += 1;
        }
        count
    }

    /// Takes attempts. Where too many cannot be written they are left out.
    pub(super) fn add_attempts(&self, attempts: Vec<Attempt>) {
        let mut open = lock(&self.open);
        match open.attempts.is_empty() {
            true => open.attempts = attempts,
            false if open.attempts.len() < MAX_ATTEMPTS => open.attempts.extend(attempts),
            false => {}
        }
    }

    /// Whether nothing waits to be written.
    pub(super) fn is_empty(&self) -> bool {
        let open = lock(&self.open);
        open.events.is_empty() && open.attempts.is_empty()
    }

    /// Whether what waits should be written now.
    pub(super) fn is_full(&self) -> bool {
        let open = lock(&self.open);
        open.events.is_full(self.tuning.full) || open.attempts.len() >= self.tuning.full
    }

    /// Writes what waits, or only what should not wait any longer, in one transaction. When that
    /// fails all of it waits on.
    pub(super) fn seal(&mut self, which: Which) -> Result<(), Failure> {
        let mut open = lock(&self.open);
        let all = which == Which::All;
        let events = (all || open.events.is_full(self.tuning.full)) && !open.events.is_empty();
        let attempts = all || open.attempts.len() >= self.tuning.full;
        let transaction = self.database.transaction()?;
        if events {
            write_segment(&transaction, &open.events, self.tuning.full)?;
            let sql = "UPDATE state SET indexed = ?";
            transaction.prepare_cached(sql)?.execute([self.cursor])?;
        }
        if attempts {
            open.attempts
                .sort_unstable_by_key(|attempt| (attempt.position, attempt.at));
            let bucket = |attempt: &Attempt| bucket(attempt.position.seq(), self.tuning.bucket);
            let same = |one: &Attempt, next: &Attempt| bucket(one) == bucket(next);
            for attempts in open.attempts.chunk_by(same) {
                write_attempts(&transaction, attempts, self.tuning)?;
            }
        }
        transaction.commit()?;
        if events {
            open.events = Arc::default();
        }
        if attempts {
            open.attempts.clear();
        }
        Ok(())
    }

    /// Events up to `up_to` have left the journal: they are hidden from now on, and removed with the
    /// last of their segment.
    pub(super) fn trim(&mut self, up_to: Seq) -> Result<(), Failure> {
        {
            let mut open = lock(&self.open);
            if up_to <= open.trimmed {
                return Ok(());
            }
            open.trimmed = up_to;
            open.attempts
                .retain(|attempt| attempt.position.seq() > up_to);
        }
        let sql = "UPDATE state SET trimmed = ?";
        self.database.execute(sql, [up_to])?;
        let attempts = "DELETE FROM attempts WHERE id IN \
            (SELECT id FROM attempts WHERE id < ? ORDER BY id LIMIT 1000)";
        let end = (bucket(up_to + 1, self.tuning.bucket) * PARTS,);
        while self.database.execute(attempts, end)? > 0 {}
        // A few at a time, so that a search never waits long.
        loop {
            let _open = lock(&self.open);
            let transaction = self.database.transaction()?;
            let gone = "SELECT id FROM segments WHERE max_number <= ? LIMIT 32";
            let contents = format!("DELETE FROM contents WHERE id IN ({gone})");
            transaction.execute(&contents, [up_to])?;
            let heads = format!("DELETE FROM segments WHERE id IN ({gone})");
            let count = transaction.execute(&heads, [up_to])?;
            transaction.commit()?;
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Forgets everything, because it was another journal's.
    pub(super) fn clear(&mut self) -> Result<(), Failure> {
        let mut open = lock(&self.open);
        schema::clear(&mut self.database)?;
        *open = Open::default();
        self.cursor = 0;
        Ok(())
    }
}

/// What is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// The events when they are as many as a segment should have, the attempts likewise.
    Full,
    All,
}

pub(super) fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds each event of a body that is no duplicate: duplicates are told with the event they are the same
/// as.
fn add_record(segment: &mut Segment, record: &Record, events: &[crate::Event]) {
    let count = record.parts.count();
    for view in record.parts.views(&record.received) {
        if !view.duplicate {
            let own = Record::events_of(count, view.part, events);
            let position = Position::new(record.seq, view.part);
            segment.push(&Item::new(&record.received, view, own, position, false));
        }
    }
}

/// Writes a segment; those before it that are not much larger become part of it.
fn write_segment(
    transaction: &Transaction<'_>,
    segment: &Arc<Segment>,
    full: usize,
) -> Result<(), Failure> {
    let mut segment = Arc::clone(segment);
    loop {
        let sql = "SELECT id, count, size FROM segments ORDER BY id DESC LIMIT 1";
        let last = transaction
            .prepare_cached(sql)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let Some((id, count, size)): Option<(i64, usize, usize)> = last.optional()? else {
            break;
        };
        let length = segment.len();
        let enough = count >= full || size > FULL_TEXT;
        if enough || count > 2 * length || count + length > 2 * full {
            break;
        }
        let sql = "SELECT events FROM contents WHERE id = ?";
        let mut statement = transaction.prepare_cached(sql)?;
        let absorbed = statement.query_row([id], |row| {
            let decoded = Decoded::read(row.get_ref(0)?.as_blob()?);
            Ok(decoded.map(|decoded| {
                let view = decoded.view();
                let segment = Arc::make_mut(&mut segment);
                for row in view.rows {
                    segment.push(&view.item(row));
                }
            }))
        })?;
        absorbed.ok_or(Failure::Damaged)?;
        transaction.execute("DELETE FROM segments WHERE id = ?", [id])?;
        transaction.execute("DELETE FROM contents WHERE id = ?", [id])?;
    }
    insert(transaction, &segment)
}

fn insert(transaction: &Transaction<'_>, segment: &Segment) -> Result<(), Failure> {
    let Some((head, filter, blob)) = encode(segment.view()) else {
        return Ok(());
    };
    let sql = "INSERT INTO segments VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    transaction.prepare_cached(sql)?.execute(params![
        head.count,
        blob.len(),
        head.min_id.as_bytes(),
        head.max_id.as_bytes(),
        head.first_seq,
        head.last_seq,
        head.max_number,
        head.first_at,
        head.last_at,
        head.kinds,
    ])?;
    let id = transaction.last_insert_rowid();
    let sql = "INSERT INTO contents VALUES (?, ?, ?)";
    transaction
        .prepare_cached(sql)?
        .execute(params![id, filter.as_bytes(), blob])?;
    Ok(())
}

/// Writes attempts of one bucket, sorted; the parts before them that are not much larger become one
/// with them. What is more than [`PARTS`] is left out.
fn write_attempts(
    transaction: &Transaction<'_>,
    attempts: &[Attempt],
    tuning: IndexTuning,
) -> Result<(), Failure> {
    let Some(first) = attempts.first() else {
        return Ok(());
    };
    let full = tuning.full;
    let base = bucket(first.position.seq(), tuning.bucket) * PARTS;
    let (mut id, mut absorbed) = (base, Vec::new());
    let mut count = attempts.len();
    let sql = "SELECT id, count, notes FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id DESC";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut rows = statement.query([base, base + PARTS - 1])?;
    while let Some(row) = rows.next()? {
        let (part, length): (u64, usize) = (row.get(0)?, row.get(1)?);
        if length >= full || length > 2 * count || length + count > 2 * full {
            id = part + 1;
            break;
        }
        absorbed.push((part, row.get::<_, Vec<u8>>(2)?));
        count += length;
    }
    drop(rows);
    if id >= base + PARTS {
        return Ok(());
    }
    let mut delete = transaction.prepare_cached("DELETE FROM attempts WHERE id = ?")?;
    let mut all: Vec<Attempt<&str>> = Vec::with_capacity(count);
    for (part, notes) in &absorbed {
        all.extend(attempts::decode(notes).ok_or(Failure::Damaged)?);
        delete.execute([part])?;
    }
    all.extend(attempts.iter().map(Attempt::as_str));
    if !absorbed.is_empty() {
        all.sort_unstable_by_key(|attempt| (attempt.position, attempt.at));
    }
    let notes = attempts::encode(&all);
    let sql = "INSERT INTO attempts VALUES (?, ?, ?)";
    transaction
        .prepare_cached(sql)?
        .execute(params![id, all.len(), notes])?;
    Ok(())
}

/// How many blobs of attempts a bucket has at most.
pub(super) const PARTS: u64 = 4096;

/// With so many attempts that cannot be written no more are taken.
const MAX_ATTEMPTS: usize = 65_536;
