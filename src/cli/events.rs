//! `offhook events`: the events of a running server, and their states.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use indicatif::HumanDuration;
use offhook::clock::{Clock as _, SystemClock};
use offhook::{EventKind, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::admin::{Server, kinds};
use super::body::{block, body};
use super::delete::Delete;
use super::output::{self, Failure, Outcome, counted, fact};
use super::replay::moment;
use super::table::{Row, age};

/// List what was received, newest first, show one event and what became of it, or delete events
///
/// An event is pending until every handler and subscription has settled it, retrying while one of them
/// fails, dead when one has given up on it (see `dead`), a duplicate if it is the same as an earlier one, and
/// done otherwise.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Events {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    list: List,

    #[command(flatten)]
    server: Server,
}

#[derive(Subcommand)]
enum Action {
    Delete(Delete),
}

#[derive(Args, Serialize)]
struct List {
    /// The event to show, with its timeline and its body: its id, or 8 characters or more of its beginning;
    /// without it, a list
    #[arg(conflicts_with_all = ["session", "event", "state", "source", "name", "from", "to", "before", "limit"])]
    #[serde(skip)]
    id: Option<String>,

    /// Only those of this session
    #[arg(long, value_name = "ID")]
    session: Option<String>,

    /// Only those of this kind
    #[arg(long, value_name = "KIND", value_parser = kinds(EventKind::ALL))]
    event: Option<String>,

    /// Only those in this state; duplicates are done too
    #[arg(long, value_parser = ["pending", "done", "retrying", "dead", "duplicate"])]
    state: Option<String>,

    /// Only those of this source
    #[arg(long, value_name = "NAME")]
    source: Option<String>,

    /// Only those with this name in the body
    #[arg(long, value_name = "NAME")]
    name: Option<String>,

    /// Only those whose body has this text, up to 128 bytes, exactly as it came. Bodies are read for it, newest first
    #[arg(long, value_name = "TEXT")]
    contains: Option<String>,

    /// Only those received since: 2025-01-08T12:00:00Z, or how long ago, such as 2h
    #[arg(long, value_name = "T", value_parser = moment, alias = "since")]
    from: Option<Timestamp>,

    /// Only those received before; written like --from
    #[arg(long, value_name = "T", value_parser = moment)]
    to: Option<Timestamp>,

    /// Only those before this event
    #[arg(long, value_name = "ID")]
    before: Option<String>,

    /// How many, up to 500
    #[arg(long, default_value_t = PAGE, value_parser = clap::value_parser!(u16).range(1..=500))]
    limit: u16,
}

impl List {
    /// Whether the command line says which events are shown.
    fn is_narrowed(&self) -> bool {
        let options = [
            &self.id,
            &self.session,
            &self.event,
            &self.state,
            &self.source,
            &self.name,
            &self.before,
        ];
        let times = [self.from, self.to];
        options.into_iter().any(Option::is_some)
            || times.iter().any(Option::is_some)
            || self.limit != PAGE
    }
}

impl Events {
    pub(super) fn run(self) -> Outcome {
        if let Some(Action::Delete(delete)) = self.action {
            if self.list.is_narrowed() {
                return Err(Failure::usage(
                    "delete takes an ID or --session, --sender and --dry-run, which follow it",
                ));
            }
            return delete.run(&self.server);
        }
        if let Some(id) = &self.list.id {
            let answer = self.server.ask(Method::GET, &["api", "events", id], &())?;
            let print = |event: Event| output::print(&event.text(SystemClock.now()));
            return self.server.show(&answer, print);
        }
        let (path, none) = (["api", "events"], "No event.");
        let headings = ["ID", "RECEIVED", "STATE", "SOURCE", "EVENT", "SESSION"];
        self.server
            .list(&path, &self.list, headings, Event::row, none)
    }
}

/// What the server knows of an event. Only a request for a single event returns timeline and body.
#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(default)]
    source: String,
    session: Option<String>,
    /// Its kind.
    #[serde(default)]
    event: String,
    /// The event's name in the body.
    name: Option<String>,
    received_at: String,
    #[serde(default)]
    bytes: u64,
    #[serde(default)]
    state: String,
    /// When it was deleted: then only its id and times are known.
    deleted_at: Option<String>,
    duplicate_of: Option<String>,
    /// Why it is unusual.
    odd: Option<String>,
    #[serde(default)]
    timeline: Vec<Step>,
    /// What a handler gets.
    #[serde(default)]
    typed: Vec<Box<RawValue>>,
    body: Option<Box<RawValue>>,
    body_base64: Option<String>,
}

#[derive(Deserialize)]
struct Step {
    at: String,
    what: String,
    consumer: Option<String>,
    attempt: Option<u32>,
    outcome: Option<String>,
    took_ms: Option<u64>,
    /// The beginning of what the subscriber has answered.
    answer: Option<String>,
}

