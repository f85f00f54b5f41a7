//! [`UnknownEvent`]: a body of no known kind.

use std::fmt;

use crate::Extra;

/// A verified body of no known kind.
///
/// It is stored and handed over like any other event. Its bytes are in
/// [`Delivery::body`](crate::Delivery::body).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UnknownEvent {
    /// The event's name, if the body has one.
    pub name: Option<String>,
    /// The session, if the path or the body names one.
    pub session_id: Option<String>,
    /// Why it has no kind.
    pub reason: UnknownReason,
    /// All fields of the body, if it is a JSON object.
    pub extra: Extra,
}

impl UnknownEvent {
    /// An event without a name, a session or fields.
    pub fn new(reason: UnknownReason) -> Self {
        Self {
            name: None,
            session_id: None,
            reason,
            extra: Extra::default(),
        }
    }
}

/// Why a body has no kind.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UnknownReason {
    /// The `Content-Encoding` is unknown, damaged, or decodes to more than `max_body`.
    ContentEncoding(String),
    /// The body is not JSON. The text says where the error is.
    NotJson(String),
    /// The body is JSON, but not an object.
    NotAnObject,
    /// The event's name is not a text.
    NameNotText,
    /// The event has a name that this dialect does not know.
    UnknownName,
    /// The event has no name, and its fields do not show its kind.
    NoName,
    /// The dialect found no event in the body.
    NoEvents,
}

impl fmt::Display for UnknownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ContentEncoding(detail) => write!(f, "content encoding: {detail}"),
            Self::NotJson(detail) => write!(f, "not JSON: {detail}"),
            Self::NotAnObject => f.write_str("not a JSON object"),
            Self::NameNotText => f.write_str("the event's name is not a text"),
            Self::UnknownName => f.write_str("an event name that the dialect does not know"),
            Self::NoName => f.write_str("no event name, and no fields that tell the kind"),
            Self::NoEvents => f.write_str("the dialect found no event in it"),
        }
    }
}
