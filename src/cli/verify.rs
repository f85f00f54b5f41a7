//! `offhook verify`: says whether a signature is right, and if not, why.

use clap::Args;
use offhook::signature::Secret;
use serde_json::json;

use super::diagnose::diagnose;
use super::output::{self, Outcome, Verdict, read_body};

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

const EXAMPLES: &str = "\
Examples:
  offhook verify body.json --secret env:SECRET --signature 75b621fa…
  printf '{}' | offhook verify --secret your-secret-key --signature sha256=…

Exit status: 0 valid, 1 invalid, 2 when the body or the secret cannot be read.";