impl Event {
    fn row(self, now: Timestamp) -> Row<6> {
        let received = age(&self.received_at, now);
        let is_unknown = self.event == "unknown";
        // The name in the body says more than the kind `unknown`.
        let label = match self.name {
            Some(name) if is_unknown && !name.is_empty() => name,
            _ => self.event,
        };
        let state = match self.duplicate_of {
            Some(_) => "duplicate".to_owned(),
            None => self.state,
        };
        let session = self.session.unwrap_or_default();
        let cells = [self.id, received, state, self.source, label, session];
        Row {
            cells,
            below: self.odd.map(|odd| format!("odd: {odd}")),
        }
    }

    fn text(&self, now: Timestamp) -> String {
        let age = age(&self.received_at, now);
        let at = self.received_at.parse::<Timestamp>().ok();
        let received = at.map(|at| format!("{at:.0} ({age})")).unwrap_or(age);
        let size = counted(self.bytes, "byte");
        let is_there = self.deleted_at.is_none();
        let fields = [
            ("id", Some(&self.id)),
            ("source", Some(&self.source).filter(|_| is_there)),
            ("session", self.session.as_ref()),
            ("event", Some(&self.event).filter(|_| is_there)),
            ("name", self.name.as_ref()),
            ("received", Some(&received)),
            ("deleted", self.deleted_at.as_ref()),
            ("size", Some(&size).filter(|_| is_there)),
            ("state", Some(&self.state).filter(|_| is_there)),
            ("duplicate of", self.duplicate_of.as_ref()),
            ("odd", self.odd.as_ref()),
        ];
        let mut lines = Vec::new();
        for (name, value) in fields {
            lines.extend(value.map(|value| fact(name, value)));
        }
        let timeline = self.timeline.iter().flat_map(|step| step.lines(at));
        let timeline: Vec<_> = timeline.collect();
        if !timeline.is_empty() {
            lines.push(block("timeline", timeline.iter().map(String::as_str)));
        }
        if !self.typed.is_empty() {
            lines.push(block("typed", self.typed.iter().map(|typed| typed.get())));
        }
        lines.extend(body(self.body.as_deref(), self.body_base64.as_deref()));
        lines.join("\n")
    }
}

impl Step {
    /// `2025-01-08T12:00:00Z    +12ms  handler:console, attempt 1, 3ms: done`, and below it the answer.
    fn lines(&self, received: Option<Timestamp>) -> Vec<String> {
        let time = self.at.parse::<Timestamp>().ok();
        let at = time.map_or(self.at.clone(), |time| format!("{time:.0}"));
        let times = time.zip(received);
        let after = times.map_or(String::new(), |(time, received)| later(time, received));
        let what = (self.what != "attempt").then(|| self.what.clone());
        let attempt = self.attempt.map(|attempt| format!("attempt {attempt}"));
        let took = { self.took_ms }.map(|took| span(Duration::from_millis(took)));
        let parts = [what, self.consumer.clone(), attempt, took];
        let text = parts.into_iter().flatten().collect::<Vec<_>>().join(", ");
        let line = match &self.outcome {
            Some(outcome) => format!("{at}  {after:>7}  {text}: {outcome}"),
            None => format!("{at}  {after:>7}  {text}"),
        };
        let answer = { self.answer.iter() }.map(|answer| format!("{:31}answered: {answer}", ""));
        std::iter::once(line).chain(answer).collect()
    }
}

/// The difference to an earlier time: `+12ms`, `+119s`, `+30m`.
fn later(time: Timestamp, than: Timestamp) -> String {
    match Duration::try_from(time.duration_since(than)) {
        Ok(later) => format!("+{}", span(later)),
        Err(_) => String::new(),
    }
}

fn span(span: Duration) -> String {
    match span {
        exact if exact < Duration::from_secs(10) => format!("{}ms", exact.as_millis()),
        fair if fair < Duration::from_secs(600) => format!("{}s", fair.as_secs()),
        long => format!("{:#}", HumanDuration(long)),
    }
}

const PAGE: u16 = 50;

const EXAMPLES: &str = "\
Examples:
  offhook events                                   The newest 50
  offhook events --state dead --limit 10           What a consumer has given up on
  offhook events --session 408f7372-f7c9-4299-a8db-326bc5548a73 --event message
  offhook events 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
                                                   One of them, its timeline and its body
  offhook events delete 0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17
                                                   Deletes it for good
  offhook events --json | jq -r '.events[].id'
  offhook events --admin https://hooks.example.com:5001 --token file:/run/secrets/admin

