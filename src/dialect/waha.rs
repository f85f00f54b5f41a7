//! [`Waha`]: the events of WAHA.

use bytestring::ByteString;

use super::collector::{Collector, gateway, name_of, owned};
use super::content::ContentHash;
use super::picked::{Picked, each, text};
use super::whatsapp::{chat_type, person};
use super::{ContentHasher, Dialect, object};
use crate::{
    ConnectionEvent, ConnectionStatus, Event, Location, MessageAction, MessageEvent, MessageStatus,
    MessageType, StatusEvent, Timestamp, UnknownReason,
};

/// The dialect of [WAHA](https://waha.devlike.pro/docs/how-to/events/):
/// `{event, session, me, timestamp, payload, …}`.
///
/// Own messages (`message.any` with `fromMe`) are [`Event::Sent`], edits and revokes [`Event::Change`].
///
/// ```
/// use offhook::dialect::{Dialect, Waha};
///
/// let body = r#"{"event":"message","session":"sales","payload":{"from":"4917@c.us","body":"Hi"}}"#;
/// let events = Waha.events(&body.into());
/// let message = events[0].as_message().unwrap();
/// assert_eq!((message.from(), message.message()), ("+4917", "Hi"));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Waha;

gateway!(Waha, "waha");

/// What surrounds each payload of a body.
struct Envelope<'a> {
    name: &'a str,
    session: Option<&'a str>,
    /// Our own chat id.
    me: Option<&'a str>,
    at: Option<Timestamp>,
}

impl Waha {
    fn read(&self, body: &ByteString, all: &mut Collector<'_>) {
        let names = ["id", "timestamp", "event", "session", "me", "payload"];
        let whole = match Picked::of_body(body, names) {
            Ok(whole) => whole,
            Err(reason) => return all.broken(reason),
        };
        let session = whole.get("session").and_then(text);
        let id = whole.get("id").and_then(text);
        let name = match name_of(whole.get("event")) {
            Ok(name) => name,
            Err(reason) => {
                return all.unknown_with((None, session.as_deref()), reason, &whole, &[], id);
            }
        };
        let me = whole.inner("me", ["id"]).text("id");
        let envelope = Envelope {
            name: &name,
            session: session.as_deref(),
            me: me.as_deref(),
            at: whole.get("timestamp").and_then(object::timestamp),
        };
        let payload = whole.get("payload");
        match &*name {
            "message" | "message.any" | "message.reaction" | "message.edited" => {
                each(payload, |one| {
                    envelope.message(Picked::of(one, MESSAGE), all);
                });
            }
            "message.revoked" => each(payload, |one| envelope.revoked(one, all)),
            "poll.vote" => each(payload, |one| envelope.vote(one, all)),
            "message.ack" | "message.ack.group" => each(payload, |one| envelope.ack(one, all)),
            "session.status" => each(payload, |one| envelope.status(one, all)),
            other => {
                let is_known = WITHOUT_KIND.iter().any(|known| other.starts_with(known));
                let reason = if is_known {
                    UnknownReason::NoKind
                } else {
                    UnknownReason::UnknownName
                };
                all.unknown_with((Some(other), envelope.session), reason, &whole, &[], id);
            }
        }
    }
}

type Payload<'a> = Picked<'a, { MESSAGE.len() }>;

