//! `[[handlers]]` and `[dispatch]`: what runs for each event, and how.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::read::Table;
use crate::dispatch::{HandlerOptions, Order, Retry};
use crate::{EventKind, Exec};

/// A ready-made handler to run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct HandlerSettings {
    /// Its name in logs and metrics.
    pub name: String,
    /// Which handler it is.
    pub used: Use,
    /// Which events it wants, and how.
    pub options: HandlerOptions,
}

/// The ready-made handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Use {
    /// `use = "log"`: see [`LogHandler`](crate::LogHandler).
    Log,
    /// `use = "jsonl"`: see [`JsonlHandler`](crate::JsonlHandler).
    Jsonl {
        /// The file to append to.
        path: PathBuf,
    },
    /// `use = "exec"`: see [`ExecHandler`](crate::ExecHandler).
    Exec(Exec),
}

pub(super) fn read(table: &Table<'_>) -> Option<HandlerSettings> {
    let name = table.required("name", "the handler's name in logs and metrics");
    let used = read_use(table);
    let options = HandlerOptions {
        events: read_events(table, &EventKind::ALL),
        sessions: read_sessions(table),
        ..read_dispatch_keys(table, HandlerOptions::default())
    };
    table.finish();
    Some(HandlerSettings {
        name: name?,
        used: used?,
        options,
    })
}

/// `[dispatch]`: the defaults of all handlers.
pub(super) fn read_dispatch(table: &Table<'_>, defaults: HandlerOptions) -> HandlerOptions {
    let options = read_dispatch_keys(table, defaults);
    table.finish();
    options
}

pub(super) fn read_dispatch_keys(table: &Table<'_>, mut options: HandlerOptions) -> HandlerOptions {
    options.order = table.one_of("order", &Order::ALL).or(options.order);
    options.timeout = table.duration("timeout").or(options.timeout);
    options.concurrency = table
        .integer("concurrency", 1, 100_000)
        .or(options.concurrency);
    if let Some(retry) = table.table("retry") {
        options.retry = Some(read_retry(&retry, options.retry.unwrap_or_default()));
    }
    // There is one thing to do with what has failed for the last time; it may be said.
    table.one_of("on_exhausted", &[("dead-letter", ())]);
    let status = table.one_of("status", &[("all", false), ("monotonic", true)]);
    options.monotonic = status.or(options.monotonic);
    options
}

/// `retry = { first = "1s", factor = 2.0, max = "5m", attempts = 12, jitter = 0.2 }`
fn read_retry(table: &Table<'_>, mut retry: Retry) -> Retry {
    retry.first = table.duration("first").unwrap_or(retry.first);
    retry.factor = table.number("factor", 1.0, 100.0).unwrap_or(retry.factor);
    retry.max = table.duration("max").unwrap_or(retry.max);
    let attempts = table.integer("attempts", 1, 1_000_000);
    retry.attempts = attempts
        .and_then(|n| u32::try_from(n).ok())
        .unwrap_or(retry.attempts);
    retry.jitter = table.number("jitter", 0.0, 1.0).unwrap_or(retry.jitter);
    table.finish();
    retry
}

fn read_use(table: &Table<'_>) -> Option<Use> {
    let used = table.required("use", "one of log, jsonl, exec")?;
    let (used, own): (_, &[&str]) = match used.as_str() {
        "log" => (Some(Use::Log), &[]),
        "jsonl" => {
            let path = table.required("path", "the file to append to");
            (path.map(|path| Use::Jsonl { path: path.into() }), &["path"])
        }
        "exec" => (
            read_exec(table).map(Use::Exec),
            &["command", "env", "reject_codes"],
        ),
        other => {
            table.problem("use", format!("found {other:?}; allowed: log, jsonl, exec"));
            return None;
        }
    };
    for key in ["path", "command", "env", "reject_codes"] {
        if !own.contains(&key) && table.has(key) {
            table.problem(key, "does not belong to this kind of handler");
        }
    }
    used
}

fn read_exec(table: &Table<'_>) -> Option<Exec> {
    if !table.has("command") {
        table.problem(
            "command",
            "is missing; it is the program and its arguments: [\"prog\", \"arg\"]",
        );
    }
    let command = table.strings("command")?;
    if command.first().is_none_or(String::is_empty) {
        table.problem("command", "is empty; it needs at least the program's name");
        return None;
    }
    let mut env = BTreeMap::new();
    if let Some(variables) = table.table("env") {
        for (name, value) in variables.texts() {
            if name.starts_with("OFFHOOK_") {
                let text = "names that begin with OFFHOOK_ are offhook's own";
                variables.problem(name, text);
            } else if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
                let text = "no variable can have this name or value: no = in the name, no NUL";
                variables.problem(name, text);
            }
            env.insert(name.to_owned(), value);
        }
    }
    if command.iter().any(|part| part.contains('\0')) {
        table.problem("command", "holds a NUL, which no argument can");
    }
    let codes = table.integers("reject_codes", 1, 255).unwrap_or_default();
    if codes.contains(&75) {
        table.problem("reject_codes", "has 75, which always means: try again");
    }
    let reject_codes = codes.into_iter().filter_map(|code| u8::try_from(code).ok());
    Some(Exec {
        command,
        env,
        reject_codes: reject_codes.collect(),
    })
}

/// The kinds in `events`, of those that are allowed; `None` for all that are received. Those that
/// offhook makes itself must be named, beside `*` too.
pub(super) fn read_events(table: &Table<'_>, allowed: &[EventKind]) -> Option<BTreeSet<EventKind>> {
    let names = table.strings("events")?;
    if names.is_empty() {
        table.problem("events", "is empty; leave it out for all events");
    }
    let (all, named): (Vec<_>, Vec<_>) = names.iter().partition(|name| *name == "*");
    let kinds = named.into_iter().filter_map(|name| match name.parse() {
        Ok(kind) if allowed.contains(&kind) => Some(kind),
        _ => {
            let allowed: Vec<&str> = allowed.iter().map(|kind| kind.as_str()).collect();
            let allowed = allowed.join(", ");
            table.problem("events", format!("found {name:?}; allowed: {allowed}, *"));
            None
        }
    });
    let mut kinds: BTreeSet<EventKind> = kinds.collect();
    if !all.is_empty() {
        if !kinds.iter().any(|kind| kind.is_own()) {
            return None;
        }
        kinds.extend(EventKind::RECEIVED);
    }
    Some(kinds)
}

/// The ids in `sessions`; `None` for all of them.
fn read_sessions(table: &Table<'_>) -> Option<BTreeSet<String>> {
    let sessions = table.strings("sessions")?;
    if sessions.iter().any(|session| session == "*") {
        return None;
    }
    if sessions.is_empty() {
        table.problem("sessions", "is empty; leave it out for all sessions");
    }
    Some(sessions.into_iter().collect())
}
