//! [`Raw`]: no typed events; name and session by JSON pointer, or by the fields of a form.

use std::borrow::Cow;
use std::fmt;

use bytestring::ByteString;
use serde::Deserializer as _;
use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::collector::{MAX_EVENTS, room_for_texts, shared_texts};
use super::form::Form;
use super::picked::Picked;
use super::{Dialect, MAX_EXTRA, object};
use crate::{Event, Extra, UnknownEvent, UnknownReason};

/// The dialect for senders that are not messaging gateways: every event is an [`UnknownEvent`].
///
/// The event's name and the session can be read from the body by JSON pointer ([RFC
/// 6901](https://www.rfc-editor.org/rfc/rfc6901)); if the pointer finds nothing, or no string, there is
/// none. A body may hold a list of events. A body that is a form has fields instead.
///
/// ```
/// use offhook::dialect::{Dialect, Raw};
///
/// let dialect = Raw::default().event("/action").session("/installation/0");
/// let events = dialect.events(&r#"{"action":"opened","installation":["42"]}"#.into());
/// assert_eq!(events[0].name(), Some("opened"));
/// assert_eq!(events[0].session_id(), Some("42"));
///
/// let dialect = Raw::default().each("/events").event("/type").session("/destination");
/// let body = r#"{"destination":"U1","events":[{"type":"message"},{"type":"follow"}]}"#;
/// let events = dialect.events(&body.into());
/// assert_eq!(events[1].name(), Some("follow"));
/// assert_eq!(events[1].session_id(), Some("U1"));
///
/// let dialect = Raw::default().event_field("SmsStatus");
/// let events = dialect.events(&"SmsStatus=received&Body=Hello+there".into());
/// assert_eq!(events[0].name(), Some("received"));
/// assert_eq!(events[0].extra().get("Body"), Some("\"Hello there\""));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Raw {
    pub(crate) event_pointer: Option<String>,
    pub(crate) session_pointer: Option<String>,
    pub(crate) events_pointer: Option<String>,
    pub(crate) event_field: Option<String>,
    pub(crate) session_field: Option<String>,
    pub(crate) id_fields: Vec<String>,
    /// The fields with credentials, where bodies may be of any gateway.
    secret_fields: &'static [&'static str],
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

    /// Reads the list at `pointer` as one event each. The other pointers then begin at each of them; what is not
    /// there is looked for in the whole body.
    pub fn each(mut self, pointer: impl Into<String>) -> Self {
        self.events_pointer = Some(pointer.into());
        self
    }

    /// Reads the event's name from this field of a form.
    pub fn event_field(mut self, name: impl Into<String>) -> Self {
        self.event_field = Some(name.into());
        self
    }

    /// Reads the session from this field of a form.
    pub fn session_field(mut self, name: impl Into<String>) -> Self {
        self.session_field = Some(name.into());
        self
    }

    /// Reads the sender's own id of the event from these fields of a form, together: a message and its status
    /// are two events. A form without one of those fields has no id.
    pub fn id_fields(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.id_fields = names.into_iter().map(Into::into).collect();
        self
    }

    /// For bodies whose dialect is not known any more.
    pub(super) fn of_unknown() -> Self {
        Self {
            secret_fields: super::evolution::SECRET_FIELDS,
            ..Self::default()
        }
    }

    /// The event in a form, if the settings name a field of one.
    fn form(&self, body: &str) -> Option<UnknownEvent> {
        let fields = [&self.event_field, &self.session_field];
        if fields.into_iter().all(Option::is_none) && self.id_fields.is_empty() {
            return None;
        }
        let form = Form::of(body);
        let value = |name: &Option<String>| form.value(name.as_deref()?).map(str::to_owned);
        let mut event = UnknownEvent::new(UnknownReason::UnknownName);
        event.name = value(&self.event_field);
        event.session_id = value(&self.session_field);
        if event.name.is_none() {
            event.reason = UnknownReason::NoName;
        }
        let ids: Vec<&str> = { self.id_fields.iter() }
            .map(|name| form.value(name).unwrap_or_default())
            .collect();
        // What has only some of them is another kind of event.
        if !ids.is_empty() && ids.iter().all(|id| !id.is_empty()) {
            event.event_id = Some(ids.join("\n"));
        }
        event.extra = form.extra();
        Some(event)
    }

    /// The events of a list in the body; none if there is no list, or an empty one.
    fn listed(&self, body: &ByteString) -> Vec<Event> {
        let (mut events, mut room) = (Vec::new(), 16 * MAX_EXTRA);
        let (mut texts, mut is_full) = (room_for_texts(body), false);
        let whole = self.named(body);
        for_each_event(body, self.events_pointer.as_deref(), |json| {
            if is_full {
                return;
            }
            let mut event = UnknownEvent::new(UnknownReason::UnknownName);
            let own = self.named(json);
            event.name = own.0.or_else(|| whole.0.clone());
            event.session_id = own.1.or_else(|| whole.1.clone());
            if event.name.is_none() {
                event.reason = UnknownReason::NoName;
            }
            event.extra = Picked::of(Some(json), []).extra(body, &[], &mut room);
            let mut event = Event::Unknown(event);
            let left = texts.checked_sub(shared_texts(&event));
            if left.is_none() || events.len() == MAX_EVENTS - 1 {
                is_full = true;
                event = Event::Unknown(UnknownEvent::new(UnknownReason::TooManyEvents));
            }
            texts = left.unwrap_or_default();
            events.push(event);
        });
        events
    }

    /// The name and the session at the pointers.
    fn named(&self, json: &str) -> (Option<String>, Option<String>) {
        let name = lookup(json, self.event_pointer.as_deref());
        (name, lookup(json, self.session_pointer.as_deref()))
    }
}

