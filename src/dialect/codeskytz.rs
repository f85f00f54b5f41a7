//! [`Codeskytz`]: the format in the gateway's documentation, and the format its public implementation
//! posts.

use std::borrow::Cow;

use bytestring::ByteString;

use super::{ContentHash, ContentHasher, Dialect, MAX_EXTRA, object};
use crate::{
    ConnectionEvent, ConnectionStatus, Event, EventKind, Extra, MessageEvent, MessageStatus,
    MessageType, StatusEvent, UnknownEvent, UnknownReason,
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
        vec![match Fields::of(body) {
            Ok(fields) => fields.into_event(),
            Err(reason) => Event::Unknown(UnknownEvent::new(reason)),
        }]
    }

    fn with_contents(&self, body: &ByteString) -> (Vec<Event>, Vec<Option<ContentHash>>) {
        match Fields::of(body) {
            Ok(fields) => {
                let mut hasher = ContentHasher::default();
                let content = fields.content(&mut hasher).then(|| hasher.finish());
                (vec![fields.into_event()], vec![content])
            }
            Err(reason) => (vec![Event::Unknown(UnknownEvent::new(reason))], vec![None]),
        }
    }

    /// Every field except `timestamp`, which is the time of sending for some gateways.
    fn content(&self, body: &ByteString, _: usize, hasher: &mut ContentHasher) -> bool {
        Fields::of(body).is_ok_and(|fields| fields.content(hasher))
    }
}

/// A body's fields as JSON text; the last value wins for a repeated key.
struct Fields<'a> {
    body: &'a ByteString,
    /// The values of the [`KNOWN`] fields that are not read yet.
    known: [Option<&'a str>; KNOWN.len()],
    others: Vec<(Cow<'a, str>, &'a str)>,
    /// Whether the fields do not say all of the content: one is repeated, has a lone surrogate in its name, or
    /// is one too many.
    is_incomplete: bool,
    /// Fields whose value has an unexpected type.
    extra: Extra,
}

impl<'a> Fields<'a> {
    fn of(body: &'a ByteString) -> Result<Self, UnknownReason> {
        let mut fields = Self {
            body,
            known: [None; KNOWN.len()],
            others: Vec::new(),
            is_incomplete: false,
            extra: Extra::default(),
        };
        object::for_each_field(body, |key, json| {
            if let Some(slot) = fields.slot(key.bytes()) {
                let before = slot.replace(json);
                fields.is_incomplete |= before.is_some();
            } else if fields.others.len() < MAX_EXTRA {
                let length = key.bytes().len();
                let name = key.decoded();
                fields.is_incomplete |= name.len() != length || name.contains('\u{fffd}');
                fields.others.push((name, json));
            } else {
                fields.is_incomplete = true;
            }
        })?;
        Ok(fields)
    }

