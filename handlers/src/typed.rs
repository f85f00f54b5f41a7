//! The typed events of gateways: [`MessageEvent`], [`StatusEvent`], [`ConnectionEvent`], and
//! [`UnknownEvent`] for the rest.
//!
//! Each gateway has its own words; a dialect translates them into these. What a gateway does not say is
//! `None`.

use jiff::Timestamp;

use crate::Extra;
use crate::macros::{open_enum, texts};

/// A message: one that was received ([`Event::Message`](crate::Event::Message)), one of our own
/// ([`Event::Sent`](crate::Event::Sent)), or an edit or a deletion ([`Event::Change`](crate::Event::Change)).
///
/// A reaction, a vote and a chosen button are messages too: `message` is the emoji or the text shown, `choice`
/// the id of what was chosen, and `target` the message that it is about.
///
/// Every field is optional on the wire. A method with the name of a text field returns the text, or `""`
/// if there is none.
///
/// ```
/// use offhook_handlers::{MessageEvent, MessageType};
///
/// let mut event = MessageEvent::default();
/// event.from = Some("+1234567890".into());
/// event.kind = Some(MessageType::Sticker);
///
/// assert_eq!(event.from(), "+1234567890");
/// assert_eq!(event.message(), "");
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct MessageEvent {
    /// The event's name as the body gives it (`event`).
    pub name: Option<String>,
    /// The gateway session that received the message (`sessionId`).
    pub session_id: Option<String>,
    /// The message's id (`messageId`).
    pub message_id: Option<String>,
    /// The person who wrote it, in a group the participant: `+` and digits where the gateway says a phone
    /// number, otherwise an id as the gateway writes it (`from`).
    pub from: Option<String>,
    /// The name that the sender shows.
    pub from_name: Option<String>,
    /// Whether it is one of our own.
    pub from_me: Option<bool>,
    /// The conversation, as the gateway writes it and takes it for an answer: a group, the other party, a
    /// channel.
    pub chat: Option<String>,
    /// The kind of conversation.
    pub chat_type: Option<ChatType>,
    /// The id of the message that this one answers. Some gateways write only the last part of a message's id
    /// here.
    pub reply_to: Option<String>,
    /// The id of the message that a reaction, a vote, a button or a change is about.
    pub target: Option<String>,
    /// What a change does to its target.
    pub action: Option<MessageAction>,
    /// The id of the button, row or option that was chosen.
    pub choice: Option<String>,
    /// The text (`message`); usually absent for media. A reaction that was taken back has an empty one.
    pub message: Option<String>,
    /// The type of the message (`type`).
    pub kind: Option<MessageType>,
    /// The URL of the media (`mediaUrl`).
    pub media_url: Option<String>,
    /// The text that belongs to the media (`caption`).
    pub caption: Option<String>,
    /// The file's name (`filename`).
    pub filename: Option<String>,
    /// The media type of the file, such as `image/jpeg`.
    pub mime_type: Option<String>,
    /// The id by which the gateway's API returns the media.
    pub media_id: Option<String>,
    /// The place, if the message is one.
    pub location: Option<Location>,
    /// When the message was sent (`timestamp`).
    pub timestamp: Option<Timestamp>,
    /// All other fields of the body.
    pub extra: Extra,
}

texts!(
    MessageEvent: session_id, message_id, from, from_name, chat, chat_type, reply_to, target, action, choice,
    message, media_url, caption, filename, mime_type, media_id
);

impl MessageEvent {
    /// Whether it is of a conversation with one person.
    pub fn is_private(&self) -> bool {
        self.chat_type == Some(ChatType::Private)
    }

    /// Whether it is of a group.
    pub fn is_group(&self) -> bool {
        self.chat_type == Some(ChatType::Group)
    }
}

/// A place.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Location {
    /// Degrees north of the equator.
    pub latitude: Option<f64>,
    /// Degrees east of Greenwich.
    pub longitude: Option<f64>,
    /// What it is called.
    pub name: Option<String>,
    /// Where it is, in words.
    pub address: Option<String>,
}

open_enum! {
    /// The type of a message (`type`).
    MessageType {
        Text = "text",
        Image = "image",
        Video = "video",
        Audio = "audio",
        Document = "document",
        Sticker = "sticker",
        Location = "location",
        Contact = "contact",
        Reaction = "reaction",
        /// A button was pressed.
        ButtonReply = "button_reply",
        /// A row of a list was chosen.
        ListReply = "list_reply",
        /// A form was filled in.
        FlowReply = "flow_reply",
        Poll = "poll",
        PollVote = "poll_vote",
        Order = "order",
        /// The gateway says that it cannot read it.
        Unsupported = "unsupported",
    }
}

open_enum! {
    /// The kind of a conversation.
    ChatType {
        /// With one person.
        Private = "private",
        Group = "group",
        /// Stories, and what goes to many.
        Broadcast = "broadcast",
        /// Posts of a channel or newsletter.
        Channel = "channel",
    }
}

open_enum! {
    /// What a change does to a message.
    MessageAction {
        Edited = "edited",
        /// For everyone in the conversation.
        Deleted = "deleted",
    }
}

