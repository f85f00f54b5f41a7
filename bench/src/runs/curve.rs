//! The shape of the cost: the same measurement while one thing grows.

use clap::ValueEnum;

use super::{Contestant, Plan, Subscribers};
use crate::lab::Lab;
use crate::load::{Pace, Requests, Shape};
use crate::results::{Curve, CurveOf, Point};
use crate::targets::{Setting, Target};

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Over {
    /// Connections, 1 to 1,024.
    Connections,
    /// The length of a body, 200 B to 1 MiB.
    Body,
    /// Events in the journal, 10 k to 10 M.
    Kept,
    /// Subscriptions, which get each event, 1 to 1,000.
    Subscribers,
    /// Conversations that the events belong to, 1 to 100 k.
    Lanes,
}

impl Over {
    pub(crate) const ALL: [Self; 5] = [
        Self::Connections,
        Self::Body,
        Self::Lanes,
        Self::Subscribers,
        Self::Kept,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::Body => "body",
            Self::Kept => "kept",
            Self::Subscribers => "subscribers",
            Self::Lanes => "lanes",
        }
    }

    fn points(self, most: u64) -> Vec<u64> {
        let all: &[u64] = match self {
            Self::Connections => &[1, 4, 16, 64, 256, 1024],
            Self::Body => &[
                200,
                1 << 10,
                4 << 10,
                16 << 10,
                64 << 10,
                256 << 10,
                1 << 20,
            ],
            Self::Kept => &[10_000, 100_000, 1_000_000, 10_000_000],
            Self::Subscribers => &[1, 10, 100, 1_000],
            Self::Lanes => &[1, 10, 100, 1_000, 10_000, 100_000],
        };
        all.iter().copied().filter(|point| *point <= most).collect()
    }

    /// The points that a goal names.
    fn has_goal(self, at: u64) -> bool {
        match self {
            Self::Connections => at == 1024,
            Self::Body => at == 4 << 10 || at == 1 << 20,
            Self::Kept => at == 10_000 || at == 10_000_000,
            Self::Subscribers | Self::Lanes => false,
        }
    }

    fn rounds(self, plan: &Plan, at: u64) -> usize {
        if self.has_goal(at) {
            plan.rounds_of_goals
        } else {
            plan.rounds
        }
    }

    fn targets(self) -> &'static [&'static str] {
        match self {
            Self::Connections | Self::Body => &["none", "bare", "sqlite", "file"],
            Self::Lanes => &["none", "sqlite"],
            Self::Kept => &["sqlite", "file"],
            Self::Subscribers => &["sqlite"],
        }
    }
}

/// Measures at every point up to `most`.
pub(crate) fn curve(lab: &Lab, plan: &Plan, over: Over, most: u64) -> anyhow::Result<Curve> {
    let (targets, _) = plan.targets(over.targets())?;
    let points = over.points(most);
    let (counted, targets) = match over {
        Over::Connections | Over::Body | Over::Lanes => {
            ("requests", same_servers(lab, plan, over, &points, targets)?)
        }
        Over::Kept => ("requests", kept(lab, plan, &points, &targets)?),
        Over::Subscribers => ("deliveries", subscribers(lab, plan, &points, &targets)?),
    };
    Ok(Curve {
        over: over.name().to_owned(),
        counted: counted.to_owned(),
        connections: plan.connections,
        body: plan.body,
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        targets,
    })
}

/// Where it is the load that changes: each round goes over all points.
fn same_servers(
    lab: &Lab,
    plan: &Plan,
    over: Over,
    points: &[u64],
    targets: Vec<Target>,
) -> anyhow::Result<Vec<CurveOf>> {
    let mut requests = Requests::new()?;
    let mut contestants = Vec::new();
    let mut curves = Vec::new();
    for target in targets {
        contestants.push(Contestant::start(target, lab, &Setting::default())?);
        curves.push(CurveOf::empty(target.name, points));
    }
    for round in 0..=plan.rounds_of_goals {
        for (number, at) in points.iter().enumerate() {
            if round > over.rounds(plan, *at) {
                continue;
            }
            for (contestant, curve) in contestants.iter_mut().zip(&mut curves) {
                let mut plan = plan.clone();
                let mut shape = contestant.shape(&plan);
                match over {
                    Over::Connections => plan.connections = *at as usize,
                    Over::Body => shape.body = *at as usize,
                    _ => shape.lanes = *at,
                }
                measure(
                    contestant,
                    &mut requests,
                    &plan,
                    &shape,
                    round,
                    &mut curve.points[number],
                )?;
            }
        }
    }
    Ok(curves)
}

