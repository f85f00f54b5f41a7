//! `offhook gateway`: tells a gateway where to send a session's events, or asks it.

mod report;

use clap::{Args, Subcommand};
use offhook::escape_controls;
use offhook::gateway::{
    Call, Gateway as Target, GatewayClient, GatewayError, Kind, Registration, Shape,
};
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
    Remove(Remove),
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

    /// Which events, separated by commas, as this kind of gateway names them; default: message,status,connection,
    /// or what becomes these
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    events: Option<Vec<String>>,

    /// The secret to sign them with: env:NAME, file:PATH, or the text itself
    #[arg(long, env = "OFFHOOK_SECRET", hide_env_values = true)]
    #[arg(allow_hyphen_values = true, value_parser = Secret::resolve)]
    secret: Option<Secret>,

    /// For meta and meta-app, instead of --secret: the token that the source has too
    #[arg(long, value_name = "TOKEN", value_parser = Secret::resolve)]
    verify_token: Option<Secret>,
}

#[derive(Args)]
struct Remove {
    #[command(flatten)]
    session: Session,

    /// For waha, whose sessions may have several webhooks: the URL of the one to remove
    #[arg(long, value_name = "URL")]
    webhook_url: Option<String>,
}

#[derive(Args)]
struct Session {
    /// What the gateway is: codeskytz (the documented one), waha, evolution, gowa, telegram, meta, meta-app or wuzapi
    #[arg(long, value_name = "NAME", default_value = "codeskytz")]
    kind: Kind,

    /// The base URL of the gateway's API; default: that of Telegram and of Meta, for others what OFFHOOK_GATEWAY says
    #[arg(long, value_name = "URL")]
    gateway: Option<String>,

    /// The session's id: for evolution the instance, for gowa the device, for meta the business account, for
    /// meta-app the app; none for telegram and wuzapi
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// The form of the requests of codeskytz: docs, implementation or next; default: docs
    #[arg(long, value_name = "NAME")]
    shape: Option<Shape>,

    /// A header that authorizes us, may be repeated: 'Authorization: Bearer env:TOKEN'
    #[arg(long = "header", value_name = "NAME: VALUE")]
    headers: Vec<String>,

    /// What authorizes us, where this kind of gateway takes it: a header X-API-Key; for gowa user:password, for
    /// telegram the bot's token, for meta an access token. env:NAME, file:PATH, or the text itself. Default, but not for
    /// telegram and meta: what OFFHOOK_GATEWAY_KEY says
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    api_key: Option<String>,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

impl Gateway {
    pub(super) fn run(self) -> Outcome {
        match self.action {
            Action::Register(register) => register.run(),
            Action::Remove(remove) => remove.run(),
            Action::Show(one) => one.send("shown", one.client()?.show(one.id()?), &[]),
        }
    }
}

impl Register {
    fn run(self) -> Outcome {
        let mut registration = registration(&self.webhook_url)?;
        if let Some(events) = &self.events {
            registration = registration.events(events.iter().map(|name| name.trim()));
        }
        let takes_token = self.session.kind.takes_verify_token();
        // A secret in the environment is for other commands too.
        let secret = self.verify_token.as_ref().filter(|_| takes_token);
        if self.verify_token.is_some() && !takes_token {
            return Err(Failure::usage(
                "--verify-token is for meta and meta-app; others take --secret",
            ));
        }
        if let Some(secret) = secret.or(self.secret.as_ref().filter(|_| !takes_token)) {
            registration = registration.secret(secret.clone());
        }
        let client = self.session.client()?;
        let warnings = registration.warnings(client.gateway());
        if !self.session.json {
            for warning in &warnings {
                note(&format!("warning: {warning}"));
            }
        }
        let call = client.register(self.session.id()?, &registration);
        self.session.send("registered", call, &warnings)
    }
}

impl Remove {
    fn run(self) -> Outcome {
        let (client, id) = (self.session.client()?, self.session.id()?);
        let call = match &self.webhook_url {
            Some(url) => client.remove_url(id, &registration(url)?),
            None => client.remove(id),
        };
        self.session.send("removed", call, &[])
    }
}

fn registration(webhook_url: &str) -> Result<Registration, Failure> {
    let wrong = |error| Failure::usage(format!("--webhook-url: {error}"));
    Registration::resolve(webhook_url).map_err(wrong)
}

impl Session {
    /// The session's id; empty for a kind without sessions.
    fn id(&self) -> Result<&str, Failure> {
        match &self.session {
            Some(id) if self.kind.has_sessions() => Ok(id),
            None if !self.kind.has_sessions() => Ok(""),
            None => Err(Failure::usage(
                "--session is missing; it is the session's id",
            )),
            Some(_) => {
                let kind = self.kind;
                let text =
                    format!("--session: {kind} has one registration for each key; leave it out");
                Err(Failure::usage(text))
            }
        }
    }

