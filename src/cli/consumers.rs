//! `offhook consumers`: the consumers of a running server, and their progress.

use clap::{Args, Subcommand};
use offhook::clock::{Clock as _, SystemClock};
use serde::Deserialize;
use serde_json::json;

use super::admin::Server;
use super::output::{self, Outcome, Verdict};
use super::table::{Table, terminal_width};
use super::times;

/// List consumers and their progress; pause one, or resume it
///
/// LAG is how many events wait, OLDEST how long the first of them has waited, and FAILING since when no
/// attempt has succeeded. A suspended consumer gets no events, because nothing has succeeded for long;
/// its events are kept, and it goes on where it was when it is resumed.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(super) struct Consumers {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    server: Server,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Stop handing it events until it is resumed; its events are kept
    Pause(One),
    /// Let it continue where it was
    Resume(One),
}

#[derive(Debug, Args)]
struct One {
    /// The consumer, such as handler:console
    name: String,

    #[command(flatten)]
    server: Server,
}

#[derive(Deserialize)]
struct All {
    consumers: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Consumer {
    name: String,
    state: String,
    lag: u64,
    oldest_waiting: Option<String>,
    failing_since: Option<String>,
    #[serde(default)]
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
        match self.action {
            None => list(&self.server),
            Some(Action::Pause(one)) => one.run("pause"),
            Some(Action::Resume(one)) => one.run("resume"),
        }
    }
}

fn list(server: &Server) -> Outcome {
    let answer = server.get(&["api", "consumers"], &[])?;
    if server.json {
        answer.print_json()?;
        return Ok(Verdict::Yes);
    }
    let all: All = answer.read()?;
    match all.consumers.is_empty() {
        true => output::note("No consumer: no handler or subscription gets events."),
        false => output::print(&table(&all.consumers).text(terminal_width()))?,
    }
    Ok(Verdict::Yes)
}

fn table(consumers: &[Consumer]) -> Table<6> {
    let now = SystemClock.now();
    let age = |time: &Option<String>| match time {
        Some(time) => times::age(time, now),
        None => "-".to_owned(),
    };
    let mut table = Table::new(["NAME", "STATE", "LAG", "RUNNING", "OLDEST", "FAILING"]);
    for consumer in consumers {
        let cells = [
            &consumer.name,
            &consumer.state,
            &*consumer.lag.to_string(),
            &consumer.in_flight.to_string(),
            &age(&consumer.oldest_waiting),
            &age(&consumer.failing_since),
        ];
        match &consumer.suspended {
            None => table.row(cells),
            Some(suspended) => {
                let since = times::age(&suspended.since, now);
                let below = format!("suspended {since}: {}", suspended.reason);
                table.row_with(cells, &below);
            }
        }
    }
    table
}

impl One {
    fn run(self, action: &str) -> Outcome {
        let path = ["api", "consumers", &self.name, action];
        let answer = self.server.post(&path, &json!({}))?;
        match self.server.json {
            true => answer.print_json()?,
            false => output::print(&table(&[answer.read()?]).text(terminal_width()))?,
        }
        Ok(Verdict::Yes)
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook consumers                                Everybody, and how far each has come
  offhook consumers pause handler:console
  offhook consumers resume handler:console
  offhook consumers resume 'subscription:*:crm'    Quoted, as * means something to shells
  offhook consumers --json | jq '.consumers[] | select(.lag > 1000)'

Exit status: 0 done, 1 when there is no such one or the server cannot be asked, 2 usage.";
