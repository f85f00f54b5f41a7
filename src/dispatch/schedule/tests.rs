use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::Order;
use super::super::lane::SessionHasher;
use super::sessions::three_quarters;
use super::*;
use crate::clock::{Clock as _, SystemClock};

/// A moment; all of one test are relative to `start`.
fn at(start: Instant, second: u64) -> Instant {
    start + Duration::from_secs(second)
}

fn now() -> Instant {
    SystemClock.monotonic()
}

fn event(seq: u64) -> Position {
    Position::first(seq)
}

fn lane(number: u8) -> Option<Lane> {
    Order::Session.lane("source", Some(&number.to_string()), &[])
}

fn session(number: u8) -> SessionKey {
    HASHER.key("source", Some(&number.to_string()))
}

static HASHER: LazyLock<SessionHasher> = LazyLock::new(SessionHasher::random);

/// An event without a lane, of session 0.
fn alone(seq: u64) -> Arrival {
    Arrival {
        position: event(seq),
        lane: None,
        session: session(0),
        via: Via::ReadOn,
    }
}

/// One of these that was tried once, and is due then.
fn add_tried(schedule: &mut Schedule, due: Instant, event: Arrival) {
    schedule.was_tried(event.position, Retry { attempts: 1, due });
    schedule.add(event);
}

fn schedule(slots: usize) -> Schedule {
    Schedule::new(Limits {
        slots,
        memory: usize::MAX / 2,
        lane: usize::MAX,
    })
}

#[derive(Debug, Clone)]
enum Step {
    /// A new event at the end of a lane, or without a lane.
    Add {
        lane: Option<u8>,
        session: u8,
    },
    Start,
    Wait(u64),
    /// Ends one of the running events.
    End(prop::sample::Index, End),
    /// Resets one of the known events.
    Afresh(prop::sample::Index),
    /// Reads so many events again that were left.
    Sweep(usize),
    Shrink,
}

#[derive(Debug, Clone)]
enum End {
    Settled,
    Again(u64),
    NotStarted,
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop::option::weighted(0.8, 0..3u8);
    let end = prop_oneof![
        3 => Just(End::Settled),
        2 => (0..20u64).prop_map(End::Again),
        1 => Just(End::NotStarted),
    ];
    prop_oneof![
        5 => (lane, 0..4u8).prop_map(|(lane, session)| Step::Add { lane, session }),
        5 => Just(Step::Start),
        2 => (0..15u64).prop_map(Step::Wait),
        4 => (any::<prop::sample::Index>(), end).prop_map(|(index, end)| Step::End(index, end)),
        1 => any::<prop::sample::Index>().prop_map(Step::Afresh),
        2 => (1..9usize).prop_map(Step::Sweep),
        1 => Just(Step::Shrink),
    ]
}

/// What is known of an event that is not settled.
#[derive(Debug, Clone)]
struct Known {
    /// With its session.
    lane: Option<u8>,
    session: u8,
    attempts: u32,
    due: Option<u64>,
    runs: bool,
}

/// The simple implementation: a list in the order of arrival, of all events that are not settled.
#[derive(Debug)]
struct Model {
    limits: Limits,
    events: BTreeMap<Position, Known>,
    now: u64,
}

impl Model {
    fn is_front(&self, position: Position) -> bool {
        let known = &self.events[&position];
        let mut ahead = self.events.range(..position);
        let same = |ahead: &Known| (ahead.lane, ahead.session) == (known.lane, known.session);
        known.lane.is_none() || !ahead.any(|(_, ahead)| same(ahead))
    }

    fn running(&self, counts: impl Fn(&Known) -> bool) -> usize {
        let running = self.events.values().filter(|known| known.runs);
        running.filter(|known| counts(known)).count()
    }

    /// Whether the limits let this event start.
    fn has_slot(&self, known: &Known) -> bool {
        let slots = self.limits.slots;
        let all = self.running(|_| true);
        let own = self.running(|other| other.session == known.session);
        let retries = self.running(|other| other.due.is_some());
        let own_retries =
            self.running(|other| other.session == known.session && other.due.is_some());
        let for_retries = |slots: usize| slots - (slots / 4).max(usize::from(slots > 1));
        let limit = ((slots - (all - own)) * 3 / 4).max(1);
        let retry_may = retries < for_retries(slots) && own_retries < for_retries(limit);
        all < slots && own < limit && (known.due.is_none() || retry_may)
    }

