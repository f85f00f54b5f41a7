//! The gateway's client: tells a gateway where to send a session's events, or asks where it sends them.
//!
//! A [`Gateway`] holds the gateway's address, the form of its requests (its [`Shape`]) and extra
//! headers. A [`Registration`] holds what the gateway is told. [`GatewayClient`] makes a [`Call`] from
//! them. The call can show what it sends, without secrets; sending it returns an [`Answer`], which says
//! whether the gateway accepted it.
//!
//! The operator chooses the gateway, which is often on a private network, so any http or https address
//! is allowed. The client follows no redirects and uses no proxy, so that secrets go only to the named
//! host.
//!
//! ```no_run
//! use offhook::gateway::{Gateway, GatewayClient, Registration, Shape};
//! use offhook::signature::Secret;
//!
//! # async fn register() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::new("https://gateway.example")?.shape(Shape::Docs);
//! let registration = Registration::new("https://me.example/webhook")?
//!     .secret(Secret::resolve("env:WEBHOOK_SECRET")?);
//! let call = GatewayClient::new(gateway)?.register("408f7372", &registration)?;
//! let answer = call.send().await?;
//! assert!(answer.accepted(), "{answer}");
//! # Ok(())
//! # }
//! ```

mod answer;
mod api;
mod call;
mod client;
mod mask;
mod registrars;
mod registration;
mod shape;
pub(crate) mod startup;
mod target;

pub use crate::relay::http_client::Unanswered;
pub use answer::{Answer, Verdict};
pub use call::Call;
pub use client::{GatewayClient, TIMEOUT};
pub(crate) use registrars::Registrars;
pub use registration::Registration;
pub use shape::Shape;
pub use target::Gateway;

/// Why a gateway cannot be called. The text holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// The URL is not usable.
    #[error("{0}")]
    Url(String),
    /// A header's name or value cannot be sent.
    #[error("header {name:?}: {problem}")]
    Header {
        /// The header's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The session's id cannot be part of a path.
    #[error("{0:?} is no session id: expected 1 to 256 characters, without control characters")]
    Session(String),
    /// Gateways of this shape do not know the event's name.
    #[error("found {name:?}; allowed: {allowed}")]
    Event {
        /// The name.
        name: String,
        /// The allowed names.
        allowed: String,
    },
    /// A gateway of this shape cannot be asked for these events.
    #[error("{0}")]
    Events(String),
    /// The secret cannot be written as JSON.
    #[error("the secret is not UTF-8 text, and can be told to no gateway")]
    Secret,
    /// The HTTP client cannot start.
    #[error("the HTTP client cannot start: {0}")]
    Client(String),
}
