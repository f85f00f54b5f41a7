//! What a message of WhatsApp's own protocol (WAProto) says. Its type is the name of the field that is there.

use crate::dialect::picked::Picked;
use crate::{Location, MessageEvent, MessageType};

/// Reads the message `json` into `event`.
pub(super) fn read(json: Option<&str>, event: &mut MessageEvent) {
    let mut message = Picked::of(json, CONTENT);
    event.media_url = message.words("mediaUrl");
    // Some messages are wrapped in others.
    for _ in 0..MAX_WRAPPED {
        let mut wrappers = WRAPPERS.into_iter();
        let wrapped = wrappers.find_map(|name| message.inner(name, ["message"]).get("message"));
        let Some(wrapped) = wrapped else {
            break;
        };
        message = Picked::of(Some(wrapped), CONTENT);
        event.media_url = event.media_url.take().or_else(|| message.words("mediaUrl"));
    }
    if message.get("conversation").is_some() {
        event.kind = Some(MessageType::Text);
        event.message = message.text("conversation");
        return;
    }
    let mut fields = FIELDS.into_iter();
    let found = fields.find(|(name, _)| message.get(name).is_some());
    let Some((name, kind)) = found else {
        return;
    };
    let mut inner = message.inner(name, INNER);
    let answered = inner.inner("contextInfo", ["stanzaId"]).words("stanzaId");
    event.reply_to = event.reply_to.take().or(answered);
    event.mime_type = inner.words("mimetype");
    event.caption = inner.words("caption");
    event.filename = inner.words("fileName");
    match kind {
        MessageType::Text => event.message = inner.text("text"),
        MessageType::Location => event.location = Some(location(&mut inner)),
        MessageType::Reaction => {
            event.message = Some(inner.text("text").unwrap_or_default());
            event.target = inner.inner("key", ["id"]).text("id");
        }
        MessageType::ListReply => {
            event.message = inner.text("title");
            let mut chosen = inner.inner("singleSelectReply", ["selectedRowId"]);
            event.choice = chosen.text("selectedRowId");
        }
        MessageType::ButtonReply => {
            event.message = inner.text("selectedDisplayText");
            event.choice = inner
                .text("selectedButtonId")
                .or_else(|| inner.text("selectedId"));
        }
        MessageType::FlowReply => event.message = inner.inner("body", ["text"]).text("text"),
        MessageType::Poll => event.message = inner.text("name"),
        _ => {}
    }
    event.kind = Some(kind);
}

fn location(place: &mut Picked<'_, { INNER.len() }>) -> Location {
    let mut location = Location::default();
    location.latitude = place.number("degreesLatitude");
    location.longitude = place.number("degreesLongitude");
    location.name = place.words("name");
    location.address = place.words("address");
    location
}

/// Wrapped deeper than this, a message has no type.
const MAX_WRAPPED: usize = 8;

const WRAPPERS: [&str; 6] = [
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "editedMessage",
];

const FIELDS: [(&str, MessageType); 20] = [
    ("extendedTextMessage", MessageType::Text),
    ("imageMessage", MessageType::Image),
    ("videoMessage", MessageType::Video),
    ("ptvMessage", MessageType::Video),
    ("audioMessage", MessageType::Audio),
    ("documentMessage", MessageType::Document),
    ("stickerMessage", MessageType::Sticker),
    ("locationMessage", MessageType::Location),
    ("liveLocationMessage", MessageType::Location),
    ("contactMessage", MessageType::Contact),
    ("contactsArrayMessage", MessageType::Contact),
    ("reactionMessage", MessageType::Reaction),
    ("listResponseMessage", MessageType::ListReply),
    ("buttonsResponseMessage", MessageType::ButtonReply),
    ("templateButtonReplyMessage", MessageType::ButtonReply),
    ("interactiveResponseMessage", MessageType::FlowReply),
    ("pollCreationMessage", MessageType::Poll),
    ("pollCreationMessageV2", MessageType::Poll),
    ("pollCreationMessageV3", MessageType::Poll),
    ("orderMessage", MessageType::Order),
];

/// The names of [`WRAPPERS`] and [`FIELDS`], and what stands beside them.
const CONTENT: [&str; 28] = [
    "conversation",
    "mediaUrl",
    "ephemeralMessage",
    "viewOnceMessage",
    "viewOnceMessageV2",
    "viewOnceMessageV2Extension",
    "documentWithCaptionMessage",
    "editedMessage",
    "extendedTextMessage",
    "imageMessage",
    "videoMessage",
    "ptvMessage",
    "audioMessage",
    "documentMessage",
    "stickerMessage",
    "locationMessage",
    "liveLocationMessage",
    "contactMessage",
    "contactsArrayMessage",
    "reactionMessage",
    "listResponseMessage",
    "buttonsResponseMessage",
    "templateButtonReplyMessage",
    "interactiveResponseMessage",
    "pollCreationMessage",
    "pollCreationMessageV2",
    "pollCreationMessageV3",
    "orderMessage",
];

const INNER: [&str; 16] = [
    "text",
    "caption",
    "mimetype",
    "fileName",
    "contextInfo",
    "degreesLatitude",
    "degreesLongitude",
    "name",
    "address",
    "key",
    "title",
    "singleSelectReply",
    "selectedButtonId",
    "selectedId",
    "selectedDisplayText",
    "body",
];
