//! The queries.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use uuid::Uuid;

use super::attempts::{self, Attempt, PARTS, first_blob};
use super::schema::{Failure, read_blob};
use super::segment::{OpenSegment, Row, Segment, kind_bit, nanos, session_key};
use super::writer::{Open, lock};
use crate::index::{EventEntry, EventFilter, TimelineEntry};
use crate::journal::{Filter, KeyHash, Position, Seq};
use crate::{EventId, Timestamp};

/// Everything that is indexed at one moment: the database, and what is not in it yet.
pub(super) struct Snapshot<'a> {
    database: Transaction<'a>,
    events: Arc<OpenSegment>,
    attempts: Arc<Vec<Attempt>>,
    trimmed: Seq,
}

impl<'a> Snapshot<'a> {
    pub(super) fn take(database: &'a Connection, open: &Mutex<Open>) -> Result<Self, Failure> {
        // The lock is held so that nothing moves from one to the other in between.
        let open = lock(open);
        let database = database.unchecked_transaction()?;
        // A transaction begins with its first read. It sees no later writes.
        database
            .prepare_cached("SELECT indexed FROM state")?
            .query_row([], |_| Ok(()))?;
        Ok(Self {
            database,
            events: Arc::clone(&open.events),
            attempts: Arc::clone(&open.attempts),
            trimmed: open.trimmed,
        })
    }

    /// Returns the newest events that match, at most `limit`.
    pub(super) fn newest(
        &self,
        filter: &EventFilter,
        limit: usize,
    ) -> Result<Vec<EventEntry>, Failure> {
        let mut found = self.search(&self.events.segment, filter, limit);
        let sql = format!("{CANDIDATES} ORDER BY max_id DESC");
        let mut statement = self.database.prepare_cached(&sql)?;
        let mut rows = statement.query(filter.candidates())?;
        let session = filter.session.as_deref().map(session_key);
        while let Some(row) = rows.next()? {
            let max_id = Uuid::from_bytes(row.get(1)?);
            // Segments overlap a little if events became durable in another order than they were
            // received in, and more if the clock was set back.
            if found.len() >= limit && found.last().is_none_or(|last| last.id.body() > max_id) {
                break;
            }
            let id = row.get(0)?;
            if self.may_contain(id, session)? {
                found.extend(self.read(id, |events| self.search(events, filter, limit))?);
                found.sort_unstable_by_key(|entry| Reverse(entry.id));
                found.truncate(limit);
            }
        }
        self.resolved(found)
    }

    fn search<T: AsRef<str>>(
        &self,
        segment: &Segment<T>,
        filter: &EventFilter,
        limit: usize,
    ) -> Vec<EventEntry> {
        let mut rows = self.passing(segment, filter);
        rows.sort_unstable_by_key(|row| Reverse((row.id, row.part)));
        rows.truncate(limit);
        let entries = rows.into_iter().map(|row| segment.entry(row).owned());
        entries.collect()
    }

