//! [`Consumer`]: a handler with its name, its filter and its limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Outcome, attempt};
use super::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, HandlerOptions, Order, Retry};
use crate::clock::Clock;
use crate::telemetry::{ConsumerMetrics, Metrics};
use crate::{Delivery, Event, EventHandler};

/// A handler as a consumer of events.
pub(crate) struct Consumer {
    name: String,
    handler: Arc<dyn EventHandler>,
    options: HandlerOptions,
    order: Order,
    timeout: Duration,
    metrics: ConsumerMetrics,
    clock: Arc<dyn Clock>,
}

impl Consumer {
    pub(crate) fn new(
        name: String,
        handler: Arc<dyn EventHandler>,
        options: HandlerOptions,
        metrics: &Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let metrics = metrics.consumer(&name, &Outcome::NAMES);
        Self {
            name,
            handler,
            order: options.order.unwrap_or_default(),
            timeout: options.timeout.unwrap_or(DEFAULT_TIMEOUT),
            options,
            metrics,
            clock,
        }
    }

    /// The consumer's name: `handler:` and the name of the handler.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Which events share a lane.
    pub(crate) fn order(&self) -> Order {
        self.order
    }

    /// Whether statuses of a message only go forward.
    pub(crate) fn is_monotonic(&self) -> bool {
        self.options.monotonic.unwrap_or(false)
    }

    /// When a failed event is tried again.
    pub(crate) fn retry(&self) -> Retry {
        self.options.retry.unwrap_or_default()
    }

    /// How long attempts may fail without any success before the consumer is suspended.
    pub(crate) fn suspend_after(&self) -> Option<Duration> {
        self.options.suspend_after
    }

    /// How many attempts run at the same time.
    pub(crate) fn concurrency(&self) -> usize {
        self.options.concurrency.unwrap_or(DEFAULT_CONCURRENCY)
    }

    /// The metrics that count its retries and dead letters.
    pub(crate) fn metrics(&self) -> &ConsumerMetrics {
        &self.metrics
    }

    /// Whether the consumer wants this event of this session.
    pub(crate) fn wants(&self, session: Option<&str>, event: &Event) -> bool {
        self.wants_session(session) && self.wants_kind(event)
    }

    /// Whether any of these events is of a kind that the consumer wants.
    pub(crate) fn wants_any(&self, events: &[Event]) -> bool {
        events.iter().any(|event| self.wants_kind(event))
    }

    /// Whether the consumer gets a body once, with all events that it wants.
    pub(crate) fn takes_bodies(&self) -> bool {
        self.handler.takes_bodies()
    }

    /// Makes one attempt, immediately, with those of the events that the consumer wants.
    pub(crate) async fn attempt<'a>(
        &self,
        delivery: &Delivery,
        events: impl Iterator<Item = &'a Event>,
    ) -> Outcome {
        let started = self.clock.monotonic();
        let mut wanted = events.filter(|event| self.wants_kind(event));
        // Nearly every delivery has one event, so the common case needs no list.
        let (one, several);
        let wanted: &[&Event] = match (wanted.next(), wanted.next()) {
            (None, _) => &[],
            (Some(only), None) => {
                one = [only];
                &one
            }
            (Some(first), Some(second)) => {
                let first = [first, second].into_iter();
                several = first.chain(wanted).collect::<Vec<_>>();
                &several
            }
        };
        let outcome = attempt(self.handler.as_ref(), wanted, delivery, self.timeout).await;
        let seconds = self.clock.monotonic().saturating_duration_since(started);
        self.metrics.attempt(outcome.index(), seconds);
        outcome
    }

    /// Whether the consumer wants events of this session.
    pub(crate) fn wants_session(&self, session: Option<&str>) -> bool {
        match &self.options.sessions {
            None => true,
            Some(sessions) => session.is_some_and(|session| sessions.contains(session)),
        }
    }

    fn wants_kind(&self, event: &Event) -> bool {
        let kind = event.kind();
        match &self.options.events {
            None => !kind.is_own(),
            Some(kinds) => kinds.contains(&kind),
        }
    }
}

impl fmt::Debug for Consumer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("name", &self.name)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}
