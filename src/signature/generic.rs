//! [`Generic`]: an HMAC described by settings, for senders that have no scheme of their own.

use humantime::format_duration;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use subtle::{Choice, ConstantTimeEq as _};

use super::encoding::{Algorithm, Encoding, Mac};
use super::scheme::{Claim, Refusal, Scheme, SignedHeader};
use super::template::{GenericError, Part, Template};
use super::{HeaderValue, Headers, Secret};

/// `scheme = "hmac"`: the settings choose the header, the hash, the encoding, and what is signed.
///
/// The template says what is signed. `{body}` is the raw body and must appear exactly once;
/// `{header:NAME}` is the value of another header; `{timestamp:NAME}` is a header with the time in Unix
/// seconds or milliseconds, which must be within [`Generic::tolerance`] of now. All other text is
/// literal; `{{` and `}}` are braces.
///
/// ```
/// use offhook::signature::Generic;
///
/// let github = Generic::new("X-Hub-Signature-256").prefix("sha256=");
/// let with_time = Generic::new("X-Signature")
///     .template("{timestamp:X-Timestamp}.{body}")
///     .unwrap();
/// assert!(Generic::new("X-Signature").template("no body").is_err());
/// ```
#[derive(Debug, Clone)]
pub struct Generic {
    pub(crate) header: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: Encoding,
    pub(crate) prefix: String,
    pub(crate) template: Template,
    pub(crate) tolerance: Duration,
}

impl Generic {
    /// The HMAC-SHA256 of the body in hexadecimal, in the header `header`.
    pub fn new(header: impl Into<String>) -> Self {
        Self {
            header: header.into(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: String::new(),
            template: Template::default(),
            tolerance: Duration::from_secs(300),
        }
    }

    /// Uses another hash than SHA-256.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Uses another encoding than hexadecimal.
    pub fn encoding(mut self, encoding: Encoding) -> Self {
        self.encoding = encoding;
        self
    }

    /// The text before the signature in its header.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How far a `{timestamp:…}` may be from now. Default: 300 s.
    pub fn tolerance(mut self, tolerance: Duration) -> Self {
        self.tolerance = tolerance;
        self
    }

    /// What is signed. Default: `{body}`.
    ///
    /// # Errors
    ///
    /// When the template has no `{body}` or several, an unknown placeholder, or a brace that is not
    /// closed.
    pub fn template(mut self, template: &str) -> Result<Self, GenericError> {
        self.template = template.parse()?;
        Ok(self)
    }

    fn signed_text(
        &self,
        parts: &[Part],
        headers: &dyn Headers,
        now: Timestamp,
    ) -> Result<Vec<u8>, Refusal> {
        let mut text = Vec::new();
        for part in parts {
            match part {
                Part::Text(literal) => text.extend_from_slice(literal.as_bytes()),
                Part::Body => {}
                Part::Header(name) => text.extend_from_slice(one(headers, name)?),
                Part::Timestamp(name) => {
                    let value = one(headers, name)?;
                    self.check_time(value, now)?;
                    text.extend_from_slice(value);
                }
            }
        }
        Ok(text)
    }

    fn check_time(&self, value: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let text = std::str::from_utf8(value).map_err(|_| Refusal::Malformed)?;
        let sent = unix_time(text).ok_or(Refusal::Malformed)?;
        check_time(sent, now, self.tolerance)
    }
}

impl Scheme for Generic {
    fn name(&self) -> &'static str {
        "hmac"
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("header", self.header.clone()),
            ("algorithm", name_of(&Algorithm::ALL, self.algorithm)),
            ("encoding", name_of(&Encoding::ALL, self.encoding)),
            ("prefix", self.prefix.clone()),
            ("template", self.template.to_string()),
            ("tolerance", format_duration(self.tolerance).to_string()),
        ]
    }

    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal> {
        let value = one(headers, &self.header)?;
        let digits = value.strip_prefix(self.prefix.as_bytes());
        let signature = digits.and_then(|digits| self.encoding.decode(digits));
        let signature = signature.filter(|bytes| bytes.len() == self.algorithm.size());
        Ok(Claim {
            signatures: vec![signature.ok_or(Refusal::Malformed)?],
            before: self.signed_text(&self.template.before, headers, now)?,
            after: self.signed_text(&self.template.after, headers, now)?,
        })
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        matches(self.algorithm, claim, body, secret)
    }

    /// Signs a `{header:…}` of the template as empty; a sender with such a header must sign for itself.
    fn sign(&self, body: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader> {
        let mut added = Vec::new();
        let mut mac = secret.mac(self.algorithm);
        let seconds = now.as_second().to_string();
        for part in self.template.parts() {
            match part {
                Part::Text(literal) => mac.update(literal.as_bytes()),
                Part::Body => mac.update(body),
                Part::Header(_) => {}
                Part::Timestamp(name) => {
                    mac.update(seconds.as_bytes());
                    added.push(SignedHeader {
                        name: name.clone().into(),
                        value: seconds.clone(),
                    });
                }
            }
        }
        added.insert(
            0,
            SignedHeader {
                name: self.header.clone().into(),
                value: format!("{}{}", self.prefix, self.encoding.encode(&mac.finish())),
            },
        );
        added
    }
}

