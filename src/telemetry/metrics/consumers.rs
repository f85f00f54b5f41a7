//! [`ConsumerMetrics`]: the attempts of a consumer. [`PipelineMetrics`]: the progress of all consumers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;

use super::super::news::News;
use super::super::recent::RecentFailure;
use super::super::stats::{Rings, Stats};
use super::family::{Gauge, Labels, SecondsGauge, labels};
use super::{Families, Metrics};

/// The handles of one consumer.
pub(crate) struct ConsumerMetrics {
    /// A counter for each possible outcome of an attempt.
    attempts: Vec<Counter>,
    seconds: Histogram,
    /// Failed attempts after which the event is tried again.
    pub(crate) retries: Counter,
    dead_letters: Counter,
    /// Bodies that were deleted before the consumer settled them.
    pub(crate) deleted: Counter,
    /// What changes, for those who watch.
    pub(crate) news: News,
    name: String,
    stats: Arc<Stats>,
    /// Made by the first attempt.
    rings: OnceLock<Arc<Rings>>,
}

/// The handles of the pipeline, which are updated when the metrics are requested. The gauges of a
/// stopped consumer are 0; a removed consumer has no series, so that short-lived ones do not fill the memory.
#[derive(Debug)]
pub(crate) struct PipelineMetrics {
    /// The size of the journal's files, in bytes.
    pub(crate) bytes: Gauge,
    /// The number of the journal's newest body.
    pub(crate) events: Gauge,
    running: Mutex<HashMap<String, ConsumerGauges>>,
    pub(super) families: Families,
    news: News,
    stats: Arc<Stats>,
}

#[derive(Debug)]
struct ConsumerGauges {
    lag: Gauge,
    oldest_waiting: SecondsGauge,
    in_flight: Gauge,
    overflowed: Gauge,
    retrying: Gauge,
    suspended: Gauge,
    up: Gauge,
    panics: Gauge,
}

/// The state of a running consumer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ConsumerState {
    pub(crate) lag: u64,
    pub(crate) in_flight: u64,
    pub(crate) overflowed: u64,
    pub(crate) retrying: u64,
    pub(crate) suspended: bool,
}

