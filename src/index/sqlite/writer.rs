//! [`IndexWriter`]: what is not in the database yet, and how it is written.
//!
//! Events and attempts gather in memory, where searches see them too, and are written together: a
//! segment of events is one row. At low rates segments are small. So a new segment absorbs the
//! segments before it that are not much larger: their number grows with the logarithm of what was
//! written, and each event is rewritten only a few times.

use std::borrow::Borrow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use roaring::RoaringTreemap;
use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params, params_from_iter};

use super::attempts::{self, Attempt, PARTS, first_blob};
use super::schema::{self, Failure, IndexTuning, Result, State, read_blob};
use super::segment::{FULL_TEXT, OpenSegment, Sealed, Segment, clear};
use super::sums::{Kind, open_blob, seal_blob, sum_of};
use crate::dialect::Decoder;
use crate::index::EventEntry;
use crate::journal::{Missing, Position, Record, Seq};

/// What is not in the database yet. The lock is held while a commit moves data into the database, so
/// its holder sees both at one moment.
#[derive(Debug, Default)]
pub(super) struct Unwritten {
    /// Shared with searches, as the attempts are. Adding to it copies it if a search holds it.
    pub(super) events: Arc<OpenSegment>,
    pub(super) attempts: Arc<Vec<Attempt>>,
    /// Events up to this one have left the journal.
    pub(super) trimmed: Seq,
    /// Bodies up to this one are in a segment.
    pub(super) indexed: Seq,
}

impl Unwritten {
    /// Returns whether there are events to write, and attempts: any, or `full` of them.
    fn due(&self, all: bool, full: usize) -> (bool, bool) {
        let (events, attempts) = (&self.events, self.attempts.len());
        (
            (all || events.is_full(full)) && !events.is_empty(),
            (all || attempts >= full) && attempts > 0,
        )
    }
}

#[derive(Debug)]
pub(super) struct IndexWriter {
    pub(super) database: Connection,
    path: PathBuf,
    /// [`schema::file_id`] of the database.
    file: Option<(u64, u64)>,
    pub(super) unwritten: Arc<Mutex<Unwritten>>,
    /// Events up to this one are in a sealed segment or in the open one.
    pub(super) cursor: Seq,
    /// What the database says of itself.
    pub(super) state: State,
    pub(super) tuning: IndexTuning,
    pub(super) erased: Erased,
    /// Estimates the bytes in the WAL.
    wal: usize,
    /// Whether rows of events that have left the journal may still be there.
    is_trimming: bool,
}

/// The deletions that the index knows.
#[derive(Debug, Default)]
pub(super) struct Erased {
    /// The bodies that were deleted and are still in the journal.
    pub(super) bodies: RoaringTreemap,
    /// The number of the newest deletion among them.
    pub(super) known: u64,
}

impl IndexWriter {
    /// Opens the index at `path`. One that cannot be used is replaced by an empty one.
    pub(super) fn open(path: &Path, tuning: IndexTuning) -> Result<Self> {
        let database = schema::open(path)?;
        let state = State::read(&database)?;
        let unwritten = Unwritten {
            trimmed: state.trimmed,
            indexed: state.indexed,
            ..Unwritten::default()
        };
        Ok(Self {
            database,
            path: path.to_owned(),
            file: schema::file_id(path),
            unwritten: Arc::new(Mutex::new(unwritten)),
            cursor: state.indexed,
            state,
            tuning,
            erased: Erased::default(),
            wal: 0,
            is_trimming: true,
        })
    }

    /// Returns whether the file that is written no longer has its name, so that the next start would not
    /// find it.
    pub(super) fn has_moved(&self) -> bool {
        schema::file_id(&self.path) != self.file
    }

    /// Takes events of the journal, in order, until the open segment is full. Returns how many.
    pub(super) fn add_records<R: Borrow<Record>>(
        &mut self,
        records: &[R],
        decoder: &Decoder,
    ) -> usize {
        let mut unwritten = lock(&self.unwritten);
        let unwritten = &mut *unwritten;
        let segment = Arc::make_mut(&mut unwritten.events);
        let mut count = 0;
        for record in records.iter().map(Borrow::borrow) {
            if segment.is_full(self.tuning.full) {
                break;
            }
            match (record.events.known(), record.missing) {
                // Without an id there is nothing to find it by.
                (_, Some(_)) if record.received.id.is_nil() => {}
                (_, Some(Missing::Deleted(_))) => add_deleted(segment, record),
                // It was read just before, and its deletion is known already.
                _ if self.erased.bodies.contains(record.seq) => add_deleted(segment, record),
                (_, Some(_)) => add_record(segment, record, &[]),
                (Some(events), None) => add_record(segment, record, events),
                (None, None) => add_record(segment, record, &decoder.decode(&record.received).1),
            }
            self.cursor = record.seq;
            unwritten.indexed = record.seq;
            count += 1;
        }
        count
    }

