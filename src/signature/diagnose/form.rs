//! [`Form`]: how a scheme writes a signature, and how a text that is none may be read all the same.

use humantime::format_duration;
use jiff::Timestamp;

use super::claims::{Content, claim_at_its_time, failed_header};
use super::finding::Finding;
use super::variants::base64;
use crate::signature::scheme::{Headers, Refusal, Scheme};
use crate::signature::secret::{Algorithm, Encoding};

/// How a scheme writes a signature.
pub(super) struct Form {
    /// The header that carries it, in lower case.
    pub(super) header: String,
    pub(super) algorithm: Algorithm,
    encoding: Encoding,
    /// What may precede it.
    prefixes: Vec<String>,
    /// What separates several.
    separator: Option<String>,
    /// What is signed, as `template` of `scheme = "hmac"` would say it.
    pub(super) template: String,
}

/// A signature that was read, with what is unusual about its form.
pub(super) struct Candidate {
    pub(super) bytes: Vec<u8>,
    pub(super) findings: Vec<Finding>,
}

impl Candidate {
    pub(super) fn plain(bytes: Vec<u8>) -> Self {
        let findings = Vec::new();
        Self { bytes, findings }
    }
}

impl Form {
    /// `None` for a scheme that is not one of offhook's own.
    pub(super) fn of(scheme: &dyn Scheme) -> Option<Self> {
        let header = scheme.claim_headers().into_iter().next()?;
        let parameters = scheme.parameters();
        let text = |key| {
            let found = parameters.iter().find(|(name, _)| *name == key);
            found.map(|(_, text)| text.clone()).unwrap_or_default()
        };
        Some(match scheme.name() {
            "x-webhook-signature" => Self {
                header,
                algorithm: Algorithm::Sha256,
                encoding: Encoding::Hex,
                prefixes: vec!["sha256=".to_owned(), String::new()],
                separator: None,
                template: "{body}".to_owned(),
            },
            "standard-webhooks" => Self {
                header,
                algorithm: Algorithm::Sha256,
                encoding: Encoding::Base64,
                prefixes: vec!["v1,".to_owned()],
                separator: Some(" ".to_owned()),
                template: "{header:webhook-id}.{timestamp:webhook-timestamp}.{body}".to_owned(),
            },
            "stripe" => Self {
                header,
                algorithm: Algorithm::Sha256,
                encoding: Encoding::Hex,
                prefixes: vec!["v1=".to_owned()],
                separator: Some(",".to_owned()),
                template: "t.{body}".to_owned(),
            },
            // `hmac` and its presets.
            _ if !text("template").is_empty() => Self {
                header,
                algorithm: named(&Algorithm::ALL, &text("algorithm"))?,
                encoding: named(&Encoding::ALL, &text("encoding"))?,
                prefixes: vec![text("prefix")],
                separator: Some(text("separator")).filter(|separator| !separator.is_empty()),
                template: text("template"),
            },
            _ => return None,
        })
    }

    /// A header of the scheme that cannot be used.
    pub(super) fn absent(&self, name: &str, refusal: Refusal) -> Finding {
        match refusal {
            Refusal::Missing if name == self.header => {
                let why = format!("there is no signature: the header {name} is missing");
                Finding::new("missing", why)
            }
            Refusal::Missing => Finding::new("missing", format!("the header {name} is missing")),
            Refusal::Repeated => {
                let why = format!("the header {name} is there several times");
                Finding::new("repeated", why)
            }
            _ => {
                let why = format!("the header {name} cannot be read: a time is in Unix seconds");
                Finding::new("malformed-header", why)
            }
        }
    }

    /// What is signed around the body, whatever the signature says; or what is wrong with another header.
    pub(super) fn content(
        &self,
        scheme: &dyn Scheme,
        headers: &dyn Headers,
        received_at: Timestamp,
    ) -> Result<Content, Finding> {
        let zeros = vec![0; self.algorithm.size()];
        let signature = format!("{}{}", self.prefixes[0], self.encoding.encode(&zeros));
        let signed = Signed {
            headers,
            name: &self.header,
            signature: signature.as_bytes(),
        };
        let (claimed, _) = claim_at_its_time(scheme, &signed, received_at);
        claimed.map(Content::of).map_err(|refusal| {
            let failed = failed_header(scheme, &signed, received_at);
            self.absent(&failed.unwrap_or_default(), refusal)
        })
    }

