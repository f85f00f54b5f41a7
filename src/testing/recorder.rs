//! [`Recorder`]: a handler that records its events, and fails when it is told to.

use std::collections::VecDeque;
use std::panic::Location;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::arrivals::{Arrivals, HANG_LIMIT, beginning};
use crate::{Delivery, Event, EventHandler, HandlerError};

/// A handler that records its events. Clones share the recording.
///
/// ```
/// use offhook::testing::{Recorder, TestEvent};
///
/// # #[actix_web::main]
/// # async fn main() {
/// let recorder = Recorder::default();
/// recorder.fail_next(1);
/// let event = TestEvent::message("+1234567890", "Hello!");
/// assert!(event.hand_to(&recorder).await.is_err());
/// assert!(event.hand_to(&recorder).await.is_ok());
///
/// // Waits for handlers that run beside the test.
/// let events = recorder.wait_for(2).await;
/// assert_eq!(events[0], events[1]);
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Recorder(Arc<Recording>);

#[derive(Debug, Default)]
struct Recording {
    given: Arrivals<(Event, Delivery)>,
    failures: Mutex<VecDeque<Failure>>,
}

#[derive(Debug, Clone, Copy)]
enum Failure {
    Retry,
    Reject,
}

impl Recorder {
    /// Makes the next `attempts` attempts fail after they are recorded. They are made again, as the retries
    /// of the settings say.
    pub fn fail_next(&self, attempts: usize) {
        *self.failures() = std::iter::repeat_n(Failure::Retry, attempts).collect();
    }

    /// Rejects the events of the next `attempts` attempts after they are recorded: they become dead letters.
    pub fn reject_next(&self, attempts: usize) {
        *self.failures() = std::iter::repeat_n(Failure::Reject, attempts).collect();
    }

    /// All events in the order they arrived. Each attempt counts.
    pub fn events(&self) -> Vec<Event> {
        events(self.0.given.all())
    }

    /// All deliveries in the order they arrived.
    pub fn deliveries(&self) -> Vec<Delivery> {
        let given = self.0.given.all();
        given.into_iter().map(|(_, delivery)| delivery).collect()
    }

    /// Waits until at least `count` events have arrived, and returns all of them. Each attempt counts.
    ///
    /// # Panics
    ///
    /// After 30 s. The message names the line of the test, and lists what has arrived.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> impl Future<Output = Vec<Event>> + Send + use<'_> {
        self.wait_for_within(count, HANG_LIMIT)
    }

    /// As [`Recorder::wait_for`], with another limit.
    ///
    /// # Panics
    ///
    /// After `limit`.
    #[track_caller]
    pub fn wait_for_within(
        &self,
        count: usize,
        limit: Duration,
    ) -> impl Future<Output = Vec<Event>> + Send + use<'_> {
        let place = Location::caller();
        async move {
            let given = &self.0.given;
            events(given.wait_for(count, limit, place, shown).await)
        }
    }

    fn failures(&self) -> MutexGuard<'_, VecDeque<Failure>> {
        let failures = self.0.failures.lock();
        failures.unwrap_or_else(PoisonError::into_inner)
    }
}

fn events(given: Vec<(Event, Delivery)>) -> Vec<Event> {
    given.into_iter().map(|(event, _)| event).collect()
}

fn shown((event, delivery): &(Event, Delivery)) -> String {
    let (kind, id) = (event.kind(), delivery.id());
    let (attempt, body) = (delivery.attempt(), beginning(delivery.content()));
    format!("{kind}, event {id}, attempt {attempt}: {body}")
}

#[async_trait]
impl EventHandler for Recorder {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        // Before the event can be seen, so that a test that has seen it can say what comes next.
        let failure = self.failures().pop_front();
        self.0.given.push((event.clone(), delivery.clone()));
        match failure {
            None => Ok(()),
            Some(Failure::Retry) => Err("the recorder was told to fail".into()),
            Some(Failure::Reject) => Err(HandlerError::reject("the recorder was told to reject")),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::super::TestEvent;
    use super::*;

    #[actix_web::test]
    async fn waiting_ends_when_enough_has_come() {
        let recorder = Recorder::default();
        let waiting = recorder.clone();
        let waiting = actix_rt::spawn(async move { waiting.wait_for(2).await });
        for text in ["1", "2"] {
            let event = TestEvent::message("+1", text);
            event.hand_to(&recorder).await.unwrap();
        }
        assert_eq!(waiting.await.unwrap(), recorder.events());
    }

    #[actix_web::test]
    async fn waiting_in_vain_tells_what_came() {
        let recorder = Recorder::default();
        recorder.reject_next(1);
        let event = TestEvent::message("+1", &"x".repeat(500));
        let error = event.hand_to(&recorder).await.unwrap_err();
        assert!(error.is_reject());
        let waiting = recorder.wait_for_within(3, Duration::from_millis(1));
        let panic = std::panic::AssertUnwindSafe(waiting).catch_unwind().await;
        let panic = panic.unwrap_err().downcast::<String>().unwrap();
        let expected = [
            "recorder.rs:",
            "waited 1ms for 3, and 1 came\n  1. message, event ",
        ];
        for expected in expected.into_iter().chain([", attempt 1: {\"", "xxx… (5"]) {
            assert!(panic.contains(expected), "{panic}\nwithout {expected}");
        }
    }
}
