//! Turns an authenticated body into typed events.
//!
//! A [`Dialect`] describes how one family of gateways writes its events. It is a pure function of the
//! body and can neither fail nor refuse: an event without a known kind becomes an [`UnknownEvent`] with
//! the reason.
//!
//! The entry point is `BodyReader`: it decodes the `Content-Encoding` (`encoding.rs`), checks for UTF-8,
//! calls the dialect, and cuts names that are too long (`name.rs`). A dialect that panics makes the body an
//! [`UnknownEvent`]. Only the typed events need that: a body is stored, verified and relayed as received.
//! `content.rs` says when two events say the same.

mod codeskytz;
mod content;
mod encoding;
mod name;
mod object;
mod outline;
mod raw;
mod reader;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::Arc;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, Serializer};

#[cfg(doc)]
use crate::UnknownEvent;
use crate::{Event, Received, SourceEvent, UnknownReason};

pub use codeskytz::Codeskytz;
pub use content::ContentHasher;
pub(crate) use name::cut;
pub(crate) use outline::{outline, read_outline, write_outline};
pub use raw::Raw;
use reader::unknown;
pub(crate) use reader::{BodyReader, Hints, Odd, Reading};

/// How one family of gateways writes its events.
///
/// ```
/// use offhook::dialect::{Codeskytz, Dialect};
/// use offhook::Event;
///
/// let body = r#"{"event":"message","from":"+1234567890","message":"Hello!","new":true}"#;
/// let events = Codeskytz.events(&body.into());
/// let Event::Message(message) = &events[0] else { panic!() };
/// assert_eq!(message.from(), "+1234567890");
/// assert_eq!(message.extra.get("new"), Some("true"));
/// ```
pub trait Dialect: Debug + Send + Sync + 'static {
    /// The dialect's name in the settings.
    fn name(&self) -> &'static str;

    /// What distinguishes it from another dialect of the same name: its settings and their values. They
    /// are compared and displayed, so they hold no secret. Default: none.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// The events in a body, in order; at least one.
    fn events(&self, body: &ByteString) -> Vec<Event>;

    /// Gives what the event with this index says to `hasher`, and returns `true`. Two events of a session,
    /// of the same kind and with the same message id, are duplicates only if they say the same: everything
    /// but what the sender changes when it sends the same event once more.
    ///
    /// Default: returns `false`, and the bytes of the body are compared.
    fn content(&self, body: &ByteString, event: usize, hasher: &mut ContentHasher) -> bool {
        let _ = (body, event, hasher);
        false
    }
}

/// Dialects are equal when their names and parameters are.
impl PartialEq for dyn Dialect {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.parameters() == other.parameters()
    }
}

/// The name, then each parameter.
impl Serialize for dyn Dialect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.name(), self.parameters()).serialize(serializer)
    }
}

