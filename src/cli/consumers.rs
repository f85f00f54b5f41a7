//! `offhook consumers`: the consumers of a running server, and their progress.

use clap::{Args, Subcommand};
use http::Method;
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use serde::Deserialize;

use super::admin::Server;
use super::output::Outcome;
use super::table::{self, Row, age};

/// List consumers and their progress; pause one, or resume it
///
/// LAG is how many events wait, OLDEST how long the first of them has waited, and FAILING since when no
/// attempt has succeeded. A suspended consumer gets no events, because nothing has succeeded for long;
/// its events are kept, and it goes on where it was when it is resumed.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Consumers {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    /// Stop handing it events until it is resumed; its events are kept
    Pause {
        /// The consumer, such as handler:console
        name: String,
    },
    /// Let it continue where it was
    Resume {
        /// The consumer
        name: String,
    },
}

#[derive(Deserialize)]
struct Consumer {
    name: String,
    state: String,
    lag: u64,
    oldest_waiting: Option<String>,
    failing_since: Option<String>,
    suspended: Option<Suspended>,
    in_flight: u64,
}

#[derive(Deserialize)]
struct Suspended {
    since: String,
    reason: String,
}

impl Consumers {
    pub(super) fn run(self) -> Outcome {
        let (name, action) = match &self.action {
            None => {
                let path = ["api", "consumers"];
                return self.server.list(&path, &(), HEADINGS, Consumer::row, NONE);
            }
            Some(Action::Pause { name }) => (name, "pause"),
            Some(Action::Resume { name }) => (name, "resume"),
        };
        let path = ["api", "consumers", name, action];
        let answer = self.server.ask(Method::POST, &path, &())?;
        self.server.show(&answer, |consumer: Consumer| {
            table::print(HEADINGS, [consumer.row(SystemClock.now())], NONE)
        })
    }
}

impl Consumer {
    fn row(self, now: Timestamp) -> Row<6> {
        let age = |time: &str| age(time, now);
        let age_or_dash = |time: Option<String>| time.map_or("-".to_owned(), |time| age(&time));
        let below = self.suspended.map(|suspended| {
            let (since, reason) = (age(&suspended.since), suspended.reason);
            format!("suspended {since}: {reason}")
        });
        let cells = [
            self.name,
            self.state,
            self.lag.to_string(),
            self.in_flight.to_string(),
            age_or_dash(self.oldest_waiting),
            age_or_dash(self.failing_since),
        ];
        Row { cells, below }
    }
}

const HEADINGS: [&str; 6] = ["NAME", "STATE", "LAG", "RUNNING", "OLDEST", "FAILING"];

const NONE: &str = "No consumer: no handler or subscription gets events.";

const EXAMPLES: &str = "\
Examples:
  offhook consumers                                All of them, and how far each has come
  offhook consumers pause handler:console
  offhook consumers resume handler:console
  offhook consumers resume 'subscription:*:crm'    Quoted, as * means something to shells
  offhook consumers --json | jq '.consumers[] | select(.lag > 1000)'

Exit status: 0 done, 1 when there is no such one or the server cannot be asked, 2 usage.";