/// The name of `value` in the settings.
fn name_of<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> String {
    let named = names.iter().find(|(_, one)| *one == value);
    named.map_or("", |(name, _)| name).to_owned()
}

/// Compares an HMAC over the claim's bytes and the body with each claimed signature.
pub(super) fn matches(algorithm: Algorithm, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
    equals_any(secret.mac(algorithm), claim, body)
}

/// The same, with an HMAC that is initialized with its key.
pub(super) fn equals_any(mut mac: Mac, claim: &Claim, body: &[u8]) -> bool {
    mac.update(&claim.before);
    mac.update(body);
    mac.update(&claim.after);
    let expected = mac.finish();
    let mut matches = Choice::from(0);
    for signature in &claim.signatures {
        matches |= expected.ct_eq(signature);
    }
    matches.into()
}

/// Checks that `sent` is within `tolerance` of now.
pub(super) fn check_time(
    sent: Timestamp,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Refusal> {
    let tolerance = SignedDuration::try_from(tolerance).unwrap_or(SignedDuration::MAX);
    match sent.duration_since(now).abs() <= tolerance {
        true => Ok(()),
        false => Err(Refusal::Expired),
    }
}

/// The value of a header that must appear exactly once.
pub(super) fn one<'a>(headers: &'a dyn Headers, name: &str) -> Result<&'a [u8], Refusal> {
    match headers.value(&name.to_ascii_lowercase()) {
        HeaderValue::Absent => Err(Refusal::Missing),
        HeaderValue::Repeated => Err(Refusal::Repeated),
        HeaderValue::One(value) => Ok(value),
    }
}

