//! Authentication: turns bytes from an unknown sender into [`Verified`] ones.
//!
//! A [`Scheme`] describes how one family of senders signs. A [`Verifier`] holds a source's scheme and
//! [`Secrets`] and checks a request in two steps: [`Verifier::claim`] checks the headers before the body
//! is read, [`Verifier::verify`] checks the bytes of the body. The rules:
//!
//! - A [`Verified`] can only be created here, after a correct signature (or path token). Nothing else
//!   can become an [`Envelope`](crate::Envelope), so code that skips the check does not compile.
//! - Comparisons take constant time, and every secret is tried.
//! - No secret, no signature and no body appears in `Debug`, errors or logs.
//!
//! Everything except the middleware works on header values and byte slices, without HTTP.

mod encoding;
mod generic;
mod headers;
mod middleware;
mod scheme;
mod secret;
mod session;
mod standard_webhooks;
mod template;
mod verified;
mod verifier;
mod x_webhook;

pub(crate) use encoding::hex as encode_hex;
pub use encoding::{Algorithm, Encoding};
pub use generic::Generic;
pub use headers::{HeaderValue, Headers};
pub use middleware::{InFlight, Limits, RequestError, VerifySignature};
pub use scheme::{Claim, Refusal, Scheme, SignedHeader};
pub use secret::{Secret, SecretError, Secrets};
pub use standard_webhooks::StandardWebhooks;
pub use template::GenericError;
pub(crate) use template::Template;
pub use verified::{Sender, Verified};
pub use verifier::{Claimed, SessionOf, Unverified, Verifier};
pub use x_webhook::XWebhookSignature;

pub(crate) use encoding::Mac;
pub(crate) use middleware::{Admitted, Deadline, Held, Incoming, path_session};
pub(crate) use standard_webhooks::is_undecodable;
pub(crate) use standard_webhooks::{
    keyed as standard_webhooks_key, signature as standard_webhooks_signature,
};
pub(crate) use x_webhook::signature as x_webhook_signature;
