//! `offhook dead`: the events that handlers and subscriptions have given up on.

use clap::{Args, Subcommand};
use http::Method;
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::json;

use super::admin::Server;
use super::output::{self, Failure, Outcome, counted};
use super::replay::show_replayed;
use super::table::{Row, age};

/// List what handlers and subscriptions have given up on, newest first; hand it over again, or delete it
///
/// A handler or a subscription gives up on an event when it rejects it or has failed too often. The
/// event itself is kept, and no other event waits for it.
#[derive(Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Dead {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    list: List,
}

#[derive(Subcommand)]
enum Action {
    /// List them (the default)
    List(List),
    /// Hand them over again, from attempt 1
    Replay {
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
    },
    /// Delete one from the list; the event itself is kept
    Delete {
        /// The event
        id: String,

        /// Only for this consumer, where several have given up on it
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,

        #[command(flatten)]
        server: Server,
    },
}

#[derive(Args)]
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

impl Dead {
    pub(super) fn run(self) -> Outcome {
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(list) => list.run(),
            Action::Replay {
                id,
                consumer,
                all,
                server,
            } => {
                if id.is_none() && consumer.is_none() && !all {
                    return Err(Failure::usage(
                        "which ones? Give an ID or --consumer NAME, or --all for all of them",
                    ));
                }
                let path = ["api", "dead", "replay"];
                let which = json!({ "id": id, "consumer": consumer });
                let answer = server.ask(Method::POST, &path, &[], Some(which))?;
                show_replayed(&answer, &server, id.is_some())
            }
            Action::Delete {
                id,
                consumer,
                server,
            } => {
                let (path, query) = (["api", "dead", &id], [("consumer", consumer.as_deref())]);
                let answer = server.ask(Method::DELETE, &path, &query, None)?;
                let deleted = |_: IgnoredAny| output::print(&output::good("deleted"));
                server.show(&answer, deleted)
            }
        }
    }
}

#[derive(Deserialize)]
struct DeadLetter {
    id: String,
    consumer: String,
    session: Option<String>,
    event: String,
    attempts: u64,
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
        let now = SystemClock.now();
        let headings = ["ID", "GIVEN UP", "EVENT", "SESSION"];
        let row = |letter: DeadLetter| letter.row(now);
        self.server
            .list(&["api", "dead"], &query, headings, row, "No dead letter.")
    }
}

impl DeadLetter {
    fn row(self, now: Timestamp) -> Row<4> {
        let tries = counted(self.attempts, "attempt");
        // Other commands take the consumer's name, so it is never shortened.
        let below = format!("{}, after {tries}: {}", self.consumer, self.reason);
        let session = self.session.unwrap_or_default();
        Row {
            cells: [self.id, age(&self.at, now), self.event, session],
            below: Some(below),
        }
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
