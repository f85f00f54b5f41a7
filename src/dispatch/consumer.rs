//! [`Consumer`]: a handler with its name, its filter and its limits.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::attempt::{Outcome, attempt};
use super::lanes::Lanes;
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
    lanes: Lanes,
    slots: Semaphore,
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
        let concurrency = options.concurrency.unwrap_or(DEFAULT_CONCURRENCY);
        Self {
            name,
            handler,
            order: options.order.unwrap_or_default(),
            timeout: options.timeout.unwrap_or(DEFAULT_TIMEOUT),
            lanes: Lanes::default(),
            slots: Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS)),
            options,
            metrics,
            clock,
        }
    }

    /// The consumer's name: `handler:` and the handler's.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What stands in one line.
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

    /// For how long nothing may succeed while attempts fail, before it is suspended.
    pub(crate) fn suspend_after(&self) -> Option<Duration> {
        self.options.suspend_after
    }

    /// How many attempts run at once.
    pub(crate) fn concurrency(&self) -> usize {
        self.options.concurrency.unwrap_or(DEFAULT_CONCURRENCY)
    }

    /// Where its retries and dead letters are counted.
    pub(crate) fn metrics(&self) -> &ConsumerMetrics {
        &self.metrics
    }

    /// Whether any of these events is for this consumer.
    pub(crate) fn wants(&self, session: Option<&str>, events: &[Event]) -> bool {
        self.wants_session(session) && self.wants_any(events)
    }

    /// Whether any of these events is of a kind for this consumer.
    pub(crate) fn wants_any(&self, events: &[Event]) -> bool {
        events.iter().any(|event| self.wants_kind(event))
    }

    /// Whether it gets a body once, with all events that it wants.
    pub(crate) fn takes_bodies(&self) -> bool {
        self.handler.takes_bodies()
    }

    /// Hands the events of one delivery over: waits for the lane, then for a free slot, then makes
    /// one attempt. The place in the lane is taken when this is first polled.
    pub(crate) async fn deliver(&self, delivery: &Delivery, events: &[Event]) -> Outcome {
        let lane = self
            .order
            .lane(delivery.source(), delivery.session(), events);
        let _turn = match lane {
            Some(lane) => Some(self.lanes.enter(lane).await),
            None => None,
        };
        // Free slots are never kept from those that wait, so looking first jumps no queue.
        let _slot = match self.slots.try_acquire() {
            Ok(slot) => Ok(slot),
            Err(_) => self.slots.acquire().await,
        };
        self.attempt(delivery, events.iter()).await
    }

    /// Makes one attempt, now, at those of the events that the consumer wants.
    pub(crate) async fn attempt<'a>(
        &self,
        delivery: &Delivery,
        events: impl Iterator<Item = &'a Event>,
    ) -> Outcome {
        let started = self.clock.monotonic();
        let mut wanted = events.filter(|event| self.wants_kind(event));
        // Nearly every delivery has one event: no list is made for it.
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

    /// Whether anything of this session is for this consumer.
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
