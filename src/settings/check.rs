//! What only the whole of the settings can tell.

use std::collections::{BTreeMap, BTreeSet};

use super::JournalSettings;
use super::journal::MAX_KEPT_BODY;
use super::problem::Notes;
use super::{Settings, Use};
use crate::Source;
use crate::error::{Problem, Problems};

/// The key that the gateway's documentation prints, which everybody knows.
pub const DOCUMENTED_KEY: &[u8] = b"your-secret-key";

const MIN_PATH_TOKEN: usize = 16;

impl Settings {
    /// Refuses what must not start. `shown` is where the settings are from.
    pub(crate) fn check(&self, shown: &str) -> Result<(), Problems> {
        let notes = Notes::default();
        let add = |key: &str, text: String| notes.add(format!("{shown}: {key}"), text);

        if self.server.max_in_flight < self.server.max_body {
            let text = "must be at least server.max_body, or the longest body never fits";
            add("server.max_in_flight", text.to_owned());
        }
        let kept = matches!(self.journal, JournalSettings::Sqlite { .. });
        if kept && self.server.max_body > MAX_KEPT_BODY {
            let text = "is more than journal.engine = \"sqlite\" can keep; at most 512 MiB";
            add("server.max_body", text.to_owned());
        }
        if let Some(admin) = &self.admin {
            if admin.token.is_none() && !admin.bind.ip().is_loopback() {
                let text = format!(
                    "{} is not loopback, and there is no admin.token: set one, or bind 127.0.0.1",
                    admin.bind
                );
                add("admin.bind", text);
            }
            if admin.bind == self.server.bind && admin.bind.port() != 0 {
                add("admin.bind", format!("{} is server.bind too", admin.bind));
            }
        }
        if self.sources.is_empty() {
            let text = "there is none, so nobody may send; add one with a name and secrets";
            add("sources", text.to_owned());
        }
        for (index, source) in self.sources.iter().enumerate() {
            let key = format!("sources[{index}]");
            for text in self.source_problems(source) {
                add(&key, format!("{}: {text}", source.name));
            }
        }
        let mut told = BTreeSet::new();
        for (path, names) in self.paths() {
            // Two sources on one path share the pattern for sessions too.
            if names.len() > 1 && told.insert(names.clone()) {
                add(
                    "sources",
                    format!("{} have the same path {path}", names.join(" and ")),
                );
            }
        }
        repeated(self.sources.iter().map(|source| &source.name), |name| {
            add("sources", format!("two sources have the name {name:?}"));
        });
        let files = self
            .handlers
            .iter()
            .filter_map(|handler| match &handler.used {
                Use::Jsonl { path } => Some(path.display().to_string()),
                _ => None,
            });
        let files: Vec<String> = files.collect();
        repeated(files.iter(), |path| {
            add("handlers", format!("two handlers write to {path}"));
        });
        repeated(self.handlers.iter().map(|handler| &handler.name), |name| {
            add("handlers", format!("two handlers have the name {name:?}"));
        });
        {
            self.check_subscriptions(&add);
            self.check_gateways(&add);
        }
        notes.into_result()
    }

    fn check_subscriptions(&self, add: &impl Fn(&str, String)) {
        let guard = self.relay.options.guard();
        for (index, subscription) in self.subscriptions.iter().enumerate() {
            let key = format!("subscriptions[{index}]");
            for text in subscription.problems(&guard) {
                add(&key, format!("{}: {text}", subscription.name));
            }
        }
        let names = self.subscriptions.iter().map(|subscription| {
            let (name, session) = (&subscription.name, &subscription.session);
            format!("{name:?} to session {session:?}")
        });
        let names: Vec<String> = names.collect();
        repeated(names.iter(), |name| {
            add("subscriptions", format!("two are {name}"));
        });
        if self.journal == JournalSettings::None && !self.subscriptions.is_empty() {
            let text = "journal.engine is none, which keeps nothing until a subscriber has it; \
                        take it out, or the subscriptions";
            add("subscriptions", text.to_owned());
        }
    }

    fn check_gateways(&self, add: &impl Fn(&str, String)) {
        repeated(self.gateways.iter().map(|gateway| &gateway.name), |name| {
            add("gateways", format!("two gateways have the name {name:?}"));
        });
        let told = self.gateways.iter().flat_map(|gateway| {
            let url = gateway.gateway.url();
            gateway
                .sessions
                .iter()
                .map(move |id| format!("{id:?} at {url}"))
        });
        let told: Vec<String> = told.collect();
        repeated(told.iter(), |session| {
            add(
                "gateways",
                format!("two of them register the session {session}"),
            );
        });
    }

    fn source_problems(&self, source: &Source) -> Vec<String> {
        let mut texts = Vec::from_iter(path_problem(&source.path));
        let own = source
            .sessions
            .iter()
            .flat_map(|(_, secrets)| secrets.iter());
        let mut secrets = source.secrets.iter().chain(own).peekable();
        if let Some(token) = &source.path_token {
            if token.expose().len() < MIN_PATH_TOKEN {
                texts.push(format!(
                    "path_token is shorter than {MIN_PATH_TOKEN} characters"
                ));
            }
            if !token
                .expose()
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte))
            {
                texts.push("path_token may hold letters, digits and - _ . ~ only".to_owned());
            }
        } else if secrets.peek().is_none() {
            let text = "no secret, so nothing it sends can be verified; set secrets, or unsigned with a path_token";
            texts.push(text.to_owned());
        }
        if secrets.any(|secret| secret.is(DOCUMENTED_KEY)) && !self.server.bind.ip().is_loopback() {
            texts.push(format!(
                "its secret is the one printed in the gateway's documentation, which everybody knows, \
                 and server.bind {} is open to others: set a secret of your own",
                self.server.bind
            ));
        }
        texts
    }

    /// The sources by the patterns of their paths, names of parameters left out.
    fn paths(&self) -> BTreeMap<String, Vec<&str>> {
        let mut paths: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for source in &self.sources {
            for pattern in source.patterns() {
                let pattern = pattern
                    .replace("{session}", "{…}")
                    .replace("{token}", "{…}");
                let names = paths.entry(pattern).or_default();
                names.push(&source.name);
            }
        }
        paths
    }
}

fn path_problem(path: &str) -> Option<String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.~".contains(c);
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    let good = segments.is_some_and(|mut segments| segments.all(|segment| !segment.is_empty()));
    (!good || !path.chars().all(plain)).then(|| {
        format!(
            "path: found {path:?}, expected a path such as \"/webhook\": letters, digits, - _ . ~ \
             between slashes, none at the end"
        )
    })
}

fn repeated<'a>(names: impl Iterator<Item = &'a String>, mut report: impl FnMut(&str)) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    for (name, count) in counts {
        if count > 1 {
            report(name);
        }
    }
}

/// The problem of a handler registered twice, found when code and file meet.
pub(crate) fn same_handler(name: &str) -> Problems {
    Problems::one(Problem {
        place: "handlers".to_owned(),
        text: format!("two handlers have the name {name:?}"),
    })
}
