//! `offhook dead`: the events that handlers and subscriptions have given up on.

use clap::{Args, Subcommand};
use http::Method;
use offhook::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::admin::{self, Server};
use super::output::{self, Failure, Outcome, counted};
use super::replay::replay;
use super::table::{Row, age};

/// List what handlers and subscriptions have given up on, newest first; hand it over again, or delete it
///
/// A handler or a subscription gives up on an event when it rejects it or has failed too often. The
/// event itself is kept, and no other event waits for it.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Dead {
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

        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
    },
    /// Delete them from the list; the events themselves are kept
    Delete {
        /// The event, by its complete id; without it, all of a consumer's, of a session's, or --all
        #[arg(conflicts_with_all = ["session", "all", "dry_run"])]
        id: Option<String>,

        /// Only those of this consumer
        #[arg(long, value_name = "NAME")]
        consumer: Option<String>,

        /// Only those of this session
        #[arg(long, value_name = "ID")]
        session: Option<String>,

        /// All of them
        #[arg(long)]
        all: bool,

        /// Only say how many there are
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Args, Serialize)]
struct List {
    /// Only those of this consumer, such as handler:console
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    /// Only those before this event, or from where the last page ended
    #[arg(long, value_name = "ID|NEXT")]
    before: Option<String>,

    /// How many, up to 500
    #[arg(long, default_value_t = PAGE, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

impl List {
    /// Whether the command line says which dead letters are listed.
    fn is_narrowed(&self) -> bool {
        self.consumer.is_some() || self.before.is_some() || self.limit != PAGE
    }
}

impl Dead {
    pub(super) fn run(self) -> Outcome {
        let server = &self.server;
        if self.action.is_some() && self.list.is_narrowed() {
            return Err(Failure::usage(
                "--consumer, --before and --limit follow the name of the action",
            ));
        }
        match self.action.unwrap_or(Action::List(self.list)) {
            Action::List(list) => {
                let (path, none) = (["api", "dead"], "No dead letter.");
                let headings = ["ID", "GIVEN UP", "EVENT", "SESSION"];
                server.list(&path, &list, headings, DeadLetter::row, none)
            }
            Action::Replay {
                id,
                consumer,
                all,
                dry_run,
            } => {
                if id.is_none() && consumer.is_none() && !all && !dry_run {
                    return Err(Failure::usage(
                        "which ones? Give an ID or --consumer NAME, or --all for all of them",
                    ));
                }
                let which = Which {
                    id: id.as_deref(),
                    consumer: consumer.as_deref(),
                    dry_run,
                    ..Which::default()
                };
                replay(server, &["api", "dead", "replay"], &which, id.is_some())
            }
            Action::Delete {
                id: Some(id),
                consumer,
                ..
            } => {
                let which = json!({ "consumer": consumer });
                server.delete(&["api", "dead", &id], &which, "deleted")
            }
            Action::Delete {
                consumer,
                session,
                all,
                dry_run,
                ..
            } => {
                if consumer.is_none() && session.is_none() && !all && !dry_run {
                    return Err(Failure::usage(
                        "which ones? Give an ID, --consumer NAME or --session ID, or --all for all of them",
                    ));
                }
                let which = Which {
                    consumer: consumer.as_deref(),
                    session: session.as_deref(),
                    ..Which::default()
                };
                delete(server, &which, dry_run)
            }
        }
    }
}

/// Which dead letters something is done with.
#[derive(Clone, Copy, Default, Serialize)]
struct Which<'a> {
    id: Option<&'a str>,
    consumer: Option<&'a str>,
    session: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    expected: Option<u64>,
}

/// Looks how many there are, and deletes these and no others.
fn delete(server: &Server, which: &Which<'_>, dry_run: bool) -> Outcome {
    #[derive(Deserialize)]
    struct Counted {
        matched: u64,
        deleted: u64,
    }
    let path = &["api", "dead"];
    let shown = server.ask_in_body(
        Method::DELETE,
        path,
        &Which {
            dry_run: true,
            ..*which
        },
    )?;
    let Counted { matched, .. } = admin::read(&shown)?;
    let answer = if dry_run {
        shown
    } else {
        let which = Which {
            expected: Some(matched),
            ..*which
        };
        server.ask_in_body(Method::DELETE, path, &which)?
    };
    server.show(&answer, |counts: Counted| {
        let letters = counted(counts.matched, "dead letter");
        let text = if dry_run {
            format!("{letters} would be deleted")
        } else {
            format!("deleted {} of {letters}", counts.deleted)
        };
        output::print(&text)
    })
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

impl DeadLetter {
    fn row(self, now: Timestamp) -> Row<4> {
        let tries = counted(self.attempts, "attempt");
        // Other commands take the consumer's name, so it is never shortened.
        let below = Some(format!("{}, after {tries}: {}", self.consumer, self.reason));
        let session = self.session.unwrap_or_default();
        let cells = [self.id, age(&self.at, now), self.event, session];
        Row { cells, below }
    }
}

const PAGE: u16 = 50;

const EXAMPLES: &str = "\
Examples:
  offhook dead                                     The newest 50, and why
  offhook dead --consumer handler:console
  offhook dead replay 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
                                                   Hand this one over again
  offhook dead replay --consumer handler:console   All that this handler has given up on
  offhook dead replay --all
  offhook dead delete 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
  offhook dead delete --consumer handler:console --dry-run

Exit status: 0 done, 1 when there is no such one or the server cannot be asked, 2 usage.";
