//! Turns an authenticated body into typed events.
//!
//! A [`Dialect`] describes how one family of gateways writes its events. It is a pure function of the
//! body and can neither fail nor refuse: an event without a known kind becomes an [`UnknownEvent`] with
//! the reason.
//!
//! The entry point is `BodyReader`: it decodes the `Content-Encoding` (`encoding.rs`), checks for UTF-8,
//! calls the dialect, and cuts names that are too long (`name.rs`). A dialect that panics makes the body an
//! [`UnknownEvent`]. Only the typed events need that: a body is stored, verified and relayed as received.
//! `content.rs` says when two events say the same; `pieces.rs` hashes that.
//!
//! Each dialect is a file. Those of gateways read their fields with `Picked` and give their events to a
//! `Collector`, which keeps the limits; `docs/receiving.md` says what becomes what.

mod codeskytz;
mod collector;
mod content;
mod decoder;
mod encoding;
mod evolution;
mod form;
mod gowa;
mod hiding;
mod meta;
mod name;
mod object;
mod outline;
mod picked;
mod pieces;
mod raw;
mod reader;
mod telegram;
mod waha;
mod whatsapp;

use std::borrow::Cow;
use std::fmt::Debug;

use bytes::Bytes;
use bytestring::ByteString;
use serde::{Serialize, Serializer};

use crate::Event;
#[cfg(doc)]
use crate::UnknownEvent;

pub use codeskytz::Codeskytz;
#[doc(hidden)]
pub use content::ContentHash;
pub use content::ContentHasher;
#[cfg(test)]
pub(crate) use decoder::OWN_MARK;
pub(crate) use decoder::{Decoder, enclose_own, read_own, remove_own_mark};
pub use evolution::Evolution;
pub use gowa::Gowa;
pub(crate) use hiding::hide_credentials;
pub use meta::Meta;
pub(crate) use name::cut;
pub(crate) use outline::outline;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) use outline::{read_outline, write_outline};
pub(crate) use pieces::Pieces;
pub use raw::Raw;
pub(crate) use reader::{BodyReader, EventIds, Hints, Odd, Reading};
pub use telegram::Telegram;
pub use waha::Waha;

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

    /// Where a body has the list of its events, if each of them may have an id of its own.
    #[doc(hidden)]
    fn events_pointer(&self) -> Option<&str> {
        None
    }

    /// The fields of a body that hold a credential. What shows a body hides their values.
    #[doc(hidden)]
    fn secret_fields(&self) -> &'static [&'static str] {
        &[]
    }

    /// The events in a body, and of each the hash of its content, for a dialect that need not read the body
    /// twice for that.
    #[doc(hidden)]
    fn with_contents(&self, body: &ByteString) -> (Vec<Event>, Vec<Option<ContentHash>>) {
        let hashed = |index| {
            let mut hasher = ContentHasher::default();
            self.content(body, index, &mut hasher)
                .then(|| hasher.finish())
        };
        let events = self.events(body);
        let contents = (0..events.len()).map(hashed).collect();
        (events, contents)
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

/// Gives an event the session that was decided. What the body says stays in its other fields.
pub(crate) fn set_session(event: &mut Event, session: &str) {
    match event.session_id() {
        Some(named) if named == session => return,
        Some(named) => {
            let said = serde_json::Value::from(named).to_string();
            if let Some(extra) = event.extra_mut() {
                extra.push("sessionId", said.into());
            }
        }
        None => {}
    }
    event.set_session_id(session);
}

/// How many fields without a meaning a typed event holds at most. The bytes contain all of them.
const MAX_EXTRA: usize = 4096;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_name_alone_decides_the_kind(
            name in "message|status|connection|sent|change|source\\.(quiet|resumed)|[a-z.]{0,9}",
            values in proptest::collection::vec("(null|true|3|\"x\"|\\[1\\]|\\{\"a\":1\\})", 5),
        ) {
            let keys = ["sessionId", "messageId", "from", "status", "timestamp"];
            let fields = keys.iter().zip(&values).map(|(key, value)| format!(",\"{key}\":{value}"));
            let body = format!("{{\"event\":{name:?}{}}}", fields.collect::<String>());
            let events = Codeskytz.events(&body.into());
            let kind = match &*name {
                "message" => crate::EventKind::Message,
                "status" => crate::EventKind::Status,
                "connection" => crate::EventKind::Connection,
                _ => crate::EventKind::Unknown,
            };
            prop_assert_eq!(events[0].kind(), kind);
            prop_assert_eq!(events[0].name(), Some(&*name));
        }
    }
}