    fn may_start(&self, position: Position) -> bool {
        let known = &self.events[&position];
        let is_due = known.due.is_none_or(|due| due <= self.now);
        self.is_front(position) && !known.runs && is_due && self.has_slot(known)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn it_starts_what_may_start_and_nothing_else(
        slots in prop_oneof![1..9usize, Just(100)],
        memory in prop_oneof![1..9usize, Just(1000)],
        lane in prop_oneof![1..4usize, Just(1000)],
        steps in vec(step(), 1..200),
    ) {
        let mut pair = Pair::new(Limits { slots, memory: memory * FIRST, lane });
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
    start: Instant,
    /// The sequence number of the next event.
    next: u64,
    /// How far the running sweep has come.
    sweep: Option<Position>,
}

impl Pair {
    fn new(limits: Limits) -> Self {
        Self {
            schedule: Schedule::new(limits),
            model: Model {
                limits,
                events: BTreeMap::new(),
                now: 0,
            },
            start: now(),
            next: 1,
            sweep: None,
        }
    }

    fn step(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Add { lane, session } => self.add(lane, session),
            Step::Start => self.start()?,
            Step::Wait(seconds) => self.model.now += seconds,
            Step::End(index, end) => self.end(index, &end),
            Step::Afresh(index) => self.afresh(index),
            Step::Sweep(most) => self.sweep(most),
            Step::Shrink => self.shrink()?,
        }
        Ok(())
    }

    fn now(&self) -> Instant {
        at(self.start, self.model.now)
    }

    fn arrival(&self, position: Position, via: Via) -> Arrival {
        let known = &self.model.events[&position];
        Arrival {
            position,
            lane: known
                .lane
                .and_then(|number| lane(number * 16 + known.session)),
            session: session(known.session),
            via,
        }
    }

    fn add(&mut self, lane: Option<u8>, session: u8) {
        let position = event(self.next);
        let known = Known {
            lane,
            session,
            attempts: 0,
            due: None,
            runs: false,
        };
        self.model.events.insert(position, known);
        self.next += 1;
        self.schedule.add(self.arrival(position, Via::ReadOn));
    }

    fn start(&mut self) -> Result<(), TestCaseError> {
        let Some(start) = self.schedule.start(self.now()) else {
            // What memory holds may not start either.
            for position in self.model.events.keys() {
                let held = self.schedule.contains(*position);
                prop_assert!(!held || !self.model.may_start(*position), "{}", position);
            }
            return Ok(());
        };
        prop_assert!(self.model.may_start(start.position), "{:?}", start);
        let known = self.model.events.get_mut(&start.position).unwrap();
        known.attempts += 1;
        known.runs = true;
        prop_assert_eq!(start.attempt, known.attempts);
        Ok(())
    }

    fn end(&mut self, index: prop::sample::Index, end: &End) {
        let running = self.model.events.iter().filter(|(_, known)| known.runs);
        let running: Vec<_> = running.map(|(position, _)| *position).collect();
        if running.is_empty() {
            return;
        }
        let position = running[index.index(running.len())];
        let known = self.model.events.get_mut(&position).unwrap();
        known.runs = false;
        match end {
            End::Settled => {
                self.schedule.settled(position);
                self.schedule.forget_retry(position);
                self.model.events.remove(&position);
            }
            End::Again(pause) => {
                let due = self.model.now + pause;
                known.due = Some(due);
                let (attempts, due) = (known.attempts, at(self.start, due));
                self.schedule.again(position, Retry { attempts, due });
            }
            End::NotStarted => {
                known.attempts -= 1;
                self.schedule.not_started(position);
            }
        }
    }

    fn afresh(&mut self, index: prop::sample::Index) {
        let held = self.model.events.keys().copied();
        let held: Vec<_> = held.filter(|one| self.schedule.contains(*one)).collect();
        if held.is_empty() {
            return;
        }
        let position = held[index.index(held.len())];
        let was = self.schedule.afresh(position, self.now());
        let known = self.model.events.get_mut(&position).unwrap();
        assert_eq!(was, known.due.is_some() && !known.runs);
        if was {
            (known.attempts, known.due) = (0, Some(self.model.now));
        }
    }

    /// Reads at most `most` events again, as the runner does.
    fn sweep(&mut self, most: usize) {
        if self.sweep.is_none() {
            // As the runner does, but nearer.
            let near = event(self.next.saturating_sub(8).max(1));
            self.sweep = self.schedule.begin_sweep(near);
        }
        let Some(from) = self.sweep else { return };
        let Some(next) = self.schedule.sweep_goes_on() else {
            self.sweep = None;
            return self.schedule.end_sweep(false);
        };
        let from = from.max(next);
        let left = self
            .model
            .events
            .range(from..)
            .map(|(position, _)| *position);
        let left: Vec<_> = left.take(most).collect();
        for position in &left {
            if !self.schedule.contains(*position) {
                self.schedule.add(self.arrival(*position, Via::Sweep));
            }
        }
        if left.len() < most {
            self.sweep = None;
            return self.schedule.end_sweep(true);
        }
        self.sweep = left.last().map(|last| event(last.seq() + 1));
    }

    /// An empty schedule frees its memory.
    fn shrink(&mut self) -> Result<(), TestCaseError> {
        self.schedule.shrink();
        if self.schedule.len() == 0 {
            prop_assert_eq!(self.schedule.events.capacity(), 0);
            prop_assert_eq!(self.schedule.lanes.capacity(), 0);
            prop_assert_eq!(self.schedule.sessions.all_memory(), 0);
        }
        Ok(())
    }

    /// After any history every event gets settled, in the order of its lane.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        let mut rounds = 0;
        while !self.model.events.is_empty() {
            let running = self.model.events.iter().filter(|(_, known)| known.runs);
            let running: Vec<_> = running.map(|(position, _)| *position).collect();
            for position in running {
                self.schedule.settled(position);
                self.schedule.forget_retry(position);
                self.model.events.remove(&position);
            }
            self.model.now += 1;
            self.sweep(4);
            self.check()?;
            self.start()?;
            self.check()?;
            rounds += 1;
            prop_assert!(rounds < 2000, "{:?} {:?}", self.model, self.schedule);
        }
        prop_assert_eq!((self.schedule.len(), self.schedule.lanes.len()), (0, 0));
        Ok(())
    }

