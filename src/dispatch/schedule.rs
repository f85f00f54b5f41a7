//! [`Schedule`]: decides which event of a consumer starts next.
//!
//! A plain state machine, without a clock and without I/O: it takes new events and ended attempts, and
//! says what may start. Its rules:
//!
//! - within a lane an event starts only after the event ahead of it is settled;
//! - a lane whose first event waits for a retry does not hold up other lanes;
//! - fresh events start before retries that are due at the same time, except for every
//!   [`FRESH_IN_A_ROW`]th start, so that neither starves the other;
//! - retries never take all slots: some are reserved for first attempts, so that retries that hang do
//!   not hold up fresh events. With a single slot nothing can be reserved.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::lane::{Lane, LaneMap};
use crate::Timestamp;
use crate::journal::{Position, PositionMap};

/// The events that wait and the events that run.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    /// How many events run at the same time.
    slots: usize,
    /// This many waiting first attempts are enough, even when there are few slots.
    enough: usize,
    events: PositionMap<State>,
    lanes: LaneMap<Line>,
    fresh: VecDeque<Position>,
    retries: BTreeSet<(Timestamp, Position)>,
    /// How many events run.
    running: usize,
    /// How many of the running events are retries.
    retries_running: usize,
    fresh_in_a_row: usize,
}

/// The events of one lane except the first, which waits or runs elsewhere. Most lanes have one event,
/// and then this allocates no memory.
type Line = VecDeque<Position>;

#[derive(Debug)]
struct State {
    lane: Option<Lane>,
    /// Attempts made so far.
    attempts: u32,
    /// The earliest time of the next attempt, if there was one before.
    due: Option<Timestamp>,
    runs: bool,
}

/// An event that starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Start {
    pub(crate) position: Position,
    /// The number of this attempt, from 1.
    pub(crate) attempt: u32,
}

impl Schedule {
    /// An empty schedule. `slots` events run at the same time; `enough` waiting first attempts are
    /// enough.
    pub(crate) fn new(slots: usize, enough: usize) -> Self {
        Self {
            slots,
            enough,
            ..Self::default()
        }
    }

    /// How many events are known and not settled.
    pub(crate) fn len(&self) -> usize {
        self.events.len()
    }

    /// Frees the memory of past events when none is left. Otherwise a thousand consumers would keep tens
    /// of megabytes.
    pub(crate) fn shrink(&mut self) {
        if self.events.is_empty() {
            *self = Self::new(self.slots, self.enough);
        }
    }

    /// Whether so many first attempts wait for a slot that more events are not needed now.
    pub(crate) fn has_enough(&self) -> bool {
        self.fresh.len() >= self.slots.max(self.enough)
    }

    /// How many events run.
    pub(crate) fn running(&self) -> usize {
        self.running
    }

    /// Whether the event is known and not settled.
    pub(crate) fn contains(&self, position: Position) -> bool {
        self.events.contains_key(&position)
    }

    /// Forgets the attempts of an event that waits for a retry: its first attempt is due now.
    pub(crate) fn afresh(&mut self, position: Position, now: Timestamp) {
        if let Some(state) = self.events.get_mut(&position)
            && let Some(due) = state.due
            && !state.runs
        {
            state.attempts = 0;
            state.due = Some(now);
            if self.retries.remove(&(due, position)) {
                self.retries.insert((now, position));
            }
        }
    }

    /// The clock was set back by `by`: moves due times back too, or events would wait longer.
    pub(crate) fn set_back(&mut self, by: Duration) {
        let earlier = |due: Timestamp| due.saturating_sub(by).unwrap_or(Timestamp::MIN);
        for state in self.events.values_mut() {
            state.due = state.due.map(earlier);
        }
        let retries = std::mem::take(&mut self.retries).into_iter();
        self.retries = retries
            .map(|(due, position)| (earlier(due), position))
            .collect();
    }

