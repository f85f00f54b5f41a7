//! [`Gowa`]: the events of go-whatsapp-web-multidevice.

use bytestring::ByteString;

use super::collector::{Collector, gateway, name_of, owned};
use super::content::ContentHash;
use super::picked::{Picked, each, text};
use super::whatsapp::{chat_type, person};
use super::{ContentHasher, Dialect, object};
use crate::{
    Event, Location, MessageAction, MessageEvent, MessageType, StatusEvent, Timestamp,
    UnknownReason,
};

/// The dialect of [go-whatsapp-web-multidevice](https://github.com/aldinokemal/go-whatsapp-web-multidevice):
/// `{event, device_id, session_id, timestamp, payload}`.
///
/// Paths of media are relative to that server. There are no events about connections.
///
/// ```
/// use offhook::dialect::{Dialect, Gowa};
///
/// let body = r#"{"event":"message","device_id":"4918@s.whatsapp.net","payload":{"from":"4917@s.whatsapp.net","body":"Hi"}}"#;
/// let events = Gowa.events(&body.into());
/// let message = events[0].as_message().unwrap();
/// assert_eq!((message.from(), message.message()), ("+4917", "Hi"));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Gowa;

gateway!(Gowa, "gowa");

/// What surrounds each payload of a body.
struct Envelope<'a> {
    name: &'a str,
    session: Option<&'a str>,
    at: Option<Timestamp>,
}

impl Gowa {
    fn read(&self, body: &ByteString, all: &mut Collector<'_>) {
        let names = ["event", "device_id", "session_id", "timestamp", "payload"];
        let whole = match Picked::of_body(body, names) {
            Ok(whole) => whole,
            Err(reason) => return all.broken(reason),
        };
        let named = |name| whole.get(name).and_then(text).filter(|id| !id.is_empty());
        let session = named("session_id").or_else(|| named("device_id"));
        let name = match name_of(whole.get("event")) {
            Ok(name) => name,
            Err(reason) => return all.unknown((None, session.as_deref()), reason, &whole),
        };
        let envelope = Envelope {
            name: &name,
            session: session.as_deref(),
            at: whole.get("timestamp").and_then(object::timestamp),
        };
        let payload = whole.get("payload");
        match &*name {
            "message" | "message.reaction" | "message.edited" | "message.revoked" => {
                each(payload, |one| envelope.message(one, all));
            }
            "message.ack" => each(payload, |one| envelope.ack(one, all)),
            other => {
                let is_known = WITHOUT_KIND.iter().any(|known| other.starts_with(known));
                let reason = if is_known {
                    UnknownReason::NoKind
                } else {
                    UnknownReason::UnknownName
                };
                all.unknown((Some(other), envelope.session), reason, &whole);
            }
        }
    }
}

type Payload<'a> = Picked<'a, { MESSAGE.len() }>;

