//! [`Generic`]: an HMAC described by settings, for senders that have no scheme of their own.

use std::str::FromStr;
use std::time::Duration;

use humantime::format_duration;
use jiff::{SignedDuration, Timestamp};

use super::scheme::{Claim, Headers, Refusal, Scheme, SignedHeader};
use super::secret::{Algorithm, Encoding, Secret};

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
    /// `hmac`, or that of the preset.
    pub(super) name: &'static str,
    /// A header that, where it is there, must have this value.
    pub(super) agrees: Option<(&'static str, &'static str)>,
    pub(crate) header: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) encoding: Encoding,
    pub(crate) prefix: String,
    pub(crate) template: Template,
    pub(crate) tolerance: Duration,
    pub(crate) separator: Option<String>,
    pub(crate) id_header: Option<String>,
    pub(crate) id_pointer: Option<String>,
    pub(crate) event_header: Option<String>,
}

impl Generic {
    /// The HMAC-SHA256 of the body in hexadecimal, in the header `header`.
    pub fn new(header: impl Into<String>) -> Self {
        Self {
            name: "hmac",
            agrees: None,
            header: header.into(),
            algorithm: Algorithm::Sha256,
            encoding: Encoding::Hex,
            prefix: String::new(),
            template: Template {
                text: "{body}".to_owned(),
                parts: vec![Part::Body],
            },
            tolerance: Duration::from_secs(300),
            separator: None,
            id_header: None,
            id_pointer: None,
            event_header: None,
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

    /// What separates several signatures in the header, such as `","`. One of them must be right. Each has the
    /// prefix; what has another, or is no signature, is passed over. Default: the header has one signature.
    pub fn separator(mut self, separator: impl Into<String>) -> Self {
        self.separator = Some(separator.into());
        self
    }

    /// The header with the sender's own id of an event, by which duplicates are found; see
    /// [`Scheme::id_header`]. A program that can change a header on its way can change this one, unless the
    /// template has it.
    pub fn id_header(mut self, header: impl AsRef<str>) -> Self {
        self.id_header = Some(header.as_ref().to_ascii_lowercase());
        self
    }

    /// The JSON pointer to that id in the body.
    pub fn id_pointer(mut self, pointer: impl Into<String>) -> Self {
        self.id_pointer = Some(pointer.into());
        self
    }

    /// The header with the name of an event whose body names none.
    pub fn event_header(mut self, header: impl AsRef<str>) -> Self {
        self.event_header = Some(header.as_ref().to_ascii_lowercase());
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
}

impl Scheme for Generic {
    fn name(&self) -> &'static str {
        self.name
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        vec![
            ("header", self.header.clone()),
            ("algorithm", name_of(&Algorithm::ALL, self.algorithm)),
            ("encoding", name_of(&Encoding::ALL, self.encoding)),
            ("prefix", self.prefix.clone()),
            ("template", self.template.text.clone()),
            ("tolerance", format_duration(self.tolerance).to_string()),
            ("separator", text(&self.separator)),
            ("id_header", text(&self.id_header)),
            ("id_pointer", text(&self.id_pointer)),
            ("event_header", text(&self.event_header)),
        ]
    }

    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal> {
        let value = one(headers, &self.header)?;
        let signatures = self.signatures(value);
        if signatures.is_empty() {
            return Err(Refusal::Malformed);
        }
        if let Some((name, only)) = self.agrees {
            match headers.value(name) {
                Ok(value) if value.eq_ignore_ascii_case(only.as_bytes()) => {}
                Err(Refusal::Missing) => {}
                Err(refusal) => return Err(refusal),
                Ok(_) => return Err(Refusal::Malformed),
            }
        }
        let mut claim = Claim {
            signatures,
            ..Claim::default()
        };
        let mut signed = Vec::new();
        for part in &self.template.parts {
            match part {
                Part::Text(literal) => signed.extend_from_slice(literal.as_bytes()),
                Part::Body => claim.before = std::mem::take(&mut signed),
                Part::Header(name) => signed.extend_from_slice(one(headers, name)?),
                Part::Timestamp(name) => {
                    let value = one(headers, name)?;
                    let sent = unix_time(value).ok_or(Refusal::Malformed)?;
                    check_time(sent, now, self.tolerance)?;
                    signed.extend_from_slice(value);
                }
            }
        }
        claim.after = signed;
        Ok(claim)
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        claim.is_signed_with(secret.mac(self.algorithm), body)
    }

    fn claim_headers(&self) -> Vec<String> {
        let all = std::iter::once(self.header.as_str()).chain(self.template.headers());
        let all = all.chain(self.agrees.map(|(name, _)| name));
        all.map(str::to_ascii_lowercase).collect()
    }

    fn id_header(&self) -> Option<&str> {
        self.id_header.as_deref()
    }

    fn id_pointer(&self) -> Option<&str> {
        self.id_pointer.as_deref()
    }

    fn event_header(&self) -> Option<&str> {
        self.event_header.as_deref()
    }

    /// Signs a `{header:…}` of the template as empty; a sender with such a header must sign for itself.
    fn sign(&self, body: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader> {
        let mut added = Vec::new();
        let mut add = |name: &str, value| {
            let name = name.to_owned().into();
            added.push(SignedHeader { name, value });
        };
        let mut mac = secret.mac(self.algorithm);
        let seconds = now.as_second().to_string();
        for part in &self.template.parts {
            match part {
                Part::Text(literal) => mac.update(literal.as_bytes()),
                Part::Body => mac.update(body),
                Part::Header(_) => {}
                Part::Timestamp(name) => {
                    mac.update(seconds.as_bytes());
                    add(name, seconds.clone());
                }
            }
        }
        let signature = self.encoding.encode(&mac.finish());
        add(&self.header, format!("{}{signature}", self.prefix));
        // The signature comes first.
        added.rotate_right(1);
        added
    }
}

impl Generic {
    /// The signatures in the header's value.
    fn signatures(&self, value: &[u8]) -> Vec<Vec<u8>> {
        let one = |part: &[u8]| {
            let digits = part.strip_prefix(self.prefix.as_bytes())?;
            self.encoding.decode_mac(digits, self.algorithm)
        };
        let Some(separator) = &self.separator else {
            return one(value).into_iter().collect();
        };
        // A value that is no text has no signature that could be read.
        let value = str::from_utf8(value).unwrap_or_default();
        let parts = value.split(separator.as_str()).map(str::trim);
        parts
            .filter_map(|part| one(part.as_bytes()))
            .take(MAX_SIGNATURES)
            .collect()
    }
}

/// The name of `value` in the settings.
fn name_of<T: PartialEq + Copy>(names: &[(&'static str, T)], value: T) -> String {
    let named = names.iter().find(|(_, one)| *one == value);
    named.map_or("", |(name, _)| name).to_owned()
}

/// Checks that `sent` is within `tolerance` of now.
pub(super) fn check_time(
    sent: Timestamp,
    now: Timestamp,
    tolerance: Duration,
) -> Result<(), Refusal> {
    let tolerance = SignedDuration::try_from(tolerance).unwrap_or(SignedDuration::MAX);
    if sent.duration_since(now).abs() > tolerance {
        return Err(Refusal::Expired);
    }
    Ok(())
}

/// The value of a header that must appear exactly once.
fn one<'a>(headers: &'a dyn Headers, name: &str) -> Result<&'a [u8], Refusal> {
    headers.value(&name.to_ascii_lowercase())
}

/// Reads Unix seconds, or milliseconds if the number is too large for seconds: digits, since `parse` alone would accept
/// a sign before them.
pub(super) fn unix_time(text: &[u8]) -> Option<Timestamp> {
    if !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: i64 = str::from_utf8(text).ok()?.parse().ok()?;
    if number.unsigned_abs() < 100_000_000_000 {
        Timestamp::from_second(number).ok()
    } else {
        Timestamp::from_millisecond(number).ok()
    }
}

/// How many signatures of a header are tried.
const MAX_SIGNATURES: usize = 16;

/// What is signed.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    /// As it was written.
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone)]
enum Part {
    Text(String),
    Body,
    Header(String),
    Timestamp(String),
}

impl Template {
    /// The headers that the template names.
    pub(crate) fn headers(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Header(name) | Part::Timestamp(name) => Some(name.as_str()),
            Part::Text(_) | Part::Body => None,
        })
    }
}

