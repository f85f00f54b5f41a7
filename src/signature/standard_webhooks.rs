//! [`StandardWebhooks`]: a scheme shared by several gateways and their libraries.

use std::time::Duration;

use humantime::format_duration;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::generic::check_time;
use super::scheme::{Claim, Headers, Refusal, Scheme, SignedHeader};
use super::secret::{Algorithm, Encoding, Mac, Secret};

/// [Standard Webhooks](https://www.standardwebhooks.com): the HMAC-SHA256 of
/// `{webhook-id}.{webhook-timestamp}.{body}` in base64, in the header `webhook-signature`.
///
/// That header may hold several signatures, separated by spaces; those of a version other than `v1` are
/// ignored. The timestamp is in Unix seconds. A secret `whsec_…` is decoded from base64 to the key; the
/// text of any other secret is the key itself, which the official libraries accept as `whsec_` plus the
/// base64 of that text.
///
/// ```
/// use offhook::Timestamp;
/// use offhook::signature::{Scheme as _, Secret, StandardWebhooks};
///
/// let scheme = StandardWebhooks::default();
/// let secret = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
/// let at = Timestamp::from_second(1_614_265_330).unwrap();
///
/// let signed = scheme.sign_as("msg_1", b"{}", &secret, at);
/// assert_eq!(signed[0].value, "msg_1");
/// assert!(signed[2].value.starts_with("v1,"));
/// ```
#[derive(Debug, Clone, Copy)]
pub struct StandardWebhooks {
    pub(crate) tolerance: Duration,
}

impl Default for StandardWebhooks {
    fn default() -> Self {
        Self {
            tolerance: Duration::from_secs(300),
        }
    }
}

impl StandardWebhooks {
    /// How far a timestamp may be from now. Default: 300 s.
    pub fn tolerance(self, tolerance: Duration) -> Self {
        Self { tolerance }
    }

    /// The headers for a body whose event has its own id. The id must stay the same when the event is
    /// sent again, and should not contain a full stop.
    pub fn sign_as(
        &self,
        id: &str,
        body: &[u8],
        secret: &Secret,
        now: Timestamp,
    ) -> Vec<SignedHeader> {
        let header = |name: &'static str, value| SignedHeader {
            name: name.into(),
            value,
        };
        let seconds = now.as_second().to_string();
        let signature = signature(keyed(secret), id, &seconds, body);
        vec![
            header(ID, id.to_owned()),
            header(TIMESTAMP, seconds),
            header(SIGNATURE, signature),
        ]
    }
}

impl Scheme for StandardWebhooks {
    fn name(&self) -> &'static str {
        "standard-webhooks"
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![("tolerance", format_duration(self.tolerance).to_string())]
    }

    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal> {
        let value = headers.value(SIGNATURE)?;
        let parts = value.split(|byte| *byte == b' ');
        // Signatures of other versions are ignored.
        let signatures = parts.filter_map(|part| part.strip_prefix(b"v1,"));
        let signatures: Vec<_> = signatures
            .filter_map(|text| Encoding::Base64.decode_mac(text, Algorithm::Sha256))
            .collect();
        if signatures.is_empty() {
            return Err(Refusal::Malformed);
        }
        let id = headers.value(ID)?;
        if id.is_empty() {
            return Err(Refusal::Malformed);
        }
        let timestamp = headers.value(TIMESTAMP)?;
        let sent = unix_seconds(timestamp).ok_or(Refusal::Malformed)?;
        check_time(sent, now, self.tolerance)?;
        Ok(Claim {
            signatures,
            before: [id, b".", timestamp, b"."].concat(),
            after: Vec::new(),
        })
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        claim.is_signed_with(keyed(secret), body)
    }

    fn claim_headers(&self) -> Vec<String> {
        [SIGNATURE, ID, TIMESTAMP].map(str::to_owned).into()
    }

    /// The id is derived from the time and the body; see [`StandardWebhooks::sign_as`].
    /// It is signed with the body.
    fn id_header(&self) -> Option<&str> {
        Some("webhook-id")
    }

    fn sign(&self, body: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader> {
        let time = now.as_nanosecond().to_be_bytes();
        let digest = Sha256::new().chain_update(time).chain_update(body);
        let id = format!("msg_{}", Encoding::Hex.encode(&digest.finalize()[..16]));
        self.sign_as(&id, body, secret, now)
    }
}

