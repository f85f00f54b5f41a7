//! The load generator: one thread on a core of its own, sockets that wait in one epoll.
//!
//! - [`requests`]: what is sent, signed and laid out before the clock starts.
//! - [`socket`]: one connection, plain or over TLS ([`to`]), a request out and an answer in ([`answer`]).
//! - [`driver`]: who sends when. *Closed*: a connection sends its next request as soon as it has its
//!   answer. *Open*: requests have a timetable, and latency counts from the scheduled time, so that a
//!   receiver which stands still does not slow its own measurement down (no coordinated omission).
//! - [`asks`]: what is asked of an admin listener.
//!
//! Everything but a 200, and a 200 that calls a new event a duplicate, ends the run: a target that
//! refuses fast must not look fast.

mod answer;
mod asks;
mod driver;
mod requests;
mod socket;
mod to;

pub(crate) use asks::Asks;
pub(crate) use driver::{Loaded, Pace, load};
pub(crate) use requests::{KEY, Requests, Shape, Signing};
pub(crate) use to::To;
