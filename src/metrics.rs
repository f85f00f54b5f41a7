//! What is counted, under which name: the only place that knows metric names.
//!
//! Every handle is made when the server is built, or the consumer starts, so that counting an event
//! costs an atomic addition. Each server has a recorder of its own; the process' global recorder is left alone.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::dispatch::{Outcome, Seq, Status};

/// A server's recorder.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    recorded: AtomicUsize,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let batch_events = Matcher::Full("offhook_journal_batch_events".to_owned());
        let builder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(batch_events, &EVENTS));
        let recorder = builder.expect("there are buckets").build_recorder();
        for (name, unit, text) in COUNTERS {
            recorder.describe_counter(name.into(), Some(unit), text.into());
        }
        for (name, unit, text) in GAUGES {
            recorder.describe_gauge(name.into(), Some(unit), text.into());
        }
        for (name, unit, text) in HISTOGRAMS {
            recorder.describe_histogram(name.into(), Some(unit), text.into());
        }
        let metrics = Self {
            handle: recorder.handle(),
            recorder,
            recorded: AtomicUsize::new(0),
        };
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        metrics.gauge("offhook_build_info", &version).set(1.0);
        Arc::new(metrics)
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        self.handle.run_upkeep();
        self.handle.render()
    }

    /// Counts events that have left the journal before a consumer has settled them.
    pub(crate) fn expired(&self, consumer: &str) -> Counter {
        self.counter("offhook_expired_total", &[("consumer", consumer)])
    }

    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.recorder
            .register_counter(&key(name, labels), &METADATA)
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.recorder.register_gauge(&key(name, labels), &METADATA)
    }

    fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        self.recorder
            .register_histogram(&key(name, labels), &METADATA)
    }

    /// Histograms keep single values until somebody sorts them into buckets. Doing that every so
    /// many values bounds the memory without a timer.
    fn recorded(&self) {
        if self.recorded.fetch_add(1, Ordering::Relaxed) % UPKEEP_EVERY == UPKEEP_EVERY - 1 {
            self.handle.run_upkeep();
        }
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RequestOutcome {
    Received,
    Duplicate,
    InvalidSignature,
    TooLarge,
    TooSlow,
    BrokenOff,
    Unavailable,
    HandlerFailed,
}

impl RequestOutcome {
    pub(crate) const ALL: [(Self, &'static str); 8] = [
        (Self::Received, "received"),
        (Self::Duplicate, "duplicate"),
        (Self::InvalidSignature, "invalid_signature"),
        (Self::TooLarge, "payload_too_large"),
        (Self::TooSlow, "timeout"),
        (Self::BrokenOff, "broken_off"),
        (Self::Unavailable, "unavailable"),
        (Self::HandlerFailed, "handler_failed"),
    ];
}

/// One source's counters.
pub(crate) struct SourceMetrics {
    requests: [Counter; RequestOutcome::ALL.len()],
    body_bytes: Counter,
    seconds: Histogram,
    metrics: Arc<Metrics>,
}

impl SourceMetrics {
    pub(crate) fn new(metrics: &Arc<Metrics>, source: &str) -> Self {
        let source = ("source", source);
        Self {
            requests: RequestOutcome::ALL.map(|(_, outcome)| {
                metrics.counter("offhook_requests_total", &[source, ("outcome", outcome)])
            }),
            body_bytes: metrics.counter("offhook_request_body_bytes_total", &[source]),
            seconds: metrics.histogram("offhook_request_seconds", &[source]),
            metrics: Arc::clone(metrics),
        }
    }

    /// A request was answered after `took`.
    pub(crate) fn answered(&self, outcome: RequestOutcome, took: Duration) {
        self.requests[outcome as usize].increment(1);
        self.seconds.record(took.as_secs_f64());
        self.metrics.recorded();
    }

    /// A verified body of so many bytes came in.
    pub(crate) fn body(&self, bytes: usize) {
        self.body_bytes.increment(bytes as u64);
    }
}

/// Whether one source, or one session of it, is quiet, and how long ago it was heard.
pub(crate) struct QuietMetrics {
    /// `None` where nobody watches.
    quiet: Option<Gauge>,
    since_last: Gauge,
}

impl QuietMetrics {
    pub(crate) fn new(
        metrics: &Metrics,
        source: &str,
        session: Option<&str>,
        watched: bool,
    ) -> Self {
        let labels = [("source", source), ("session", session.unwrap_or_default())];
        let labels = match session {
            Some(_) => &labels[..],
            None => &labels[..1],
        };
        let gauges = Self {
            quiet: watched.then(|| metrics.gauge("offhook_source_quiet", labels)),
            since_last: metrics.gauge("offhook_source_last_event_age_seconds", labels),
        };
        // Until it is heard nobody can say how long ago that was.
        gauges.since_last.set(f64::NAN);
        gauges
    }

    pub(crate) fn quiet(&self, quiet: bool) {
        if let Some(gauge) = &self.quiet {
            gauge.set(f64::from(u8::from(quiet)));
        }
    }

    /// It was heard so long ago.
    pub(crate) fn since_last(&self, age: Duration) {
        self.since_last.set(age.as_secs_f64());
    }
}

impl std::fmt::Debug for QuietMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("QuietMetrics").finish_non_exhaustive()
    }
}

