//! [`TestEvent`]: an event in the gateway's documented shape.

use serde_json::{Map, Value};

use super::request::TestRequest;
use crate::signature::Secret;

/// An event in the gateway's documented shape.
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
}
