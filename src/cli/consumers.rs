//! `offhook consumers`: the consumers of a running server, and their progress.

mod failures;

use clap::{Args, Subcommand};
use http::Method;
use offhook::Timestamp;
use offhook::clock::{Clock as _, SystemClock};
use serde::Deserialize;

use super::admin::Server;
use super::output::{self, Outcome, counted, fact};
use super::table::{self, Row, age, wait};
use failures::Failed;

/// List consumers and their progress; show one, pause one, or resume it
///
/// LAG is how many events wait, OLDEST how long the first of them has waited, and FAILING since when no
/// attempt has succeeded; the line below says why the last one failed. A suspended consumer gets no events, because nothing has succeeded for long;
/// its events are kept, and it goes on where it was when it is resumed. So does a subscription that has
/// ended, because its subscriber has answered 410. A consumer that is restarting has stopped by a fault of
/// offhook, and starts again after a pause.
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
    /// Show one, and the conversations that it holds up
    ///
    /// FAILED lists the attempts that have failed last. HELD UP BY is the event that waits for a retry, WAITING how
    /// many events of its conversation wait behind it in memory. A + says that more of them, or of their session, wait in
    /// the journal. The 20 that are tried next are shown.
    Show {
        /// The consumer, such as handler:console
        name: String,
    },
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

impl Consumers {
    pub(super) fn run(self) -> Outcome {
        let (name, action) = match &self.action {
            None => {
                let path = ["api", "consumers"];
                return self.server.list(&path, &(), HEADINGS, Consumer::row, NONE);
            }
            Some(Action::Show { name }) => return self.show(name),
            Some(Action::Pause { name }) => (name, "pause"),
            Some(Action::Resume { name }) => (name, "resume"),
        };
        let path = ["api", "consumers", name, action];
        let answer = self.server.ask(Method::POST, &path, &())?;
        self.server.show(&answer, |consumer: Consumer| {
            table::print(HEADINGS, [consumer.row(SystemClock.now())], NONE)
        })
    }

    fn show(&self, name: &str) -> Outcome {
        let path = ["api", "consumers", name];
        let answer = self.server.ask(Method::GET, &path, &())?;
        self.server.show(&answer, |consumer: Consumer| {
            let now = SystemClock.now();
            output::print(&consumer.text(now))?;
            if !consumer.failures.is_empty() {
                output::print("")?;
                let failures = consumer.failures.into_iter().map(|one| one.row(now));
                table::print(failures::HEADINGS, failures, "")?;
            }
            if !consumer.sessions.is_empty() {
                output::print("")?;
                let sessions = consumer.sessions.into_iter().map(|one| one.row(now));
                table::print(SESSIONS, sessions, "")?;
            }
            if !consumer.held_up.is_empty() {
                output::print("")?;
            }
            let held_up = consumer.held_up.into_iter().map(|one| one.row(now));
            table::print(HELD_UP, held_up, "No conversation is held up.")
        })
    }
}

/// What the server knows of a consumer. What it does not know of one that is restarting is `None`.
#[derive(Deserialize)]
struct Consumer {
    name: String,
    state: String,
    lag: Option<u64>,
    oldest_waiting: Option<String>,
    failing_since: Option<String>,
    failing_reason: Option<String>,
    suspended: Option<Suspended>,
    ended: Option<Ended>,
    in_flight: u64,
    in_memory: Option<u64>,
    overflowed: Option<u64>,
    retrying: Option<u64>,
    panics: u64,
    /// The newest first; only in the answer about a single consumer.
    #[serde(default)]
    failures: Vec<Failed>,
    /// Only in the answer about a single consumer.
    #[serde(default)]
    held_up: Vec<HeldUp>,
    /// As `held_up`.
    #[serde(default)]
    sessions: Vec<HeldUpSession>,
}

#[derive(Deserialize)]
struct Suspended {
    /// `None` for one whose address is refused.
    since: Option<String>,
    reason: String,
}

/// The end of a subscription.
#[derive(Deserialize)]
struct Ended {
    at: String,
    reason: String,
}