    /// Takes duplicates, from the one at `start` on, until the open segment is full. Returns how
    /// many.
    pub(super) fn add_duplicates(&self, duplicates: &Segment<Arc<str>>, start: usize) -> usize {
        let mut unwritten = lock(&self.unwritten);
        let segment = Arc::make_mut(&mut unwritten.events);
        let before = segment.len();
        for row in &duplicates.rows[start..] {
            if segment.is_full(self.tuning.full) {
                break;
            }
            let entry: EventEntry<&str> = duplicates.entry(row);
            let is_deleted = self.erased.bodies.contains(row.seq());
            segment.push(&if is_deleted { entry.erased() } else { entry });
        }
        segment.len() - before
    }

    /// Takes attempts. If they cannot be written, discards their answers, and later the attempts too.
    pub(super) fn add_attempts(&self, mut attempts: Vec<Attempt>) {
        self.erase_notes(&mut attempts);
        let mut unwritten = lock(&self.unwritten);
        if unwritten.attempts.len() >= 2 * self.tuning.full {
            let failures = attempts
                .iter_mut()
                .filter_map(|attempt| attempt.failure.as_mut());
            failures.for_each(|failure| failure.answer = None);
        }
        if unwritten.attempts.len() < MAX_ATTEMPTS {
            Arc::make_mut(&mut unwritten.attempts).extend(attempts);
        }
    }

    /// Forgets the attempts that are not written.
    pub(super) fn forget_attempts(&self) {
        lock(&self.unwritten).attempts = Arc::default();
    }

    /// Returns whether there is anything to write, or, unless `all`, a whole segment or batch.
    pub(super) fn is_due(&self, all: bool) -> bool {
        lock(&self.unwritten).due(all, self.tuning.full) != (false, false)
    }

    /// Writes everything, or only what is full, in one transaction. After a failure everything
    /// stays in memory.
    pub(super) fn seal(&mut self, all: bool) -> Result<()> {
        let full = self.tuning.full;
        if self.has_moved() {
            return Err(Failure::Moved);
        }
        // Only this writer changes them, so they stay as they are until they are written.
        let (events, attempts, (seals_events, seals_attempts)) = {
            let unwritten = lock(&self.unwritten);
            let (events, attempts) = (&unwritten.events, &unwritten.attempts);
            let due = unwritten.due(all, full);
            (Arc::clone(events), Arc::clone(attempts), due)
        };
        let mut state = self.state;
        let transaction = self.database.transaction()?;
        let mut bytes = 0;
        if seals_events {
            bytes += write_segment(&transaction, &events, full)?;
            state.indexed = self.cursor;
            state.write(&transaction)?;
        }
        if seals_attempts {
            let mut attempts: Vec<&Attempt> = attempts.iter().collect();
            attempts.sort_unstable_by_key(|attempt| (attempt.position, attempt.at));
            let bucket = |attempt: &Attempt| first_blob(attempt.position.seq(), self.tuning.bucket);
            let same = |one: &&Attempt, next: &&Attempt| bucket(one) == bucket(next);
            for attempts in attempts.chunk_by(same) {
                bytes += write_attempts(&transaction, attempts, self.tuning)?;
            }
        }
        {
            // A search sees the data either in memory or in the database.
            let mut unwritten = lock(&self.unwritten);
            transaction.commit()?;
            // Their memory is for those that come next, unless a search holds them.
            drop((events, attempts));
            if seals_events {
                match Arc::get_mut(&mut unwritten.events) {
                    Some(events) => events.clear(),
                    None => unwritten.events = Arc::default(),
                }
                self.state = state;
            }
            if seals_attempts {
                match Arc::get_mut(&mut unwritten.attempts) {
                    Some(attempts) => clear(attempts),
                    None => unwritten.attempts = Arc::default(),
                }
            }
        }
        self.written(bytes)
    }

    /// Hides events up to `up_to`, which have left the journal. [`IndexWriter::remove_some`] removes them; a
    /// segment goes with its last event.
    pub(super) fn trim(&mut self, up_to: Seq) -> Result<()> {
        let attempts = {
            let unwritten = lock(&self.unwritten);
            if up_to <= unwritten.trimmed {
                return Ok(());
            }
            Arc::clone(&unwritten.attempts)
        };
        self.erased.bodies.remove_range(..=up_to);
        let state = State {
            trimmed: up_to,
            ..self.state
        };
        state.write(&self.database)?;
        self.state = state;
        let mut attempts = attempts.to_vec();
        attempts.retain(|attempt| attempt.position.seq() > up_to);
        {
            let mut unwritten = lock(&self.unwritten);
            unwritten.trimmed = up_to;
            unwritten.attempts = Arc::new(attempts);
        }
        self.is_trimming = true;
        Ok(())
    }