    fn passing<'s, T: AsRef<str>>(
        &self,
        segment: &'s Segment<T>,
        filter: &EventFilter,
    ) -> Vec<&'s Row> {
        let session = filter.session.as_deref();
        let session = session.map(|session| segment.session(session));
        let rows = segment.rows.iter();
        rows.filter(|row| {
            row.seq() > self.trimmed
                && session.is_none_or(|session| session == Some(row.session))
                && filter.kind.is_none_or(|kind| row.kind() == kind)
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
        let mut positions = Vec::new();
        let sql = format!("{CANDIDATES} AND last_seq > 0 ORDER BY last_seq");
        let mut statement = self.database.prepare_cached(&sql)?;
        let mut rows = statement.query(filter.candidates())?;
        let session = filter.session.as_deref().map(session_key);
        while positions.len() < limit
            && let Some(row) = rows.next()?
        {
            let id = row.get(0)?;
            if self.may_contain(id, session)? {
                self.read(id, |events| {
                    self.add_positions(events, filter, &mut positions);
                })?;
            }
        }
        self.add_positions(&self.events.segment, filter, &mut positions);
        positions.truncate(limit);
        Ok(positions)
    }

    fn add_positions<T: AsRef<str>>(
        &self,
        segment: &Segment<T>,
        filter: &EventFilter,
        positions: &mut Vec<Position>,
    ) {
        let start = positions.len();
        let passing = self.passing(segment, filter).into_iter();
        let in_journal = passing.filter(|row| !row.is_duplicate());
        positions.extend(in_journal.map(Row::position));
        positions[start..].sort_unstable();
    }

    /// Returns the event with this id.
    pub(super) fn by_id(&self, id: EventId) -> Result<Option<EventEntry>, Failure> {
        let mut found = Vec::from_iter(self.with_id(&self.events.segment, id));
        let sql = "SELECT id FROM segments WHERE min_id <= ?1 AND max_id >= ?1";
        let mut statement = self.database.prepare_cached(sql)?;
        let mut rows = statement.query([id.body().as_bytes()])?;
        while found.is_empty()
            && let Some(row) = rows.next()?
        {
            found.extend(self.read(row.get(0)?, |events| self.with_id(events, id))?);
        }
        Ok(self.resolved(found)?.pop())
    }

    fn with_id<T: AsRef<str>>(&self, segment: &Segment<T>, id: EventId) -> Option<EventEntry> {
        let mut rows = segment.rows.iter();
        let row = rows.find(|row| row.id() == id && row.seq() > self.trimmed)?;
        Some(segment.entry(row).owned())
    }

    /// Returns the events at these positions, oldest first.
    pub(super) fn by_positions(
        &self,
        positions: Vec<Position>,
    ) -> Result<Vec<EventEntry>, Failure> {
        let mut entries = Vec::new();
        self.each_at(positions, |entry| entries.push(entry.owned()))?;
        entries.sort_unstable_by_key(|entry| entry.position);
        Ok(entries)
    }

    /// Looks up the ids of the originals of duplicates.
    fn resolved(&self, mut found: Vec<EventEntry>) -> Result<Vec<EventEntry>, Failure> {
        let duplicates = found.iter().filter(|entry| entry.is_duplicate);
        let originals = duplicates.map(|entry| entry.position).collect();
        let mut ids = HashMap::new();
        self.each_at(originals, |entry| {
            ids.insert(entry.position, entry.id);
        })?;
        for duplicate in found.iter_mut().filter(|entry| entry.is_duplicate) {
            duplicate.duplicate_of = ids.get(&duplicate.position).copied();
        }
        Ok(found)
    }

    /// Calls `each` with the events at these positions, and reads each segment once.
    fn each_at(
        &self,
        mut positions: Vec<Position>,
        mut each: impl FnMut(EventEntry<&str>),
    ) -> Result<(), Failure> {
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
                at(&self.events.segment, left, &mut each);
                break;
            };
            let start = left.partition_point(|position| position.seq() < first_seq);
            let end = left.partition_point(|position| position.seq() <= last_seq);
            if start < end {
                let wanted = &left[start..end];
                self.read(id, |events| at(events, wanted, &mut each))?;
            }
            left = &left[end..];
        }
        Ok(())
    }

    /// Returns all attempts at an event, in their order.
    pub(super) fn attempts(
        &self,
        position: Position,
        bucket_size: u64,
    ) -> Result<Vec<TimelineEntry>, Failure> {
        let mut entries = Vec::new();
        add_attempts(&self.attempts, position, &mut entries);
        let sql = "SELECT notes FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id";
        let mut statement = self.database.prepare_cached(sql)?;
        let base = first_blob(position.seq(), bucket_size);
        let mut rows = statement.query(params![base, base + PARTS - 1])?;
        while let Some(row) = rows.next()? {
            let notes = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            let attempts = attempts::decode(notes).ok_or(Failure::Damaged)?;
            add_attempts(&attempts, position, &mut entries);
        }
        entries.sort();
        entries.truncate(MAX_ATTEMPTS);
        Ok(entries)
    }

    fn may_contain(&self, id: i64, session: Option<KeyHash>) -> Result<bool, Failure> {
        let Some(session) = session else {
            return Ok(true);
        };
        let sql = "SELECT filter FROM contents WHERE id = ?";
        read_blob(&self.database, sql, id, |filter| {
            Filter::stored_may_contain(filter, session)
        })
    }

    fn read<T>(&self, id: i64, work: impl FnOnce(&Segment<&str>) -> T) -> Result<T, Failure> {
        let sql = "SELECT events FROM contents WHERE id = ?";
        read_blob(&self.database, sql, id, |events| {
            Segment::decode(events).map(|events| work(&events))
        })
    }
}

/// Calls `each` with the events at these positions, which must be sorted.
fn at<T: AsRef<str>>(
    segment: &Segment<T>,
    positions: &[Position],
    each: &mut impl FnMut(EventEntry<&str>),
) {
    let rows = segment.rows.iter().filter(|row| !row.is_duplicate());
    for row in rows.filter(|row| positions.binary_search(&row.position()).is_ok()) {
        each(segment.entry(row));
    }
}

fn add_attempts<T: AsRef<str>>(
    attempts: &[Attempt<T>],
    position: Position,
    entries: &mut Vec<TimelineEntry>,
) {
    let at_event = attempts
        .iter()
        .filter(|attempt| attempt.position == position);
    entries.extend(at_event.map(|attempt| TimelineEntry {
        at: Timestamp::from_nanosecond(attempt.at.into()).unwrap_or_default(),
        attempt: attempt.attempt,
        consumer: attempt.consumer.as_ref().to_owned(),
        outcome: attempt.outcome().to_owned(),
    }));
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

/// The most attempts at one event that are shown.
const MAX_ATTEMPTS: usize = 1000;
