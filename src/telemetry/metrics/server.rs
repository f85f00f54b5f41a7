//! The public listener and the journal's transactions: [`ListenerMetrics`], [`JournalMetrics`].

#[cfg(feature = "sqlite")]
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
#[cfg(feature = "sqlite")]
use prometheus_client::metrics::histogram::Histogram;

use super::Metrics;
use super::family::{Gauge, Labels};

/// The handles of the public listener.
pub(crate) struct ListenerMetrics {
    connections: Gauge,
    in_flight_bytes: Gauge,
    slow_heads: Counter,
}

/// The handles of the task that writes the journal.
#[cfg(feature = "sqlite")]
pub(crate) struct JournalMetrics {
    batch_events: Histogram,
    batch_seconds: Histogram,
    commit_seconds: Histogram,
    failures: Counter,
}

impl Metrics {
    /// The handles of the public listener.
    pub(crate) fn listener(&self) -> ListenerMetrics {
        let (families, none) = (&self.families, Labels::new());
        ListenerMetrics {
            connections: families.connections.get_or_create_owned(&none),
            in_flight_bytes: families.in_flight_bytes.get_or_create_owned(&none),
            slow_heads: families.slow_heads.get_or_create_owned(&none),
        }
    }

    /// The handles of the journal.
    #[cfg(feature = "sqlite")]
    pub(crate) fn journal(&self) -> JournalMetrics {
        let (families, none) = (&self.families, Labels::new());
        JournalMetrics {
            batch_events: families.batch_events.get_or_create_owned(&none),
            batch_seconds: families.batch_seconds.get_or_create_owned(&none),
            commit_seconds: families.commit_seconds.get_or_create_owned(&none),
            failures: families.failures.get_or_create_owned(&none),
        }
    }
}

impl ListenerMetrics {
    /// Counts a connection that was opened.
    pub(crate) fn opened(&self) {
        self.connections.inc();
    }

    /// Counts a connection that was closed.
    pub(crate) fn closed(&self) {
        self.connections.dec();
    }

    /// Counts a connection that was closed because a request's head took too long.
    pub(crate) fn slow_head(&self) {
        self.slow_heads.inc();
    }

    /// Sets how many bytes of bodies are in memory now.
    pub(crate) fn in_flight(&self, bytes: usize) {
        self.in_flight_bytes.set(bytes as u64);
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
        // Other transactions save progress. If they were counted, they would hide the size of batches of
        // events.
        if events > 0 {
            self.batch_events.observe(events as f64);
        }
        self.batch_seconds.observe(took.as_secs_f64());
        self.commit_seconds.observe(commit.as_secs_f64());
    }

    /// Counts a failed write, or a failed attempt to open the journal again.
    pub(crate) fn failure(&self) {
        self.failures.inc();
    }
}