    /// The signatures in the header's value, or why there is none.
    pub(super) fn read(&self, value: &[u8]) -> Result<Vec<Candidate>, Finding> {
        let whole = String::from_utf8_lossy(value);
        let text = self.without_header_name(whole.trim());
        let named = text.len() < whole.trim().len();
        let separator = self.separator.as_deref();
        let parts: Vec<&str> = match separator.filter(|separator| text.contains(separator)) {
            Some(separator) => text.split(separator).map(str::trim).collect(),
            None => vec![text],
        };
        let mut read: Vec<_> = parts.into_iter().map(|part| self.read_one(part)).collect();
        for candidate in read.iter_mut().flatten().filter(|_| named) {
            let why = "the name of the header is in its value too";
            candidate
                .findings
                .insert(0, Finding::new("header-name", why));
        }
        if read.iter().any(Result::is_ok) {
            return Ok(read.into_iter().flatten().collect());
        }
        read.into_iter().collect()
    }

    fn read_one(&self, text: &str) -> Result<Candidate, Finding> {
        let mut findings = Vec::new();
        let is_prefix = |text: &str| self.prefixes.iter().any(|prefix| prefix == text);
        if text.is_empty() || is_prefix(text) {
            return Err(Finding::new("missing", "there is no signature"));
        }
        let unquoted = text.trim_matches(['"', '\'']);
        if unquoted != text {
            findings.push(Finding::new("quoted", "it stands in quotes"));
        }
        let (prefix, digits) = self.split_prefix(unquoted);
        if !is_prefix(prefix) {
            let allowed = self.prefixes.iter().map(|prefix| match prefix.as_str() {
                "" => "nothing",
                prefix => prefix,
            });
            let allowed = allowed.collect::<Vec<_>>().join(" or ");
            let why = match prefix {
                "" => format!("{allowed} is missing in front of it"),
                _ => format!("it begins with {prefix:?}; only {allowed} may stand there"),
            };
            findings.push(Finding::new("prefix", why).with_key("prefix", prefix));
        }
        let (bytes, finding) = match self.encoding {
            Encoding::Hex => self.read_hex(digits)?,
            Encoding::Base64 => self.read_base64(digits)?,
        };
        findings.extend(finding);
        Ok(Candidate { bytes, findings })
    }

    fn read_hex(&self, digits: &str) -> Result<(Vec<u8>, Option<Finding>), Finding> {
        if let Some(bytes) = Encoding::Hex.decode(digits.as_bytes()) {
            return Ok((bytes, None));
        }
        if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(self.length_of_digits(digits.len()));
        }
        match base64(digits.as_bytes()) {
            Some(bytes) if is_base64(digits, bytes.len()) => {
                let finding = Finding::new("base64", "it is base64, not hexadecimal");
                Ok((bytes, Some(finding.with_key("encoding", "base64"))))
            }
            _ => {
                let why = "it is not hexadecimal: other characters than 0-9 and a-f are in it";
                Err(Finding::new("not-hex", why))
            }
        }
    }

    fn read_base64(&self, text: &str) -> Result<(Vec<u8>, Option<Finding>), Finding> {
        let hex = Encoding::Hex.decode(text.as_bytes());
        if let Some(bytes) = hex.filter(|bytes| is_hash(bytes.len())) {
            let finding = Finding::new("hex", "it is hexadecimal, not base64");
            return Ok((bytes, Some(finding.with_key("encoding", "hex"))));
        }
        if let Some(bytes) = Encoding::Base64.decode(text.as_bytes()) {
            return Ok((bytes, None));
        }
        match base64(text.as_bytes()) {
            Some(bytes) => {
                let why =
                    "it is in the alphabet of base64 for URLs, with - and _ instead of + and /";
                Ok((bytes, Some(Finding::new("base64-url", why))))
            }
            None => {
                let why = "it is not base64: it has other characters, or another length";
                Err(Finding::new("not-base64", why))
            }
        }
    }

    /// The finding for bytes that are no HMAC of this scheme.
    pub(super) fn length(&self, bytes: usize) -> Finding {
        match self.encoding {
            Encoding::Hex => self.length_of_digits(bytes * 2),
            Encoding::Base64 => {
                let (hash, size) = (hash(self.algorithm), self.algorithm.size());
                let looks = looks_like(bytes);
                let why = format!("it has {bytes} bytes{looks}; HMAC-{hash} has {size}");
                Finding::new("length", why)
            }
        }
    }

    fn length_of_digits(&self, digits: usize) -> Finding {
        let (hash, size) = (hash(self.algorithm), self.algorithm.size() * 2);
        let looks = if digits.is_multiple_of(2) {
            looks_like(digits / 2)
        } else {
            String::new()
        };
        let why = format!("it has {digits} hexadecimal digits{looks}; HMAC-{hash} has {size}");
        Finding::new("length", why)
    }

    /// Senders may take the whole header line for its value.
    fn without_header_name<'a>(&self, line: &'a str) -> &'a str {
        match line.split_once(':') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case(&self.header) => value.trim(),
            _ => line,
        }
    }

    /// Splits off what precedes the signature: `sha512=…`, `SHA256=…`, `v1,…`, `sha256:…`, `0x…`.
    fn split_prefix<'a>(&self, text: &'a str) -> (&'a str, &'a str) {
        let mut allowed = self.prefixes.iter().filter(|prefix| !prefix.is_empty());
        if let Some(prefix) = allowed.find(|prefix| text.starts_with(prefix.as_str())) {
            return text.split_at(prefix.len());
        }
        let separator = text.find(['=', ',', ':', ' ']).map(|index| index + 1);
        let hexadecimal = text.starts_with("0x").then_some(2);
        match separator.or(hexadecimal) {
            // A `=` at the end belongs to base64.
            Some(end) if end <= LONGEST_PREFIX && text.len() - end >= SHORTEST => {
                text.split_at(end)
            }
            _ => ("", text),
        }
    }
}

