//! `offhook subscriptions`: the subscribers that events of a running server are relayed to.

use clap::{Args, Subcommand};
use offhook::signature::Secret;
use serde::{Deserialize, Serialize};

use super::admin::{RECEIVED, Server};
use super::answer::Answer;
use super::output::{self, Failure, Outcome, Verdict};
use super::table::{Table, terminal_width};

/// List the subscribers that events are relayed to; add one, or remove one
///
/// The server keeps what is added here, and it starts with the next event. Subscriptions whose BY is the
/// settings can only be changed there.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Subscriptions {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them (the default)
    List(List),
    /// Relay a session's events to a URL; replaces one of the same name, which goes on where it was
    Add(Add),
    /// Stop relaying, from this moment on
    Remove(Remove),
}

#[derive(Debug, Args)]
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
    #[arg(long, value_name = "EVENTS", value_delimiter = ',', value_parser = RECEIVED)]
    events: Option<Vec<String>>,

    /// The secret that signs them: env:NAME, file:PATH, or the text itself
    #[arg(long, allow_hyphen_values = true)]
    secret: Option<String>,

    /// Its name, if the session has several
    #[arg(long, default_value = "default")]
    name: String,

    #[command(flatten)]
    server: Server,
}

impl std::fmt::Debug for Add {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Add({:?} to session {:?})", self.name, self.session)
    }
}

#[derive(Debug, Args)]
struct Remove {
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
}

impl Subscriptions {
    pub(super) fn run(self) -> Outcome {
        match self.action {
            None => self.list.run(),
            Some(Action::List(list)) => list.run(),
            Some(Action::Add(add)) => add.run(),
            Some(Action::Remove(remove)) => remove.run(),
        }
    }
}

#[derive(Deserialize)]
struct All {
    subscriptions: Vec<Listed>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    session_id: String,
    #[serde(flatten)]
    webhook: Webhook,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct OfSession {
    session_id: String,
    webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Set {
    session_id: String,
    webhook: Webhook,
    warning: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Webhook {
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

impl List {
    fn run(self) -> Outcome {
        let answer = match &self.session {
            Some(session) => self.server.get(&["sessions", session, "webhook"], &[])?,
            None => self.server.get(&["api", "subscriptions"], &[])?,
        };
        if self.server.json {
            answer.print_json()?;
            return Ok(Verdict::Yes);
        }
        let mut rows = Rows::new();
        match self.session {
            None => {
                let all: All = answer.read()?;
                for listed in &all.subscriptions {
                    rows.add(&listed.session_id, &listed.webhook);
                }
            }
            Some(_) => {
                let all: OfSession = answer.read()?;
                for webhook in &all.webhooks {
                    rows.add(&all.session_id, webhook);
                }
            }
        }
        rows.print()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Registration<'a> {
    webhook_url: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    events: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<&'a str>,
}

impl Add {
    fn run(self) -> Outcome {
        let secret = self.secret.as_deref().map(Secret::resolve).transpose();
        let secret = secret.map_err(|error| Failure::usage(format!("--secret: {error}")))?;
        let secret = secret
            .as_ref()
            .map(|secret| std::str::from_utf8(secret.expose()));
        let secret = secret.transpose().map_err(|_| {
            Failure::usage("--secret: it is no UTF-8 text, which a registration cannot hold")
        })?;
        let registration = Registration {
            webhook_url: &self.url,
            name: &self.name,
            events: self.events.as_deref(),
            secret,
        };
        let path = ["sessions", &*self.session, "webhook"];
        let answer = self.server.post(&path, &registration)?;
        told(&answer, &self.server)
    }
}

fn told(answer: &Answer, server: &Server) -> Outcome {
    if server.json {
        answer.print_json()?;
        return Ok(Verdict::Yes);
    }
    let set: Set = answer.read()?;
    let mut rows = Rows::new();
    rows.add(&set.session_id, &set.webhook);
    let outcome = rows.print();
    if let Some(warning) = &set.warning {
        let warning = offhook::escape_controls(warning).into_owned();
        output::note(&format!("{} {warning}", output::bad("warning:")));
    }
    outcome
}

impl Remove {
    fn run(self) -> Outcome {
        let which = match self.all {
            true => ("all", Some("true")),
            false => ("name", Some(&*self.name)),
        };
        let path = ["sessions", &*self.session, "webhook"];
        let answer = self.server.delete(&path, &[which])?;
        match self.server.json {
            true => answer.print_json()?,
            false => output::print(&output::good("removed"))?,
        }
        Ok(Verdict::Yes)
    }
}

struct Rows {
    table: Table<6>,
    empty: bool,
}

impl Rows {
    fn new() -> Self {
        let headings = ["NAME", "STATE", "BY", "SIGNED", "EVENTS", "SESSION"];
        Self {
            table: Table::new(headings),
            empty: true,
        }
    }

    fn add(&mut self, session: &str, webhook: &Webhook) {
        let state = match webhook {
            Webhook {
                ended_reason: Some(_),
                ..
            } => "ended",
            Webhook { active: false, .. } => "inactive",
            Webhook {
                suspended_reason: Some(_),
                ..
            } => "suspended",
            _ => "active",
        };
        let by = match webhook.defined_in_settings {
            true => "settings",
            false => "API",
        };
        let signed = if webhook.has_secret { "yes" } else { "no" };
        // Other commands take the URL, so it is never shortened.
        let mut below = webhook.webhook_url.clone();
        if let Some(reason) = &webhook.ended_reason {
            below += &format!(" has ended it: {reason}");
        } else if let Some(reason) = &webhook.suspended_reason {
            below += &format!(" fails: {reason}");
        }
        let events = match webhook.events.as_slice() {
            [all] if all == "*" => "all".to_owned(),
            some => some.join(", "),
        };
        let cells = [&*webhook.name, state, by, signed, &events, session];
        self.table.row_with(cells, &below);
        self.empty = false;
    }

    fn print(&self) -> Outcome {
        match self.empty {
            true => output::note("No subscription."),
            false => output::print(&self.table.text(terminal_width()))?,
        }
        Ok(Verdict::Yes)
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook subscriptions                            Everybody that events are relayed to
  offhook subscriptions add --session '*' --url https://crm.example/webhook --secret env:CRM_SECRET
                                                   Everything to one more, signed
  offhook subscriptions add --session 408f --name bot --url https://bot.example/ --events message
                                                   One session's messages to another
  offhook subscriptions remove --session 408f --name bot
  offhook subscriptions --json | jq '.subscriptions[] | select(.active | not)'

Exit status: 0 done, 1 when it is refused or the server cannot be asked, 2 usage.";
