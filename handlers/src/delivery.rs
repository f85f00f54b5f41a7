//! [`Delivery`]: one handing-over of an event to a handler.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

use crate::EventId;

/// One handing-over of an event to one handler.
///
/// Delivery is at-least-once. [`Delivery::id`] is the same over all attempts and replays of an
/// event, so it is the key to make a handler idempotent with.
#[derive(Clone)]
pub struct Delivery {
    received: Arc<Received>,
    part: u16,
    /// The event's own session, where it is not the body's.
    session: Option<Arc<str>>,
    attempt: u32,
    replay: bool,
}

impl Delivery {
    /// The handing-over number `attempt` (from 1) of what was received.
    pub fn new(received: Arc<Received>, attempt: u32, replay: bool) -> Self {
        Self {
            received,
            part: 1,
            session: None,
            attempt,
            replay,
        }
    }

    /// The same for the event `part` (from 1) of the body, which belongs to this session.
    pub fn of_part(mut self, part: u16, session: Option<&str>) -> Self {
        self.part = part;
        self.session = session
            .filter(|_| session != self.received.session.as_deref())
            .map(Arc::from);
        self
    }

    /// The event's id: time-ordered, stable over attempts and replays.
    pub fn id(&self) -> EventId {
        EventId::new(self.received.id, self.part)
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Whether somebody asked for the event to be handed over again.
    pub fn is_replay(&self) -> bool {
        self.replay
    }

    /// The name of the source that sent it, as in the settings.
    pub fn source(&self) -> &str {
        &self.received.source
    }

    /// The session that the event belongs to: the path's where the path names one, else the event's own.
    pub fn session(&self) -> Option<&str> {
        self.session.as_deref().or(self.received.session.as_deref())
    }

    /// When the request was received.
    pub fn received_at(&self) -> Timestamp {
        self.received.received_at
    }

    /// The value of the request's header `name` (any case), where it was kept.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        let mut headers = self.received.headers.iter();
        headers
            .find(|(kept, _)| kept.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_ref())
    }

    /// The request's headers that were kept: what describes the body, and the sender's own.
    pub fn headers(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let headers = self.received.headers.iter();
        headers.map(|(name, value)| (name.as_ref(), value.as_ref()))
    }

    /// The body, byte for byte as it came on the wire and was signed.
    pub fn body(&self) -> &Bytes {
        &self.received.body
    }

    /// The body after its `Content-Encoding` is undone; the same as [`Delivery::body`] where there
    /// is none or where it cannot be undone.
    pub fn content(&self) -> &Bytes {
        &self.received.content
    }

    /// Everything that was received.
    pub fn received(&self) -> &Received {
        &self.received
    }
}

/// Shows what identifies the delivery; never the body or the headers.
impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("part", &self.part)
            .field("attempt", &self.attempt)
            .field("replay", &self.replay)
            .field("received", &self.received)
            .finish()
    }
}

/// What was received in one request: a body, which nearly always holds one event.
///
/// A test makes one with [`Received::new`] and changes what it needs.
#[derive(Clone)]
#[non_exhaustive]
pub struct Received {
    /// The body's id; [`EventId`] is made of it.
    pub id: Uuid,
    /// The source's name.
    pub source: Arc<str>,
    /// The session of its first event.
    pub session: Option<String>,
    /// When the request was received.
    pub received_at: Timestamp,
    /// The headers that were kept, names in lower case.
    pub headers: Vec<(Cow<'static, str>, Bytes)>,
    /// The body as it came on the wire.
    pub body: Bytes,
    /// The body after its `Content-Encoding` is undone.
    pub content: Bytes,
}

impl Received {
    /// A body from `source` without session and headers, received at the epoch.
    pub fn new(source: impl Into<Arc<str>>, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            id: Uuid::nil(),
            source: source.into(),
            session: None,
            received_at: Timestamp::UNIX_EPOCH,
            headers: Vec::new(),
            content: body.clone(),
            body,
        }
    }
}

/// Shows what identifies it; never the body or the headers.
impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Received")
            .field("id", &self.id)
            .field("source", &self.source)
            .field("session", &self.session)
            .field("received_at", &self.received_at)
            .field("bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
