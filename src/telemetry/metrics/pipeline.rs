//! The journal's size and how far its consumers have come: [`PipelineMetrics`].

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::consumers::{ConsumerFamilies, consumer_label};
use super::family::{Family, Gauge, Labels, SecondsGauge, family};

#[derive(Debug, Clone)]
pub(super) struct PipelineFamilies {
    bytes: Family<Gauge>,
    events: Family<Gauge>,
    lag: Family<Gauge>,
    oldest_waiting: Family<SecondsGauge>,
    in_flight: Family<Gauge>,
    suspended: Family<Gauge>,
    expired: Family<Counter>,
}

impl PipelineFamilies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            bytes: family(
                registry,
                "offhook_journal_bytes",
                "Size of all files in the journal's folder",
                Gauge::default,
            ),
            events: family(
                registry,
                "offhook_journal_events",
                "Number of the journal's newest event; numbers begin at 1",
                Gauge::default,
            ),
            lag: family(
                registry,
                "offhook_consumer_lag",
                "Events that a consumer has not settled, and those it is handed once more",
                Gauge::default,
            ),
            oldest_waiting: family(
                registry,
                "offhook_consumer_oldest_waiting_seconds",
                "Age of the oldest event that a consumer has not settled; 0 when there is none",
                SecondsGauge::default,
            ),
            in_flight: family(
                registry,
                "offhook_consumer_in_flight",
                "Attempts of a consumer that run now",
                Gauge::default,
            ),
            suspended: family(
                registry,
                "offhook_consumer_suspended",
                "1 when a consumer is suspended because nothing has succeeded for long",
                Gauge::default,
            ),
            expired: family(
                registry,
                "offhook_expired_total",
                "Events that have left the journal before the consumer settled them",
                Counter::default,
            ),
        }
    }

    pub(super) fn expired(&self, consumer: &str, events: u64) {
        if let Some(expired) = self.expired.get(&consumer_label(consumer)) {
            expired.inc_by(events);
        }
    }

    fn remove(&self, consumer: &str) {
        let consumer = consumer_label(consumer);
        self.lag.remove(&consumer);
        self.oldest_waiting.remove(&consumer);
        self.in_flight.remove(&consumer);
        self.suspended.remove(&consumer);
        self.expired.remove(&consumer);
    }
}

/// The handles of the pipeline, which are updated when the metrics are requested. The gauges of a
/// stopped consumer are 0; a removed consumer has no series.
#[derive(Debug)]
pub(crate) struct PipelineMetrics {
    bytes: Gauge,
    events: Gauge,
    running: Mutex<HashMap<String, ConsumerGauges>>,
    families: PipelineFamilies,
    consumers: ConsumerFamilies,
}

#[derive(Debug)]
struct ConsumerGauges {
    lag: Gauge,
    oldest_waiting: SecondsGauge,
    in_flight: Gauge,
    suspended: Gauge,
}

impl PipelineMetrics {
    pub(super) fn new(families: PipelineFamilies, consumers: ConsumerFamilies) -> Self {
        Self {
            bytes: families.bytes.get_or_create_owned(&Labels::new()),
            events: families.events.get_or_create_owned(&Labels::new()),
            running: Mutex::default(),
            families,
            consumers,
        }
    }

    /// Adds the series of a consumer that has started.
    pub(crate) fn started(&self, name: &str) {
        let consumer = consumer_label(name);
        let gauges = ConsumerGauges {
            lag: self.families.lag.get_or_create_owned(&consumer),
            oldest_waiting: self.families.oldest_waiting.get_or_create_owned(&consumer),
            in_flight: self.families.in_flight.get_or_create_owned(&consumer),
            suspended: self.families.suspended.get_or_create_owned(&consumer),
        };
        self.families.expired.get_or_create_owned(&consumer);
        self.running().insert(name.to_owned(), gauges);
    }

    /// Sets the gauges of a consumer that has stopped to 0.
    pub(crate) fn stopped(&self, name: &str) {
        if let Some(gauges) = self.running().remove(name) {
            gauges.lag.set(0);
            gauges.oldest_waiting.set(0.0);
            gauges.in_flight.set(0);
            gauges.suspended.set(0);
        }
    }

    /// Removes all series of a removed consumer, so that short-lived consumers do not fill the memory;
    /// `outcomes` are the names with which it was created.
    pub(crate) fn removed(&self, name: &str, outcomes: &[&'static str]) {
        self.consumers.remove(name, outcomes);
        self.families.remove(name);
    }

    /// Sets the size of the journal's files, in bytes.
    pub(crate) fn bytes(&self, bytes: u64) {
        self.bytes.set(bytes);
    }

    /// Sets the number of the journal's newest event.
    pub(crate) fn newest(&self, seq: u64) {
        self.events.set(seq);
    }

    /// Sets the state of a running consumer.
    pub(crate) fn consumer(&self, name: &str, lag: u64, in_flight: usize, suspended: bool) {
        if let Some(gauges) = self.running().get(name) {
            gauges.lag.set(lag);
            gauges.in_flight.set(in_flight as u64);
            gauges.suspended.set(suspended.into());
        }
    }

    /// Sets how long the oldest event of a running consumer has waited.
    pub(crate) fn oldest_waiting(&self, consumer: &str, age: Duration) {
        if let Some(gauges) = self.running().get(consumer) {
            gauges.oldest_waiting.set(age.as_secs_f64());
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, ConsumerGauges>> {
        // No panic can leave the map half-changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