    /// The schedule and the model agree about what memory holds.
    fn check(&self) -> Result<(), TestCaseError> {
        let Self {
            schedule, model, ..
        } = self;
        prop_assert_eq!(schedule.running(), model.running(|_| true));
        let retries: BTreeMap<_, _> = { schedule.retries().iter() }
            .map(|(position, retry)| (*position, *retry))
            .collect();
        let mut expected = BTreeMap::new();
        for (position, known) in &model.events {
            let Some(due) = known.due else { continue };
            let (attempts, due) = (known.attempts - u32::from(known.runs), at(self.start, due));
            expected.insert(*position, Retry { attempts, due });
        }
        prop_assert_eq!(retries, expected);
        // Within its limits, beside one event for each session.
        let memory = schedule.sessions.all_memory();
        prop_assert!(memory <= model.limits.memory / 4 * 5 + 4 * FIRST);
        let behind = schedule
            .lanes
            .values()
            .flatten()
            .map(|all| all.len())
            .sum::<usize>();
        prop_assert_eq!(memory, schedule.events.len() * FIRST + behind * BEHIND);
        prop_assert_eq!(schedule.len(), schedule.events.len() + behind);
        if let Some(next) = schedule.next_due() {
            // A session whose retries are overdue waits for its turn.
            let is_due = schedule.retries().values().any(|one| one.due == next);
            prop_assert!(next <= self.now() || is_due);
        }
        Ok(())
    }
}

#[test]
fn a_waiting_lane_holds_up_no_other() {
    let (mut schedule, start) = (schedule(1000), now());
    for seq in 1..=1000 {
        schedule.add(Arrival {
            lane: lane((seq % 2) as u8),
            ..alone(seq)
        });
    }
    // The odd lane always fails; the even lane never waits for it.
    let mut settled = Vec::new();
    for _ in 0..501 {
        let started = schedule.start(start).unwrap();
        if started.position.seq() % 2 == 0 {
            schedule.settled(started.position);
            settled.push(started.position.seq());
        } else {
            let (attempts, due) = (started.attempt, at(start, 1));
            schedule.again(started.position, Retry { attempts, due });
        }
    }
    assert_eq!(schedule.start(start), None);
    let even: Vec<_> = (1..=500).map(|half| 2 * half).collect();
    assert_eq!(settled, even);
    let held_up: Vec<_> = schedule.held_up().collect();
    let first = Holding {
        position: event(1),
        attempts: 1,
        due: Some(at(start, 1)),
        behind: 499,
        more: false,
    };
    assert_eq!(held_up, [first]);
}

