//! The typed events of gateways: [`MessageEvent`], [`StatusEvent`], [`ConnectionEvent`], and
//! [`UnknownEvent`] for the rest.

use jiff::Timestamp;

use crate::Extra;
use crate::macros::{open_enum, texts};

/// A message was received.
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
    /// The sender: a phone number or a chat id, as the gateway writes it (`from`).
    pub from: Option<String>,
    /// The text (`message`); usually absent for media.
    pub message: Option<String>,
    /// The type of the message (`type`).
    pub kind: Option<MessageType>,
    /// The URL of the media (`mediaUrl`).
    pub media_url: Option<String>,
    /// The text that belongs to the media (`caption`).
    pub caption: Option<String>,
    /// The file's name (`filename`).
    pub filename: Option<String>,
    /// When the message was sent (`timestamp`).
    pub timestamp: Option<Timestamp>,
    /// All other fields of the body.
    pub extra: Extra,
}

texts!(MessageEvent: session_id, message_id, from, message, media_url, caption, filename);

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
    /// When it changed (`timestamp`).
    pub timestamp: Option<Timestamp>,
    /// All other fields of the body.
    pub extra: Extra,
}

texts!(StatusEvent: session_id, message_id, status);

open_enum! {
    /// The status of a sent message (`status`).
    MessageStatus {
        /// The gateway has sent it.
        Sent = "sent",
        /// It reached the device.
        Delivered = "delivered",
        /// The recipient has opened it.
        Read = "read",
        /// It will not arrive.
        Failed = "failed",
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
    /// When it changed (`timestamp`).
    pub timestamp: Option<Timestamp>,
    /// All other fields of the body.
    pub extra: Extra,
}

texts!(ConnectionEvent: session_id, status);

open_enum! {
    /// The status of a session's connection (`status`).
    ConnectionStatus {
        Connected = "connected",
        Disconnected = "disconnected",
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