/// An event that holds up others of its conversation.
#[derive(Deserialize)]
struct HeldUp {
    event: String,
    session: Option<String>,
    conversation: Option<String>,
    attempt: u32,
    /// `None` while an attempt runs.
    next_at: Option<String>,
    behind: u64,
    more_in_journal: bool,
}

/// A session that holds up its own events.
#[derive(Deserialize)]
struct HeldUpSession {
    session: Option<String>,
    event: String,
    attempt: u32,
    next_at: Option<String>,
    in_flight: u64,
    retrying: u64,
    waiting: u64,
    more_in_journal: bool,
}

impl Consumer {
    fn row(self, now: Timestamp) -> Row<6> {
        let age_or_dash =
            |time: Option<String>| time.map_or(DASH.to_owned(), |time| age(&time, now));
        let below = self.below(now);
        let cells = [
            self.name,
            self.state,
            self.lag.map_or(DASH.to_owned(), |lag| lag.to_string()),
            self.in_flight.to_string(),
            age_or_dash(self.oldest_waiting),
            age_or_dash(self.failing_since),
        ];
        Row { cells, below }
    }

    /// What there is to say of it beside its cells.
    fn below(&self, now: Timestamp) -> Option<String> {
        let failing = |reason| format!("the last attempt failed: {reason}");
        match (&self.suspended, &self.ended) {
            (_, Some(ended)) => Some(format!("ended {}{}", ended.text(now), self.again())),
            // One whose address is refused cannot be resumed.
            (Some(suspended), _) if suspended.since.is_none() => {
                Some(format!("suspended {}", suspended.text(now)))
            }
            (Some(suspended), _) => {
                Some(format!("suspended {}{}", suspended.text(now), self.again()))
            }
            _ if self.state == "restarting" => self.faults(),
            _ => self.failing_reason.as_ref().map(failing),
        }
    }

    /// How it goes on.
    fn again(&self) -> String {
        format!(
            "; to let it go on: offhook consumers resume '{}'",
            self.name
        )
    }

