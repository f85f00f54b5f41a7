//! [`Codeskytz`]: the format in the gateway's documentation, and the format its public implementation
//! posts.

use std::borrow::Cow;

use bytestring::ByteString;

use super::object::Escapes;
use super::{Dialect, object, value};
use crate::{
    ConnectionEvent, ConnectionStatus, Event, EventKind, Extra, MessageEvent, MessageStatus,
    MessageType, StatusEvent, Timestamp, UnknownEvent, UnknownReason,
};

/// The gateway's dialect, according to its
/// [documentation](https://github.com/sBRK255/docs-whatsapp-http-api/blob/main/docs/webhooks.md):
///
/// ```json
/// {"event":"message", "sessionId", "messageId", "from", "message", "type", "timestamp", …}
/// {"event":"status", "sessionId", "messageId", "status", "timestamp"}
/// {"event":"connection", "sessionId", "status", "timestamp"}
/// ```
///
/// If `event` is absent the kind is inferred: `from` with a `messageId` or a text is a message,
/// `messageId` with `status` a status, `status` alone a connection. The format that the gateway's public
/// implementation posts (`{id, fromJid, from, isGroup, timestamp, text, …}`) is a message too: `id` is
/// its message id and `text` its text.
#[derive(Debug, Clone, Copy, Default)]
pub struct Codeskytz;

impl Dialect for Codeskytz {
    fn name(&self) -> &'static str {
        "codeskytz"
    }

    fn events(&self, body: &ByteString) -> Vec<Event> {
        let event = match Fields::of(body) {
            Ok(fields) => fields.into_event(body),
            Err(reason) => Event::Unknown(UnknownEvent::new(reason)),
        };
        vec![event]
    }

    fn session(&self, body: &ByteString) -> Option<String> {
        let mut session = None;
        let read = object::for_each_field(body, |key, json| {
            if key == "sessionId" {
                session = Some(json);
            }
        });
        let session = read.ok().and(session);
        session.and_then(object::string).map(Cow::into_owned)
    }
}

/// A body's fields as JSON text; the last value wins for a repeated key.
#[derive(Default)]
struct Fields<'a> {
    event: Option<&'a str>,
    session_id: Option<&'a str>,
    message_id: Option<&'a str>,
    id: Option<&'a str>,
    from: Option<&'a str>,
    message: Option<&'a str>,
    text: Option<&'a str>,
    kind: Option<&'a str>,
    media_url: Option<&'a str>,
    caption: Option<&'a str>,
    filename: Option<&'a str>,
    status: Option<&'a str>,
    timestamp: Option<&'a str>,
    others: Vec<(Cow<'a, str>, &'a str)>,
    escapes: Escapes,
}

impl<'a> Fields<'a> {
    fn of(body: &'a str) -> Result<Self, UnknownReason> {
        let mut fields = Self::default();
        let escapes = object::for_each_field(body, |key, json| {
            if let Some(slot) = fields.slot(&key) {
                *slot = Some(json);
            } else if fields.others.len() < MAX_EXTRA {
                fields.others.push((key, json));
            }
        })?;
        fields.escapes = escapes;
        Ok(fields)
    }

