//! The queries.
//!
//! An instance may hear an attempt or a duplicate twice, its own ones too: after a restart, or if it did not learn whether
//! its note was stored. Each is shown once, by what identifies it.

use std::cmp::Reverse;
use std::sync::{Arc, Mutex};

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use uuid::Uuid;

use super::attempts::{self, Attempt, PARTS, first_blob};
use super::schema::{Failure, Result, read_blob};
use super::segment::{OpenSegment, Row, Segment, kind_bit, nanos, session_key};
use super::sums::{Kind, open_blob};
use super::writer::{Unwritten, lock};
use crate::index::{EventEntry, EventFilter, TimelineEntry};
use crate::journal::{BloomFilter, KeyHash, Position, Seq};
use crate::{EventId, Timestamp};

/// Everything that is indexed at one moment: the database, and what is not in it yet.
pub(super) struct Snapshot<'a> {
    database: Transaction<'a>,
    events: Arc<OpenSegment>,
    attempts: Arc<Vec<Attempt>>,
    trimmed: Seq,
    indexed: Seq,
}

impl<'a> Snapshot<'a> {
    pub(super) fn take(database: &'a Connection, unwritten: &Mutex<Unwritten>) -> Result<Self> {
        // The lock is held so that nothing moves from one to the other in between.
        let unwritten = lock(unwritten);
        let database = database.unchecked_transaction()?;
        // A transaction begins with its first read. It sees no later writes.
        database
            .prepare_cached("SELECT indexed FROM state")?
            .query_row([], |_| Ok(()))?;
        Ok(Self {
            database,
            events: Arc::clone(&unwritten.events),
            attempts: Arc::clone(&unwritten.attempts),
            trimmed: unwritten.trimmed,
            indexed: unwritten.indexed,
        })
    }

    /// Returns whether all bodies up to this one are indexed.
    pub(super) fn is_complete(&self, up_to: Seq) -> bool {
        self.indexed >= up_to
    }

