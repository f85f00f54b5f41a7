//! [`EventHandler`]: the trait to implement; [`HandlerError`]: why a handler did not do its work.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, iter};

use async_trait::async_trait;

use crate::{
    ConnectionEvent, Delivery, Event, MessageEvent, SourceEvent, StatusEvent, UnknownEvent,
};

/// Handles events.
///
/// Implement the methods for the kinds you need; the others do nothing. Or implement
/// [`handle`](EventHandler::handle) to receive every event in one place.
///
/// # What a handler can rely on
///
/// - Delivery is at-least-once. After an error, a panic or a timeout the same event comes again, with
///   the same [`Delivery::id`] and a higher [`Delivery::attempt`].
/// - Within one conversation (or one session, or not at all: see the handler's `order`) events come one
///   at a time, in the order they were received. Events of different conversations come at the same
///   time, so `&self` is shared.
/// - Every event is handed over, whatever its shape: see [`UnknownEvent`].
///
/// A handler runs on the server's worker threads and must not block them. Use async versions of blocking
/// calls, or `tokio::task::spawn_blocking`.
#[async_trait]
#[allow(unused_variables)] // the methods that do nothing
pub trait EventHandler: Send + Sync + 'static {
    /// A message was received: somebody else wrote it, so a bot may answer.
    async fn message(&self, event: &MessageEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        Ok(())
    }

    /// A message of our own was sent, from the phone or through the gateway. Not every gateway tells.
    async fn sent(&self, event: &MessageEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        Ok(())
    }

    /// A message was edited or deleted: [`MessageEvent::action`] says which, [`MessageEvent::target`] the
    /// message.
    async fn change(&self, event: &MessageEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        Ok(())
    }

    /// The status of a sent message changed.
    async fn status(&self, event: &StatusEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        Ok(())
    }

    /// A session connected or disconnected.
    async fn connection(
        &self,
        event: &ConnectionEvent,
        delivery: &Delivery,
    ) -> Result<(), HandlerError> {
        Ok(())
    }

    /// A body of no known kind was received.
    async fn unknown(&self, event: &UnknownEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        Ok(())
    }

    /// A source is quiet, or has resumed. Only a handler that names `source.quiet` or `source.resumed`
    /// among its events receives this.
    async fn source(&self, event: &SourceEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        Ok(())
    }

    /// Receives every event and calls the method for its kind.
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        match event {
            Event::Message(event) => self.message(event, delivery).await,
            Event::Sent(event) => self.sent(event, delivery).await,
            Event::Change(event) => self.change(event, delivery).await,
            Event::Status(event) => self.status(event, delivery).await,
            Event::Connection(event) => self.connection(event, delivery).await,
            Event::Unknown(event) => self.unknown(event, delivery).await,
            Event::Source(event) => self.source(event, delivery).await,
        }
    }

    /// Receives the events of one delivery and calls [`handle`](EventHandler::handle) for each, in
    /// order. The first failure ends the attempt, and all of them come again.
    ///
    /// There is one event, except for a handler that [takes bodies](EventHandler::takes_bodies).
    async fn deliver(&self, events: &[&Event], delivery: &Delivery) -> Result<(), HandlerError> {
        for event in events {
            self.handle(event, delivery).await?;
        }
        Ok(())
    }

    /// Whether this handler works on whole bodies instead of single events, such as one that sends them
    /// on. Such a handler gets a body once, with all its events that the handler wants. Any other
    /// handler gets each event of a body separately. Default: `false`. Nearly every body holds one
    /// event.
    fn takes_bodies(&self) -> bool {
        false
    }

    /// Whether this handler looks into the events or the [content](Delivery::content) of a body. One that does
    /// not, such as one that sends the bytes on, gets events of a body with a `Content-Encoding` without
    /// their texts and other fields, so that nothing need be decoded for it. Default: `true`.
    fn reads_content(&self) -> bool {
        true
    }
}

/// A handler may be shared: keep one `Arc` to read its state, and register the other.
#[async_trait]
impl<H: EventHandler + ?Sized> EventHandler for Arc<H> {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        self.as_ref().handle(event, delivery).await
    }

    async fn deliver(&self, events: &[&Event], delivery: &Delivery) -> Result<(), HandlerError> {
        self.as_ref().deliver(events, delivery).await
    }

    fn takes_bodies(&self) -> bool {
        self.as_ref().takes_bodies()
    }

    fn reads_content(&self) -> bool {
        self.as_ref().reads_content()
    }
}