Exit status: 0 shown or deleted, 1 when the server cannot be asked or refuses, 2 usage.";

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde_json::{Value, json};

    use super::*;

    fn text(more: &Value) -> String {
        let mut event = json!({
            "id": "0198f9a2", "source": "codeskytz", "session": "408f", "event": "message",
            "name": "message", "received_at": "2025-01-08T12:00:00.250Z", "bytes": 22,
            "state": "done",
        });
        let fields = event.as_object_mut().unwrap();
        fields.extend(more.as_object().unwrap().clone());
        let event: Event = serde_json::from_str(&event.to_string()).unwrap();
        let text = event.text("2025-01-08T12:03:00Z".parse().unwrap());
        anstream::adapter::strip_str(&text).to_string()
    }

    #[test]
    fn everything_that_is_known() {
        let steps = json!([
            { "at": "2025-01-08T12:00:00.250Z", "what": "received" },
            { "at": "2025-01-08T12:00:00.262Z", "what": "attempt", "consumer": "handler:crm",
              "attempt": 1, "outcome": "retry: no\u{1b}[2Jline\nforged", "took_ms": 9,
              "answer": "no such\ncustomer\u{7}" },
            { "at": "2025-01-08T12:02:00Z", "what": "dead", "consumer": "handler:crm" },
        ]);
        let expected = "\
id            0198f9a2
source        codeskytz
session       408f
event         message
name          message
received      2025-01-08T12:00:00Z (3m ago)
size          22 bytes
state         done

timeline
  2025-01-08T12:00:00Z     +0ms  received
  2025-01-08T12:00:00Z    +12ms  handler:crm, attempt 1, 9ms: retry: no\\u{001b}[2Jline\\nforged
                                 answered: no such\\ncustomer\\u{0007}
  2025-01-08T12:02:00Z    +119s  dead, handler:crm

body
  {\"a\":\"\\u001b\"}";
        let body = json!({ "a": "\u{1b}" });
        assert_eq!(text(&json!({ "timeline": steps, "body": body })), expected);
    }

    #[test]
    fn what_is_left_of_a_deleted_event() {
        let event = json!({
            "id": "0198f9a2", "received_at": "2025-01-08T12:00:00Z",
            "deleted_at": "2025-01-08T12:01:00Z",
            "timeline": [{ "at": "2025-01-08T12:01:00Z", "what": "deleted" }],
        });
        let event: Event = serde_json::from_value(event).unwrap();
        let text = event.text("2025-01-08T12:03:00Z".parse().unwrap());
        let expected = "\
id            0198f9a2
received      2025-01-08T12:00:00Z (3m ago)
deleted       2025-01-08T12:01:00Z

timeline
  2025-01-08T12:01:00Z     +60s  deleted";
        assert_eq!(anstream::adapter::strip_str(&text).to_string(), expected);
    }

    #[test]
    fn why_an_event_is_odd() {
        let odd = text(&json!({ "odd": "the path names\nthe session \"A\"" }));
        let line = "odd           the path names\\nthe session \"A\"";
        assert!(odd.lines().any(|shown| shown == line), "{odd}");
    }

    #[test]
    fn the_list_says_why_too() {
        let event = json!({
            "id": "1", "source": "s", "session": null, "event": "unknown", "received_at": "", "bytes": 1,
            "state": "done", "odd": "not a JSON object",
        });
        let event: Event = serde_json::from_value(event).unwrap();
        let below = event.row(Timestamp::UNIX_EPOCH).below;
        assert_eq!(below.as_deref(), Some("odd: not a JSON object"));
    }

    #[test]
    fn bodies_that_are_no_json() {
        let body = |bytes: &[u8]| text(&json!({ "body_base64": STANDARD.encode(bytes) }));
        let form = body(b"a=1\nstate  dead\x1b");
        assert!(
            form.ends_with("\n\nbody, no JSON\n  a=1\n  state  dead\\u{001b}"),
            "{form}"
        );
        let odd = body(b"\xff\xfe");
        assert!(
            odd.ends_with("\n\nbody in base64, no text\n  //4="),
            "{odd}"
        );
    }

    #[test]
    fn an_unknown_kind_shows_the_bodys_own_name() {
        let label = |event: &str| {
            let event = json!({
                "id": "1", "source": "s", "session": null, "event": event, "name": "groups.upsert",
                "received_at": "", "bytes": 1, "state": "done",
            });
            let event: Event = serde_json::from_value(event).unwrap();
            let [.., label, _] = event.row(Timestamp::UNIX_EPOCH).cells;
            label
        };
        assert_eq!(label("unknown"), "groups.upsert");
        assert_eq!(label("message"), "message");
    }

    #[test]
    fn differences_to_an_earlier_time() {
        let table = [
            ("2025-01-08T11:59:59Z", ""),
            ("2025-01-08T12:00:00.012Z", "+12ms"),
            ("2025-01-08T12:01:00Z", "+60s"),
            ("2025-01-08T12:30:00Z", "+30m"),
            ("2025-01-09T12:00:00Z", "+24h"),
        ];
        for (time, expected) in table {
            let than = "2025-01-08T12:00:00Z".parse().unwrap();
            assert_eq!(later(time.parse().unwrap(), than), expected, "{time}");
        }
    }
}
