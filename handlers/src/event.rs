//! [`Event`]: an event of a gateway, typed, or one that offhook makes about a source; [`Extra`]: the fields
//! of a body that have no typed field.

use std::fmt;
use std::str::FromStr;

use bytestring::ByteString;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};

use crate::{ConnectionEvent, MessageEvent, SourceEvent, StatusEvent, UnknownEvent};

/// One event of a gateway, or about it.
///
/// Only the event's name decides its kind, or its fields if the body has no name. A field of the wrong
/// type never changes the kind: that field is `None`, and its JSON text stays in [`Event::extra`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A message was received: somebody else wrote it.
    Message(MessageEvent),
    /// A message of our own was sent: from the phone, or through the gateway.
    Sent(MessageEvent),
    /// A message was edited or deleted.
    Change(MessageEvent),
    /// The status of a sent message changed.
    Status(StatusEvent),
    /// A session connected, disconnected, or is about to.
    Connection(ConnectionEvent),
    /// A body of no known kind. Its bytes are in [`Delivery::body`](crate::Delivery::body).
    Unknown(UnknownEvent),
    /// A source is quiet, or has resumed. offhook makes this event itself; senders cannot.
    Source(SourceEvent),
}

impl Event {
    /// The event's kind.
    pub fn kind(&self) -> EventKind {
        match self {
            Self::Message(_) => EventKind::Message,
            Self::Sent(_) => EventKind::Sent,
            Self::Change(_) => EventKind::Change,
            Self::Status(_) => EventKind::Status,
            Self::Connection(_) => EventKind::Connection,
            Self::Unknown(_) => EventKind::Unknown,
            Self::Source(event) => event.change.kind(),
        }
    }

    /// The event's name in the body; `None` if there is none.
    pub fn name(&self) -> Option<&str> {
        self.parts().0
    }

    /// The session the event belongs to; an empty name is none.
    pub fn session_id(&self) -> Option<&str> {
        self.parts().1.filter(|session| !session.is_empty())
    }

    /// The fields that have no typed field, and those whose value could not be read.
    pub fn extra(&self) -> &Extra {
        self.parts().2
    }

    /// What every event has: a name, a session, other fields.
    fn parts(&self) -> (Option<&str>, Option<&str>, &Extra) {
        let (name, session, extra) = match self {
            Self::Message(event) | Self::Sent(event) | Self::Change(event) => {
                (&event.name, &event.session_id, &event.extra)
            }
            Self::Status(event) => (&event.name, &event.session_id, &event.extra),
            Self::Connection(event) => (&event.name, &event.session_id, &event.extra),
            Self::Unknown(event) => (&event.name, &event.session_id, &event.extra),
            Self::Source(event) => {
                let name = Some(event.change.as_str());
                return (name, event.session_id.as_deref(), &NO_EXTRA);
            }
        };
        (name.as_deref(), session.as_deref(), extra)
    }

    /// The message, if it is one: received, sent or changed.
    ///
    /// ```
    /// use offhook_handlers::{Event, MessageEvent};
    ///
    /// assert!(Event::Sent(MessageEvent::default()).as_message().is_some());
    /// ```
    pub fn as_message(&self) -> Option<&MessageEvent> {
        match self {
            Self::Message(event) | Self::Sent(event) | Self::Change(event) => Some(event),
            _ => None,
        }
    }

    /// Sets the event's session, whatever the body says.
    pub fn set_session_id(&mut self, session: &str) {
        let field = match self {
            Self::Message(event) | Self::Sent(event) | Self::Change(event) => &mut event.session_id,
            Self::Status(event) => &mut event.session_id,
            Self::Connection(event) => &mut event.session_id,
            Self::Unknown(event) => &mut event.session_id,
            Self::Source(event) => &mut event.session_id,
        };
        *field = Some(session.to_owned());
    }

    /// Sets the event's name, whatever the body says. The name of an event that offhook makes stays.
    pub fn set_name(&mut self, name: &str) {
        let field = match self {
            Self::Message(event) | Self::Sent(event) | Self::Change(event) => &mut event.name,
            Self::Status(event) => &mut event.name,
            Self::Connection(event) => &mut event.name,
            Self::Unknown(event) => &mut event.name,
            Self::Source(_) => return,
        };
        *field = Some(name.to_owned());
    }