/// Gives the events of a list in the body to `take`.
pub(super) fn for_each_event<'a>(body: &'a str, pointer: Option<&str>, take: impl FnMut(&'a str)) {
    if let Some(list) = pointer.and_then(|pointer| value(body, pointer)) {
        object::for_each_item(list, take);
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
            ("events_pointer", text(&self.events_pointer)),
            ("event_field", text(&self.event_field)),
            ("session_field", text(&self.session_field)),
            ("id_fields", self.id_fields.join(",")),
        ]
    }

    fn events_pointer(&self) -> Option<&str> {
        self.events_pointer.as_deref()
    }

    fn secret_fields(&self) -> &'static [&'static str] {
        self.secret_fields
    }

    fn events(&self, body: &ByteString) -> Vec<Event> {
        let mut extra = Extra::default();
        let read = object::for_each_field(body, |key, json| {
            let bytes = key.bytes();
            let is_secret = { self.secret_fields.iter() }.any(|field| field.as_bytes() == bytes);
            if extra.len() < MAX_EXTRA && !is_secret {
                extra.push(key.decoded(), body.slice_ref(json));
            }
        });
        let mut event = UnknownEvent::new(UnknownReason::UnknownName);
        // The pointer may find a name in an array as well as in an object; in text that is not JSON it
        // finds nothing.
        if matches!(read, Err(UnknownReason::NotJson(_))) {
            if let Some(form) = self.form(body) {
                return vec![Event::Unknown(form)];
            }
        } else {
            let listed = self.listed(body);
            if !listed.is_empty() {
                return listed;
            }
            (event.name, event.session_id) = self.named(body);
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

    #[test]
    fn a_list_is_an_event_each() {
        let raw = Raw::default()
            .each("/events")
            .event("/type")
            .session("/source/id");
        let events = |body: &str| {
            let events = raw.events(&body.into()).into_iter();
            let named = events.map(|event| {
                (
                    event.name().map(str::to_owned),
                    event.session_id().map(str::to_owned),
                )
            });
            named.collect::<Vec<_>>()
        };
        let some = |text: &str| Some(text.to_owned());
        let body = r#"{"events":[{"type":"a","source":{"id":"1"}},{"type":"b"},7]}"#;
        assert_eq!(
            events(body),
            [(some("a"), some("1")), (some("b"), None), (None, None)]
        );
        let of_body = r#"{"type":"whole","events":[{}]}"#;
        assert_eq!(events(of_body), [(some("whole"), None)]);
        for alone in [r#"{"events":[]}"#, r#"{"events":{}}"#, "[]", "x"] {
            assert_eq!(events(alone), [(None, None)], "{alone}");
        }
    }

    #[test]
    fn an_id_may_be_of_several_fields() {
        let raw = Raw::default()
            .id_fields(["Sid", "Status"])
            .session_field("To");
        let read = |body: &str| match raw.events(&body.into()).remove(0) {
            Event::Unknown(event) => (event.event_id, event.session_id),
            other => panic!("{other:?}"),
        };
        let (sent, session) = read("Sid=1&Status=sent&To=%2B49");
        assert_eq!(session.as_deref(), Some("+49"));
        assert!(sent.is_some() && sent != read("Sid=1&Status=read").0);
        assert_eq!(read("Sid=1").0, None);
        assert_eq!(read("Status=sent").0, None);
        assert_eq!(read("{}").0, None);
    }
}