impl FromStr for Template {
    type Err = GenericError;

    fn from_str(template: &str) -> Result<Self, Self::Err> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = template;
        while let Some(brace) = rest.find(['{', '}']) {
            text.push_str(&rest[..brace]);
            rest = &rest[brace..];
            if rest.starts_with("{{") || rest.starts_with("}}") {
                text.push_str(&rest[..1]);
                rest = &rest[2..];
                continue;
            }
            let placeholder = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let (name, after) = placeholder.ok_or(GenericError::Brace)?;
            parts.push(Part::Text(std::mem::take(&mut text)));
            parts.push(Part::named(name)?);
            rest = after;
        }
        text.push_str(rest);
        parts.push(Part::Text(text));
        let bodies = parts.iter().filter(|part| matches!(part, Part::Body));
        if bodies.count() != 1 {
            return Err(GenericError::Body);
        }
        let text = template.to_owned();
        Ok(Self { text, parts })
    }
}

impl Part {
    fn named(placeholder: &str) -> Result<Self, GenericError> {
        match placeholder.split_once(':') {
            None if placeholder == "body" => Ok(Self::Body),
            Some(("header", name)) if !name.is_empty() => Ok(Self::Header(name.to_owned())),
            Some(("timestamp", name)) if !name.is_empty() => Ok(Self::Timestamp(name.to_owned())),
            _ => Err(GenericError::Placeholder(placeholder.to_owned())),
        }
    }
}

