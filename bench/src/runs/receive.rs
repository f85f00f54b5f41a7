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
            println!("round {round}  {name:<13} {rate:>9.0}/s  {cpu:>7.1} µs CPU each");
            if round > 0 {
                received.rates.push(rate);
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
