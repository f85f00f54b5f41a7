//! Finds out why a signature is wrong. A pure function of the signature, the body and the secret.
//!
//! First the text of the signature is read leniently; anything unusual about its form is a finding. Then
//! the usual mistakes are tried, at most one of each kind together, until one produces exactly these
//! bytes: another hash, another key made from the same secret, another body made from the same bytes. No
//! finding contains the secret or the correct signature.

mod bodies;
mod form;
mod json;
mod keys;
mod parsed;

use std::borrow::Cow;

use offhook::signature::{Algorithm, Claim, Generic, Scheme as _, Secret};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// One reason, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// A fixed name, for programs.
    pub(super) reason: &'static str,
    /// What is wrong.
    pub(super) why: Cow<'static, str>,
    /// What to do.
    pub(super) advice: &'static str,
}

impl Finding {
    fn new(reason: &'static str, why: impl Into<Cow<'static, str>>, advice: &'static str) -> Self {
        Self {
            reason,
            why: why.into(),
            advice,
        }
    }
}

/// What is wrong with `signature`; empty if it is right.
pub(super) fn diagnose(signature: &str, body: &[u8], secret: &[u8]) -> Vec<Finding> {
    let (bytes, mut findings) = match form::read(signature) {
        Ok(read) => read,
        Err(finding) => return vec![finding],
    };
    let Some((name, algorithm)) = by_length(bytes.len()) else {
        findings.push(form::length(bytes.len()));
        return findings;
    };
    let cause = cause(&bytes, algorithm, body, secret);
    match cause {
        Some(cause) => {
            if algorithm != Algorithm::Sha256 {
                findings.push(other_algorithm(name));
            }
            findings.extend(cause);
        }
        None if algorithm != Algorithm::Sha256 => findings.push(form::length(bytes.len())),
        None => findings.push(unexplained()),
    }
    findings
}

/// What explains the bytes: the form alone, another key, another body, or both.
fn cause(bytes: &[u8], algorithm: Algorithm, body: &[u8], secret: &[u8]) -> Option<Vec<Finding>> {
    let given = Given { bytes, algorithm };
    let keys = keys::variants(secret);
    let same_body = || std::iter::once((Cow::Borrowed(body), None));
    let other_bodies = || bodies::variants(body).map(|(body, finding)| (body, Some(finding)));
    // Trying every key with every body takes too long for long bodies.
    let both = body.len() <= BOTH_UP_TO;
    let mut others: Box<dyn Iterator<Item = _>> = Box::new(same_body().chain(other_bodies()));
    others.find_map(|(body, altered)| {
        if given.is(secret, &body) {
            return Some(altered.into_iter().collect());
        }
        if altered.is_some() && !both {
            return None;
        }
        let other_key = keys.iter().find(|(key, _)| given.is(key, &body));
        if let Some((_, finding)) = other_key {
            return Some([finding.clone()].into_iter().chain(altered).collect());
        }
        let not_keyed = not_keyed(&given, secret, &body)?;
        Some([not_keyed].into_iter().chain(altered).collect())
    })
}

/// The signature's bytes, and the hash that has this length.
struct Given<'a> {
    bytes: &'a [u8],
    algorithm: Algorithm,
}

impl Given<'_> {
    /// Whether these bytes are the HMAC of `body` with `key`.
    fn is(&self, key: &[u8], body: &[u8]) -> bool {
        let claim = Claim {
            signatures: vec![self.bytes.to_vec()],
            before: Vec::new(),
            after: Vec::new(),
        };
        let scheme = Generic::new("").algorithm(self.algorithm);
        Secret::new(key).is_ok_and(|key| scheme.matches(&claim, body, &key))
    }
}

/// Finds hashes of the body that are not an HMAC.
fn not_keyed(given: &Given<'_>, secret: &[u8], body: &[u8]) -> Option<Finding> {
    if given.is(body, secret) {
        let why = "it is the HMAC with key and body exchanged";
        return Some(Finding::new(
            "exchanged",
            why,
            "Give the secret as the key, the body as the data.",
        ));
    }
    let hash = |parts: [&[u8]; 2]| {
        let hash = Sha256::new_with_prefix(parts[0]).chain_update(parts[1]);
        hash.finalize().as_slice() == given.bytes
    };
    let table: [(_, [&[u8]; 2], _); 3] = [
        (
            "plain-sha256",
            [body, b""],
            "it is the plain SHA-256 of the body, without the secret",
        ),
        (
            "secret-then-body",
            [secret, body],
            "it is the SHA-256 of secret and body joined, not an HMAC",
        ),
        (
            "body-then-secret",
            [body, secret],
            "it is the SHA-256 of body and secret joined, not an HMAC",
        ),
    ];
    let found = table.into_iter().find(|(_, parts, _)| hash(*parts));
    found.map(|(reason, _, why)| Finding::new(reason, why, USE_HMAC))
}

fn by_length(bytes: usize) -> Option<(&'static str, Algorithm)> {
    let mut all = Algorithm::ALL.into_iter();
    all.find(|(_, algorithm)| algorithm.size() == bytes)
}

fn other_algorithm(name: &str) -> Finding {
    let name = name.to_ascii_uppercase().replace("SHA", "SHA-");
    let why = format!("it is made with HMAC-{name}, not HMAC-SHA-256");
    let advice =
        "Let the sender use SHA-256; or give the source scheme = \"hmac\" with that algorithm.";
    Finding::new("algorithm", why, advice)
}

fn unexplained() -> Finding {
    let why = "another secret or an altered body";
    let advice = "Compare the secrets on both sides. Sign and verify the raw bytes as they are on the \
                  wire, before any JSON parser has seen them.";
    Finding::new("unexplained", why, advice)
}

const USE_HMAC: &str = "Use an HMAC-SHA256 function: hmac.new(key, body, sha256) in Python, \
                        createHmac(\"sha256\", key) in Node.js.";

/// The longest body for which another key and another body are tried together, in bytes.
const BOTH_UP_TO: usize = 64 * 1024;

#[cfg(test)]
mod tests;
