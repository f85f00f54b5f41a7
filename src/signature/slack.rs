//! [`Slack`]: the scheme of Slack's Events API, slash commands and interactions.

use std::time::Duration;

use jiff::Timestamp;
use memchr::memmem;
use serde::Deserialize;

use super::generic::Generic;
use super::reply::{Handshake, Reply};
use super::scheme::{Claim, Headers, Refusal, Scheme, SignedHeader};
use super::secret::Secret;

/// [Slack](https://docs.slack.dev/authentication/verifying-requests-from-slack): the HMAC-SHA256 of
/// `v0:{timestamp}:{body}`, in `X-Slack-Signature`.
///
/// A signed `url_verification` is answered with its challenge. An event is answered with an empty body, because
/// Slack shows any other answer to a command to the person who has typed it.
///
/// ```
/// use offhook::Source;
/// use offhook::signature::{Secret, Slack};
///
/// let source = Source::new("slack")
///     .scheme(Slack::default())
///     .secret(Secret::new("the signing secret").unwrap());
/// ```
#[derive(Debug, Clone)]
pub struct Slack(Generic);

impl Default for Slack {
    fn default() -> Self {
        Self(Generic::preset("slack").expect("the preset exists, as a test holds"))
    }
}

impl Slack {
    /// How far a timestamp may be from now, in both directions. Default: 300 s.
    pub fn tolerance(self, tolerance: Duration) -> Self {
        Self(self.0.tolerance(tolerance))
    }
}

impl Scheme for Slack {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn parameters(&self) -> Vec<(&'static str, String)> {
        self.0.parameters()
    }

    fn claim(&self, headers: &dyn Headers, now: Timestamp) -> Result<Claim, Refusal> {
        self.0.claim(headers, now)
    }

    fn matches(&self, claim: &Claim, body: &[u8], secret: &Secret) -> bool {
        self.0.matches(claim, body, secret)
    }

    fn claim_headers(&self) -> Vec<String> {
        self.0.claim_headers()
    }

    fn id_pointer(&self) -> Option<&str> {
        Scheme::id_pointer(&self.0)
    }

    fn reply(&self) -> Reply {
        Reply::Empty
    }

    fn handshake(&self) -> Option<Handshake> {
        Some(url_verification)
    }

    fn sign(&self, body: &[u8], secret: &Secret, now: Timestamp) -> Vec<SignedHeader> {
        self.0.sign(body, secret, now)
    }
}

/// The answer to a body of the type `url_verification`.
fn url_verification(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Test<'a> {
        #[serde(borrow)]
        r#type: std::borrow::Cow<'a, str>,
        #[serde(borrow)]
        challenge: std::borrow::Cow<'a, str>,
    }
    if body.len() > LONGEST || memmem::find(body, b"url_verification").is_none() {
        return None;
    }
    let test: Test<'_> = serde_json::from_slice(body).ok()?;
    let is_test = test.r#type == "url_verification";
    is_test.then(|| serde_json::json!({ "challenge": test.challenge }).to_string())
}

/// The longest body that may be such a test, in bytes. Events are longer, and need not be parsed for it.
const LONGEST: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_is_answered_with_its_challenge() {
        let answer =
            url_verification(br#"{"token":"t","challenge":"a\"b","type":"url_verification"}"#);
        assert_eq!(answer.as_deref(), Some(r#"{"challenge":"a\"b"}"#));
        let long = format!(
            r#"{{"type":"url_verification","challenge":"{}"}}"#,
            "c".repeat(LONGEST)
        );
        for body in [
            r#"{"type":"event_callback","challenge":"a"}"#,
            r#"{"type":"url_verification"}"#,
            r#"{"type":"url_verification","challenge":5}"#,
            r#"{"event":{"type":"url_verification","challenge":"a"}}"#,
            "payload=%7B%7D",
            "",
            &long,
        ] {
            assert_eq!(url_verification(body.as_bytes()), None, "{body}");
        }
    }
}