/// Whether the secret has the prefix of a base64 secret but cannot be decoded, probably because of a
/// typing error.
pub(crate) fn is_undecodable(secret: &Secret) -> bool {
    secret.expose().starts_with(PREFIX) && decoded(secret).is_none()
}

/// The HMAC initialized with the secret's key. A sender with one secret for many bodies clones it.
pub(crate) fn keyed(secret: &Secret) -> Mac {
    decoded(secret).map_or_else(
        || secret.mac(Algorithm::Sha256),
        |key| Mac::new(Algorithm::Sha256, &key),
    )
}

/// The key that the text after `whsec_` stands for.
pub(super) fn decoded(secret: &Secret) -> Option<Vec<u8>> {
    let encoded = secret.expose().strip_prefix(PREFIX)?;
    // An empty key would be known to everyone.
    let key = Encoding::Base64.decode(encoded);
    key.filter(|key| !key.is_empty())
}

/// The value of `webhook-signature`.
pub(crate) fn signature(mut mac: Mac, id: &str, seconds: &str, body: &[u8]) -> String {
    for part in [id.as_bytes(), b".", seconds.as_bytes(), b".", body] {
        mac.update(part);
    }
    ["v1,", &Encoding::Base64.encode(&mac.finish())].concat()
}

/// Reads digits; `parse` alone would accept a sign before them.
fn unix_seconds(text: &[u8]) -> Option<Timestamp> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = str::from_utf8(text).ok()?.parse().ok()?;
    Timestamp::from_second(seconds).ok()
}

