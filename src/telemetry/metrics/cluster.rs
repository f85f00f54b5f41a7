//! [`ClusterState`]: how one of several instances does that share a journal. [`AppendLock`]: how its appends wait for the others.

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::consumers::PipelineMetrics;
use super::family::{Family, Labels, labels};

/// How one of several instances does that share a journal. What is counted has happened since its start.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ClusterState {
    /// The shares that it holds, with the housekeeper's.
    pub(crate) shares: u64,
    /// How long it may use them, unless it renews its lease.
    pub(crate) lease_left: Duration,
    pub(crate) taken: u64,
    pub(crate) fenced: u64,
    /// Appends whose outcome was unknown, and that were found stored later, or not.
    pub(crate) unknown_found: u64,
    pub(crate) unknown_absent: u64,
    /// Bodies that were acknowledged and are gone.
    pub(crate) lost: u64,
    /// Bodies that are stored, and that it has not read yet.
    pub(crate) behind: u64,
}

/// How long appends wait for those of other instances.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
pub(crate) struct AppendLock(Histogram);

#[cfg(feature = "postgres")]
impl AppendLock {
    pub(crate) fn waited(&self, time: Duration) {
        self.0.observe(time.as_secs_f64());
    }
}

impl PipelineMetrics {
    /// Returns the handle of the appends of an instance.
    pub(crate) fn append_lock(&self) -> AppendLock {
        let family = &self.families.append_lock;
        AppendLock(family.get_or_create_owned(&Labels::new()))
    }

    /// Shows how the instance does.
    pub(crate) fn set_cluster(&self, state: ClusterState) {
        let (families, none) = (&self.families, Labels::new());
        let held = families.shares_held.get_or_create_owned(&none);
        held.set(state.shares);
        let behind = families.tail_behind.get_or_create_owned(&none);
        behind.set(state.behind);
        let left = families.lease_left.get_or_create_owned(&none);
        left.set(state.lease_left.as_secs_f64());
        set(&families.takeovers, &none, state.taken);
        set(&families.fenced, &none, state.fenced);
        set(&families.journal_lost, &none, state.lost);
        let unknown = &families.journal_unknown;
        set(unknown, &labels([("found", "stored")]), state.unknown_found);
        set(
            unknown,
            &labels([("found", "absent")]),
            state.unknown_absent,
        );
    }
}

/// Takes over what was counted elsewhere.
fn set(family: &Family<Counter>, labels: &Labels, value: u64) {
    let counter = family.get_or_create_owned(labels);
    counter.inner().store(value, Ordering::Relaxed);
}
