//! [`Sessions`]: which session of a consumer starts its next event.
//!
//! Sessions take turns. One session never holds more than three quarters of the slots that the others
//! leave free, so a session whose attempts hang leaves room for the others. Of the slots that a session may
//! hold, as of all, some are reserved for first attempts.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Instant;

use foldhash::fast::FixedState;

use crate::dispatch::lane::SessionKey;
use crate::journal::Position;

/// The sessions of a consumer that have events in memory.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    /// How many events run at the same time.
    slots: usize,
    sessions: HashMap<SessionKey, Session, FixedState>,
    /// The sessions with a first attempt that may start, each once, in the order of their turns.
    turns: VecDeque<SessionKey>,
    /// The sessions with retries, each with the time of its turn: when its earliest one is due, but not
    /// before its last turn.
    due: BTreeSet<(Instant, SessionKey)>,
    /// The sessions that hold all slots that they, or their retries, may hold.
    full: Vec<SessionKey>,
    running: usize,
    retries_running: usize,
    memory: usize,
}

/// The events of one session.
#[derive(Debug, Default)]
struct Session {
    /// The first events of their lanes that were not tried, oldest first.
    fresh: VecDeque<Position>,
    /// The first events of their lanes that wait for a retry.
    retries: BTreeSet<(Instant, Position)>,
    running: usize,
    retries_running: usize,
    /// When its last retry started.
    last_retry: Option<Instant>,
    /// How many events are in memory, also those that are not the first of their lanes.
    events: usize,
    /// How much memory they take.
    memory: usize,
    /// It is in `full`, and not in `due`.
    is_full: bool,
    has_turn: bool,
}

/// What a session waits for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// The event whose retry is due first, or else that starts next.
    pub(super) next: Option<Position>,
    /// It holds all slots that it, or its retries, may hold.
    pub(super) is_full: bool,
    pub(super) running: usize,
    pub(super) retrying: usize,
    /// How many events in memory do not run.
    pub(super) waiting: usize,
}

impl Session {
    /// When its next retry may start.
    fn retry_turn(&self) -> Option<Instant> {
        let (due, _) = self.retries.first()?;
        Some(self.last_retry.map_or(*due, |last| last.max(*due)))
    }
}

impl Sessions {
    pub(super) fn new(slots: usize) -> Self {
        Self {
            slots,
            ..Self::default()
        }
    }

    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// How much memory the events of the session take.
    pub(super) fn memory(&self, session: SessionKey) -> usize {
        self.sessions.get(&session).map_or(0, |one| one.memory)
    }

    /// How much memory the events of all sessions take.
    pub(super) fn all_memory(&self) -> usize {
        self.memory
    }

    /// An event of the session takes so much memory.
    pub(super) fn enter(&mut self, session: SessionKey, memory: usize) {
        self.memory += memory;
        let session = self.session(session);
        session.events += 1;
        session.memory += memory;
    }

    /// An event of the session does not take that memory any more.
    pub(super) fn leave(&mut self, session: SessionKey, memory: usize) {
        self.memory -= memory;
        let session = self.session(session);
        session.events -= 1;
        session.memory -= memory;
    }

    /// The first event of its lane waits for its first attempt.
    pub(super) fn wait_fresh(&mut self, session: SessionKey, position: Position) {
        self.session(session).fresh.push_back(position);
        self.queue(session);
    }

    /// The first event of its lane waits for a retry.
    pub(super) fn wait_retry(&mut self, session: SessionKey, due: Instant, position: Position) {
        self.change_retries(session, |session| {
            session.retries.insert((due, position));
        });
    }

    /// An event that waits for a retry waits for it no more.
    pub(super) fn cancel_retry(&mut self, session: SessionKey, due: Instant, position: Position) {
        self.change_retries(session, |session| {
            session.retries.remove(&(due, position));
        });
    }

    /// Starts the next first attempt.
    pub(super) fn start_fresh(&mut self) -> Option<Position> {
        if self.running >= self.slots {
            return None;
        }
        while let Some(key) = self.turns.pop_front() {
            let may_start = self.may_start(key);
            let session = self.session(key);
            session.has_turn = false;
            if !may_start {
                self.set_full(key);
                continue;
            }
            let position = session.fresh.pop_front().expect("it has a turn");
            session.running += 1;
            self.running += 1;
            self.queue(key);
            return Some(position);
        }
        None
    }

