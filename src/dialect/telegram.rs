//! [`Telegram`]: the updates of Telegram's Bot API.

use bytestring::ByteString;

use super::collector::{Collector, gateway};
use super::content::ContentHash;
use super::picked::{Picked, scalar};
use super::{ContentHasher, Dialect, object};
use crate::{
    ChatType, Event, Location, MessageAction, MessageEvent, MessageType, UnknownEvent,
    UnknownReason,
};

/// The dialect of [Telegram's Bot API](https://core.telegram.org/bots/api#update).
///
/// An id of a message is only good within its chat, so a message's id is `chat:message_id`. A body names no
/// session: one bot, one path.
///
/// ```
/// use offhook::dialect::{Dialect, Telegram};
///
/// let body = r#"{"update_id":1,"message":{"message_id":2,"from":{"id":3},"chat":{"id":3,"type":"private"},"text":"Hi"}}"#;
/// let events = Telegram.events(&body.into());
/// let message = events[0].as_message().unwrap();
/// assert_eq!((message.from(), message.message()), ("3", "Hi"));
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct Telegram;

gateway!(Telegram, "telegram");

impl Telegram {
    fn read(&self, body: &ByteString, all: &mut Collector<'_>) {
        let whole = match Picked::of_body(body, UPDATE) {
            Ok(whole) => whole,
            Err(reason) => return all.broken(reason),
        };
        let mut found = UPDATE[1..].iter().copied();
        let Some(name) = found.find(|name| whole.get(name).is_some()) else {
            return unknown(body, &whole, all);
        };
        let json = whole.get(name);
        match name {
            "callback_query" => callback(json, all),
            _ => message(name, json, whole.get("update_id"), all),
        }
    }
}

/// An update of no kind. Its name is that of the field beside `update_id`.
fn unknown(body: &ByteString, whole: &Picked<'_, { UPDATE.len() }>, all: &mut Collector<'_>) {
    let mut name = None;
    // It was read before, so this does not fail.
    let _ = object::for_each_field(body, |key, _| {
        if key.bytes() != b"update_id" && name.is_none() {
            name = Some(key.decoded().into_owned());
        }
    });
    let is_known = |name: &String| WITHOUT_KIND.contains(&&**name);
    let reason = match &name {
        None => UnknownReason::NoName,
        Some(name) if is_known(name) => UnknownReason::NoKind,
        Some(_) => UnknownReason::UnknownName,
    };
    all.push(
        |all| {
            let mut event = UnknownEvent::new(reason);
            event.name = name;
            event.event_id = whole.get("update_id").and_then(scalar);
            event.extra = all.extra(whole, &[]);
            Event::Unknown(event)
        },
        |_| false,
    );
}

fn message(name: &str, json: Option<&str>, update: Option<&str>, all: &mut Collector<'_>) {
    let mut message = Picked::of(json, MESSAGE);
    let event = |all: &mut Collector<'_>| {
        let mut event = MessageEvent::default();
        event.name = Some(name.to_owned());
        let chat = chat(&message, &mut event);
        event.message_id = id(chat.as_deref(), &mut message);
        from(&message, &mut event);
        content(&mut message, &mut event);
        let mut answered = message.inner("reply_to_message", ["message_id"]);
        event.reply_to = id(chat.as_deref(), &mut answered);
        let sent = message.time("date");
        let edited = message.time("edit_date");
        event.extra = all.extra(&message, &[]);
        if !name.starts_with("edited_") {
            event.timestamp = sent;
            return Event::Message(event);
        }
        event.timestamp = edited.or(sent);
        event.action = Some(MessageAction::Edited);
        event.target.clone_from(&event.message_id);
        Event::Change(event)
    };
    let json = json.unwrap_or_default();
    // Its times too, and of an edit the number of the update, because times are in seconds: what is sent once more has
    // the same, and a text may be changed back to an earlier one.
    let update = update.filter(|_| name.starts_with("edited_"));
    all.push(event, |hasher| {
        update.into_iter().for_each(|update| hasher.json(update));
        hasher.object(json, &[])
    });
}

/// A button was pressed.
fn callback(json: Option<&str>, all: &mut Collector<'_>) {
    let mut query = Picked::of(json, ["id", "from", "message", "data"]);
    let event = |all: &mut Collector<'_>| {
        let mut event = MessageEvent::default();
        event.name = Some("callback_query".to_owned());
        event.kind = Some(MessageType::ButtonReply);
        event.message_id = query.scalar("id");
        event.choice = query.text("data");
        from(&query, &mut event);
        let mut message = query.inner("message", MESSAGE);
        let chat = chat(&message, &mut event);
        event.target = id(chat.as_deref(), &mut message);
        event.extra = all.extra(&query, &[]);
        Event::Message(event)
    };
    let json = json.unwrap_or_default();
    all.push(event, |hasher| hasher.object(json, &[]));
}

