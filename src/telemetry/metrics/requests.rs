//! [`ListenerMetrics`]: connections. [`SourceMetrics`]: the requests of a source. [`QuietMetrics`]: whether
//! it is quiet. [`JournalMetrics`]: writes of the journal.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::super::stats::{Rings, Stats};
use super::Metrics;
use super::family::{Family, Gauge, Labels, SecondsGauge, labels};

/// The handles of the public listener.
pub(crate) struct ListenerMetrics {
    pub(crate) connections: Gauge,
    /// Bytes of bodies in memory.
    pub(crate) in_flight_bytes: Gauge,
    /// Connections that were closed because a request's head took too long.
    pub(crate) slow_heads: Counter,
    /// Requests to paths that no source has.
    pub(crate) not_found: Counter,
    /// Requests whose heads are too large.
    pub(crate) large_heads: Counter,
    /// Connections whose TLS handshakes have failed.
    pub(crate) failed_handshakes: Counter,
}

/// The outcome of a request.
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
    /// Which series of [`Stats::sources`] counts it.
    fn series(self) -> usize {
        match self {
            Self::Received => 0,
            Self::Duplicate => 1,
            Self::InvalidSignature | Self::TooLarge | Self::TooSlow | Self::BrokenOff => 2,
            Self::Unavailable | Self::HandlerFailed => 3,
        }
    }

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
    /// Bytes of verified bodies.
    pub(crate) body_bytes: Counter,
    seconds: Histogram,
    name: String,
    stats: Arc<Stats>,
    /// Made by the first request.
    rings: OnceLock<Arc<Rings>>,
}

/// The handles that show when a source, or one session of it, was last seen.
#[derive(Debug)]
pub(crate) struct QuietMetrics {
    labels: Labels,
    /// It has a series while a `quiet_after` is set.
    quiet: Family<Gauge>,
    since_last: Family<SecondsGauge>,
}

/// The handles of the task that writes the journal.
#[cfg(feature = "sqlite")]
pub(crate) struct JournalMetrics {
    batch_events: Histogram,
    batch_seconds: Histogram,
    commit_seconds: Histogram,
    /// Failed writes, and failed attempts to open the journal again.
    pub(crate) failures: Counter,
    /// Bodies that were found damaged.
    pub(crate) damaged: Counter,
}

impl Metrics {
    pub(crate) fn listener(&self) -> ListenerMetrics {
        let (families, none) = (&self.families, Labels::new());
        let requests = |outcome| {
            let labels = labels([("outcome", outcome)]);
            families.requests.get_or_create_owned(&labels)
        };
        ListenerMetrics {
            connections: families.connections.get_or_create_owned(&none),
            in_flight_bytes: families.in_flight_bytes.get_or_create_owned(&none),
            slow_heads: families.slow_heads.get_or_create_owned(&none),
            not_found: requests("not_found"),
            large_heads: requests("head_too_large"),
            failed_handshakes: families.failed_handshakes.get_or_create_owned(&none),
        }
    }

    pub(crate) fn source(&self, name: &str) -> SourceMetrics {
        let families = &self.families;
        let requests = RequestOutcome::ALL.map(|(_, outcome)| {
            { &families.requests }.get_or_create_owned(&request_labels(name, outcome))
        });
        let source = labels([("source", name)]);
        SourceMetrics {
            requests,
            body_bytes: families.body_bytes.get_or_create_owned(&source),
            seconds: families.request_seconds.get_or_create_owned(&source),
            name: name.to_owned(),
            stats: Arc::clone(&self.stats),
            rings: OnceLock::new(),
        }
    }

    /// Counts a refused request of a source that could be explained.
    pub(crate) fn refused_explained(&self, source: &str, reason: &str) {
        let labels = labels([("source", source), ("reason", reason)]);
        self.families
            .refused_explained
            .get_or_create_owned(&labels)
            .inc();
    }

    /// Removes the series of what was explained of a source that is not served any more.
    pub(crate) fn refused_removed(&self, source: &str, reason: &str) {
        let labels = labels([("source", source), ("reason", reason)]);
        self.families.refused_explained.remove(&labels);
    }

    /// Removes all series of a source that is not served any more.
    pub(crate) fn source_removed(&self, name: &str) {
        for (_, outcome) in RequestOutcome::ALL {
            self.families
                .requests
                .remove(&request_labels(name, outcome));
        }
        self.families.remove(&labels([("source", name)]));
        self.stats.forget_source(name);
    }

    /// Returns the handles of a source, or of one `session` of it.
    pub(crate) fn quiet(&self, source: &str, session: Option<&str>) -> QuietMetrics {
        let mut labels = labels([("source", source)]);
        labels.extend(session.map(|session| ("session", session.to_owned())));
        QuietMetrics {
            labels,
            quiet: self.families.quiet.clone(),
            since_last: self.families.since_last.clone(),
        }
    }

    #[cfg(feature = "sqlite")]
    pub(crate) fn journal(&self) -> JournalMetrics {
        let (families, none) = (&self.families, Labels::new());
        JournalMetrics {
            batch_events: families.batch_events.get_or_create_owned(&none),
            batch_seconds: families.batch_seconds.get_or_create_owned(&none),
            commit_seconds: families.commit_seconds.get_or_create_owned(&none),
            failures: families.failures.get_or_create_owned(&none),
            damaged: families.damaged.get_or_create_owned(&none),
        }
    }
}

fn request_labels(source: &str, outcome: &str) -> Labels {
    labels([("source", source), ("outcome", outcome)])
}

impl SourceMetrics {
    /// Counts a request that was answered at `now`, after `took`.
    pub(crate) fn answered(&self, outcome: RequestOutcome, took: Duration, now: Instant) {
        self.requests[outcome as usize].inc();
        self.seconds.observe(took.as_secs_f64());
        if let Some(minute) = self.stats.minute(now) {
            let rings = self.rings.get_or_init(|| self.stats.source(&self.name));
            rings.count(minute, outcome.series());
        }
    }
}

impl QuietMetrics {
    /// `None` if no `quiet_after` is set.
    pub(crate) fn set_quiet(&self, quiet: Option<bool>) {
        match quiet {
            Some(quiet) => {
                let gauge = self.quiet.get_or_create_owned(&self.labels);
                gauge.set(quiet.into());
            }
            None => {
                self.quiet.remove(&self.labels);
            }
        }
    }

    /// Without an age it was never seen.
    pub(crate) fn set_since_last(&self, age: Option<Duration>) {
        let age = age.map_or(f64::NAN, |age| age.as_secs_f64());
        self.since_last.get_or_create_owned(&self.labels).set(age);
    }

    /// The source is not served any more.
    pub(crate) fn remove(&self) {
        self.quiet.remove(&self.labels);
        self.since_last.remove(&self.labels);
    }
}

#[cfg(feature = "sqlite")]
impl JournalMetrics {
    /// Handles that no registry contains.
    #[cfg(test)]
    pub(crate) fn unrecorded() -> Self {
        Metrics::new().journal()
    }

    /// Counts a transaction with `events` new events that is durable after `took`; the commit took
    /// `commit` of that time.
    pub(crate) fn batch(&self, events: u64, took: Duration, commit: Duration) {
        // Other transactions only save progress. Counting them would hide how many events a batch has.
        if events > 0 {
            self.batch_events.observe(events as f64);
        }
        self.batch_seconds.observe(took.as_secs_f64());
        self.commit_seconds.observe(commit.as_secs_f64());
    }
}