/// The `Content-Encoding` among stored headers.
pub(crate) fn content_encoding<'a>(headers: &'a [(Cow<'_, str>, Bytes)]) -> Option<&'a [u8]> {
    let mut headers = headers.iter();
    let named = headers.find(|(name, _)| name == "content-encoding");
    named.map(|(_, value)| value.as_ref())
}

/// Knows the dialect of each source. The events of a source that is no longer configured are read as
/// [`Raw`]; the events that offhook itself created need no dialect.
#[derive(Debug)]
pub(crate) struct Decoder {
    by_source: HashMap<String, BodyReader>,
    /// For the other sources.
    raw: BodyReader,
}

impl Decoder {
    /// `readers` holds the name of each source, and how its bodies are read. Nothing is decoded to more than
    /// `max_body` bytes.
    pub(crate) fn new(
        readers: impl IntoIterator<Item = (String, BodyReader)>,
        max_body: usize,
    ) -> Self {
        Self {
            by_source: readers.into_iter().collect(),
            raw: BodyReader::new(Arc::new(Raw::default()), Hints::default(), max_body),
        }
    }

    /// How the bodies of a source are read.
    pub(crate) fn reader(&self, source: &str) -> &BodyReader {
        self.by_source.get(source).unwrap_or(&self.raw)
    }

    /// Whether a body is to be decoded for its events.
    pub(crate) fn is_encoded(&self, received: &Received) -> bool {
        content_encoding(&received.headers).is_some() && !is_own(received)
    }

    /// Returns what was received with its content decoded, and its events with the sessions that the
    /// body names.
    pub(crate) fn decode(&self, received: &Arc<Received>) -> (Arc<Received>, Vec<Event>) {
        if let Some(own) = read_own(received) {
            let event = own.map_or_else(
                |error| unknown(UnknownReason::NotJson(error.to_string())),
                Event::Source,
            );
            return (Arc::clone(received), vec![event]);
        }
        let reader = self.reader(&received.source);
        let reading = reader.read(&received.body, &received.headers);
        let mut decoded = Received::clone(received);
        decoded.content = reading.content;
        (Arc::new(decoded), reading.events)
    }
}

/// Encodes an event that offhook itself creates as what a journal stores; the caller assigns its id.
///
/// Such an event goes through the journal like a received one. A header whose name HTTP does not allow
/// marks it, so that no request can forge it.
pub(crate) fn enclose_own(event: &SourceEvent) -> Received {
    let mut received = Received::new(event.source.as_str(), event.to_json());
    received.session.clone_from(&event.session_id);
    received.received_at = event.timestamp;
    let content_type = Bytes::from_static(b"application/json");
    received.headers = vec![
        (OWN_MARK.into(), Bytes::from_static(b"source")),
        ("content-type".into(), content_type),
    ];
    received
}

/// Reads an event that offhook itself created; `None` if `received` came from a sender.
///
/// `Some(Err(_))` if another version of offhook wrote it in an unknown form.
pub(crate) fn read_own(received: &Received) -> Option<Result<SourceEvent, serde_json::Error>> {
    // The mark is always the first header, so the others need no check.
    is_own(received).then(|| SourceEvent::from_json(&received.body))
}

/// Whether offhook itself created the event.
fn is_own(received: &Received) -> bool {
    { received.headers.first() }.is_some_and(|(name, _)| name == OWN_MARK)
}

/// Removes a mark that came from a sender: bodies that were verified without HTTP may have any header.
pub(crate) fn remove_own_mark(received: &mut Received) {
    received.headers.retain(|(name, _)| name != OWN_MARK);
}

/// A header name that HTTP does not allow.
pub(crate) const OWN_MARK: &str = ":offhook";

/// How many fields without a meaning a typed event holds at most. The bytes contain all of them.
const MAX_EXTRA: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::SourceChange;

    #[test]
    fn own_events_are_known_by_their_mark() {
        let said = SourceEvent::new(SourceChange::Quiet, "gone", Duration::from_secs(60));
        let mut received = enclose_own(&said);
        let known = || {
            [(
                "gone".to_owned(),
                BodyReader::new(Arc::new(Codeskytz), Hints::default(), 1024),
            )]
        };
        let events =
            |decoder: &Decoder, received: &Received| decoder.decode(&Arc::new(received.clone())).1;
        for decoder in [Decoder::new(known(), 1024), Decoder::new([], 1024)] {
            assert_eq!(*events(&decoder, &received), [Event::Source(said.clone())]);
        }
        let decoder = Decoder::new(known(), 1024);
        received.body = "{}".into();
        let other = events(&decoder, &received);
        assert!(matches!(other[..], [Event::Unknown(_)]), "{other:?}");
        let mut sent = enclose_own(&said);
        remove_own_mark(&mut sent);
        let sent = events(&decoder, &sent);
        assert!(matches!(sent[..], [Event::Unknown(_)]), "{sent:?}");
    }

    proptest! {
        #[test]
        fn the_name_alone_decides_the_kind(
            name in "message|status|connection|source\\.(quiet|resumed)|[a-z.]{0,9}",
            values in proptest::collection::vec("(null|true|3|\"x\"|\\[1\\]|\\{\"a\":1\\})", 5),
        ) {
            let keys = ["sessionId", "messageId", "from", "status", "timestamp"];
            let fields = keys.iter().zip(&values).map(|(key, value)| format!(",\"{key}\":{value}"));
            let body = format!("{{\"event\":{name:?}{}}}", fields.collect::<String>());
            let events = Codeskytz.events(&body.into());
            let kind: Option<crate::EventKind> = name.parse().ok();
            let kind = kind.filter(|kind| !kind.is_own()).unwrap_or(crate::EventKind::Unknown);
            prop_assert_eq!(events[0].kind(), kind);
            prop_assert_eq!(events[0].name(), Some(&*name));
        }
    }
}