/// One consumer's counters.
pub(crate) struct ConsumerMetrics {
    attempts: [Counter; Outcome::NAMES.len()],
    seconds: Histogram,
    retries: Counter,
    dead_letters: Counter,
    metrics: Arc<Metrics>,
}

impl ConsumerMetrics {
    pub(crate) fn new(metrics: &Arc<Metrics>, consumer: &str) -> Self {
        let consumer = ("consumer", consumer);
        Self {
            attempts: Outcome::NAMES.map(|outcome| {
                metrics.counter("offhook_attempts_total", &[consumer, ("outcome", outcome)])
            }),
            seconds: metrics.histogram("offhook_attempt_seconds", &[consumer]),
            retries: metrics.counter("offhook_retries_total", &[consumer]),
            dead_letters: metrics.counter("offhook_dead_letters_total", &[consumer]),
            metrics: Arc::clone(metrics),
        }
    }

    /// An attempt ended after `took`.
    pub(crate) fn attempt(&self, outcome: &Outcome, took: Duration) {
        self.attempts[outcome.index()].increment(1);
        self.seconds.record(took.as_secs_f64());
        self.metrics.recorded();
    }

    /// A failed event is to be tried again.
    pub(crate) fn retry(&self) {
        self.retries.increment(1);
    }

    /// An event was given up.
    pub(crate) fn dead_letter(&self) {
        self.dead_letters.increment(1);
    }
}

/// What the journal's writer counts.
pub(crate) struct JournalMetrics {
    batch_events: Histogram,
    batch_seconds: Histogram,
    commit_seconds: Histogram,
    failures: Counter,
    metrics: Option<Arc<Metrics>>,
}

impl JournalMetrics {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            batch_events: metrics.histogram("offhook_journal_batch_events", &[]),
            batch_seconds: metrics.histogram("offhook_journal_batch_seconds", &[]),
            commit_seconds: metrics.histogram("offhook_journal_commit_seconds", &[]),
            failures: metrics.counter("offhook_journal_failures_total", &[]),
            metrics: Some(Arc::clone(metrics)),
        }
    }

    /// Counts nothing.
    #[cfg(test)]
    pub(crate) fn unrecorded() -> Self {
        Self {
            batch_events: Histogram::noop(),
            batch_seconds: Histogram::noop(),
            commit_seconds: Histogram::noop(),
            failures: Counter::noop(),
            metrics: None,
        }
    }

    /// A transaction that took in so many new events is durable after `took`, of which `commit` went
    /// to the commit.
    pub(crate) fn batch(&self, events: u64, took: Duration, commit: Duration) {
        // Other transactions save progress; they would hide how large the batches of events are.
        if events > 0 {
            self.batch_events.record(events as f64);
        }
        self.batch_seconds.record(took.as_secs_f64());
        self.commit_seconds.record(commit.as_secs_f64());
        if let Some(metrics) = &self.metrics {
            metrics.recorded();
        }
    }

    /// A write, or a try to open the journal again, has failed.
    pub(crate) fn failure(&self) {
        self.failures.increment(1);
    }
}

