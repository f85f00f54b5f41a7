//! Requests as fast as they are answered: what receiving costs, side by side.

use super::{Contestant, Plan};
use crate::lab::Lab;
use crate::load::Requests;
use crate::results::{Receive, Received};
use crate::targets::{CEILING, Setting, TARGETS};

pub(crate) fn receive(lab: &Lab, plan: &Plan) -> anyhow::Result<Receive> {
    let usual: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    let (targets, skipped) = plan.targets(&usual)?;
    let mut requests = Requests::new()?;
    let mut contestants = Vec::new();
    for target in std::iter::once(CEILING).chain(targets) {
        contestants.push(Contestant::start(target, lab, &Setting::default())?);
    }
    let mut all = vec![Received::default(); contestants.len()];
    // The first round warms up.
    for round in 0..=plan.rounds {
        for (contestant, received) in contestants.iter_mut().zip(&mut all) {
            let shape = contestant.shape(plan);
            let measured = contestant.closed(&mut requests, plan, &shape)?;
            let (name, rate) = (contestant.target.name, measured.loaded.rate());
            let cpu = measured.cpu_micros;
            let commits = measured.commits.map(|commits| {
                let a_second = commits as f64 / measured.loaded.time.as_secs_f64();
                (
                    a_second,
                    measured.loaded.answered as f64 / commits.max(1) as f64,
                )
            });
            let shown = commits.map_or(String::new(), |(a_second, each)| {
                format!("  {a_second:>6.0} commits/s of {each:.1}")
            });
            println!("round {round}  {name:<14} {rate:>9.0}/s  {cpu:>7.1} µs CPU each{shown}");
            if round > 0 {
                received.rates.push(rate);
                if let Some((a_second, each)) = commits {
                    received.commits.push(a_second);
                    received.events_a_commit.push(each);
                }
                received.cpu_micros.push(cpu);
                received.behind.push(measured.behind.as_secs_f64());
            }
        }
    }
    for (contestant, received) in contestants.iter().zip(&mut all) {
        received.target = contestant.target.name.to_owned();
        received.version = contestant.target.version();
        received.resident_mib = contestant.resident_mib();
    }
    let ceiling = all.remove(0).rates;
    Ok(Receive {
        connections: plan.connections,
        body: plan.body,
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        ceiling,
        targets: all,
        skipped,
    })
}
