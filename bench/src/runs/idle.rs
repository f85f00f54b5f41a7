//! A server with much in it and nothing to do.

use std::time::Duration;

use anyhow::Context as _;

use super::{Contestant, Plan, Subscribers, mib};
use crate::lab::Lab;
use crate::load::{Pace, Requests, Shape, load};
use crate::process::pause;
use crate::procfs;
use crate::results::Idle;
use crate::targets::{Setting, Target};

/// Watches offhook with so many subscriptions and so many events kept for ten seconds of nothing.
pub(crate) fn idle(
    lab: &Lab,
    plan: &Plan,
    subscriptions: usize,
    kept: u64,
    lanes: u64,
) -> anyhow::Result<Idle> {
    let mut requests = Requests::new()?;
    let target = Target::named("sqlite").context("no target sqlite")?;
    // The journal is filled before there are so many subscribers, who would each be sent it all:
    // new ones start from now.
    let mut filled = Contestant::start(target, lab, &Setting::default())?;
    let shape = Shape {
        lanes,
        ..filled.shape(plan)
    };
    filled.fill(&mut requests, &shape, kept)?;
    drop(filled);
    let there = Subscribers::start(lab, subscriptions)?;
    let setting = Setting {
        subscribed: there.list(),
        concurrency: ON_THE_WAY,
        ..Setting::default()
    };
    let mut running = target.start_again(lab, &setting)?;
    // A few for everyone, so that nobody has never done anything.
    let batch = requests.take(EACH, &shape);
    load(&running.to, &batch, plan.connections, Pace::All)?;
    there.wait_for(EACH * subscriptions as u64)?;
    running.settle();
    running.handled()?;
    // Until connections that nobody uses are closed: that is the last thing to be done.
    pause(CONNECTIONS_END);
    let roots = running.roots();
    let (cpu_before, wakes_before) = procfs::fine(&roots);
    pause(WATCH);
    let (cpu, wakes) = procfs::fine(&roots);
    let cpu = cpu.saturating_sub(cpu_before);
    let idle = Idle {
        subscriptions,
        kept,
        lanes,
        seconds: WATCH.as_secs_f64(),
        cpu_millis: cpu.as_secs_f64() * 1e3,
        wakes: wakes.saturating_sub(wakes_before),
        resident_mib: mib(running.usage().resident),
    };
    println!(
        "{} ms CPU and {} wake-ups in {WATCH:?}, {} MiB resident",
        idle.cpu_millis, idle.wakes, idle.resident_mib
    );
    Ok(idle)
}

const WATCH: Duration = Duration::from_secs(10);

/// Events that each subscriber is sent before.
const EACH: u64 = 100;

/// How many requests are on their way to each subscriber at once.
const ON_THE_WAY: usize = 1;

/// When the relay has closed its connections. Each half minute it looks for those that nobody has used
/// for as long.
const CONNECTIONS_END: Duration = Duration::from_secs(70);
