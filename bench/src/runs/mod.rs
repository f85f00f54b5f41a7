//! The experiments, a file each. What they share is here: targets that are up, measured one at a time,
//! in turns, so that a change of the machine's speed meets all.

mod curve;
mod idle;
mod isolated;
mod open;
mod pages;
mod receive;
mod relay;
mod send;
mod subscribers;
mod watched;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::lab::Lab;
use crate::load::{self, Loaded, Pace, Requests, Shape};
use crate::results::Skipped;
use crate::targets::{Running, Setting, Target};

pub(crate) use curve::{Over, curve};
pub(crate) use idle::idle;
pub(crate) use isolated::isolated;
pub(crate) use open::open;
pub(crate) use pages::pages;
pub(crate) use receive::receive;
pub(crate) use relay::relay;
pub(crate) use send::send;
use subscribers::Subscribers;
pub(crate) use watched::watched;

/// How much is measured.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// Beside a first one that warms up.
    pub(crate) rounds: usize,
    /// For what a goal names on a curve; at least as many.
    pub(crate) rounds_of_goals: usize,
    pub(crate) time: Duration,
    pub(crate) connections: usize,
    pub(crate) body: usize,
    /// The targets by name; `None` for those that the experiment is about.
    pub(crate) only: Option<Vec<String>>,
}

impl Plan {
    /// The targets that can run here, and those that cannot.
    fn targets(&self, usual: &[&str]) -> anyhow::Result<(Vec<Target>, Vec<Skipped>)> {
        let (mut targets, mut skipped) = (Vec::new(), Vec::new());
        let own = self
            .only
            .as_ref()
            .map(|only| only.iter().map(String::as_str).collect());
        let names: Vec<&str> = own.unwrap_or_else(|| usual.to_vec());
        for name in names {
            let target = Target::named(name);
            let target = target.with_context(|| format!("no target {name:?}; see --list"))?;
            match target.missing() {
                None => targets.push(target),
                Some(why) => {
                    println!("{name}: skipped, {why}");
                    let target = name.to_owned();
                    skipped.push(Skipped { target, why });
                }
            }
        }
        Ok((targets, skipped))
    }
}

/// A target that is up, and how fast it has been with bodies of which length: so many requests are made
/// for its next round.
struct Contestant {
    target: Target,
    running: Running,
    fastest: BTreeMap<usize, f64>,
}

/// One round of one target.
struct Measured {
    loaded: Loaded,
    cpu_micros: f64,
    /// How long it went on working after the last answer.
    behind: Duration,
    /// How many commits have stored the messages, where that is known.
    commits: Option<u64>,
}

impl Contestant {
    fn start(target: Target, lab: &Lab, setting: &Setting) -> anyhow::Result<Self> {
        let started = target.start(lab, setting);
        Ok(Self {
            target,
            running: started.with_context(|| target.name)?,
            fastest: BTreeMap::new(),
        })
    }

    fn shape(&self, plan: &Plan) -> Shape {
        Shape {
            body: plan.body,
            ..self.target.shape()
        }
    }

    /// As fast as it answers, for the plan's time.
    fn closed(
        &mut self,
        requests: &mut Requests,
        plan: &Plan,
        shape: &Shape,
    ) -> anyhow::Result<Measured> {
        // More than it will answer, unless this is the first round.
        let fastest = self.fastest.get(&shape.body).copied();
        let fastest = fastest.unwrap_or_else(|| FIRST_RATE.min(FIRST_BYTES / shape.body as f64));
        let count = fastest * 1.5 * plan.time.as_secs_f64();
        let measured = self.measure(
            requests,
            count as u64,
            shape,
            plan.connections,
            Pace::Closed(plan.time),
        )?;
        self.fastest
            .insert(shape.body, fastest.max(measured.loaded.rate()));
        Ok(measured)
    }

    fn measure(
        &mut self,
        requests: &mut Requests,
        count: u64,
        shape: &Shape,
        connections: usize,
        pace: Pace,
    ) -> anyhow::Result<Measured> {
        let batch = requests.take(count, shape);
        let running = &mut self.running;
        let handled_before = running.handled()?;
        let before = running.usage().cpu;
        running.commits()?;
        // As many to each of several instances.
        let connections = connections * running.to.addresses();
        let loaded = load::load(&running.to, &batch, connections, pace);
        let loaded = loaded.with_context(|| self.target.name)?;
        let behind = running.settle();
        let cpu = running.usage().cpu.saturating_sub(before);
        if let (Some(before), Some(after)) = (handled_before, running.handled()?)
            && after - before != loaded.answered
        {
            let (name, handled) = (self.target.name, after - before);
            bail!(
                "{name}: {handled} messages were handled of {} answered",
                loaded.answered
            );
        }
        Ok(Measured {
            commits: running.commits()?,
            cpu_micros: cpu.as_secs_f64() * 1e6 / loaded.answered as f64,
            loaded,
            behind,
        })
    }

    /// Has it keep so many messages, however long that takes.
    fn fill(
        &mut self,
        requests: &mut Requests,
        shape: &Shape,
        mut count: u64,
    ) -> anyhow::Result<()> {
        while count > 0 {
            let part = count.min(200_000);
            let batch = requests.take(part, shape);
            load::load(&self.running.to, &batch, FILLING, Pace::All)?;
            count -= part;
        }
        self.running.settle();
        Ok(())
    }

    fn resident_mib(&self) -> f64 {
        mib(self.running.usage().resident)
    }
}

fn mib(bytes: u64) -> f64 {
    (bytes as f64 / f64::from(1 << 20) * 10.0).round() / 10.0
}

/// What is made for a target that nothing is known of yet, in requests and in bytes per second. When
/// that is too little, its first round ends early.
const FIRST_RATE: f64 = 20_000.0;
const FIRST_BYTES: f64 = 100e6;

/// Connections that fill a journal.
const FILLING: usize = 256;
