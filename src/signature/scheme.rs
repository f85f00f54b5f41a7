//! [`Scheme`]: how one family of senders signs.

use std::borrow::Cow;
use std::fmt::Debug;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Headers, Secret};

/// How one family of senders signs a request.
///
/// Pure: no HTTP, no clock of its own, no state. Verifying and signing are two sides of one scheme,
/// and the same test vectors hold for both.
///
/// ```
/// use offhook::signature::{Headers, Scheme, Secret, XWebhookSignature};
/// use offhook::Timestamp;
///
/// let scheme = XWebhookSignature;
/// let secret = Secret::new("your-secret-key").unwrap();
/// let now = Timestamp::UNIX_EPOCH;
///
/// let signed = scheme.sign(b"{}", &secret, now);
/// assert_eq!(signed[0].name, "X-Webhook-Signature");
///
/// let headers = [(signed[0].name.as_ref(), signed[0].value.as_str())];
/// let claim = scheme.claim(&&headers[..], now).unwrap();
/// assert!(scheme.matches(&claim, b"{}", &secret));
/// assert!(!scheme.matches(&claim, b"{ }", &secret));
/// ```
pub trait Scheme: Debug + Send + Sync + 'static {
    /// The scheme's name in the settings.
    fn name(&self) -> &'static str;

    /// What distinguishes it from another scheme of the same name: its settings and their values. They
    /// are compared, and shown to people, so they hold no secret. By default there are none.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Reads what the headers claim, before the body is read.
    ///
    /// # Errors
    ///
    /// When a header that the scheme needs is missing, repeated or malformed, or when a timestamp
    /// is too far from `now`.
    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal>;

    /// Whether the claim was made over `body` with `secret`; in constant time.
    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool;

    /// The headers that a sender with `secret` adds to `body`.
    fn sign(&self, body: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader>;
}

/// Schemes are equal when their names and parameters are.
impl PartialEq for dyn Scheme {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name() && self.parameters() == other.parameters()
    }
}

/// The name, then each parameter.
impl Serialize for dyn Scheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.name(), self.parameters()).serialize(serializer)
    }
}

/// What a request's headers claim: signatures, and the bytes that are signed besides the body.
#[derive(Clone)]
pub struct Claim {
    /// The signature's raw bytes; some schemes send several.
    pub signatures: Vec<Vec<u8>>,
    /// What is signed before the body.
    pub before: Vec<u8>,
    /// What is signed after the body.
    pub after: Vec<u8>,
}

/// Signatures are not for logs.
impl Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("signatures", &self.signatures.len())
            .finish_non_exhaustive()
    }
}

/// A header that a sender adds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeader {
    /// The header's name as documentation writes it.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: String,
}

/// Why a request is not from whom it says; for logs and metrics. The sender is told the same,
/// whatever the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A header that the scheme needs is not there.
    #[error("the signature header is missing")]
    Missing,
    /// A header that must stand once stands several times.
    #[error("the signature header is repeated")]
    Repeated,
    /// The header's value is no signature: other characters, other length, other prefix.
    #[error("the signature header is malformed")]
    Malformed,
    /// The timestamp is outside the tolerance.
    #[error("the signature's timestamp is too far from now")]
    Expired,
    /// No secret gives this signature over these bytes.
    #[error("the signature does not match: another secret, or another body")]
    Mismatch,
    /// The token in the path is wrong.
    #[error("the path token is wrong")]
    PathToken,
}
