//! A model of several instances on one database, without PostgreSQL: a scheduler picks the next step by a seed, and
//! loses requests and answers, delays renewals, pauses, kills and restarts instances, and takes the database back. Beside
//! events and progress there are documents that instances change, and commands that they leave for each other.
//! What decides is the engine's own code: [`Plan`](super::super::batch::Plan), `Following` and `division.rs`.
//!
//! A seed that fails is printed with the few of its steps that it needs for that; `OFFHOOK_MODEL_SEED` runs it alone.

mod changing;
mod database;
mod instance;
mod saving;

use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind, set_hook, take_hook};
use std::sync::Arc;
use std::time::{Duration, Instant};

use database::Database;
use fastrand::Rng;
use instance::Instance;
use uuid::Uuid;

use crate::clock::{Clock as _, SystemClock};
use crate::journal::{KeyHash, Seq, Share};

const SHARES: Share = 3;
const CONSUMERS: u8 = 2;
const EVENTS: usize = 40;
const LEASE: Duration = Duration::from_millis(1000);
const SEEDS: u64 = 10_000;
const STEPS: u64 = 600;
/// An odd number with which those of the steps lie far apart.
const SPREAD: u64 = 0x9E37_79B9_7F4A_7C15;

/// Everything of one seed, and what must hold.
struct World {
    rng: Rng,
    now: Instant,
    database: Database,
    instances: Vec<Instance>,
    /// Whether anything goes wrong.
    is_faulty: bool,
    /// Whether the database goes back now and then. Two instances may then run one share for a while.
    goes_back: bool,
    log: Log,
}

/// What senders and consumers have seen.
#[derive(Default)]
struct Log {
    /// Where the events are that were acknowledged, unless the database has gone back behind them.
    acknowledged: HashMap<KeyHash, Seq>,
    /// Which events each consumer was handed.
    started: HashSet<(u8, Uuid)>,
    /// How many acknowledged bodies the database has lost.
    lost: usize,
    /// Subscriptions whose removal was answered.
    removed: HashSet<Uuid>,
    /// How many attempts were started for the subscription, and how many commands were answered.
    attempts: usize,
    obeyed: usize,
    trace: Vec<String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let goes_back = rng.u8(..4) == 0;
        let now = SystemClock.monotonic();
        let mut database = Database::new();
        let instances = (0..3)
            .map(|_| Instance::new(&mut database, &mut rng, now))
            .collect();
        Self {
            rng,
            now,
            database,
            instances,
            is_faulty: true,
            goes_back,
            log: Log::default(),
        }
    }

    fn step(&mut self) {
        let pick = self.rng.usize(..self.instances.len());
        let choice = self.rng.u8(..48);
        if self.is_faulty {
            match choice {
                0 => {
                    let pause = LEASE.mul_f64(self.rng.f64() * 3.0);
                    self.note(pick, "pauses");
                    self.instances[pick].paused_until = self.now + pause;
                }
                1 => {
                    self.note(pick, "is killed and started again");
                    self.instances[pick] =
                        Instance::new(&mut self.database, &mut self.rng, self.now);
                }
                2 if self.goes_back => self.go_back(),
                // Everything takes long.
                3 => self.now += LEASE.mul_f64(self.rng.f64()),
                _ => {}
            }
        }
        self.now += LEASE.mul_f64(self.rng.f64() * 0.008);
        if self.now < self.instances[pick].paused_until {
            return;
        }
        let Self {
            rng,
            now,
            database,
            instances,
            is_faulty,
            log,
            ..
        } = self;
        let told = instances[pick].act(choice % 12, *now, database, rng, *is_faulty, log);
        if let Some(told) = told {
            self.note(pick, told);
        }
        self.one_holder_each();
    }

    /// The database loses its newest commits, as a standby may that takes over.
    fn go_back(&mut self) {
        let count = self.rng.usize(1..5);
        self.database.go_back(count);
        let head = self.database.head();
        let before = self.log.acknowledged.len();
        self.log.acknowledged.retain(|_, seq| *seq <= head);
        self.log.lost += before - self.log.acknowledged.len();
        self.log.trace.push(format!(
            "the database goes back by {count} commits, to body {head}"
        ));
        // All connections have ended.
        self.instances
            .iter_mut()
            .for_each(|instance| instance.is_verified = false);
    }

    fn note(&mut self, instance: usize, what: &str) {
        self.log.trace.push(format!("{instance} {what}"));
    }

    /// No two instances may use one share at the same time.
    fn one_holder_each(&self) {
        if self.goes_back {
            return;
        }
        for share in 0..SHARES {
            let holds = |instance: &&Instance| {
                self.now < instance.valid_until && instance.held.contains_key(&share)
            };
            let holders = self.instances.iter().filter(holds).count();
            assert!(holders <= 1, "share {share} has {holders} holders");
        }
    }

    /// Everything that was acknowledged is there, once, under a number without gaps.
    fn nothing_is_lost(&self) {
        let log = self.database.log();
        let mut seen = HashSet::new();
        for (seq, record) in (1..).zip(&log) {
            assert_eq!(record.seq, seq, "numbers are dense");
            assert!(
                seen.insert(record.received.id),
                "event {} is there twice",
                record.received.id
            );
        }
        for (hash, seq) in &self.log.acknowledged {
            let found = log
                .get(*seq as usize - 1)
                .map(|record| record.received.id.as_u128());
            assert_eq!(found, Some(*hash), "event {hash} was acknowledged as {seq}");
        }
    }

    /// Without faults everything comes to rest: all tails show the log, and all consumers were handed all events.
    fn comes_to_rest(&mut self) {
        self.is_faulty = false;
        for _ in 0..6000 {
            self.step();
        }
        self.nothing_is_lost();
        for instance in &self.instances {
            let tail = instance.following.tail();
            assert_eq!(tail.head(), self.database.head());
            for record in self.database.log() {
                let told = tail.get(record.seq);
                let id = told.map_or(record.received.id, |told| told.received.id);
                assert_eq!(
                    id, record.received.id,
                    "the tail shows another body {}",
                    record.seq
                );
            }
        }
        changing::have_come_to_rest(&self.instances, &self.database);
        for record in self.database.log() {
            for consumer in 0..CONSUMERS {
                let is_started = self.log.started.contains(&(consumer, record.received.id));
                assert!(
                    is_started,
                    "consumer {consumer} was not handed body {}",
                    record.seq
                );
            }
        }
    }
}