impl Envelope<'_> {
    fn message(&self, mut payload: Payload<'_>, all: &mut Collector<'_>) {
        let json = payload.json();
        let event = |all: &mut Collector<'_>| {
            let mut event = self.content(&mut payload);
            let is_reaction = self.name == "message.reaction";
            if is_reaction {
                let mut reaction = payload.inner("reaction", ["text", "messageId"]);
                event.kind = Some(MessageType::Reaction);
                event.message = reaction.text("text");
                event.target = reaction.text("messageId");
            }
            let is_edit = self.name == "message.edited";
            if is_edit {
                event.action = Some(MessageAction::Edited);
                event.target = payload.words("editedMessageId");
            }
            event.extra = all.extra(&payload, &[]);
            if is_edit {
                Event::Change(event)
            } else {
                received_or_sent(event)
            }
        };
        // Of an edit and a reaction the time too: they may have the id of the message, and one may be taken back and
        // come again.
        let without: &[&str] = match self.name {
            "message.edited" | "message.reaction" => &[],
            _ => &["timestamp"],
        };
        all.push(event, |hasher| hasher.object(json, without));
    }

    fn revoked(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut revoke = Picked::of(json, ["after", "before", "revokedMessageId"]);
        let event = |all: &mut Collector<'_>| {
            let mut after = revoke.inner("after", MESSAGE);
            let mut event = self.content(&mut after);
            // What is left of a message says nothing.
            (event.kind, event.message, event.caption) = (None, None, None);
            event.action = Some(MessageAction::Deleted);
            event.target = revoke.words("revokedMessageId");
            event.extra = all.extra(&revoke, &[]);
            Event::Change(event)
        };
        let json = json.unwrap_or_default();
        all.push(event, |hasher| hasher.object(json, &[]));
    }

    fn vote(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let payload = Picked::of(json, ["vote", "poll"]);
        let event = |all: &mut Collector<'_>| {
            let mut vote = payload.inner("vote", MESSAGE);
            let mut event = self.content(&mut vote);
            event.kind = Some(MessageType::PollVote);
            event.message = vote.take("selectedOptions", |options| {
                let mut chosen = Vec::new();
                object::for_each_item(options, |option| chosen.extend(text(option)));
                options.starts_with('[').then(|| chosen.join(", "))
            });
            event.target = payload.inner("poll", ["id"]).text("id");
            event.extra = all.extra(&payload, &[]);
            received_or_sent(event)
        };
        let vote = payload.get("vote").unwrap_or_default();
        // Its time too: a vote may be changed back.
        all.push(event, |hasher| hasher.object(vote, &[]));
    }

    /// What all kinds of messages have.
    fn content(&self, payload: &mut Payload<'_>) -> MessageEvent {
        let mut event = MessageEvent::default();
        (event.name, event.session_id) = owned((Some(self.name), self.session));
        event.message_id = payload.text("id");
        event.from_me = payload.flag("fromMe");
        let is_own = event.from_me == Some(true);
        event.chat = self.chat(is_own, payload);
        event.chat_type = event.chat.as_deref().and_then(chat_type);
        let writer = ["participant", "author"].into_iter();
        let mut writer = writer.filter_map(|name| payload.words(name));
        event.from = if is_own {
            self.me.map(str::to_owned).or_else(|| writer.next())
        } else {
            writer.next().or_else(|| payload.get("from").and_then(text))
        };
        event.from = event.from.as_deref().map(person);
        event.timestamp = payload.time("timestamp").or(self.at);
        event.reply_to = payload.inner("replyTo", ["id"]).words("id");
        let mut media = payload.inner("media", ["url", "mimetype", "filename"]);
        event.media_url = media.words("url");
        event.mime_type = media.words("mimetype");
        event.filename = media.words("filename");
        let has_media = media.is_object() || payload.get("hasMedia") == Some("true");
        let body = payload.words("body");
        let own_type = payload.inner("_data", ["type"]).words("type");
        let mut place = payload.inner("location", PLACE);
        if place.is_object() {
            let mut location = Location::default();
            location.latitude = place.number("latitude");
            location.longitude = place.number("longitude");
            location.name = place.words("name").or_else(|| place.words("description"));
            location.address = place.words("address");
            event.location = Some(location);
        }
        event.kind = match (
            own_type.as_deref().map(of_engine),
            event.mime_type.as_deref(),
        ) {
            (Some(kind), _) => Some(kind),
            (None, Some(mime)) => Some(of_mime(mime)),
            _ if event.location.is_some() => Some(MessageType::Location),
            _ if payload
                .get("vCards")
                .is_some_and(|cards| cards.starts_with('[') && cards != "[]") =>
            {
                Some(MessageType::Contact)
            }
            _ => (body.is_some() && !has_media).then_some(MessageType::Text),
        };
        match event.kind {
            // What stands there is a picture of the map, or the card.
            Some(MessageType::Location | MessageType::Contact) => {}
            _ if has_media => event.caption = body,
            _ => event.message = body,
        }
        event
    }

    /// `from` is the chat, but of own messages of some engines it is our number.
    fn chat(&self, is_own: bool, payload: &mut Payload<'_>) -> Option<String> {
        let to = payload.get("to").and_then(text);
        let is_other = |to: &String| {
            !to.is_empty() && self.me.is_none_or(|me| person(me) != person(to)) && to != "me"
        };
        let to = to.filter(|to| is_own && is_other(to));
        to.or_else(|| {
            payload
                .get("from")
                .and_then(text)
                .filter(|from| !from.is_empty())
        })
    }

    fn ack(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut payload = Picked::of(json, MESSAGE);
        let event = |all: &mut Collector<'_>| {
            let mut event = StatusEvent::default();
            (event.name, event.session_id) = owned((Some(self.name), self.session));
            event.message_id = payload.text("id");
            event.from_me = payload.flag("fromMe");
            event.status = payload.take("ack", status);
            event.chat = self.chat(event.from_me == Some(true), &mut payload);
            event.chat_type = event.chat.as_deref().and_then(chat_type);
            event.recipient = payload.words("participant").as_deref().map(person);
            event.timestamp = payload.time("timestamp").or(self.at);
            event.extra = all.extra(&payload, &[]);
            Event::Status(event)
        };
        let json = json.unwrap_or_default();
        all.push(event, |hasher| hasher.object(json, &["timestamp"]));
    }

    fn status(&self, json: Option<&str>, all: &mut Collector<'_>) {
        let mut payload = Picked::of(json, ["status"]);
        let event = |all: &mut Collector<'_>| {
            let mut event = ConnectionEvent::default();
            (event.name, event.session_id) = owned((Some(self.name), self.session));
            event.status = payload.text("status").map(|status| connection(&status));
            event.timestamp = self.at;
            event.extra = all.extra(&payload, &[]);
            Event::Connection(event)
        };
        all.push(event, |_| false);
    }
}