/// Why a template is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GenericError {
    /// `{body}` must appear exactly once.
    #[error("the template must hold {{body}} exactly once")]
    Body,
    /// An unknown placeholder.
    #[error("unknown placeholder {{{0}}}; there are {{body}}, {{header:NAME}}, {{timestamp:NAME}}")]
    Placeholder(String),
    /// A brace without its counterpart.
    #[error("a single brace; write {{{{ or }}}} for the character itself")]
    Brace,
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
            plain().separator(","),
            plain().id_header("X-Id"),
            plain().id_pointer("/id"),
            plain().event_header("X-Event"),
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
        for odd in [
            "",
            "soon",
            "1e3",
            "+1000",
            "-0",
            " 1000",
            "99999999999999999999",
        ] {
            let odd = [("S", headers[0].1.as_str()), ("T", odd)];
            assert_eq!(verifies(&scheme, &odd, 1000), Err(Refusal::Malformed));
        }
    }

    #[test]
    fn headers_of_the_template_are_signed() {
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
    fn one_of_several_signatures_is_enough() {
        let scheme = Generic::new("S").prefix("v1=").separator(",");
        let good = signed(&scheme, 0)[0].1.clone();
        let other = format!("v1={}", "0".repeat(64));
        let verdict = |value: &str| verifies(&scheme, &[("S", value)], 0);
        for value in [
            good.clone(),
            format!("{other},{good}"),
            format!("{good}, {other}"),
            format!("t=12,v0=old,{good},v1=short"),
        ] {
            assert_eq!(verdict(&value), Ok(true), "{value}");
        }
        assert_eq!(verdict(&format!("{other},{other}")), Ok(false));
        for value in ["", ",", "v2=x", "v1=short,"] {
            assert_eq!(verdict(value), Err(Refusal::Malformed), "{value}");
        }
        let plain = Generic::new("S").prefix("v1=");
        let two = format!("{good},{other}");
        assert_eq!(verifies(&plain, &[("S", &two)], 0), Err(Refusal::Malformed));
    }

    #[test]
    fn invalid_templates() {
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
