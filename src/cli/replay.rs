//! `offhook replay`: hands over events again.

mod plan;

use clap::Args;
use http::Method;
use offhook::clock::{Clock as _, SystemClock};
use offhook::{EventKind, Timestamp, escape_controls};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};

use super::admin::{self, Server, kinds};
use super::output::{self, Failure, Outcome, Verdict, counted};
use plan::{Planned, Preview};

/// Hand events that were received before over again
///
/// They keep their ids, so a handler that remembers ids can recognize them, and their attempts start
/// again at 1. A replay goes on after this command has ended. With --rate, or of more than 1,000 events, it is
/// named: `replays` shows how far it is, and cancels it.
#[derive(Args, Serialize)]
#[command(after_help = EXAMPLES)]
pub(super) struct Replay {
    /// The event; without it, all that match the options
    #[arg(conflicts_with_all = ["session", "event", "from", "to", "rate", "all"])]
    #[serde(skip)]
    id: Option<String>,

    /// Only to this consumer, such as handler:console
    #[arg(long, value_name = "NAME")]
    consumer: Option<String>,

    /// Only those of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Only those of this kind
    #[arg(long, value_name = "KIND", value_parser = kinds(EventKind::ALL))]
    event: Option<String>,

    /// Only those received since: 2025-01-08T12:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "T", value_parser = moment)]
    from: Option<Timestamp>,

    /// Only those received before; written like --from
    #[arg(long, value_name = "T", value_parser = moment)]
    to: Option<Timestamp>,

    /// Events per second, up to 1000000; without it, as fast as they are handled
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: Option<u32>,

    /// Everything that is kept
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all: bool,

    /// Only say what would be done: how many events, how large, to which consumers. With --json that is a plan
    #[arg(long)]
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,

    /// Do exactly what was shown: a file with what --dry-run --json has printed up to ten minutes ago, or -
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["id", "consumer", "session", "event", "from", "to", "rate", "all", "dry_run"])]
    #[serde(skip)]
    plan: Option<String>,

    #[command(flatten)]
    #[serde(skip)]
    server: Server,
}

pub(super) fn moment(text: &str) -> Result<Timestamp, String> {
    time_or_age(text, SystemClock.now())
}

/// Parses a time in RFC 3339, or how long it was before `now`.
fn time_or_age(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = text.parse() {
        return Ok(time);
    }
    let age = humantime::parse_duration(text).ok();
    let time = age.and_then(|age| now.checked_sub(age).ok());
    time.ok_or_else(|| {
        "expected a time such as 2025-01-08T12:00:00Z, or how long ago, such as 2h or 3days"
            .to_owned()
    })
}

impl Replay {
    pub(super) fn run(self) -> Outcome {
        if let Some(file) = &self.plan {
            let planned = Planned::read(file)?;
            return replay(&self.server, &["api", "replay"], &planned, false);
        }
        self.check()?;
        let path = match &self.id {
            Some(id) => &["api", "events", id, "replay"][..],
            None => &["api", "replay"],
        };
        replay(&self.server, path, &self, self.id.is_some())
    }

    fn check(&self) -> Result<(), Failure> {
        let texts = [&self.id, &self.consumer, &self.session, &self.event];
        let times = [self.from, self.to];
        let chosen = texts.iter().any(|text| text.is_some()) || times.iter().any(Option::is_some);
        if !chosen && !self.all && !self.dry_run {
            return Err(Failure::usage(
                "which ones? Give an ID, --consumer, --session, --event, --from or --to, or --all \
                 for everything that is kept; --dry-run only says how many there are",
            ));
        }
        match times {
            [Some(from), Some(to)] if from >= to => Err(Failure::usage(
                "--from is not before --to, so there is nothing between them",
            )),
            _ => Ok(()),
        }
    }
}

/// Asks for a replay and shows the answer. The verdict is no if one event was `named` and does not exist, or
/// if all that matches was left out.
pub(super) fn replay(
    server: &Server,
    path: &[&str],
    which: &impl Serialize,
    named: bool,
) -> Outcome {
    let answer = server.ask(Method::POST, path, which)?;
    let replayed: Replayed = admin::read(&answer)?;
    let LeftOut { left_out } = admin::read(&answer)?;
    // Only a dry run of many has it.
    let preview: Option<Preview> = admin::read(&answer).ok();
    server.show(&answer, |_: IgnoredAny| {
        output::print(&replayed.text())?;
        if let Some(preview) = preview {
            preview.print()?;
        }
        for left_out in &left_out {
            output::note(&left_out.text());
        }
        Ok(())
    })?;
    let nothing_done = !left_out.is_empty() && replayed.is_none();
    Ok(Verdict::from((!named || replayed.found()) && !nothing_done))
}

