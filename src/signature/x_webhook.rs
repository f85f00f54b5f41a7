//! [`XWebhookSignature`]: the gateway's own scheme.

use jiff::Timestamp;

use super::encoding::{Algorithm, Encoding};
use super::scheme::{Claim, Refusal, Scheme, SignedHeader};
use super::{HeaderValue, Headers, Secret, generic};

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
        let value = match headers.value("x-webhook-signature") {
            HeaderValue::Absent => return Err(Refusal::Missing),
            HeaderValue::Repeated => return Err(Refusal::Repeated),
            HeaderValue::One(value) => value,
        };
        let digits = match value.split_at_checked(PREFIX.len()) {
            Some((prefix, digits)) if prefix.eq_ignore_ascii_case(PREFIX) => digits,
            _ => value,
        };
        let signature = Encoding::Hex.decode(digits).ok_or(Refusal::Malformed)?;
        match signature.len() == Algorithm::Sha256.size() {
            true => Ok(Claim {
                signatures: vec![signature],
                before: Vec::new(),
                after: Vec::new(),
            }),
            false => Err(Refusal::Malformed),
        }
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        generic::matches(Algorithm::Sha256, claim, body, secret)
    }

    fn sign(&self, body: &[u8], secret: &Secret, _: Timestamp) -> Vec<SignedHeader> {
        vec![SignedHeader {
            name: "X-Webhook-Signature".into(),
            value: signature(secret, body),
        }]
    }
}

/// The value of `X-Webhook-Signature`.
pub(crate) fn signature(secret: &Secret, body: &[u8]) -> String {
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