    /// Removes some rows of events that have left the journal, in a short transaction. Returns whether there may
    /// be more. No search shows any of these rows, so none needs to wait until they are gone.
    pub(super) fn remove_some(&mut self) -> Result<bool> {
        if !self.is_trimming {
            return Ok(false);
        }
        let up_to = lock(&self.unwritten).trimmed;
        let transaction = self.database.transaction()?;
        let attempts = "DELETE FROM attempts WHERE id IN \
            (SELECT id FROM attempts WHERE id < ? ORDER BY id LIMIT 100)";
        let end = first_blob(up_to + 1, self.tuning.bucket);
        let attempts = transaction.execute(attempts, [end])?;
        let gone = "SELECT id FROM segments WHERE max_number <= ? LIMIT 32";
        let contents = format!("DELETE FROM contents WHERE id IN ({gone})");
        transaction.execute(&contents, [up_to])?;
        let heads = format!("DELETE FROM segments WHERE id IN ({gone})");
        let segments = transaction.execute(&heads, [up_to])?;
        transaction.commit()?;
        self.is_trimming = attempts + segments > 0;
        self.written(0)?;
        Ok(self.is_trimming)
    }

    /// Counts a commit with so many bytes in blobs. Copies the WAL into the database if it is time.
    pub(super) fn written(&mut self, bytes: usize) -> Result<()> {
        self.wal += bytes + COMMIT_BYTES;
        if self.wal >= CHECKPOINT_BYTES {
            self.wal = 0;
            let sql = "PRAGMA wal_checkpoint(PASSIVE)";
            self.database.query_row(sql, [], |_| Ok(()))?;
        }
        Ok(())
    }

    /// Replaces an index that is damaged or of another journal by an empty one. What is not written of
    /// the attempts stays. No other connection to it may be open.
    pub(super) fn begin_again(&mut self) -> Result<()> {
        // Closes the old file. If there can be no new one, the next write fails as with a damaged index.
        self.database = Connection::open_in_memory()?;
        self.database = schema::create(&self.path)?;
        self.file = schema::file_id(&self.path);
        let mut unwritten = lock(&self.unwritten);
        unwritten.events = Arc::default();
        (unwritten.trimmed, unwritten.indexed) = (0, 0);
        self.state = State::default();
        self.erased = Erased::default();
        (self.cursor, self.wal) = (0, 0);
        Ok(())
    }
}

pub(super) fn lock(unwritten: &Mutex<Unwritten>) -> MutexGuard<'_, Unwritten> {
    unwritten.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Adds each event of a body except duplicates, which come as notes with their originals.
fn add_record(segment: &mut OpenSegment, record: &Record, events: &[crate::Event]) {
    let count = record.parts.count();
    for view in record.parts.views(&record.received) {
        if !view.duplicate {
            let (part, session) = (view.part, view.session);
            let own = Record::events_of(count, part, events);
            let position = Position::new(record.seq, part);
            let entry = EventEntry::new(&record.received, part, session, own, position, false);
            segment.push(&entry);
        }
    }
}

/// Adds a body that was deleted, to find it by its id.
fn add_deleted(segment: &mut OpenSegment, record: &Record) {
    let position = Position::first(record.seq);
    let entry = EventEntry::new(&record.received, 1, None, &[], position, false);
    segment.push(&entry.erased());
}

/// Writes a segment. It absorbs the segments before it that are not much larger. Returns its length
/// in bytes.
fn write_segment(
    transaction: &Transaction<'_>,
    segment: &Arc<OpenSegment>,
    full: usize,
) -> Result<usize> {
    let mut segment = Arc::clone(segment);
    let before = loop {
        let sql = "SELECT id, count, size FROM segments ORDER BY id DESC LIMIT 1";
        let last = transaction
            .prepare_cached(sql)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
        let Some((id, count, size)): Option<(i64, usize, usize)> = last.optional()? else {
            break 0;
        };
        if size > FULL_TEXT || !is_absorbed(count, segment.len(), full) {
            break id;
        }
        let sql = "SELECT events FROM contents WHERE id = ?";
        read_blob(transaction, sql, (Kind::Events, id), |events| {
            let absorbed = Segment::decode(events)?;
            let segment = Arc::make_mut(&mut segment);
            for row in &absorbed.rows {
                segment.push(&absorbed.entry(row));
            }
            Some(())
        })?;
        transaction.execute("DELETE FROM segments WHERE id = ?", [id])?;
        transaction.execute("DELETE FROM contents WHERE id = ?", [id])?;
    };
    let Some(sealed) = segment.seal() else {
        return Ok(0);
    };
    let length = sealed.events.len();
    insert_segment(transaction, before + 1, sealed)?;
    Ok(length)
}