/// The status of a sent message changed.
///
/// Every field is optional on the wire; see [`MessageEvent`] for the methods.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct StatusEvent {
    /// The event's name as the body gives it (`event`).
    pub name: Option<String>,
    /// The gateway session that sent the message (`sessionId`).
    pub session_id: Option<String>,
    /// The message's id (`messageId`).
    pub message_id: Option<String>,
    /// The new status (`status`).
    pub status: Option<MessageStatus>,
    /// The conversation, as in [`MessageEvent::chat`].
    pub chat: Option<String>,
    /// The kind of conversation.
    pub chat_type: Option<ChatType>,
    /// Whether the message is one of our own. If not, it is a receipt about a message that was received.
    pub from_me: Option<bool>,
    /// Who has received or read it; in a group the participant.
    pub recipient: Option<String>,
    /// Why the message failed.
    pub error: Option<MessageError>,
    /// When it changed (`timestamp`).
    pub timestamp: Option<Timestamp>,
    /// All other fields of the body.
    pub extra: Extra,
}

texts!(StatusEvent: session_id, message_id, status, chat, chat_type, recipient);

/// Why a message failed, in the gateway's words.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MessageError {
    /// The code; a number is its text.
    pub code: Option<String>,
    /// What went wrong.
    pub title: Option<String>,
    /// More about it.
    pub detail: Option<String>,
}

open_enum! {
    /// The status of a sent message (`status`).
    MessageStatus {
        /// The gateway has taken it.
        Pending = "pending",
        /// The gateway has sent it.
        Sent = "sent",
        /// It reached the device.
        Delivered = "delivered",
        /// The recipient has opened it.
        Read = "read",
        /// The recipient has played it.
        Played = "played",
        /// It will not arrive.
        Failed = "failed",
        Deleted = "deleted",
    }
}

/// A session's connection changed.
///
/// Every field is optional on the wire; see [`MessageEvent`] for the methods.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct ConnectionEvent {
    /// The event's name as the body gives it (`event`).
    pub name: Option<String>,
    /// The gateway session (`sessionId`).
    pub session_id: Option<String>,
    /// The new status (`status`).
    pub status: Option<ConnectionStatus>,
    /// Why, in the gateway's words; a number is its text.
    pub reason: Option<String>,
    /// The text of the QR code to scan.
    pub qr: Option<String>,
    /// When it changed (`timestamp`).
    pub timestamp: Option<Timestamp>,
    /// All other fields of the body.
    pub extra: Extra,
}

texts!(ConnectionEvent: session_id, status, reason, qr);

open_enum! {
    /// The status of a session's connection (`status`).
    ConnectionStatus {
        Connected = "connected",
        Connecting = "connecting",
        Disconnected = "disconnected",
        /// A QR code waits to be scanned.
        Qr = "qr",
        /// It will not connect by itself.
        Failed = "failed",
        LoggedOut = "logged_out",
    }
}

/// A verified body of no known kind.
///
/// It is stored and handed over like any other event. Its bytes are in
/// [`Delivery::body`](crate::Delivery::body).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct UnknownEvent {
    /// The event's name, if the body has one.
    pub name: Option<String>,
    /// The session, if the path or the body names one.
    pub session_id: Option<String>,
    /// The gateway's own id of the event, if it has one that stays the same when it sends the event again.
    pub event_id: Option<String>,
    /// Why it has no kind.
    pub reason: UnknownReason,
    /// All fields of the body, if it is a JSON object.
    pub extra: Extra,
}

impl UnknownEvent {
    /// An event without a name, a session or fields.
    pub fn new(reason: UnknownReason) -> Self {
        Self {
            name: None,
            session_id: None,
            event_id: None,
            reason,
            extra: Extra::default(),
        }
    }
}

/// Why a body has no kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnknownReason {
    /// The `Content-Encoding` is unknown, damaged, or decodes to more than `max_body`.
    #[error("content encoding: {0}")]
    ContentEncoding(String),
    /// The body is not JSON. The text says where the error is.
    #[error("not JSON: {0}")]
    NotJson(String),
    /// The body is JSON, but not an object.
    #[error("not a JSON object")]
    NotAnObject,
    /// The event's name is not a text.
    #[error("the event's name is not a text")]
    NameNotText,
    /// The event has a name that the dialect knows and has no kind for, such as that somebody is typing. Such
    /// events are common, and not odd.
    #[error("an event of no kind")]
    NoKind,
    /// The body has more events than a dialect reads. Those that are not read are this one; their bytes are in
    /// the body.
    #[error("more events in one body than are read")]
    TooManyEvents,
    /// The event has a name that this dialect does not know.
    #[error("an event name that the dialect does not know")]
    UnknownName,
    /// The event has no name, and its fields do not show its kind.
    #[error("no event name, and no fields that tell the kind")]
    NoName,
    /// The dialect found no event in the body.
    #[error("the dialect found no event in it")]
    NoEvents,
    /// The dialect panicked when it read the body.
    #[error("the dialect panicked")]
    Panicked,
}
