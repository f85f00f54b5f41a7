//! [`Scheme`]: how one family of senders signs.

use std::borrow::Cow;
use std::fmt::Debug;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::{Headers, Secret};

/// How one family of senders signs a request.
///
/// A pure function: no HTTP, no clock, no state. Verifying and signing belong to the same scheme, and
/// the same test vectors apply to both.
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
    /// are compared and displayed, so they hold no secret. Default: none.
    fn parameters(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Reads the claims of the headers, before the body is read.
    ///
    /// # Errors
    ///
    /// When a header that the scheme needs is missing, repeated or malformed, or when a timestamp
    /// is too far from `now`.
    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal>;

    /// Whether the claim is a signature over `body` with `secret`; in constant time.
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

/// The claims of a request's headers: signatures, and the bytes that are signed in addition to the body.
#[derive(Clone)]
pub struct Claim {
    /// The raw bytes of the signatures; some schemes send several.
    pub signatures: Vec<Vec<u8>>,
    /// What is signed before the body.
    pub before: Vec<u8>,
    /// What is signed after the body.
    pub after: Vec<u8>,
}

/// Signatures must not appear in logs.
impl Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Claim")
            .field("signatures", &self.signatures.len())
            .finish_non_exhaustive()
    }
}

/// A header that a sender adds to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedHeader {
    /// The header's name, in the case that documentation uses.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: String,
}

/// Why a request does not prove its sender, for logs and metrics. The sender gets the same answer for
/// every reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A header that the scheme needs is missing.
    #[error("the signature header is missing")]
    Missing,
    /// A header that must appear once appears several times.
    #[error("the signature header is repeated")]
    Repeated,
    /// The header's value is not a signature: wrong characters, length or prefix.
    #[error("the signature header is malformed")]
    Malformed,
    /// The timestamp is outside the tolerance.
    #[error("the signature's timestamp is too far from now")]
    Expired,
    /// No secret produces this signature over these bytes.
    #[error("the signature does not match: another secret, or another body")]
    Mismatch,
    /// The token in the path is wrong.
    #[error("the path token is wrong")]
    PathToken,
}
