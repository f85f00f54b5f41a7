//! [`Deadline`]: connects the middleware to a connection that enforces the time limits of its requests.

use std::time::Instant;

/// The deadline of one request, enforced by its connection.
///
/// The server's own listener closes a connection when a head or a body is late. Without a `Deadline` (in
/// an application's own `App`) the middleware measures the body's time itself.
pub(crate) trait Deadline {
    /// When the request's head began.
    fn begun(&self) -> Option<Instant>;

    /// The request's body has ended: the sender has nothing left to send.
    fn body_ended(&self);

    /// Whether the connection aborted the request because it was late.
    fn is_late(&self) -> bool;

    /// The request was answered at this time.
    fn answered_at(&self, now: Instant);
}
