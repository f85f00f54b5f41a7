//! `[dispatch]` and `[[handlers]]`: the options of every consumer, and the ready-made handlers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::kinds::{
    Variant, by_name, checked, duration, file_path, number, one_of, text, texts, variant, whole,
    write_path,
};
use super::spot::{Keys, Spot, keys};
use crate::dispatch::{HandlerOptions, Order, Retry};
use crate::{EventKind, Exec};

/// A ready-made handler.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct HandlerSettings {
    /// Its name in logs and metrics.
    pub name: String,
    /// Which handler it is.
    pub used: Use,
    /// Its filter, order, retries, timeout and concurrency.
    pub options: HandlerOptions,
}

/// The ready-made handlers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "use", rename_all = "lowercase")]
#[non_exhaustive]
pub enum Use {
    /// `use = "log"`: see [`LogHandler`](crate::LogHandler).
    Log,
    /// `use = "jsonl"`: see [`JsonlHandler`](crate::JsonlHandler).
    Jsonl {
        /// The file to append to.
        #[serde(serialize_with = "write_path")]
        path: PathBuf,
    },
    /// `use = "exec"`: see [`ExecHandler`](crate::ExecHandler).
    Exec(Exec),
}

impl HandlerSettings {
    /// A handler for all received events, with the options of `[dispatch]`.
    pub fn new(name: impl Into<String>, used: Use) -> Self {
        Self {
            name: name.into(),
            used,
            options: HandlerOptions::default(),
        }
    }
}

pub(super) fn handler(table: &Spot<'_>) -> Option<HandlerSettings> {
    let name = table.required("name", text, "the handler's name in logs and metrics");
    let used = variant(table, "use", Some("one of log, jsonl, exec"), &USES);
    let options = table.over(HandlerOptions {
        events: table.read("events", events(&EventKind::ALL)).flatten(),
        sessions: table.read("sessions", sessions).flatten(),
        ..HandlerOptions::default()
    });
    Some(HandlerSettings {
        name: name?,
        used: used?,
        options,
    })
}

const USES: [Variant<Use>; 3] = [
    ("log", |_| Some(Use::Log)),
    ("jsonl", |table| {
        let path = table.required("path", file_path, "the file to append to")?;
        Some(Use::Jsonl { path })
    }),
    ("exec", |table| Some(Use::Exec(table.over(Exec::default())))),
];

keys!(Exec {
    command: command => "the program and its arguments: [\"prog\", \"arg\"]",
    env: env,
    reject_codes: |spot: &Spot<'_>| {
        let wrong = "is 75, which always means: try again";
        spot.each("[64, 65]", checked(whole(1..=255), |code| *code != 75, wrong))
    },
});

fn command(spot: &Spot<'_>) -> Option<Vec<String>> {
    let command = texts(spot)?;
    if command.first().is_none_or(String::is_empty) {
        spot.note("is empty; it needs at least the program's name");
    }
    if command.iter().any(|part| part.contains('\0')) {
        spot.note("holds a NUL, which no argument can");
    }
    Some(command)
}

fn env(spot: &Spot<'_>) -> Option<BTreeMap<String, String>> {
    let env = by_name(text)(spot)?;
    for (name, value) in &env {
        if name.starts_with("OFFHOOK_") {
            let text = "names that begin with OFFHOOK_ are offhook's own";
            spot.at(name).note(text);
        } else if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let text = "no variable can have this name or value: no = in the name, no NUL";
            spot.at(name).note(text);
        }
    }
    Some(env)
}

/// Session ids; `None` for all sessions.
fn sessions(spot: &Spot<'_>) -> Option<Option<BTreeSet<String>>> {
    let sessions = texts(spot)?;
    if sessions.is_empty() {
        spot.note("is empty; leave it out for all sessions");
    }
    let all = sessions.iter().any(|session| session == "*");
    Some((!all).then(|| sessions.into_iter().collect()))
}

/// Reads kinds of events out of those that are allowed; `None` means all received kinds. The kinds that
/// offhook makes itself must be named, even beside `*`.
pub(super) fn events(
    allowed: &[EventKind],
) -> impl Fn(&Spot<'_>) -> Option<Option<BTreeSet<EventKind>>> {
    let names = allowed.iter().map(|kind| (kind.as_str(), Some(*kind)));
    let names: Vec<_> = names.chain([("*", None)]).collect();
    move |spot| {
        let named = spot.each("[\"message\", \"status\"]", one_of(&names))?;
        if named.is_empty() {
            spot.note("is empty; leave it out for all events");
        }
        let all = named.contains(&None);
        let mut kinds: BTreeSet<EventKind> = named.into_iter().flatten().collect();
        if all && kinds.iter().any(|kind| kind.is_own()) {
            kinds.extend(EventKind::RECEIVED);
        } else if all {
            return Some(None);
        }
        Some(Some(kinds))
    }
}

/// The keys that `[dispatch]`, each handler and each subscription can set.
impl Keys for HandlerOptions {
    fn fill(&mut self, table: &Spot<'_>) {
        let monotonic = one_of(&[("all", false), ("monotonic", true)]);
        self.order = table.read("order", one_of(&Order::ALL)).or(self.order);
        self.timeout = table.read("timeout", duration).or(self.timeout);
        self.monotonic = table.read("status", monotonic).or(self.monotonic);
        // `retry = { first = "1s", factor = 2.0, max = "5m", attempts = 12, jitter = 0.2 }`
        let retry = |spot: &Spot<'_>| spot.table(|table| table.over(Retry::default()));
        self.retry = table.read("retry", retry).or(self.retry);
        let concurrency = table.read("concurrency", whole(1..=100_000));
        self.concurrency = concurrency.or(self.concurrency);
        // `dead-letter` is the only action after the last attempt. The key may name it.
        table.read("on_exhausted", one_of(&[("dead-letter", ())]));
    }
}

keys!(Retry {
    first: duration,
    factor: number(1.0..=100.0),
    max: duration,
    attempts: whole(1..=1_000_000),
    jitter: number(0.0..=1.0),
});
