//! One consumer over a journal, compared with a plain model: for every sequence of appends, handler
//! outcomes and crashes, each acknowledged event is delivered until it is done or given up, in the order
//! of its lane.
//!
//! `OFFHOOK_MODEL_CASES` sets the number of cases and `OFFHOOK_MODEL_SEED` the seed; a failure names the
//! seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

use super::controls::ConsumerControls;
use super::large::LargeBodies;
use super::runner::Ending;
use super::runner::tests::SMALL;
use super::{Consumer, HandlerOptions, Order, ReplayRequest, Retry, Runner, RunnerContext, Saved};
use crate::clock::Clock as _;
use crate::dialect::{Codeskytz, Decoder, Dialect as _};
use crate::journal::{
    Appended, DedupKey, Desk, Entry, EntryPart, Journal, Memory, Position, Seq, Sqlite, TestFolder,
};
use crate::telemetry::{JournalMetrics, Metrics};
use crate::testing::{FakeClock, Recorder};
use crate::{Delivery, Event, EventHandler, EventKind, HandlerError, Received, Source, Timestamp};

#[test]
fn no_event_is_lost_in_memory() {
    explore(Engine::Memory, 10_000);
}

#[test]
fn no_event_is_lost_on_disk() {
    explore(Engine::Sqlite, 250);
}

