//! Authentication: turns bytes from an unknown sender into [`Verified`] ones.
//!
//! A [`Scheme`] describes how one family of senders signs. A [`Verifier`] holds a source's scheme and
//! [`Secrets`] and checks a request in two steps: [`Verifier::claim`] checks the headers before the body
//! is read, [`Verifier::verify`] checks the bytes of the body. The rules:
//!
//! - A [`Verified`] can only be created here, after a correct signature (or path token). Nothing else
//!   can become an event, so code that skips the check does not compile.
//! - Comparisons take constant time, and every secret is tried.
//! - No secret, no signature and no body appears in `Debug`, errors or logs.
//!
//! Everything except the middleware, its `body`, its `kept` headers and the `room` for bodies in memory works on header values and byte slices, without HTTP.

mod body;
mod diagnose;
mod evolution_jwt;
mod file;
mod generic;
mod kept;
mod meta;
mod middleware;
mod pace;
mod preset;
mod refusals;
mod reply;
mod room;
mod scheme;
mod secret;
mod slack;
mod standard_webhooks;
mod stripe;
mod token;
mod twilio;
mod verifier;

pub use body::{Limits, RequestError};
pub use diagnose::{Finding, diagnose, explains};
pub use evolution_jwt::EvolutionJwt;
pub use generic::{Generic, GenericError};
pub use meta::Meta;
pub use middleware::VerifySignature;
pub use reply::{Challenge, Handshake, Reply};
pub use room::InFlight;
pub use scheme::{Claim, Headers, Refusal, Scheme, SignedHeader, XWebhookSignature};
pub use secret::{Algorithm, DOCUMENTED_KEY, Encoding, Secret, SecretError, Secrets};
pub use slack::Slack;
pub use standard_webhooks::StandardWebhooks;
pub use stripe::Stripe;
pub use token::Token;
pub use twilio::Twilio;
pub use verifier::{Claimed, Sender, Unverified, Verified, Verifier};

pub(crate) use diagnose::{Foreign, foreign, is_signed, suggestion};
pub(crate) use file::{MAX_SECRET_FILE, read_all, read_regular};
pub(crate) use generic::Template;
pub(crate) use kept::{kept_name, looks_like_a_credential};
pub(crate) use middleware::{
    Admitted, Deadline, Incoming, KeptHead, RefusedRequest, TEST, path_session,
};
pub(crate) use pace::{BodyPace, BodyProgress};
pub(crate) use refusals::shown_peer;
pub(crate) use room::{Held, network};
pub(crate) use scheme::x_webhook_signature;
pub(crate) use secret::Mac;
pub(crate) use standard_webhooks::{
    is_undecodable, keyed as standard_webhooks_key, signature as standard_webhooks_signature,
};
pub(crate) use verifier::secret_headers;
