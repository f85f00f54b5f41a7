//! **offhook picks up every webhook**: a signed-webhook receiver and relay on actix-web.
//!
//! A messaging gateway POSTs signed events. offhook verifies the signature, parses the body into typed
//! events, stores them, answers, and hands them to your [`EventHandler`]s and to your subscribers.
//! Events of one conversation stay in order, and each is retried until it is settled.
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
//! 1. A connection is guarded: a head or body that does not arrive in time is answered with 408.
//! 2. [`signature`]: the middleware [`VerifySignature`](signature::VerifySignature) reads the body
//!    within [`Limits`](signature::Limits) and turns it into a [`Verified`](signature::Verified), or
//!    refuses it.
//! 3. [`dialect`]: the body becomes typed [`Event`]s. What has no known kind becomes an
//!    [`UnknownEvent`]; no event is refused for its shape.
//! 4. The envelope: the event with its id and session. Only a verified body can become one.
//! 5. The engine decides when the event is acknowledged: with the journal (`sqlite`) when it is on disk,
//!    with `none` when the handlers have run.
//! 6. Each handler is a consumer with its own progress in the journal, and its own filter, [`Order`],
//!    [`Retry`], timeout and concurrency.
//! 7. Each subscription is a consumer too. Its handler is a [`relay::Relay`], which POSTs the stored
//!    bytes, signed with the subscriber's secret, to addresses that its guard allows.
//!
//! # Subscriptions, gateways, silence
//!
//! - Programs in any language subscribe at the admin listener, with the same requests that the gateway
//!   takes (`/sessions/{id}/webhook`), or in the settings ([`settings::SubscriptionSettings`]).
//!   Subscriptions can be added and removed while the server runs.
//! - [`gateway::GatewayClient`] registers our URL at a gateway; `[[gateways]]` in the settings does so at
//!   each start.
//! - When a source with `quiet_after` ([`Source::quiet_after`]) sends nothing for that long, offhook
//!   makes an event of its own, [`EventKind::SourceQuiet`], and hands a [`SourceEvent`] to the handlers
//!   that name it.
//!
//! # Parts on their own
//!
//! - The signature middleware in any actix `App`: [`signature::VerifySignature`].
//! - The schemes without HTTP: [`signature::Scheme`], [`signature::Verifier`].
//! - The whole receiver in your own actix `App`: [`Receiver`].
//! - Relaying events to subscribers in any language: [`relay::Relay`].
//! - Events and ready-made handlers without a server: the crate `offhook-handlers`, re-exported here.
//! - Helpers for tests: [`testing`].

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
mod refused;
pub mod relay;
mod reload;
mod server;
pub mod settings;
pub mod signature;
mod telemetry;
pub mod testing;

pub use offhook_handlers::{
    CannotRun, ChatType, ConnectionEvent, ConnectionStatus, Delivery, EmptyCommand, Event,
    EventHandler, EventId, EventKind, Exec, ExecHandler, Extra, HandlerError, JsonlHandler,
    Location, LogHandler, MessageAction, MessageError, MessageEvent, MessageStatus, MessageType,
    ParseEventIdError, ParseEventKindError, Received, SourceChange, SourceEvent, StatusEvent,
    Timestamp, UnknownEvent, UnknownReason, async_trait, escape_controls, escape_controls_in_json,
    percent_encode,
};

pub use crate::dispatch::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, HandlerOptions, Order, Retry};
pub use crate::error::Error;
pub use crate::ingress::Source;
pub use crate::offhook::Offhook;
#[cfg(all(feature = "sqlite", feature = "postgres"))]
pub use crate::offhook::migrate;
#[doc(hidden)]
pub use crate::relay::http_client;
pub use crate::server::{Receiver, STOP_TIMEOUT, Server, run_as_first_process};
pub use crate::telemetry::logging;

#[cfg(all(feature = "sqlite", feature = "test-support"))]
#[doc(hidden)]
pub use crate::index::blobs as index_blobs;

#[cfg(all(feature = "sqlite", feature = "test-support"))]
#[doc(hidden)]
pub use crate::journal::fuzzed as journal_files;

/// What becomes of a verified body, for the fuzz target `request`.
#[cfg(feature = "test-support")]
#[doc(hidden)]
pub fn open_verified(verified: signature::Verified) -> (std::sync::Arc<Received>, Vec<Event>) {
    let dialect = std::sync::Arc::new(dialect::Codeskytz);
    let reader = dialect::BodyReader::new(dialect, dialect::Hints::default(), 100_000);
    let (envelope, events) = engine::Envelope::open(verified, &reader);
    (envelope.received().clone(), events)
}

/// What is read of a body with this `Content-Encoding`: all of it, and what is seen before its sender is
/// proven, or why that is nothing. Each is the content and its events. For the fuzz target `decoding`.
#[cfg(feature = "test-support")]
#[doc(hidden)]
pub fn read_body(
    body: &[u8],
    encoding: Option<&[u8]>,
    max_body: usize,
) -> [Result<(bytes::Bytes, Vec<Event>), String>; 2] {
    let dialect = std::sync::Arc::new(dialect::Codeskytz);
    let reader = dialect::BodyReader::new(dialect, dialect::Hints::default(), max_body);
    let reader = reader.with_contents();
    let body = bytes::Bytes::copy_from_slice(body);
    let value = encoding.map(bytes::Bytes::copy_from_slice);
    let header = value.map(|value| ("content-encoding".into(), value));
    let headers: Vec<_> = header.into_iter().collect();
    let read = reader.read(&body, &headers);
    let peeked = reader.peek(&body, &headers);
    [Ok(read), peeked].map(|reading| reading.map(|reading| (reading.content, reading.events)))
}
