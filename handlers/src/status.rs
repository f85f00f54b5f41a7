//! [`StatusEvent`]: the status of a sent message changed.

use jiff::Timestamp;

use crate::Extra;
use crate::open_enum::open_enum;

/// The status of a sent message changed.
///
/// Every field is optional on the wire; see [`MessageEvent`](crate::MessageEvent) for the methods.
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

impl StatusEvent {
    /// The session's id, or `""`.
    pub fn session_id(&self) -> &str {
        self.session_id.as_deref().unwrap_or_default()
    }

    /// The message's id, or `""`.
    pub fn message_id(&self) -> &str {
        self.message_id.as_deref().unwrap_or_default()
    }

    /// The status as the gateway writes it, or `""`.
    pub fn status(&self) -> &str {
        self.status.as_ref().map_or("", MessageStatus::as_str)
    }
}

open_enum! {
    /// The status of a sent message (`status`).
    MessageStatus {
        /// `sent`: the gateway has sent it.
        Sent = "sent",
        /// `delivered`: it reached the device.
        Delivered = "delivered",
        /// `read`: the recipient has opened it.
        Read = "read",
        /// `failed`: it will not arrive.
        Failed = "failed",
    }
}
