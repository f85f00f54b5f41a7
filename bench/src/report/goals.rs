//! What the project set itself, judged within one run each.

use Limit::{AtLeast, AtMost, MostMegabytes, MostPercent};

use super::Results;
use crate::results::{Curve, Idle, Isolated, Latency, Spread};

/// The table of goals, with what was measured.
pub(super) fn table(results: &Results) -> String {
    let rows = GOALS.into_iter().map(|goal| {
        let (measured, judged) = match (goal.measured)(results) {
            None => ("–".to_owned(), "not measured".to_owned()),
            Some(spread) => (goal.limit.shown(spread), goal.limit.judge(spread.median)),
        };
        vec![goal.what.to_owned(), goal.limit.wanted(), measured, judged]
    });
    super::tables::table(&["measure", "wanted", "measured", ""], rows)
}

struct Goal {
    what: &'static str,
    limit: Limit,
    measured: fn(&Results) -> Option<Spread>,
}

#[derive(Clone, Copy)]
enum Limit {
    AtLeast(f64),
    AtMost(f64),
    /// In MB, as it was set.
    MostMegabytes(f64),
    /// Of one core.
    MostPercent(f64),
}

impl Limit {
    fn wanted(self) -> String {
        match self {
            Self::AtLeast(limit) => format!("at least {limit}"),
            Self::AtMost(limit) => format!("at most {limit}"),
            Self::MostMegabytes(limit) => format!("at most {limit} MB"),
            Self::MostPercent(limit) => format!("at most {limit} % of a core"),
        }
    }

    fn judge(self, found: f64) -> String {
        let met = match self {
            Self::AtLeast(limit) => found >= limit,
            Self::AtMost(limit) | Self::MostMegabytes(limit) | Self::MostPercent(limit) => {
                found <= limit
            }
        };
        if met { "met" } else { "**not met**" }.to_owned()
    }

    fn shown(self, Spread { low, median, high }: Spread) -> String {
        match self {
            Self::MostMegabytes(_) => format!("{median:.0} MB"),
            Self::MostPercent(_) => format!("{median:.3} % of a core"),
            // One digit more, or 0.947 would look like the 0.95 that it is not.
            _ => format!("{median:.3} ({low:.2} – {high:.2})"),
        }
    }
}

/// Every goal, in the order of the report.
const GOALS: [Goal; 22] = [
    Goal {
        what: "engine `none`, counting handler ÷ bare actix-web",
        limit: AtLeast(0.9),
        measured: |results| rates(results, "none", "bare"),
    },
    Goal {
        what: "durable 200/s with a handler consuming ÷ the one-file limit",
        limit: AtLeast(0.9),
        measured: |results| rates(results, "sqlite", "file"),
    },
    Goal {
        what: "durable 200/s ÷ Express without durability",
        limit: AtLeast(7.5),
        measured: |results| rates(results, "sqlite", "express"),
    },
    Goal {
        what: "durable 200/s ÷ Flask under gunicorn without durability",
        limit: AtLeast(14.0),
        measured: |results| rates(results, "sqlite", "flask"),
    },
    Goal {
        what: "durable 200/s ÷ Debian's `webhook` without durability",
        limit: AtLeast(28.0),
        measured: |results| rates(results, "sqlite", "webhook"),
    },
    Goal {
        what: "durable 200/s ÷ PostgreSQL INSERT by hand",
        limit: AtLeast(4.0),
        measured: |results| rates(results, "sqlite", "postgres"),
    },
    Goal {
        what: "durable 200/s ÷ Redis XADD, appendfsync always",
        limit: AtLeast(1.4),
        measured: |results| rates(results, "sqlite", "redis"),
    },
    Goal {
        what: "durable 200/s with bodies of 4 KiB ÷ the one-file limit",
        limit: AtLeast(0.8),
        measured: |results| curve_ratio(results, "body", 4 << 10),
    },
    Goal {
        what: "durable 200/s with bodies of 1 MiB ÷ the one-file limit",
        limit: AtLeast(0.7),
        measured: |results| curve_ratio(results, "body", 1 << 20),
    },
    Goal {
        what: "durable 200/s with 1,024 connections ÷ the one-file limit",
        limit: AtLeast(0.8),
        measured: |results| curve_ratio(results, "connections", 1024),
    },
    Goal {
        what: "p99 of a durable 200 at 4,000/s ÷ the one-file limit's",
        limit: AtMost(1.5),
        measured: |results| latency(results, 4_000.0, 300, |of| &of.p99),
    },
    Goal {
        what: "p99 of a durable 200 at 20,000/s ÷ the one-file limit's",
        limit: AtMost(1.5),
        measured: |results| latency(results, 20_000.0, 300, |of| &of.p99),
    },
    Goal {
        what: "p99.9 of a durable 200 at 20,000/s ÷ the one-file limit's",
        limit: AtMost(2.0),
        measured: |results| latency(results, 20_000.0, 300, |of| &of.p999),
    },
    Goal {
        what: "p99 of a durable 200 of 4 KiB at 4,000/s ÷ the one-file limit's",
        limit: AtMost(2.0),
        measured: |results| latency(results, 4_000.0, 4 << 10, |of| &of.p99),
    },
    Goal {
        what: "relay to 1 subscriber ÷ a bare client loop",
        limit: AtLeast(0.75),
        measured: |results| relayed(results, 1),
    },
    Goal {
        what: "relay to 100 subscribers ÷ a bare client loop",
        limit: AtLeast(0.75),
        measured: |results| relayed(results, 100),
    },
    Goal {
        what: "durable 200/s with 10 M kept ÷ 10 k kept",
        limit: AtLeast(0.9),
        measured: kept,
    },
    Goal {
        what: "resident memory with 10 M kept, 10 k lanes, 1,000 subscriptions",
        limit: MostMegabytes(150.0),
        measured: |results| full(results).map(|idle| single(idle.resident_mib * 1.048_576)),
    },
    Goal {
        what: "time until events of other sessions are handled, beside 1 M failing ones ÷ without",
        limit: AtMost(2.0),
        measured: |results| {
            let found = isolated(results)?;
            Spread::ratio(&found.with.p50, &found.without.p50)
        },
    },
    Goal {
        what: "the longest of these times, in s",
        limit: AtMost(1.0),
        measured: |results| {
            let longest = isolated(results)?.with.longest.iter().copied();
            Spread::of(longest).map(|longest| single(longest.high / 1e6))
        },
    },
    Goal {
        what: "resident memory for 1 M failing events",
        limit: MostMegabytes(50.0),
        measured: |results| {
            let found = isolated(results)?;
            let more = found.with.resident_mib - found.without.resident_mib;
            Some(single(more * 1.048_576))
        },
    },
    Goal {
        what: "CPU while idle with 1,000 subscriptions",
        limit: MostPercent(0.1),
        measured: |results| idle(results).map(|idle| single(percent(idle))),
    },
];

