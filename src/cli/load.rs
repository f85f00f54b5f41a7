//! Sends many events over several connections, as fast as they are answered or at a fixed rate.
//!
//! With a rate, each event has a time to leave. If it leaves late because every connection waits for an
//! answer, its latency still counts from that time. Otherwise a receiver that stalls would also slow
//! down the measurement and look fast ("coordinated omission").

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::future::pending;
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::stream::{self, StreamExt as _};
use hdrhistogram::Histogram;
use offhook::clock::{Clock as _, SystemClock};
use serde::Serialize;

use super::client::{Client, Signed};
use super::output::progress_bar;

/// How many events, over how many connections, how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) count: u64,
    pub(super) connections: usize,
    /// Events per second; `None` sends as fast as events are answered.
    pub(super) rate: Option<f64>,
}

/// Sends all events, or fewer if Ctrl-C ends the run.
pub(super) async fn run(plan: Plan, client: &Client, event: impl Fn(u64) -> Signed) -> Summary {
    let start = SystemClock.monotonic();
    let event = &event;
    let bar = progress_bar(plan.count, "{bar:40} {pos}/{len}  {per_sec}  {eta} left");
    let exchanges = stream::iter(0..plan.count).map(|number| async move {
        let from = leave(plan, start, number).await;
        (from, client.post(event(number)).await)
    });
    let interrupt = async {
        // If Ctrl-C cannot be listened to here, it ends the process as usual.
        if tokio::signal::ctrl_c().await.is_err() {
            pending::<()>().await;
        }
    };
    let exchanges = exchanges.buffer_unordered(plan.connections);
    let mut exchanges = pin!(exchanges.take_until(interrupt));
    let mut summary = Summary::new(&client.shown, plan.count);
    while let Some((from, answer)) = exchanges.next().await {
        match answer {
            Ok(answer) => summary.answered(answer.status, answer.at - from),
            Err(error) => summary.failed(error),
        }
        bar.inc(1);
    }
    bar.finish_and_clear();
    summary.finish(SystemClock.monotonic() - start)
}

/// Waits until the event should leave. Returns the time from which its latency counts.
async fn leave(plan: Plan, start: Instant, number: u64) -> Instant {
    let now = SystemClock.monotonic();
    let Some(rate) = plan.rate else {
        return now;
    };
    let scheduled = start + Duration::from_secs_f64(number as f64 / rate);
    if scheduled <= now {
        return scheduled;
    }
    tokio::time::sleep_until(scheduled.into()).await;
    // A connection was free in time, so only the timer was late. Its delay is not the receiver's.
    SystemClock.monotonic()
}

/// What happened to all events.
#[derive(Serialize)]
pub(super) struct Summary {
    url: String,
    /// How many events were to be sent.
    asked: u64,
    /// How many were sent, and then answered or failed.
    sent: u64,
    /// How many were answered 2xx.
    ok: u64,
    /// The number of other answers, by status.
    pub(super) other_statuses: BTreeMap<u16, u64>,
    /// The number of events without an answer, by reason.
    pub(super) errors: BTreeMap<String, u64>,
    seconds: f64,
    events_per_second: f64,
    /// The latencies of the answers; `None` without answers.
    latency_ms: Option<Latency>,
    /// The same in microseconds, up to an hour.
    #[serde(skip)]
    latencies: Histogram<u64>,
}

/// Quantiles in milliseconds.
#[derive(Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    #[serde(rename = "p99.9")]
    p99_9: f64,
    max: f64,
}

impl Summary {
    fn new(url: &str, asked: u64) -> Self {
        Self {
            url: url.to_owned(),
            asked,
            sent: 0,
            ok: 0,
            other_statuses: BTreeMap::new(),
            errors: BTreeMap::new(),
            seconds: 0.0,
            events_per_second: 0.0,
            latency_ms: None,
            latencies: Histogram::new_with_bounds(1, 3_600_000_000, 3)
                .expect("these bounds are good"),
        }
    }

    fn answered(&mut self, status: u16, latency: Duration) {
        self.sent += 1;
        match status {
            200..300 => self.ok += 1,
            other => *self.other_statuses.entry(other).or_default() += 1,
        }
        let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latencies.saturating_record(micros);
    }

    fn failed(&mut self, error: String) {
        self.sent += 1;
        // Errors are a few fixed texts. The limit protects the memory if they ever are not.
        let known = self.errors.contains_key(&error) || self.errors.len() < MAX_ERRORS;
        let error = if known { error } else { "other".to_owned() };
        *self.errors.entry(error).or_default() += 1;
    }

    /// Adds the final figures, after a run of the length `took`.
    fn finish(mut self, took: Duration) -> Self {
        self.seconds = took.as_secs_f64();
        if !took.is_zero() {
            // What failed without an answer says nothing of the receiver.
            let answered = self.ok + self.other_statuses.values().sum::<u64>();
            self.events_per_second = answered as f64 / self.seconds;
        }
        let millis = |quantile| self.latencies.value_at_quantile(quantile) as f64 / 1000.0;
        self.latency_ms = (!self.latencies.is_empty()).then(|| Latency {
            p50: millis(0.5),
            p90: millis(0.9),
            p99: millis(0.99),
            p99_9: millis(0.999),
            max: millis(1.0),
        });
        self
    }

    /// Whether every event was answered 2xx.
    pub(super) fn is_good(&self) -> bool {
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
        let _ = write!(text, "\ntook     {seconds:.3} s");
        if per_second > 0.0 {
            let _ = write!(text, ", {per_second:.0} answers/s");
        }
        if let Some(latency) = &self.latency_ms {
            let _ = write!(
                text,
                "\nlatency  p50 {:.2} ms, p90 {:.2}, p99 {:.2}, p99.9 {:.2}, max {:.2}",
                latency.p50, latency.p90, latency.p99, latency.p99_9, latency.max
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
        let mut summary = Summary::new("http://x/", 2000);
        for millis in 1..=1000 {
            summary.answered(200, Duration::from_millis(millis));
        }
        summary.answered(202, Duration::from_millis(1));
        summary.answered(401, Duration::from_millis(1));
        summary.failed("connection refused".into());
        let summary = summary.finish(Duration::from_secs(2));
        assert!(!summary.is_good());
        assert_eq!(
            summary.text(),
            "sent     1003 of 2000: interrupted\n\
             2xx      1001\n\
             401      1\n\
             no answer: connection refused: 1\n\
             took     2.000 s, 501 answers/s\n\
             latency  p50 499.20 ms, p90 900.10, p99 990.21, p99.9 999.42, max 1000.45"
        );
        let json = serde_json::to_value(&summary).unwrap();
        assert_eq!(json["other_statuses"]["401"], 1);
        assert_eq!(json["errors"]["connection refused"], 1);
        assert!(json["latency_ms"]["p99.9"].is_f64());
    }

    #[test]
    fn nothing_was_answered() {
        let mut summary = Summary::new("http://x/", 100);
        for error in 0..100 {
            summary.failed(error.to_string());
        }
        let summary = summary.finish(Duration::from_secs(1));
        assert!(
            summary.text().ends_with("\ntook     1.000 s"),
            "{}",
            summary.text()
        );
        assert!(summary.latency_ms.is_none());
        assert_eq!(summary.events_per_second, 0.0);
        assert_eq!(summary.errors.len(), MAX_ERRORS + 1);
        assert_eq!(summary.errors["other"], 68);
    }
}
