//! Deliveries to local subscribers, as fast as they take them, beside a bare loop with the same HTTP
//! client. The subscribers answer a fixed 200, on the core that otherwise sends.

use std::process::Command;

use anyhow::{Context as _, bail};
use offhook::clock::{Clock as _, SystemClock};

use super::{Contestant, Plan, Subscribers};
use crate::lab::Lab;
use crate::load::Requests;
use crate::results::{Relayed, RelayedBy};
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
    there.forget();
    let cpu_before = running.usage().cpu;
    let start = SystemClock.monotonic();
    running.open()?;
    there
        .wait_for(DELIVERIES)
        .with_context(|| into.sender.clone())?;
    let rate = DELIVERIES as f64 / (SystemClock.monotonic() - start).as_secs_f64();
    running.settle();
    let cpu = running.usage().cpu.saturating_sub(cpu_before);
    let cpu_micros = cpu.as_secs_f64() * 1e6 / DELIVERIES as f64;
    let received = there.received();
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
        handlers: 0,
        relay_to: there.list(),
        concurrency: concurrency(there),
        ..Setting::default()
    };
    let target = Target::named("sqlite").context("no target sqlite")?;
    let mut contestant = Contestant::start(target, lab, &setting)?;
    let shape = contestant.shape(plan);
    contestant.fill(requests, &shape, events(there))?;
    Ok(contestant.running)
}

fn start_bare_loop(lab: &Lab, plan: &Plan, there: &Subscribers) -> anyhow::Result<Running> {
    let folder = lab.empty_folder("bare-loop")?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["relay-loop", "--to", &there.list()]);
    command.args(["--events", &events(there).to_string()]);
    command.args(["--concurrency", &concurrency(there).to_string()]);
    command.args(["--body", &plan.body.to_string()]);
    Running::talking(command, lab, &folder)
}

/// How many events each of them gets.
fn events(there: &Subscribers) -> u64 {
    DELIVERIES / there.count() as u64
}

/// How many requests are on their way to each at once.
fn concurrency(there: &Subscribers) -> usize {
    match there.count() {
        1 => 64,
        _ => 8,
    }
}

/// How many subscribers there are.
const SUBSCRIBERS: [usize; 2] = [1, 100];

/// Deliveries of one round, over all subscribers: enough that the connections, which are made first, are
/// a small part.
const DELIVERIES: u64 = 300_000;
