//! [`Scheme`]: how one family of senders signs. [`XWebhookSignature`] is the gateway's own scheme.

use std::borrow::Cow;
use std::fmt::{self, Debug};

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::reply::{Challenge, Handshake, Reply};
use super::secret::{Algorithm, Encoding, Mac, Secret};

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

    /// The headers that [`claim`](Self::claim) reads, in lower case, that of the signature first. They are kept
    /// of a refused request, so that it can be verified again. Default: none.
    fn claim_headers(&self) -> Vec<String> {
        Vec::new()
    }

    /// The header, in lower case, with the sender's own id of the event. Where there is one, source, session
    /// and this id alone decide what is a duplicate. Default: none.
    fn id_header(&self) -> Option<&str> {
        None
    }

    /// The JSON pointer to that id in the body, where no header has it. Default: none.
    fn id_pointer(&self) -> Option<&str> {
        None
    }

    /// The header, in lower case, with the name of an event whose body names none. Default: none.
    fn event_header(&self) -> Option<&str> {
        None
    }

    /// The time that the headers claim, which [`claim`](Self::claim) compares with now. Default: none; then the
    /// first of the [`claim_headers`](Self::claim_headers) that is a Unix time is taken for it.
    fn claimed_time(&self, _headers: &dyn Headers) -> Option<Timestamp> {
        None
    }

    /// Secrets of the scheme that do not sign. They are compared, and never shown. Default: none.
    fn other_secrets(&self) -> &[Secret] {
        &[]
    }

    /// The address that is signed, whole. It is compared, and not shown: its query may hold a token. Default: none.
    #[doc(hidden)]
    fn signed_address(&self) -> Option<&str> {
        None
    }

    /// How an event is answered after it was taken. Default: 200 with `{"status":"received"}`.
    fn reply(&self) -> Reply {
        Reply::Received
    }

    /// How to answer a verified body that only tests the address. Default: no body is such a test.
    fn handshake(&self) -> Option<Handshake> {
        None
    }

    /// What a GET with this query (as it was sent, without `?`) asks for. Default: the scheme has no challenge.
    fn challenge(&self, _query: &str) -> Challenge {
        Challenge::Never
    }

    /// Whether the [`claim_headers`](Self::claim_headers) hold a secret or a token rather than a signature. Then
    /// they are not stored with an event, and not shown of a refused request. Default: no.
    fn sends_secret(&self) -> bool {
        false
    }

    /// Whether the sender does not send an event again that was answered 401. Default: no.
    fn gives_up_when_refused(&self) -> bool {
        false
    }

    /// The headers that a sender with `secret` adds to `body`.
    fn sign(&self, body: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader>;

    /// As [`sign`](Self::sign), for a request with this path and query. Default: the same, because most schemes do
    /// not sign the address.
    fn sign_at(
        &self,
        _target: &str,
        body: &[u8],
        secret: &Secret,
        now: Timestamp,
    ) -> Vec<SignedHeader> {
        self.sign(body, secret, now)
    }
}

/// Schemes are equal when their names, parameters, own secrets and addresses are.
impl PartialEq for dyn Scheme {
    fn eq(&self, other: &Self) -> bool {
        self.name() == other.name()
            && self.parameters() == other.parameters()
            && self.other_secrets() == other.other_secrets()
            && self.signed_address() == other.signed_address()
    }
}

/// The name, then each parameter.
impl Serialize for dyn Scheme {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.name(), self.parameters()).serialize(serializer)
    }
}

/// Looks up the headers of a request.
pub trait Headers {
    /// The value of the header `name` (lower case).
    ///
    /// # Errors
    ///
    /// When the header is missing, or appears several times, so that its value is ambiguous.
    fn value(&self, name: &str) -> Result<&[u8], Refusal>;

    /// The path and the query of the request, as they were sent, for schemes that sign the address. Default: not
    /// known.
    fn target(&self) -> Option<&str> {
        None
    }
}

/// Names (any case) and values, for use without HTTP.
impl Headers for &[(&str, &str)] {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        let values = self
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        only(values.map(|(_, value)| value.as_bytes()))
    }
}

/// The value of a header that has these values.
pub(super) fn only<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> Result<&'a [u8], Refusal> {
    match (values.next(), values.next()) {
        (None, _) => Err(Refusal::Missing),
        (Some(value), None) => Ok(value),
        (Some(_), Some(_)) => Err(Refusal::Repeated),
    }
}

/// The claims of a request's headers: signatures, and the bytes that are signed in addition to the body.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Claim {
    /// The raw bytes of the signatures; some schemes send several.
    pub signatures: Vec<Vec<u8>>,
    /// What is signed before the body.
    pub before: Vec<u8>,
    /// What is signed after the body.
    pub after: Vec<u8>,
}

impl Claim {
    /// Whether one of the signatures is this HMAC over the claim's bytes and the body; in constant time.
    pub(super) fn is_signed_with(&self, mut mac: Mac, body: &[u8]) -> bool {
        let signed = [&self.before, body, &self.after].into_iter();
        // Most schemes sign the body alone.
        for signed in signed.filter(|signed| !signed.is_empty()) {
            mac.update(signed);
        }
        mac.matches_one(&self.signatures)
    }
}

/// Signatures must not appear in logs.
impl Debug for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claim")
            .field("signatures", &self.signatures.len())
            .finish_non_exhaustive()
    }
}

