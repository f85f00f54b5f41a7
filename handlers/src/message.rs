//! [`MessageEvent`]: a message came in.

use jiff::Timestamp;

use crate::Extra;
use crate::open_enum::open_enum;

/// A message came in.
///
/// Every field is optional on the wire. The methods of the same name as a text field give the text
/// or, where there is none, `""`.
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
    /// Who sent it: a phone number or a chat id, as the gateway writes it (`from`).
    pub from: Option<String>,
    /// The text (`message`); absent on most media.
    pub message: Option<String>,
    /// What the message is (`type`).
    pub kind: Option<MessageType>,
    /// Where the media can be fetched (`mediaUrl`).
    pub media_url: Option<String>,
    /// The text that goes with the media (`caption`).
    pub caption: Option<String>,
    /// The file's name (`filename`).
    pub filename: Option<String>,
    /// When the message was sent (`timestamp`).
    pub timestamp: Option<Timestamp>,
    /// Everything else the body holds.
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

    /// The media's address, or `""`.
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
    /// What a message is (`type`).
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
