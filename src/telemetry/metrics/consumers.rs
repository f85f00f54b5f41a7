//! Attempts of consumers, and their outcomes: [`ConsumerMetrics`].

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::family::{Family, Labels, family, labels, seconds};

#[derive(Debug, Clone)]
pub(super) struct ConsumerFamilies {
    attempts: Family<Counter>,
    seconds: Family<Histogram>,
    retries: Family<Counter>,
    dead_letters: Family<Counter>,
}

impl ConsumerFamilies {
    pub(super) fn new(registry: &mut Registry) -> Self {
        Self {
            attempts: family(
                registry,
                "offhook_attempts_total",
                "Attempts to hand an event to a consumer, by outcome",
                Counter::default,
            ),
            seconds: family(
                registry,
                "offhook_attempt_seconds",
                "Time an attempt took",
                seconds,
            ),
            retries: family(
                registry,
                "offhook_retries_total",
                "Failed attempts after which the event is tried again",
                Counter::default,
            ),
            dead_letters: family(
                registry,
                "offhook_dead_letters_total",
                "Events that a consumer has given up",
                Counter::default,
            ),
        }
    }

    /// Removes the series of a consumer.
    pub(super) fn remove(&self, consumer: &str, outcomes: &[&'static str]) {
        for outcome in outcomes {
            self.attempts.remove(&attempt_labels(consumer, outcome));
        }
        let consumer = consumer_label(consumer);
        self.seconds.remove(&consumer);
        self.retries.remove(&consumer);
        self.dead_letters.remove(&consumer);
    }
}

/// The label of a metric that has one series for each consumer.
pub(super) fn consumer_label(consumer: &str) -> Labels {
    labels([("consumer", consumer)])
}

fn attempt_labels(consumer: &str, outcome: &str) -> Labels {
    labels([("consumer", consumer), ("outcome", outcome)])
}

/// The handles of one consumer.
pub(crate) struct ConsumerMetrics {
    /// One for each possible outcome of an attempt.
    attempts: Vec<Counter>,
    seconds: Histogram,
    retries: Counter,
    dead_letters: Counter,
}

impl ConsumerMetrics {
    pub(super) fn new(families: &ConsumerFamilies, name: &str, outcomes: &[&'static str]) -> Self {
        let attempts = outcomes.iter().map(|outcome| {
            let labels = attempt_labels(name, outcome);
            families.attempts.get_or_create_owned(&labels)
        });
        let consumer = consumer_label(name);
        Self {
            attempts: attempts.collect(),
            seconds: families.seconds.get_or_create_owned(&consumer),
            retries: families.retries.get_or_create_owned(&consumer),
            dead_letters: families.dead_letters.get_or_create_owned(&consumer),
        }
    }

    /// Counts an attempt that ended after `took`; `outcome` is its index in the list of outcomes.
    pub(crate) fn attempt(&self, outcome: usize, took: Duration) {
        self.attempts[outcome].inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts a failed attempt after which the event is tried again.
    pub(crate) fn retry(&self) {
        self.retries.inc();
    }

    /// Counts an event that was given up.
    pub(crate) fn dead_letter(&self) {
        self.dead_letters.inc();
    }
}
