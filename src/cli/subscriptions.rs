//! `offhook subscriptions`: the subscribers that events of a running server are relayed to.

mod tested;

use clap::{Args, Subcommand};
use http::Method;
use offhook::relay::SubscriptionHeaders;
use offhook::signature::Secret;
use offhook::{EventKind, escape_controls};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::admin::{self, Server, kinds};
use super::invocation;
use super::output::{self, Failure, Outcome};
use super::table::{self, Row};

/// List the subscribers that events are relayed to; add one, or remove one
///
/// The server keeps what is added here, and it starts with the next event. LAG is how many events wait. STATE is
/// active, failing (no attempt has succeeded since the first failure), suspended (the same for
/// relay.suspend_after, so nothing more is sent), inactive (stopped over the API) or ended.
/// Subscriptions whose BY is the settings can only be changed there. A subscription has ended if its
/// subscriber has answered 410; it stays listed, with what waits for it, until it is removed, added again,
/// or resumed with `consumers resume`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Subscriptions {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    list: List,

    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    /// List them (the default)
    List(List),
    /// Relay a session's events to a URL; replaces one of the same name, which goes on where it was
    ///
    /// What the options do not say is not kept of the one that is replaced: give all its --events, --header and
    /// --secret again.
    Add(Add),
    /// Send a signed test to one, and show what it answers
    ///
    /// It has the header `offhook-test: true`, is not stored, and is not tried again. It is sent also to one that is
    /// suspended or not active.
    Test {
        /// The session; "*" is the one for all
        #[arg(long, value_name = "ID", default_value = "*")]
        session: String,

        /// The name of the subscription
        #[arg(long, default_value = "default")]
        name: String,
    },
    /// Stop relaying, from this moment on
    Remove {
        /// The session; "*" is the one for all
        #[arg(long, value_name = "ID", default_value = "*")]
        session: String,

        /// The name of the subscription
        #[arg(long, default_value = "default")]
        name: String,

        /// All subscriptions of the session
        #[arg(long, conflicts_with = "name")]
        all: bool,
    },
}

#[derive(Args, Serialize)]
struct List {
    /// Only those to this session; "*" is the one for all
    #[arg(long, value_name = "ID")]
    session: Option<String>,
}

#[derive(Args)]
struct Add {
    /// The session whose events are relayed; "*" for all
    #[arg(long, value_name = "ID", default_value = "*")]
    session: String,

    /// Where they are POSTed
    #[arg(long, value_name = "URL")]
    url: String,

    /// Which events, separated by commas; default: all
    #[arg(long, value_name = "EVENTS", value_delimiter = ',')]
    #[arg(value_parser = kinds(EventKind::RECEIVED))]
    events: Option<Vec<String>>,

    /// The secret that signs them: env:NAME, file:PATH, or the text itself; repeated while one replaces
    /// another, the newest first
    #[arg(long = "secret", value_name = "SECRET")]
    #[arg(allow_hyphen_values = true, value_parser = Secret::resolve)]
    secrets: Vec<Secret>,

    /// A header that each request has in addition, may be repeated: 'Authorization=Bearer env:TOKEN', or
    /// with a colon, as curl has it
    #[arg(long = "header", value_name = "NAME=VALUE")]
    headers: Vec<String>,

    /// Its name, if the session has several
    #[arg(long, default_value = "default")]
    name: String,
}

impl Subscriptions {
    pub(super) fn run(self) -> Outcome {
        let server = &self.server;
        if self.action.is_some() && self.list.session.is_some() {
            return Err(Failure::usage("--session follows the name of the action"));
        }
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(list) => {
                let row = |webhook: Webhook, _| webhook.row("");
                server.list(&["api", "subscriptions"], &list, HEADINGS, row, NONE)
            }
            Action::Add(add) => add.run(server),
            Action::Test { session, name } => tested::run(server, &session, &name),
            Action::Remove { session, name, all } => {
                remove(server, &session, (!all).then_some(&*name))
            }
        }
    }
}

/// Removes the subscription of this name, or all of the session. The server takes a removal of nothing for
/// done, so it is asked before what there is.
fn remove(server: &Server, session: &str, name: Option<&str>) -> Outcome {
    let path = ["sessions", session, "webhook"];
    let there_are: Webhooks = admin::read(&server.ask(Method::GET, &path, &())?)?;
    let mut there_are = there_are.webhooks.iter();
    if !there_are.any(|one| name.is_none_or(|name| one.name == name)) {
        let named = name.map_or(String::new(), |name| format!(" {name:?}"));
        let list = invocation();
        return Err(Failure::failed(format!(
            "there is no subscription{named} to session {session:?}\n`{list} subscriptions` lists those that \
             there are."
        )));
    }
    let which = match name {
        Some(name) => json!({ "name": name }),
        None => json!({ "all": true }),
    };
    server.delete(&path, &which, "removed")
}

/// The subscriptions of a session.
#[derive(Deserialize)]
struct Webhooks {
    webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
    /// Missing where the session is known from the request.
    session_id: Option<String>,
    name: String,
    webhook_url: String,
    events: Vec<String>,
    has_secret: bool,
    /// Missing in the answer of an older server.
    secret_count: Option<u64>,
    #[serde(default)]
    header_names: Vec<String>,
    active: bool,
    failing_since: Option<String>,
    failing_reason: Option<String>,
    suspended_reason: Option<String>,
    ended_reason: Option<String>,
    #[serde(default)]
    defined_in_settings: bool,
    /// How many events wait. Missing in the answer to a change.
    lag: Option<u64>,
}

