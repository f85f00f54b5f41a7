//! [`ConnectionEvent`]: a session connected or disconnected.

use jiff::Timestamp;

use crate::Extra;
use crate::open_enum::open_enum;

/// A session's connection changed.
///
/// Every field is optional on the wire; see [`MessageEvent`](crate::MessageEvent) for the methods.
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

impl ConnectionEvent {
    /// The session's id, or `""`.
    pub fn session_id(&self) -> &str {
        self.session_id.as_deref().unwrap_or_default()
    }

    /// The status as the gateway writes it, or `""`.
    pub fn status(&self) -> &str {
        self.status.as_ref().map_or("", ConnectionStatus::as_str)
    }
}

open_enum! {
    /// The status of a session's connection (`status`).
    ConnectionStatus {
        /// `connected`
        Connected = "connected",
        /// `disconnected`
        Disconnected = "disconnected",
    }
}
