//! [`MessageEvent`]: a message was received.

use jiff::Timestamp;

use crate::Extra;
use crate::open_enum::open_enum;

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

impl MessageEvent {
    /// The session's id, or `""`.
    pub fn session_id(&self) -> &str {
        self.session_id.as_deref().unwrap_or_default()
    }

    /// The message's id, or `""`.
    pub fn message_id(&self) -> &str {
        self.message_id.as_deref().unwrap_or_default()
    }

    /// The sender, or `""`.
    pub fn from(&self) -> &str {
        self.from.as_deref().unwrap_or_default()
    }

    /// The text, or `""`.
    pub fn message(&self) -> &str {
        self.message.as_deref().unwrap_or_default()
    }

    /// The URL of the media, or `""`.
    pub fn media_url(&self) -> &str {
        self.media_url.as_deref().unwrap_or_default()
    }

    /// The caption, or `""`.
    pub fn caption(&self) -> &str {
        self.caption.as_deref().unwrap_or_default()
    }

    /// The file's name, or `""`.
    pub fn filename(&self) -> &str {
        self.filename.as_deref().unwrap_or_default()
    }
}

open_enum! {
    /// The type of a message (`type`).
    MessageType {
        /// `text`
        Text = "text",
        /// `image`
        Image = "image",
        /// `video`
        Video = "video",
        /// `audio`
        Audio = "audio",
        /// `document`
        Document = "document",
        /// `sticker`
        Sticker = "sticker",
        /// `location`
        Location = "location",
        /// `contact`
        Contact = "contact",
        /// `reaction`
        Reaction = "reaction",
    }
}
