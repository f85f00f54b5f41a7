//! [`Consumer`]: a handler with its name, its filter and its limits.
//!
//! It makes attempts: each turns whatever the handler does (answer, fail, panic, hang) into an
//! [`Outcome`].

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt as _, poll};

use super::lane::Order;
use super::options::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, HandlerOptions};
use crate::clock::Clock;
use crate::journal::Position;
use crate::telemetry::{About, ConsumerMetrics, Metrics};
use crate::{Delivery, Event, EventHandler, EventId, HandlerError, Timestamp};

/// A handler as a consumer of events.
pub(crate) struct Consumer {
    name: String,
    handler: Arc<dyn EventHandler>,
    pub(super) options: HandlerOptions,
    pub(super) metrics: ConsumerMetrics,
    clock: Arc<dyn Clock>,
    /// How much longer than its timeout an attempt may take.
    grace: Duration,
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
            options,
            metrics,
            clock,
            grace: Duration::ZERO,
        }
    }

    /// For a handler that keeps to the timeout itself, and says more about it.
    pub(crate) fn with_grace(self, grace: Duration) -> Self {
        Self { grace, ..self }
    }

    /// The consumer's name: `handler:` and the name of the handler.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Which events share a lane.
    pub(crate) fn order(&self) -> Order {
        self.options.order.unwrap_or_default()
    }

    /// How many attempts run at the same time.
    pub(crate) fn concurrency(&self) -> usize {
        let concurrency = self.options.concurrency;
        concurrency.unwrap_or(DEFAULT_CONCURRENCY).max(1)
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

    /// Whether the handler looks into what it gets, or only sends the bytes on.
    pub(crate) fn reads_content(&self) -> bool {
        self.handler.reads_content()
    }

    /// Makes one attempt, immediately, with those of the events that the consumer wants.
    pub(crate) async fn attempt<'a>(
        &self,
        delivery: &Delivery,
        events: impl Iterator<Item = &'a Event>,
    ) -> EndedAttempt {
        let started = self.clock.monotonic();
        let mut wanted = events.filter(|event| self.wants_kind(event));
        // Nearly every delivery has one event, and an empty list takes no memory.
        let first = wanted.next();
        let mut all: Vec<&Event> = wanted.collect();
        if !all.is_empty() {
            all.splice(..0, first);
        }
        let wanted = if all.is_empty() {
            first.as_slice()
        } else {
            &all
        };
        let outcome = self.hand_over(wanted, delivery).await;
        let now = self.clock.monotonic();
        let took = now.saturating_duration_since(started);
        self.metrics.attempt(outcome.index(), took, now);
        EndedAttempt {
            event: delivery.id(),
            outcome,
            took,
            about: Vec::new(),
        }
    }

    /// Hands the events of one delivery to the handler, in order, within the timeout for all of them. The
    /// first failure ends the attempt.
    async fn hand_over(&self, events: &[&Event], delivery: &Delivery) -> Outcome {
        let timeout = self.options.timeout.unwrap_or(DEFAULT_TIMEOUT);
        let timeout = timeout.saturating_add(self.grace);
        // An async block, because a handler can also panic before it returns its future.
        let work = async { self.handler.as_ref().deliver(events, delivery).await };
        // After a panic only the handler itself can see its half-changed state; a handler that panics
        // while it holds a lock finds that lock poisoned.
        let mut caught = pin!(Some(AssertUnwindSafe(work).catch_unwind()));
        let at_work = "it is there until it is dropped";
        // Many handlers finish immediately; those need no timer.
        let ended = match poll!(caught.as_mut().as_pin_mut().expect(at_work)) {
            Poll::Ready(ended) => Ok(ended),
            Poll::Pending => {
                let caught = caught.as_mut().as_pin_mut().expect(at_work);
                tokio::time::timeout(timeout, caught).await
            }
        };
        match ended {
            Ok(Ok(Ok(()))) => Outcome::Done,
            Ok(Ok(Err(error))) => Outcome::Failed(error),
            Ok(Err(panic)) => Outcome::Panicked(panic_message(panic.as_ref())),
            Err(_) => {
                // The handler is dropped in the middle of its work, and that can panic too. The timeout
                // came first.
                let dropped = catch_unwind(AssertUnwindSafe(|| caught.set(None)));
                drop(dropped);
                Outcome::TimedOut(timeout)
            }
        }
    }

    /// Whether the consumer wants events of this session.
    pub(crate) fn wants_session(&self, session: Option<&str>) -> bool {
        self.options.wants_session(session)
    }

    fn wants_kind(&self, event: &Event) -> bool {
        self.options.wants_kind(event.kind())
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

/// How an attempt at an event ended, and how long it took.
#[derive(Debug)]
pub(crate) struct EndedAttempt {
    pub(crate) event: EventId,
    pub(crate) outcome: Outcome,
    pub(crate) took: Duration,
    /// What each of its events is, if somebody listens.
    pub(crate) about: Vec<About>,
}

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The handler succeeded.
    Done,
    /// The handler failed; the error says whether to try again.
    Failed(HandlerError),
    /// The handler did not finish in time.
    TimedOut(Duration),
    /// The handler panicked.
    Panicked(String),
}

impl Outcome {
    /// The outcome's index in [`Outcome::NAMES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Done => 0,
            Self::Failed(error) if error.is_reject() => 1,
            Self::Failed(_) => 2,
            Self::TimedOut(_) => 3,
            Self::Panicked(_) => 4,
        }
    }

    /// Whether the handler does not want the event again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_reject())
    }

    /// The pause that the handler asked for.
    pub(crate) fn asked_pause(&self) -> Option<Duration> {
        match self {
            Self::Failed(error) => error.pause(),
            _ => None,
        }
    }

    /// What the other side has answered, where the handler says it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn answer(&self) -> Option<&str> {
        match self {
            Self::Failed(error) => error.answer(),
            _ => None,
        }
    }

    /// The outcomes' names in metrics.
    pub(crate) const NAMES: [&'static str; 5] =
        ["done", "rejected", "failed", "timed_out", "panicked"];
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(error) if error.is_reject() => write!(f, "rejected: {error}"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::TimedOut(after) => write!(f, "not done after {after:?}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// Receives each attempt of one consumer, for a part of the program such as the index. Dropped when the
/// consumer has ended.
pub(crate) trait AttemptObserver: fmt::Debug + Send + Sync {
    /// Called when the consumer's attempt number `attempt` at an event has ended.
    fn attempted(&self, position: Position, attempt: u32, made: &EndedAttempt, at: Timestamp);
}

/// Observes nothing.
impl AttemptObserver for () {
    fn attempted(&self, _: Position, _: u32, _: &EndedAttempt, _: Timestamp) {}
}

/// The text of a panic.
pub(super) fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is no text").to_owned()
}
