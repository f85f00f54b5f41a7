//! [`InlineEngine`]: the engine `none`. Nothing is kept; the handlers run before the answer.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{Accepted, Engine, Envelope, NotAccepted, Work};
use crate::dispatch::{Consumer, Outcome};
use crate::{Delivery, Event, escape_controls};

/// Hands each event to all handlers beside each other and acknowledges it when all of them have
/// done their work. There are no retries but the sender's: when one handler fails the sender is
/// told so, and all of them see the event again if it sends it again.
#[derive(Debug)]
pub(crate) struct InlineEngine {
    consumers: Vec<Consumer>,
}

impl InlineEngine {
    pub(crate) fn new(consumers: Vec<Consumer>) -> Self {
        Self { consumers }
    }
}

impl Engine for InlineEngine {
    fn accept(self: Arc<Self>, envelope: Envelope, events: Vec<Event>) -> Work {
        Box::pin(async move {
            let delivery = Delivery::new(Arc::clone(envelope.received()), 1, false);
            match self.deliver(&delivery, &events).await {
                true => Ok(Accepted::New),
                false => Err(NotAccepted::HandlerFailed),
            }
        })
    }
}

impl InlineEngine {
    /// Whether every handler that wants the events has done its work.
    async fn deliver(&self, delivery: &Delivery, events: &[Event]) -> bool {
        if let [only] = &self.consumers[..] {
            return !only.wants(delivery.session(), events)
                || done(only, delivery, &only.deliver(delivery, events).await);
        }
        let consumers = self.consumers.iter();
        let wanting = consumers.filter(|consumer| consumer.wants(delivery.session(), events));
        // All are polled once before any is waited for: the order of arrival is the lanes' order.
        let outcomes = join_all(wanting.map(async |consumer| {
            done(
                consumer,
                delivery,
                &consumer.deliver(delivery, events).await,
            )
        }));
        outcomes.await.into_iter().all(|done| done)
    }
}

fn done(consumer: &Consumer, delivery: &Delivery, outcome: &Outcome) -> bool {
    let done = matches!(outcome, Outcome::Done);
    if !done {
        let (id, name) = (delivery.id(), consumer.name());
        let outcome = outcome.to_string();
        let outcome = escape_controls(&outcome);
        log::error!("event {id}: {name}: {outcome} (engine none: the sender is told 500)");
    }
    done
}