    /// Adds an event at the end of its lane. It had `attempts` attempts before, and the next one must
    /// not start before `due`. Returns whether no event is ahead of it.
    pub(crate) fn add(
        &mut self,
        position: Position,
        lane: Option<Lane>,
        attempts: u32,
        due: Option<Timestamp>,
    ) -> bool {
        let state = State {
            lane,
            attempts,
            due,
            runs: false,
        };
        self.events.insert(position, state);
        match lane.map(|lane| self.lanes.entry(lane)) {
            Some(Entry::Occupied(mut line)) => {
                line.get_mut().push_back(position);
                return false;
            }
            Some(Entry::Vacant(free)) => {
                free.insert(Line::new());
            }
            None => {}
        }
        self.wait(position, due);
        true
    }

    /// Starts the next event that may start at `now`.
    pub(crate) fn start(&mut self, now: Timestamp) -> Option<Start> {
        if self.running >= self.slots {
            return None;
        }
        let retry_first = self.fresh.is_empty() || self.fresh_in_a_row >= FRESH_IN_A_ROW;
        let position = if retry_first && self.next_due().is_some_and(|due| due <= now) {
            self.fresh_in_a_row = 0;
            self.retries_running += 1;
            self.retries.pop_first()?.1
        } else {
            let fresh = self.fresh.pop_front()?;
            self.fresh_in_a_row += 1;
            fresh
        };
        let state = self.events.get_mut(&position).expect("what waits is known");
        state.attempts += 1;
        state.runs = true;
        self.running += 1;
        Some(Start {
            position,
            attempt: state.attempts,
        })
    }

    /// A running event is settled: done or given up. Its lane continues.
    pub(crate) fn settled(&mut self, position: Position) {
        let state = self.events.remove(&position).expect("what runs is known");
        self.frees_its_slot(state.due);
        let Some(lane) = state.lane else { return };
        if let Entry::Occupied(mut line) = self.lanes.entry(lane) {
            match line.get_mut().pop_front() {
                None => {
                    line.remove();
                }
                Some(next) => self.wait(next, self.events[&next].due),
            }
        }
    }

    /// A running event is to be tried again, not before `due`. Its lane waits with it.
    pub(crate) fn again(&mut self, position: Position, due: Timestamp) {
        let state = self.events.get_mut(&position).expect("what runs is known");
        state.runs = false;
        let before = state.due.replace(due);
        self.frees_its_slot(before);
        self.wait(position, Some(due));
    }

    /// A running event was not delivered, which does not count as an attempt.
    pub(crate) fn not_started(&mut self, position: Position) {
        let state = self.events.get_mut(&position).expect("what runs is known");
        state.runs = false;
        state.attempts -= 1;
        let due = state.due;
        self.frees_its_slot(due);
        self.wait(position, due);
    }

    /// When the next retry may start if nothing else happens; `None` while it must wait for a slot.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        let room =
            self.running < self.slots && self.retries_running < slots_for_retries(self.slots);
        self.retries.first().filter(|_| room).map(|(due, _)| *due)
    }

    /// The events that were tried and are not settled: the number of attempts, and until when they wait.
    /// A running attempt does not count, because its outcome is not known yet.
    pub(crate) fn waiting(&self) -> impl Iterator<Item = (Position, u32, Timestamp)> {
        self.events.iter().filter_map(|(position, state)| {
            let attempts = state.attempts - u32::from(state.runs);
            state.due.map(|due| (*position, attempts, due))
        })
    }

    /// An event that had this due time runs no more.
    fn frees_its_slot(&mut self, due: Option<Timestamp>) {
        self.running -= 1;
        self.retries_running -= usize::from(due.is_some());
    }

    /// The first event of its lane waits for its turn.
    fn wait(&mut self, position: Position, due: Option<Timestamp>) {
        match due {
            None => self.fresh.push_back(position),
            Some(due) => {
                self.retries.insert((due, position));
            }
        }
    }
}

/// How many of the slots retries may use.
fn slots_for_retries(slots: usize) -> usize {
    match slots {
        1 => 1,
        slots => slots - (slots / 4).max(1),
    }
}

