//! What a message of Meta's Cloud API says, by its type.

use crate::dialect::picked::Picked;
use crate::{Location, MessageEvent, MessageType};

/// Reads what a message says into `event`.
pub(super) fn read(message: &mut Picked<'_, { MESSAGE.len() }>, event: &mut MessageEvent) {
    let Some(word) = message.text("type") else {
        return;
    };
    event.kind = Some((&*word).into());
    match &*word {
        "text" => event.message = message.inner("text", ["body"]).text("body"),
        "image" | "video" | "audio" | "document" | "sticker" => media(message, &word, event),
        "location" => event.location = Some(location(message)),
        "contacts" => event.kind = Some(MessageType::Contact),
        "reaction" => {
            let mut reaction = message.inner("reaction", ["message_id", "emoji"]);
            event.target = reaction.text("message_id");
            event.message = Some(reaction.text("emoji").unwrap_or_default());
        }
        "button" => {
            let mut button = message.inner("button", ["payload", "text"]);
            event.kind = Some(MessageType::ButtonReply);
            event.message = button.text("text");
            event.choice = button.text("payload");
        }
        "interactive" => chosen(message, event),
        "order" => event.message = message.inner("order", ["text"]).words("text"),
        _ => {}
    }
}

fn media(message: &Picked<'_, { MESSAGE.len() }>, kind: &str, event: &mut MessageEvent) {
    let mut media = message.inner(kind, ["id", "url", "mime_type", "caption", "filename"]);
    event.media_id = media.scalar("id");
    event.media_url = media.words("url");
    event.mime_type = media.words("mime_type");
    event.caption = media.words("caption");
    event.filename = media.words("filename");
}

fn location(message: &Picked<'_, { MESSAGE.len() }>) -> Location {
    let mut place = message.inner("location", ["latitude", "longitude", "name", "address"]);
    let mut location = Location::default();
    location.latitude = place.number("latitude");
    location.longitude = place.number("longitude");
    location.name = place.words("name");
    location.address = place.words("address");
    location
}

/// A button, a row of a list, or a form.
fn chosen(message: &Picked<'_, { MESSAGE.len() }>, event: &mut MessageEvent) {
    let names = ["type", "button_reply", "list_reply", "nfm_reply"];
    let mut interactive = message.inner("interactive", names);
    let word = interactive.text("type");
    match word.as_deref() {
        Some(word @ ("button_reply" | "list_reply")) => {
            let mut reply = interactive.inner(word, ["id", "title"]);
            event.kind = Some(word.into());
            event.message = reply.text("title");
            event.choice = reply.text("id");
        }
        Some("nfm_reply") => {
            let mut reply = interactive.inner("nfm_reply", ["body"]);
            event.kind = Some(MessageType::FlowReply);
            event.message = reply.text("body");
        }
        _ => {}
    }
}

/// The fields of a message with a meaning.
pub(super) const MESSAGE: [&str; 22] = [
    "id",
    "from",
    "from_user_id",
    "to",
    "to_user_id",
    "group_id",
    "timestamp",
    "type",
    "context",
    "text",
    "image",
    "video",
    "audio",
    "document",
    "sticker",
    "location",
    "reaction",
    "button",
    "interactive",
    "order",
    "edit",
    "revoke",
];
