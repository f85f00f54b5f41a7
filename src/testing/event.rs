//! [`TestEvent`]: an event in the gateway's documented shape.

use std::sync::Arc;

use serde_json::{Map, Value};
use uuid::Uuid;

use super::request::TestRequest;
use crate::dialect::{Codeskytz, Dialect as _};
use crate::signature::Secret;
use crate::{
    ConnectionEvent, Delivery, Event, EventHandler, HandlerError, MessageEvent, Received,
    StatusEvent,
};

/// An event in the gateway's documented shape, to send to a server or to hand to a handler.
///
/// ```
/// use offhook::testing::TestEvent;
///
/// let event = TestEvent::message("+1234567890", "Hello!").session("408f").id("ABC");
/// assert_eq!(event.typed_message().from(), "+1234567890");
/// assert_eq!(event.delivery().session(), Some("408f"));
///
/// let read = TestEvent::from_json(r#"{"event":"status","messageId":"ABC","status":"read"}"#);
/// assert_eq!(read.typed_status().message_id(), "ABC");
/// ```
#[derive(Debug, Clone)]
pub struct TestEvent(Map<String, Value>);

impl TestEvent {
    /// Makes a text message.
    pub fn message(from: &str, text: &str) -> Self {
        Self::named("message")
            .field("from", from)
            .field("message", text)
            .field("type", "text")
    }

    /// Makes a status change of a sent message.
    pub fn status(message_id: &str, status: &str) -> Self {
        Self::named("status")
            .field("messageId", message_id)
            .field("status", status)
    }

    /// Makes a connection change of a session.
    pub fn connection(status: &str) -> Self {
        Self::named("connection").field("status", status)
    }

    /// Reads an event from JSON.
    ///
    /// # Panics
    ///
    /// When the text is not a JSON object.
    #[allow(clippy::panic)] // a test wants to fail here
    pub fn from_json(text: &str) -> Self {
        match serde_json::from_str(text) {
            Ok(fields) => Self(fields),
            Err(error) => panic!("not a JSON object: {error}: {text}"),
        }
    }

    /// Makes an event with any name.
    pub fn named(event: &str) -> Self {
        Self(Map::new()).field("event", event)
    }

    /// Sets the session.
    pub fn session(self, id: &str) -> Self {
        self.field("sessionId", id)
    }

    /// Sets the message's id.
    pub fn id(self, id: &str) -> Self {
        self.field("messageId", id)
    }

    /// Sets any field.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.0.insert(name.to_owned(), value.into());
        self
    }

    /// The body as JSON.
    pub fn body(&self) -> String {
        Value::Object(self.0.clone()).to_string()
    }

    /// Makes a request with this event, signed as [`XWebhookSignature`](crate::signature::XWebhookSignature) expects.
    pub fn sign(&self, secret: &Secret) -> TestRequest {
        TestRequest::signed(self.body(), secret)
    }

    /// The event as a handler gets it, read by the dialect [`Codeskytz`].
    pub fn typed(&self) -> Event {
        let events = Codeskytz.events(&self.body().into());
        events
            .into_iter()
            .next()
            .expect("the dialect finds one event in each body")
    }

    /// The event as [`EventHandler::message`] gets it.
    ///
    /// # Panics
    ///
    /// When it is not a message.
    #[allow(clippy::panic)] // a test wants to fail here
    pub fn typed_message(&self) -> MessageEvent {
        match self.typed() {
            Event::Message(event) => event,
            other => panic!("this is not a message but {other:?}"),
        }
    }

    /// The event as [`EventHandler::status`] gets it.
    ///
    /// # Panics
    ///
    /// When it is not a status.
    #[allow(clippy::panic)] // a test wants to fail here
    pub fn typed_status(&self) -> StatusEvent {
        match self.typed() {
            Event::Status(event) => event,
            other => panic!("this is not a status but {other:?}"),
        }
    }

    /// The event as [`EventHandler::connection`] gets it.
    ///
    /// # Panics
    ///
    /// When it is not a connection event.
    #[allow(clippy::panic)] // a test wants to fail here
    pub fn typed_connection(&self) -> ConnectionEvent {
        match self.typed() {
            Event::Connection(event) => event,
            other => panic!("this is not a connection event but {other:?}"),
        }
    }

    /// What a request with this event contains: a new id, the source `test`, the event's session, received at
    /// the epoch. A test can change each field, for [`Delivery::new`].
    pub fn received(&self) -> Received {
        let mut received = Received::new("test", self.body());
        received.id = Uuid::now_v7();
        received.session = self.typed().session_id().map(str::to_owned);
        received
    }

    /// The first attempt to hand over a new event.
    pub fn delivery(&self) -> Delivery {
        Delivery::new(Arc::new(self.received()), 1, false)
    }

    /// Hands the event to a handler, as the first attempt. Returns what the handler returns.
    ///
    /// # Errors
    ///
    /// Those of the handler.
    pub async fn hand_to(&self, handler: &impl EventHandler) -> Result<(), HandlerError> {
        let (event, delivery) = (self.typed(), self.delivery());
        handler.deliver(&[&event], &delivery).await
    }
}
