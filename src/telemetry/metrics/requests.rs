//! What sources send, and since when they are quiet: [`SourceMetrics`], [`QuietMetrics`].

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::Metrics;
use super::family::{Gauge, SecondsGauge, labels};

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

/// The handles that show when a source, or one session of it, was last seen.
#[derive(Debug)]
pub(crate) struct QuietMetrics {
    /// `None` when no `quiet_after` is set.
    quiet: Option<Gauge>,
    since_last: SecondsGauge,
}

impl Metrics {
    /// The handles of a source.
    pub(crate) fn source(&self, name: &str) -> SourceMetrics {
        let families = &self.families;
        let requests = RequestOutcome::ALL.map(|(_, outcome)| {
            let labels = labels([("source", name), ("outcome", outcome)]);
            families.requests.get_or_create_owned(&labels)
        });
        let source = labels([("source", name)]);
        SourceMetrics {
            requests,
            body_bytes: families.body_bytes.get_or_create_owned(&source),
            seconds: families.request_seconds.get_or_create_owned(&source),
        }
    }

    /// The handles of a source, or of one `session` of it, and, if it is `watched`, whether it is quiet.
    pub(crate) fn quiet(&self, source: &str, session: Option<&str>, watched: bool) -> QuietMetrics {
        let mut labels = labels([("source", source)]);
        labels.extend(session.map(|session| ("session", session.to_owned())));
        let since_last = self.families.since_last.get_or_create_owned(&labels);
        // The age is not known before the first event.
        since_last.set(f64::NAN);
        QuietMetrics {
            quiet: watched.then(|| self.families.quiet.get_or_create_owned(&labels)),
            since_last,
        }
    }
}

impl SourceMetrics {
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

impl QuietMetrics {
    /// Sets whether it is quiet, if that is watched.
    pub(crate) fn quiet(&self, quiet: bool) {
        if let Some(gauge) = &self.quiet {
            gauge.set(quiet.into());
        }
    }

    /// Sets how long ago it was last seen.
    pub(crate) fn since_last(&self, age: Duration) {
        self.since_last.set(age.as_secs_f64());
    }
}