    pub(super) fn newest(&self, filter: &EventFilter, limit: usize) -> Result<Vec<EventEntry>> {
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
            let search = |events: &Segment<&str>| self.search(events, filter, limit);
            found.extend(self.read(row.get(0)?, session, search)?);
            found.sort_unstable_by_key(|entry| Reverse(entry.id));
            found.dedup_by_key(|entry| entry.id);
            found.truncate(limit);
        }
        self.resolved(found)
    }

    fn search<T: AsRef<str>>(
        &self,
        segment: &Segment<T>,
        filter: &EventFilter,
        limit: usize,
    ) -> Vec<EventEntry> {
        let mut rows: Vec<_> = self.passing(segment, filter).collect();
        rows.sort_unstable_by_key(|row| Reverse((row.id, row.part)));
        rows.dedup_by_key(|row| (row.id, row.part));
        rows.truncate(limit);
        rows.into_iter().map(|row| segment.entry(row)).collect()
    }

    fn passing<'s, T: AsRef<str>>(
        &self,
        segment: &'s Segment<T>,
        filter: &EventFilter,
    ) -> impl Iterator<Item = &'s Row> {
        let session = filter.session.as_deref();
        let session = session.map(|session| segment.session(session));
        segment.rows.iter().filter(move |row| {
            row.seq() > self.trimmed
                && !row.is_deleted()
                && filter.after.is_none_or(|after| row.position() > after)
                && session.is_none_or(|session| session == Some(row.session))
                && filter.kind.is_none_or(|kind| row.kind() == kind)
                && filter.before.is_none_or(|before| row.id() < before)
                && filter.from.is_none_or(|from| row.at >= nanos(from))
                && filter.to.is_none_or(|to| row.at < nanos(to))
        })
    }

    pub(super) fn positions(&self, filter: &EventFilter, limit: usize) -> Result<Vec<Position>> {
        let mut positions = Vec::new();
        let sql = format!("{CANDIDATES} AND last_seq > ?5 ORDER BY last_seq");
        let mut statement = self.database.prepare_cached(&sql)?;
        let (before, kinds, from, to) = filter.candidates();
        let after = filter
            .after
            .map_or(0, |after| after.seq().saturating_sub(1));
        let mut rows = statement.query(params![before, kinds, from, to, after])?;
        let session = filter.session.as_deref().map(session_key);
        while positions.len() < limit
            && let Some(row) = rows.next()?
        {
            self.read(row.get(0)?, session, |events| {
                self.add_positions(events, filter, &mut positions);
            })?;
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
        let passing = self.passing(segment, filter);
        let in_journal = passing.filter(|row| !row.is_duplicate());
        positions.extend(in_journal.map(Row::position));
        positions[start..].sort_unstable();
    }

    pub(super) fn by_id(&self, id: EventId) -> Result<Option<EventEntry>> {
        let mut found = self.with_id(&self.events.segment, id);
        let sql = "SELECT id FROM segments WHERE min_id <= ?1 AND max_id >= ?1";
        let mut statement = self.database.prepare_cached(sql)?;
        let mut rows = statement.query([id.body().as_bytes()])?;
        while found.is_none()
            && let Some(row) = rows.next()?
        {
            found = self.read(row.get(0)?, None, |events| self.with_id(events, id))?;
        }
        Ok(self.resolved(Vec::from_iter(found))?.pop())
    }

    fn with_id<T: AsRef<str>>(&self, segment: &Segment<T>, id: EventId) -> Option<EventEntry> {
        let mut rows = segment.rows.iter();
        let row = rows.find(|row| row.id() == id && row.seq() > self.trimmed)?;
        Some(segment.entry(row))
    }

    /// Returns events whose ids are from `first` to `last`, also deleted ones, at most two.
    pub(super) fn between(&self, first: EventId, last: EventId) -> Result<Vec<EventEntry>> {
        let mut found = self.within(&self.events.segment, first, last);
        let sql = "SELECT id FROM segments WHERE min_id <= ?2 AND max_id >= ?1";
        let mut statement = self.database.prepare_cached(sql)?;
        let (from, to) = (first.body().into_bytes(), last.body().into_bytes());
        let mut rows = statement.query(params![from, to])?;
        while found.len() < 2
            && let Some(row) = rows.next()?
        {
            found.extend(self.read(row.get(0)?, None, |events| self.within(events, first, last))?);
            found.sort_unstable_by_key(|entry| entry.id);
            found.dedup_by_key(|entry| entry.id);
        }
        found.truncate(2);
        self.resolved(found)
    }

    fn within<T: AsRef<str>>(
        &self,
        segment: &Segment<T>,
        first: EventId,
        last: EventId,
    ) -> Vec<EventEntry> {
        let kept = { segment.rows.iter() }.filter(|row| row.seq() > self.trimmed);
        let mut within = kept.filter(|row| (first..=last).contains(&row.id()));
        let one = within.next();
        let other = within.find(|row| one.is_some_and(|one| one.id() != row.id()));
        let found = one.into_iter().chain(other);
        found.map(|row| segment.entry(row)).collect()
    }

    /// Looks up the ids of the originals of duplicates.
    fn resolved(&self, mut found: Vec<EventEntry>) -> Result<Vec<EventEntry>> {
        let duplicates = found.iter().filter(|entry| entry.is_duplicate);
        let originals = duplicates.map(|entry| entry.position).collect();
        let originals = self.by_positions(originals)?;
        for duplicate in found.iter_mut().filter(|entry| entry.is_duplicate) {
            let place = originals.binary_search_by_key(&duplicate.position, |entry| entry.position);
            duplicate.duplicate_of = place.ok().map(|place| originals[place].id);
        }
        Ok(found)
    }

    /// Returns the events at these positions, oldest first. Reads each segment once.
    pub(super) fn by_positions(&self, mut positions: Vec<Position>) -> Result<Vec<EventEntry>> {
        positions.retain(|position| position.seq() > self.trimmed);
        positions.sort_unstable();
        positions.dedup();
        let (mut left, mut entries) = (&positions[..], Vec::new());
        let sql = "SELECT id, first_seq, last_seq FROM segments WHERE last_seq >= ? \
                   ORDER BY last_seq LIMIT 1";
        let mut statement = self.database.prepare_cached(sql)?;
        while let Some(first) = left.first() {
            let next = statement.query_row([first.seq()], |row| {
                Ok((row.get(0)?, row.get::<_, Seq>(1)?, row.get::<_, Seq>(2)?))
            });
            let Some((id, first_seq, last_seq)) = next.optional()? else {
                entries.extend(self.events.segment.at(left));
                break;
            };
            let start = left.partition_point(|position| position.seq() < first_seq);
            let end = left.partition_point(|position| position.seq() <= last_seq);
            if start < end {
                let wanted = &left[start..end];
                entries.extend(self.read(id, None, |events| events.at(wanted))?);
            }
            left = &left[end..];
        }
        entries.sort_unstable_by_key(|entry| entry.position);
        Ok(entries)
    }

    pub(super) fn attempts(&self, position: Position, bucket: u64) -> Result<Vec<TimelineEntry>> {
        let mut entries = Vec::new();
        add_attempts(&self.attempts, position, &mut entries);
        let sql = "SELECT id, notes FROM attempts WHERE id BETWEEN ? AND ? ORDER BY id";
        let mut statement = self.database.prepare_cached(sql)?;
        let base = first_blob(position.seq(), bucket);
        let mut rows = statement.query(params![base, base + PARTS - 1])?;
        while let Some(row) = rows.next()? {
            let notes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
            let notes = open_blob(Kind::Attempts, row.get(0)?, notes);
            let attempts = notes.and_then(attempts::decode).ok_or(Failure::Damaged)?;
            add_attempts(&attempts, position, &mut entries);
        }
        entries.sort();
        entries.dedup_by(|later, entry| {
            let is_same = (later.at, later.attempt, &later.consumer)
                == (entry.at, entry.attempt, &entry.consumer);
            if is_same {
                // The own one may have an answer; then it is the later one.
                std::mem::swap(later, entry);
            }
            is_same
        });
        entries.truncate(MAX_ATTEMPTS);
        Ok(entries)
    }

    /// Reads a segment. Returns nothing if it has no event of this session, by its filter.
    fn read<T: Default>(
        &self,
        id: i64,
        session: Option<KeyHash>,
        work: impl FnOnce(&Segment<&str>) -> T,
    ) -> Result<T> {
        if let Some(session) = session {
            let sql = "SELECT filter FROM contents WHERE id = ?";
            let may_contain = |filter: &[u8]| BloomFilter::stored_may_contain(filter, session);
            if !read_blob(&self.database, sql, (Kind::Filter, id), may_contain)? {
                return Ok(T::default());
            }
        }
        let sql = "SELECT events FROM contents WHERE id = ?";
        read_blob(&self.database, sql, (Kind::Events, id), |events| {
            Segment::decode(events).map(|events| work(&events))
        })
    }
}

fn add_attempts(attempts: &[Attempt], position: Position, entries: &mut Vec<TimelineEntry>) {
    let own = { attempts.iter() }.filter(|attempt| attempt.position == position);
    entries.extend(own.map(|attempt| {
        TimelineEntry {
            at: Timestamp::from_nanosecond(attempt.at.into()).unwrap_or_default(),
            attempt: attempt.attempt,
            consumer: (*attempt.consumer).into(),
            outcome: match &attempt.failure {
                Some(failure) => (*failure.outcome).into(),
                None => "done".to_owned(),
            },
            took_ms: attempt.took_ms,
            answer: { attempt.failure.as_ref() }
                .and_then(|failure| failure.answer.as_deref().map(str::to_owned)),
        }
    }));
}

impl EventFilter {
    fn candidates(&self) -> (Option<[u8; 16]>, u32, i64, Option<i64>) {
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