    /// Starts the next retry that is due at `now`.
    pub(super) fn start_retry(&mut self, now: Instant) -> Option<Position> {
        if self.running >= self.slots || self.retries_running >= slots_for_retries(self.slots) {
            return None;
        }
        while let Some((_, key)) = self.due.first().copied().filter(|(due, _)| *due <= now) {
            let retries = self.session(key).retries_running;
            if !self.may_start(key) || retries >= slots_for_retries(self.limit(key)) {
                self.set_full(key);
                continue;
            }
            let mut position = None;
            self.change_retries(key, |session| {
                position = session.retries.pop_first();
                session.last_retry = Some(now);
            });
            let session = self.session(key);
            session.running += 1;
            session.retries_running += 1;
            self.running += 1;
            self.retries_running += 1;
            return position.map(|(_, position)| position);
        }
        None
    }

    /// An attempt has ended: the limits of all sessions may have changed.
    pub(super) fn end(&mut self, session: SessionKey, is_retry: bool) {
        self.running -= 1;
        self.retries_running -= usize::from(is_retry);
        let session = self.session(session);
        session.running -= 1;
        session.retries_running -= usize::from(is_retry);
        for key in std::mem::take(&mut self.full) {
            let session = self.session(key);
            session.is_full = false;
            let turn = session.retry_turn().map(|turn| (turn, key));
            self.due.extend(turn);
            self.queue(key);
        }
    }

    /// When the next retry may start if nothing else happens; `None` while it must wait for a slot.
    pub(super) fn next_due(&self) -> Option<Instant> {
        let room =
            self.running < self.slots && self.retries_running < slots_for_retries(self.slots);
        self.due.first().filter(|_| room).map(|(due, _)| *due)
    }

    /// How many sessions have had events in memory since the last [`Self::shrink`].
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// All sessions with what they wait for.
    pub(super) fn all(&self) -> impl Iterator<Item = (SessionKey, Waits)> {
        self.sessions.iter().map(|(key, session)| {
            let retry = session.retries.first();
            let waits = Waits {
                next: retry
                    .map(|(_, position)| *position)
                    .or_else(|| session.fresh.front().copied()),
                is_full: session.is_full,
                running: session.running,
                retrying: session.retries.len(),
                waiting: session.events - session.running,
            };
            (*key, waits)
        })
    }

    /// Forgets sessions without events.
    pub(super) fn shrink(&mut self) {
        self.sessions.retain(|_, session| session.memory > 0);
        if self.sessions.is_empty() {
            *self = Self::new(self.slots);
        }
    }

    /// Whether the session may hold one slot more.
    fn may_start(&self, key: SessionKey) -> bool {
        let own = self.sessions.get(&key).map_or(0, |session| session.running);
        own < self.limit(key)
    }

    /// How many slots the session may hold.
    fn limit(&self, key: SessionKey) -> usize {
        let own = self.sessions.get(&key).map_or(0, |session| session.running);
        three_quarters(self.slots - (self.running - own))
    }

    /// Gives the session a turn if it needs one.
    fn queue(&mut self, key: SessionKey) {
        let session = self.session(key);
        if !session.fresh.is_empty() && !session.has_turn {
            session.has_turn = true;
            self.turns.push_back(key);
        }
    }

    fn set_full(&mut self, key: SessionKey) {
        let session = self.session(key);
        if std::mem::replace(&mut session.is_full, true) {
            return;
        }
        if let Some(turn) = session.retry_turn() {
            self.due.remove(&(turn, key));
        }
        self.full.push(key);
    }

    /// Changes the retries of a session, and its place among the sessions with retries.
    fn change_retries(&mut self, key: SessionKey, change: impl FnOnce(&mut Session)) {
        let session = self.sessions.entry(key).or_default();
        let before = session.retry_turn();
        change(session);
        let after = session.retry_turn();
        if before != after && !session.is_full {
            if let Some(turn) = before {
                self.due.remove(&(turn, key));
            }
            self.due.extend(after.map(|turn| (turn, key)));
        }
    }

    fn session(&mut self, key: SessionKey) -> &mut Session {
        self.sessions.entry(key).or_default()
    }
}

/// Three quarters of what the others leave free; at least one.
pub(super) fn three_quarters(free: usize) -> usize {
    // In this order, so that no number of slots is too large.
    (free / 4 * 3 + free % 4 * 3 / 4).max(1)
}

/// How many of the slots retries may use.
fn slots_for_retries(slots: usize) -> usize {
    match slots {
        1 => 1,
        slots => slots - (slots / 4).max(1),
    }
}

/// About how much memory an event takes that runs or may start, in bytes, with its lane and its retry.
pub(super) const FIRST: usize = 208;

/// The same of an event behind another of its lane.
pub(super) const BEHIND: usize = 16;
