//! Typed events as JSON, for people and for programs in other languages.

use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::value::RawValue;

use crate::{
    ConnectionEvent, Event, Extra, Location, MessageError, MessageEvent, SourceEvent, StatusEvent,
};

/// Writes an object of the fields that are there: `kind`, `name`, `session`, and the fields of the kind by their
/// names, but `type` for [`MessageEvent::kind`]. Times are RFC 3339 in UTC. `extra` holds the other fields as
/// they were received.
///
/// ```
/// use offhook_handlers::{Event, MessageEvent, MessageType};
///
/// let mut message = MessageEvent::default();
/// message.from = Some("+1234567890".into());
/// message.kind = Some(MessageType::Text);
/// let json = serde_json::to_string(&Event::Message(message)).unwrap();
/// assert_eq!(json, r#"{"kind":"message","from":"+1234567890","type":"text"}"#);
/// ```
impl Serialize for Event {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = Object(serializer.serialize_map(None)?);
        object.put("kind", &Some(self.kind()))?;
        object.put("name", &self.name())?;
        object.put("session", &self.session_id())?;
        match self {
            Self::Message(event) | Self::Sent(event) | Self::Change(event) => {
                object.message(event)?;
            }
            Self::Status(event) => object.status(event)?,
            Self::Connection(event) => object.connection(event)?,
            // Why it has no kind is told with what is odd.
            Self::Unknown(_) => {}
            Self::Source(event) => object.source(event)?,
        }
        if !self.extra().is_empty() {
            object.put("extra", &Some(self.extra()))?;
        }
        object.0.end()
    }
}

/// An object that holds only what is there.
struct Object<M>(M);

impl<M: SerializeMap> Object<M> {
    fn put(&mut self, name: &'static str, value: &Option<impl Serialize>) -> Result<(), M::Error> {
        match value {
            Some(value) => self.0.serialize_entry(name, value),
            None => Ok(()),
        }
    }

    fn message(&mut self, event: &MessageEvent) -> Result<(), M::Error> {
        self.put("message_id", &event.message_id)?;
        self.put("from", &event.from)?;
        self.put("from_name", &event.from_name)?;
        self.put("from_me", &event.from_me)?;
        self.put("chat", &event.chat)?;
        self.put("chat_type", &event.chat_type)?;
        self.put("reply_to", &event.reply_to)?;
        self.put("target", &event.target)?;
        self.put("action", &event.action)?;
        self.put("choice", &event.choice)?;
        self.put("message", &event.message)?;
        self.put("type", &event.kind)?;
        self.put("media_url", &event.media_url)?;
        self.put("caption", &event.caption)?;
        self.put("filename", &event.filename)?;
        self.put("mime_type", &event.mime_type)?;
        self.put("media_id", &event.media_id)?;
        self.put("location", &event.location)?;
        self.time(event.timestamp)
    }

    fn status(&mut self, event: &StatusEvent) -> Result<(), M::Error> {
        self.put("message_id", &event.message_id)?;
        self.put("status", &event.status)?;
        self.put("chat", &event.chat)?;
        self.put("chat_type", &event.chat_type)?;
        self.put("from_me", &event.from_me)?;
        self.put("recipient", &event.recipient)?;
        self.put("error", &event.error)?;
        self.time(event.timestamp)
    }

    fn connection(&mut self, event: &ConnectionEvent) -> Result<(), M::Error> {
        self.put("status", &event.status)?;
        self.put("reason", &event.reason)?;
        self.put("qr", &event.qr)?;
        self.time(event.timestamp)
    }

    fn source(&mut self, event: &SourceEvent) -> Result<(), M::Error> {
        self.put("source", &Some(&event.source))?;
        self.put("last_event_at", &event.last_event_at)?;
        self.time(Some(event.timestamp))
    }

    fn time(&mut self, at: Option<Timestamp>) -> Result<(), M::Error> {
        self.put("timestamp", &at)
    }
}

impl Serialize for Location {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = Object(serializer.serialize_map(None)?);
        object.put("latitude", &self.latitude)?;
        object.put("longitude", &self.longitude)?;
        object.put("name", &self.name)?;
        object.put("address", &self.address)?;
        object.0.end()
    }
}

impl Serialize for MessageError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = Object(serializer.serialize_map(None)?);
        object.put("code", &self.code)?;
        object.put("title", &self.title)?;
        object.put("detail", &self.detail)?;
        object.0.end()
    }
}

/// Writes an object. Of a repeated key the last value is written; so is `null` for a value that is no JSON.
impl Serialize for Extra {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut last: std::collections::BTreeMap<&str, &str> = std::collections::BTreeMap::new();
        last.extend(self.iter());
        let mut object = serializer.serialize_map(Some(last.len()))?;
        for (name, json) in last {
            object.serialize_entry(name, &serde_json::from_str::<&RawValue>(json).ok())?;
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MessageStatus, UnknownEvent, UnknownReason};

    fn json(event: &Event) -> String {
        serde_json::to_string(event).unwrap()
    }

    #[test]
    fn what_is_absent_is_left_out() {
        let status = StatusEvent {
            session_id: Some("1".into()),
            status: Some(MessageStatus::Other("5".into())),
            timestamp: Some(Timestamp::UNIX_EPOCH),
            error: Some(MessageError::default()),
            ..StatusEvent::default()
        };
        let expected = r#"{"kind":"status","session":"1","status":"5","error":{},"timestamp":"1970-01-01T00:00:00Z"}"#;
        assert_eq!(json(&Event::Status(status)), expected);
        let unknown = UnknownEvent::new(UnknownReason::NoName);
        assert_eq!(json(&Event::Unknown(unknown)), r#"{"kind":"unknown"}"#);
    }

    #[test]
    fn other_fields_are_as_received() {
        let mut event = MessageEvent::default();
        for (name, text) in [
            ("b", "1e400"),
            ("a", "[ 1]"),
            ("a", "\"\\ud800\""),
            ("c", ""),
        ] {
            event.extra.push(name, text.into());
        }
        let expected = r#"{"kind":"sent","extra":{"a":"\ud800","b":1e400,"c":null}}"#;
        assert_eq!(json(&Event::Sent(event)), expected);
    }
}
