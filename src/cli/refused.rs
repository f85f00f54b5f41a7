//! `offhook refused`: the requests that a server has not accepted, why, and verifying them again.

mod details;

use clap::{Args, Subcommand};
use http::Method;
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::admin::{self, Server};
use super::output::{self, Outcome, Verdict, bad, counted, good};
use super::table::{self, Row, age};
use details::{Details, Finding};

/// List the requests that were refused, newest first, and why; verify them again, or forget them
///
/// A server keeps the newest in memory until it stops. When a request was refused because of the settings, such as
/// a secret that was not there yet, correct them and verify it again: it becomes an event, as if it had come then.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Refused {
    #[command(subcommand)]
    action: Option<Action>,

    /// One of them, with all that is known of it
    id: Option<String>,

    #[command(flatten)]
    list: List,

    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    /// Verify them again with the settings that run now; what is right becomes an event
    Verify {
        /// Only this one
        #[arg(conflicts_with_all = ["source", "reason", "dry_run"])]
        id: Option<String>,

        #[command(flatten)]
        which: Which,
    },
    /// Forget them
    Forget {
        /// Only those of this source
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
    },
}

#[derive(Args, Serialize)]
struct Which {
    /// Only those to this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only those with this reason, such as base64
    #[arg(long, value_name = "NAME")]
    reason: Option<String>,

    /// Only say how many are right now
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

#[derive(Args, Serialize)]
struct List {
    /// Only those to this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only those with this reason, such as base64
    #[arg(long, value_name = "NAME")]
    reason: Option<String>,

    /// Only those that were answered so
    #[arg(long, value_name = "CODE")]
    status: Option<u16>,

    /// Only those whose sender knows a secret
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    explained: bool,

    /// Only those before this one
    #[arg(long, value_name = "ID")]
    before: Option<String>,