#[test]
fn neither_fresh_events_nor_retries_starve() {
    let (mut schedule, start) = (schedule(2000), now());
    for seq in 1..=500 {
        schedule.add(alone(seq));
        add_tried(&mut schedule, start, alone(1000 + seq));
    }
    // When both kinds wait, one start in eight is a retry.
    for turn in 1..=500 {
        let started = schedule.start(start).unwrap();
        assert_eq!(started.position.seq() > 1000, turn % 8 == 0, "turn {turn}");
        schedule.settled(started.position);
    }
    // When only one kind waits, it uses every start.
    let (mut fresh, mut retries) = (0, 0);
    while let Some(started) = schedule.start(start) {
        schedule.settled(started.position);
        if started.position.seq() > 1000 {
            retries += 1;
        } else {
            fresh += 1;
        }
    }
    assert_eq!((fresh, retries), (500 - 438, 500 - 62));
    assert_eq!(schedule.len(), 0);
}

/// Sessions that hang leave slots for others.
#[test]
fn a_session_never_holds_all_slots() {
    for (slots, held) in [
        (1, [1, 0, 0]),
        (2, [1, 1, 0]),
        (4, [3, 1, 0]),
        (64, [48, 12, 3]),
    ] {
        let (mut schedule, start) = (schedule(slots), now());
        for (number, expected) in (0..).zip(held) {
            for seq in 1..=1000 {
                schedule.add(Arrival {
                    session: session(number),
                    ..alone(1000 * u64::from(number) + seq)
                });
            }
            // None of them ever ends.
            let started = std::iter::from_fn(|| schedule.start(start)).count();
            assert_eq!(started, expected, "{slots} slots");
        }
    }
}

#[test]
fn any_number_of_slots_has_three_quarters() {
    let table = [(0, 1), (1, 1), (2, 1), (3, 2), (4, 3), (7, 5), (64, 48)];
    for (free, quarters) in table {
        assert_eq!(three_quarters(free), quarters, "{free}");
    }
    assert_eq!(three_quarters(usize::MAX), usize::MAX / 4 * 3 + 2);
}

/// A new event of a session that is being swept does not end its part of the sweep.
#[test]
fn reading_on_does_not_disturb_a_sweep() {
    let mut schedule = Schedule::new(Limits {
        slots: 4,
        memory: 4 * FIRST,
        lane: 4,
    });
    let start = now();
    // Three have room, the others are left.
    (1..=6).for_each(|seq| _ = schedule.add(alone(seq)));
    while let Some(started) = schedule.start(start) {
        schedule.settled(started.position);
    }
    assert_eq!(schedule.begin_sweep(event(1)), Some(event(4)));
    assert_eq!(schedule.add(alone(7)), Added::Left);
    let swept = |seq| Arrival {
        via: Via::Sweep,
        ..alone(seq)
    };
    assert_eq!(schedule.add(swept(4)), Added::First);
}

#[test]
fn sessions_take_turns() {
    let (mut schedule, start) = (schedule(1), now());
    for seq in 1..=1000 {
        let number = u8::from(seq > 900) + u8::from(seq > 950);
        schedule.add(Arrival {
            session: session(number),
            ..alone(seq)
        });
    }
    let mut order = Vec::new();
    for _ in 0..150 {
        let started = schedule.start(start).unwrap();
        order.push(started.position.seq());
        schedule.settled(started.position);
    }
    let of = |range: std::ops::RangeInclusive<u64>| {
        order.iter().filter(|seq| range.contains(seq)).count()
    };
    assert_eq!([of(1..=900), of(901..=950), of(951..=1000)], [50, 50, 50]);
}

#[test]
fn retries_leave_room_for_first_attempts() {
    for (slots, for_retries) in [(2, 1), (3, 2), (4, 3), (8, 6), (64, 48)] {
        let (mut schedule, start) = (schedule(slots), now());
        for seq in 1..=10_000 {
            let event = Arrival {
                session: session((seq % 200) as u8),
                ..alone(seq)
            };
            add_tried(&mut schedule, start, event);
        }
        // None of them ever ends.
        let retries = std::iter::from_fn(|| schedule.start(start)).count();
        assert_eq!(retries, for_retries, "{slots} slots");
        assert_eq!(schedule.next_due(), None, "there is no use in waking up");
        for seq in 10_001..=10_100 {
            schedule.add(Arrival {
                session: session(250),
                ..alone(seq)
            });
        }
        // Each fresh event gets its turn, one after another.
        for seq in 10_001..=10_100 {
            let started = schedule.start(start).unwrap();
            assert_eq!(started.position.seq(), seq);
            schedule.settled(started.position);
        }
    }
}