    fn client(&self) -> Result<GatewayClient, Failure> {
        let wrong = |error: GatewayError| Failure::usage(format!("--gateway: {error}"));
        // What the environment says is of the gateway that one has, and must not meet Telegram or Meta.
        let has_own = self.kind.default_url().is_none();
        let variable = |name| std::env::var(name).ok().filter(|_| has_own);
        let url = self.gateway.clone();
        let url = url.or_else(|| self.kind.default_url().map(str::to_owned));
        let url = url.or_else(|| variable("OFFHOOK_GATEWAY"));
        let missing = "--gateway is missing; it is the base URL of the gateway's API";
        let url = &url.ok_or_else(|| Failure::usage(missing))?;
        let mut target = Target::of(self.kind, url).map_err(wrong)?;
        if let Some(shape) = self.shape {
            if self.kind != Kind::Codeskytz {
                return Err(Failure::usage("--shape is for --kind codeskytz only"));
            }
            target = target.shape(shape);
        }
        for header in &self.headers {
            // The error does not show the text, which may be a secret.
            let expected = || Failure::usage("--header: expected 'Name: value'");
            let (name, value) = header.split_once(':').ok_or_else(expected)?;
            let with_header = target.header(name.trim(), value.trim());
            target = with_header.map_err(Failure::usage)?;
        }
        let key = self.api_key.clone();
        if let Some(key) = &key.or_else(|| variable("OFFHOOK_GATEWAY_KEY")) {
            target = target.api_key(key).map_err(|error| match error {
                GatewayError::Key(_) => Failure::usage(format!("--api-key: {error}")),
                error => Failure::usage(error),
            })?;
        }
        GatewayClient::new(target).map_err(|error| match error {
            GatewayError::Key(_) => Failure::usage(format!("--api-key: {error}")),
            error => Failure::failed(error),
        })
    }

    fn send(&self, done: &str, call: Result<Call, GatewayError>, warnings: &[String]) -> Outcome {
        let mut call = call.map_err(|error| match error {
            GatewayError::WhichUrl => Failure::usage(format!("{error}: --webhook-url")),
            error => Failure::usage(error),
        })?;
        let gateway = call.gateway().clone();
        let system = actix_rt::System::new();
        // The requests that the last one depends on, with their answers.
        let mut before = Vec::new();
        let (sent, answer) = loop {
            let sent = report::sent(&call);
            if !self.json {
                report::print_sent(&call)?;
            }
            match system.block_on(call.step()) {
                Ok((answer, Some(next))) => {
                    if !self.json {
                        report::print_answer(&answer)?;
                    }
                    before.push(json!({"sent": sent, "answer": report::answered(&answer)}));
                    call = next;
                }
                Ok((answer, None)) => break (sent, Ok(answer)),
                Err(error) => break (sent, Err(error)),
            }
        };
        let hint = report::hint(&gateway, &answer);
        let accepted = answer.as_ref().is_ok_and(|answer| answer.accepted());
        if self.json {
            let error = answer.as_ref().err().map(ToString::to_string);
            print_json(&json!({
                "ok": accepted,
                "unchanged": answer.as_ref().is_ok_and(|answer| answer.unchanged),
                "warnings": warnings,
                "before": before,
                "sent": sent,
                "answer": answer.as_ref().ok().map(report::answered),
                "error": error.as_deref().map(escape_controls),
                "hint": hint,
            }))?;
        } else {
            report::print_outcome(&answer, done)?;
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
  offhook gateway register --kind waha --gateway http://10.0.0.5:3000 --session default --api-key env:WAHA_API_KEY \\
      --webhook-url https://me.example/waha --secret env:WAHA_HMAC_KEY
  offhook gateway register --kind telegram --api-key env:TELEGRAM_TOKEN \\
      --webhook-url https://me.example/telegram --secret env:TELEGRAM_SECRET_TOKEN
  offhook gateway show --gateway https://gateway.example --session 408f… \\
      --header 'Authorization: Bearer file:/run/secrets/gateway'
  offhook gateway remove --gateway https://gateway.example --session 408f… --api-key env:KEY

Exit status: 0 when the gateway says yes, 1 when not, 2 usage.";
