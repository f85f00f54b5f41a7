//! `offhook verify`: says whether a signature is right, and if not, why.

use clap::Args;
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{Secret, XWebhookSignature, diagnose};
use serde_json::json;

use super::input::read_body;
use super::output::{self, Outcome, Verdict};

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
        let signature = value(&self.signature);
        let headers = [(HEADER, signature)];
        let (scheme, now) = (XWebhookSignature, SystemClock.now());
        let findings = diagnose(&scheme, &&headers[..], &body, &self.secret, now);
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
fn value(line: &str) -> &str {
    match line.split_once(':') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case(HEADER) => value.trim(),
        _ => line.trim(),
    }
}

const HEADER: &str = "X-Webhook-Signature";

const EXAMPLES: &str = "\
Examples:
  offhook verify body.json --secret env:SECRET --signature 75b621fa…
  printf '{}' | offhook verify --secret your-secret-key --signature sha256=…

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
            assert_eq!(value(line), "75b6");
        }
        assert_eq!(value("sha256:75b6"), "sha256:75b6");
    }
}
