//! Every event to subscribers, whatever their language: signed with their secret, and POSTed.
//!
//! A [`Relay`] is an [`EventHandler`](crate::EventHandler) for one subscriber, so lanes, retries,
//! dead letters and replays are those of every handler. One delivery, from top to bottom:
//!
//! 1. `request.rs`: the stored bytes, with the subscriber's signatures and a few headers.
//! 2. [`guard`]: the address, vetted when the connection is made, so that nobody can have us POST
//!    into our own network.
//! 3. `client.rs`: the request and its answer, with one pool of connections for all subscribers;
//!    `connector.rs` makes them.
//! 4. `answer.rs`: what the subscriber's status says should happen next.

mod answer;
mod client;
mod connector;
mod failure;
pub mod guard;
mod handler;
mod options;
mod registry;
mod request;
mod settings;
mod shown;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use client::RelayClient;
pub(crate) use connector::{tcp, tls};
pub(crate) use failure::{innermost, is_timeout};
pub use guard::{Exception, Guard, Refusal};
pub use handler::Relay;
pub use options::{RelayError, RelayOptions};
pub(crate) use registry::{Change, ChangeError, Entry, Registry, Wanted};
pub use settings::{RelaySettings, SubscriptionSettings};
pub(crate) use shown::shown;
pub(crate) use subscription::{Key, KeyError, Subscription};