/// A header that a sender adds to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SignedHeader {
    /// The header's name, in the case that documentation uses.
    pub name: Cow<'static, str>,
    /// Its value.
    pub value: String,
}

impl SignedHeader {
    /// The header `name` with this value.
    pub fn new(name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        let (name, value) = (name.into(), value.into());
        Self { name, value }
    }
}

/// Why a request does not prove its sender, for logs and metrics. The sender gets the same answer for
/// every reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// A header that the scheme needs is missing.
    #[error("a header of the signature is missing")]
    Missing,
    /// A header that must appear once appears several times.
    #[error("a header of the signature is repeated")]
    Repeated,
    /// The header's value is not a signature: wrong characters, length or prefix; or not a time.
    #[error("a header of the signature is malformed")]
    Malformed,
    /// The timestamp is outside the tolerance.
    #[error("the signature's timestamp is too far from now")]
    Expired,
    /// No secret produces this signature over these bytes.
    #[error("the signature does not match: another secret, or another body")]
    Mismatch,
    /// No secret of the session produces this signature, and the session has its own: those of the source do
    /// not count for it.
    #[error(
        "the signature does not match a secret of its session, which has secrets of its own: those of the source \
         are not valid for it"
    )]
    OwnSecrets,
    /// The body cannot be decoded to find its session, and the source has sessions with their own
    /// secrets.
    #[error("the body cannot be decoded to find its session, whose secrets would verify it")]
    HiddenSession,
    /// The token in the path is wrong.
    #[error("the path token is wrong")]
    PathToken,
    /// A GET of the address is no challenge, or one with another token. It is answered 403.
    #[error("the challenge is refused: it has another verify_token, or not each parameter once")]
    Challenge,
}

/// `X-Webhook-Signature`: the HMAC-SHA256 of the raw body in hexadecimal.
///
/// Read in either case, with or without the prefix `sha256=`; written in lower case without it, as in
/// the [gateway's
/// documentation](https://github.com/sBRK255/docs-whatsapp-http-api/blob/main/docs/webhooks.md).
#[derive(Debug, Clone, Copy, Default)]
pub struct XWebhookSignature;

impl Scheme for XWebhookSignature {
    fn name(&self) -> &'static str {
        "x-webhook-signature"
    }

    fn claim(&self, headers: &dyn Headers, _: Timestamp) -> Result<Claim, Refusal> {
        let value = headers.value("x-webhook-signature")?;
        let digits = match value.split_at_checked(PREFIX.len()) {
            Some((prefix, digits)) if prefix.eq_ignore_ascii_case(PREFIX) => digits,
            _ => value,
        };
        let signature = Encoding::Hex.decode_mac(digits, Algorithm::Sha256);
        Ok(Claim {
            signatures: vec![signature.ok_or(Refusal::Malformed)?],
            ..Claim::default()
        })
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        claim.is_signed_with(secret.mac(Algorithm::Sha256), body)
    }

    fn claim_headers(&self) -> Vec<String> {
        vec!["x-webhook-signature".to_owned()]
    }

    fn sign(&self, body: &[u8], secret: &Secret, _: Timestamp) -> Vec<SignedHeader> {
        vec![SignedHeader {
            name: "X-Webhook-Signature".into(),
            value: x_webhook_signature(secret, body),
        }]
    }
}

/// The value of `X-Webhook-Signature`.
pub(crate) fn x_webhook_signature(secret: &Secret, body: &[u8]) -> String {
    let mut mac = secret.mac(Algorithm::Sha256);
    mac.update(body);
    Encoding::Hex.encode(&mac.finish())
}

const PREFIX: &[u8] = b"sha256=";

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &str = "75b621fabb36627311b1338288b97f0a826548e361d39e1d1c51a60fe5f18cad";

    fn claim(value: &str) -> Result<Claim, Refusal> {
        let headers = [("X-Webhook-Signature", value)];
        XWebhookSignature.claim(&&headers[..], Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_forms_that_are_read() {
        let upper = KNOWN.to_ascii_uppercase();
        for form in [
            KNOWN,
            &upper,
            &format!("sha256={KNOWN}"),
            &format!("SHA256={upper}"),
        ] {
            assert!(claim(form).is_ok(), "{form}");
        }
    }

    #[test]
    fn the_forms_that_are_not() {
        let base64 = "dbYh+rs2YnMRsTOCiLl/CoJlSONh054dHFGmD+XxjK0=";
        let table = [
            "",
            "sha256=",
            &KNOWN[1..],
            &KNOWN[2..],
            &format!("{KNOWN}00"),
            &format!("{}é", &KNOWN[2..]),
            &format!(" {KNOWN}"),
            &format!("sha256:{KNOWN}"),
            &format!("sha512={KNOWN}"),
            &format!("{KNOWN},{KNOWN}"),
            base64,
        ];
        for form in table {
            assert_eq!(claim(form).unwrap_err(), Refusal::Malformed, "{form}");
        }
        let twice = [
            ("x-webhook-signature", KNOWN),
            ("X-WEBHOOK-SIGNATURE", KNOWN),
        ];
        let refusal = XWebhookSignature.claim(&&twice[..], Timestamp::UNIX_EPOCH);
        assert_eq!(refusal.unwrap_err(), Refusal::Repeated);
        let none: [(&str, &str); 0] = [];
        let refusal = XWebhookSignature.claim(&&none[..], Timestamp::UNIX_EPOCH);
        assert_eq!(refusal.unwrap_err(), Refusal::Missing);
    }
}
