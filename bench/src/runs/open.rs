//! Latency at a fixed rate, from the time a request was scheduled for.

use hdrhistogram::Histogram;

use super::{Contestant, Plan};
use crate::lab::Lab;
use crate::load::{Pace, Requests};
use crate::results::{Latency, Open};
use crate::targets::Setting;

pub(crate) fn open(lab: &Lab, plan: &Plan, rate: f64) -> anyhow::Result<Open> {
    let (targets, skipped) = plan.targets(&["sqlite", "file", "none", "bare"])?;
    let mut requests = Requests::new()?;
    let mut contestants = Vec::new();
    for target in targets {
        contestants.push(Contestant::start(target, lab, &Setting::default())?);
    }
    let mut all = vec![Latency::default(); contestants.len()];
    let mut histograms = vec![Histogram::<u64>::new(3)?; contestants.len()];
    let count = (rate * plan.time.as_secs_f64()) as u64;
    // The first round warms up.
    for round in 0..=plan.rounds {
        for (number, contestant) in contestants.iter_mut().enumerate() {
            let shape = contestant.shape(plan);
            let pace = Pace::Open(rate);
            let measured =
                contestant.measure(&mut requests, count, &shape, plan.connections, pace)?;
            let latency = measured.loaded.latency;
            let at = |quantile| latency.value_at_quantile(quantile) as f64;
            let (name, p50, p99) = (contestant.target.name, at(0.5), at(0.99));
            let p999 = at(0.999);
            println!(
                "round {round}  {name:<13} p50 {p50:>7} µs  p99 {p99:>7} µs  p99.9 {p999:>7} µs"
            );
            if round > 0 {
                all[number].p50.push(p50);
                all[number].p99.push(p99);
                all[number].p999.push(p999);
                histograms[number].add(&latency)?;
            }
        }
    }
    for (number, contestant) in contestants.iter().enumerate() {
        all[number].target = contestant.target.name.to_owned();
        let at = |percentile: &f64| histograms[number].value_at_percentile(*percentile) as f64;
        let percentiles = PERCENTILES
            .iter()
            .map(|percentile| (*percentile, at(percentile)));
        all[number].percentiles = percentiles.collect();
    }
    Ok(Open {
        connections: plan.connections,
        body: plan.body,
        rounds: plan.rounds,
        seconds: plan.time.as_secs_f64(),
        rate,
        targets: all,
        skipped,
    })
}

const PERCENTILES: [f64; 9] = [50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 99.99, 100.0];