/// Writes a segment, in the place of the one with this id if there is one.
pub(super) fn insert_segment(
    transaction: &Transaction<'_>,
    id: i64,
    sealed: Sealed,
) -> rusqlite::Result<()> {
    let mut row = summary(id, &sealed);
    row.push(Value::Integer(sum_of(&row)));
    let sql = "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
    let mut insert = transaction.prepare_cached(sql)?;
    insert.execute(params_from_iter(row))?;
    let filter = seal_blob(Kind::Filter, id, sealed.filter);
    let events = seal_blob(Kind::Events, id, sealed.events);
    let sql = "INSERT OR REPLACE INTO contents VALUES (?, ?, ?)";
    let mut insert = transaction.prepare_cached(sql)?;
    insert.execute(params![id, filter, events]).map(drop)
}

/// Returns the row of a segment in the order of its columns, without the checksum.
fn summary(id: i64, sealed: &Sealed) -> Vec<Value> {
    let number = |number: u64| Value::Integer(number.cast_signed());
    let uuid = |uuid: uuid::Uuid| Value::Blob(uuid.into_bytes().to_vec());
    vec![
        Value::Integer(id),
        number(sealed.count as u64),
        number(sealed.events.len() as u64),
        uuid(sealed.min_id),
        uuid(sealed.max_id),
        number(sealed.first_seq),
        number(sealed.last_seq),
        number(sealed.max_number),
        Value::Integer(sealed.first_at),
        Value::Integer(sealed.last_at),
        number(sealed.kinds.into()),
    ]
}

/// Returns whether `more` events or attempts take in a row of `count`.
fn is_absorbed(count: usize, more: usize, full: usize) -> bool {
    count < full && count <= 2 * more && count + more <= 2 * full
}

/// Writes the sorted attempts of one bucket. They absorb the blobs before them that are not much
/// larger. Attempts beyond [`PARTS`] blobs are discarded. Returns how many bytes were written.
fn write_attempts(
    transaction: &Transaction<'_>,
    attempts: &[&Attempt],
    tuning: IndexTuning,
) -> Result<usize> {
    let base = first_blob(attempts[0].position.seq(), tuning.bucket);
    let (mut id, mut absorbed) = (base, Vec::new());
    let sql = "SELECT id, count, notes FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id DESC";
    let mut statement = transaction.prepare_cached(sql)?;
    let mut rows = statement.query([base, base + PARTS - 1])?;
    while let Some(row) = rows.next()? {
        let (part, count): (u64, usize) = (row.get(0)?, row.get(1)?);
        if !is_absorbed(count, attempts.len() + absorbed.len(), tuning.full) {
            id = part + 1;
            break;
        }
        let notes = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let notes = open_blob(Kind::Attempts, part.cast_signed(), notes);
        absorbed.extend(notes.and_then(attempts::decode).ok_or(Failure::Damaged)?);
    }
    drop(rows);
    if id >= base + PARTS {
        return Ok(0);
    }
    let sql = "DELETE FROM attempts WHERE id BETWEEN ? AND ?";
    let mut delete = transaction.prepare_cached(sql)?;
    delete.execute([id, base + PARTS - 1])?;
    let mut all: Vec<&Attempt> = attempts.iter().copied().chain(&absorbed).collect();
    all.sort_unstable_by_key(|attempt| (attempt.position, attempt.at));
    let notes = attempts::encode(all.iter().copied());
    let notes = seal_blob(Kind::Attempts, id.cast_signed(), notes);
    let sql = "INSERT INTO attempts VALUES (?, ?, ?)";
    transaction
        .prepare_cached(sql)?
        .execute(params![id, all.len(), notes])?;
    Ok(notes.len())
}

/// Once so many attempts could not be written, no more are taken.
const MAX_ATTEMPTS: usize = 65_536;

/// The WAL is copied into the database about every so many bytes.
const CHECKPOINT_BYTES: usize = 4 * 1024 * 1024;

/// About how many bytes a commit adds to the WAL beside its blobs.
const COMMIT_BYTES: usize = 32 * 1024;