/// What an answer says of events that are not handed over.
#[derive(Deserialize)]
struct LeftOut {
    #[serde(default)]
    left_out: Vec<LeftOutConsumer>,
}

#[derive(Deserialize)]
struct LeftOutConsumer {
    consumer: String,
    events: u64,
    /// Missing in the answer of an older server.
    reason: Option<String>,
}

impl LeftOutConsumer {
    fn text(&self) -> String {
        let (events, name) = (
            counted(self.events, "event"),
            escape_controls(&self.consumer),
        );
        let reason = self.reason.as_deref();
        let reason = escape_controls(reason.unwrap_or("see `offhook consumers`"));
        format!("left out: {events} of {name}, which does not run: {reason}")
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Replayed {
    /// A replay of many events goes on after the answer, under this id.
    GoesOn {
        replay: String,
        matched: u64,
    },
    Done {
        matched: u64,
        replayed: u64,
    },
}

impl Replayed {
    /// Whether there was an event to replay.
    fn found(&self) -> bool {
        match self {
            Self::GoesOn { matched, .. } | Self::Done { matched, .. } => *matched > 0,
        }
    }

    /// Whether nothing is handed over.
    fn is_none(&self) -> bool {
        matches!(self, Self::Done { replayed: 0, .. })
    }

    fn text(&self) -> String {
        let events = |count| counted(count, "event");
        let (matched, replayed) = match self {
            Self::GoesOn { replay, matched } => {
                let (events, id) = (events(*matched), escape_controls(replay));
                return format!(
                    "replaying {events} as {id}; `offhook replays` shows how far it is"
                );
            }
            Self::Done { matched, replayed } => (*matched, *replayed),
        };
        match (matched, replayed) {
            (0, _) => "no event matches".to_owned(),
            (1, 0) => "1 event matches; it was not replayed".to_owned(),
            (matched, 0) => format!("{} match; none was replayed", events(matched)),
            (matched, replayed) if matched == replayed => format!("replayed {}", events(matched)),
            (matched, replayed) => format!("replayed {replayed} of {}", events(matched)),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  offhook replay 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
                                                   This event, to each consumer that takes it
  offhook replay --consumer handler:console --from 2h
                                                   What came in the last two hours, to one handler
  offhook replay --event message --from 2025-01-08T12:00:00Z --to 2025-01-08T13:00:00Z --dry-run
                                                   Only say how many that would be
  offhook replay --all --rate 100                  Everything that is kept, 100 events a second
  offhook replay --from 2h --dry-run --json > plan.json
  offhook replay --plan plan.json                  Exactly what was shown; nothing if that has changed

Exit status: 0 done, 1 when there is no such event, a plan has changed, is used or too old, or the server
cannot be asked, 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_it() {
        let table = [
            (0, 0, "no event matches"),
            (1, 0, "1 event matches; it was not replayed"),
            (3, 0, "3 events match; none was replayed"),
            (1, 1, "replayed 1 event"),
            (3, 2, "replayed 2 of 3 events"),
        ];
        for (matched, replayed, text) in table {
            assert_eq!(Replayed::Done { matched, replayed }.text(), text);
        }
    }

    #[test]
    fn times_and_ages() {
        let now = "2025-01-08T12:00:00Z".parse().unwrap();
        let table = [
            ("2025-01-08T14:30:00+02:00", "2025-01-08T12:30:00Z"),
            ("2025-01-01T00:00:00.5Z", "2025-01-01T00:00:00.5Z"),
            ("2h", "2025-01-08T10:00:00Z"),
            ("1day 30m", "2025-01-07T11:30:00Z"),
        ];
        for (text, time) in table {
            assert_eq!(time_or_age(text, now), Ok(time.parse().unwrap()), "{text}");
        }
        for odd in ["", "2", "yesterday", "2025-01-08", "-2h", "99999999years"] {
            assert!(time_or_age(odd, now).unwrap_err().contains("2h"), "{odd}");
        }
    }
}