    fn text(&self, now: Timestamp) -> String {
        let count = |count: Option<u64>| count.map(|count| count.to_string());
        let age = |time: &Option<String>| time.as_ref().map(|time| age(time, now));
        let facts = [
            ("name", Some(self.name.clone())),
            ("state", Some(self.state.clone())),
            (
                "suspended",
                self.suspended.as_ref().map(|one| one.text(now)),
            ),
            ("ended", self.ended.as_ref().map(|one| one.text(now))),
            ("faults", self.faults()),
            ("lag", count(self.lag)),
            ("oldest", age(&self.oldest_waiting)),
            ("failing", age(&self.failing_since)),
            ("failed", self.failing_reason.clone()),
            ("running", Some(self.in_flight.to_string())),
            ("retrying", count(self.retrying)),
            ("in memory", count(self.in_memory)),
            ("in journal", count(self.overflowed)),
        ];
        let facts = facts.into_iter();
        let lines = facts.filter_map(|(name, value)| Some(fact(name, &value?)));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// How often it was stopped by a fault of offhook, if ever.
    fn faults(&self) -> Option<String> {
        let panics = counted(self.panics, "time");
        (self.panics > 0)
            .then(|| format!("stopped {panics} by a fault of offhook; the log says more"))
    }
}

impl Suspended {
    fn text(&self, now: Timestamp) -> String {
        match &self.since {
            Some(since) => format!("{}: {}", age(since, now), self.reason),
            None => self.reason.clone(),
        }
    }
}

impl Ended {
    fn text(&self, now: Timestamp) -> String {
        format!("{}: {}", age(&self.at, now), self.reason)
    }
}

impl HeldUp {
    fn row(self, now: Timestamp) -> Row<6> {
        let cells = [
            self.event,
            self.attempt.to_string(),
            next_try(self.next_at.as_deref(), now),
            how_many(self.behind, self.more_in_journal),
            self.conversation.unwrap_or_default(),
            self.session.unwrap_or_default(),
        ];
        Row { cells, below: None }
    }
}

impl HeldUpSession {
    fn row(self, now: Timestamp) -> Row<7> {
        let cells = [
            self.session.unwrap_or_default(),
            how_many(self.waiting, self.more_in_journal),
            self.in_flight.to_string(),
            self.retrying.to_string(),
            self.event,
            self.attempt.to_string(),
            next_try(self.next_at.as_deref(), now),
        ];
        Row { cells, below: None }
    }
}

/// How many wait; a plus says that more wait in the journal.
fn how_many(waiting: u64, more_in_journal: bool) -> String {
    format!("{waiting}{}", if more_in_journal { "+" } else { "" })
}

fn next_try(at: Option<&str>, now: Timestamp) -> String {
    at.map_or("now".to_owned(), |at| wait(at, now))
}

const HEADINGS: [&str; 6] = ["NAME", "STATE", "LAG", "RUNNING", "OLDEST", "FAILING"];

const HELD_UP: [&str; 6] = [
    "HELD UP BY",
    "ATTEMPTS",
    "NEXT TRY",
    "WAITING",
    "CONVERSATION",
    "SESSION",
];

const SESSIONS: [&str; 7] = [
    "SESSION",
    "WAITING",
    "RUNNING",
    "RETRYING",
    "HELD UP BY",
    "ATTEMPTS",
    "NEXT TRY",
];

const NONE: &str = "No consumer: no handler or subscription gets events.";

const DASH: &str = "-";

const EXAMPLES: &str = "\
Examples:
  offhook consumers                                All of them, and how far each has come
  offhook consumers show handler:console           This one, and which sessions and conversations it holds up
  offhook consumers pause handler:console
  offhook consumers resume handler:console
  offhook consumers resume 'subscription:*:crm'    Quoted, as * means something to shells
  offhook consumers --json | jq '.consumers[] | select(.lag > 1000)'

Exit status: 0 done, 1 when there is no such one or the server cannot be asked, 2 usage.";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn everything_that_is_known_of_one() {
        let consumer = json!({
            "name": "handler:crm", "kind": "handler", "state": "running", "lag": 20_000,
            "oldest_waiting": "2025-01-08T11:57:00Z", "failing_since": "2025-01-08T11:59:00Z",
            "failing_reason": "connection refused", "suspended": null, "in_flight": 3, "in_memory": 16_500, "overflowed": 3_500,
            "retrying": 12, "panics": 1,
        });
        let consumer: Consumer = serde_json::from_value(consumer).unwrap();
        let text = consumer.text("2025-01-08T12:00:00Z".parse().unwrap());
        let expected = "\
name          handler:crm
state         running
faults        stopped 1 time by a fault of offhook; the log says more
lag           20000
oldest        3m ago
failing       60s ago
failed        connection refused
running       3
retrying      12
in memory     16500
in journal    3500";
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }

    #[test]
    fn held_up_sessions() {
        let held_up = json!({
            "session": "408f", "event": "0198f9a2", "attempt": 0, "next_at": null, "in_flight": 48,
            "retrying": 0, "waiting": 2952, "more_in_journal": false,
        });
        let held_up: HeldUpSession = serde_json::from_value(held_up).unwrap();
        let cells = held_up.row("2025-01-08T12:00:00Z".parse().unwrap()).cells;
        assert_eq!(cells, ["408f", "2952", "48", "0", "0198f9a2", "0", "now"]);
    }

    #[test]
    fn held_up_conversations() {
        let row = |more: bool| {
            let held_up = json!({
                "event": "0198f9a2", "session": "408f", "conversation": null, "attempt": 4,
                "next_at": "2025-01-08T12:00:30Z", "behind": 1023, "more_in_journal": more,
            });
            let held_up: HeldUp = serde_json::from_value(held_up).unwrap();
            held_up.row("2025-01-08T12:00:00Z".parse().unwrap()).cells
        };
        assert_eq!(row(true), ["0198f9a2", "4", "in 30s", "1023+", "", "408f"]);
        assert_eq!(row(false)[3], "1023");
    }
}
