//! The gateway's client: tells a gateway where to send a session's events, or asks where it sends them.
//!
//! A [`Gateway`] holds the gateway's address, its [`Kind`], and what authorizes us. A [`Registration`] holds what
//! the gateway is told. [`GatewayClient`] makes a [`Call`] from them. The call can show what it sends, without
//! secrets; sending it returns an [`Answer`], which says whether the gateway accepted it.
//!
//! Each kind is a file that says which requests it takes (`api.rs` has the trait), as plain data: the documented
//! gateway in three [`Shape`]s, and others. Some need several requests, which depend on the answers before them.
//!
//! The operator chooses the gateway, which is often on a private network, so any http or https address
//! is allowed. The client follows no redirects and uses no proxy, so that secrets go only to the named
//! host.
//!
//! ```no_run
//! use offhook::gateway::{Gateway, GatewayClient, Kind, Registration};
//! use offhook::signature::Secret;
//!
//! # async fn register() -> Result<(), Box<dyn std::error::Error>> {
//! let gateway = Gateway::of(Kind::Waha, "https://waha.example")?.api_key("env:WAHA_API_KEY")?;
//! let registration = Registration::new("https://me.example/waha")?
//!     .secret(Secret::resolve("env:WAHA_HMAC_KEY")?);
//! let call = GatewayClient::new(gateway)?.register("default", &registration)?;
//! let answer = call.send().await?;
//! assert!(answer.accepted(), "{answer}");
//! # Ok(())
//! # }
//! ```

mod answer;
mod api;
mod call;
mod client;
mod evolution;
mod gowa;
mod kind;
mod mask;
mod meta;
mod registrars;
mod registration;
mod shape;
pub(crate) mod startup;
mod target;
mod telegram;
mod waha;
mod wuzapi;

pub use crate::relay::http_client::Unanswered;
pub use answer::{Answer, Verdict};
pub use call::Call;
pub use client::{GatewayClient, TIMEOUT};
pub use kind::Kind;
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
    /// What authorizes us is missing, or cannot be a key of this kind of gateway.
    #[error("the key {0}")]
    Key(String),
    /// The session's id cannot be part of a path.
    #[error("{0:?} is no session id: expected 1 to 256 characters, without control characters")]
    Session(String),
    /// Gateways of this kind do not know the event's name.
    #[error("found {name:?}; allowed: {allowed}")]
    Event {
        /// The name.
        name: String,
        /// The allowed names.
        allowed: String,
    },
    /// A gateway of this kind cannot be asked for these events.
    #[error("{0}")]
    Events(String),
    /// The secret cannot be written as JSON.
    #[error("the secret is not UTF-8 text, and can be told to no gateway")]
    Secret,
    /// The gateway does not take a secret of this form. The text does not show it.
    #[error("{0}")]
    SecretForm(String),
    /// Meta asks for the verify token while it is registered.
    #[error("the verify token is missing; it is a text of your own, which the source has too")]
    NoVerifyToken,
    /// A session of such a gateway may have several webhooks.
    #[error("a session may have several webhooks there; name the URL of the one to remove")]
    WhichUrl,
    /// The HTTP client cannot start.
    #[error("the HTTP client cannot start: {0}")]
    Client(String),
}
