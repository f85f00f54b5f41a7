//! How a scheme wants its senders to be answered: [`Reply`] to an event, [`Handshake`] to a signed test of the
//! address, [`Challenge`] to a GET of it.

/// The answer to an event that was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reply {
    /// 200 with `{"status":"received"}`.
    #[default]
    Received,
    /// 200 with an empty body, for senders that show the body of an answer to people.
    Empty,
    /// 204, for senders that take another body for instructions.
    NoContent,
}

/// The JSON that answers a verified body which only tests the address; `None` for an event. Such a body is
/// not stored.
pub type Handshake = fn(&[u8]) -> Option<String>;

/// What a GET of a source's path asks for, by its query.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Challenge {
    /// The scheme has no challenge, so a GET is not allowed.
    Never,
    /// The query holds no challenge.
    Absent,
    /// The challenge proves nothing: 403.
    Refused,
    /// The sender is the one that was expected, and gets this text back.
    Echo(String),
}
