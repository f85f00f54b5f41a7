//! `offhook dead`: the events that handlers and subscriptions have given up on.

use clap::{Args, Subcommand};
use offhook::clock::{Clock as _, SystemClock};
use serde::{Deserialize, Serialize};

use super::admin::Server;
use super::output::{self, Failure, Outcome, Verdict};
use super::replay::Replayed;
use super::table::{Table, terminal_width};
use super::times;

/// List what handlers and subscriptions have given up on, newest first; hand it over again, or delete it
///
/// A handler or a subscription gives up on an event when it rejects it or has failed too often. The
/// event itself is kept, and no other event waits for it.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Dead {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    list: List,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List them (the default)
    List(List),
    /// Hand them over again, from attempt 1
    Replay(Again),
    /// Delete one from the list; the event itself is kept
    Delete(Delete),
}

#[derive(Debug, Args)]
struct List {
    /// Only those of this consumer, such as handler:console
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    /// Only those before this event, or from where the last page ended
    #[arg(long, value_name = "ID|NEXT")]
    before: Option<String>,

    /// How many, up to 500
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
struct Again {
    /// The event; without it, all of a consumer's or --all
    id: Option<String>,

    /// Only those of this consumer
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    /// All of them
    #[arg(long, conflicts_with = "id")]
    all: bool,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Args)]
struct Delete {
    /// The event
    id: String,

    /// Only for this consumer, where several have given up on it
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    #[command(flatten)]
    server: Server,
}

impl Dead {
    pub(super) fn run(self) -> Outcome {
        match self.action {
            None => self.list.run(),
            Some(Action::List(list)) => list.run(),
            Some(Action::Replay(again)) => again.run(),
            Some(Action::Delete(delete)) => delete.run(),
        }
    }
}

#[derive(Deserialize)]
struct Page {
    dead: Vec<Letter>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Letter {
    id: String,
    consumer: String,
    session: Option<String>,
    event: String,
    attempts: u32,
    reason: String,
    at: String,
}

impl List {
    fn run(self) -> Outcome {
        let query = [
            ("consumer", self.consumer.as_deref()),
            ("before", self.before.as_deref()),
            ("limit", Some(&*self.limit.to_string())),
        ];
        let answer = self.server.get(&["api", "dead"], &query)?;
        if self.server.json {
            answer.print_json()?;
            return Ok(Verdict::Yes);
        }
        let page: Page = answer.read()?;
        if page.dead.is_empty() {
            output::note("No dead letter.");
            return Ok(Verdict::Yes);
        }
        output::print(&table(&page.dead).text(terminal_width()))?;
        output::note_older(page.next.as_deref());
        Ok(Verdict::Yes)
    }
}

fn table(dead: &[Letter]) -> Table<4> {
    let now = SystemClock.now();
    let mut table = Table::new(["ID", "GIVEN UP", "EVENT", "SESSION"]);
    for letter in dead {
        let tries = match letter.attempts {
            1 => "after 1 attempt".to_owned(),
            attempts => format!("after {attempts} attempts"),
        };
        // Other commands take the consumer's name, so it is never shortened.
        let below = format!("{}, {tries}: {}", letter.consumer, letter.reason);
        let at = times::age(&letter.at, now);
        let session = letter.session.as_deref().unwrap_or_default();
        let cells = [&*letter.id, &at, &letter.event, session];
        table.row_with(cells, &below);
    }
    table
}

#[derive(Serialize)]
struct Which<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    consumer: Option<&'a str>,
}

impl Again {
    fn run(self) -> Outcome {
        if self.id.is_none() && self.consumer.is_none() && !self.all {
            return Err(Failure::usage(
                "which ones? Give an ID or --consumer NAME, or --all for all of them",
            ));
        }
        let which = Which {
            id: self.id.as_deref(),
            consumer: self.consumer.as_deref(),
        };
        let answer = self.server.post(&["api", "dead", "replay"], &which)?;
        Replayed::told(&answer, &self.server, self.id.is_some())
    }
}

impl Delete {
    fn run(self) -> Outcome {
        let query = [("consumer", self.consumer.as_deref())];
        let answer = self.server.delete(&["api", "dead", &self.id], &query)?;
        match self.server.json {
            true => answer.print_json()?,
            false => output::print(&output::good("deleted"))?,
        }
        Ok(Verdict::Yes)
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook dead                                     The newest 50, and why
  offhook dead --consumer handler:console
  offhook dead replay 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
                                                   Hand this one over again
  offhook dead replay --consumer handler:console   All that this handler has given up on
  offhook dead replay --all
  offhook dead delete 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17

Exit status: 0 done, 1 when there is no such one or the server cannot be asked, 2 usage.";