    /// How many, up to 500
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

impl Refused {
    pub(super) fn run(self) -> Outcome {
        let server = &self.server;
        match self.action {
            None => match self.id {
                Some(id) => show(server, &id),
                None => list(server, &self.list),
            },
            Some(Action::Verify { id: Some(id), .. }) => verify_one(server, &id),
            Some(Action::Verify { id: None, which }) => verify(server, &which),
            Some(Action::Forget { source }) => {
                let which = json!({ "source": source });
                let answer = server.ask(Method::DELETE, &["api", "refused"], &which)?;
                server.show(&answer, |forgotten: Forgotten| {
                    let count = counted(forgotten.forgotten, "request");
                    output::print(&good(&format!("{count} forgotten")))
                })
            }
        }
    }
}

#[derive(Deserialize)]
struct Forgotten {
    forgotten: u64,
}

fn list(server: &Server, list: &List) -> Outcome {
    let answer = server.ask(Method::GET, &["api", "refused"], list)?;
    server.show(&answer, |page: Page| {
        for group in &page.groups {
            output::print(&group.text())?;
        }
        if !page.groups.is_empty() {
            output::print("")?;
        }
        let now = SystemClock.now();
        let none = format!("Nothing that was refused is kept, since {}.", page.since);
        let rows = page.refused.into_iter().map(|one| one.row(now));
        table::print(["ID", "CAME", "STATUS", "SOURCE", "PATH"], rows, &none)?;
        if let Some(next) = page.next {
            output::note(&format!("There are older ones: --before {next}"));
        }
        if page.dropped > 0 {
            let dropped = counted(page.dropped, "other request");
            output::note(&format!(
                "Refused since {}, and not kept: {dropped}.",
                page.since
            ));
        }
        Ok(())
    })
}

#[derive(Deserialize)]
struct Page {
    refused: Vec<Listed>,
    groups: Vec<Group>,
    since: String,
    dropped: u64,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Group {
    source: Option<String>,
    why: Option<String>,
    explained: bool,
    count: u64,
}

impl Group {
    fn text(&self) -> String {
        let count = counted(self.count, "request");
        let source = self.source.as_deref().unwrap_or("no source");
        let why = self.why.as_deref().unwrap_or(WAITS);
        let text = offhook::escape_controls(why);
        let line = format!("{count} to {}: {text}", offhook::escape_controls(source));
        if self.explained { bad(&line) } else { line }
    }
}

#[derive(Deserialize)]
struct Listed {
    id: String,
    at: String,
    source: Option<String>,
    session: Option<String>,
    path: String,
    method: String,
    status: u16,
    why: Option<String>,
    count: Option<u64>,
}

impl Listed {
    fn row(self, now: Timestamp) -> Row<5> {
        let path = match self.method.as_str() {
            "POST" => self.path,
            method => format!("{method} {}", self.path),
        };
        let session = self.session.map(|session| format!(" (session {session})"));
        let count = self.count.filter(|count| *count > 1);
        let times = count.map(|count| format!(" ({count} times)"));
        let why = self.why.as_deref().unwrap_or(WAITS);
        let below = format!(
            "{why}{}{}",
            session.unwrap_or_default(),
            times.unwrap_or_default()
        );
        let status = self.status.to_string();
        let source = self.source.unwrap_or_default();
        Row {
            cells: [self.id, age(&self.at, now), status, source, path],
            below: Some(below),
        }
    }
}

fn show(server: &Server, id: &str) -> Outcome {
    let answer = server.ask(Method::GET, &["api", "refused", id], &json!({}))?;
    server.show(&answer, |one: Details| one.print())
}

fn verify_one(server: &Server, id: &str) -> Outcome {
    let answer = server.ask(Method::POST, &["api", "refused", id, "verify"], &json!({}))?;
    let one: VerifiedOne = admin::read(&answer)?;
    let valid = one.valid;
    server.show(&answer, |one: VerifiedOne| {
        if let Some(event) = &one.event {
            let what = if one.duplicate {
                "a duplicate"
            } else {
                "an event"
            };
            output::print(&good(&format!("valid: it is {what} now, {event}")))?;
        }
        one.findings.iter().try_for_each(Finding::print)
    })?;
    Ok(Verdict::from(valid))
}

#[derive(Deserialize)]
struct VerifiedOne {
    valid: bool,
    event: Option<String>,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    findings: Vec<Finding>,
}

fn verify(server: &Server, which: &Which) -> Outcome {
    let answer = server.ask(Method::POST, &["api", "refused", "verify"], which)?;
    let all: Verified = admin::read(&answer)?;
    let is_done = all.not_accepted == 0 && (all.looked_at == 0 || all.valid > 0);
    server.show(&answer, |all: Verified| {
        let looked_at = counted(all.looked_at, "request");
        let valid = all.valid;
        if let Some((first, last)) = all.dropped_first.zip(all.dropped_last) {
            let dropped = counted(all.dropped, "other request");
            output::note(&format!(
                "Refused from {first} to {last}, and not kept: {dropped}. Ask the sender to send them again."
            ));
        }
        if which.dry_run {
            return output::print(&format!("{looked_at} looked at, {valid} valid now"));
        }
        let events = counted(all.accepted - all.duplicates, "new event");
        let duplicates = counted(all.duplicates, "duplicate");
        output::print(&format!(
            "{looked_at} looked at, {valid} valid: {events}, {duplicates}"
        ))?;
        if all.not_accepted > 0 {
            let left = counted(all.not_accepted, "request");
            output::note(&format!(
                "not accepted now, and still kept: {left}; the server's log says why"
            ));
        }
        Ok(())
    })?;
    Ok(Verdict::from(is_done))
}

#[derive(Deserialize)]
struct Verified {
    looked_at: u64,
    valid: u64,
    accepted: u64,
    duplicates: u64,
    #[serde(default)]
    not_accepted: u64,
    /// Of those that were refused and are not kept.
    #[serde(default)]
    dropped: u64,
    dropped_first: Option<String>,
    dropped_last: Option<String>,
}

const WAITS: &str = "not looked into yet";

const EXAMPLES: &str = "\
Examples:
  offhook refused                                  The newest 50, and why
  offhook refused 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
                                                   One, with its headers, its body, and what to do
  offhook refused --explained                      Those whose sender knows a secret
  offhook refused verify --dry-run                 How many are right with the settings of now
  offhook refused verify --source codeskytz        Make events of them
  offhook refused forget

Exit status: 0 done, 1 when nothing is valid, there is no such one or the server cannot be asked, 2 usage.";