/// Where the journal changes: each point is a server with so much in it. Few events are kept again for
/// each round, or the rounds' own would be the most of them.
fn kept(
    lab: &Lab,
    plan: &Plan,
    points: &[u64],
    targets: &[Target],
) -> anyhow::Result<Vec<CurveOf>> {
    let mut requests = Requests::new()?;
    let mut curves: Vec<CurveOf> = targets
        .iter()
        .map(|target| CurveOf::empty(target.name, points))
        .collect();
    let start = || {
        let all = targets.iter();
        let started = all.map(|target| Contestant::start(*target, lab, &Setting::default()));
        started.collect::<anyhow::Result<Vec<_>>>()
    };
    let (mut contestants, mut there) = (Vec::new(), 0);
    for (number, at) in points.iter().enumerate() {
        for round in 0..=Over::Kept.rounds(plan, *at) {
            if contestants.is_empty() || (*at <= FEW && round > 0) {
                contestants.clear();
                (contestants, there) = (start()?, 0);
            }
            for (contestant, curve) in contestants.iter_mut().zip(&mut curves) {
                let shape = contestant.shape(plan);
                // The file is the measure of the machine's mood; how long it is does not matter.
                if contestant.target.name != "file" {
                    contestant.fill(&mut requests, &shape, at.saturating_sub(there))?;
                }
                measure(
                    contestant,
                    &mut requests,
                    plan,
                    &shape,
                    round,
                    &mut curve.points[number],
                )?;
            }
            there = there.max(*at);
        }
    }
    Ok(curves)
}

/// Where the subscriptions change: a fixed number of deliveries, counted when the last subscriber has the
/// last.
fn subscribers(
    lab: &Lab,
    plan: &Plan,
    points: &[u64],
    targets: &[Target],
) -> anyhow::Result<Vec<CurveOf>> {
    let mut requests = Requests::new()?;
    let mut curves = Vec::new();
    for target in targets {
        let mut curve = CurveOf::empty(target.name, points);
        for (at, point) in points.iter().zip(&mut curve.points) {
            let there = Subscribers::start(lab, *at as usize)?;
            let setting = Setting {
                subscribed: there.list(),
                concurrency: ON_THE_WAY,
                ..Setting::default()
            };
            let mut contestant = Contestant::start(*target, lab, &setting)?;
            let shape = contestant.shape(plan);
            let count = (DELIVERIES / at).max(100);
            for round in 0..=plan.rounds {
                there.forget();
                let pace = Pace::All;
                let measured =
                    contestant.measure(&mut requests, count, &shape, plan.connections, pace)?;
                there.wait_for(count * at)?;
                let time = measured.loaded.time + measured.behind;
                let rate = (count * at) as f64 / time.as_secs_f64();
                let name = target.name;
                println!("round {round}  {name:<13} at {at:>8}: {rate:>9.0}/s");
                if round > 0 {
                    point.rates.push(rate);
                    point.cpu_micros.push(measured.cpu_micros / *at as f64);
                    point.resident_mib = contestant.resident_mib();
                }
            }
        }
        curves.push(curve);
    }
    Ok(curves)
}

fn measure(
    contestant: &mut Contestant,
    requests: &mut Requests,
    plan: &Plan,
    shape: &Shape,
    round: usize,
    point: &mut Point,
) -> anyhow::Result<()> {
    let measured = contestant.closed(requests, plan, shape)?;
    let (name, rate, at) = (contestant.target.name, measured.loaded.rate(), point.at);
    println!("round {round}  {name:<13} at {at:>8}: {rate:>9.0}/s");
    // The first round warms up.
    if round > 0 {
        point.rates.push(rate);
        point.cpu_micros.push(measured.cpu_micros);
        point.resident_mib = contestant.resident_mib();
    }
    Ok(())
}

impl CurveOf {
    fn empty(target: &str, points: &[u64]) -> Self {
        let point = |at: &u64| Point {
            at: *at,
            ..Point::default()
        };
        Self {
            target: target.to_owned(),
            points: points.iter().map(point).collect(),
        }
    }
}

/// So many events are kept within seconds.
const FEW: u64 = 100_000;

/// Events times subscriptions, in a round over subscriptions.
const DELIVERIES: u64 = 200_000;

/// How many requests are on their way to each subscriber at once.
const ON_THE_WAY: usize = 8;
