//! Turns an authenticated body into typed events.
//!
//! A [`Dialect`] describes how one family of gateways writes its events. It is a pure function of the
//! body and can neither fail nor refuse: an event without a known kind becomes an [`UnknownEvent`] with
//! the reason.
//!
//! The entry point is `read`: it decodes the `Content-Encoding`, checks for UTF-8, and calls the
//! dialect.

mod codeskytz;
mod content;
mod decoder;
mod object;
pub(crate) mod own;
mod plain;
mod raw;
mod value;

use std::fmt::Debug;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, Serializer};

use crate::{Event, UnknownEvent, UnknownReason};

pub use codeskytz::Codeskytz;
pub(crate) use decoder::Decoder;
pub use raw::Raw;

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

    /// The session that a body names: the same as in its events, found without building them.
    fn session(&self, body: &ByteString) -> Option<String> {
        let events = self.events(body);
        events
            .first()
            .and_then(|event| event.session_id().map(str::to_owned))
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

/// The content of a body.
#[derive(Debug)]
pub(crate) struct Reading {
    /// The body without its `Content-Encoding`, or unchanged if that cannot be decoded.
    pub(crate) content: Bytes,
    /// Its events, in order; at least one.
    pub(crate) events: Vec<Event>,
}

/// Reads a body with this `Content-Encoding`. Never decodes to more than `max_body` bytes.
pub(crate) fn read(
    dialect: &dyn Dialect,
    body: &Bytes,
    content_encoding: Option<&[u8]>,
    max_body: usize,
) -> Reading {
    let unknown = |content: &Bytes, reason| Reading {
        content: content.clone(),
        events: vec![Event::Unknown(UnknownEvent::new(reason))],
    };
    let content = match content::decode(body, content_encoding, max_body) {
        Ok(content) => content,
        Err(detail) => return unknown(body, UnknownReason::ContentEncoding(detail)),
    };
    match text(&content) {
        Ok(text) => match dialect.events(&text) {
            none if none.is_empty() => unknown(&content, UnknownReason::NoEvents),
            events => Reading { content, events },
        },
        Err(reason) => unknown(&content, reason),
    }
}

/// The session that a body names, before the body is known to be authentic. Decodes at most [`MAX_PEEK`]
/// times the received bytes: a body that expands further names no session.
pub(crate) fn session(
    dialect: &dyn Dialect,
    body: &Bytes,
    content_encoding: Option<&[u8]>,
    max_body: usize,
) -> Option<String> {
    let limit = body.len().saturating_mul(MAX_PEEK).max(MIN_PEEK);
    let content = content::decode(body, content_encoding, limit.min(max_body)).ok()?;
    dialect.session(&text(&content).ok()?)
}

/// JSON compresses to about a tenth.
const MAX_PEEK: usize = 32;
const MIN_PEEK: usize = 64 * 1024;

/// The content as text, without the byte order mark, which [RFC 8259] allows a reader to ignore.
///
/// [RFC 8259]: https://www.rfc-editor.org/rfc/rfc8259#section-8.1
fn text(content: &Bytes) -> Result<ByteString, UnknownReason> {
    let text = content.strip_prefix(b"\xef\xbb\xbf").unwrap_or(content);
    ByteString::try_from(content.slice_ref(text)).map_err(|error| {
        UnknownReason::NotJson(format!("no UTF-8 at byte {}", error.valid_up_to()))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dialects() -> [Box<dyn Dialect>; 2] {
        [
            Box::new(Codeskytz),
            Box::new(Raw::default().event("/event").session("/data/0/session")),
        ]
    }

    #[test]
    fn a_byte_order_mark_is_ignored_and_other_bytes_are_unknown() {
        let reading = |body: &'static [u8]| read(&Codeskytz, &Bytes::from_static(body), None, 100);
        let marked = reading(b"\xef\xbb\xbf{\"event\":\"status\"}");
        assert!(matches!(marked.events[..], [Event::Status(_)]));
        let events = reading(b"{\"event\":\"status\xff\"}").events;
        let [Event::Unknown(unknown)] = &events[..] else {
            panic!("{events:?}")
        };
        let reason = UnknownReason::NotJson("no UTF-8 at byte 16".into());
        assert_eq!(unknown.reason, reason);
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_dialect_panic_or_refuse(
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..200),
                "[\\[\\]{}\",:0-9a-z\\\\u ]{0,80}".prop_map(String::into_bytes),
            ],
            encoding in proptest::option::of(proptest::sample::select(vec!["gzip", "deflate", "br", ""])),
        ) {
            let body = Bytes::from(body);
            let encoding = encoding.map(str::as_bytes);
            for dialect in dialects() {
                let reading = read(dialect.as_ref(), &body, encoding, 1000);
                prop_assert!(!reading.events.is_empty());
                let session = session(dialect.as_ref(), &body, encoding, 1000);
                prop_assert_eq!(session.as_deref(), reading.events[0].session_id());
            }
        }

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
