//! Deliveries to local subscribers, as fast as they take them, beside a bare loop with the same HTTP
//! client. The subscribers answer a fixed 200, on the core that otherwise sends.

use std::net::{SocketAddr, TcpListener};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, bail};
use offhook::clock::{Clock as _, SystemClock};

use super::{Contestant, Plan};
use crate::lab::Lab;
use crate::load::Requests;
use crate::process::{pause, pin};
use crate::results::{Relayed, RelayedBy};
use crate::servers;
use crate::targets::{Running, Setting, Target};

pub(crate) fn relay(lab: &Lab, plan: &Plan) -> anyhow::Result<Relayed> {
    let mut requests = Requests::new()?;
    let mut senders = Vec::new();
    for subscribers in SUBSCRIBERS {
        let there = Subscribers::start(lab, subscribers)?;
        let by = |sender: &str| RelayedBy {
            sender: sender.to_owned(),
            subscribers: subscribers as u64,
            ..RelayedBy::default()
        };
        let (mut offhook, mut bare) = (by("offhook"), by("bare loop"));
        // The first round warms up.
        for round in 0..=plan.rounds {
            let running = start_offhook(lab, plan, &mut requests, &there)?;
            measure(running, &there, round, &mut offhook)?;
            let running = start_bare_loop(lab, plan, &there)?;
            measure(running, &there, round, &mut bare)?;
        }
        senders.extend([offhook, bare]);
    }
    Ok(Relayed {
        body: plan.body,
        rounds: plan.rounds,
        deliveries: DELIVERIES,
        senders,
    })
}

/// One round: from the word to begin to the last delivery.
fn measure(
    mut running: Running,
    there: &Subscribers,
    round: usize,
    into: &mut RelayedBy,
) -> anyhow::Result<()> {
    there.received.store(0, Ordering::Relaxed);
    let cpu_before = running.usage().cpu;
    let start = SystemClock.monotonic();
    running.open()?;
    while there.received.load(Ordering::Relaxed) < DELIVERIES {
        pause(Duration::from_micros(200));
        if SystemClock.monotonic() - start > PATIENCE {
            let received = there.received.load(Ordering::Relaxed);
            bail!(
                "{}: {received} of {DELIVERIES} deliveries in {PATIENCE:?}",
                into.sender
            );
        }
    }
    let rate = DELIVERIES as f64 / (SystemClock.monotonic() - start).as_secs_f64();
    running.settle();
    let cpu = running.usage().cpu.saturating_sub(cpu_before);
    let cpu_micros = cpu.as_secs_f64() * 1e6 / DELIVERIES as f64;
    let received = there.received.load(Ordering::Relaxed);
    if received != DELIVERIES {
        bail!("{}: {received} deliveries of {DELIVERIES}", into.sender);
    }
    let (sender, subscribers) = (&into.sender, into.subscribers);
    println!(
        "round {round}  {sender:<13} to {subscribers:>3}: {rate:>9.0}/s  {cpu_micros:.1} µs CPU"
    );
    if round > 0 {
        into.rates.push(rate);
        into.cpu_micros.push(cpu_micros);
    }
    Ok(())
}

/// With the events in its journal, and nothing sent yet.
fn start_offhook(
    lab: &Lab,
    plan: &Plan,
    requests: &mut Requests,
    there: &Subscribers,
) -> anyhow::Result<Running> {
    let setting = Setting {
        consumers: 0,
        relay_to: there.list(),
        concurrency: there.concurrency(),
    };
    let target = Target::named("sqlite").context("no target sqlite")?;
    let mut contestant = Contestant::start(target, lab, &setting)?;
    let shape = contestant.shape(plan);
    contestant.fill(requests, &shape, there.events())?;
    Ok(contestant.running)
}

fn start_bare_loop(lab: &Lab, plan: &Plan, there: &Subscribers) -> anyhow::Result<Running> {
    let folder = lab.empty_folder("bare-loop")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay-loop", "--to", &there.list()]);
    command.args(["--events", &there.events().to_string()]);
    command.args(["--concurrency", &there.concurrency().to_string()]);
    command.args(["--body", &plan.body.to_string()]);
    Running::talking(command, lab, &folder)
}

/// Subscribers on a thread of ours; they stay until the process ends.
struct Subscribers {
    addresses: Vec<SocketAddr>,
    received: Arc<AtomicU64>,
}

impl Subscribers {
    fn start(lab: &Lab, count: usize) -> anyhow::Result<Self> {
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0")?;
            addresses.push(listener.local_addr()?);
            listeners.push(listener);
        }
        let received = Arc::new(AtomicU64::new(0));
        let (core, counter) = (lab.load_core, Arc::clone(&received));
        std::thread::spawn(move || {
            pin(core);
            if let Err(error) = servers::fixed::run_on(listeners, &counter) {
                eprintln!("the subscribers failed: {error:#}");
            }
        });
        Ok(Self {
            addresses,
            received,
        })
    }

    fn list(&self) -> String {
        let all: Vec<String> = self.addresses.iter().map(SocketAddr::to_string).collect();
        all.join(",")
    }

    /// How many events each of them gets.
    fn events(&self) -> u64 {
        DELIVERIES / self.addresses.len() as u64
    }

    /// How many requests are on their way to each at once.
    fn concurrency(&self) -> usize {
        match self.addresses.len() {
            1 => 64,
            _ => 8,
        }
    }
}

/// How many subscribers there are.
const SUBSCRIBERS: [usize; 2] = [1, 100];

/// Deliveries of one round, over all subscribers: enough that the connections, which are made first, are
/// a small part.
const DELIVERIES: u64 = 300_000;

const PATIENCE: Duration = Duration::from_secs(120);
