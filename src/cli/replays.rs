//! `offhook replays`: the replays of a running server, and how far each has come.

use clap::{Args, Subcommand};
use http::Method;
use offhook::{Timestamp, escape_controls};
use serde::Deserialize;

use super::admin::Server;
use super::output::{self, Outcome, good};
use super::table::{Row, age};

/// List replays, newest first, and how far each has come; cancel one
///
/// A replay to several consumers has a row for each of them. HANDED OVER is how many of its events were
/// handed over again; the others wait for their turn, for the replay's rate, or for a paused consumer.
/// Of each consumer, the replays that run and the newest that have ended are listed.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Replays {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    /// Stop a replay: what it has not handed over is not handed over
    Cancel {
        /// The replay
        id: String,
    },
}

impl Replays {
    pub(super) fn run(self) -> Outcome {
        let server = &self.server;
        let Some(Action::Cancel { id }) = &self.action else {
            return server.list(&["api", "replays"], &(), HEADINGS, Replay::row, NONE);
        };
        let answer = server.ask(Method::DELETE, &["api", "replays", id], &())?;
        server.show(&answer, |answer: Answer| {
            let consumers = answer.cancelled.join(", ");
            let text = format!("cancelled for {}", escape_controls(&consumers));
            output::print(&good(&text))
        })
    }
}

#[derive(Deserialize)]
struct Replay {
    id: String,
    consumer: String,
    session: Option<String>,
    event: Option<String>,
    from: Option<String>,
    to: Option<String>,
    /// Missing in the answer of an older server.
    ids: Option<u64>,
    rate: Option<u32>,
    asked_at: String,
    matched: u64,
    handed_over: u64,
    state: String,
}

/// The answer to a cancellation.
#[derive(Deserialize)]
struct Answer {
    /// The consumers for which the replay ran.
    cancelled: Vec<String>,
}

impl Replay {
    fn row(self, now: Timestamp) -> Row<6> {
        let asked_for = [
            ("session", self.session),
            ("event", self.event),
            ("from", self.from),
            ("to", self.to),
            ("ids:", self.ids.map(|ids| ids.to_string())),
        ];
        let asked_for = asked_for.into_iter();
        let asked_for = asked_for.filter_map(|(name, value)| Some(format!("{name} {}", value?)));
        let below = asked_for.collect::<Vec<_>>().join(", ");
        let rate = self.rate.map(|rate| format!("{rate}/s"));
        let cells = [
            self.id,
            self.consumer,
            self.state,
            format!("{}/{}", self.handed_over, self.matched),
            rate.unwrap_or_else(|| "-".to_owned()),
            age(&self.asked_at, now),
        ];
        let below = Some(below).filter(|below| !below.is_empty());
        Row { cells, below }
    }
}

const HEADINGS: [&str; 6] = ["ID", "CONSUMER", "STATE", "HANDED OVER", "RATE", "ASKED"];

const NONE: &str = "No replay.";

const EXAMPLES: &str = "\
Examples:
  offhook replay --all --rate 100                  Starts one, and prints its id if it is long
  offhook replays                                  How far each has come
  offhook replays cancel 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
  offhook replays --json | jq '.replays[] | select(.state == \"running\")'

Exit status: 0 done, 1 when no such replay runs or the server cannot be asked, 2 usage.";