#[derive(Deserialize)]
struct Added {
    webhook: Webhook,
    warning: Option<String>,
}

impl Add {
    fn run(&self, server: &Server) -> Outcome {
        let secrets = self.secrets.iter().map(Secret::expose).map(str::from_utf8);
        let secrets: Vec<&str> = secrets.collect::<Result<_, _>>().map_err(|_| {
            Failure::usage("--secret: it is no UTF-8 text, which a registration cannot hold")
        })?;
        let mut registration = json!({
            "webhookUrl": self.url,
            "name": self.name,
            "events": self.events,
        });
        match secrets.as_slice() {
            [] => {}
            [one] => registration["secret"] = json!(one),
            several => registration["secrets"] = json!(several),
        }
        if !self.headers.is_empty() {
            registration["headers"] = self.headers()?;
        }
        let path = ["sessions", &self.session, "webhook"];
        let answer = server.ask(Method::POST, &path, &registration)?;
        server.show(&answer, |added: Added| {
            table::print(HEADINGS, [added.webhook.row(&self.session)], "")?;
            if let Some(warning) = &added.warning {
                let warning = escape_controls(warning);
                output::note(&format!("{} {warning}", output::bad("warning:")));
            }
            Ok(())
        })
    }
}

impl Add {
    /// The headers, read and checked here, because a server reads no `env:` and no `file:` of a registration.
    fn headers(&self) -> Result<Value, Failure> {
        let mut headers = SubscriptionHeaders::default();
        for header in &self.headers {
            // The error does not show the text, which may be a secret.
            let (name, value) = header.split_once(['=', ':']).ok_or_else(|| {
                Failure::usage("--header: expected NAME=VALUE, such as 'X-Api-Key=env:KEY'")
            })?;
            let with_one = headers.resolve(name, value.trim_start());
            headers = with_one.map_err(|error| Failure::usage(format!("--header: {error}")))?;
        }
        let fields = { headers.expose() }.map(|(name, value)| (name.to_owned(), value.into()));
        Ok(Value::Object(fields.collect()))
    }
}

impl Webhook {
    fn row(self, session: &str) -> Row<7> {
        let (state, below) = self.state();
        let by = if self.defined_in_settings {
            "settings"
        } else {
            "API"
        };
        let signed = match (self.has_secret, self.secret_count) {
            (true, Some(count @ 2..)) => format!("{count} secrets"),
            (true, _) => "yes".to_owned(),
            (false, _) => "no".to_owned(),
        };
        let events = match self.events.as_slice() {
            [all] if all == "*" => "all".to_owned(),
            some => some.join(", "),
        };
        let session = self.session_id.as_deref().unwrap_or(session);
        let lag = self.lag.map_or("-".to_owned(), |lag| lag.to_string());
        let cells = [&self.name, state, &lag, by, &signed, &events, session].map(str::to_owned);
        let below = Some(below);
        Row { cells, below }
    }

    /// Its state, and its URL with what there is to say of it. Other commands take the URL, so it is never
    /// shortened.
    fn state(&self) -> (&'static str, String) {
        let mut url = self.webhook_url.clone();
        if !self.header_names.is_empty() {
            url += &format!(" (headers: {})", self.header_names.join(", "));
        }
        let fails = |reason| format!("{url} fails: {reason}");
        match (&self.ended_reason, &self.suspended_reason) {
            (Some(reason), _) => ("ended", format!("{url} has ended it: {reason}")),
            (None, Some(reason)) if self.active => ("suspended", fails(reason)),
            (None, Some(reason)) => ("inactive", fails(reason)),
            (None, None) if !self.active => ("inactive", url),
            (None, None) if self.failing_since.is_some() => {
                let reason = { self.failing_reason.as_deref() }.unwrap_or("the log says why");
                ("failing", fails(&reason.to_owned()))
            }
            (None, None) => ("active", url),
        }
    }
}

const HEADINGS: [&str; 7] = ["NAME", "STATE", "LAG", "BY", "SIGNED", "EVENTS", "SESSION"];

const NONE: &str = "No subscription.";

const EXAMPLES: &str = "\
Examples:
  offhook subscriptions                            All that events are relayed to
  offhook subscriptions add --session '*' --url https://crm.example/webhook --secret env:CRM_SECRET
                                                   Everything to one more, signed
  offhook subscriptions add --session '*' --url https://crm.example/webhook --header X-Api-Key=env:KEY \\
    --secret env:NEW_SECRET --secret env:OLD_SECRET
                                                   With a header, while its secret is exchanged
  offhook subscriptions add --session 408f --name bot --url https://bot.example/ --events message
                                                   One session's messages to another
  offhook subscriptions remove --session 408f --name bot
  offhook subscriptions --json | jq '.subscriptions[] | select(.active | not)'

Exit status: 0 done, 1 when it is refused, there is no such one, or the server cannot be asked, 2 usage.";