/// Why a handler did not do its work, and what should happen next.
///
/// With `?` any error becomes a retry. For another outcome, use [`HandlerError::retry_after`],
/// [`HandlerError::after`] or [`HandlerError::reject`].
///
/// ```
/// use offhook_handlers::HandlerError;
///
/// fn amount(text: &str) -> Result<u64, HandlerError> {
///     Ok(text.parse::<u64>()?)
/// }
///
/// assert!(!amount("many").unwrap_err().is_reject());
/// assert!(HandlerError::reject("no such customer").is_reject());
/// ```
///
/// Like `anyhow::Error`, it does not implement [`Error`] itself. This lets `?` convert every other
/// error.
#[derive(Debug)]
pub struct HandlerError {
    is_reject: bool,
    pause: Option<Duration>,
    answer: Option<Box<str>>,
    cause: Box<dyn Error + Send + Sync>,
}

impl HandlerError {
    /// Try again after the pause in the settings.
    pub fn retry(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            is_reject: false,
            pause: None,
            answer: None,
            cause: cause.into(),
        }
    }

    /// Try again after at least this pause.
    pub fn retry_after(pause: Duration) -> Self {
        Self::retry("the handler asked to be called later").after(pause)
    }

    /// Sets the minimum pause before the next attempt. A rejection stays a rejection.
    ///
    /// ```
    /// use std::time::Duration;
    /// use offhook_handlers::HandlerError;
    ///
    /// let error = HandlerError::retry("the shop is closed").after(Duration::from_secs(60));
    /// assert_eq!(error.pause(), Some(Duration::from_secs(60)));
    /// ```
    pub fn after(mut self, pause: Duration) -> Self {
        if !self.is_reject {
            self.pause = Some(pause);
        }
        self
    }

    /// Do not try again: the event becomes a dead letter with this reason.
    pub fn reject(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            is_reject: true,
            ..Self::retry(reason)
        }
    }

    /// Adds what the other side has answered. The event's timeline shows the first 512 characters; logs and
    /// dead letters do not, because an answer may repeat the event's content.
    ///
    /// ```
    /// use offhook_handlers::HandlerError;
    ///
    /// let error = HandlerError::retry("422 Unprocessable Content").answered("unknown customer");
    /// assert_eq!(error.answer(), Some("unknown customer"));
    /// assert_eq!(error.to_string(), "422 Unprocessable Content");
    /// ```
    pub fn answered(mut self, answer: impl Into<Box<str>>) -> Self {
        self.answer = Some(answer.into());
        self
    }

    /// What the other side has answered.
    pub fn answer(&self) -> Option<&str> {
        self.answer.as_deref()
    }

    /// Whether the event must not be tried again.
    pub fn is_reject(&self) -> bool {
        self.is_reject
    }

    /// The pause that the handler asked for.
    pub fn pause(&self) -> Option<Duration> {
        self.pause
    }
}

impl<E: Into<Box<dyn Error + Send + Sync>>> From<E> for HandlerError {
    fn from(cause: E) -> Self {
        Self::retry(cause)
    }
}

/// The error and its causes on one line.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.cause)?;
        let mut causes = iter::successors(self.cause.source(), |&cause| cause.source());
        causes.try_for_each(|cause| write!(f, ": {cause}"))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::{Received, UnknownReason};

    /// Fails at the event with this number.
    struct Counting {
        handled: AtomicUsize,
        fails_at: usize,
    }

    #[async_trait]
    impl EventHandler for Counting {
        async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
            if self.handled.fetch_add(1, Ordering::Relaxed) == self.fails_at {
                return Err("it is that one".into());
            }
            Ok(())
        }
    }

    /// Receives each body as one delivery.
    struct Whole(AtomicUsize);

    #[async_trait]
    impl EventHandler for Whole {
        async fn deliver(&self, events: &[&Event], _: &Delivery) -> Result<(), HandlerError> {
            self.0.fetch_add(events.len(), Ordering::Relaxed);
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_delivery_is_handled_up_to_a_failure() {
        let event = Event::Unknown(UnknownEvent::new(UnknownReason::NoName));
        let events = [&event; 3];
        let delivery = Delivery::new(Arc::new(Received::new("s", "{}")), 1, false);
        for (fails_at, handled) in [(9, 3), (1, 2)] {
            let counting = Arc::new(Counting {
                handled: AtomicUsize::new(0),
                fails_at,
            });
            let outcome = EventHandler::deliver(&counting, &events, &delivery).await;
            assert_eq!(outcome.is_ok(), fails_at >= 3);
            assert_eq!(counting.handled.load(Ordering::Relaxed), handled);
        }
        let whole = Arc::new(Whole(AtomicUsize::new(0)));
        let shared: Box<dyn EventHandler> = Box::new(Arc::clone(&whole));
        shared.deliver(&events, &delivery).await.unwrap();
        assert_eq!(whole.0.load(Ordering::Relaxed), 3);
    }
}
