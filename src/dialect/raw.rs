//! [`Raw`]: no typed events; name and session by JSON pointer, or by the fields of a form.

mod pointer;

use bytestring::ByteString;

use self::pointer::{Search, value};
use super::collector::{MAX_EVENTS, room_for_texts, shared_texts};
use super::form::Form;
use super::{Dialect, MAX_EXTRA, object};
use crate::{Event, Extra, UnknownEvent, UnknownReason};

pub(super) use self::pointer::scalar_at;

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
    pub(crate) event_pointer: Vec<String>,
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
        self.event_pointer = vec![pointer.into()];
        self
    }

    /// Reads it at `pointer` where the pointers before find no text.
    pub fn or_event(mut self, pointer: impl Into<String>) -> Self {
        self.event_pointer.push(pointer.into());
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

    /// Walks once over the fields of a JSON text: the body, or an event of its list.
    ///
    /// # Errors
    ///
    /// When it is not JSON.
    fn walk<'a>(
        &self,
        body: &ByteString,
        json: &'a str,
        room: &mut usize,
    ) -> Result<Walked<'a>, UnknownReason> {
        let pointers = [&self.session_pointer, &self.events_pointer];
        let pointers = self
            .event_pointer
            .iter()
            .chain(pointers.into_iter().flatten());
        let mut search = Search::new(json, pointers.map(String::as_str));
        let mut extra = Extra::default();
        let read = object::for_each_field(json, |name, value| {
            search.see(&name, value);
            let bytes = name.bytes();
            let is_secret = { self.secret_fields.iter() }.any(|field| field.as_bytes() == bytes);
            if *room > 0 && extra.len() < MAX_EXTRA && !is_secret {
                *room -= 1;
                extra.push(name.decoded(), body.slice_ref(value));
            }
        });
        if let Err(reason @ UnknownReason::NotJson(_)) = read {
            return Err(reason);
        }
        // A pointer may lead into an array as well as into an object.
        let mut names = self.event_pointer.iter();
        let (session, list) = (&self.session_pointer, &self.events_pointer);
        Ok(Walked {
            name: names.find_map(|pointer| search.text_at(pointer)),
            session: { session.as_deref() }.and_then(|pointer| search.text_at(pointer)),
            list: { list.as_deref() }.and_then(|pointer| search.at(pointer)),
            extra,
            is_object: read.is_ok(),
        })
    }

    /// The events of a list in the body; none if it is no list, or an empty one. What an event does not name is that
    /// of the whole body.
    fn listed(&self, body: &ByteString, whole: &Walked<'_>) -> Vec<Event> {
        let (mut events, mut room) = (Vec::new(), 16 * MAX_EXTRA);
        let (mut texts, mut is_full) = (room_for_texts(body), false);
        object::for_each_item(whole.list.unwrap_or_default(), |json| {
            if is_full {
                return;
            }
            // It is part of what was read, so this does not fail.
            let mut one = self.walk(body, json, &mut room).unwrap_or_default();
            one.name = one.name.or_else(|| whole.name.clone());
            one.session = one.session.or_else(|| whole.session.clone());
            one.is_object = true;
            let mut event = Event::Unknown(one.into_event());
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
}

/// What a walk over a JSON text has found.
#[derive(Default)]
struct Walked<'a> {
    name: Option<String>,
    session: Option<String>,
    /// What is where the list of events may be.
    list: Option<&'a str>,
    extra: Extra,
    is_object: bool,
}

impl Walked<'_> {
    fn into_event(self) -> UnknownEvent {
        let mut event = UnknownEvent::new(match self.name {
            _ if !self.is_object => UnknownReason::NotAnObject,
            None => UnknownReason::NoName,
            Some(_) => UnknownReason::UnknownName,
        });
        (event.name, event.session_id, event.extra) = (self.name, self.session, self.extra);
        event
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
            ("event_pointer", self.event_pointer.join(", ")),
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
        let whole = match self.walk(body, body, &mut { MAX_EXTRA }) {
            Ok(whole) => whole,
            Err(reason) => {
                let form = self.form(body);
                let event = form.unwrap_or_else(|| UnknownEvent::new(reason));
                return vec![Event::Unknown(event)];
            }
        };
        let listed = self.listed(body, &whole);
        if listed.is_empty() {
            return vec![Event::Unknown(whole.into_event())];
        }
        listed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn the_first_pointer_that_finds_a_text_names_the_event() {
        let raw = Raw::default().event("/event/type").or_event("/type");
        let name = |body: &str| raw.events(&body.into())[0].name().map(str::to_owned);
        let both = r#"{"type":"event_callback","event":{"type":"message"}}"#;
        assert_eq!(name(both).as_deref(), Some("message"));
        let one = r#"{"type":"app_rate_limited"}"#;
        assert_eq!(name(one).as_deref(), Some("app_rate_limited"));
        assert_eq!(name(r#"{"event":{"type":1}}"#), None);
        assert_eq!(raw.parameters()[0].1, "/event/type, /type");
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
