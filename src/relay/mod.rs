//! Sends events to subscribers in any language: signed with their secret, by POST.
//!
//! A [`Relay`] is an [`EventHandler`](crate::EventHandler) for one subscriber, so lanes, retries,
//! dead letters and replays are those of every handler. One delivery, from top to bottom:
//!
//! 1. `handler.rs`: the handler, and what the outcome means for retries.
//! 2. `client.rs`: the request and its answer, with one pool of connections for all subscribers.
//! 3. `request.rs`: the stored bytes, with the subscriber's signatures and a few headers; `headers.rs` holds
//!    the subscription's own.
//! 4. `connector.rs` and [`guard`]: a new connection, to addresses that are judged when it is made, so
//!    that a subscriber cannot make this machine send requests into its own network.
//! 5. `answer.rs`: what the subscriber's status means; `refusal.rs`: what it says to that, without
//!    our secrets in any notation (`unescape.rs`); `failure.rs`: why there was no answer.
//!
//! `registry.rs` holds the subscriptions and runs a consumer for each active one.

mod answer;
mod client;
mod connector;
mod failure;
pub mod guard;
mod handler;
mod headers;
#[doc(hidden)]
pub mod http_client;
pub(crate) mod pem;
mod refusal;
mod registry;
mod request;
mod settings;
mod subscription;
#[cfg(test)]
mod tests;
mod unescape;

pub(crate) use client::RelayClient;
pub use client::RelayError;
pub use guard::{Exception, Guard, RejectedAddress};
pub use handler::Relay;
pub use headers::{HeaderError, MAX_HEADER_BYTES, MAX_HEADERS, SubscriptionHeaders};
pub(crate) use registry::{
    ChangeError, NextRelay, RegisteredSubscription, Registry, SubscriptionChange, TestPost,
};
pub use registry::{RelayState, RelayedTo};
pub use settings::{RelayOptions, RelaySettings, SubscriptionSettings};
pub(crate) use subscription::{
    MAX_SECRETS, Subscription, SubscriptionKey, SubscriptionKeyError, shown as without_tokens,
};