/// The rates of one receiver over those of another. The goals are for 64 connections and 300 bytes.
fn rates(results: &Results, over: &str, under: &str) -> Option<Spread> {
    let receive = results.receive.as_ref().map(|kept| &kept.results);
    let receive = receive.filter(|all| all.connections == 64 && all.body == 300)?;
    let of = |name: &str| {
        let mut targets = receive.targets.iter();
        targets.find(|received| received.target == name)
    };
    Spread::ratio(&of(over)?.rates, &of(under)?.rates)
}

/// The rates of the journal over those of the file at one point of a curve.
fn curve_ratio(results: &Results, over: &str, at: u64) -> Option<Spread> {
    let mut curves = results.curves.iter().map(|kept| &kept.results);
    let curve = curves.find(|curve| curve.over == over)?;
    let of = |target| rates_at(curve, target, at);
    Spread::ratio(&of("sqlite")?, &of("file")?)
}

/// A latency of the journal over that of the file, round by round, in a run at this rate with such
/// bodies.
fn latency(
    results: &Results,
    rate: f64,
    body: usize,
    quantile: fn(&Latency) -> &Vec<f64>,
) -> Option<Spread> {
    let mut opens = results.opens.iter().map(|kept| &kept.results);
    let open = opens.find(|open| (open.rate - rate).abs() < 1.0 && open.body == body)?;
    let of = |name: &str| open.targets.iter().find(|latency| latency.target == name);
    Spread::ratio(quantile(of("sqlite")?), quantile(of("file")?))
}

fn relayed(results: &Results, subscribers: u64) -> Option<Spread> {
    let relay = &results.relay.as_ref()?.results;
    let of = |name: &str| {
        let mut senders = relay.senders.iter();
        senders.find(|by| by.sender == name && by.subscribers == subscribers)
    };
    Spread::ratio(&of("offhook")?.rates, &of("bare loop")?.rates)
}

/// The two ends were measured at different times: each is taken by what the file did at that time,
/// where it was measured too.
fn kept(results: &Results) -> Option<Spread> {
    let mut curves = results.curves.iter().map(|kept| &kept.results);
    let curve = curves.find(|curve| curve.over == "kept")?;
    let at = |target: &str, at: u64| rates_at(curve, target, at);
    let (few, many) = (at("sqlite", 10_000)?, at("sqlite", 10_000_000)?);
    let mood = |at_most: u64| at("file", at_most).and_then(Spread::of);
    let correction = match (mood(10_000), mood(10_000_000)) {
        (Some(few), Some(many)) => few.median / many.median,
        _ => 1.0,
    };
    let ratio = Spread::ratio(&many, &few)?;
    Some(Spread {
        low: ratio.low * correction,
        median: ratio.median * correction,
        high: ratio.high * correction,
    })
}

fn rates_at(curve: &Curve, target: &str, at: u64) -> Option<Vec<f64>> {
    let of = curve.targets.iter().find(|curve| curve.target == target)?;
    let point = of.points.iter().find(|point| point.at == at)?;
    (!point.rates.is_empty()).then(|| point.rates.clone())
}

fn idle(results: &Results) -> Option<&Idle> {
    let idle = &results.idle.as_ref()?.results;
    (idle.subscriptions >= 1_000).then_some(idle)
}

fn isolated(results: &Results) -> Option<&Isolated> {
    let isolated = &results.isolated.as_ref()?.results;
    (isolated.failing >= 1_000_000).then_some(isolated)
}

fn full(results: &Results) -> Option<&Idle> {
    let idle = &results.idle_full.as_ref()?.results;
    let full = idle.kept >= 10_000_000 && idle.lanes >= 10_000 && idle.subscriptions >= 1_000;
    full.then_some(idle)
}

fn single(value: f64) -> Spread {
    Spread {
        low: value,
        median: value,
        high: value,
    }
}

fn percent(idle: &Idle) -> f64 {
    idle.cpu_millis / 10.0 / idle.seconds
}
