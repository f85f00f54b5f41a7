//! What is counted, under which name: the only place that knows metric names.
//!
//! Every handle is made when the server is built, so that counting an event costs an atomic
//! addition. Each server has a recorder of its own; the process' global recorder is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder, Unit};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use crate::dispatch::Outcome;

/// A server's recorder.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    recorded: AtomicUsize,
}

impl Metrics {
    pub(crate) fn new() -> Arc<Self> {
        let builder = PrometheusBuilder::new().set_buckets(&SECONDS);
        let recorder = builder.expect("there are buckets").build_recorder();
        for (name, unit, text) in DESCRIPTIONS {
            let unit = Some(unit);
            if name.ends_with("_total") {
                recorder.describe_counter(name.into(), unit, text.into());
            } else if name.ends_with("_seconds") {
                recorder.describe_histogram(name.into(), unit, text.into());
            } else {
                recorder.describe_gauge(name.into(), unit, text.into());
            }
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
    InvalidSignature,
    TooLarge,
    TooSlow,
    BrokenOff,
    Unavailable,
    HandlerFailed,
}

impl RequestOutcome {
    pub(crate) const ALL: [(Self, &'static str); 7] = [
        (Self::Received, "received"),
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

/// One consumer's counters.
pub(crate) struct ConsumerMetrics {
    attempts: [Counter; Outcome::NAMES.len()],
    seconds: Histogram,
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
            metrics: Arc::clone(metrics),
        }
    }

    /// An attempt ended after `took`.
    pub(crate) fn attempt(&self, outcome: &Outcome, took: Duration) {
        self.attempts[outcome.index()].increment(1);
        self.seconds.record(took.as_secs_f64());
        self.metrics.recorded();
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

/// The upper bounds of the histograms' buckets.
const SECONDS: [f64; 13] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
];

const UPKEEP_EVERY: usize = 8192;

const DESCRIPTIONS: [(&str, Unit, &str); 9] = [
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
        "offhook_request_seconds",
        Unit::Seconds,
        "Time from a request's head to its answer",
    ),
    (
        "offhook_attempts_total",
        Unit::Count,
        "Attempts to hand an event to a consumer, by outcome",
    ),
    (
        "offhook_attempt_seconds",
        Unit::Seconds,
        "Time an attempt took",
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
        "offhook_slow_heads_total",
        Unit::Count,
        "Connections closed because a request's head took too long",
    ),
    (
        "offhook_build_info",
        Unit::Count,
        "Always 1; the label tells the version",
    ),
];
