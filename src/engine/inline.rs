//! [`InlineEngine`]: the engine `none`. It stores nothing; the handlers run before the answer.

use std::borrow::Cow;
use std::sync::Arc;

use futures_util::future::join_all;

use super::{Accepted, Engine, Envelope, NotAccepted, Work};
use crate::dispatch::{Consumer, Outcome};
use crate::journal::Part;
use crate::{Delivery, Event, Received, escape_controls};

/// Hands each event to all handlers in parallel and acknowledges the body when all of them have
/// succeeded. Only the sender retries: when one handler fails, the sender gets an error, and if it sends
/// the event again, all handlers see it again.
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
            if self.deliver(envelope.received(), &events).await {
                Ok(Accepted::New)
            } else {
                Err(NotAccepted::HandlerFailed)
            }
        })
    }
}

impl InlineEngine {
    /// Whether every handler that wants events of the body has succeeded.
    async fn deliver(&self, received: &Arc<Received>, events: &[Event]) -> bool {
        let delivery = Delivery::new(Arc::clone(received), 1, false);
        if let ([only], [_]) = (&self.consumers[..], events) {
            return hand_over(only, &delivery, events).await;
        }
        let consumers = self.consumers.iter();
        let deliveries = consumers.flat_map(|consumer| {
            let own: Vec<(Part, Cow<'_, [Event]>)> = if consumer.takes_bodies() && events.len() > 1
            {
                together(consumer, events).into_iter().collect()
            } else {
                let each = events.chunks(1).map(Cow::Borrowed);
                (1..).zip(each).collect()
            };
            own.into_iter()
                .map(move |(part, own)| (consumer, part, own))
        });
        // Polls all deliveries once before it waits for any, so that lanes follow the order of arrival.
        let done = join_all(deliveries.map(async |(consumer, part, own)| {
            let session = own.first().and_then(Event::session_id);
            let delivery = delivery.clone().of_part(part, session);
            hand_over(consumer, &delivery, &own).await
        }));
        done.await.into_iter().all(|done| done)
    }
}

/// The events of a body whose sessions this consumer wants, and the part number of the first one.
fn together<'a>(consumer: &Consumer, events: &'a [Event]) -> Option<(Part, Cow<'a, [Event]>)> {
    let is_wanted = |event: &&Event| consumer.wants_session(event.session_id());
    let first = events.iter().position(|event| is_wanted(&event))?;
    let own = events.iter().filter(is_wanted).cloned().collect();
    Some((
        Part::try_from(first + 1).unwrap_or(Part::MAX),
        Cow::Owned(own),
    ))
}

async fn hand_over(consumer: &Consumer, delivery: &Delivery, events: &[Event]) -> bool {
    !consumer.wants(delivery.session(), events)
        || done(
            consumer,
            delivery,
            &consumer.deliver(delivery, events).await,
        )
}

fn done(consumer: &Consumer, delivery: &Delivery, outcome: &Outcome) -> bool {
    let done = matches!(outcome, Outcome::Done);
    if !done {
        let (id, name) = (delivery.id(), consumer.name());
        let outcome = outcome.to_string();
        let outcome = escape_controls(&outcome);
        log::error!("event {id}: {name}: {outcome} (engine none: the sender gets 500)");
    }
    done
}
