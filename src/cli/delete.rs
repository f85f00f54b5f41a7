//! `offhook events delete`: deletes one event, or those of a session or of a person, for good.

use std::io::{IsTerminal as _, stdin};

use clap::Args;
use http::Method;
use serde::{Deserialize, Serialize};

use super::admin::{self, Server};
use super::output::{self, Failure, Outcome, Verdict, counted};

/// Delete one event, or all of a session or of a person, for good
///
/// The body, the session and the typed events are removed, and their bytes are overwritten in the files at
/// the latest when the server stops. The id and the times stay. A handler or a subscription that has not
/// settled the event skips it. The same event, sent again, is still a duplicate.
///
/// A body that holds several events (ID, ID.2, ID.3 and so on) is deleted as a whole, whichever of them is named.
#[derive(Args, Serialize)]
#[command(after_help = EXAMPLES)]
pub(super) struct Delete {
    /// The event, by its complete id; without it, all of --session
    #[arg(conflicts_with_all = ["session", "sender", "dry_run"], required_unless_present_any = ["session", "sender"])]
    #[serde(skip)]
    id: Option<String>,

    /// Those of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Only those from this sender, written exactly as the events have it in `from`
    #[arg(long, value_name = "FROM", alias = "from")]
    #[arg(allow_hyphen_values = true)]
    sender: Option<String>,

    /// Only say how many there are
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,

    /// Do not ask first, which it does with --session in a terminal
    #[arg(long)]
    #[serde(skip)]
    yes: bool,
}

impl Delete {
    pub(super) fn run(mut self, server: &Server) -> Outcome {
        if let Some(id) = &self.id {
            return show(
                server,
                &server.ask(Method::DELETE, &["api", "events", id], &())?,
                false,
            );
        }
        if self.session.is_none() {
            return Err(Failure::usage(
                "--sender is a person in one session: name it with --session ID, which `offhook events` shows",
            ));
        }
        if !self.dry_run && !self.yes && stdin().is_terminal() {
            self.dry_run = true;
            let there: Deleted = admin::read(&self.ask(server)?)?;
            if there.deleted == 0 || !confirmed(there.deleted)? {
                output::note("Nothing was deleted.");
                return Ok(Verdict::from(there.deleted == 0));
            }
            self.dry_run = false;
        }
        show(server, &self.ask(server)?, self.dry_run)
    }

    /// The fields are in the body, because they are personal.
    fn ask(&self, server: &Server) -> Result<String, Failure> {
        server.ask_in_body(Method::DELETE, &["api", "events"], self)
    }
}

/// Asks in the terminal.
fn confirmed(events: u64) -> Result<bool, Failure> {
    let events = counted(events, "event");
    output::note(&format!("This deletes {events} for good. Continue? [y/N]"));
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(Failure::failed)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show(server: &Server, answer: &str, dry_run: bool) -> Outcome {
    server.show(answer, |deleted: Deleted| {
        output::print(&deleted.text(dry_run))
    })
}

#[derive(Deserialize)]
struct Deleted {
    deleted: u64,
}

impl Deleted {
    fn text(&self, dry_run: bool) -> String {
        let events = counted(self.deleted, "event");
        match (self.deleted, dry_run) {
            (0, true) => "no event fits".to_owned(),
            (0, false) => "no event fits, or all were deleted before".to_owned(),
            (1, true) => "1 event fits; it was not deleted".to_owned(),
            (_, true) => format!("{events} fit; none was deleted"),
            (_, false) => format!("deleted {events}"),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook events delete 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
                                                   This event
  offhook events delete --session 408f7372-f7c9-4299-a8db-326bc5548a73 --sender +1234567890 --dry-run
                                                   Only say how many a person has sent
  offhook events delete --session 408f7372-f7c9-4299-a8db-326bc5548a73 --sender +1234567890
                                                   Delete them
  offhook events delete --session 408f7372-f7c9-4299-a8db-326bc5548a73 --yes
                                                   All of a session, without a question

Exit status: 0 deleted, or there was nothing to delete, 1 when there is no such event, the answer was no, or the
server cannot be asked, 2 usage.";
