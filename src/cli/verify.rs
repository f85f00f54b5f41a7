//! `offhook verify`: says whether a signature is right, and if not, why.
//!
//! First the text of the signature is read leniently; anything unusual about its form is a finding. Then
//! the usual mistakes are tried, at most one of each kind together, until one produces exactly these
//! bytes: another hash, another key made from the same secret, another body made from the same bytes. No
//! finding contains the secret or the correct signature.

mod advice;
mod form;
mod json;
mod variants;

use std::borrow::Cow;

use clap::Args;
use offhook::signature::{Algorithm, Claim, Generic, Scheme as _, Secret};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::input::read_body;
use super::output::{self, Outcome, Verdict};
use advice::advice;

/// Say whether a body's signature is right, and if not, why
///
/// The body is checked as a source with scheme = "x-webhook-signature" checks it. If the signature is
/// wrong, the usual mistakes are tried one after another until one explains it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Verify {
    /// The body as it was received; - for standard input. Every byte counts
    #[arg(default_value = "-")]
    file: String,

    /// The shared secret: env:NAME, file:PATH, or the text itself
    #[arg(long, env = "OFFHOOK_SECRET", hide_env_values = true)]
    #[arg(allow_hyphen_values = true, value_parser = Secret::resolve)]
    secret: Secret,

    /// The value of the header X-Webhook-Signature
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    signature: String,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let body = read_body(&self.file)?;
        let findings = diagnose(&self.signature, &body, self.secret.expose());
        let valid = findings.is_empty();
        if self.json {
            output::print_json(&json!({ "valid": valid, "reasons": findings }))?;
            return Ok(Verdict::from(valid));
        }
        if valid {
            output::print(&output::good("valid"))?;
        }
        for finding in &findings {
            output::print(&format!("{} {}", output::bad("invalid:"), finding.why))?;
            output::print(&format!("  {}", finding.advice))?;
        }
        Ok(Verdict::from(valid))
    }
}

/// One reason, as text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    /// A fixed name, for programs.
    reason: &'static str,
    /// What is wrong.
    why: Cow<'static, str>,
    /// What to do.
    advice: &'static str,
}

impl Finding {
    fn new(reason: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            why: why.into(),
            advice: advice(reason),
        }
    }
}

/// What is wrong with `signature`; empty if it is right.
fn diagnose(signature: &str, body: &[u8], secret: &[u8]) -> Vec<Finding> {
    let (bytes, mut findings) = match form::read(signature) {
        Ok(read) => read,
        Err(finding) => return vec![finding],
    };
    let mut algorithms = Algorithm::ALL.into_iter();
    let named = algorithms.find(|(_, algorithm)| algorithm.size() == bytes.len());
    let cause = named.and_then(|(_, algorithm)| cause(&bytes, algorithm, body, secret));
    match (named, cause) {
        (Some((_, Algorithm::Sha256)), Some(cause)) => findings.extend(cause),
        (Some((_, Algorithm::Sha256)), None) => {
            let why = "another secret or an altered body";
            findings.push(Finding::new("unexplained", why));
        }
        (Some((name, _)), Some(cause)) => {
            let name = name.to_ascii_uppercase().replace("SHA", "SHA-");
            let why = format!("it is made with HMAC-{name}, not HMAC-SHA-256");
            findings.push(Finding::new("algorithm", why));
            findings.extend(cause);
        }
        _ => findings.push(form::length(bytes.len() * 2)),
    }
    findings
}

/// What explains the bytes: the form alone, another key, another body, or both.
fn cause(bytes: &[u8], algorithm: Algorithm, body: &[u8], secret: &[u8]) -> Option<Vec<Finding>> {
    let mut claim = Claim::default();
    claim.signatures.push(bytes.to_vec());
    let scheme = Generic::new("").algorithm(algorithm);
    let is_hmac = |key: &[u8], body: &[u8]| {
        Secret::new(key).is_ok_and(|key| scheme.matches(&claim, body, &key))
    };
    let keys = variants::keys(secret);
    let same_body = std::iter::once((Cow::Borrowed(body), None));
    let other_bodies = variants::bodies(body).map(|(body, finding)| (body, Some(finding)));
    same_body.chain(other_bodies).find_map(|(tried, altered)| {
        if is_hmac(secret, &tried) {
            return Some(altered.into_iter().collect());
        }
        if altered.is_some() && body.len() > BOTH_UP_TO {
            return None;
        }
        let other_key = keys.iter().find(|(key, _)| is_hmac(key, &tried));
        let finding = other_key
            .map(|(_, finding)| finding.clone())
            .or_else(|| is_hmac(&tried, secret).then(|| Finding::new("exchanged", OTHER_WAY)))
            .or_else(|| plain_hash(bytes, secret, &tried))?;
        Some([finding].into_iter().chain(altered).collect())
    })
}

/// Finds hashes of the body that are not an HMAC.
fn plain_hash(bytes: &[u8], secret: &[u8], body: &[u8]) -> Option<Finding> {
    let table: [(_, [&[u8]; 2], _); 3] = [
        ("plain-sha256", [body, b""], PLAIN),
        ("secret-then-body", [secret, body], SECRET_FIRST),
        ("body-then-secret", [body, secret], BODY_FIRST),
    ];
    let found = table.into_iter().find(|(_, [first, second], _)| {
        let hash = Sha256::new_with_prefix(first).chain_update(second);
        hash.finalize().as_slice() == bytes
    });
    found.map(|(reason, _, why)| Finding::new(reason, why))
}

const OTHER_WAY: &str = "it is the HMAC with key and body exchanged";
const PLAIN: &str = "it is the plain SHA-256 of the body, without the secret";
const SECRET_FIRST: &str = "it is the SHA-256 of secret and body joined, not an HMAC";
const BODY_FIRST: &str = "it is the SHA-256 of body and secret joined, not an HMAC";

/// The longest body for which another key and another body are tried together, in bytes. With a longer
/// one it takes too long.
const BOTH_UP_TO: usize = 64 * 1024;

const EXAMPLES: &str = "\
Examples:
  offhook verify body.json --secret env:SECRET --signature 75b621fa…
  printf '{}' | offhook verify --secret your-secret-key --signature sha256=…

Exit status: 0 valid, 1 invalid, 2 when the body or the secret cannot be read.";

#[cfg(test)]
mod tests;