fn received_or_sent(event: MessageEvent) -> Event {
    if event.from_me == Some(true) {
        Event::Sent(event)
    } else {
        Event::Message(event)
    }
}

/// The type in the words of WhatsApp Web, which one of the engines passes on.
fn of_engine(word: &str) -> MessageType {
    match word {
        "chat" => MessageType::Text,
        "ptt" => MessageType::Audio,
        "gif" | "ptv" => MessageType::Video,
        "vcard" | "multi_vcard" => MessageType::Contact,
        "poll_creation" => MessageType::Poll,
        "list_response" => MessageType::ListReply,
        "buttons_response" | "template_button_reply" => MessageType::ButtonReply,
        other => other.into(),
    }
}

fn of_mime(mime: &str) -> MessageType {
    if mime.starts_with("image/webp") {
        return MessageType::Sticker;
    }
    match mime.split_once('/') {
        Some(("image", _)) => MessageType::Image,
        Some(("video", _)) => MessageType::Video,
        Some(("audio", _)) => MessageType::Audio,
        _ => MessageType::Document,
    }
}

fn status(json: &str) -> Option<MessageStatus> {
    Some(match json {
        "-1" => MessageStatus::Failed,
        "0" => MessageStatus::Pending,
        "1" => MessageStatus::Sent,
        "2" => MessageStatus::Delivered,
        "3" => MessageStatus::Read,
        "4" => MessageStatus::Played,
        other if other.starts_with(|first: char| first.is_ascii_digit() || first == '-') => {
            MessageStatus::Other(other.to_owned())
        }
        _ => return None,
    })
}

fn connection(word: &str) -> ConnectionStatus {
    match word {
        "WORKING" => ConnectionStatus::Connected,
        "STARTING" => ConnectionStatus::Connecting,
        "STOPPED" => ConnectionStatus::Disconnected,
        "SCAN_QR_CODE" => ConnectionStatus::Qr,
        "FAILED" => ConnectionStatus::Failed,
        other => (&*other.to_lowercase()).into(),
    }
}

/// The fields of a message with a meaning.
const MESSAGE: [&str; 19] = [
    "id",
    "timestamp",
    "from",
    "fromMe",
    "to",
    "participant",
    "author",
    "body",
    "hasMedia",
    "media",
    "location",
    "vCards",
    "replyTo",
    "_data",
    "reaction",
    "editedMessageId",
    "selectedOptions",
    "ack",
    "ackName",
];

const PLACE: [&str; 5] = ["latitude", "longitude", "name", "description", "address"];

/// The beginnings of the names of events that have no kind.
const WITHOUT_KIND: [&str; 10] = [
    "message.waiting",
    "poll.vote.failed",
    "presence.",
    "call.",
    "group.",
    "label.",
    "chat.",
    "event.response",
    "engine.event",
    "state.change",
];
