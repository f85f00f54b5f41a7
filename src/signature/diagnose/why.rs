//! [`diagnose`]: what is wrong with one signature, in the order in which it is looked for.

use jiff::Timestamp;

use super::cause::Search;
use super::claims::{Content, claim_at_its_time};
use super::finding::{Finding, unexplained};
use super::form::{self, Candidate, Form};
use super::formless;
use crate::signature::scheme::{Headers, Refusal, Scheme};
use crate::signature::secret::{Algorithm, Secret};

/// Says what is wrong with a request's signature, as a source with this scheme and this secret reads it at
/// `received_at`. Empty if the signature is right.
///
/// ```
/// use offhook::Timestamp;
/// use offhook::signature::{Secret, XWebhookSignature, diagnose};
///
/// let secret = Secret::new("your-secret-key").unwrap();
/// let base64 = "6C+M1GYqZR0XyYtu2HcsOqAjmDpxYVpa6FgWRuUzqDI=";
/// let headers = [("X-Webhook-Signature", base64)];
/// let now = Timestamp::UNIX_EPOCH;
///
/// let findings = diagnose(&XWebhookSignature, &&headers[..], b"{}", &secret, now);
/// assert_eq!(findings[0].why, "it is base64, not hexadecimal");
/// ```
pub fn diagnose(
    scheme: &dyn Scheme,
    headers: &dyn Headers,
    body: &[u8],
    secret: &Secret,
    received_at: Timestamp,
) -> Vec<Finding> {
    let findings = findings(scheme, headers, body, secret, received_at);
    let hides = |text: &[u8]| memchr::memmem::find(text, secret.expose()).is_some();
    let hidden = findings.into_iter().map(|finding| finding.without(hides));
    hidden.collect()
}

/// Whether the findings explain the signature. Only a sender that knows the secret can have made it.
///
/// ```
/// assert!(!offhook::signature::explains(&[]));
/// ```
pub fn explains(findings: &[Finding]) -> bool {
    let is_proof = |finding: &Finding| !NO_PROOF.contains(&finding.reason);
    !findings.is_empty() && findings.iter().all(is_proof)
}

/// The reasons that anyone's request may have.
const NO_PROOF: [&str; 14] = [
    // These are made without the secret.
    "plain-sha256",
    "documented-key",
    "empty-secret",
    "unexplained",
    "missing",
    "repeated",
    "malformed-header",
    "length",
    "not-hex",
    "not-base64",
    "other-scheme",
    "no-scheme",
    "session-hidden",
    "path-token",
];

fn findings(
    scheme: &dyn Scheme,
    headers: &dyn Headers,
    body: &[u8],
    secret: &Secret,
    received_at: Timestamp,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let (claimed, sent) = claim_at_its_time(scheme, headers, received_at);
    if let Some(sent) = sent {
        findings.push(form::expired(scheme, sent, received_at));
    }
    if let Ok(claim) = &claimed
        && scheme.matches(claim, body, secret)
    {
        return findings;
    }
    if scheme.name() == "stripe"
        && let Err(refusal @ Refusal::Malformed) = claimed
    {
        findings.push(formless::refused(scheme, refusal));
        return findings;
    }
    let Some(form) = Form::of(scheme) else {
        findings.push(match claimed {
            Err(refusal) => formless::refused(scheme, refusal),
            Ok(claim) => formless::mismatch(scheme, headers, &claim, body, secret, received_at),
        });
        return findings;
    };
    let value = match headers.value(&form.header) {
        Ok(value) => value,
        Err(refusal) => return vec![form.absent(&form.header, refusal)],
    };
    let (content, candidates) = match claimed {
        Ok(claim) => {
            let candidates = claim.signatures.iter().cloned().map(Candidate::plain);
            let candidates: Vec<_> = candidates.collect();
            (Some(Content::of(claim)), candidates)
        }
        Err(_) => {
            let content = match form.content(scheme, headers, received_at) {
                Ok(content) => Some(content),
                Err(finding) => {
                    findings.push(finding);
                    None
                }
            };
            match form.read(value) {
                Ok(candidates) => (content, candidates),
                Err(finding) => {
                    findings.push(finding);
                    return findings;
                }
            }
        }
    };
    let search = Search::new(scheme, &form, headers, content, body, secret);
    let judged = candidates.into_iter().take(MOST_SIGNATURES);
    let mut judged: Vec<_> = judged.map(|one| judge(&search, &form, one)).collect();
    let explained = judged.iter().position(|findings| explains(findings));
    if !judged.is_empty() {
        findings.extend(judged.swap_remove(explained.unwrap_or(0)));
    }
    if findings.is_empty() {
        // Everything that was tried is right, though the scheme does not say so.
        findings.push(unexplained());
    }
    findings
}

/// What is wrong with one signature.
fn judge(search: &Search<'_>, form: &Form, candidate: Candidate) -> Vec<Finding> {
    let Candidate { bytes, findings } = candidate;
    let mut judged = findings;
    let mut algorithms = Algorithm::ALL.into_iter();
    let named = algorithms.find(|(_, algorithm)| algorithm.size() == bytes.len());
    let cause = named.and_then(|(_, algorithm)| search.cause(&bytes, algorithm));
    match (named, cause) {
        (Some((_, algorithm)), Some(cause)) if algorithm == form.algorithm => judged.extend(cause),
        (Some((_, algorithm)), None) if algorithm == form.algorithm => judged.push(unexplained()),
        (Some((name, algorithm)), Some(cause)) => {
            let [found, wanted] = [algorithm, form.algorithm].map(form::hash);
            let why = format!("it is made with HMAC-{found}, not HMAC-{wanted}");
            judged.push(Finding::new("algorithm", why).with_key("algorithm", name));
            judged.extend(cause);
        }
        _ => judged.push(form.length(bytes.len())),
    }
    judged
}

/// How many signatures of one header are explained.
const MOST_SIGNATURES: usize = 4;
