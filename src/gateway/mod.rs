//! The gateway's client: tells a gateway where to send a session's events, or asks it.
//!
//! A [`Gateway`] says where a gateway is, how it wants to be asked (its [`Shape`]) and with which
//! headers; a [`Registration`] says what it is told. [`GatewayClient`] makes a [`Call`] of them, which
//! shows what it will send, secrets left out, and is sent; the [`Answer`] says whether that was a yes.
//!
//! The gateway is picked by whoever runs this, and is often on a private network: any http or https
//! address is good. No redirect is followed and no proxy asked, so that secrets go to the host that
//! was named and to no other.
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
mod client;
mod mask;
mod registration;
mod shape;
mod startup;
mod target;

pub use crate::relay::http_client::Unanswered;
pub use answer::{Answer, Verdict};
pub use client::{Call, GatewayClient, TIMEOUT};
pub use registration::Registration;
pub use shape::Shape;
pub use target::Gateway;

pub(crate) use startup::Registrar;

/// Why a gateway cannot be asked as it was meant to be. No text holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GatewayError {
    /// What was given for a URL is none that can be used.
    #[error("{0}")]
    Url(String),
    /// A header's name or value cannot be sent.
    #[error("header {name:?}: {problem}")]
    Header {
        /// The header's name as it was given.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The session's id cannot stand in a path.
    #[error("{0:?} is no session id: expected 1 to 256 characters, without control characters")]
    Session(String),
    /// An event's name is unknown to gateways of this shape.
    #[error("found {name:?}; allowed: {allowed}")]
    Event {
        /// The name that was given.
        name: String,
        /// The names that may be given.
        allowed: String,
    },
    /// The events that are wanted cannot be asked for in this shape.
    #[error("{0}")]
    Events(String),
    /// The secret cannot be written as JSON.
    #[error("the secret is not UTF-8 text, and can be told to no gateway")]
    Secret,
    /// The HTTP client could not be made.
    #[error("the HTTP client cannot start: {0}")]
    Client(String),
}
