//! [`Received`]: what one request contained.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use jiff::Timestamp;
use uuid::Uuid;

/// What one request contained: a body, which nearly always holds one event.
///
/// A test makes one with [`Received::new`] and changes the fields it needs.
#[derive(Clone)]
#[non_exhaustive]
pub struct Received {
    /// The body's id. [`EventId`](crate::EventId) is based on it.
    pub id: Uuid,
    /// The source's name.
    pub source: Arc<str>,
    /// The session of the body's first event.
    pub session: Option<String>,
    /// When the request was received.
    pub received_at: Timestamp,
    /// The headers that were kept, names in lower case.
    pub headers: Vec<(Cow<'static, str>, Bytes)>,
    /// The body as it was received.
    pub body: Bytes,
    /// The body with its `Content-Encoding` decoded.
    pub content: Bytes,
    /// Why the body is unusual, in words; `None` if it is not.
    pub odd: Option<Arc<str>>,
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
            odd: None,
        }
    }
}

/// Shows what identifies the body, and never the body or the headers.
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
