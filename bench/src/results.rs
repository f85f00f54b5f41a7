//! What runs find, as it is kept in JSON: every round, so that anyone can judge the spread.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::machine::Origin;

/// The results of one run, and where they come from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept<R> {
    pub(crate) origin: Origin,
    pub(crate) results: R,
}

/// Requests as fast as they are answered.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Receive {
    pub(crate) connections: usize,
    pub(crate) body: usize,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    /// The load generator's own limit, requests/s.
    pub(crate) ceiling: Vec<f64>,
    pub(crate) targets: Vec<Received>,
    /// Those that could not run here, and why.
    pub(crate) skipped: Vec<Skipped>,
}

/// One target's rounds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Received {
    pub(crate) target: String,
    /// What somebody else's program calls itself.
    pub(crate) version: Option<String>,
    /// Answers per second.
    pub(crate) rates: Vec<f64>,
    /// CPU time per request of the whole family of processes, in µs, until all work was done.
    pub(crate) cpu_micros: Vec<f64>,
    /// How long it went on working after the last answer, in seconds.
    pub(crate) behind: Vec<f64>,
    /// Commits per second, and messages in each; empty where they are not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) commits: Vec<f64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) events_a_commit: Vec<f64>,
    /// After the last round, in MiB.
    pub(crate) resident_mib: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Skipped {
    pub(crate) target: String,
    pub(crate) why: String,
}

/// Latency at a fixed rate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(crate) connections: usize,
    pub(crate) body: usize,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    /// Requests per second, whether they are answered in time or not.
    pub(crate) rate: f64,
    pub(crate) targets: Vec<Latency>,
    pub(crate) skipped: Vec<Skipped>,
}

/// One target's latencies, in µs from the scheduled time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) target: String,
    /// Of each round.
    pub(crate) p50: Vec<f64>,
    pub(crate) p99: Vec<f64>,
    #[serde(default)]
    pub(crate) p999: Vec<f64>,
    /// Of all rounds together: percentile and µs.
    pub(crate) percentiles: Vec<(f64, f64)>,
}

/// A figure over something that grows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Curve {
    /// What grows.
    pub(crate) over: String,
    /// What is counted in a second: answers, or events handed over.
    pub(crate) counted: String,
    pub(crate) connections: usize,
    pub(crate) body: usize,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) targets: Vec<CurveOf>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct CurveOf {
    pub(crate) target: String,
    pub(crate) points: Vec<Point>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Point {
    pub(crate) at: u64,
    pub(crate) rates: Vec<f64>,
    pub(crate) cpu_micros: Vec<f64>,
    pub(crate) resident_mib: f64,
}

/// Deliveries to local subscribers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Relayed {
    pub(crate) body: usize,
    pub(crate) rounds: usize,
    pub(crate) deliveries: u64,
    pub(crate) senders: Vec<RelayedBy>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct RelayedBy {
    pub(crate) sender: String,
    pub(crate) subscribers: u64,
    /// Deliveries per second, over all subscribers.
    pub(crate) rates: Vec<f64>,
    pub(crate) cpu_micros: Vec<f64>,
}

/// What a server costs that has nothing to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) subscriptions: usize,
    pub(crate) kept: u64,
    pub(crate) lanes: u64,
    pub(crate) seconds: f64,
    /// CPU time over the whole watch, in ms.
    pub(crate) cpu_millis: f64,
    /// How often a thread was woken.
    pub(crate) wakes: u64,
    pub(crate) resident_mib: f64,
}

/// What it costs that somebody watches.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Watched {
    pub(crate) viewers: usize,
    /// Whether they ask for no pages.
    pub(crate) only_streams: bool,
    /// Requests per second.
    pub(crate) rate: f64,
    pub(crate) body: usize,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    /// CPU time per request in µs, in each slice.
    pub(crate) without: Vec<f64>,
    pub(crate) with: Vec<f64>,
    /// Of the two slices of each round.
    pub(crate) ratios: Vec<f64>,
    /// In each slice with viewers.
    pub(crate) streamed_bytes: Vec<u64>,
    pub(crate) pages_shown: Vec<u64>,
}

/// What one session's failing events do to the others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Isolated {
    pub(crate) failing: u64,
    /// Conversations that they belong to.
    pub(crate) lanes: u64,
    pub(crate) rounds: usize,
    pub(crate) seconds: f64,
    pub(crate) without: Others,
    pub(crate) with: Others,
}

/// How the events of other sessions fare.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Others {
    /// Events in each slice.
    pub(crate) counts: Vec<u64>,
    /// From the request until it is handled, in µs: the median and the longest of each slice.
    pub(crate) p50: Vec<f64>,
    pub(crate) longest: Vec<f64>,
    /// After the last slice.
    pub(crate) resident_mib: f64,
}

/// How long pages take.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Pages {
    pub(crate) kept: u64,
    /// How often each was asked for.
    pub(crate) asks: usize,
    /// Whether nothing of the journal was in the system's memory at the start.
    pub(crate) drop_caches: bool,
    pub(crate) pages: Vec<PageTime>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PageTime {
    pub(crate) path: String,
    /// Of the first answer.
    pub(crate) bytes: usize,
    pub(crate) first_ms: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p95_ms: f64,
    /// How long it may take in 95 of 100 cases.
    pub(crate) bound_ms: Option<f64>,
}

impl<R: Serialize + DeserializeOwned> Kept<R> {
    /// Writes `NAME.json` in the folder.
    pub(crate) fn write(&self, folder: &Path, name: &str) -> anyhow::Result<()> {
        std::fs::create_dir_all(folder)?;
        let path = file(folder, name);
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        std::fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }

    /// Reads it again; `None` where there is none.
    pub(crate) fn read(folder: &Path, name: &str) -> anyhow::Result<Option<Self>> {
        let path = file(folder, name);
        if !path.exists() {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&path)?;
        let read = serde_json::from_str(&text);
        read.map(Some)
            .with_context(|| format!("{}: write it again with a run", path.display()))
    }
}

fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.json"))
}

/// A median with the least and the most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    /// `None` for no values.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        let median = f64::midpoint(lower, upper);
        Some(Self { low, median, high })
    }

    /// Of each round's ratio: what the machine does in a round, it does to both.
    pub(crate) fn ratio(over: &[f64], under: &[f64]) -> Option<Self> {
        Self::of(over.iter().zip(under).map(|(over, under)| over / under))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_the_middle_and_the_ends() {
        for (values, low, median, high) in [
            (&[3.0][..], 3.0, 3.0, 3.0),
            (&[9.0, 1.0, 2.0], 1.0, 2.0, 9.0),
            (&[4.0, 1.0, 2.0, 9.0], 1.0, 3.0, 9.0),
        ] {
            let spread = Spread::of(values.iter().copied()).unwrap();
            assert_eq!(spread, Spread { low, median, high });
        }
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn a_ratio_compares_rounds_with_their_own() {
        // The machine was twice as fast in the second round.
        let ratio = Spread::ratio(&[10.0, 20.0], &[5.0, 10.0]).unwrap();
        assert_eq!((ratio.low, ratio.high), (2.0, 2.0));
        assert_eq!(Spread::ratio(&[], &[1.0]), None);
    }
}
