//! [`Raw`]: no typed events; name and session by JSON pointer.

use std::borrow::Cow;
use std::fmt;

use bytestring::ByteString;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Dialect, MAX_EXTRA, object};
use crate::{Event, Extra, UnknownEvent, UnknownReason};

/// The dialect for senders that are not messaging gateways: every event is an [`UnknownEvent`].
///
/// The event's name and the session can be read from the body by JSON pointer ([RFC
/// 6901](https://www.rfc-editor.org/rfc/rfc6901)); if the pointer finds nothing, or no string, there is
/// none.
///
/// ```
/// use offhook::dialect::{Dialect, Raw};
///
/// let dialect = Raw::default().event("/action").session("/installation/0");
/// let events = dialect.events(&r#"{"action":"opened","installation":["42"]}"#.into());
/// assert_eq!(events[0].name(), Some("opened"));
/// assert_eq!(events[0].session_id(), Some("42"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Raw {
    pub(crate) event_pointer: Option<String>,
    pub(crate) session_pointer: Option<String>,
}

impl Raw {
    /// Reads the event's name at `pointer`.
    pub fn event(mut self, pointer: impl Into<String>) -> Self {
        self.event_pointer = Some(pointer.into());
        self
    }

    /// Reads the session at `pointer`.
    pub fn session(mut self, pointer: impl Into<String>) -> Self {
        self.session_pointer = Some(pointer.into());
        self
    }
}

impl Dialect for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let text = |pointer: &Option<String>| pointer.clone().unwrap_or_default();
        vec![
            ("event_pointer", text(&self.event_pointer)),
            ("session_pointer", text(&self.session_pointer)),
        ]
    }

    fn events(&self, body: &ByteString) -> Vec<Event> {
        let mut extra = Extra::default();
        let read = object::for_each_field(body, |key, json| {
            if extra.len() < MAX_EXTRA {
                extra.push(key.decoded(), body.slice_ref(json));
            }
        });
        let mut event = UnknownEvent::new(UnknownReason::UnknownName);
        // The pointer may find a name in an array as well as in an object; in text that is not JSON it
        // finds nothing.
        if !matches!(read, Err(UnknownReason::NotJson(_))) {
            event.name = lookup(body, self.event_pointer.as_deref());
            event.session_id = lookup(body, self.session_pointer.as_deref());
        }
        match read {
            Err(reason) => event.reason = reason,
            Ok(()) => {
                if event.name.is_none() {
                    event.reason = UnknownReason::NoName;
                }
                event.extra = extra;
            }
        }
        vec![Event::Unknown(event)]
    }
}

/// The string at `pointer`.
fn lookup(body: &str, pointer: Option<&str>) -> Option<String> {
    object::string(value(body, pointer?)?).map(Cow::into_owned)
}

/// The string at `pointer` with its escapes undone, or the text of a number.
pub(super) fn lookup_scalar(body: &str, pointer: &str) -> Option<Vec<u8>> {
    // In text that is not JSON a pointer finds nothing.
    serde_json::from_str::<IgnoredAny>(body).ok()?;
    let json = value(body, pointer)?;
    match json.as_bytes().first()? {
        b'"' => object::text(json).map(|text| text.bytes().to_vec()),
        b'-' | b'0'..=b'9' => Some(json.as_bytes().to_vec()),
        _ => None,
    }
}

/// The JSON text at `pointer`.
fn value<'a>(body: &'a str, pointer: &str) -> Option<&'a str> {
    let mut json = body.trim();
    if !pointer.is_empty() {
        for token in pointer.strip_prefix('/')?.split('/') {
            json = step(json, &token.replace("~1", "/").replace("~0", "~"))?;
        }
    }
    Some(json)
}

/// The value at a key of an object, or at an index of an array.
fn step<'a>(json: &'a str, token: &str) -> Option<&'a str> {
    if json.starts_with('[') {
        let index = token.parse().ok()?;
        let mut deserializer = serde_json::Deserializer::from_str(json);
        return deserializer.deserialize_seq(Item(index)).ok()?;
    }
    let mut found = None;
    object::for_each_field(json, |key, value| {
        if key.decoded() == token {
            found = Some(value);
        }
    })
    .ok()?;
    found
}

/// Selects one item of an array without storing the others.
struct Item(usize);

impl<'de> Visitor<'de> for Item {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        let mut index = 0;
        while let Some(item) = items.next_element::<&RawValue>()? {
            if index == self.0 {
                found = Some(item.get());
            }
            index += 1;
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers() {
        let body = r#"{"a":{"b/c":[{"d~":"deep"}],"n":3},"":"empty key","a2":"x"}"#;
        let table = [
            ("/a/b~1c/0/d~0", Some("deep")),
            ("/", Some("empty key")),
            ("/a2", Some("x")),
            ("/a/n", None),
            ("/a/b~1c/1", None),
            ("/a/b~1c/x", None),
            ("/nothing/there", None),
            ("/a2/x", None),
            ("a2", None),
            ("", None),
        ];
        for (pointer, text) in table {
            assert_eq!(lookup(body, Some(pointer)).as_deref(), text, "{pointer}");
        }
        assert_eq!(lookup(r#" "whole" "#, Some("")).as_deref(), Some("whole"));
        assert_eq!(lookup(body, None), None);
    }

    #[test]
    fn the_reason_tells_what_was_found() {
        let reason = |body: &str| {
            let events = Raw::default().event("/type").events(&body.into());
            match events.into_iter().next() {
                Some(Event::Unknown(event)) => (event.name, event.reason),
                other => panic!("{other:?}"),
            }
        };
        let named = (Some("x".to_owned()), UnknownReason::UnknownName);
        assert_eq!(reason(r#"{"type":"x"}"#), named);
        assert_eq!(reason(r#"{"type":1}"#), (None, UnknownReason::NoName));
        assert_eq!(reason("[]"), (None, UnknownReason::NotAnObject));
        assert!(matches!(reason("{"), (None, UnknownReason::NotJson(_))));
    }
}