    /// Gives every field except `timestamp` to `hasher`: the known ones, then the others, sorted by name. Returns `false` if the fields do not say all of the content.
    fn content(&self, hasher: &mut ContentHasher) -> bool {
        let mut others: Vec<(&str, &str)> = Vec::with_capacity(self.others.len());
        others.extend(self.others.iter().map(|(name, json)| (&**name, *json)));
        others.sort_unstable();
        if self.is_incomplete || others.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return false;
        }
        for (name, json) in KNOWN.into_iter().zip(self.known) {
            if let Some(json) = json.filter(|_| name != "timestamp") {
                hasher.bytes(name.as_bytes());
                hasher.json(json);
            }
        }
        for (name, json) in others {
            hasher.bytes(name.as_bytes());
            hasher.json(json);
        }
        true
    }

    fn slot(&mut self, name: &[u8]) -> Option<&mut Option<&'a str>> {
        Some(&mut self.known[index(name)?])
    }

    fn into_event(mut self) -> Event {
        match self.kind() {
            Ok(EventKind::Message) => Event::Message(self.into_message()),
            Ok(EventKind::Status) => Event::Status(self.into_status()),
            Ok(EventKind::Connection) => Event::Connection(self.into_connection()),
            // Senders cannot send the kinds that offhook itself creates.
            Ok(_) => self.into_unknown(UnknownReason::UnknownName),
            Err(reason) => self.into_unknown(reason),
        }
    }

    /// The kind from the event's name, or from the fields if there is no name.
    fn kind(&mut self) -> Result<EventKind, UnknownReason> {
        let mut value = |name: &str| {
            self.slot(name.as_bytes())
                .and_then(|json| json.filter(is_given))
        };
        if let Some(event) = value("event") {
            let name = object::string(event).ok_or(UnknownReason::NameNotText)?;
            return name.parse().map_err(|_| UnknownReason::UnknownName);
        }
        let mut has = |name: &str| value(name).is_some();
        if has("from")
            && ["messageId", "id", "message", "text"]
                .into_iter()
                .any(&mut has)
        {
            Ok(EventKind::Message)
        } else if has("messageId") && has("status") {
            Ok(EventKind::Status)
        } else if has("status") {
            Ok(EventKind::Connection)
        } else {
            Err(UnknownReason::NoName)
        }
    }

    fn into_message(mut self) -> MessageEvent {
        let mut event = MessageEvent::default();
        event.name = self.string("event");
        event.session_id = self.string("sessionId");
        event.message_id = self.string("messageId").or_else(|| self.string("id"));
        event.message = self.string("message").or_else(|| self.string("text"));
        event.from = self.string("from");
        event.kind = self.read("type", named::<MessageType>);
        event.media_url = self.string("mediaUrl");
        event.caption = self.string("caption");
        event.filename = self.string("filename");
        event.timestamp = self.read("timestamp", object::timestamp);
        event.extra = self.into_extra();
        event
    }

    fn into_status(mut self) -> StatusEvent {
        let mut event = StatusEvent::default();
        event.name = self.string("event");
        event.session_id = self.string("sessionId");
        event.message_id = self.string("messageId");
        event.status = self.read("status", named::<MessageStatus>);
        event.timestamp = self.read("timestamp", object::timestamp);
        event.extra = self.into_extra();
        event
    }

    fn into_connection(mut self) -> ConnectionEvent {
        let mut event = ConnectionEvent::default();
        event.name = self.string("event");
        event.session_id = self.string("sessionId");
        event.status = self.read("status", named::<ConnectionStatus>);
        event.timestamp = self.read("timestamp", object::timestamp);
        event.extra = self.into_extra();
        event
    }

    fn into_unknown(mut self, reason: UnknownReason) -> Event {
        let mut event = UnknownEvent::new(reason);
        event.name = self.string("event");
        event.session_id = self.string("sessionId");
        event.extra = self.into_extra();
        Event::Unknown(event)
    }

    fn string(&mut self, name: &str) -> Option<String> {
        self.read(name, |json| object::string(json).map(Cow::into_owned))
    }

    /// Reads a known field. A value of an unexpected type is kept as extra.
    fn read<T>(&mut self, name: &str, read: impl FnOnce(&str) -> Option<T>) -> Option<T> {
        let json = self.slot(name.as_bytes())?.take().filter(is_given)?;
        let value = read(json);
        if value.is_none() {
            self.extra.push(name, self.body.slice_ref(json));
        }
        value
    }

    /// The remaining fields: known ones that this kind does not use, then all others.
    fn into_extra(self) -> Extra {
        let mut extra = self.extra;
        let unused = KNOWN.into_iter().zip(self.known);
        let unused = unused.filter_map(|(name, json)| Some((Cow::Borrowed(name), json?)));
        for (name, json) in unused.chain(self.others) {
            extra.push(name, self.body.slice_ref(json));
        }
        extra
    }
}

/// A field that is `null` is as good as absent.
fn is_given(json: &&str) -> bool {
    *json != "null"
}

fn named<T: for<'n> From<&'n str>>(json: &str) -> Option<T> {
    object::string(json).map(|name| T::from(&name))
}

/// The fields with a meaning, in the order in which unused ones are kept as extra.
const KNOWN: [&str; 13] = [
    "event",
    "sessionId",
    "messageId",
    "id",
    "from",
    "message",
    "text",
    "type",
    "mediaUrl",
    "caption",
    "filename",
    "status",
    "timestamp",
];

/// Where a field is in [`KNOWN`]. A `match`, because it compares a name with few others.
fn index(name: &[u8]) -> Option<usize> {
    Some(match name {
        b"event" => 0,
        b"sessionId" => 1,
        b"messageId" => 2,
        b"id" => 3,
        b"from" => 4,
        b"message" => 5,
        b"text" => 6,
        b"type" => 7,
        b"mediaUrl" => 8,
        b"caption" => 9,
        b"filename" => 10,
        b"status" => 11,
        b"timestamp" => 12,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_fields_are_found() {
        for (at, name) in KNOWN.into_iter().enumerate() {
            assert_eq!(index(name.as_bytes()), Some(at), "{name}");
        }
        assert_eq!(index(b"other"), None);
    }

    fn event(body: &str) -> Event {
        let mut events = Codeskytz.events(&body.into());
        assert_eq!(events.len(), 1);
        events.remove(0)
    }

    #[test]
    fn the_kind_is_inferred_without_a_name() {
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
    fn a_field_of_the_wrong_type_is_kept() {
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
    fn both_ways_give_the_same_content() {
        let table = [
            (
                r#"{"event":"message","from":"1","x":{"b":1,"a":[2]},"é":"\u00e9","timestamp":3}"#,
                true,
            ),
            (r#"{"x":1,"\u0061":2,"status":null}"#, true),
            ("{}", true),
            (r#"{"x":1,"x":1}"#, false),
            (r#"{"from":1,"from":1}"#, false),
            (r#"{"\ud800":1}"#, false),
            ("[]", false),
            ("{", false),
        ];
        for (body, has_content) in table {
            let body = body.into();
            let mut hasher = ContentHasher::default();
            let twice = Codeskytz
                .content(&body, 0, &mut hasher)
                .then(|| hasher.finish());
            let (events, contents) = Codeskytz.with_contents(&body);
            assert_eq!(events, Codeskytz.events(&body));
            assert_eq!(twice.is_some(), has_content, "{body}");
            assert_eq!(contents, [twice], "{body}");
        }
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