/// After this many fresh events in a row, a due retry gets its turn.
const FRESH_IN_A_ROW: usize = 7;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::Order;
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn event(seq: u64) -> Position {
        Position::first(seq)
    }

    fn lane(number: u8) -> Option<Lane> {
        Order::Session.lane("source", Some(&number.to_string()), &[])
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// Adds an event at the end of a lane, or without a lane; it may have been tried before.
        Add {
            lane: Option<u8>,
            tried: Option<(u32, i64)>,
        },
        Start,
        Wait(i64),
        /// Ends one of the running events.
        End(prop::sample::Index, End),
        /// Resets one of the known events.
        Afresh(prop::sample::Index),
        SetBack(i64),
        Shrink,
    }

    #[derive(Debug, Clone)]
    enum End {
        Settled,
        Again(i64),
        NotStarted,
    }

    fn step() -> impl Strategy<Value = Step> {
        let lane = prop::option::weighted(0.8, 0..4u8);
        let tried = prop::option::weighted(0.2, (0..5u32, 0..60i64));
        let end = prop_oneof![
            3 => Just(End::Settled),
            2 => (0..20i64).prop_map(End::Again),
            1 => Just(End::NotStarted),
        ];
        prop_oneof![
            4 => (lane, tried).prop_map(|(lane, tried)| Step::Add { lane, tried }),
            5 => Just(Step::Start),
            2 => (0..15i64).prop_map(Step::Wait),
            4 => (any::<prop::sample::Index>(), end).prop_map(|(index, end)| Step::End(index, end)),
            1 => any::<prop::sample::Index>().prop_map(Step::Afresh),
            1 => (0..100i64).prop_map(Step::SetBack),
            1 => Just(Step::Shrink),
        ]
    }

    /// What is known of an event that is not settled.
    #[derive(Debug, Clone)]
    struct Known {
        lane: Option<u8>,
        attempts: u32,
        due: Option<i64>,
        runs: bool,
    }

    /// The simple implementation: a list in the order of arrival.
    #[derive(Debug)]
    struct Model {
        slots: usize,
        events: BTreeMap<Position, Known>,
        now: i64,
    }

    impl Model {
        /// Events that are not running and wait only for time or a slot.
        fn fronts(&self) -> Vec<Position> {
            let front = |(seq, known): &(&Position, &Known)| {
                let ahead = self.events.range(..*seq);
                let mut ahead = ahead.filter(|(_, ahead)| ahead.lane == known.lane);
                let first = known.lane.is_none() || ahead.next().is_none();
                first && !known.runs
            };
            let fronts = self.events.iter().filter(front);
            fronts.map(|(seq, _)| *seq).collect()
        }

        /// Events that may start now.
        fn ready(&self) -> Vec<Position> {
            let mut ready = self.fronts();
            ready.retain(|seq| match self.events[seq].due {
                None => self.has_room(),
                Some(due) => due <= self.now && self.has_room_for_a_retry(),
            });
            ready
        }

        fn has_room(&self) -> bool {
            self.running().len() < self.slots
        }

        fn has_room_for_a_retry(&self) -> bool {
            let running = self.running();
            let retries = running.iter().filter(|seq| self.events[seq].due.is_some());
            let kept = (self.slots / 4).max(usize::from(self.slots > 1));
            self.has_room() && retries.count() < self.slots - kept
        }

        fn running(&self) -> Vec<Position> {
            let running = self.events.iter().filter(|(_, known)| known.runs);
            running.map(|(seq, _)| *seq).collect()
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_starts_what_may_start_and_nothing_else(
            slots in prop_oneof![1..9usize, Just(100)],
            steps in vec(step(), 1..200),
        ) {
            let mut pair = Pair::new(slots);
            for step in steps {
                pair.step(step)?;
                pair.check()?;
            }
            pair.finish()?;
        }
    }

    /// A schedule and its model, which take the same steps.
    struct Pair {
        schedule: Schedule,
        model: Model,
        /// The sequence number of the next event.
        next: u64,
    }

    impl Pair {
        fn new(slots: usize) -> Self {
            Self {
                schedule: Schedule::new(slots, 4),
                model: Model {
                    slots,
                    events: BTreeMap::new(),
                    now: 0,
                },
                next: 1,
            }
        }

        fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
            match step {
                Step::Add { lane, tried } => self.add(lane, tried),
                Step::Start => self.start()?,
                Step::Wait(seconds) => self.model.now += seconds,
                Step::End(index, end) => self.end(index, &end),
                Step::Afresh(index) => self.afresh(index),
                Step::SetBack(seconds) => self.set_back(seconds),
                Step::Shrink => self.shrink()?,
            }
            Ok(())
        }

        fn add(&mut self, number: Option<u8>, tried: Option<(u32, i64)>) {
            let (attempts, due) = tried.unzip();
            let known = Known {
                lane: number,
                attempts: attempts.unwrap_or_default(),
                due,
                runs: false,
            };
            let event = event(self.next);
            let lane = number.and_then(lane);
            self.schedule.add(event, lane, known.attempts, due.map(at));
            self.model.events.insert(event, known);
            self.next += 1;
        }

        fn start(&mut self) -> Result<(), TestCaseError> {
            let ready = self.model.ready();
            match self.schedule.start(at(self.model.now)) {
                None => prop_assert!(ready.is_empty(), "{ready:?}"),
                Some(start) => {
                    prop_assert!(ready.contains(&start.position), "{start:?} of {ready:?}");
                    let known = self.model.events.get_mut(&start.position).unwrap();
                    known.attempts += 1;
                    known.runs = true;
                    prop_assert_eq!(start.attempt, known.attempts);
                }
            }
            Ok(())
        }

        /// Ends one of the running events, if there is one.
        fn end(&mut self, index: prop::sample::Index, end: &End) {
            let running = self.model.running();
            if running.is_empty() {
                return;
            }
            let seq = *index.get(&running);
            let known = self.model.events.get_mut(&seq).unwrap();
            known.runs = false;
            match end {
                End::Settled => {
                    self.schedule.settled(seq);
                    self.model.events.remove(&seq);
                }
                End::Again(pause) => {
                    let due = self.model.now + pause;
                    known.due = Some(due);
                    self.schedule.again(seq, at(due));
                }
                End::NotStarted => {
                    known.attempts -= 1;
                    self.schedule.not_started(seq);
                }
            }
        }

        fn afresh(&mut self, index: prop::sample::Index) {
            if self.model.events.is_empty() {
                return;
            }
            let all: Vec<_> = self.model.events.keys().copied().collect();
            let seq = *index.get(&all);
            self.schedule.afresh(seq, at(self.model.now));
            let known = self.model.events.get_mut(&seq).unwrap();
            if known.due.is_some() && !known.runs {
                known.attempts = 0;
                known.due = Some(self.model.now);
            }
        }

        fn set_back(&mut self, seconds: i64) {
            let by = Duration::from_secs(seconds.unsigned_abs());
            self.schedule.set_back(by);
            self.model.now -= seconds;
            let known = self.model.events.values_mut();
            for due in known.filter_map(|known| known.due.as_mut()) {
                *due -= seconds;
            }
        }

        /// An empty schedule frees its memory.
        fn shrink(&mut self) -> Result<(), TestCaseError> {
            self.schedule.shrink();
            if self.model.events.is_empty() {
                prop_assert_eq!(self.schedule.events.capacity(), 0);
                prop_assert_eq!(self.schedule.lanes.capacity(), 0);
            }
            Ok(())
        }

        /// After any history every event gets settled, in the order of its lane.
        fn finish(&mut self) -> Result<(), TestCaseError> {
            let dues = self.model.events.values().filter_map(|known| known.due);
            let last = dues.max().unwrap_or_default();
            self.model.now = self.model.now.max(last);
            while !self.model.events.is_empty() {
                for seq in self.model.running() {
                    self.schedule.settled(seq);
                    self.model.events.remove(&seq);
                }
                self.check()?;
                self.start()?;
                self.check()?;
            }
            prop_assert_eq!((self.schedule.len(), self.schedule.lanes.len()), (0, 0));
            Ok(())
        }

        /// The schedule and the model agree.
        fn check(&self) -> Result<(), TestCaseError> {
            let Self {
                schedule, model, ..
            } = self;
            prop_assert_eq!(schedule.len(), model.events.len());
            prop_assert_eq!(schedule.running(), model.running().len());
            let fronts = model.fronts();
            let mut waiting: Vec<_> = schedule.waiting().collect();
            waiting.sort_unstable();
            let mut expected = Vec::new();
            let mut next_due = None;
            for (seq, known) in &model.events {
                let Some(due) = known.due else { continue };
                let attempts = known.attempts - u32::from(known.runs);
                expected.push((*seq, attempts, at(due)));
                if fronts.contains(seq) && model.has_room_for_a_retry() {
                    next_due = Some(next_due.unwrap_or(due).min(due));
                }
            }
            prop_assert_eq!(waiting, expected);
            prop_assert_eq!(schedule.next_due(), next_due.map(at));
            Ok(())
        }
    }

    #[test]
    fn a_waiting_lane_holds_up_no_other() {
        let mut schedule = Schedule::new(1000, 4);
        for seq in 1..=1000 {
            schedule.add(event(seq), lane((seq % 2) as u8), 0, None);
        }
        // The odd lane always fails; the even lane never waits for it.
        let mut settled = Vec::new();
        for _ in 0..501 {
            let start = schedule.start(at(0)).unwrap();
            match start.position.seq() % 2 {
                0 => {
                    schedule.settled(start.position);
                    settled.push(start.position.seq());
                }
                _ => schedule.again(start.position, at(1)),
            }
        }
        assert_eq!(schedule.start(at(0)), None);
        let even: Vec<_> = (1..=500).map(|half| 2 * half).collect();
        assert_eq!(settled, even);
        let waiting: Vec<_> = schedule.waiting().collect();
        assert_eq!(waiting, [(event(1), 1, at(1))]);
    }

    #[test]
    fn neither_fresh_events_nor_retries_starve() {
        let mut schedule = Schedule::new(1000, 4);
        for seq in 1..=500 {
            schedule.add(event(seq), None, 0, None);
            schedule.add(event(1000 + seq), None, 1, Some(at(0)));
        }
        // When both kinds wait, one start in eight is a retry.
        for turn in 1..=500 {
            let start = schedule.start(at(0)).unwrap();
            assert_eq!(start.position.seq() > 1000, turn % 8 == 0, "turn {turn}");
            schedule.settled(start.position);
        }
        // When only one kind waits, it uses every start.
        let (mut fresh, mut retries) = (0, 0);
        while let Some(start) = schedule.start(at(0)) {
            schedule.settled(start.position);
            match start.position.seq() > 1000 {
                true => retries += 1,
                false => fresh += 1,
            }
        }
        assert_eq!((fresh, retries), (500 - 438, 500 - 62));
        assert_eq!(schedule.len(), 0);
    }

    #[test]
    fn retries_leave_room_for_first_attempts() {
        for (slots, for_retries) in [(1, 1), (2, 1), (3, 2), (4, 3), (8, 6), (64, 48)] {
            let mut schedule = Schedule::new(slots, 4);
            for seq in 1..=10_000 {
                schedule.add(event(seq), None, 1, Some(at(0)));
            }
            // None of them ever ends.
            let retries = std::iter::from_fn(|| schedule.start(at(0))).count();
            assert_eq!(retries, for_retries, "{slots} slots");
            assert_eq!(schedule.next_due(), None, "there is no use in waking up");
            for seq in 10_001..=10_100 {
                schedule.add(event(seq), None, 0, None);
            }
            let fresh: Vec<_> = std::iter::from_fn(|| schedule.start(at(0))).collect();
            assert_eq!(fresh.len(), slots - for_retries);
            assert!(fresh.iter().all(|start| start.position.seq() > 10_000));
            // Each fresh event gets its turn, one after another.
            for start in fresh.iter().rev() {
                schedule.settled(start.position);
                let next = schedule.start(at(0)).unwrap();
                assert!(next.position.seq() > 10_000);
            }
        }
    }

    #[test]
    fn the_retry_that_was_due_first_starts_first() {
        let mut schedule = Schedule::new(1000, 4);
        for (seq, due) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
            schedule.add(event(seq), None, 1, Some(at(due)));
        }
        assert_eq!(schedule.start(at(9)), None);
        assert_eq!(schedule.next_due(), Some(at(10)));
        let started: Vec<_> = std::iter::from_fn(|| schedule.start(at(30))).collect();
        let started: Vec<_> = started.iter().map(|start| start.position.seq()).collect();
        assert_eq!(started, [2, 3, 1]);
        assert_eq!(schedule.next_due(), Some(at(40)));
    }
}
