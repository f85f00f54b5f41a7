//! `offhook gateway`: tells a gateway where to send a session's events, or asks it.

mod report;

use clap::{Args, Subcommand};
use offhook::escape_controls;
use offhook::gateway::{Call, Gateway as Target, GatewayClient, GatewayError, Registration, Shape};
use offhook::signature::Secret;
use serde_json::json;

use super::output::{Failure, Outcome, Verdict, note, print_json};

/// Tell a gateway where to send a session's events, remove that, or show it
///
/// Prints what is sent and what is answered, without secrets. Follows no redirects and uses no proxy. To
/// register at each start of the server, see [[gateways]] in settings.toml.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Gateway {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Have the gateway send a session's events to --webhook-url
    Register(Register),
    /// Have the gateway stop sending a session's events
    Remove(Session),
    /// Show where they are sent
    Show(Session),
}

#[derive(Args)]
struct Register {
    #[command(flatten)]
    session: Session,

    /// Where to send them: our own URL as the gateway reaches it; {session} in it stands for the id. Use
    /// env:NAME or file:PATH if it holds a token
    #[arg(long, value_name = "URL")]
    webhook_url: String,

    /// Which events, separated by commas; default: message,status,connection
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    events: Option<Vec<String>>,

    /// The secret to sign them with: env:NAME, file:PATH, or the text itself
    #[arg(long, env = "OFFHOOK_SECRET", hide_env_values = true)]
    #[arg(allow_hyphen_values = true, value_parser = Secret::resolve)]
    secret: Option<Secret>,
}

#[derive(Args)]
struct Session {
    /// The base URL of the gateway's API
    #[arg(long, value_name = "URL", env = "OFFHOOK_GATEWAY")]
    gateway: String,

    /// The session's id
    #[arg(long, value_name = "ID")]
    session: String,

    /// The form of its requests: docs, implementation or next
    #[arg(long, value_name = "NAME", default_value = "docs")]
    shape: Shape,

    /// A header that authorizes us, may be repeated: 'Authorization: Bearer env:TOKEN'
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// The same as --header 'X-API-Key: KEY'; env:NAME, file:PATH, or the text itself
    #[arg(long, value_name = "KEY", env = "OFFHOOK_GATEWAY_KEY")]
    #[arg(hide_env_values = true, allow_hyphen_values = true)]
    api_key: Option<String>,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

impl Gateway {
    pub(super) fn run(self) -> Outcome {
        match self.action {
            Action::Register(register) => register.run(),
            Action::Remove(one) => one.send("removed", one.client()?.remove(&one.session), &[]),
            Action::Show(one) => one.send("shown", one.client()?.show(&one.session), &[]),
        }
    }
}

impl Register {
    fn run(self) -> Outcome {
        let registration = Registration::resolve(&self.webhook_url);
        let wrong = |error| Failure::usage(format!("--webhook-url: {error}"));
        let mut registration = registration.map_err(wrong)?;
        if let Some(events) = &self.events {
            registration = registration.events(events.iter().map(|name| name.trim()));
        }
        if let Some(secret) = self.secret {
            registration = registration.secret(secret);
        }
        let client = self.session.client()?;
        let warnings = registration.warnings(client.gateway());
        if !self.session.json {
            for warning in &warnings {
                note(&format!("warning: {warning}"));
            }
        }
        let call = client.register(&self.session.session, &registration);
        self.session.send("registered", call, &warnings)
    }
}

impl Session {
    fn client(&self) -> Result<GatewayClient, Failure> {
        let wrong = |error: GatewayError| Failure::usage(format!("--gateway: {error}"));
        let mut target = Target::new(&self.gateway).map_err(wrong)?.shape(self.shape);
        for header in &self.headers {
            // The error does not show the text, which may be a secret.
            let expected = || Failure::usage("--header: expected 'Name: value'");
            let (name, value) = header.split_once(':').ok_or_else(expected)?;
            let with_header = target.header(name.trim(), value.trim());
            target = with_header.map_err(Failure::usage)?;
        }
        if let Some(key) = &self.api_key {
            target = target.header("X-API-Key", key).map_err(Failure::usage)?;
        }
        GatewayClient::new(target).map_err(Failure::failed)
    }

    fn send(&self, done: &str, call: Result<Call, GatewayError>, warnings: &[String]) -> Outcome {
        let call = call.map_err(Failure::usage)?;
        let (gateway, sent) = (call.gateway().clone(), report::sent(&call));
        if !self.json {
            report::print_sent(&call)?;
        }
        let answer = actix_rt::System::new().block_on(call.send());
        let hint = report::hint(&gateway, &answer);
        let accepted = answer.as_ref().is_ok_and(|answer| answer.accepted());
        if self.json {
            let error = answer.as_ref().err().map(ToString::to_string);
            print_json(&json!({
                "ok": accepted,
                "warnings": warnings,
                "sent": sent,
                "answer": answer.as_ref().ok().map(report::answered),
                "error": error.as_deref().map(escape_controls),
                "hint": hint,
            }))?;
        } else {
            report::print_answer(&answer, done)?;
            hint.iter().for_each(|hint| note(hint));
        }
        Ok(Verdict::from(accepted))
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook gateway register --gateway https://gateway.example --session 408f… \\
      --webhook-url https://me.example/webhook --secret env:WEBHOOK_SECRET
  offhook gateway register --gateway http://10.0.0.5:3000 --session 408f… \\
      --webhook-url env:WEBHOOK_URL --events message,status --shape implementation
  offhook gateway show --gateway https://gateway.example --session 408f… \\
      --header 'Authorization: Bearer file:/run/secrets/gateway'
  offhook gateway remove --gateway https://gateway.example --session 408f… --api-key env:KEY

Exit status: 0 when the gateway says yes, 1 when not, 2 usage.";
