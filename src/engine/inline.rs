//! [`InlineEngine`]: the engine `none`. It stores nothing; the handlers run before the answer.

use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use log::Level;

use super::turns::Turns;
use super::{Accepted, Engine, Envelope, NotAccepted, Work};
use crate::dispatch::{Consumer, Outcome};
use crate::journal::{MAX_PARTS, Part};
use crate::telemetry::{ONGOING, Throttle};
use crate::{Delivery, Event, EventId, Received, escape_controls};

/// Hands each event to all handlers in parallel and acknowledges the body when all of them have
/// succeeded. Only the sender retries: when one handler fails, the sender gets an error, and if it sends
/// the event again, all handlers see it again.
#[derive(Debug)]
pub(crate) struct InlineEngine {
    handlers: ArcSwap<Vec<Arc<Handler>>>,
}

/// A consumer, with what keeps its events in order and limits its attempts.
#[derive(Debug)]
struct Handler {
    consumer: Consumer,
    turns: Turns,
    failures: Throttle,
}

impl InlineEngine {
    pub(crate) fn new(consumers: Vec<Consumer>) -> Self {
        let handlers: Vec<_> = consumers.into_iter().map(Handler::new).collect();
        Self {
            handlers: ArcSwap::from_pointee(handlers),
        }
    }

    /// From the next event on there are no consumers of the names `removed`, and those of `consumers` take the place
    /// of those of their names.
    pub(crate) fn replace(&self, removed: &[String], consumers: Vec<Consumer>) {
        let stays = |handler: &&Arc<Handler>| {
            let name = handler.consumer.name();
            let mut replaced = consumers.iter().map(Consumer::name);
            !removed.iter().any(|one| one == name) && !replaced.any(|one| one == name)
        };
        let mut handlers: Vec<_> = self.handlers.load().iter().filter(stays).cloned().collect();
        handlers.extend(consumers.into_iter().map(Handler::new));
        self.handlers.store(Arc::new(handlers));
    }

    /// Whether every handler that wants events of the body has succeeded.
    async fn deliver(&self, received: &Arc<Received>, events: &[Event]) -> bool {
        let handlers = self.handlers.load_full();
        if let ([only], [_]) = (&handlers[..], events) {
            return only.deliver(received, 0, events).await;
        }
        let deliveries = handlers.iter().flat_map(|handler| {
            let whole = handler.consumer.takes_bodies();
            let size = if whole { events.len().max(1) } else { 1 };
            let each = events.chunks(size).enumerate();
            each.map(move |(index, own)| handler.deliver(received, index, own))
        });
        // Polls all deliveries once before it waits for any, so that lanes follow the order of arrival.
        let done = join_all(deliveries).await;
        done.into_iter().all(|done| done)
    }
}

impl Engine for InlineEngine {
    fn accept(self: Arc<Self>, mut envelope: Envelope, events: Arc<[Event]>) -> Work {
        envelope.count_content();
        envelope.count_events(&events);
        Box::pin(async move {
            if self.deliver(envelope.received(), &events).await {
                Ok(Accepted::New)
            } else {
                Err(NotAccepted::HandlerFailed)
            }
        })
    }
}

impl Handler {
    fn new(consumer: Consumer) -> Arc<Self> {
        Arc::new(Self {
            turns: Turns::new(consumer.concurrency()),
            failures: Throttle::every(ONGOING),
            consumer,
        })
    }

    /// Makes one attempt with those of the events that the consumer wants; the first of `events` has this
    /// index in the body. Returns whether the attempt succeeded, or there is none to make.
    async fn deliver(&self, received: &Arc<Received>, index: usize, events: &[Event]) -> bool {
        let is_wanted = |(_, event): &(usize, &Event)| {
            let session = event.session_id().or(received.session.as_deref());
            self.consumer.wants(session, event)
        };
        let mut wanted = (index..).zip(events).filter(is_wanted);
        let Some((index, first)) = wanted.next() else {
            return true;
        };
        let part = |index: usize| Part::try_from((index + 1).min(MAX_PARTS)).unwrap_or(Part::MAX);
        let delivery = Delivery::new(Arc::clone(received), 1, false);
        let mut delivery = delivery.of_part(part(index), first.session_id());
        let rest = wanted.clone().map(|(index, _)| index);
        if self.consumer.takes_bodies() && rest.clone().count() + 1 < events.len() {
            let mut parts: Vec<Part> = std::iter::once(index).chain(rest).map(part).collect();
            parts.dedup();
            delivery = delivery.of_parts(parts);
        }
        let order = self.consumer.order();
        let lane = order.lane(&received.source, delivery.session(), events);
        let wanted = wanted.map(|(_, event)| event);
        let attempt = self
            .consumer
            .attempt(&delivery, std::iter::once(first).chain(wanted));
        match self.turns.in_turn(lane, attempt).await.outcome {
            Outcome::Done => true,
            outcome => {
                self.tell(delivery.id(), &outcome);
                false
            }
        }
    }

    /// Logs a failure; those that follow within [`ONGOING`] only at `debug`.
    fn tell(&self, id: EventId, outcome: &Outcome) {
        let unsaid = self.failures.pass();
        let level = match unsaid {
            Some(_) => Level::Error,
            None => Level::Debug,
        };
        if !log::log_enabled!(level) {
            return;
        }
        let (name, outcome) = (self.consumer.name(), outcome.to_string());
        let (outcome, more) = (escape_controls(&outcome), unsaid.map(Throttle::more));
        let more = more.unwrap_or_default();
        log::log!(
            level,
            event:% = id, consumer = name;
            "event {id}: {name}: {outcome} (engine none: the sender gets 500){more}"
        );
    }
}