fn uuid(rng: &mut Rng) -> Uuid {
    Uuid::from_u128(rng.u128(..))
}

/// Takes these steps of a seed. Returns the world after them, and whether everything has held. Each step chooses by the seed
/// and its own number, so that it does the same without the others.
fn run(seed: u64, steps: &[u64]) -> (World, std::thread::Result<()>) {
    let mut world = World::new(seed);
    let mut head = 0;
    let ran = AssertUnwindSafe(|| {
        for step in steps {
            world.rng = Rng::with_seed(seed ^ step.wrapping_mul(SPREAD));
            world.step();
            if std::mem::replace(&mut head, world.database.head()) != world.database.head() {
                world.nothing_is_lost();
            }
        }
        if seed.is_multiple_of(20) {
            world.comes_to_rest();
        }
    });
    let ran = catch_unwind(ran);
    (world, ran)
}

/// Leaves out steps for as long as it still fails: first halves of them, at last single ones.
fn shrink(mut steps: Vec<u64>, fails: impl Fn(&[u64]) -> bool) -> Vec<u64> {
    let mut length = steps.len() / 2;
    while length > 0 {
        let mut from = 0;
        while from < steps.len() {
            let to = (from + length).min(steps.len());
            let fewer = [&steps[..from], &steps[to..]].concat();
            if fails(&fewer) {
                steps = fewer;
            } else {
                from = to;
            }
        }
        length /= 2;
    }
    steps
}

/// Does this while a panic in this thread is not told.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let (this, tells) = (std::thread::current().id(), Arc::new(take_hook()));
    let others = Arc::clone(&tells);
    set_hook(Box::new(move |panic| {
        if std::thread::current().id() != this {
            others(panic);
        }
    }));
    let done = work();
    set_hook(Box::new(move |panic| tells(panic)));
    done
}

/// What happens with the few steps that are needed for this seed to fail.
fn told(seed: u64, steps: &[u64]) -> String {
    let fails = |steps: &[u64]| run(seed, steps).1.is_err();
    let (few, world) = quietly(|| {
        let few = shrink(steps.to_vec(), fails);
        let world = run(seed, &few).0;
        (few, world)
    });
    let trace = world.log.trace.join("\n");
    format!(
        "seed {seed} fails, also with {} of its steps only:\n{trace}",
        few.len()
    )
}

#[test]
fn instances_agree_whatever_happens() {
    let only = std::env::var("OFFHOOK_MODEL_SEED")
        .ok()
        .map(|seed| seed.parse().unwrap());
    let seeds = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let steps: Vec<u64> = (1..=STEPS).collect();
    let mut total = [0; 5];
    for seed in seeds {
        let (World { log, .. }, ran) = run(seed, &steps);
        if let Err(panic) = ran {
            eprintln!("{}", told(seed, &steps));
            resume_unwind(panic);
        }
        let done = [
            log.started.len(),
            log.lost,
            log.removed.len(),
            log.attempts,
            log.obeyed,
        ];
        total
            .iter_mut()
            .zip(done)
            .for_each(|(total, done)| *total += done);
    }
    if only.is_none() {
        let [events, lost, removed, attempts, obeyed] = total;
        eprintln!(
            "{events} events handed over, {lost} lost, {removed} subscriptions removed, {attempts} attempts, {obeyed} \
             commands answered"
        );
        assert!(!total.contains(&0), "{total:?}: the model does nothing");
    }
}

#[test]
fn a_seed_that_fails_is_told_with_the_steps_that_it_needs() {
    let fails = |steps: &[u64]| steps.contains(&7) && steps.contains(&300);
    assert_eq!(shrink((1..=STEPS).collect(), fails), [7, 300]);
    assert_eq!(shrink((1..=STEPS).collect(), |_| true), [0; 0]);
}
