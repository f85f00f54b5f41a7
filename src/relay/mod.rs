//! Sends events to subscribers in any language: signed with their secret, by POST.
//!
//! A [`Relay`] is an [`EventHandler`](crate::EventHandler) for one subscriber, so lanes, retries,
//! dead letters and replays are those of every handler. One delivery, from top to bottom:
//!
//! 1. `handler.rs`: the handler, and what the outcome means for retries.
//! 2. `client.rs`: the request and its answer, with one pool of connections for all subscribers.
//! 3. `request.rs`: the stored bytes, with the subscriber's signatures and a few headers.
//! 4. `connector.rs` and [`guard`]: a new connection, to addresses that are judged when it is made, so
//!    that a subscriber cannot make this machine send requests into its own network.
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
mod registry;
mod request;
mod settings;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use client::RelayClient;
pub use client::RelayError;
pub use guard::{Exception, Guard, RejectedAddress};
pub use handler::Relay;
pub(crate) use registry::{ChangeError, RegisteredSubscription, Registry, SubscriptionChange};
pub use settings::{RelayOptions, RelaySettings, SubscriptionSettings};
pub(crate) use subscription::{Ended, Subscription, SubscriptionKey, SubscriptionKeyError};
