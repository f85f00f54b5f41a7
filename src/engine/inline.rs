//! [`InlineEngine`]: the engine `none`. It stores nothing; the handlers run before the answer.

use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use tokio::sync::{OwnedMutexGuard, Semaphore};

use super::{Accepted, Engine, Envelope, NotAccepted, Work};
use crate::dispatch::{Consumer, Lane, LaneMap, Outcome};
use crate::journal::Part;
use crate::{Delivery, Event, Received, escape_controls};

/// Hands each event to all handlers in parallel and acknowledges the body when all of them have
/// succeeded. Only the sender retries: when one handler fails, the sender gets an error, and if it sends
/// the event again, all handlers see it again.
#[derive(Debug)]
pub(crate) struct InlineEngine {
    handlers: Vec<Handler>,
}

/// A consumer, with what keeps its events in order and limits its attempts.
#[derive(Debug)]
struct Handler {
    consumer: Consumer,
    lanes: Mutex<LaneMap<Line>>,
    slots: Semaphore,
}

/// An occupied lane.
#[derive(Debug, Default)]
struct Line {
    /// How many events are in the lane or wait for it.
    places: usize,
    /// Gives the turns in the order in which they were asked for.
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl InlineEngine {
    pub(crate) fn new(consumers: Vec<Consumer>) -> Self {
        let handlers = consumers.into_iter().map(|consumer| Handler {
            slots: Semaphore::new(consumer.concurrency().min(Semaphore::MAX_PERMITS)),
            lanes: Mutex::default(),
            consumer,
        });
        Self {
            handlers: handlers.collect(),
        }
    }

    /// Whether every handler that wants events of the body has succeeded.
    async fn deliver(&self, received: &Arc<Received>, events: &[Event]) -> bool {
        if let ([only], [_]) = (&self.handlers[..], events) {
            return only.deliver(received, 0, events).await;
        }
        let deliveries = self.handlers.iter().flat_map(|handler| {
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

impl Handler {
    /// Makes one attempt with those of the events that the consumer wants; the first of `events` has this
    /// index in the body. Returns whether the attempt succeeded, or there is none to make.
    async fn deliver(&self, received: &Arc<Received>, index: usize, events: &[Event]) -> bool {
        let mut wanted = (index..).zip(events).filter(|(_, event)| {
            let session = event.session_id().or(received.session.as_deref());
            self.consumer.wants(session, event)
        });
        let Some((index, first)) = wanted.next() else {
            return true;
        };
        let part = Part::try_from(index + 1).unwrap_or(Part::MAX);
        let delivery = Delivery::new(Arc::clone(received), 1, false);
        let delivery = delivery.of_part(part, first.session_id());
        let order = self.consumer.order();
        let lane = order.lane(&received.source, delivery.session(), events);
        let wanted = wanted.map(|(_, event)| event);
        let attempt = self
            .consumer
            .attempt(&delivery, std::iter::once(first).chain(wanted));
        match self.in_turn(lane, attempt).await {
            Outcome::Done => true,
            outcome => {
                let (id, name) = (delivery.id(), self.consumer.name());
                let outcome = outcome.to_string();
                let outcome = escape_controls(&outcome);
                log::error!("event {id}: {name}: {outcome} (engine none: the sender gets 500)");
                false
            }
        }
    }

    /// Waits for the lane, then for a free slot, and then for the attempt. The first poll takes the place
    /// in the lane.
    async fn in_turn<T>(&self, lane: Option<Lane>, attempt: impl Future<Output = T>) -> T {
        let _turn = match lane {
            Some(lane) => Some(self.enter(lane).await),
            None => None,
        };
        let _slot = self.slots.acquire().await;
        attempt.await
    }

    /// Takes the place in the lane, and waits for the turn.
    async fn enter(&self, lane: Lane) -> (OwnedMutexGuard<()>, Place<'_>) {
        let turn = {
            let mut lanes = self.lanes();
            let line = lanes.entry(lane).or_default();
            line.places += 1;
            Arc::clone(&line.turn)
        };
        let place = Place {
            handler: self,
            lane,
        };
        (turn.lock_owned().await, place)
    }

    fn lanes(&self) -> MutexGuard<'_, LaneMap<Line>> {
        // No panic can leave the map half-changed.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a lane, or in front of it. The last one to leave removes the lane.
struct Place<'a> {
    handler: &'a Handler,
    lane: Lane,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Entry::Occupied(mut line) = self.handler.lanes().entry(self.lane) {
            line.get_mut().places -= 1;
            if line.get().places == 0 {
                line.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::{join, poll};
    use tokio::sync::oneshot;

    use super::*;
    use crate::Timestamp;
    use crate::dispatch::{HandlerOptions, Order};
    use crate::telemetry::Metrics;
    use crate::testing::{FakeClock, Recorder};

    fn handler(concurrency: usize) -> Handler {
        let options = HandlerOptions::default().concurrency(concurrency);
        let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
        let (name, recorder) = ("handler:test".to_owned(), Arc::new(Recorder::default()));
        let consumer = Consumer::new(name, recorder, options, &Metrics::new(), clock);
        InlineEngine::new(vec![consumer]).handlers.remove(0)
    }

    fn lane(session: &str) -> Option<Lane> {
        Order::Session.lane("s", Some(session), &[])
    }

    #[actix_web::test]
    async fn a_lane_goes_in_order_of_arrival() {
        let handler = handler(2);
        let order = Mutex::new(Vec::new());
        let arrives = |number| order.lock().unwrap().push(number);
        let (release, released) = oneshot::channel();
        let first = handler.in_turn(lane("a"), async {
            released.await.unwrap();
            arrives(0);
        });
        let others =
            (1..6).map(|number| handler.in_turn(lane("a"), async move { arrives(number) }));
        // The other lane is free.
        let other_lane = handler.in_turn(lane("b"), async {
            assert_eq!(*order.lock().unwrap(), [0; 0]);
            release.send(()).unwrap();
        });
        join!(first, join_all(others), other_lane);
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
        assert!(handler.lanes().is_empty());
    }

    /// Also the events that come after the task's budget of tokio is used up.
    #[actix_web::test]
    async fn a_large_body_keeps_its_lanes_in_order() {
        let delivers_all = async {
            let handler = handler(2);
            let order = Mutex::new(Vec::new());
            let attempts = (0..400_usize).map(|number| {
                let order = &order;
                handler.in_turn(lane(&(number % 100).to_string()), async move {
                    order.lock().unwrap().push(number);
                })
            });
            join_all(attempts).await;
            order.into_inner().unwrap()
        };
        // Only a task has a budget.
        let mut order = actix_web::rt::spawn(delivers_all).await.unwrap();
        order.sort_by_key(|number| number % 100);
        assert!(order.chunks(4).all(<[usize]>::is_sorted), "{order:?}");
    }

    /// Also when two of them, on two workers, leave at the same time.
    #[test]
    fn a_lane_goes_with_its_last_event() {
        let handler = handler(2);
        let enter_all = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(async {
                for number in 0..10_000 {
                    handler.in_turn(lane(&number.to_string()), ready(())).await;
                }
            });
        };
        std::thread::scope(|scope| {
            scope.spawn(enter_all);
            scope.spawn(enter_all);
        });
        assert!(handler.lanes().is_empty());
    }

    #[actix_web::test]
    async fn a_delivery_that_is_dropped_leaves_its_lane() {
        let handler = handler(2);
        for first_leaves_first in [true, false] {
            let mut first = Box::pin(handler.in_turn(lane("a"), pending::<()>()));
            let mut second = Box::pin(handler.in_turn(lane("a"), ready(())));
            assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
            if first_leaves_first {
                drop(first);
                drop(second);
            } else {
                drop(second);
                drop(first);
            }
            assert!(handler.lanes().is_empty());
        }
    }

    #[actix_web::test]
    async fn no_more_attempts_run_than_there_are_slots() {
        let handler = handler(2);
        let mut running: Vec<_> = ["a", "b", "c"]
            .map(|session| Box::pin(handler.in_turn(lane(session), pending::<()>())))
            .into();
        for attempt in &mut running {
            assert!(poll!(attempt).is_pending());
        }
        assert_eq!(handler.slots.available_permits(), 0);
        let mut next = Box::pin(handler.in_turn(None, ready(())));
        assert!(poll!(&mut next).is_pending());
        drop(running);
        assert!(poll!(&mut next).is_ready());
    }
}