    fn slot(&mut self, key: &str) -> Option<&mut Option<&'a str>> {
        Some(match key {
            "event" => &mut self.event,
            "sessionId" => &mut self.session_id,
            "messageId" => &mut self.message_id,
            "id" => &mut self.id,
            "from" => &mut self.from,
            "message" => &mut self.message,
            "text" => &mut self.text,
            "type" => &mut self.kind,
            "mediaUrl" => &mut self.media_url,
            "caption" => &mut self.caption,
            "filename" => &mut self.filename,
            "status" => &mut self.status,
            "timestamp" => &mut self.timestamp,
            _ => return None,
        })
    }

    /// The kind from the event's name, or from the fields if there is no name.
    fn kind(&self) -> Result<EventKind, UnknownReason> {
        if let Some(event) = self.event.filter(|json| *json != "null") {
            let name = self
                .escapes
                .string(event)
                .ok_or(UnknownReason::NameNotText)?;
            return match name.parse::<EventKind>() {
                // Senders cannot send the kinds that offhook itself creates.
                Ok(kind) if kind != EventKind::Unknown && !kind.is_own() => Ok(kind),
                Ok(_) | Err(_) => Err(UnknownReason::UnknownName),
            };
        }
        let has = |field: Option<&str>| field.is_some_and(|json| json != "null");
        let id = has(self.message_id);
        let content = [self.id, self.message, self.text];
        if has(self.from) && (id || content.into_iter().any(has)) {
            Ok(EventKind::Message)
        } else if id && has(self.status) {
            Ok(EventKind::Status)
        } else if has(self.status) {
            Ok(EventKind::Connection)
        } else {
            Err(UnknownReason::NoName)
        }
    }

    fn into_event(mut self, body: &ByteString) -> Event {
        let kind = self.kind();
        let mut typed = Typed {
            body,
            escapes: self.escapes,
            extra: Extra::default(),
        };
        let name = typed.string("event", self.event.take());
        let session_id = typed.string("sessionId", self.session_id.take());
        match kind {
            Ok(EventKind::Message) => Event::Message(self.into_message(name, session_id, typed)),
            Ok(EventKind::Status) => Event::Status(self.into_status(name, session_id, typed)),
            Ok(EventKind::Connection) => {
                Event::Connection(self.into_connection(name, session_id, typed))
            }
            Ok(EventKind::Unknown | EventKind::SourceQuiet | EventKind::SourceResumed) => {
                self.into_unknown(name, session_id, typed, UnknownReason::UnknownName)
            }
            Err(reason) => self.into_unknown(name, session_id, typed, reason),
        }
    }

    fn into_message(
        mut self,
        name: Option<String>,
        session_id: Option<String>,
        mut typed: Typed<'_>,
    ) -> MessageEvent {
        let mut event = MessageEvent::default();
        event.name = name;
        event.session_id = session_id;
        event.message_id = typed.string("messageId", self.message_id.take());
        if event.message_id.is_none() {
            event.message_id = typed.string("id", self.id.take());
        }
        event.message = typed.string("message", self.message.take());
        if event.message.is_none() {
            event.message = typed.string("text", self.text.take());
        }
        event.from = typed.string("from", self.from.take());
        event.kind = typed.open("type", self.kind.take(), |name| MessageType::from(name));
        event.media_url = typed.string("mediaUrl", self.media_url.take());
        event.caption = typed.string("caption", self.caption.take());
        event.filename = typed.string("filename", self.filename.take());
        event.timestamp = typed.timestamp("timestamp", self.timestamp.take());
        event.extra = self.into_extra(typed);
        event
    }

    fn into_status(
        mut self,
        name: Option<String>,
        session_id: Option<String>,
        mut typed: Typed<'_>,
    ) -> StatusEvent {
        let mut event = StatusEvent::default();
        event.name = name;
        event.session_id = session_id;
        event.message_id = typed.string("messageId", self.message_id.take());
        event.status = typed.open("status", self.status.take(), |name| {
            MessageStatus::from(name)
        });
        event.timestamp = typed.timestamp("timestamp", self.timestamp.take());
        event.extra = self.into_extra(typed);
        event
    }

    fn into_connection(
        mut self,
        name: Option<String>,
        session_id: Option<String>,
        mut typed: Typed<'_>,
    ) -> ConnectionEvent {
        let mut event = ConnectionEvent::default();
        event.name = name;
        event.session_id = session_id;
        event.status = typed.open("status", self.status.take(), |name| {
            ConnectionStatus::from(name)
        });
        event.timestamp = typed.timestamp("timestamp", self.timestamp.take());
        event.extra = self.into_extra(typed);
        event
    }

    fn into_unknown(
        self,
        name: Option<String>,
        session_id: Option<String>,
        typed: Typed<'_>,
        reason: UnknownReason,
    ) -> Event {
        let mut event = UnknownEvent::new(reason);
        event.name = name;
        event.session_id = session_id;
        event.extra = self.into_extra(typed);
        Event::Unknown(event)
    }

    /// The remaining fields: known names that this kind does not use, then all others.
    fn into_extra(self, mut typed: Typed<'_>) -> Extra {
        let known = [
            ("messageId", self.message_id),
            ("id", self.id),
            ("from", self.from),
            ("message", self.message),
            ("text", self.text),
            ("type", self.kind),
            ("mediaUrl", self.media_url),
            ("caption", self.caption),
            ("filename", self.filename),
            ("status", self.status),
            ("timestamp", self.timestamp),
        ];
        for (key, json) in known {
            if let Some(json) = json {
                typed.keep(key, json);
            }
        }
        for (key, json) in self.others {
            typed.keep(key, json);
        }
        typed.extra
    }
}

/// Reads values; a value of an unexpected type is kept as extra.
struct Typed<'b> {
    body: &'b ByteString,
    escapes: Escapes,
    extra: Extra,
}