/// The finding for a timestamp that is too far from the time of receipt.
pub(super) fn expired(scheme: &dyn Scheme, sent: Timestamp, received_at: Timestamp) -> Finding {
    let parameters = scheme.parameters();
    let tolerance = parameters.iter().find(|(key, _)| *key == "tolerance");
    let age = received_at.duration_since(sent);
    let side = if age.is_negative() { "after" } else { "before" };
    // Whole seconds, as timestamps are.
    let age = std::time::Duration::from_secs(age.abs().as_secs().unsigned_abs());
    let age = format_duration(age);
    let why = match tolerance {
        Some((_, tolerance)) => format!(
            "its timestamp is {age} {side} the time of receipt; at most {tolerance} are allowed"
        ),
        // It names its own end.
        None => format!("it was good until {age} {side} the time of receipt"),
    };
    Finding::new("timestamp", why)
}

/// As a hash is written in texts, such as SHA256.
pub(super) fn hash(algorithm: Algorithm) -> String {
    let named = Algorithm::ALL.iter().find(|(_, one)| *one == algorithm);
    let name = named.map_or("", |(name, _)| name);
    name.to_ascii_uppercase().replace("SHA", "SHA-")
}

fn named<T: Copy>(all: &[(&'static str, T)], name: &str) -> Option<T> {
    let found = all.iter().find(|(one, _)| *one == name);
    found.map(|(_, value)| *value)
}

/// Whether a text that decodes as base64 is meant as base64. Hexadecimal with a wrong letter decodes
/// too, but its letters have only one case; other texts have another length.
fn is_base64(text: &str, bytes: usize) -> bool {
    text.bytes().any(|byte| byte.is_ascii_uppercase())
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && is_hash(bytes)
}

fn is_hash(bytes: usize) -> bool {
    HASHES.iter().any(|(length, _)| *length == bytes)
}

fn looks_like(bytes: usize) -> String {
    let hash = HASHES.iter().find(|(length, _)| *length == bytes);
    let looks = hash.map(|(_, name)| format!(", as many as {name} gives"));
    looks.unwrap_or_default()
}

/// Headers with another signature.
struct Signed<'a> {
    headers: &'a dyn Headers,
    name: &'a str,
    signature: &'a [u8],
}

impl Headers for Signed<'_> {
    fn value(&self, name: &str) -> Result<&[u8], Refusal> {
        if name == self.name {
            return Ok(self.signature);
        }
        self.headers.value(name)
    }

    fn target(&self) -> Option<&str> {
        self.headers.target()
    }
}

/// Lengths in bytes of what is sent by mistake instead of a signature.
const HASHES: [(usize, &str); 5] = [
    (16, "MD5"),
    (20, "SHA-1"),
    (32, "SHA-256"),
    (48, "SHA-384"),
    (64, "SHA-512"),
];

/// The shortest signature after a prefix: MD5 in base64 without padding.
const SHORTEST: usize = 22;

/// The longest prefix; what is longer may be anything, also a secret.
const LONGEST_PREFIX: usize = 16;
