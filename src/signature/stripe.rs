//! [`Stripe`]: one header with a time and several signatures.

use std::time::Duration;

use humantime::format_duration;
use jiff::Timestamp;

use super::generic::check_time;
use super::scheme::{Claim, Headers, Refusal, Scheme, SignedHeader};
use super::secret::{Algorithm, Encoding, Secret};

/// [Stripe](https://docs.stripe.com/webhooks#verify-manually): `Stripe-Signature: t=SECONDS,v1=HEX`, the
/// HMAC-SHA256 of `{t}.{body}`.
///
/// The key is the text of the secret as Stripe shows it, `whsec_` and all. While a secret is rolled there are
/// several `v1`, of which one must be right; other versions are ignored.
///
/// ```
/// use offhook::Timestamp;
/// use offhook::signature::{Scheme as _, Secret, Stripe};
///
/// let secret = Secret::new("whsec_text").unwrap();
/// let signed = Stripe::default().sign(b"{}", &secret, Timestamp::UNIX_EPOCH);
/// assert!(signed[0].value.starts_with("t=0,v1="));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Stripe {
    pub(crate) tolerance: Duration,
}

impl Default for Stripe {
    fn default() -> Self {
        Self {
            tolerance: Duration::from_secs(300),
        }
    }
}

impl Stripe {
    /// How far a timestamp may be from now, in both directions. Default: 300 s.
    pub fn tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance }
    }
}

impl Scheme for Stripe {
    fn name(&self) -> &'static str {
        "stripe"
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("tolerance", format_duration(self.tolerance).to_string())]
    }

    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal> {
        let value = headers.value(HEADER)?;
        let (seconds, sent) = time(value).ok_or(Refusal::Malformed)?;
        let signatures: Vec<_> = items(value)
            .filter_map(|item| item.strip_prefix(b"v1="))
            .filter_map(|digits| Encoding::Hex.decode_mac(digits, Algorithm::Sha256))
            .take(MAX_SIGNATURES)
            .collect();
        if signatures.is_empty() {
            return Err(Refusal::Malformed);
        }
        check_time(sent, now, self.tolerance)?;
        Ok(Claim {
            signatures,
            before: [seconds, b"."].concat(),
            after: Vec::new(),
        })
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        claim.is_signed_with(secret.mac(Algorithm::Sha256), body)
    }

    fn claim_headers(&self) -> Vec<String> {
        vec![HEADER.to_owned()]
    }

    fn claimed_time(&self, headers: &dyn Headers) -> Option<Timestamp> {
        time(headers.value(HEADER).ok()?).map(|(_, sent)| sent)
    }

    fn id_pointer(&self) -> Option<&str> {
        Some("/id")
    }

    fn sign(&self, body: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader> {
        let seconds = now.as_second();
        let mut mac = secret.mac(Algorithm::Sha256);
        mac.update(format!("{seconds}.").as_bytes());
        mac.update(body);
        let signature = Encoding::Hex.encode(&mac.finish());
        let value = format!("t={seconds},v1={signature}");
        vec![SignedHeader::new("Stripe-Signature", value)]
    }
}

/// The parts of the header's value.
fn items(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// The time in the header's value, as text and read. There must be exactly one.
fn time(value: &[u8]) -> Option<(&[u8], Timestamp)> {
    let mut times = items(value).filter_map(|item| item.strip_prefix(b"t="));
    let (seconds, None) = (times.next()?, times.next()) else {
        return None;
    };
    // `parse` alone would accept a sign.
    if !seconds.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = str::from_utf8(seconds).ok()?.parse().ok()?;
    Some((seconds, Timestamp::from_second(number).ok()?))
}

const HEADER: &str = "stripe-signature";

/// How many signatures of the header are tried.
const MAX_SIGNATURES: usize = 16;