/// Reads Unix seconds, or milliseconds if the number is too large for seconds.
fn unix_time(text: &str) -> Option<Timestamp> {
    let number: i64 = text.parse().ok()?;
    match number.unsigned_abs() < 100_000_000_000 {
        true => Timestamp::from_second(number).ok(),
        false => Timestamp::from_millisecond(number).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verifies(scheme: &Generic, headers: &[(&str, &str)], now: i64) -> Result<bool, Refusal> {
        let secret = Secret::new("key").unwrap();
        let claim = scheme.claim(&headers, Timestamp::from_second(now).unwrap())?;
        Ok(scheme.matches(&claim, b"body", &secret))
    }

    fn signed(scheme: &Generic, now: i64) -> Vec<(String, String)> {
        let now = Timestamp::from_second(now).unwrap();
        let headers = scheme.sign(b"body", &Secret::new("key").unwrap(), now);
        let pair = |header: SignedHeader| (header.name.into_owned(), header.value);
        headers.into_iter().map(pair).collect()
    }

    fn borrowed(headers: &[(String, String)]) -> Vec<(&str, &str)> {
        headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    #[test]
    fn parameters_distinguish_schemes() {
        let scheme = |scheme: Generic| -> Box<dyn Scheme> { Box::new(scheme) };
        let plain = || Generic::new("X-Sig");
        assert!(*scheme(plain()) == *scheme(plain().algorithm(Algorithm::Sha256)));
        let others = [
            Generic::new("X-Other"),
            plain().algorithm(Algorithm::Sha512),
            plain().encoding(Encoding::Base64),
            plain().prefix("v1="),
            plain().template("{body}.").unwrap(),
            plain().tolerance(Duration::from_secs(1)),
        ];
        for other in others {
            assert!(*scheme(plain()) != *scheme(other.clone()), "{other:?}");
        }
        let standard: Box<dyn Scheme> = Box::new(crate::signature::StandardWebhooks::default());
        assert!(*scheme(plain()) != *standard);
    }

    #[test]
    fn what_is_signed_verifies_in_every_variant() {
        for (_, algorithm) in Algorithm::ALL {
            for (_, encoding) in Encoding::ALL {
                for template in [
                    "{body}",
                    "v0:{timestamp:X-Time}:{body}",
                    "{{{body}}}{timestamp:T}",
                ] {
                    let scheme = Generic::new("X-Sig")
                        .algorithm(algorithm)
                        .encoding(encoding)
                        .prefix("v=")
                        .template(template)
                        .unwrap();
                    let headers = signed(&scheme, 1000);
                    assert_eq!(
                        verifies(&scheme, &borrowed(&headers), 1300),
                        Ok(true),
                        "{scheme:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_timestamp_outside_the_tolerance_is_refused() {
        let scheme = Generic::new("S").template("{timestamp:T}.{body}").unwrap();
        let headers = signed(&scheme, 1000);
        for (now, outcome) in [
            (700, Ok(true)),
            (1300, Ok(true)),
            (1301, Err(Refusal::Expired)),
            (699, Err(Refusal::Expired)),
        ] {
            assert_eq!(
                verifies(&scheme, &borrowed(&headers), now),
                outcome,
                "{now}"
            );
        }
        let altered = [("S", headers[0].1.as_str()), ("T", "1001")];
        assert_eq!(verifies(&scheme, &altered, 1000), Ok(false));
        for odd in ["", "soon", "1e3", "99999999999999999999"] {
            let odd = [("S", headers[0].1.as_str()), ("T", odd)];
            assert_eq!(verifies(&scheme, &odd, 1000), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn a_header_of_the_template_is_part_of_what_is_signed() {
        let scheme = Generic::new("S").template("{header:X-Id}.{body}").unwrap();
        let mut mac = Secret::new("key").unwrap().mac(Algorithm::Sha256);
        mac.update(b"42.body");
        let signature = Encoding::Hex.encode(&mac.finish());
        let headers = |id| [("S", signature.as_str()), ("x-id", id)];
        assert_eq!(verifies(&scheme, &headers("42"), 0), Ok(true));
        assert_eq!(verifies(&scheme, &headers("43"), 0), Ok(false));
        assert_eq!(
            verifies(&scheme, &headers("42")[..1], 0),
            Err(Refusal::Missing)
        );
    }

    #[test]
    fn templates_that_are_none() {
        let error = |template| Generic::new("S").template(template).unwrap_err();
        assert_eq!(error(""), GenericError::Body);
        assert_eq!(error("{body}{body}"), GenericError::Body);
        assert_eq!(error("{bodi}"), GenericError::Placeholder("bodi".into()));
        assert_eq!(
            error("{header:}"),
            GenericError::Placeholder("header:".into())
        );
        assert_eq!(error("{body"), GenericError::Brace);
        assert_eq!(error("}{body}"), GenericError::Brace);
    }
}
