//! [`Schedule`]: decides which event of a consumer starts next.
//!
//! A plain state machine, without a clock and without I/O: it takes new events and ended attempts, and
//! says what may start. Its rules:
//!
//! - within a lane an event starts only after the event ahead of it is settled;
//! - a lane whose first event waits for a retry does not hold up other lanes;
//! - sessions take turns, and none holds all slots (see [`sessions`]);
//! - fresh events start before retries that are due at the same time, except for every
//!   [`FRESH_IN_A_ROW`]th start, so that neither starves the other;
//! - retries never take all slots: some are reserved for first attempts, so that retries that hang do
//!   not hold up fresh events. With a single slot nothing can be reserved;
//! - memory is limited: what has no room is left in the journal (see [`left`]). One session never takes
//!   more than three quarters of the room that the others leave. An event behind the first of its lane
//!   takes little: its position.

mod held_up;
mod left;
mod room;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use roaring::RoaringTreemap;

pub(crate) use self::held_up::{Holding, HoldingSession};
use self::left::{LeftBehind, Scope};
use self::sessions::{BEHIND, FIRST, Sessions};
use super::lane::{Lane, LaneMap, SessionKey};
use super::progress::dense;
use crate::journal::{Position, PositionMap, Seq};

/// The events that wait and the events that run.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    limits: Limits,
    /// The events that run, and those that wait and are the first of their lane or have none.
    events: PositionMap<Scheduled>,
    /// The lanes of these events.
    lanes: LaneMap<Behind>,
    /// All events behind the first of their lane, by their [dense] numbers.
    behind: RoaringTreemap,
    /// The events that were tried and wait for a retry, in memory or left in the journal.
    retries: PositionMap<Retry>,
    sessions: Sessions,
    left: LeftBehind,
    fresh_in_a_row: usize,
}

/// The limits of a schedule.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// How many events run at the same time.
    pub(crate) slots: usize,
    /// How much memory the events take, in bytes. Many sessions may together take a quarter more.
    pub(crate) memory: usize,
    /// How many of them are of one lane.
    pub(crate) lane: usize,
}

/// The events of one lane except the first, which waits or runs elsewhere. Most lanes have one event,
/// and then this allocates no memory.
type Behind = Option<Box<VecDeque<Position>>>;

/// An event that runs, or that waits and is the first of its lane.
#[derive(Debug, Clone, Copy)]
struct Scheduled {
    lane: Option<Lane>,
    session: SessionKey,
    runs: Option<Runs>,
}

/// How a running event was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Runs {
    First,
    Retry,
}

/// An event that was tried and waits for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retry {
    /// How many attempts have ended.
    pub(crate) attempts: u32,
    /// The earliest time of the next attempt.
    pub(crate) due: Instant,
}

/// An event that arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) position: Position,
    pub(crate) lane: Option<Lane>,
    pub(crate) session: SessionKey,
    pub(crate) via: Via,
}

/// How an event arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    /// It was read on, behind everything else.
    ReadOn,
    /// The running sweep has read it again.
    Sweep,
    /// A replay hands it over. It was settled before, so it need not wait for events that were left, and
    /// without room it is not left either: the replay tries again.
    Replay,
}

/// What became of an event that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Added {
    /// It is the first of its lane.
    First,
    /// Other events of its lane are ahead of it.
    Behind,
    /// It has no room in memory: a sweep reads it again.
    Left,
}

/// An event that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) position: Position,
    /// The number of this attempt, from 1.
    pub(crate) attempt: u32,
}