/// Tests the loop itself, on a clock that moves only when the test moves it.
#[tokio::test]
async fn it_wakes_only_when_something_is_due() {
    let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
    let recorder = Recorder::default();
    let options = HandlerOptions::default().retry(RETRY);
    let metrics = Metrics::new();
    let handler = Arc::new(recorder.clone());
    let consumer = Consumer::new(NAME.to_owned(), handler, options, &metrics, clock.clone());
    let journal: Arc<dyn Journal> = Arc::new(Memory::new(clock.clone(), 1));
    let decoder = Decoder::new([Source::new(SOURCE).named_reader(1 << 20)], 1 << 20);
    let context = context(&journal, &Arc::new(decoder), clock.clone()).await;
    let desk = Arc::clone(&context.desk);
    let runner = Runner::new(Arc::new(consumer), context, Arc::new(()));
    let (mut runner, controls) = runner.await.unwrap();
    let (ending, mut told) = watch::channel(Ending::GoOn);
    let running = tokio::spawn(async move { runner.run(&mut told).await });
    let attempts = || {
        recorder
            .deliveries()
            .iter()
            .map(Delivery::attempt)
            .collect()
    };
    let attempts = async || -> Vec<u32> {
        // Everything runs on this thread, so nothing is left to do after this many turns.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        attempts()
    };
    assert_eq!(attempts().await, [0; 0]);

    recorder.fail_next(2);
    journal.append(entry(0, 0, true)).await.unwrap();
    assert_eq!(attempts().await, [1]);
    clock.advance(Duration::from_millis(999));
    assert_eq!(attempts().await, [1]);
    clock.advance(Duration::from_millis(1));
    assert_eq!(attempts().await, [1, 2]);
    // The lane now waits for two seconds; the next event is in another lane.
    journal.append(entry(1, 1, true)).await.unwrap();
    assert_eq!(attempts().await, [1, 2, 1]);
    journal.append(entry(2, 0, true)).await.unwrap();
    assert_eq!(attempts().await, [1, 2, 1]);
    // The pause lasts beyond the time of a retry.
    controls.pause(true).await.unwrap().unwrap();
    clock.advance(Duration::from_secs(2));
    assert_eq!(attempts().await, [1, 2, 1]);
    controls.pause(false).await.unwrap().unwrap();
    assert_eq!(attempts().await, [1, 2, 1, 3, 1]);

    // Progress is saved even when nothing else happens.
    clock.advance(Duration::from_millis(100));
    assert_eq!(attempts().await.len(), 5);
    let saved = read_saved(desk.as_ref()).await;
    assert_eq!(saved.progress.floor(), 3);
    // Progress is also saved at the end.
    journal.append(entry(3, 0, true)).await.unwrap();
    assert_eq!(attempts().await.len(), 6);
    ending.send_replace(Ending::Finish);
    running.await.unwrap();
    let saved = read_saved(desk.as_ref()).await;
    assert_eq!(saved.progress.floor(), 4);
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Engine {
    Memory,
    Sqlite,
}

#[derive(Debug, Clone)]
struct Case {
    order: usize,
    concurrency: usize,
    suspend_after: Option<Duration>,
    steps: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    /// A new event in a lane, and the outcome of each of its attempts; after those it succeeds.
    Append {
        lane: u8,
        wanted: bool,
        script: Vec<End>,
    },
    /// Appends the same event again.
    AppendAgain(prop::sample::Index),
    Wait(Duration),
    /// Some of the running attempts end.
    End(Vec<prop::sample::Index>),
    /// The process crashes; a journal on disk is opened again too.
    Crash,
    /// A clean stop and a new start.
    Stop,
    Pause(bool),
    Replay(Vec<prop::sample::Index>),
    /// The clock is set back or forward.
    SetClock(i64),
}

#[derive(Debug, Clone, Copy)]
enum End {
    Done,
    Fail,
    FailAndAskFor(Duration),
    Reject,
    Panic,
}

fn case() -> impl Strategy<Value = Case> {
    let suspended = prop::option::of((0..20u64).prop_map(Duration::from_secs));
    let parts = (0..3usize, 1..6usize, suspended, vec(step(), 1..60));
    parts.prop_map(|(order, concurrency, suspend_after, steps)| Case {
        order,
        concurrency,
        suspend_after,
        steps,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<prop::sample::Index>;
    let end = prop_oneof![
        4 => Just(End::Done),
        6 => Just(End::Fail),
        1 => (0..10u64).prop_map(|seconds| End::FailAndAskFor(Duration::from_secs(seconds))),
        1 => Just(End::Reject),
        1 => Just(End::Panic),
    ];
    let append = (0..6u8, prop::bool::weighted(0.9), vec(end, 0..6));
    let time = prop_oneof![Just(1), Just(50), Just(100), 0..3000u64, Just(60_000)];
    prop_oneof![
        10 => append.prop_map(|(lane, wanted, script)| Step::Append { lane, wanted, script }),
        1 => index().prop_map(Step::AppendAgain),
        5 => time.prop_map(|time| Step::Wait(Duration::from_millis(time))),
        10 => vec(index(), 1..4).prop_map(Step::End),
        1 => Just(Step::Crash),
        1 => Just(Step::Stop),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => vec(index(), 1..4).prop_map(Step::Replay),
        1 => prop_oneof![-5..5i64, -10_000_000..1_000_000i64].prop_map(Step::SetClock),
    ]
}

fn explore(engine: Engine, cases: u32) {
    let number = |name| std::env::var(name).ok()?.parse::<u64>().ok();
    let seed = number("OFFHOOK_MODEL_SEED").unwrap_or_else(|| fastrand::u64(..));
    let cases = number("OFFHOOK_MODEL_CASES").map_or(cases, |cases| cases as u32);
    let config = ProptestConfig {
        cases,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(seed),
        max_shrink_iters: 2_000,
        ..ProptestConfig::default()
    };
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    let explored = TestRunner::new(config).run(&case(), |case| {
        runtime.block_on(play(engine, &case));
        Ok(())
    });
    if let Err(error) = explored {
        panic!("OFFHOOK_MODEL_SEED={seed} OFFHOOK_MODEL_CASES={cases}\n{error}");
    }
}

async fn play(engine: Engine, case: &Case) {
    let mut world = World::start(engine, case).await;
    for step in &case.steps {
        match step {
            Step::Append {
                lane,
                wanted,
                script,
            } => world.append(*lane, *wanted, script).await,
            Step::AppendAgain(index) => world.append_again(index).await,
            Step::Wait(time) => world.clock.advance(*time),
            Step::End(which) => which.iter().for_each(|index| world.end(index)),
            // The next step may come before the new process has done anything.
            Step::Crash => {
                world.crash().await;
                continue;
            }
            Step::Stop => {
                world.stop().await;
                continue;
            }
            Step::Pause(paused) => world.pause(*paused).await,
            Step::SetClock(by) => world.set_clock(*by),
            Step::Replay(which) => world.replay(which).await,
        }
        world.settle_down().await;
    }
    world.finish().await;
}

async fn context(
    journal: &Arc<dyn Journal>,
    decoder: &Arc<Decoder>,
    clock: Arc<FakeClock>,
) -> RunnerContext {
    RunnerContext {
        hold: None,
        journal: Arc::clone(journal),
        desk: journal.desk(0).await.unwrap(),
        decoder: Arc::clone(decoder),
        large: Arc::new(LargeBodies::new(1 << 20)),
        clock,
        tuning: SMALL,
    }
}

async fn read_saved(desk: &dyn Desk) -> Saved {
    let saved = desk.saved(NAME).await.unwrap();
    Saved::decode(&saved.unwrap()).unwrap()
}

/// The journal, the consumer, and what the test knows of both.
struct World {
    engine: Engine,
    folder: Option<TestFolder>,
    clock: Arc<FakeClock>,
    consumer: Arc<Consumer>,
    decoder: Arc<Decoder>,
    model: Arc<Model>,
    /// `None` only between two lives.
    life: Option<Life>,
}

struct Life {
    journal: Arc<dyn Journal>,
    desk: Arc<dyn Desk>,
    runner: Runner,
    controls: ConsumerControls,
}

impl World {
    async fn start(engine: Engine, case: &Case) -> Self {
        let clock = Arc::new(FakeClock::new(
            Timestamp::from_second(1_700_000_000).unwrap(),
        ));
        let order = Order::ALL[case.order].1;
        let model = Arc::new(Model {
            order,
            suspend_after: case.suspend_after,
            clock: clock.clone(),
            known: Mutex::default(),
        });
        let mut options = HandlerOptions::default()
            .events([EventKind::Message])
            .order(order)
            .concurrency(case.concurrency)
            .retry(RETRY);
        options.suspend_after = case.suspend_after;
        let metrics = Metrics::new();
        let handler = Arc::clone(&model) as Arc<dyn EventHandler>;
        let consumer = Consumer::new(NAME.to_owned(), handler, options, &metrics, clock.clone());
        let mut world = Self {
            engine,
            folder: (engine == Engine::Sqlite).then(TestFolder::new),
            clock,
            consumer: Arc::new(consumer),
            decoder: Arc::new(Decoder::new(
                [Source::new(SOURCE).named_reader(1 << 20)],
                1 << 20,
            )),
            model,
            life: None,
        };
        let journal: Arc<dyn Journal> = match engine {
            Engine::Memory => Arc::new(Memory::new(world.clock.clone(), 1)),
            Engine::Sqlite => world.open(),
        };
        world.begin(journal).await;
        world
    }

    fn open(&self) -> Arc<dyn Journal> {
        let folder = self.folder.as_ref().unwrap();
        Arc::new(
            Sqlite::open(
                folder.path(),
                JournalMetrics::unrecorded(),
                self.clock.clone(),
            )
            .unwrap(),
        )
    }

    /// Starts a process, which knows only what was saved.
    async fn begin(&mut self, journal: Arc<dyn Journal>) {
        let context = context(&journal, &self.decoder, self.clock.clone()).await;
        let desk = Arc::clone(&context.desk);
        let runner = Runner::new(Arc::clone(&self.consumer), context, Arc::new(()));
        let (runner, controls) = runner.await.unwrap();
        let saved = read_saved(desk.as_ref()).await;
        let now = (self.clock.now(), self.clock.monotonic());
        self.model.lock().begin(&saved, now);
        self.life = Some(Life {
            journal,
            desk,
            runner,
            controls,
        });
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().unwrap()
    }

    fn journal(&self) -> &Arc<dyn Journal> {
        &self.life.as_ref().unwrap().journal
    }

    async fn settle_down(&mut self) {
        let model = Arc::clone(&self.model);
        self.life()
            .runner
            .settle_down(|| model.lock().held.len())
            .await;
        self.model.lock().assert_sound();
    }

    async fn append(&mut self, lane: u8, wanted: bool, script: &[End]) {
        let number = self.model.lock().events.len();
        let seq = number as Seq + 1;
        let appended = self.journal().append(entry(number, lane, wanted)).await;
        assert_eq!(appended, Ok(Appended::new(seq)));
        self.model.lock().events.push(Known {
            lane,
            wanted,
            script: script.to_vec(),
            given: 0,
        });
    }

    async fn append_again(&mut self, index: &prop::sample::Index) {
        let (number, lane, wanted) = {
            let known = self.model.lock();
            if known.events.is_empty() {
                return;
            }
            let number = index.index(known.events.len());
            let event = &known.events[number];
            (number, event.lane, event.wanted)
        };
        let appended = self.journal().append(entry(number, lane, wanted)).await;
        assert_eq!(
            appended,
            Ok(Appended::Duplicate(vec![Position::first(
                number as Seq + 1
            )]))
        );
    }

    /// Ends one of the running attempts as its script says.
    fn end(&mut self, index: &prop::sample::Index) {
        let held = self.model.lock().held.len();
        if held > 0 {
            let released = self.model.lock().held.remove(index.index(held));
            released.send(()).expect("the attempt waits for it");
        }
    }

    fn end_all(&mut self) {
        for released in std::mem::take(&mut self.model.lock().held) {
            released.send(()).expect("the attempt waits for it");
        }
    }

    async fn crash(&mut self) {
        // Drops everything that runs, and the journal with its last user.
        let life = self.life.take().unwrap();
        let journal = match self.engine {
            Engine::Memory => life.journal,
            Engine::Sqlite => {
                drop(life);
                self.open()
            }
        };
        self.begin(journal).await;
    }

    async fn stop(&mut self) {
        let Life {
            journal,
            desk,
            mut runner,
            ..
        } = self.life.take().unwrap();
        self.end_all();
        let (_ending, mut told) = watch::channel(Ending::Finish);
        runner.run(&mut told).await;
        drop(runner);
        self.model.lock().assert_sound();
        let saved = read_saved(desk.as_ref()).await;
        self.model.lock().assert_all_saved(&saved);
        drop(desk);
        let journal = match self.engine {
            Engine::Memory => journal,
            Engine::Sqlite => {
                drop(journal);
                self.open()
            }
        };
        self.begin(journal).await;
    }

    async fn pause(&mut self, paused: bool) {
        let Life {
            runner, controls, ..
        } = self.life();
        let (answer, ()) = tokio::join!(controls.pause(paused), runner.obey_all());
        answer.expect("it runs").unwrap();
        let mut model = self.model.lock();
        model.paused = paused;
        if !paused && model.suspended.take().is_some() {
            model.failing = None;
        }
    }

    /// The time of day changes nothing: retries and failures count by a clock that is not set.
    fn set_clock(&mut self, by: i64) {
        let by = jiff::SignedDuration::from_secs(by);
        self.clock.set(self.clock.now() + by);
    }

    async fn replay(&mut self, which: &[prop::sample::Index]) {
        let events = self.model.lock().events.len();
        if events == 0 {
            return;
        }
        let seqs = which.iter().map(|index| index.index(events) as Seq + 1);
        let seqs: Vec<Seq> = seqs.collect::<BTreeSet<_>>().into_iter().collect();
        let Life {
            journal,
            runner,
            controls,
            ..
        } = self.life();
        let events: Vec<_> = seqs.iter().map(|seq| Position::first(*seq)).collect();
        let (id, request) = (Uuid::now_v7(), ReplayRequest::default());
        let replay = controls.replay(journal.as_ref(), id, &request, events.clone());
        let (answer, ()) = tokio::join!(replay, runner.obey_all());
        answer.expect("it runs").unwrap();
        journal.forget_dead_letters(NAME, &events).await.unwrap();
        let now = self.clock.monotonic();
        self.model.lock().replay(&seqs, now);
    }

    /// Given enough time every event is settled, and the journal agrees with the model.
    async fn finish(mut self) {
        let mut rounds = 0;
        loop {
            self.pause(false).await;
            self.settle_down().await;
            while !self.model.lock().held.is_empty() {
                self.end_all();
                self.settle_down().await;
            }
            if self.model.lock().is_all_settled() {
                break;
            }
            self.clock.advance(Duration::from_secs(10));
            rounds += 1;
            assert!(rounds < 1_000, "{:#?}", self.model.lock());
        }
        self.stop().await;
        let given: Vec<_> = self.model.lock().given();
        self.settle_down().await;
        assert_eq!(
            self.model.lock().given(),
            given,
            "handed over after the end"
        );

        let head = self.model.lock().events.len() as Seq;
        let saved = read_saved(self.life().desk.as_ref()).await;
        assert_eq!(saved.progress.floor(), head);
        assert_eq!(saved.progress.lag(head), 0);
        assert!(saved.retries.is_empty());
        assert!(saved.replaying.is_empty());
        assert!(saved.replays.iter().all(|replay| !replay.is_running()));
        let dead = self.journal().dead_letters(Some(NAME), None, usize::MAX);
        let dead = dead.await.unwrap();
        let oldest_first = dead.iter().rev();
        let dead: Vec<_> = oldest_first
            .map(|(_, letter)| (letter.position.seq(), letter.attempts))
            .collect();
        assert_eq!(dead, self.model.lock().dead());
    }
}

/// The handler. It knows the rules and records each violation.
#[derive(Debug)]
struct Model {
    order: Order,
    suspend_after: Option<Duration>,
    clock: Arc<FakeClock>,
    known: Mutex<All>,
}

#[derive(Debug, Default)]
struct All {
    events: Vec<Known>,
    /// Running attempts that wait for the test to end them.
    held: Vec<oneshot::Sender<()>>,
    /// Settled, as far as this process knows: must not be delivered.
    settled: BTreeSet<Seq>,
    /// Were settled at least once, as far as this process knows, replayed or not.
    passed: BTreeSet<Seq>,
    running: BTreeSet<Seq>,
    /// For each event that was tried: the number of attempts, and until when it waits.
    tried: BTreeMap<Seq, (u32, Instant)>,
    /// To be replayed.
    owed: BTreeSet<Seq>,
    /// To be replayed after the attempt that runs.
    again: BTreeSet<Seq>,
    /// Failed when they were to be replayed: the next attempt is a replay even if none has settled them.
    failed_again: BTreeSet<Seq>,
    paused: bool,
    /// For how long attempts had failed at a moment.
    failing: Option<(Duration, Instant)>,
    suspended: Option<Timestamp>,
    /// How each event ended last, over all lives: the number of attempts if it was given up.
    last: BTreeMap<Seq, Option<u32>>,
    /// In the order in which they were first settled, over all lives.
    first_settled: Vec<Seq>,
    wrong: Vec<String>,
}

#[derive(Debug)]
struct Known {
    lane: u8,
    wanted: bool,
    script: Vec<End>,
    given: usize,
}

impl Model {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.known.lock().unwrap()
    }

    /// Two events of the same lane have the same value.
    fn line(&self, lane: u8) -> Option<u8> {
        match self.order {
            Order::Conversation => Some(lane),
            Order::Session => Some(lane / LANES_OF_A_SESSION),
            Order::None => None,
        }
    }

    fn begins(&self, seq: Seq, delivery: &Delivery) -> oneshot::Receiver<()> {
        let mut all = self.lock();
        let all = &mut *all;
        let mut wrong = |what: &str| all.wrong.push(format!("{seq}: {what}"));
        let event = &all.events[seq as usize - 1];
        let (attempts, due) = all.tried.get(&seq).copied().unzip();
        if !event.wanted {
            wrong("it is not wanted");
        }
        if all.paused {
            wrong("it starts in a pause");
        }
        // Another attempt may have been on its way at the moment of suspension.
        if all.suspended.is_some_and(|at| at != self.clock.now()) {
            wrong("it starts while it is suspended");
        }
        if all.settled.contains(&seq) {
            wrong("it is settled");
        }
        if due.is_some_and(|due| self.clock.monotonic() < due) {
            wrong("it is not due");
        }
        if delivery.attempt() != attempts.unwrap_or(0) + 1 || delivery.attempt() > RETRY.attempts {
            wrong(&format!(
                "attempt {} after {attempts:?}",
                delivery.attempt()
            ));
        }
        let is_replay = all.passed.contains(&seq) || all.failed_again.contains(&seq);
        if delivery.is_replay() != is_replay {
            wrong("it is a replay, or not one");
        }
        if let Some(line) = self.line(event.lane) {
            let same = |other: &&Seq| {
                let other = &all.events[**other as usize - 1];
                other.wanted && self.line(other.lane) == Some(line)
            };
            if let Some(other) = all.running.iter().find(same) {
                wrong(&format!("{other} of the same line runs"));
            }
            let ahead: Vec<_> = (1..seq).collect();
            let ahead = ahead.iter().filter(same);
            if let Some(other) = { ahead }.find(|other| !all.passed.contains(other)) {
                wrong(&format!("{other} of the same line is ahead of it"));
            }
        }
        if !all.running.insert(seq) {
            wrong("it runs already");
        }
        all.owed.remove(&seq);
        let (release, released) = oneshot::channel();
        all.held.push(release);
        released
    }

    fn ends(&self, seq: Seq, attempt: u32) -> End {
        let mut all = self.lock();
        let event = &mut all.events[seq as usize - 1];
        let end = event.script.get(event.given).copied().unwrap_or(End::Done);
        event.given += 1;
        all.running.remove(&seq);
        let now = self.clock.monotonic();
        all.ended_at(
            (self.clock.now(), now),
            matches!(end, End::Done),
            self.suspend_after,
        );
        let given_up = matches!(end, End::Reject) || attempt >= RETRY.attempts;
        let asked = match end {
            End::Done => {
                all.settle(seq, None);
                return end;
            }
            _ if given_up => {
                all.settle(seq, Some(attempt));
                return end;
            }
            End::FailAndAskFor(pause) => pause,
            _ => Duration::ZERO,
        };
        let pause = RETRY.pause(attempt, 0.5).max(asked);
        let tried = if all.again.remove(&seq) {
            all.failed_again.insert(seq);
            (0, now)
        } else {
            (attempt, now + pause)
        };
        all.tried.insert(seq, tried);
        end
    }
}

impl All {
    /// Starts a process with what was saved.
    fn begin(&mut self, saved: &Saved, (at, now): (Timestamp, Instant)) {
        let all = 1..=self.events.len() as Seq;
        let passed = all.filter(|seq| saved.progress.is_body_settled(*seq));
        let passed: BTreeSet<_> = passed.collect();
        for seq in &passed {
            let wanted = self.events[*seq as usize - 1].wanted;
            assert!(
                !wanted || self.passed.contains(seq),
                "{seq} was not settled"
            );
        }
        let replaying: BTreeSet<_> = saved.replaying.iter().map(Position::seq).collect();
        let early = replaying.difference(&passed);
        let early: BTreeSet<_> = early.copied().collect();
        assert!(
            early.is_subset(&self.failed_again),
            "replayed before it is done"
        );
        let pending = saved
            .replays
            .iter()
            .flat_map(|replay| replay.pending.iter());
        let pending: BTreeSet<_> = pending.map(Position::seq).collect();
        let again = self.again.iter().filter(|seq| passed.contains(seq));
        let replayed = |seq| replaying.contains(seq) || pending.contains(seq);
        for seq in self.owed.iter().chain(again) {
            assert!(
                replayed(seq) || !passed.contains(seq),
                "the replay of {seq} is forgotten"
            );
        }
        for seq in self.failed_again.difference(&passed) {
            assert!(replayed(seq), "the replay of {seq} is forgotten");
        }
        self.failed_again = early;
        self.again.clear();
        let tried = saved.retries.iter().map(|(event, waiting)| {
            // No longer than the wait was when it was saved.
            let left = |from| {
                waiting
                    .due
                    .duration_since(from)
                    .max(jiff::SignedDuration::ZERO)
            };
            let left = left(waiting.at).min(left(at));
            let due = now + Duration::try_from(left).unwrap();
            (event.seq(), (waiting.attempts, due))
        });
        self.tried = tried.collect();
        // What was to be replayed and is not settled is tried as if for the first time.
        let waits = |seq: &&Seq| !passed.contains(seq) || replaying.contains(seq);
        let asked = pending.iter().filter(waits);
        asked.for_each(|seq| _ = self.tried.remove(seq));
        self.settled = &(&passed - &replaying) - &pending;
        let wanted = |seq: &Seq| self.events[*seq as usize - 1].wanted;
        self.settled.retain(wanted);
        self.owed = &(&replaying | &pending) & &passed;
        self.owed.retain(wanted);
        self.passed = passed;
        self.running.clear();
        self.held.clear();
        assert_eq!(saved.head.paused, self.paused);
        assert!(self.suspended.is_some() || saved.head.suspended.is_none());
        let suspended = saved.head.suspended.as_ref();
        self.suspended = suspended.map(|suspended| suspended.since);
        self.failing = saved.head.failing().map(|lasted| (lasted, now));
    }

    fn ended_at(
        &mut self,
        (at, now): (Timestamp, Instant),
        done: bool,
        suspend_after: Option<Duration>,
    ) {
        if done {
            self.failing = None;
            return;
        }
        let (before, since) = *self.failing.get_or_insert((Duration::ZERO, now));
        let lasted = before + (now - since);
        if suspend_after.is_some_and(|after| lasted >= after) {
            self.suspended.get_or_insert(at);
        }
    }

    fn settle(&mut self, seq: Seq, given_up: Option<u32>) {
        self.tried.remove(&seq);
        self.settled.insert(seq);
        self.passed.insert(seq);
        if self.last.insert(seq, given_up).is_none() {
            self.first_settled.push(seq);
        }
        if self.again.remove(&seq) {
            self.settled.remove(&seq);
            self.owed.insert(seq);
        }
    }

    fn replay(&mut self, seqs: &[Seq], now: Instant) {
        for seq in seqs {
            if !self.events[*seq as usize - 1].wanted {
                continue;
            }
            if self.running.contains(seq) {
                self.again.insert(*seq);
                continue;
            }
            if self.settled.remove(seq) {
                self.owed.insert(*seq);
            }
            if let Some(tried) = self.tried.get_mut(seq) {
                *tried = (0, now);
            }
        }
    }

    /// A clean stop forgets nothing.
    fn assert_all_saved(&self, saved: &Saved) {
        for seq in &self.settled {
            let settled = saved.progress.is_body_settled(*seq)
                && !saved.replaying.contains(Position::first(*seq));
            assert!(settled, "{seq} is settled and that is not saved");
        }
        let tried = saved.retries.iter();
        let tried = tried.map(|(event, waiting)| (event.seq(), waiting.attempts));
        let tried: BTreeMap<_, _> = tried.collect();
        for (seq, (attempts, _)) in &self.tried {
            let saved = tried.get(seq).copied().unwrap_or_default();
            assert_eq!(saved, *attempts, "attempts of {seq}");
        }
        let mut failed_again = self.failed_again.difference(&self.passed);
        let is_saved = |seq: &Seq| saved.replaying.contains(Position::first(*seq));
        assert!(failed_again.all(is_saved), "{:?}", self.failed_again);
        let suspended = saved.head.suspended.as_ref();
        assert_eq!(suspended.map(|suspended| suspended.since), self.suspended);
        assert_eq!(saved.head.failing().is_some(), self.failing.is_some());
    }

    fn is_all_settled(&self) -> bool {
        let events = self.events.iter().enumerate();
        let mut wanted = events.filter(|(_, event)| event.wanted);
        wanted.all(|(index, _)| self.settled.contains(&(index as Seq + 1)))
    }

    fn assert_sound(&self) {
        assert!(self.wrong.is_empty(), "{:#?}\n{self:#?}", self.wrong);
    }

    fn given(&self) -> Vec<usize> {
        self.events.iter().map(|event| event.given).collect()
    }

    fn dead(&self) -> Vec<(Seq, u32)> {
        let dead = self.last.iter();
        dead.filter_map(|(seq, last)| Some((*seq, (*last)?)))
            .collect()
    }
}

#[async_trait]
impl EventHandler for Model {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let Event::Message(message) = event else {
            self.lock().wrong.push(format!("unwanted: {event:?}"));
            return Ok(());
        };
        let number: Seq = message.message_id.as_deref().unwrap().parse().unwrap();
        let seq = number + 1;
        let released = self.begins(seq, delivery);
        released
            .await
            .expect("the world lives longer than its attempts");
        match self.ends(seq, delivery.attempt()) {
            End::Done => Ok(()),
            End::Fail => Err("failed".into()),
            End::FailAndAskFor(pause) => Err(HandlerError::retry_after(pause)),
            End::Reject => Err(HandlerError::reject("rejected")),
            End::Panic => std::panic::resume_unwind(Box::new("panicked")),
        }
    }
}

fn entry(number: usize, lane: u8, wanted: bool) -> Entry {
    let kind = if wanted { "message" } else { "connection" };
    let session = lane / LANES_OF_A_SESSION;
    let body = format!(
        r#"{{"event":"{kind}","sessionId":"{session}","from":"{lane}","messageId":"{number}","status":"x"}}"#
    );
    let mut received = Received::new(SOURCE, body.clone());
    received.id = Uuid::from_u128(number as u128);
    received.session = Some(session.to_string());
    Entry {
        received: Arc::new(received),
        events: Codeskytz.events(&body.into()).into(),
        parts: vec![EntryPart {
            session: None,
            key: DedupKey {
                hash: number as u128,
                window: Duration::MAX,
                state: None,
                named: true,
            },
        }],
    }
}

const NAME: &str = "handler:model";
const SOURCE: &str = "gateway";
const LANES_OF_A_SESSION: u8 = 3;

const RETRY: Retry = Retry {
    first: Duration::from_secs(1),
    factor: 2.0,
    max: Duration::from_secs(5),
    attempts: 4,
    jitter: 0.0,
};
