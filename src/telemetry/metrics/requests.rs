//! Requests to the paths of sources: [`SourceMetrics`].

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::family::{Family, family, labels, seconds};

pub(super) struct RequestFamilies {
    requests: Family<Counter>,
    body_bytes: Family<Counter>,
    seconds: Family<Histogram>,
}

impl RequestFamilies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            requests: family(
                registry,
                "offhook_requests_total",
                "Requests to a source's path by how they were answered",
                Counter::default,
            ),
            body_bytes: family(
                registry,
                "offhook_request_body_bytes_total",
                "Bytes of verified bodies, as they came on the wire",
                Counter::default,
            ),
            seconds: family(
                registry,
                "offhook_request_seconds",
                "Time from a request's head to its answer",
                seconds,
            ),
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

/// The handles of one source.
pub(crate) struct SourceMetrics {
    requests: [Counter; RequestOutcome::ALL.len()],
    body_bytes: Counter,
    seconds: Histogram,
}

impl SourceMetrics {
    pub(super) fn new(families: &RequestFamilies, source: &str) -> Self {
        let requests = RequestOutcome::ALL.map(|(_, outcome)| {
            let labels = labels([("source", source), ("outcome", outcome)]);
            families.requests.get_or_create_owned(&labels)
        });
        let source = labels([("source", source)]);
        Self {
            requests,
            body_bytes: families.body_bytes.get_or_create_owned(&source),
            seconds: families.seconds.get_or_create_owned(&source),
        }
    }

    /// Counts a request that was answered after `took`.
    pub(crate) fn answered(&self, outcome: RequestOutcome, took: Duration) {
        self.requests[outcome as usize].inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts the bytes of a verified body.
    pub(crate) fn body(&self, bytes: usize) {
        self.body_bytes.inc_by(bytes as u64);
    }
}
