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
//!   more than three quarters of the room that the others leave.

mod left;
mod sessions;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::time::Instant;

use self::left::{LeftBehind, Scope};
use self::sessions::{Sessions, three_quarters};
use super::lane::{Lane, LaneMap, SessionKey};
use crate::journal::{Position, PositionMap};

/// The events that wait and the events that run.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    limits: Limits,
    events: PositionMap<Scheduled>,
    lanes: LaneMap<Behind>,
    sessions: Sessions,
    left: LeftBehind,
    fresh_in_a_row: usize,
}

/// The limits of a schedule.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// How many events run at the same time.
    pub(crate) slots: usize,
    /// How many events are in memory, about 400 bytes each. Many sessions may together have twice as many.
    pub(crate) events: usize,
    /// How many of them are of one lane.
    pub(crate) lane: usize,
}

/// The events of one lane except the first, which waits or runs elsewhere. Most lanes have one event,
/// and then this allocates no memory.
type Behind = VecDeque<Position>;

/// An event in memory.
#[derive(Debug)]
struct Scheduled {
    lane: Option<Lane>,
    session: SessionKey,
    /// Attempts made so far.
    attempts: u32,
    /// The earliest time of the next attempt, if there was one before.
    due: Option<Instant>,
    runs: bool,
}

/// An event that arrives.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) position: Position,
    pub(crate) lane: Option<Lane>,
    pub(crate) session: SessionKey,
    /// How many attempts it had before.
    pub(crate) attempts: u32,
    /// The next attempt must not start before this.
    pub(crate) due: Option<Instant>,
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

