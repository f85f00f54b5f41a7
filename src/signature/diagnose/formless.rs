//! What is wrong with a proof that is no HMAC of the body alone: a secret in a header, a token of Evolution, a
//! signature of Twilio.

use jiff::Timestamp;

use super::finding::{Finding, unexplained};
use super::variants;
use crate::signature::scheme::{Claim, Headers, Refusal, Scheme};
use crate::signature::secret::Secret;
use crate::signature::twilio::Twilio;

/// Why the headers cannot be read as this scheme has them.
pub(super) fn refused(scheme: &dyn Scheme, refusal: Refusal) -> Finding {
    let name = scheme
        .claim_headers()
        .into_iter()
        .next()
        .unwrap_or_default();
    match refusal {
        Refusal::Missing => Finding::new("missing", format!("the header {name} is missing")),
        Refusal::Repeated => Finding::new(
            "repeated",
            format!("the header {name} is there several times"),
        ),
        _ => {
            let why = match scheme.name() {
                "evolution-jwt" => {
                    "is no token of Evolution: Bearer, then HS256 with exp, app evolution and action webhook"
                }
                "stripe" => {
                    "cannot be read: it needs one t= with Unix seconds, and a v1= with 64 hexadecimal digits"
                }
                "twilio" => "is no HMAC in base64, or another hash than the settings want",
                _ => "is empty, or does not begin with the prefix of the settings",
            };
            Finding::new("malformed-header", format!("the header {name} {why}"))
        }
    }
}

/// What explains a claim that the secret does not: another form of the secret, or another address.
pub(super) fn mismatch(
    scheme: &dyn Scheme,
    headers: &dyn Headers,
    claim: &Claim,
    body: &[u8],
    secret: &Secret,
    received_at: Timestamp,
) -> Finding {
    let matches = |scheme: &dyn Scheme, claim: &Claim, key: &[u8]| {
        let key = Secret::new(key).ok();
        key.is_some_and(|key| scheme.matches(claim, body, &key))
    };
    let mut keys = variants::keys(secret.expose()).into_iter();
    if let Some((_, finding)) = keys.find(|(key, _)| matches(scheme, claim, key)) {
        return finding;
    }
    let is_right = |scheme: &dyn Scheme, headers: &dyn Headers| {
        let claim = scheme.claim(headers, received_at);
        claim.is_ok_and(|claim| matches(scheme, &claim, secret.expose()))
    };
    // Not of this path and query, but as the settings have the address.
    let as_set = WithoutTarget(headers);
    let mut others = other_addresses(scheme).into_iter();
    let other = others.find(|(_, other)| is_right(other, headers) || is_right(other, &as_set));
    if let Some((how, _)) = other {
        let why = format!("it is made over another address: {how}");
        return Finding::new("address", why);
    }
    if scheme.signed_address().is_some() && is_right(scheme, &as_set) {
        let why = "it is made over public_url as the settings have it: something before the server changes the path \
            or the query";
        return Finding::new("address", why);
    }
    unexplained()
}

/// Headers without the path and the query that were asked for.
struct WithoutTarget<'a>(&'a dyn Headers);

impl Headers for WithoutTarget<'_> {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        self.0.value(name)
    }
}

/// Twilio with addresses that are easily confused with that of the settings.
fn other_addresses(scheme: &dyn Scheme) -> Vec<(&'static str, Twilio)> {
    let Some(url) = scheme.signed_address() else {
        return Vec::new();
    };
    let table = [
        ("with http", url.replacen("https://", "http://", 1)),
        ("with https", url.replacen("http://", "https://", 1)),
        ("with www. in front", url.replacen("://", "://www.", 1)),
        ("without www.", url.replacen("://www.", "://", 1)),
        ("with a slash at its end", format!("{url}/")),
        (
            "without the slash at its end",
            url.trim_end_matches('/').to_owned(),
        ),
    ];
    let others = table.into_iter().filter(|(_, other)| other != url);
    others
        .filter_map(|(how, other)| Some((how, Twilio::new(other)?)))
        .collect()
}
