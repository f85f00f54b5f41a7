//! `[[handlers]]`: the ready-made handlers.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;

use super::dispatch::{self, events};
use super::kinds::{by_name, file_path, one_of, text, texts, whole, write_path};
use super::spot::{Keys as _, Spot, keys};
use crate::dispatch::HandlerOptions;
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

pub(super) fn handler(spot: &Spot<'_>) -> Option<HandlerSettings> {
    spot.table(|table| {
        let name = table.required("name", text, "the handler's name in logs and metrics");
        let used = read_use(table);
        let mut options = HandlerOptions {
            events: table.read("events", events(&EventKind::ALL)).flatten(),
            sessions: table.read("sessions", sessions).flatten(),
            ..HandlerOptions::default()
        };
        dispatch::fill(&mut options, table);
        let mut settings = HandlerSettings::new(name?, used?);
        settings.options = options;
        Some(settings)
    })?
}

fn read_use(table: &Spot<'_>) -> Option<Use> {
    let names = ["log", "jsonl", "exec"].map(|name| (name, name));
    let used = table.required("use", one_of(&names), "one of log, jsonl, exec");
    let wrong = used.map(|_| "does not belong to this kind of handler");
    if used != Some("jsonl") {
        table.pass(wrong, read_jsonl);
    }
    if used != Some("exec") {
        table.pass(wrong, read_exec);
    }
    match used? {
        "jsonl" => read_jsonl(table),
        "exec" => read_exec(table),
        _ => Some(Use::Log),
    }
}

fn read_jsonl(table: &Spot<'_>) -> Option<Use> {
    let path = table.required("path", file_path, "the file to append to")?;
    Some(Use::Jsonl { path })
}

fn read_exec(table: &Spot<'_>) -> Option<Use> {
    let mut exec = Exec::default();
    exec.fill(table);
    Some(Use::Exec(exec))
}

keys!(Exec {
    command: command => "the program and its arguments: [\"prog\", \"arg\"]",
    env: env,
    reject_codes: reject_codes,
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
            spot.note_at(name, text);
        } else if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            let text = "no variable can have this name or value: no = in the name, no NUL";
            spot.note_at(name, text);
        }
    }
    Some(env)
}

fn reject_codes(spot: &Spot<'_>) -> Option<Vec<u8>> {
    let codes = spot.each("[64, 65]", whole(1..=255))?;
    if codes.contains(&75) {
        spot.note("has 75, which always means: try again");
    }
    Some(codes)
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
