//! [`Delivery`]: one attempt to hand an event to a handler.

use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;

use crate::{EventId, Received};

/// One attempt to hand an event to one handler.
///
/// Delivery is at-least-once. [`Delivery::id`] is the same for all attempts and replays of an event, so
/// a handler can use it as its idempotency key.
#[derive(Debug, Clone)]
pub struct Delivery {
    received: Arc<Received>,
    part: u16,
    /// The event's session, if it differs from the body's.
    session: Option<Arc<str>>,
    /// Which events of the body are meant, if not all of them.
    parts: Option<Arc<[u16]>>,
    attempt: u32,
    replay: bool,
}

impl Delivery {
    /// Attempt number `attempt` (from 1) for a received body.
    pub fn new(received: Arc<Received>, attempt: u32, replay: bool) -> Self {
        Self {
            received,
            part: 1,
            session: None,
            parts: None,
            attempt,
            replay,
        }
    }

    /// Sets which event of the body this is (`part`, from 1), and its session.
    pub fn of_part(mut self, part: u16, session: Option<&str>) -> Self {
        self.part = part;
        self.session = session
            .filter(|_| session != self.received.session.as_deref())
            .map(Arc::from);
        self
    }

    /// Sets which events of the body are meant, from 1, for a handler that [takes
    /// bodies](crate::EventHandler::takes_bodies), where those are not all.
    pub fn of_parts(mut self, parts: impl IntoIterator<Item = u16>) -> Self {
        self.parts = Some(parts.into_iter().collect());
        self
    }

    /// Which events of the body are meant, from 1; `None` if all are. Only a handler that [takes
    /// bodies](crate::EventHandler::takes_bodies) needs to know.
    pub fn parts(&self) -> Option<&[u16]> {
        self.parts.as_deref()
    }

    /// The event's id: ordered by time, the same for all attempts and replays.
    pub fn id(&self) -> EventId {
        EventId::new(self.received.id, self.part)
    }

    /// The number of this attempt, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether this delivery was requested as a replay.
    pub fn is_replay(&self) -> bool {
        self.replay
    }

    /// The name of the event's source, as in the settings.
    pub fn source(&self) -> &str {
        &self.received.source
    }

    /// The event's session: that of the path if the path names one, otherwise that of the event.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref().or(self.received.session.as_deref())
    }

    /// When the request was received.
    pub fn received_at(&self) -> Timestamp {
        self.received.received_at
    }

    /// The value of the request's header `name` (in any case), if it was kept.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.headers();
        let found = headers.find(|(kept, _)| kept.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }

    /// The request's headers that were kept: those that describe the body, and the sender's own.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.received.headers.iter();
        headers.map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The body, byte for byte as it was received and signed.
    pub fn body(&self) -> &Bytes {
        &self.received.body
    }

    /// The decoded body. The same as [`Delivery::body`] if there is no `Content-Encoding` or it cannot
    /// be decoded.
    pub fn content(&self) -> &Bytes {
        &self.received.content
    }

    /// Everything that was received.
    pub fn received(&self) -> &Received {
        &self.received
    }
}