    /// The fields that have no typed field, to add to them.
    pub fn extra_mut(&mut self) -> Option<&mut Extra> {
        match self {
            Self::Message(event) | Self::Sent(event) | Self::Change(event) => {
                Some(&mut event.extra)
            }
            Self::Status(event) => Some(&mut event.extra),
            Self::Connection(event) => Some(&mut event.extra),
            Self::Unknown(event) => Some(&mut event.extra),
            Self::Source(_) => None,
        }
    }
}

static NO_EXTRA: Extra = Extra::new();

/// The kinds of [`Event`], as named in settings and interfaces.
///
/// ```
/// use offhook_handlers::EventKind;
///
/// assert_eq!("status".parse(), Ok(EventKind::Status));
/// assert_eq!(EventKind::Message.to_string(), "message");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum EventKind {
    /// `message`: somebody else wrote it.
    Message,
    /// `sent`: one of our own.
    Sent,
    /// `change`: an edit or a deletion.
    Change,
    /// `status`
    Status,
    /// `connection`
    Connection,
    /// `unknown`
    Unknown,
    /// `source.quiet`
    SourceQuiet,
    /// `source.resumed`
    SourceResumed,
}

impl EventKind {
    /// Every kind, in the order shown to users.
    pub const ALL: [Self; 8] = [
        Self::Message,
        Self::Sent,
        Self::Change,
        Self::Status,
        Self::Connection,
        Self::Unknown,
        Self::SourceQuiet,
        Self::SourceResumed,
    ];

    /// The kinds that senders send. A handler without a list of kinds receives these.
    pub const RECEIVED: [Self; 6] = [
        Self::Message,
        Self::Sent,
        Self::Change,
        Self::Status,
        Self::Connection,
        Self::Unknown,
    ];

    /// Whether offhook makes events of this kind itself. Only handlers that name the kind receive them.
    pub fn is_own(self) -> bool {
        matches!(self, Self::SourceQuiet | Self::SourceResumed)
    }

    /// The name in settings, metrics and interfaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Sent => "sent",
            Self::Change => "change",
            Self::Status => "status",
            Self::Connection => "connection",
            Self::Unknown => "unknown",
            Self::SourceQuiet => "source.quiet",
            Self::SourceResumed => "source.resumed",
        }
    }
}

/// Writes the name.
impl Serialize for EventKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = ParseEventKindError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let mut kinds = Self::ALL.into_iter();
        let named = kinds.find(|kind| kind.as_str() == name);
        named.ok_or(ParseEventKindError)
    }
}

/// The text is not an event kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an event kind; there are {}", EventKind::ALL.map(EventKind::as_str).join(", "))]
#[non_exhaustive]
pub struct ParseEventKindError;

/// Fields kept as raw JSON text, in the order the body has them.
/// It holds fields that offhook has no name for, and fields whose value has another type than expected
/// (the typed field is then `None`). Values share the body's memory, so nothing is copied, however large
/// they are. If a body repeats a key, the last one counts, as in the parsers of JavaScript and Python.
///
/// ```
/// use offhook_handlers::Extra;
///
/// let mut extra = Extra::default();
/// extra.push("isGroup", "true".into());
/// extra.push("mentions", r#"["+19999999999"]"#.into());
///
/// assert_eq!(extra.get("isGroup"), Some("true"));
/// assert_eq!(extra.parse::<Vec<String>>("mentions").unwrap().unwrap(), ["+19999999999"]);
/// assert!(extra.parse::<u64>("absent").is_none());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extra {
    fields: Vec<(String, ByteString)>,
}

impl Extra {
    /// No fields.
    pub const fn new() -> Self {
        Self { fields: Vec::new() }
    }

    /// The JSON text of the field `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let last = self.fields.iter().rev().find(|(key, _)| key == name);
        last.map(|(_, value)| value.as_ref())
    }

    /// The field `name`, parsed as a `T`; `None` if the body has no such field.
    ///
    /// # Errors
    ///
    /// `Some(Err(_))` when the field's JSON is not a `T`.
    pub fn parse<T: DeserializeOwned>(&self, name: &str) -> Option<serde_json::Result<T>> {
        self.get(name).map(serde_json::from_str)
    }

    /// All fields, as name and JSON text.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.fields
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_ref()))
    }

    /// The number of fields. Repeated keys are counted each time.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are no fields.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Adds a field; `json` is its JSON text.
    pub fn push(&mut self, name: impl Into<String>, json: ByteString) {
        self.fields.push((name.into(), json));
    }
}