/// A session with many overdue retries does not hold up the retry of another.
#[test]
fn sessions_take_turns_with_retries() {
    let (mut schedule, start) = (schedule(4), now());
    for seq in 1..=1000 {
        let event = Arrival {
            session: session(u8::from(seq == 1000)),
            ..alone(seq)
        };
        add_tried(&mut schedule, start, event);
    }
    let retries = (0..3).map(|turn| {
        let due = at(start, 1 + turn);
        let Start { position, attempt } = schedule.start(due).unwrap();
        let attempts = attempt;
        schedule.again(position, Retry { attempts, due });
        position.seq()
    });
    assert!(retries.collect::<Vec<_>>().contains(&1000));
}

#[test]
fn the_retry_that_was_due_first_starts_first() {
    let (mut schedule, start) = (schedule(1000), now());
    for (seq, due) in [(1, 30), (2, 10), (3, 20), (4, 40)] {
        add_tried(&mut schedule, at(start, due), alone(seq));
    }
    assert_eq!(schedule.start(at(start, 9)), None);
    assert_eq!(schedule.next_due(), Some(at(start, 10)));
    let started: Vec<_> = std::iter::from_fn(|| schedule.start(at(start, 30))).collect();
    let started: Vec<_> = started.iter().map(|start| start.position.seq()).collect();
    assert_eq!(started, [2, 3, 1]);
    assert_eq!(schedule.next_due(), Some(at(start, 40)));
}

/// One session, and one lane, leave room in memory for others.
#[test]
fn a_flood_leaves_room_in_memory() {
    let mut schedule = Schedule::new(Limits {
        slots: 4,
        memory: 1000 * FIRST,
        lane: 100,
    });
    for seq in 1..=5000 {
        schedule.add(Arrival {
            lane: lane(1),
            ..alone(seq)
        });
    }
    assert_eq!(schedule.len(), 100);
    for seq in 5001..=9000 {
        schedule.add(alone(seq));
    }
    let memory = schedule.sessions.all_memory() / FIRST;
    assert_eq!(memory, 750);
    let other = Arrival {
        session: session(1),
        ..alone(9001)
    };
    assert_eq!(schedule.add(other), Added::First);
}

/// So many sessions that one has no room at all: nothing is read for it again and again.
#[test]
fn sweeps_end_without_room() {
    for lane_is_full in [false, true] {
        let mut schedule = Schedule::new(Limits {
            slots: 100,
            memory: 4 * FIRST,
            lane: 2,
        });
        let of = |seq, lane_number: u8, via| Arrival {
            lane: lane(lane_number),
            via,
            ..alone(seq)
        };
        for seq in 1..=6 {
            schedule.add(of(seq, if seq < 4 { 1 } else { 2 }, Via::ReadOn));
        }
        for seq in [1, 4] {
            assert_eq!(schedule.start(now()).unwrap().position, event(seq));
        }
        schedule.settled(event(1));
        schedule.settled(event(4));
        assert_eq!(schedule.begin_sweep(event(0)), Some(event(3)));
        // While the sweep waits for the disk, reading on fills the memory.
        if lane_is_full {
            assert_ne!(schedule.add(of(100, 1, Via::Replay)), Added::Left);
        }
        let of_others = |number: u8| Arrival {
            session: session(number),
            ..alone(10 + u64::from(number))
        };
        (1..9).for_each(|number| _ = schedule.add(of_others(number)));
        assert_eq!(schedule.add(of_others(20)), Added::Left);
        assert_eq!(schedule.add(of(3, 1, Via::Sweep)), Added::Left);
        // As the runner does it.
        let mut sweeps = 0;
        while schedule.sweep_goes_on().is_some() || {
            schedule.end_sweep(false);
            schedule.begin_sweep(event(0)).is_some()
        } {
            sweeps += 1;
            assert!(sweeps < 10, "nothing can be taken");
        }
    }
}

#[test]
fn a_drained_lane_frees_its_memory() {
    let (mut schedule, start) = (schedule(1), now());
    for seq in 1..=4096 {
        schedule.add(Arrival {
            lane: lane(0),
            ..alone(seq)
        });
    }
    for seq in 1..=4094 {
        assert_eq!(schedule.start(start).unwrap().position, event(seq));
        schedule.settled(event(seq));
    }
    let room = schedule.lanes.values().flatten();
    assert!(room.map(|all| all.capacity()).sum::<usize>() < 100);
}