/// The id of the chat.
fn chat(message: &Picked<'_, { MESSAGE.len() }>, event: &mut MessageEvent) -> Option<String> {
    let mut chat = message.inner("chat", ["id", "type"]);
    event.chat_type = chat.text("type").map(|kind| match &*kind {
        "supergroup" => ChatType::Group,
        other => other.into(),
    });
    event.chat = chat.scalar("id");
    event.chat.clone()
}

fn id<const N: usize>(chat: Option<&str>, message: &mut Picked<'_, N>) -> Option<String> {
    let id = message.scalar("message_id")?;
    Some(format!("{}:{id}", chat?))
}

fn from<const N: usize>(message: &Picked<'_, N>, event: &mut MessageEvent) {
    let mut from = message.inner("from", ["id", "first_name", "last_name"]);
    event.from = from.scalar("id");
    // What a bot sends itself does not come.
    event.from_me = message.is_object().then_some(false);
    let names = [from.words("first_name"), from.words("last_name")];
    let name: Vec<String> = names.into_iter().flatten().collect();
    event.from_name = (!name.is_empty()).then(|| name.join(" "));
}

/// The type is that of the field that is there.
fn content(message: &mut Picked<'_, { MESSAGE.len() }>, event: &mut MessageEvent) {
    event.message = message.text("text");
    event.caption = message.words("caption");
    for (field, kind) in MEDIA {
        let Some(media) = message.get(field) else {
            continue;
        };
        // A photo is a list, with the largest one last.
        let mut largest = media;
        object::for_each_item(media, |size| largest = size);
        let mut media = Picked::of(Some(largest), ["file_id", "mime_type", "file_name"]);
        event.media_id = media.text("file_id");
        event.mime_type = media.words("mime_type");
        event.filename = media.words("file_name");
        event.kind = Some(kind);
        return;
    }
    let venue = message.inner("venue", ["location", "title", "address"]);
    let place = venue.get("location").or_else(|| message.get("location"));
    event.kind = if place.is_some() {
        event.location = Some(location(place, venue));
        Some(MessageType::Location)
    } else if message.get("contact").is_some() {
        Some(MessageType::Contact)
    } else if message.get("poll").is_some() {
        event.message = message.inner("poll", ["question"]).text("question");
        Some(MessageType::Poll)
    } else {
        event.message.is_some().then_some(MessageType::Text)
    };
}

fn location(place: Option<&str>, mut venue: Picked<'_, 3>) -> Location {
    let mut place = Picked::of(place, ["latitude", "longitude"]);
    let mut location = Location::default();
    location.latitude = place.number("latitude");
    location.longitude = place.number("longitude");
    location.name = venue.words("title");
    location.address = venue.words("address");
    location
}

/// `update_id`, and the updates that have a kind.
const UPDATE: [&str; 6] = [
    "update_id",
    "message",
    "edited_message",
    "channel_post",
    "edited_channel_post",
    "callback_query",
];

/// The other updates that are known.
const WITHOUT_KIND: [&str; 18] = [
    "business_connection",
    "business_message",
    "edited_business_message",
    "deleted_business_messages",
    "message_reaction",
    "message_reaction_count",
    "inline_query",
    "chosen_inline_result",
    "shipping_query",
    "pre_checkout_query",
    "purchased_paid_media",
    "poll",
    "poll_answer",
    "my_chat_member",
    "chat_member",
    "chat_join_request",
    "chat_boost",
    "removed_chat_boost",
];

/// An animation comes with a document.
const MEDIA: [(&str, MessageType); 8] = [
    ("photo", MessageType::Image),
    ("animation", MessageType::Video),
    ("video", MessageType::Video),
    ("video_note", MessageType::Video),
    ("voice", MessageType::Audio),
    ("audio", MessageType::Audio),
    ("document", MessageType::Document),
    ("sticker", MessageType::Sticker),
];

const MESSAGE: [&str; 20] = [
    "message_id",
    "from",
    "chat",
    "date",
    "edit_date",
    "reply_to_message",
    "text",
    "caption",
    "photo",
    "animation",
    "video",
    "video_note",
    "voice",
    "audio",
    "document",
    "sticker",
    "venue",
    "location",
    "contact",
    "poll",
];
