//! `offhook subscriptions`: the subscribers that events of a running server are relayed to.

use clap::{Args, Subcommand};
use http::Method;
use offhook::signature::Secret;
use offhook::{EventKind, escape_controls};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::admin::{Server, kinds};
use super::output::{self, Failure, Outcome};
use super::table::{self, Row};

/// List the subscribers that events are relayed to; add one, or remove one
///
/// The server keeps what is added here, and it starts with the next event. Subscriptions whose BY is the
/// settings can only be changed there.
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Subscriptions {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum Action {
    /// List them (the default)
    List(List),
    /// Relay a session's events to a URL; replaces one of the same name, which goes on where it was
    Add(Add),
    /// Stop relaying, from this moment on
    Remove {
        /// The session
        #[arg(long, value_name = "ID")]
        session: String,

        /// The name of the subscription
        #[arg(long, default_value = "default")]
        name: String,

        /// All subscriptions of the session
        #[arg(long, conflicts_with = "name")]
        all: bool,

        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
struct List {
    /// Only those to this session; "*" is the one for all
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    #[command(flatten)]
    server: Server,
}

#[derive(Args)]
struct Add {
    /// The session whose events are relayed; "*" for all
    #[arg(long, value_name = "ID")]
    session: String,

    /// Where they are POSTed
    #[arg(long, value_name = "URL")]
    url: String,

    /// Which events, separated by commas; default: all
    #[arg(long, value_name = "EVENTS", value_delimiter = ',')]
    #[arg(value_parser = kinds(EventKind::RECEIVED))]
    events: Option<Vec<String>>,

    /// The secret that signs them: env:NAME, file:PATH, or the text itself
    #[arg(long, allow_hyphen_values = true, value_parser = Secret::resolve)]
    secret: Option<Secret>,

    /// Its name, if the session has several
    #[arg(long, default_value = "default")]
    name: String,

    #[command(flatten)]
    server: Server,
}

impl Subscriptions {
    pub(super) fn run(self) -> Outcome {
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(list) => list.run(),
            Action::Add(add) => add.run(),
            Action::Remove {
                session,
                name,
                all,
                server,
            } => {
                let which = if all {
                    ("all", Some("true"))
                } else {
                    ("name", Some(&*name))
                };
                let path = ["sessions", &session, "webhook"];
                let answer = server.ask(Method::DELETE, &path, &[which], None)?;
                let removed = |_: IgnoredAny| output::print(&output::good("removed"));
                server.show(&answer, removed)
            }
        }
    }
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
    active: bool,
    suspended_reason: Option<String>,
    ended_reason: Option<String>,
    #[serde(default)]
    defined_in_settings: bool,
}

#[derive(Deserialize)]
struct Added {
    webhook: Webhook,
    warning: Option<String>,
}

impl List {
    fn run(self) -> Outcome {
        let path = match &self.session {
            Some(session) => &["sessions", session, "webhook"][..],
            None => &["api", "subscriptions"],
        };
        let session = self.session.as_deref().unwrap_or_default();
        let row = |webhook: Webhook| webhook.row(session);
        self.server
            .list(path, &[], HEADINGS, row, "No subscription.")
    }
}

impl Add {
    fn run(self) -> Outcome {
        let secret = self.secret.as_ref().map(Secret::expose).map(str::from_utf8);
        let secret = secret.transpose().map_err(|_| {
            Failure::usage("--secret: it is no UTF-8 text, which a registration cannot hold")
        })?;
        let registration = json!({
            "webhookUrl": self.url,
            "name": self.name,
            "events": self.events,
            "secret": secret,
        });
        let path = ["sessions", &self.session, "webhook"];
        let server = &self.server;
        let answer = server.ask(Method::POST, &path, &[], Some(registration))?;
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

impl Webhook {
    fn row(self, session: &str) -> Row<6> {
        let session = self.session_id.unwrap_or_else(|| session.to_owned());
        let state = if self.ended_reason.is_some() {
            "ended"
        } else if !self.active {
            "inactive"
        } else if self.suspended_reason.is_some() {
            "suspended"
        } else {
            "active"
        };
        let by = if self.defined_in_settings {
            "settings"
        } else {
            "API"
        };
        let signed = if self.has_secret { "yes" } else { "no" };
        let events = match self.events.as_slice() {
            [all] if all == "*" => "all".to_owned(),
            some => some.join(", "),
        };
        // Other commands take the URL, so it is never shortened.
        let mut below = self.webhook_url;
        if let Some(reason) = &self.ended_reason {
            below += &format!(" has ended it: {reason}");
        } else if let Some(reason) = &self.suspended_reason {
            below += &format!(" fails: {reason}");
        }
        Row {
            cells: [
                self.name,
                state.into(),
                by.into(),
                signed.into(),
                events,
                session,
            ],
            below: Some(below),
        }
    }
}

const HEADINGS: [&str; 6] = ["NAME", "STATE", "BY", "SIGNED", "EVENTS", "SESSION"];

const EXAMPLES: &str = "\
Examples:
  offhook subscriptions                            All that events are relayed to
  offhook subscriptions add --session '*' --url https://crm.example/webhook --secret env:CRM_SECRET
                                                   Everything to one more, signed
  offhook subscriptions add --session 408f --name bot --url https://bot.example/ --events message
                                                   One session's messages to another
  offhook subscriptions remove --session 408f --name bot
  offhook subscriptions --json | jq '.subscriptions[] | select(.active | not)'

Exit status: 0 done, 1 when it is refused or the server cannot be asked, 2 usage.";