impl Typed<'_> {
    fn keep(&mut self, key: impl Into<String>, json: &str) {
        self.extra.push(key, self.body.slice_ref(json));
    }

    fn read<T>(
        &mut self,
        key: &str,
        json: Option<&str>,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let json = json.filter(|json| *json != "null")?;
        let value = read(json);
        if value.is_none() {
            self.keep(key, json);
        }
        value
    }

    fn string(&mut self, key: &str, json: Option<&str>) -> Option<String> {
        let escapes = self.escapes;
        self.read(key, json, |json| escapes.string(json).map(Cow::into_owned))
    }

    fn open<T>(
        &mut self,
        key: &str,
        json: Option<&str>,
        from_name: impl FnOnce(&str) -> T,
    ) -> Option<T> {
        let escapes = self.escapes;
        self.read(key, json, |json| {
            escapes.string(json).map(|name| from_name(&name))
        })
    }

    fn timestamp(&mut self, key: &str, json: Option<&str>) -> Option<Timestamp> {
        self.read(key, json, value::timestamp)
    }
}

/// How many unassigned fields the typed event holds at most. The bytes contain all of them.
const MAX_EXTRA: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn event(body: &str) -> Event {
        let mut events = Codeskytz.events(&body.into());
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    #[test]
    fn the_kind_is_inferred_where_there_is_no_name() {
        let table = [
            (r#"{"messageId":"1","from":"2"}"#, EventKind::Message),
            (
                r#"{"messageId":"1","from":"2","status":"x"}"#,
                EventKind::Message,
            ),
            (r#"{"from":"2","message":"x"}"#, EventKind::Message),
            (
                r#"{"id":"1","from":"2","isGroup":false,"text":null}"#,
                EventKind::Message,
            ),
            (
                r#"{"event":null,"messageId":"1","from":"2"}"#,
                EventKind::Message,
            ),
            (r#"{"messageId":"1","status":"read"}"#, EventKind::Status),
            (
                r#"{"messageId":"1","status":"read","from":null}"#,
                EventKind::Status,
            ),
            (r#"{"status":"connected"}"#, EventKind::Connection),
            (
                r#"{"status":"connected","messageId":null}"#,
                EventKind::Connection,
            ),
            (r#"{"from":"2"}"#, EventKind::Unknown),
            (r#"{"message":"x"}"#, EventKind::Unknown),
            (r#"{"status":null}"#, EventKind::Unknown),
            ("{}", EventKind::Unknown),
        ];
        for (body, kind) in table {
            assert_eq!(event(body).kind(), kind, "{body}");
        }
    }

    #[test]
    fn unknown_events_say_why() {
        let table = [
            (
                "{",
                UnknownReason::NotJson("EOF while parsing an object at line 1 column 1".into()),
            ),
            ("[]", UnknownReason::NotAnObject),
            (r#"{"event":3}"#, UnknownReason::NameNotText),
            (r#"{"event":"presence"}"#, UnknownReason::UnknownName),
            (r#"{"event":"unknown"}"#, UnknownReason::UnknownName),
            (r#"{"event":"Message"}"#, UnknownReason::UnknownName),
            ("{}", UnknownReason::NoName),
        ];
        for (body, reason) in table {
            let Event::Unknown(unknown) = event(body) else {
                panic!("{body}")
            };
            assert_eq!(unknown.reason, reason, "{body}");
        }
    }

    #[test]
    fn a_field_of_the_wrong_type_is_none_and_kept() {
        let body = r#"{"event":"message","sessionId":7,"messageId":["x"],"from":{"a":1},
            "message":1.50,"type":true,"timestamp":"soon","caption":null,"new":{"deep":[1]}}"#;
        let Event::Message(message) = event(body) else {
            panic!()
        };
        let mut bare = MessageEvent::default();
        bare.name = Some("message".into());
        bare.extra = message.extra.clone();
        assert_eq!(message, bare);
        let mut kept: Vec<_> = message.extra.iter().collect();
        kept.sort_unstable();
        let expected = [
            ("from", r#"{"a":1}"#),
            ("message", "1.50"),
            ("messageId", r#"["x"]"#),
            ("new", r#"{"deep":[1]}"#),
            ("sessionId", "7"),
            ("timestamp", r#""soon""#),
            ("type", "true"),
        ];
        assert_eq!(kept, expected);
    }

    #[test]
    fn of_a_repeated_key_the_last_counts() {
        let body = r#"{"event":"status","status":3,"status":"read","x":1,"x":2}"#;
        let Event::Status(status) = event(body) else {
            panic!()
        };
        assert_eq!(status.status, Some(MessageStatus::Read));
        assert_eq!(status.extra.get("status"), None);
        assert_eq!(status.extra.get("x"), Some("2"));
    }

    #[test]
    fn a_body_of_very_many_fields_is_bounded() {
        let fields: Vec<String> = (0..10_000).map(|n| format!("\"f{n}\":{n}")).collect();
        let body = format!(
            "{{{},\"event\":\"message\",\"from\":\"x\"}}",
            fields.join(",")
        );
        let Event::Message(message) = event(&body) else {
            panic!()
        };
        assert_eq!(message.from(), "x");
        assert_eq!(message.extra.len(), MAX_EXTRA);
    }
}
