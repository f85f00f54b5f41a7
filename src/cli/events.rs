//! `offhook events`: the events of a running server, and their states.

use clap::Args;
use offhook::clock::{Clock as _, SystemClock};
use serde::Deserialize;

use super::admin::{KINDS, Server};
use super::event::Event;
use super::output::{Outcome, Verdict};
use super::table::{Table, terminal_width};
use super::{output, times};

/// List what was received, newest first, or show one event and what became of it
///
/// An event is pending until every handler and subscription has settled it, retrying while one of them
/// fails, dead when one has given up on it (see `dead`), and done otherwise.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Events {
    /// The event to show, with its timeline and its body; without it, a list
    #[arg(conflicts_with_all = ["session", "event", "state", "before", "limit"])]
    id: Option<String>,

    /// Only those of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Only those of this kind
    #[arg(long, value_name = "KIND", value_parser = KINDS)]
    event: Option<String>,

    /// Only those in this state
    #[arg(long, value_parser = ["pending", "done", "retrying", "dead"])]
    state: Option<String>,

    /// Only those before this event
    #[arg(long, value_name = "ID")]
    before: Option<String>,

    /// How many, up to 500
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,

    #[command(flatten)]
    server: Server,
}

#[derive(Deserialize)]
struct Page {
    events: Vec<Event>,
    next: Option<String>,
}

impl Events {
    pub(super) fn run(self) -> Outcome {
        match &self.id {
            Some(id) => self.one(id),
            None => self.list(),
        }
    }

    fn one(&self, id: &str) -> Outcome {
        let answer = self.server.get(&["api", "events", id], &[])?;
        match self.server.json {
            true => answer.print_json()?,
            false => output::print(&answer.read::<Event>()?.text(SystemClock.now()))?,
        }
        Ok(Verdict::Yes)
    }

    fn list(&self) -> Outcome {
        let query = [
            ("session", self.session.as_deref()),
            ("event", self.event.as_deref()),
            ("state", self.state.as_deref()),
            ("before", self.before.as_deref()),
            ("limit", Some(&*self.limit.to_string())),
        ];
        let answer = self.server.get(&["api", "events"], &query)?;
        if self.server.json {
            answer.print_json()?;
            return Ok(Verdict::Yes);
        }
        let page: Page = answer.read()?;
        if page.events.is_empty() {
            output::note("No event.");
            return Ok(Verdict::Yes);
        }
        output::print(&table(&page.events).text(terminal_width()))?;
        output::note_older(page.next.as_deref());
        Ok(Verdict::Yes)
    }
}

fn table(events: &[Event]) -> Table<5> {
    let now = SystemClock.now();
    let mut table = Table::new(["ID", "RECEIVED", "STATE", "EVENT", "SESSION"]);
    for event in events {
        table.row([
            &event.id,
            &times::age(&event.received_at, now),
            event.state(),
            event.label(),
            event.session.as_deref().unwrap_or_default(),
        ]);
    }
    table
}

const EXAMPLES: &str = "\
Examples:
  offhook events                                   The newest 50
  offhook events --state dead --limit 10           What a consumer has given up on
  offhook events --session 408f7372-f7c9-4299-a8db-326bc5548a73 --event message
  offhook events 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
                                                   One of them, its timeline and its body
  offhook events --json | jq -r '.events[].id'
  offhook events --admin https://hooks.example.com:5001 --token file:/run/secrets/admin

Exit status: 0 shown, 1 when the server cannot be asked or refuses, 2 usage.";
