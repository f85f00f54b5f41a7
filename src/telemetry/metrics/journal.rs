//! Transactions of the journal: [`JournalMetrics`].

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::family::{Family, Labels, family, seconds};

pub(super) struct JournalFamilies {
    batch_events: Family<Histogram>,
    batch_seconds: Family<Histogram>,
    commit_seconds: Family<Histogram>,
    failures: Family<Counter>,
}

impl JournalFamilies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            batch_events: family(
                registry,
                "offhook_journal_batch_events",
                "New events in a transaction of the journal that has any",
                events,
            ),
            batch_seconds: family(
                registry,
                "offhook_journal_batch_seconds",
                "Time of a whole transaction of the journal",
                seconds,
            ),
            commit_seconds: family(
                registry,
                "offhook_journal_commit_seconds",
                "Time of a transaction's commit, with the wait for the disk",
                seconds,
            ),
            failures: family(
                registry,
                "offhook_journal_failures_total",
                "Failed writes of the journal, and failed tries to open it again",
                Counter::default,
            ),
        }
    }
}

/// A histogram of numbers of events.
fn events() -> Histogram {
    Histogram::new([1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1024.0])
}

/// The handles of the task that writes the journal.
pub(crate) struct JournalMetrics {
    batch_events: Histogram,
    batch_seconds: Histogram,
    commit_seconds: Histogram,
    failures: Counter,
}

impl JournalMetrics {
    pub(super) fn new(families: &JournalFamilies) -> Self {
        let none = Labels::new();
        Self {
            batch_events: families.batch_events.get_or_create_owned(&none),
            batch_seconds: families.batch_seconds.get_or_create_owned(&none),
            commit_seconds: families.commit_seconds.get_or_create_owned(&none),
            failures: families.failures.get_or_create_owned(&none),
        }
    }

    /// Handles that no registry contains.
    #[cfg(test)]
    pub(crate) fn unrecorded() -> Self {
        Self::new(&JournalFamilies::new(&mut Registry::default()))
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