/// What is only looked at when somebody asks for the metrics: the journal's size, and how far its
/// consumers have come. Consumers come and go; what is told of one that has gone is 0.
pub(crate) struct RecordsMetrics {
    bytes: Gauge,
    events: Gauge,
    consumers: Mutex<HashMap<String, ConsumerGauges>>,
    metrics: Arc<Metrics>,
}

struct ConsumerGauges {
    lag: Gauge,
    oldest_waiting: Gauge,
    in_flight: Gauge,
    suspended: Gauge,
}

impl RecordsMetrics {
    pub(crate) fn new(metrics: &Arc<Metrics>) -> Self {
        Self {
            bytes: metrics.gauge("offhook_journal_bytes", &[]),
            events: metrics.gauge("offhook_journal_events", &[]),
            consumers: Mutex::default(),
            metrics: Arc::clone(metrics),
        }
    }

    /// A consumer has come.
    pub(crate) fn come(&self, name: &str) {
        let metrics = &self.metrics;
        let consumer = ("consumer", name);
        // Shown from the start.
        metrics.expired(name).increment(0);
        let gauges = ConsumerGauges {
            lag: metrics.gauge("offhook_consumer_lag", &[consumer]),
            oldest_waiting: metrics.gauge("offhook_consumer_oldest_waiting_seconds", &[consumer]),
            in_flight: metrics.gauge("offhook_consumer_in_flight", &[consumer]),
            suspended: metrics.gauge("offhook_consumer_suspended", &[consumer]),
        };
        self.lock().insert(name.to_owned(), gauges);
    }

    /// A consumer has gone.
    pub(crate) fn gone(&self, name: &str) {
        if let Some(gauges) = self.lock().remove(name) {
            gauges.lag.set(0.0);
            gauges.oldest_waiting.set(0.0);
            gauges.in_flight.set(0.0);
            gauges.suspended.set(0.0);
        }
    }

    /// The journal's files take so many bytes.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.bytes.set(bytes as f64);
    }

    /// The number of the journal's newest event.
    pub(crate) fn newest(&self, seq: Seq) {
        self.events.set(seq as f64);
    }

    /// How a consumer is doing.
    pub(crate) fn consumer(&self, status: &Status) {
        if let Some(gauges) = self.lock().get(&status.name) {
            gauges.lag.set(status.lag as f64);
            gauges.in_flight.set(status.in_flight as f64);
            let suspended = u8::from(status.suspended.is_some());
            gauges.suspended.set(f64::from(suspended));
        }
    }

    /// How long a consumer's oldest event has waited.
    pub(crate) fn oldest_waiting(&self, consumer: &str, age: Duration) {
        if let Some(gauges) = self.lock().get(consumer) {
            gauges.oldest_waiting.set(age.as_secs_f64());
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, ConsumerGauges>> {
        // Nothing here can leave the map half-changed.
        self.consumers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RecordsMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordsMetrics").finish_non_exhaustive()
    }
}

/// The listener's own numbers.
pub(crate) struct ListenerMetrics {
    connections: Gauge,
    in_flight_bytes: Gauge,
    slow_heads: Counter,
}

impl ListenerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            connections: metrics.gauge("offhook_connections", &[]),
            in_flight_bytes: metrics.gauge("offhook_in_flight_bytes", &[]),
            slow_heads: metrics.counter("offhook_slow_heads_total", &[]),
        }
    }

    pub(crate) fn opened(&self) {
        self.connections.increment(1.0);
    }

    pub(crate) fn closed(&self) {
        self.connections.decrement(1.0);
    }

    pub(crate) fn slow_head(&self) {
        self.slow_heads.increment(1);
    }

    pub(crate) fn in_flight(&self, bytes: usize) {
        self.in_flight_bytes.set(bytes as f64);
    }
}

