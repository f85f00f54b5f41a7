//! `offhook verify`: says whether a signature is right, and if not, why.

use clap::Args;
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{Secret, diagnose};
use serde_json::json;

use super::input::read_body;
use super::output::{self, Failure, Outcome, Verdict};
use super::sign::{Hmac, Name};

/// Say whether a body's signature is right, and if not, why
///
/// The body is checked as a source with this scheme checks it. If the signature is wrong, the usual mistakes are
/// tried one after another until one explains it.
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

    /// The value of the header that carries the signature, such as X-Webhook-Signature
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    signature: String,

    /// How the sender signs
    #[arg(long, value_name = "NAME", value_enum, default_value_t = Name::XWebhookSignature)]
    scheme: Name,

    /// Another header of the request, which the scheme needs or which may explain more, as NAME: VALUE
    #[arg(long, value_name = "LINE", value_parser = line)]
    sent: Vec<(String, String)>,

    /// When the request was received, such as 2025-01-08T12:00:00Z; default: now
    #[arg(long, value_name = "T")]
    at: Option<Timestamp>,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    hmac: Hmac,
}

impl Verify {
    pub(super) fn run(self) -> Outcome {
        let body = read_body(&self.file)?;
        let scheme = self.hmac.scheme(self.scheme)?;
        let names = scheme.claim_headers();
        let Some(header) = names.first() else {
            return Err(Failure::usage("--scheme: this scheme has no header"));
        };
        let mut headers = vec![(header.as_str(), value(header, &self.signature))];
        headers.extend(self.sent.iter().map(|(name, value)| (&**name, &**value)));
        let at = self.at.unwrap_or_else(|| SystemClock.now());
        let findings = diagnose(scheme.as_ref(), &&headers[..], &body, &self.secret, at);
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

/// Users may paste the whole header line.
fn value<'a>(header: &str, line: &'a str) -> &'a str {
    match line.split_once(':') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case(header) => value.trim(),
        _ => line.trim(),
    }
}

/// Parses a header line.
fn line(text: &str) -> Result<(String, String), &'static str> {
    let (name, value) = text.split_once(':').ok_or("expected NAME: VALUE")?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

const EXAMPLES: &str = "\
Examples:
  offhook verify body.json --secret env:SECRET --signature 75b621fa…
  printf '{}' | offhook verify --secret your-secret-key --signature sha256=…
  offhook verify body.json --secret env:WHSEC --scheme standard-webhooks --signature v1,… \
      --sent 'webhook-id: msg_1' --sent 'webhook-timestamp: 1736337600'

Exit status: 0 valid, 1 invalid, 2 when the body or the secret cannot be read.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_line_is_read_too() {
        for line in [
            "75b6",
            " 75b6\n",
            "X-Webhook-Signature: 75b6",
            "x-webhook-signature:75b6 ",
        ] {
            assert_eq!(value("x-webhook-signature", line), "75b6");
        }
        assert_eq!(value("x-sig", "sha256:75b6"), "sha256:75b6");
        let pair = ("webhook-id".to_owned(), "a:b".to_owned());
        assert_eq!(line("webhook-id: a:b"), Ok(pair));
        assert!(line("a").is_err());
    }
}
