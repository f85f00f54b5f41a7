//! [`Deadline`]: how the middleware talks to a connection that keeps the time of its requests.

use std::time::Instant;

/// The deadline of one request, kept by its connection.
///
/// The server's own listener closes a connection when a head or a body is late. Without a `Deadline` (in
/// the `App` of an application) the middleware measures the body's time itself.
pub(crate) trait Deadline {
    /// When the request's head began.
    fn begun(&self) -> Option<Instant>;

    /// The request's body has ended: the sender owes nothing more.
    fn body_ended(&self);

    /// Whether the connection broke the request off because it was late.
    fn is_late(&self) -> bool;

    /// The request was answered at this time.
    fn answered_at(&self, now: Instant);
}
