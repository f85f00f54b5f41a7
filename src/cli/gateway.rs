//! `offhook gateway`: tells a gateway where to send a session's events, or asks it.

mod report;

use std::fmt;

use clap::{Args, Subcommand};
use offhook::gateway::{Call, Gateway as Target, GatewayClient, GatewayError, Registration, Shape};

use super::input;
use super::output::{Failure, Outcome, Verdict, note};
use report::Report;

/// Tell a gateway where to send a session's events, remove that, or show it
///
/// Prints what is sent and what is answered, without secrets. Follows no redirects and uses no proxy. To
/// register at each start of the server, see [[gateways]] in settings.toml.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Gateway {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
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
    #[arg(
        long,
        env = "OFFHOOK_SECRET",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    secret: Option<String>,
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
    #[arg(
        long,
        value_name = "KEY",
        env = "OFFHOOK_GATEWAY_KEY",
        hide_env_values = true,
        allow_hyphen_values = true
    )]
    api_key: Option<String>,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

impl Gateway {
    pub(super) fn run(self) -> Outcome {
        match self.action {
            Action::Register(register) => register.run(),
            Action::Remove(session) => session.ask("removed", |client, id| client.remove(id)),
            Action::Show(session) => session.ask("shown", |client, id| client.show(id)),
        }
    }
}

impl Register {
    fn run(self) -> Outcome {
        let registration = self.registration()?;
        let client = self.session.client()?;
        let warnings = registration.warnings(client.gateway());
        if !self.session.json {
            for warning in &warnings {
                note(&format!("warning: {warning}"));
            }
        }
        let call = client.register(&self.session.session, &registration);
        self.session.send("registered", usable(call)?, warnings)
    }

    fn registration(&self) -> Result<Registration, Failure> {
        let elsewhere = ["env:", "file:"];
        let wrong = |error: GatewayError| Failure::usage(format!("--webhook-url: {error}"));
        let hidden = elsewhere.iter().any(|at| self.webhook_url.starts_with(at));
        let mut registration = match hidden {
            false => Registration::new(&self.webhook_url).map_err(wrong)?,
            true => {
                let text = input::named_secret("--webhook-url", &self.webhook_url)?;
                let text = String::from_utf8_lossy(text.expose()).into_owned();
                Registration::new(&text).map_err(wrong)?.hide_url()
            }
        };
        if let Some(events) = &self.events {
            registration = registration.events(events.iter().map(|name| name.trim()));
        }
        if let Some(reference) = &self.secret {
            registration = registration.secret(input::secret(reference)?);
        }
        Ok(registration)
    }
}

impl Session {
    fn ask(
        &self,
        done: &'static str,
        call: impl FnOnce(&GatewayClient, &str) -> Result<Call, GatewayError>,
    ) -> Outcome {
        let client = self.client()?;
        self.send(done, usable(call(&client, &self.session))?, Vec::new())
    }

    fn client(&self) -> Result<GatewayClient, Failure> {
        let wrong = |error: GatewayError| Failure::usage(format!("--gateway: {error}"));
        let mut target = Target::new(&self.gateway).map_err(wrong)?.shape(self.shape);
        for header in &self.headers {
            // The error does not show the text, which may be a secret.
            let expected = || Failure::usage("--header: expected 'Name: value'");
            let (name, value) = header.split_once(':').ok_or_else(expected)?;
            target = usable(target.header(name.trim(), value.trim()))?;
        }
        if let Some(reference) = &self.api_key {
            target = usable(target.header("X-API-Key", reference))?;
        }
        GatewayClient::new(target).map_err(|error| Failure::failed(error.to_string()))
    }

    fn send(&self, done: &'static str, call: Call, warnings: Vec<String>) -> Outcome {
        let mut report = Report::new(done, &call, warnings);
        if !self.json {
            report.print_sent()?;
        }
        let answer = actix_rt::System::new().block_on(call.send());
        report.answered(answer);
        match self.json {
            true => report.print_json()?,
            false => report.print_answer()?,
        }
        Ok(Verdict::from(report.ok))
    }
}

fn usable<T>(result: Result<T, GatewayError>) -> Result<T, Failure> {
    result.map_err(|error| Failure::usage(error.to_string()))
}

impl fmt::Debug for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Register({:?})", self.session)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({:?})", self.session)
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
