//! The queries.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use uuid::Uuid;

use super::attempts::{self, Attempt, bucket};
use super::codec::{Decoded, kind_bit};
use super::failure::Failure;
use super::segment::{Row, Segment, View, nanos};
use super::sessions;
use super::tuning::IndexTuning;
use super::writer::{Open, PARTS, lock};
use crate::index::{EventEntry, EventFilter, TimelineEntry};
use crate::journal::{Position, Seq};
use crate::{EventId, Timestamp};

/// Everything that is indexed at one moment: the database and the open segment.
pub(super) struct Snapshot<'a> {
    database: Transaction<'a>,
    events: Arc<Segment>,
    trimmed: Seq,
}

/// An event that was found, and for a duplicate the position of its original.
type Found = (EventEntry, Option<Position>);

impl<'a> Snapshot<'a> {
    pub(super) fn take(database: &'a Connection, open: &Mutex<Open>) -> Result<Self, Failure> {
        // The lock is held so that nothing moves from one to the other in between.
        let open = lock(open);
        Ok(Self {
            database: begin(database)?,
            events: Arc::clone(&open.events),
            trimmed: open.trimmed,
        })
    }

    /// Returns the newest events that match, at most `limit`.
    pub(super) fn newest(
        &self,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<EventEntry>, Failure> {
        let mut found = self.search(self.events.view(), filter, limit);
        let sql = format!("{CANDIDATES} ORDER BY max_id DESC");
        let mut statement = self.database.prepare_cached(&sql)?;
        let mut rows = statement.query(filter.candidates())?;
        let hash = filter.session.as_deref().map(sessions::hash);
        while let Some(row) = rows.next()? {
            let max_id = Uuid::from_bytes(row.get(1)?);
            // Segments overlap a little if events became durable in another order than they were
            // received in, and more if the clock was set back.
            if found.len() >= limit && found.last().is_none_or(|(last, _)| last.id.body() > max_id)
            {
                break;
            }
            let id = row.get(0)?;
            if self.may_contain(id, hash)? {
                let more = self.read(id, |decoded| self.search(decoded.view(), filter, limit))?;
                found.extend(more);
                found.sort_unstable_by_key(|(entry, _)| Reverse(entry.id));
                found.truncate(limit);
            }
        }
        self.resolved(found)
    }

    fn search<T: AsRef<str>>(
        &self,
        view: View<'_, T>,
        filter: &EventFilter,
        limit: usize,
    ) -> Vec<Found> {
        let mut rows = self.passing(view, filter);
        rows.sort_unstable_by_key(|row| Reverse((row.id, row.part)));
        rows.truncate(limit);
        rows.into_iter().map(|row| view.entry(row)).collect()
    }

    fn passing<'v, T: AsRef<str>>(&self, view: View<'v, T>, filter: &EventFilter) -> Vec<&'v Row> {
        let session = match &filter.session {
            Some(session) => match view.session(session) {
                Some(place) => Some(place),
                None => return Vec::new(),
            },
            None => None,
        };
        let rows = view.rows.iter();
        rows.filter(|row| {
            row.position.seq() > self.trimmed
                && session.is_none_or(|session| row.session == session)
                && filter.kind.is_none_or(|kind| row.kind == kind)
                && filter.before.is_none_or(|before| row.id() < before)
                && filter.from.is_none_or(|from| row.at >= nanos(from))
                && filter.to.is_none_or(|to| row.at < nanos(to))
        })
        .collect()
    }

    /// Returns the positions of all events in the journal that match, oldest first, at most
    /// `limit`.
    pub(super) fn positions(
        &self,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<Position>, Failure> {
        let mut numbers = Vec::new();
        let sql = format!("{CANDIDATES} AND last_seq > 0 ORDER BY last_seq");
        let mut statement = self.database.prepare_cached(&sql)?;
        let mut rows = statement.query(filter.candidates())?;
        let hash = filter.session.as_deref().map(sessions::hash);
        while numbers.len() < limit
            && let Some(row) = rows.next()?
        {
            let id = row.get(0)?;
            if self.may_contain(id, hash)? {
                self.read(id, |decoded| {
                    self.add_numbers(decoded.view(), filter, &mut numbers);
                })?;
            }
        }
        self.add_numbers(self.events.view(), filter, &mut numbers);
        numbers.truncate(limit);
        Ok(numbers)
    }

    fn add_numbers<T: AsRef<str>>(
        &self,
        view: View<'_, T>,
        filter: &EventFilter,
        numbers: &mut Vec<Position>,
    ) {
        let start = numbers.len();
        let passing = self.passing(view, filter).into_iter();
        numbers.extend(passing.filter(|row| !row.duplicate).map(|row| row.position));
        numbers[start..].sort_unstable();
    }

    /// Returns the event with this id.
    pub(super) fn by_id(&self, id: EventId) -> Result<Option<EventEntry>, Failure> {
        let mut found: Vec<Found> = self.with_id(self.events.view(), id).into_iter().collect();
        let sql = "SELECT id FROM segments WHERE min_id <= ?1 AND max_id >= ?1";
        let mut statement = self.database.prepare_cached(sql)?;
        let mut rows = statement.query([id.body().as_bytes()])?;
        while found.is_empty()
            && let Some(row) = rows.next()?
        {
            let id_in = |decoded: &Decoded<'_>| self.with_id(decoded.view(), id);
            found.extend(self.read(row.get(0)?, id_in)?);
        }
        Ok(self.resolved(found)?.pop())
    }

    fn with_id<T: AsRef<str>>(&self, view: View<'_, T>, id: EventId) -> Option<Found> {
        let mut rows = view.rows.iter();
        let row = rows.find(|row| row.id() == id && row.position.seq() > self.trimmed)?;
        Some(view.entry(row))
    }

    /// Returns the events at these positions, oldest first.
    pub(super) fn by_positions(&self, positions: &[Position]) -> Result<Vec<EventEntry>, Failure> {
        let mut entries = Vec::new();
        self.each_at(positions, |entry| entries.push(entry))?;
        entries.sort_unstable_by_key(|entry| entry.position);
        Ok(entries)
    }

    /// Looks up the ids of the originals of duplicates.
    fn resolved(&self, found: Vec<Found>) -> Result<Vec<EventEntry>, Failure> {
        let originals: Vec<Position> = found.iter().filter_map(|(_, original)| *original).collect();
        let mut ids = HashMap::new();
        self.each_at(&originals, |entry| {
            ids.insert(entry.position, entry.id);
        })?;
        let resolved = found.into_iter().map(|(mut entry, original)| {
            entry.duplicate_of = original.and_then(|_| ids.get(&original).copied());
            entry
        });
        Ok(resolved.collect())
    }

    /// Calls `each` with the events at these positions, and reads each segment once.
    fn each_at(
        &self,
        positions: &[Position],
        mut each: impl FnMut(EventEntry),
    ) -> Result<(), Failure> {
        let mut positions = positions.to_vec();
        positions.retain(|position| position.seq() > self.trimmed);
        positions.sort_unstable();
        positions.dedup();
        let mut left = &positions[..];
        let sql = "SELECT id, first_seq, last_seq FROM segments WHERE last_seq >= ? \
                   ORDER BY last_seq LIMIT 1";
        let mut statement = self.database.prepare_cached(sql)?;
        while let Some(first) = left.first() {
            let next = statement.query_row([first.seq()], |row| {
                Ok((row.get(0)?, row.get::<_, Seq>(1)?, row.get::<_, Seq>(2)?))
            });
            let Some((id, first_seq, last_seq)) = next.optional()? else {
                at(self.events.view(), left, &mut each);
                break;
            };
            let start = left.partition_point(|position| position.seq() < first_seq);
            let end = left.partition_point(|position| position.seq() <= last_seq);
            if start < end {
                let wanted = &left[start..end];
                self.read(id, |decoded| at(decoded.view(), wanted, &mut each))?;
            }
            left = &left[end..];
        }
        Ok(())
    }

    fn may_contain(&self, id: i64, session: Option<u64>) -> Result<bool, Failure> {
        let Some(hash) = session else {
            return Ok(true);
        };
        let sql = "SELECT filter FROM contents WHERE id = ?";
        let mut statement = self.database.prepare_cached(sql)?;
        let contains = statement.query_row([id], |row| {
            Ok(sessions::may_contain(row.get_ref(0)?.as_blob()?, hash))
        });
        Ok(contains?)
    }

    fn read<T>(&self, id: i64, work: impl FnOnce(&Decoded<'_>) -> T) -> Result<T, Failure> {
        let sql = "SELECT events FROM contents WHERE id = ?";
        let mut statement = self.database.prepare_cached(sql)?;
        let done = statement.query_row([id], |row| {
            let decoded = Decoded::read(row.get_ref(0)?.as_blob()?);
            Ok(decoded.map(|decoded| work(&decoded)))
        })?;
        done.ok_or(Failure::Damaged)
    }
}

/// Calls `each` with the events at these positions, which must be sorted.
fn at<T: AsRef<str>>(view: View<'_, T>, positions: &[Position], each: &mut impl FnMut(EventEntry)) {
    let rows = view.rows.iter().filter(|row| !row.duplicate);
    for row in rows.filter(|row| positions.binary_search(&row.position).is_ok()) {
        each(view.entry(row).0);
    }
}

impl EventFilter {
    /// The parameters of [`CANDIDATES`].
    fn candidates(&self) -> impl rusqlite::Params {
        (
            self.before.map(|before| before.body().into_bytes()),
            self.kind.map_or(u32::MAX, kind_bit),
            self.from.map_or(i64::MIN, nanos),
            self.to.map(nanos),
        )
    }
}

/// Selects the segments that may hold matching events; the session is checked later.
const CANDIDATES: &str = "SELECT id, max_id FROM segments \
    WHERE (?1 IS NULL OR min_id <= ?1) AND kinds & ?2 != 0 AND last_at >= ?3 \
    AND (?4 IS NULL OR first_at < ?4)";

/// Returns all attempts at an event, in their order.
pub(super) fn attempts(
    database: &Connection,
    open: &Mutex<Open>,
    position: Position,
    tuning: IndexTuning,
) -> Result<Vec<TimelineEntry>, Failure> {
    let (database, mut entries) = {
        let open = lock(open);
        let attempts = open
            .attempts
            .iter()
            .filter(|attempt| attempt.position == position);
        (begin(database)?, attempts.map(shown).collect::<Vec<_>>())
    };
    let sql = "SELECT notes FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id";
    let mut statement = database.prepare_cached(sql)?;
    let base = bucket(position.seq(), tuning.bucket) * PARTS;
    let mut rows = statement.query(params![base, base + PARTS - 1])?;
    while let Some(row) = rows.next()? {
        let attempts = attempts::decode(row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?);
        let attempts = attempts.ok_or(Failure::Damaged)?;
        let attempts = attempts
            .iter()
            .filter(|attempt| attempt.position == position);
        entries.extend(attempts.map(shown));
    }
    entries.sort_by(|one, next| order(one).cmp(&order(next)));
    entries.truncate(MAX_ATTEMPTS);
    Ok(entries)
}

fn order(entry: &TimelineEntry) -> (Timestamp, u32, &str, &str) {
    (entry.at, entry.attempt, &entry.consumer, &entry.outcome)
}

fn shown<T: AsRef<str>>(attempt: &Attempt<T>) -> TimelineEntry {
    TimelineEntry {
        at: Timestamp::from_nanosecond(attempt.at.into()).unwrap_or_default(),
        consumer: attempt.consumer.as_ref().to_owned(),
        attempt: attempt.attempt,
        outcome: attempt.outcome().to_owned(),
    }
}

/// Starts a read transaction: later writes do not change what it sees.
fn begin(database: &Connection) -> rusqlite::Result<Transaction<'_>> {
    let transaction = database.unchecked_transaction()?;
    // A transaction begins with its first read.
    transaction
        .prepare_cached("SELECT indexed FROM state")?
        .query_row([], |_| Ok(()))?;
    Ok(transaction)
}

/// The most attempts at one event that are shown.
const MAX_ATTEMPTS: usize = 1000;
