//! Requests to a server that somebody else has started.

use std::time::Duration;

use super::Plan;
use crate::load::{Pace, Requests, Shape, To, load};

/// Sends for the time of each round, and says what has come of it. New requests are made between rounds.
pub(crate) fn send(plan: &Plan, to: &To, rate: Option<f64>) -> anyhow::Result<()> {
    let mut requests = Requests::starting_now()?;
    let shape = Shape {
        body: plan.body,
        ..Shape::default()
    };
    let (mut answered, mut time) = (0, Duration::ZERO);
    for _ in 0..plan.rounds {
        let count = rate.unwrap_or(FASTEST) * plan.time.as_secs_f64();
        let batch = requests.take(count as u64, &shape);
        let pace = rate.map_or(Pace::Closed(plan.time), Pace::Open);
        let loaded = load(to, &batch, plan.connections, pace)?;
        let quantile = |of: f64| loaded.latency.value_at_quantile(of);
        println!(
            "{:>9.0}/s, p50 {} µs, p99 {} µs, most {} µs",
            loaded.rate(),
            quantile(0.5),
            quantile(0.99),
            loaded.latency.max()
        );
        answered += loaded.answered;
        time += loaded.time;
    }
    let rate = answered as f64 / time.as_secs_f64();
    println!("{answered} answered 200, {rate:.0}/s");
    Ok(())
}

/// More than a server answers.
const FASTEST: f64 = 60_000.0;