/// An event that holds up others of its lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) position: Position,
    /// How many attempts have ended.
    pub(crate) attempts: u32,
    /// The earliest time of the next attempt; `None` while one runs.
    pub(crate) due: Option<Instant>,
    /// How many events wait behind it in memory.
    pub(crate) behind: usize,
    /// Whether more of its lane were left in the journal.
    pub(crate) more: bool,
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
        self.events.len()
    }

    /// Frees the memory of past events when none is left. Otherwise a thousand consumers would keep tens
    /// of megabytes.
    pub(crate) fn shrink(&mut self) {
        self.sessions.shrink();
        if self.events.is_empty() {
            self.events.shrink_to_fit();
            self.lanes.shrink_to_fit();
        }
    }

    /// How many events run.
    pub(crate) fn running(&self) -> usize {
        self.sessions.running()
    }

    /// Whether the event is in memory.
    pub(crate) fn contains(&self, position: Position) -> bool {
        self.events.contains_key(&position)
    }

    /// Whether the event runs.
    pub(crate) fn runs(&self, position: Position) -> bool {
        self.events.get(&position).is_some_and(|event| event.runs)
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
            attempts,
            due,
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
        let scheduled = Scheduled {
            lane,
            session,
            attempts,
            due,
            runs: false,
        };
        self.events.insert(position, scheduled);
        self.sessions.enter(session);
        match lane.map(|lane| self.lanes.entry(lane)) {
            Some(Entry::Occupied(mut behind)) => {
                behind.get_mut().push_back(position);
                return Added::Behind;
            }
            Some(Entry::Vacant(free)) => {
                free.insert(Behind::new());
            }
            None => {}
        }
        self.wait(session, position, due);
        Added::First
    }

    /// Starts the next event that may start at `now`.
    pub(crate) fn start(&mut self, now: Instant) -> Option<Start> {
        let position = if self.fresh_in_a_row < FRESH_IN_A_ROW {
            self.start_fresh().or_else(|| self.start_retry(now))
        } else {
            self.start_retry(now).or_else(|| self.start_fresh())
        }?;
        let event = self.events.get_mut(&position).expect("what waits is known");
        event.attempts += 1;
        event.runs = true;
        Some(Start {
            position,
            attempt: event.attempts,
        })
    }

    /// A running event is settled: done or given up. Its lane continues.
    pub(crate) fn settled(&mut self, position: Position) {
        let event = self.events.remove(&position).expect("what runs is known");
        self.sessions.end(event.session, event.due.is_some());
        self.sessions.leave(event.session);
        if let Some(lane) = event.lane
            && let Entry::Occupied(mut behind) = self.lanes.entry(lane)
        {
            match behind.get_mut().pop_front() {
                None => {
                    behind.remove();
                }
                Some(next) => {
                    let Scheduled { session, due, .. } = self.events[&next];
                    self.wait(session, next, due);
                }
            }
        }
        if !self.left.is_empty() {
            self.left.wants_more();
        }
    }

    /// A running event is to be tried again, not before `due`. Its lane waits with it.
    pub(crate) fn again(&mut self, position: Position, due: Instant) {
        let event = self.events.get_mut(&position).expect("what runs is known");
        event.runs = false;
        let (session, before) = (event.session, event.due.replace(due));
        self.sessions.end(session, before.is_some());
        self.wait(session, position, Some(due));
    }

    /// A running event was not delivered, which does not count as an attempt.
    pub(crate) fn not_started(&mut self, position: Position) {
        let event = self.events.get_mut(&position).expect("what runs is known");
        event.runs = false;
        event.attempts -= 1;
        let (session, due) = (event.session, event.due);
        self.sessions.end(session, due.is_some());
        self.wait(session, position, due);
    }

    /// Forgets the attempts of an event that waits for a retry: its first attempt is due now. Returns
    /// whether it was one.
    pub(crate) fn afresh(&mut self, position: Position, now: Instant) -> bool {
        let Some(event) = self.events.get_mut(&position) else {
            return false;
        };
        let Some(due) = event.due.filter(|_| !event.runs) else {
            return false;
        };
        (event.attempts, event.due) = (0, Some(now));
        let session = event.session;
        if self.sessions.cancel_retry(session, due, position) {
            self.sessions.wait_retry(session, now, position);
        }
        true
    }

    /// When the next retry may start if nothing else happens; `None` while it must wait for a slot.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.sessions.next_due()
    }

    /// The events that hold up others of their lane: those that wait for a retry, and those that run.
    pub(crate) fn held_up(&self) -> impl Iterator<Item = Holding> {
        self.events.iter().filter_map(|(position, event)| {
            let lane = event.lane?;
            let behind = self.lanes.get(&lane)?;
            let more = self.left.has(Scope::Lane(event.session, lane));
            // An event behind the first of its lane was tried only before a restart.
            let holds = (event.runs || event.due.is_some()) && !behind.contains(position);
            (holds && (more || !behind.is_empty())).then(|| Holding {
                position: *position,
                attempts: event.attempts - u32::from(event.runs),
                due: event.due.filter(|_| !event.runs),
                behind: behind.len(),
                more,
            })
        })
    }

    /// Begins to read again what was left in the journal, if it has room now and is not being read.
    /// Returns the position to read from.
    pub(crate) fn begin_sweep(&mut self) -> Option<Position> {
        let mut left = std::mem::take(&mut self.left);
        let from = left.begin_sweep(|scope| self.wants_more(scope), |scope| self.has_room(scope));
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
    fn wait(&mut self, session: SessionKey, position: Position, due: Option<Instant>) {
        match due {
            None => self.sessions.wait_fresh(session, position),
            Some(due) => self.sessions.wait_retry(session, due, position),
        }
    }

    fn has_room(&self, scope: Scope) -> bool {
        let (known, limit) = self.room(scope);
        known < limit
    }

    /// Whether the scope has so much room that reading the journal again for it is worth it.
    fn wants_more(&self, scope: Scope) -> bool {
        let (known, limit) = self.room(scope);
        let session_has_room = match scope {
            Scope::Session(_) => true,
            Scope::Lane(session, _) => {
                let (known, room) = self.room(Scope::Session(session));
                known + limit.min(room) / 2 <= room
            }
        };
        known <= limit / 2 && session_has_room
    }

    /// How many events of the scope are in memory, and how many may be.
    fn room(&self, scope: Scope) -> (usize, usize) {
        match scope {
            Scope::Session(session) => {
                let known = self.sessions.known(session);
                let others = self.events.len() - known;
                let free = self.limits.events.saturating_sub(others);
                let least = self.limits.events / LEAST_ROOM;
                let limit = if others < 2 * self.limits.events {
                    three_quarters(free).max(least)
                } else {
                    0
                };
                (known, limit)
            }
            Scope::Lane(_, lane) => {
                let known = self.lanes.get(&lane).map_or(0, |behind| behind.len() + 1);
                (known, self.limits.lane)
            }
        }
    }
}

/// However many sessions there are, each has room for this fraction of the events: 16 of 32,768. All
/// sessions together have at most twice the room.
const LEAST_ROOM: usize = 2048;

/// After this many fresh events in a row, a due retry gets its turn.
const FRESH_IN_A_ROW: usize = 7;
