//! **offhook picks up every webhook**: a signed-webhook receiver and relay on actix-web.
//!
//! A messaging gateway POSTs signed events. offhook proves who sent each one, turns it into typed
//! events, keeps them, answers, and hands them to the [`EventHandler`]s you register and to the
//! subscribers you relay to, in order within each conversation, until each has done its work.
//!
//! ```no_run
//! use offhook::{async_trait, Delivery, EventHandler, HandlerError, MessageEvent, Offhook};
//!
//! struct Greeter;
//!
//! #[async_trait]
//! impl EventHandler for Greeter {
//!     async fn message(&self, event: &MessageEvent, _: &Delivery) -> Result<(), HandlerError> {
//!         println!("New message from {}: {}", event.from(), event.message());
//!         Ok(())
//!     }
//! }
//!
//! #[actix_web::main]
//! async fn main() -> Result<(), offhook::Error> {
//!     Offhook::from_settings("settings.toml")?.handler("greeter", Greeter).run().await
//! }
//! ```
//!
//! # The pipeline, in order
//!
//! ```text
//! socket → limits → signature → Verified → Envelope → engine → consumers ┬→ your handler
//!                                                                        └→ relay → subscriber
//! ```
//!
//! 1. A connection is guarded: heads and bodies arrive in time, or the sender is told 408.
//! 2. [`signature`]: the middleware [`VerifySignature`](signature::VerifySignature) reads the body
//!    within [`Limits`](signature::Limits) and makes it [`Verified`](signature::Verified), or
//!    answers.
//! 3. [`dialect`]: the body becomes typed [`Event`]s; whatever has no kind becomes an
//!    [`UnknownEvent`], and nothing is refused for its shape.
//! 4. [`Envelope`]: the event with its id and session; only a verified body becomes one.
//! 5. The engine says when the event may be acknowledged: with the journal (`sqlite`), when it is on
//!    disk; with `none`, when the handlers have run.
//! 6. Each handler is a consumer with its own progress along the journal, its own filter, [`Order`],
//!    [`Retry`], timeout and concurrency.
//! 7. Each subscription is one too; its handler is a `relay::Relay`, which POSTs the stored bytes on,
//!    signed with the subscriber's secret, to no address that its guard does not let pass.
//!
//! # Subscriptions, gateways, silence
//!
//! - Programs in any language subscribe at the admin listener, with the requests that the gateway takes
//!   (`/sessions/{id}/webhook`), or stand in the settings
//!   (`settings::SubscriptionSettings`). What they subscribe to comes and goes while the server runs.
//! - `gateway::GatewayClient` tells a gateway where to send; `[[gateways]]` in the settings does it at
//!   each start.
//! - A source with `quiet_after` ([`Source::quiet_after`]) that sends nothing for so long makes an event
//!   of offhook's own, [`EventKind::SourceQuiet`], and a [`SourceEvent`] for the handlers that name it.
//!
//! # Pieces alone
//!
//! - The signature middleware in any actix `App`: [`signature::VerifySignature`].
//! - The schemes without HTTP: [`signature::Scheme`], [`signature::Verifier`].
//! - The whole receiver in your own `App`: [`Receiver`].
//! - Events sent on to subscribers in any language: [`relay::Relay`].
//! - Events and ready-made handlers without any of this: the crate `offhook-handlers`, all of which
//!   is re-exported here.
//! - What tests need: [`testing`].

mod admin;
pub mod clock;
pub mod dialect;
mod dispatch;
mod engine;
mod error;
pub mod gateway;
mod index;
mod ingress;
pub mod journal;
mod offhook;
pub mod relay;
mod server;
pub mod settings;
pub mod signature;
mod telemetry;
pub mod testing;

pub use offhook_handlers::*;

pub use crate::dispatch::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, HandlerOptions, Order, Retry};
pub use crate::engine::{Envelope, Odd};
pub use crate::error::Error;
pub use crate::ingress::Source;
pub use crate::offhook::Offhook;
#[doc(hidden)]
pub use crate::relay::http_client;
pub use crate::server::{Receiver, STOP_TIMEOUT, Server};
pub use crate::telemetry::logging;
