//! [`Unavailable`]: why a journal cannot serve a request now.

/// Why a journal cannot serve a request now. The texts are for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// There is no room: the disk is full, or too much waits to be written. Nothing was stored; the
    /// caller may try again later.
    #[error("{0}")]
    Full(String),
    /// The storage cannot be reached, or fails. Nothing was stored; the caller may try again later.
    #[error("{0}")]
    Away(String),
    /// Another instance has taken the share. Nothing was stored, and this one may write nothing
    /// more for it.
    #[error("another instance holds share {0} now")]
    Fenced(super::Share),
    /// The outcome is unknown: the data may or may not be stored.
    #[error("whether it was stored is unknown: {0}")]
    Unknown(String),
    /// The journal is closed.
    #[error("the journal is closed")]
    Ended,
}
