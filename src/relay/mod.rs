//! Sends events to subscribers in any language: signed with their secret, by POST.
//!
//! A [`Relay`] is an [`EventHandler`](crate::EventHandler) for one subscriber, so lanes, retries,
//! dead letters and replays are those of every handler. One delivery, from top to bottom:
//!
//! 1. `handler.rs`: the handler, and what the outcome means for retries.
//! 2. `request.rs`: the stored bytes, with the subscriber's signatures and a few headers.
//! 3. `client.rs`: the request and its answer, with one pool of connections for all subscribers.
//!    `connector.rs` makes the connections.
//! 4. `resolver.rs` and [`guard`]: the host's addresses, judged when the connection is made, so that
//!    a subscriber cannot make this machine send requests into its own network.
//! 5. `answer.rs`: what the subscriber's status means; `failure.rs`: why there was no answer.
//!
//! `registry.rs` holds the subscriptions and runs a consumer for each active one.

mod answer;
mod client;
mod connector;
mod failure;
pub mod guard;
mod handler;
#[doc(hidden)]
pub mod http_client;
mod limits;
mod options;
mod registry;
mod request;
mod resolver;
mod settings;
mod shown;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use client::RelayClient;
pub use guard::{Exception, Guard, RejectedAddress};
pub use handler::Relay;
pub use options::{RelayError, RelayOptions};
pub(crate) use registry::{
    ChangeError, RegisteredSubscription, Registry, SubscriptionChange, WantedSubscription,
};
pub use settings::{RelaySettings, SubscriptionSettings};
pub(crate) use shown::shown;
pub(crate) use subscription::{Subscription, SubscriptionKey, SubscriptionKeyError};