impl Envelope<'_> {
    fn message(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut payload = Picked::of(json, MESSAGE);
        let event = |all: &mut Collector<'_>| {
            let mut event = MessageEvent::default();
            (event.name, event.session_id) = owned((Some(self.name), self.session));
            event.message_id = payload.text("id");
            event.from = payload.text("from").as_deref().map(person);
            event.from_name = payload.words("from_name");
            event.from_me = payload.flag("is_from_me");
            event.chat = payload.text("chat_id");
            event.chat_type = event.chat.as_deref().and_then(chat_type);
            event.timestamp = payload.time("timestamp").or(self.at);
            event.reply_to = payload.words("replied_to_id");
            content(&mut payload, &mut event);
            let change = match self.name {
                "message.reaction" => {
                    event.kind = Some(MessageType::Reaction);
                    event.message = payload.text("reaction");
                    event.target = payload.words("reacted_message_id");
                    None
                }
                "message.edited" => {
                    event.target = payload.words("original_message_id");
                    Some(MessageAction::Edited)
                }
                "message.revoked" => {
                    event.target = payload.words("revoked_message_id");
                    Some(MessageAction::Deleted)
                }
                _ => None,
            };
            event.extra = all.extra(&payload, &[]);
            match change {
                Some(action) => {
                    event.action = Some(action);
                    Event::Change(event)
                }
                None if event.from_me == Some(true) => Event::Sent(event),
                None => Event::Message(event),
            }
        };
        let json = json.unwrap_or_default();
        // Of an edit the time too: a text may be changed back to an earlier one.
        let without: &[&str] = match self.name {
            "message" => &["timestamp"],
            _ => &[],
        };
        all.push(event, |hasher| hasher.object(json, without));
    }

    /// One status for each id.
    fn ack(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut payload = Picked::of(json, ACK);
        let mut same = StatusEvent::default();
        (same.name, same.session_id) = owned((Some(self.name), self.session));
        same.status = payload.text("receipt_type").map(|word| (&*word).into());
        same.chat = payload.text("chat_id");
        same.chat_type = same.chat.as_deref().and_then(chat_type);
        same.recipient = payload.text("from").as_deref().map(person);
        same.timestamp = payload.time("timestamp").or(self.at);
        let extra = all.extra(&payload, &["ids"]);
        let mut hasher = ContentHasher::default();
        let json = json.unwrap_or_default();
        let rest = hasher
            .object(json, &["ids", "timestamp"])
            .then(|| hasher.finish());
        each(payload.get("ids"), |id| {
            let event = |all: &mut Collector<'_>| {
                let mut event = same.clone();
                event.message_id = id.and_then(text);
                event.extra = all.extra_again(&extra);
                Event::Status(event)
            };
            all.push(event, |hasher| {
                hasher.json(id.unwrap_or("null"));
                hasher.bytes(rest.as_ref().map_or(&[][..], |rest| rest));
                rest.is_some()
            });
        });
    }
}

/// The type is that of the field that is there.
fn content(payload: &mut Payload<'_>, event: &mut MessageEvent) {
    let body = payload.words("body");
    for (field, kind) in MEDIA {
        let Some(media) = payload.get(field) else {
            continue;
        };
        event.kind = Some(kind);
        event.media_url = payload.words(field);
        let mut media = Picked::of(
            Some(media),
            ["path", "url", "caption", "filename", "mime_type"],
        );
        if media.is_object() {
            event.media_url = media.words("path").or_else(|| media.words("url"));
            event.filename = media.words("filename");
            event.mime_type = media.words("mime_type");
        }
        event.caption = media.words("caption").or(body);
        return;
    }
    for field in ["location", "live_location"] {
        let mut place = payload.inner(field, PLACE);
        if place.is_object() {
            let mut location = Location::default();
            location.latitude = place.number("degreesLatitude");
            location.longitude = place.number("degreesLongitude");
            location.name = place.words("name");
            location.address = place.words("address");
            (event.kind, event.location) = (Some(MessageType::Location), Some(location));
            return;
        }
    }
    let is_there = |field: &str| payload.get(field).is_some();
    event.kind = if is_there("contact") || is_there("contacts_array") {
        Some(MessageType::Contact)
    } else if is_there("order") {
        Some(MessageType::Order)
    } else if is_there("list") {
        Some("list".into())
    } else {
        body.is_some().then_some(MessageType::Text)
    };
    event.message = body;
}

const MEDIA: [(&str, MessageType); 6] = [
    ("image", MessageType::Image),
    ("video", MessageType::Video),
    ("video_note", MessageType::Video),
    ("audio", MessageType::Audio),
    ("document", MessageType::Document),
    ("sticker", MessageType::Sticker),
];

/// The fields of a message with a meaning.
const MESSAGE: [&str; 24] = [
    "id",
    "chat_id",
    "from",
    "from_name",
    "is_from_me",
    "timestamp",
    "body",
    "replied_to_id",
    "reaction",
    "reacted_message_id",
    "original_message_id",
    "revoked_message_id",
    "image",
    "video",
    "video_note",
    "audio",
    "document",
    "sticker",
    "location",
    "live_location",
    "contact",
    "contacts_array",
    "list",
    "order",
];

const ACK: [&str; 5] = ["ids", "chat_id", "from", "receipt_type", "timestamp"];

const PLACE: [&str; 4] = ["degreesLatitude", "degreesLongitude", "name", "address"];

/// The beginnings of the names of events that have no kind.
const WITHOUT_KIND: [&str; 8] = [
    "message.deleted",
    "group.",
    "call.",
    "chat_presence",
    "presence.",
    "newsletter.",
    "label.",
    "chat.",
];
