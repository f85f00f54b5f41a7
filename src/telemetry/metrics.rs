//! What is counted, under which name: the only place that knows metric names.
//!
//! Every handle is made when the server is built, or the consumer starts, so that counting an event
//! costs an atomic addition. Each server has recorders of its own ([`series`]); the process' global
//! recorder is left alone.

mod buckets;
mod series;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use series::{Families, Series};

/// A server's metrics: its own, and those of each consumer, which end with it.
pub(crate) struct Metrics {
    server: Series,
    consumers: Mutex<BTreeMap<String, Arc<Series>>>,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let metrics = Self {
            server: Series::new(),
            consumers: Mutex::default(),
        };
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        metrics.gauge("offhook_build_info", &version).set(1.0);
        Arc::new(metrics)
    }

    /// All metrics in Prometheus' text format.
    pub(crate) fn render(&self) -> String {
        let mut families = Families::default();
        families.add(&self.server.render());
        let consumers: Vec<_> = self.consumers().values().cloned().collect();
        for series in consumers {
            families.add(&series.render());
        }
        families.text(|family| {
            let mut all = COUNTERS.iter().chain(&GAUGES).chain(&HISTOGRAMS);
            all.find(|(name, _)| *name == family).map(|(_, text)| *text)
        })
    }

    /// Counts events that have left the journal before a consumer has settled them; not for one that
    /// has been removed meanwhile.
    pub(crate) fn expired(&self, consumer: &str, events: u64) {
        if let Some(series) = self.consumers().get(consumer) {
            expired(series, consumer).increment(events);
        }
    }

    /// A consumer's, made where there are none.
    fn consumer(&self, name: &str) -> Arc<Series> {
        let mut consumers = self.consumers();
        match consumers.get(name) {
            Some(series) => Arc::clone(series),
            None => {
                let series = Arc::new(Series::new());
                consumers.insert(name.to_owned(), Arc::clone(&series));
                series
            }
        }
    }

    fn consumers(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Series>>> {
        // Nothing here can leave the map half-changed.
        let consumers = self.consumers.lock();
        consumers.unwrap_or_else(PoisonError::into_inner)
    }

    fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        self.server.counter(name, labels)
    }

    fn gauge(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Gauge {
        self.server.gauge(name, labels)
    }

    fn histogram(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Histogram {
        self.server.histogram(name, labels)
    }
}

fn expired(series: &Series, consumer: &str) -> Counter {
    series.counter("offhook_expired_total", &[("consumer", consumer)])
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
}

impl SourceMetrics {
    pub(crate) fn new(metrics: &Metrics, source: &str) -> Self {
        let source = ("source", source);
        Self {
            requests: RequestOutcome::ALL.map(|(_, outcome)| {
                metrics.counter("offhook_requests_total", &[source, ("outcome", outcome)])
            }),
            body_bytes: metrics.counter("offhook_request_body_bytes_total", &[source]),
            seconds: metrics.histogram("offhook_request_seconds", &[source]),
        }
    }

    /// A request was answered after `took`.
    pub(crate) fn answered(&self, outcome: RequestOutcome, took: Duration) {
        self.requests[outcome as usize].increment(1);
        self.seconds.record(took.as_secs_f64());
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
    /// One for each outcome that an attempt can have.
    attempts: Vec<Counter>,
    seconds: Histogram,
    retries: Counter,
    dead_letters: Counter,
}

impl ConsumerMetrics {
    /// `outcomes` has the names of all outcomes that an attempt can have.
    pub(crate) fn new(metrics: &Metrics, name: &str, outcomes: &[&'static str]) -> Self {
        let series = metrics.consumer(name);
        let consumer = ("consumer", name);
        let attempts = outcomes.iter().map(|outcome| {
            series.counter("offhook_attempts_total", &[consumer, ("outcome", outcome)])
        });
        Self {
            attempts: attempts.collect(),
            seconds: series.histogram("offhook_attempt_seconds", &[consumer]),
            retries: series.counter("offhook_retries_total", &[consumer]),
            dead_letters: series.counter("offhook_dead_letters_total", &[consumer]),
        }
    }

    /// An attempt ended after `took`; `outcome` is a place in the list of outcomes.
    pub(crate) fn attempt(&self, outcome: usize, took: Duration) {
        self.attempts[outcome].increment(1);
        self.seconds.record(took.as_secs_f64());
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
}

impl JournalMetrics {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        Self {
            batch_events: metrics.histogram("offhook_journal_batch_events", &[]),
            batch_seconds: metrics.histogram("offhook_journal_batch_seconds", &[]),
            commit_seconds: metrics.histogram("offhook_journal_commit_seconds", &[]),
            failures: metrics.counter("offhook_journal_failures_total", &[]),
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
    }

    /// A write, or a try to open the journal again, has failed.
    pub(crate) fn failure(&self) {
        self.failures.increment(1);
    }
}

/// What is only looked at when somebody asks for the metrics: the journal's size, and how far its
/// consumers have come. Consumers come and go; what is told of one that is stopped is 0, and of one
/// that is removed nothing.
pub(crate) struct PipelineMetrics {
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

impl PipelineMetrics {
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
        let series = self.metrics.consumer(name);
        let consumer = ("consumer", name);
        // Shown from the start.
        expired(&series, name).increment(0);
        let gauges = ConsumerGauges {
            lag: series.gauge("offhook_consumer_lag", &[consumer]),
            oldest_waiting: series.gauge("offhook_consumer_oldest_waiting_seconds", &[consumer]),
            in_flight: series.gauge("offhook_consumer_in_flight", &[consumer]),
            suspended: series.gauge("offhook_consumer_suspended", &[consumer]),
        };
        self.lock().insert(name.to_owned(), gauges);
    }

    /// A consumer is stopped.
    pub(crate) fn gone(&self, name: &str) {
        if let Some(gauges) = self.lock().remove(name) {
            gauges.lag.set(0.0);
            gauges.oldest_waiting.set(0.0);
            gauges.in_flight.set(0.0);
            gauges.suspended.set(0.0);
        }
    }

    /// A consumer was removed for good: whoever makes and removes many must not fill the memory.
    pub(crate) fn forget(&self, name: &str) {
        self.metrics.consumers().remove(name);
    }

    /// The journal's files take so many bytes.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.bytes.set(bytes as f64);
    }

    /// The number of the journal's newest event.
    pub(crate) fn newest(&self, seq: u64) {
        self.events.set(seq as f64);
    }

    /// How a consumer is doing.
    pub(crate) fn consumer(&self, name: &str, lag: u64, in_flight: usize, suspended: bool) {
        if let Some(gauges) = self.lock().get(name) {
            gauges.lag.set(lag as f64);
            gauges.in_flight.set(in_flight as f64);
            gauges.suspended.set(f64::from(u8::from(suspended)));
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

impl fmt::Debug for PipelineMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PipelineMetrics").finish_non_exhaustive()
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

/// A metric's name, and what it tells.
type Description = (&'static str, &'static str);

const COUNTERS: [Description; 8] = [
    (
        "offhook_requests_total",
        "Requests to a source's path by how they were answered",
    ),
    (
        "offhook_request_body_bytes_total",
        "Bytes of verified bodies, as they came on the wire",
    ),
    (
        "offhook_attempts_total",
        "Attempts to hand an event to a consumer, by outcome",
    ),
    (
        "offhook_retries_total",
        "Failed attempts after which the event is tried again",
    ),
    (
        "offhook_dead_letters_total",
        "Events that a consumer has given up",
    ),
    (
        "offhook_expired_total",
        "Events that have left the journal before the consumer settled them",
    ),
    (
        "offhook_journal_failures_total",
        "Failed writes of the journal, and failed tries to open it again",
    ),
    (
        "offhook_slow_heads_total",
        "Connections closed because a request's head took too long",
    ),
];

const GAUGES: [Description; 11] = [
    (
        "offhook_source_quiet",
        "1 while a source, or a session that is watched, has sent nothing for its quiet_after",
    ),
    (
        "offhook_source_last_event_age_seconds",
        "Time since a source, or a session that is watched, was heard; NaN while nothing is known",
    ),
    (
        "offhook_connections",
        "Open connections of the public listener",
    ),
    (
        "offhook_in_flight_bytes",
        "Bytes of bodies held now, over all connections",
    ),
    (
        "offhook_journal_bytes",
        "Size of all files in the journal's folder",
    ),
    (
        "offhook_journal_events",
        "Number of the journal's newest event; numbers begin at 1",
    ),
    (
        "offhook_consumer_lag",
        "Events that a consumer has not settled, and those it is handed once more",
    ),
    (
        "offhook_consumer_oldest_waiting_seconds",
        "Age of the oldest event that a consumer has not settled; 0 when there is none",
    ),
    (
        "offhook_consumer_in_flight",
        "Attempts of a consumer that run now",
    ),
    (
        "offhook_consumer_suspended",
        "1 when a consumer is suspended because nothing has succeeded for long",
    ),
    (
        "offhook_build_info",
        "Always 1; the label tells the version",
    ),
];

const HISTOGRAMS: [Description; 5] = [
    (
        "offhook_request_seconds",
        "Time from a request's head to its answer",
    ),
    ("offhook_attempt_seconds", "Time an attempt took"),
    (
        "offhook_journal_batch_events",
        "New events in a transaction of the journal that has any",
    ),
    (
        "offhook_journal_batch_seconds",
        "Time of a whole transaction of the journal",
    ),
    (
        "offhook_journal_commit_seconds",
        "Time of a transaction's commit, with the wait for the disk",
    ),
];