fn key(name: &'static str, labels: &[(&'static str, &str)]) -> Key {
    let labels = labels
        .iter()
        .map(|(name, value)| Label::new(*name, (*value).to_owned()));
    Key::from_parts(name, labels.collect::<Vec<_>>())
}

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

/// The upper bounds of the buckets of histograms of seconds.
const SECONDS: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

/// The upper bounds of the buckets of histograms of events.
const EVENTS: [f64; 10] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1024.0];

const UPKEEP_EVERY: usize = 8192;

/// A metric's name, its unit, and what it tells.
type Description = (&'static str, Unit, &'static str);

const COUNTERS: [Description; 8] = [
    (
        "offhook_requests_total",
        Unit::Count,
        "Requests to a source's path by how they were answered",
    ),
    (
        "offhook_request_body_bytes_total",
        Unit::Bytes,
        "Bytes of verified bodies, as they came on the wire",
    ),
    (
        "offhook_attempts_total",
        Unit::Count,
        "Attempts to hand an event to a consumer, by outcome",
    ),
    (
        "offhook_retries_total",
        Unit::Count,
        "Failed attempts after which the event is tried again",
    ),
    (
        "offhook_dead_letters_total",
        Unit::Count,
        "Events that a consumer has given up",
    ),
    (
        "offhook_expired_total",
        Unit::Count,
        "Events that have left the journal before the consumer settled them",
    ),
    (
        "offhook_journal_failures_total",
        Unit::Count,
        "Failed writes of the journal, and failed tries to open it again",
    ),
    (
        "offhook_slow_heads_total",
        Unit::Count,
        "Connections closed because a request's head took too long",
    ),
];

const GAUGES: [Description; 11] = [
    (
        "offhook_source_quiet",
        Unit::Count,
        "1 while a source, or a session that is watched, has sent nothing for its quiet_after",
    ),
    (
        "offhook_source_last_event_age_seconds",
        Unit::Seconds,
        "Time since a source, or a session that is watched, was heard; NaN while nothing is known",
    ),
    (
        "offhook_connections",
        Unit::Count,
        "Open connections of the public listener",
    ),
    (
        "offhook_in_flight_bytes",
        Unit::Bytes,
        "Bytes of bodies held now, over all connections",
    ),
    (
        "offhook_journal_bytes",
        Unit::Bytes,
        "Size of all files in the journal's folder",
    ),
    (
        "offhook_journal_events",
        Unit::Count,
        "Number of the journal's newest event; numbers begin at 1",
    ),
    (
        "offhook_consumer_lag",
        Unit::Count,
        "Events that a consumer has not settled, and those it is handed once more",
    ),
    (
        "offhook_consumer_oldest_waiting_seconds",
        Unit::Seconds,
        "Age of the oldest event that a consumer has not settled; 0 when there is none",
    ),
    (
        "offhook_consumer_in_flight",
        Unit::Count,
        "Attempts of a consumer that run now",
    ),
    (
        "offhook_consumer_suspended",
        Unit::Count,
        "1 when a consumer is suspended because nothing has succeeded for long",
    ),
    (
        "offhook_build_info",
        Unit::Count,
        "Always 1; the label tells the version",
    ),
];

const HISTOGRAMS: [Description; 5] = [
    (
        "offhook_request_seconds",
        Unit::Seconds,
        "Time from a request's head to its answer",
    ),
    (
        "offhook_attempt_seconds",
        Unit::Seconds,
        "Time an attempt took",
    ),
    (
        "offhook_journal_batch_events",
        Unit::Count,
        "New events in a transaction of the journal that has any",
    ),
    (
        "offhook_journal_batch_seconds",
        Unit::Seconds,
        "Time of a whole transaction of the journal",
    ),
    (
        "offhook_journal_commit_seconds",
        Unit::Seconds,
        "Time of a transaction's commit, with the wait for the disk",
    ),
];