impl Metrics {
    /// Returns the handles of a consumer; `outcomes` are the names of all possible outcomes of an attempt.
    pub(crate) fn consumer(&self, name: &str, outcomes: &[&'static str]) -> ConsumerMetrics {
        let (families, consumer) = (&self.families, consumer_label(name));
        let attempts = outcomes.iter().map(|outcome| {
            { &families.attempts }.get_or_create_owned(&attempt_labels(name, outcome))
        });
        ConsumerMetrics {
            attempts: attempts.collect(),
            seconds: families.attempt_seconds.get_or_create_owned(&consumer),
            retries: families.retries.get_or_create_owned(&consumer),
            dead_letters: families.dead_letters.get_or_create_owned(&consumer),
            deleted: families.deleted.get_or_create_owned(&consumer),
            news: self.news.clone(),
            name: name.to_owned(),
            stats: Arc::clone(&self.stats),
            rings: OnceLock::new(),
        }
    }

    /// Removes all series of a consumer that does not run any more; `outcomes` as for [`Metrics::consumer`].
    pub(crate) fn consumer_removed(&self, name: &str, outcomes: &[&'static str]) {
        self.families.remove_consumer(name, outcomes);
        self.stats.forget_consumer(name);
    }

    pub(crate) fn pipeline(&self) -> PipelineMetrics {
        let (families, none) = (self.families.clone(), Labels::new());
        PipelineMetrics {
            bytes: families.journal_bytes.get_or_create_owned(&none),
            events: families.journal_events.get_or_create_owned(&none),
            running: Mutex::default(),
            families,
            news: self.news.clone(),
            stats: Arc::clone(&self.stats),
        }
    }

    /// Counts `bodies` that retention removed before `consumer` settled them. Does nothing if the
    /// consumer was removed.
    pub(crate) fn expired(&self, consumer: &str, bodies: u64) {
        if let Some(expired) = self.families.expired.get(&consumer_label(consumer)) {
            expired.inc_by(bodies);
        }
    }
}

/// The series of a consumer, in the order of [`Stats::consumers`].
const DELIVERED: usize = 0;
const FAILED: usize = 1;
const DEAD: usize = 2;
const LAG: usize = 3;

fn consumer_label(consumer: &str) -> Labels {
    labels([("consumer", consumer)])
}

fn attempt_labels(consumer: &str, outcome: &str) -> Labels {
    labels([("consumer", consumer), ("outcome", outcome)])
}

impl Families {
    fn remove_consumer(&self, name: &str, outcomes: &[&'static str]) {
        for outcome in outcomes {
            self.attempts.remove(&attempt_labels(name, outcome));
        }
        self.remove(&consumer_label(name));
    }
}

impl ConsumerMetrics {
    /// Counts an attempt that ended at `now`, after `took`; `outcome` is its index in the list of outcomes, of which
    /// the first is success.
    pub(crate) fn attempt(&self, outcome: usize, took: Duration, now: Instant) {
        self.attempts[outcome].inc();
        self.seconds.observe(took.as_secs_f64());
        let series = if outcome == 0 { DELIVERED } else { FAILED };
        self.with_rings(now, |rings, minute| rings.count(minute, series));
    }

    /// Counts an event that the consumer has given up on.
    pub(crate) fn gave_up(&self, now: Instant) {
        self.dead_letters.inc();
        self.with_rings(now, |rings, minute| rings.count(minute, DEAD));
    }

    /// Notes the lag. The largest of each minute is kept.
    pub(crate) fn lag(&self, lag: u64, now: Instant) {
        self.with_rings(now, |rings, minute| rings.note(minute, LAG, lag));
    }

    /// Keeps a failed attempt, for an administrator.
    pub(crate) fn failed(&self, failure: RecentFailure, now: Instant) {
        self.with_rings(now, |rings, _| rings.failed(failure));
    }

    /// What came of the newest failed attempt since the program started.
    pub(crate) fn last_failure(&self) -> Option<String> {
        let newest = self.stats.failures(&self.name).into_iter().next()?;
        Some(newest.outcome)
    }

    fn with_rings(&self, now: Instant, change: impl FnOnce(&Rings, u32)) {
        if let Some(minute) = self.stats.minute(now) {
            let rings = self.rings.get_or_init(|| self.stats.consumer(&self.name));
            change(rings, minute);
        }
    }
}

impl ConsumerGauges {
    fn set(&self, state: ConsumerState) {
        self.lag.set(state.lag);
        self.in_flight.set(state.in_flight);
        self.overflowed.set(state.overflowed);
        self.retrying.set(state.retrying);
        self.suspended.set(state.suspended.into());
    }
}

impl PipelineMetrics {
    /// Adds the series of a consumer that has started.
    pub(crate) fn started(&self, name: &str) {
        let (families, consumer) = (&self.families, consumer_label(name));
        let gauges = ConsumerGauges {
            lag: families.lag.get_or_create_owned(&consumer),
            oldest_waiting: families.oldest_waiting.get_or_create_owned(&consumer),
            in_flight: families.in_flight.get_or_create_owned(&consumer),
            overflowed: families.overflowed.get_or_create_owned(&consumer),
            retrying: families.retrying.get_or_create_owned(&consumer),
            suspended: families.suspended.get_or_create_owned(&consumer),
            up: families.up.get_or_create_owned(&consumer),
            panics: families.panics.get_or_create_owned(&consumer),
        };
        gauges.up.set(1);
        families.expired.get_or_create_owned(&consumer);
        // It has one runner for each share.
        if self.running().insert(name.to_owned(), gauges).is_none() {
            self.news.consumer(name, "running", None);
        }
    }

    /// Sets the gauges of a consumer that has stopped to 0.
    pub(crate) fn stopped(&self, name: &str) {
        if let Some(gauges) = self.running().remove(name) {
            gauges.set(ConsumerState::default());
            gauges.oldest_waiting.set(0.0);
            gauges.up.set(0);
            self.news.consumer(name, "stopped", None);
        }
    }

    /// Removes all series of a removed consumer; `outcomes` as for [`Metrics::consumer`].
    pub(crate) fn removed(&self, name: &str, outcomes: &[&'static str]) {
        self.families.remove_consumer(name, outcomes);
        self.stats.forget_consumer(name);
    }

    /// Sets the state of a running consumer.
    pub(crate) fn set_state(&self, name: &str, state: ConsumerState) {
        if let Some(gauges) = self.running().get(name) {
            gauges.set(state);
        }
    }

    /// Sets whether a consumer runs, and how often it was started again after a panic.
    pub(crate) fn set_health(&self, name: &str, is_up: bool, panics: u64) {
        if let Some(gauges) = self.running().get(name) {
            gauges.up.set(is_up.into());
            gauges.panics.set(panics);
        }
    }

    /// Sets the age of the oldest event that a running consumer has not settled.
    pub(crate) fn set_oldest_waiting(&self, consumer: &str, age: Duration) {
        if let Some(gauges) = self.running().get(consumer) {
            gauges.oldest_waiting.set(age.as_secs_f64());
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, ConsumerGauges>> {
        // No panic can leave the map half-changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
