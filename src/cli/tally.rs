//! [`Tally`]: counts what happened to many events, and how that is shown.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// What has happened to the events so far.
#[derive(Debug)]
pub(super) struct Tally {
    statuses: BTreeMap<u16, u64>,
    errors: BTreeMap<String, u64>,
    /// The latencies of the answers, in microseconds.
    latency: Histogram<u64>,
}

impl Tally {
    pub(super) fn new() -> Self {
        let hour = 3_600_000_000;
        Self {
            statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            latency: Histogram::new_with_bounds(1, hour, 3).expect("these bounds are good"),
        }
    }

    pub(super) fn answered(&mut self, status: u16, latency: Duration) {
        *self.statuses.entry(status).or_default() += 1;
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency.saturating_record(micros);
    }

    pub(super) fn failed(&mut self, error: String) {
        // Errors are a few fixed texts. The limit protects the memory if they ever are not.
        let known = self.errors.contains_key(&error) || self.errors.len() < MAX_ERRORS;
        let error = if known { error } else { "other".to_owned() };
        *self.errors.entry(error).or_default() += 1;
    }

    /// The final figures, after a run of the length `took`.
    pub(super) fn summary(&self, url: &str, asked: u64, took: Duration) -> Summary {
        let with = |good: bool| {
            let statuses = self.statuses.iter();
            let chosen = statuses.filter(move |(status, _)| (200..300).contains(*status) == good);
            chosen.map(|(status, count)| (*status, *count))
        };
        let answered: u64 = self.statuses.values().sum();
        let sent = answered + self.errors.values().sum::<u64>();
        let millis = |micros: u64| micros as f64 / 1000.0;
        let at = |quantile| millis(self.latency.value_at_quantile(quantile));
        let seconds = took.as_secs_f64();
        Summary {
            url: url.to_owned(),
            asked,
            sent,
            ok: with(true).map(|(_, count)| count).sum(),
            other_statuses: with(false).collect(),
            errors: self.errors.clone(),
            seconds,
            events_per_second: if seconds > 0.0 {
                sent as f64 / seconds
            } else {
                0.0
            },
            latency_ms: (answered > 0).then(|| Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p99_9: at(0.999),
                max: millis(self.latency.max()),
            }),
        }
    }
}

/// What happened to all events.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Summary {
    pub(super) url: String,
    /// How many events were to be sent.
    pub(super) asked: u64,
    /// How many were sent, and then answered or failed.
    pub(super) sent: u64,
    /// How many were answered 2xx.
    pub(super) ok: u64,
    /// The number of other answers, by status.
    pub(super) other_statuses: BTreeMap<u16, u64>,
    /// The number of events without an answer, by reason.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) seconds: f64,
    pub(super) events_per_second: f64,
    /// The latencies of the answers; `None` without answers.
    pub(super) latency_ms: Option<Latency>,
}

/// Quantiles in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p99_9: f64,
    max: f64,
}

impl Summary {
    /// Whether every event was answered 2xx.
    pub(super) fn good(&self) -> bool {
        self.ok == self.asked
    }

    pub(super) fn text(&self) -> String {
        let mut text = format!("sent     {}", self.sent);
        if self.sent < self.asked {
            let _ = write!(text, " of {}: interrupted", self.asked);
        }
        let _ = write!(text, "\n2xx      {}", self.ok);
        for (status, count) in &self.other_statuses {
            let _ = write!(text, "\n{status}      {count}");
        }
        for (error, count) in &self.errors {
            let _ = write!(text, "\nno answer: {error}: {count}");
        }
        let (seconds, per_second) = (self.seconds, self.events_per_second);
        let _ = write!(text, "\ntook     {seconds:.3} s, {per_second:.0} events/s");
        if let Some(Latency {
            p50,
            p90,
            p99,
            p99_9,
            max,
        }) = self.latency_ms
        {
            let _ = write!(
                text,
                "\nlatency  p50 {p50:.2} ms, p90 {p90:.2}, p99 {p99:.2}, p99.9 {p99_9:.2}, max {max:.2}"
            );
        }
        text
    }
}

const MAX_ERRORS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_told() {
        let mut tally = Tally::new();
        for millis in 1..=1000 {
            tally.answered(200, Duration::from_millis(millis));
        }
        tally.answered(202, Duration::from_millis(1));
        tally.answered(401, Duration::from_millis(1));
        tally.failed("connection refused".into());
        let summary = tally.summary("http://x/", 2000, Duration::from_secs(2));
        assert!(!summary.good());
        assert_eq!(
            summary.text(),
            "sent     1003 of 2000: interrupted\n\
             2xx      1001\n\
             401      1\n\
             no answer: connection refused: 1\n\
             took     2.000 s, 502 events/s\n\
             latency  p50 499.20 ms, p90 900.10, p99 990.21, p99.9 999.42, max 1000.45"
        );
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["other_statuses"]["401"], 1);
        assert_eq!(json["errors"]["connection refused"], 1);
        assert!(json["latency_ms"]["p99.9"].is_f64());
    }

    #[test]
    fn nothing_was_answered() {
        let mut tally = Tally::new();
        for error in 0..100 {
            tally.failed(error.to_string());
        }
        let summary = tally.summary("http://x/", 100, Duration::ZERO);
        assert_eq!(summary.latency_ms, None);
        assert_eq!(summary.events_per_second, 0.0);
        assert_eq!(summary.errors.len(), MAX_ERRORS + 1);
        assert_eq!(summary.errors["other"], 68);
    }
}