impl Schedule {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            sessions: Sessions::new(limits.slots),
            ..Self::default()
        }
    }

    /// How many events are in memory.
    pub(crate) fn len(&self) -> usize {
        // Their number is limited.
        self.events.len() + self.behind.len() as usize
    }

    /// Frees the memory of past events. Otherwise a thousand consumers would keep tens of megabytes.
    pub(crate) fn shrink(&mut self) {
        self.sessions.shrink();
        if self.events.is_empty() {
            self.events.shrink_to_fit();
            self.lanes.shrink_to_fit();
        }
        if self.retries.capacity() > 4 * self.retries.len() {
            self.retries.shrink_to_fit();
        }
    }

    /// The events that were tried and wait for a retry, in memory or left in the journal.
    pub(crate) fn retries(&self) -> &PositionMap<Retry> {
        &self.retries
    }

    /// Records that an event was tried before, before it arrives.
    pub(crate) fn was_tried(&mut self, position: Position, retry: Retry) {
        self.retries.insert(position, retry);
    }

    /// Forgets the attempts of an event that is settled or not in memory. Returns whether there were any.
    pub(crate) fn forget_retry(&mut self, position: Position) -> bool {
        self.retries.remove(&position).is_some()
    }

    /// How many events run.
    pub(crate) fn running(&self) -> usize {
        self.sessions.running()
    }

    /// Whether the event is in memory.
    pub(crate) fn contains(&self, position: Position) -> bool {
        self.events.contains_key(&position) || self.behind.contains(dense(position))
    }

    /// Whether the event runs.
    pub(crate) fn runs(&self, position: Position) -> bool {
        let event = self.events.get(&position);
        event.is_some_and(|event| event.runs.is_some())
    }

    /// Whether an event of this session at `position` would be left in the journal, whatever its lane is.
    /// If so, notes that it is.
    pub(crate) fn leaves(&mut self, session: SessionKey, position: Position, via: Via) -> bool {
        self.leaves_of(Scope::Session(session), position, via)
    }

    fn leaves_of(&mut self, scope: Scope, position: Position, via: Via) -> bool {
        let has_room = self.has_room(scope);
        if via == Via::Replay {
            return !has_room;
        }
        let leaves = !has_room || self.left.blocks(scope, position, via == Via::Sweep);
        if leaves {
            self.left.leave(scope, position, via == Via::Sweep);
        }
        leaves
    }

    /// Adds an event at the end of its lane, if it has room and no event before it was left.
    pub(crate) fn add(&mut self, event: Arrival) -> Added {
        let Arrival {
            position,
            lane,
            session,
            via,
        } = event;
        if self.leaves(session, position, via) {
            return Added::Left;
        }
        let lane_scope = lane.map(|lane| Scope::Lane(session, lane));
        if lane_scope.is_some_and(|lane| self.leaves_of(lane, position, via)) {
            if via == Via::Sweep {
                self.left.passed(Scope::Session(session), position);
            }
            return Added::Left;
        }
        if via == Via::Sweep {
            let scopes = lane_scope.into_iter().chain([Scope::Session(session)]);
            scopes.for_each(|scope| self.left.passed(scope, position));
        }
        match lane.map(|lane| self.lanes.entry(lane)) {
            Some(Entry::Occupied(mut behind)) => {
                let behind = behind.get_mut().get_or_insert_default();
                behind.push_back(position);
                self.behind.insert(dense(position));
                self.sessions.enter(session, BEHIND);
                return Added::Behind;
            }
            Some(Entry::Vacant(free)) => {
                free.insert(None);
            }
            None => {}
        }
        self.lead(position, lane, session);
        Added::First
    }

    /// The event is now the first of its lane, and waits for its turn.
    fn lead(&mut self, position: Position, lane: Option<Lane>, session: SessionKey) {
        self.sessions.enter(session, FIRST);
        let runs = None;
        let scheduled = Scheduled {
            lane,
            session,
            runs,
        };
        self.events.insert(position, scheduled);
        self.wait(session, position);
    }

    /// Starts the next event that may start at `now`.
    pub(crate) fn start(&mut self, now: Instant) -> Option<Start> {
        let position = if self.fresh_in_a_row < FRESH_IN_A_ROW {
            self.start_fresh().or_else(|| self.start_retry(now))
        } else {
            self.start_retry(now).or_else(|| self.start_fresh())
        }?;
        let retry = self.retries.get(&position);
        let event = self.events.get_mut(&position).expect("what waits is known");
        event.runs = Some(retry.map_or(Runs::First, |_| Runs::Retry));
        let attempt = retry.map_or(0, |retry| retry.attempts) + 1;
        Some(Start { position, attempt })
    }

    /// A running event is settled: done or given up. Its lane continues. Its attempts are forgotten by
    /// [`Self::forget_retry`].
    pub(crate) fn settled(&mut self, position: Position) {
        let Scheduled { lane, session, .. } = self.ended(position);
        self.events.remove(&position);
        self.sessions.leave(session, FIRST);
        if let Some(lane) = lane
            && let Entry::Occupied(mut behind) = self.lanes.entry(lane)
        {
            let next = behind.get_mut().as_mut().and_then(|all| {
                let next = all.pop_front();
                if all.capacity() > 4 * all.len().max(4) {
                    all.shrink_to(2 * all.len());
                }
                next
            });
            match next {
                None => {
                    behind.remove();
                }
                Some(next) => {
                    self.behind.remove(dense(next));
                    self.sessions.leave(session, BEHIND);
                    self.lead(next, Some(lane), session);
                }
            }
        }
        if !self.left.is_empty() {
            self.left.wants_more();
        }
    }

    /// A running event was tried and is to be tried again. Its lane waits with it.
    pub(crate) fn again(&mut self, position: Position, retry: Retry) {
        let session = self.ended(position).session;
        self.retries.insert(position, retry);
        self.wait(session, position);
    }

    /// A running event was not delivered, which does not count as an attempt.
    pub(crate) fn not_started(&mut self, position: Position) {
        let session = self.ended(position).session;
        self.wait(session, position);
    }

    /// An event does not run any more.
    fn ended(&mut self, position: Position) -> Scheduled {
        let event = self.events.get_mut(&position).expect("what runs is known");
        let was_retry = event.runs.take() == Some(Runs::Retry);
        let event = *event;
        self.sessions.end(event.session, was_retry);
        event
    }

    /// Forgets the attempts of an event that waits for a retry: its first attempt is due now. Returns
    /// whether it was one.
    pub(crate) fn afresh(&mut self, position: Position, now: Instant) -> bool {
        if !self.contains(position) || self.runs(position) {
            return false;
        }
        let Some(retry) = self.retries.get_mut(&position) else {
            return false;
        };
        let afresh = Retry {
            attempts: 0,
            due: now,
        };
        let before = std::mem::replace(retry, afresh);
        if let Some(event) = self.events.get(&position) {
            let session = event.session;
            self.sessions.cancel_retry(session, before.due, position);
            self.sessions.wait_retry(session, now, position);
        }
        true
    }

    /// When the next retry may start if nothing else happens; `None` while it must wait for a slot.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.sessions.next_due()
    }

    /// The sessions with events in memory or left in the journal, each with the body of the oldest;
    /// `None` for more than `most` sessions. While a replay hands over, older
    /// events may be behind the first of a lane.
    pub(crate) fn oldest(&self, most: usize) -> Option<BTreeMap<SessionKey, Seq>> {
        if self.sessions.len() > most {
            return None;
        }
        let mut oldest = BTreeMap::new();
        let events = self.events.iter();
        let events = events.map(|(position, event)| (event.session, *position));
        for (session, position) in events.chain(self.left.all()) {
            let found = oldest.entry(session).or_insert(position.seq());
            *found = position.seq().min(*found);
            if oldest.len() > most {
                return None;
            }
        }
        Some(oldest)
    }

    /// Events of the session from this body on were left in the journal by an earlier process.
    pub(crate) fn was_left(&mut self, session: SessionKey, from: Seq) {
        let from = Position::first(from);
        self.left.leave(Scope::Session(session), from, false);
        self.left.wants_more();
    }

    /// Begins to read again what was left in the journal, if it has room now and is not being read.
    /// Returns the position to read from. What was left from `near` on need not wait for all the rest.
    pub(crate) fn begin_sweep(&mut self, near: Position) -> Option<Position> {
        let mut left = std::mem::take(&mut self.left);
        let wants_more = |scope| self.wants_more(scope);
        let from = left.begin_sweep(near, wants_more, |scope| self.has_room(scope));
        self.left = left;
        from
    }

    /// Where the running sweep goes on; `None` if there is no room for what it would read.
    pub(crate) fn sweep_goes_on(&self) -> Option<Position> {
        self.left.sweep_goes_on(|scope| self.has_room(scope))
    }

    /// Ends the running sweep. `read_all`: it has come to where reading on has come.
    pub(crate) fn end_sweep(&mut self, read_all: bool) {
        self.left.end_sweep(read_all);
    }

    fn start_fresh(&mut self) -> Option<Position> {
        let position = self.sessions.start_fresh()?;
        self.fresh_in_a_row += 1;
        Some(position)
    }

    fn start_retry(&mut self, now: Instant) -> Option<Position> {
        let position = self.sessions.start_retry(now)?;
        self.fresh_in_a_row = 0;
        Some(position)
    }

    /// The first event of its lane waits for its turn.
    fn wait(&mut self, session: SessionKey, position: Position) {
        match self.retries.get(&position) {
            None => self.sessions.wait_fresh(session, position),
            Some(retry) => self.sessions.wait_retry(session, retry.due, position),
        }
    }
}

/// After this many fresh events in a row, a due retry gets its turn.
const FRESH_IN_A_ROW: usize = 7;