const ID: &str = "webhook-id";
const TIMESTAMP: &str = "webhook-timestamp";
const SIGNATURE: &str = "webhook-signature";
const PREFIX: &[u8] = b"whsec_";

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    // From the test suites of the official libraries.
    const VECTOR_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const VECTOR_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const VECTOR_BODY: &[u8] = br#"{"test": 2432232314}"#;
    const VECTOR_AT: i64 = 1_614_265_330;
    const VECTOR_SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn verify(headers: &[(&str, &str)], body: &[u8], key: &str, now: i64) -> Result<bool, Refusal> {
        let scheme = StandardWebhooks::default();
        let claim = scheme.claim(&headers, at(now))?;
        Ok(scheme.matches(&claim, body, &secret(key)))
    }

    fn vector(signature: &str) -> [(&str, &str); 3] {
        [
            ("Webhook-Id", VECTOR_ID),
            ("Webhook-Timestamp", "1614265330"),
            ("Webhook-Signature", signature),
        ]
    }

    #[test]
    fn the_official_vector_in_both_directions() {
        let scheme = StandardWebhooks::default();
        let signed = scheme.sign_as(
            VECTOR_ID,
            VECTOR_BODY,
            &secret(VECTOR_SECRET),
            at(VECTOR_AT),
        );
        let values: Vec<&str> = signed.iter().map(|header| header.value.as_str()).collect();
        assert_eq!(values, [VECTOR_ID, "1614265330", VECTOR_SIGNATURE]);
        let headers = vector(VECTOR_SIGNATURE);
        let judged = verify(&headers, VECTOR_BODY, VECTOR_SECRET, VECTOR_AT);
        assert_eq!(judged, Ok(true));
        for (body, key) in [
            (&b"{}"[..], VECTOR_SECRET),
            (VECTOR_BODY, "whsec_AAAA"),
            // Not decoded, so it is a different key.
            (VECTOR_BODY, "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        ] {
            assert_eq!(verify(&headers, body, key, VECTOR_AT), Ok(false));
        }
    }

    #[test]
    fn one_right_signature_of_several_is_enough() {
        let other = format!("v1,{}", STANDARD.encode([7; 32]));
        let table = [
            (format!("{other} {VECTOR_SIGNATURE}"), Ok(true)),
            (format!("{VECTOR_SIGNATURE} {other}"), Ok(true)),
            (format!("v1a,abc v2 {VECTOR_SIGNATURE} v1,short"), Ok(true)),
            (other, Ok(false)),
            (String::new(), Err(Refusal::Malformed)),
            ("v1,".into(), Err(Refusal::Malformed)),
            (
                VECTOR_SIGNATURE.replace("v1,", "v2,"),
                Err(Refusal::Malformed),
            ),
            (VECTOR_SIGNATURE.replace("v1,", ""), Err(Refusal::Malformed)),
            (VECTOR_SIGNATURE.replace(',', " "), Err(Refusal::Malformed)),
        ];
        for (value, judged) in table {
            let headers = vector(&value);
            let found = verify(&headers, VECTOR_BODY, VECTOR_SECRET, VECTOR_AT);
            assert_eq!(found, judged, "{value}");
        }
    }

    #[test]
    fn headers_that_are_missing_or_odd() {
        let whole = vector(VECTOR_SIGNATURE);
        for left_out in 0..3 {
            let mut headers = whole.to_vec();
            headers.remove(left_out);
            let found = verify(&headers, VECTOR_BODY, VECTOR_SECRET, VECTOR_AT);
            assert_eq!(found, Err(Refusal::Missing), "{left_out}");
            headers.extend([whole[left_out]; 2]);
            let found = verify(&headers, VECTOR_BODY, VECTOR_SECRET, VECTOR_AT);
            assert_eq!(found, Err(Refusal::Repeated), "{left_out}");
        }
        for (header, odd) in [(0, ""), (1, ""), (1, "soon"), (1, "+1614265330")] {
            let mut headers = whole;
            headers[header].1 = odd;
            let found = verify(&headers, VECTOR_BODY, VECTOR_SECRET, VECTOR_AT);
            assert_eq!(found, Err(Refusal::Malformed), "{odd}");
        }
        for (now, judged) in [
            (VECTOR_AT - 301, Err(Refusal::Expired)),
            (VECTOR_AT - 300, Ok(true)),
            (VECTOR_AT + 300, Ok(true)),
            (VECTOR_AT + 301, Err(Refusal::Expired)),
        ] {
            let found = verify(&whole, VECTOR_BODY, VECTOR_SECRET, now);
            assert_eq!(found, judged, "{now}");
        }
    }

    #[test]
    fn a_key_without_base64_is_the_text() {
        for text in ["whsec_", "whsec_not base64", "plain", "whsec"] {
            let mac = keyed(&secret(text));
            let plain = Mac::new(Algorithm::Sha256, text.as_bytes());
            assert_eq!(mac.finish(), plain.finish(), "{text}");
            let meant = text.starts_with("whsec_");
            assert_eq!(is_undecodable(&secret(text)), meant, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_signed_verifies(
            body in prop::collection::vec(any::<u8>(), 0..200),
            key in prop_oneof!["[!-~][ -~]{0,39}", "whsec_[A-Za-z0-9+/]{4}{1,20}"],
            id in prop::option::of("[!-~]{1,60}"),
            second in 0_i64..10_000_000_000,
        ) {
            let scheme = StandardWebhooks::default();
            let (key, now) = (secret(&key), at(second));
            let signed = match &id {
                Some(id) => scheme.sign_as(id, &body, &key, now),
                None => scheme.sign(&body, &key, now),
            };
            let headers = signed.iter();
            let headers: Vec<(&str, &str)> = headers
                .map(|header| (header.name.as_ref(), header.value.as_str()))
                .collect();
            let claim = scheme.claim(&&headers[..], now).unwrap();
            prop_assert!(scheme.matches(&claim, &body, &key));
            let mut altered = body;
            altered.push(0);
            prop_assert!(!scheme.matches(&claim, &altered, &key));
        }
    }
}
