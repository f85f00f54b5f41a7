//! Checks that need all settings together.

use std::collections::{BTreeMap, BTreeSet};

use super::handlers::Use;
use super::journal::{JournalSettings, MAX_KEPT_BODY};
use super::problem::Notes;
use super::root::Settings;
use crate::Source;
use crate::error::{Problem, Problems};

/// The key printed in the gateway's documentation. It is not a secret.
pub const DOCUMENTED_KEY: &[u8] = b"your-secret-key";

const MIN_PATH_TOKEN: usize = 16;

impl Settings {
    /// Checks settings that were read or made. `shown` names where they come from.
    pub(crate) fn check(&self, shown: &str) -> Result<(), Problems> {
        let notes = Notes::new(shown);
        self.judge(&notes);
        notes.into_result()
    }

    /// Notes every reason why these settings must not be used.
    pub(super) fn judge(&self, notes: &Notes) {
        self.judge_listeners(notes);
        self.judge_sources(notes);
        self.judge_handlers(notes);
        self.judge_subscriptions(notes);
        self.judge_gateways(notes);
    }

    fn judge_listeners(&self, notes: &Notes) {
        if self.server.max_in_flight < self.server.max_body {
            let text = "must be at least server.max_body, or the longest body never fits";
            notes.add("server.max_in_flight", text);
        }
        let kept = matches!(self.journal, JournalSettings::Sqlite(_));
        if kept && self.server.max_body > MAX_KEPT_BODY {
            let text = "is more than journal.engine = \"sqlite\" can keep; at most 512 MiB";
            notes.add("server.max_body", text);
        }
        let Some(admin) = &self.admin else { return };
        let bind = admin.bind;
        if admin.token.is_none() && !bind.ip().is_loopback() {
            let text = "is not loopback, and there is no admin.token: set one, or bind 127.0.0.1";
            notes.add("admin.bind", format!("{bind} {text}"));
        }
        if bind == self.server.bind && bind.port() != 0 {
            notes.add("admin.bind", format!("{bind} is server.bind too"));
        }
    }

    fn judge_sources(&self, notes: &Notes) {
        if self.sources.is_empty() {
            let text = "there is none, so nobody may send; add one with a name and secrets";
            notes.add("sources", text);
        }
        for (index, source) in self.sources.iter().enumerate() {
            for text in self.source_problems(source) {
                let text = format!("{}: {text}", source.name);
                notes.add(&format!("sources[{index}]"), text);
            }
        }
        let mut told = BTreeSet::new();
        for (path, names) in self.paths() {
            // Two sources on one path also share the path pattern for sessions. Report them once.
            if names.len() > 1 && told.insert(names.clone()) {
                let names = names.join(" and ");
                notes.add("sources", format!("{names} have the same path {path}"));
            }
        }
        repeated(self.sources.iter().map(|source| &source.name), |name| {
            notes.add("sources", format!("two sources have the name {name:?}"));
        });
    }

    fn judge_handlers(&self, notes: &Notes) {
        let handlers = self.handlers.iter();
        let files = handlers.filter_map(|handler| match &handler.used {
            Use::Jsonl { path } => Some(path.display().to_string()),
            _ => None,
        });
        repeated(files, |path| {
            notes.add("handlers", format!("two handlers write to {path}"));
        });
        repeated(self.handlers.iter().map(|handler| &handler.name), |name| {
            notes.add("handlers", same_name(name));
        });
    }

    fn judge_subscriptions(&self, notes: &Notes) {
        let guard = self.relay.options.guard();
        for (index, subscription) in self.subscriptions.iter().enumerate() {
            for text in subscription.problems(&guard) {
                let text = format!("{}: {text}", subscription.name);
                notes.add(&format!("subscriptions[{index}]"), text);
            }
        }
        let names = self.subscriptions.iter().map(|subscription| {
            let (name, session) = (&subscription.name, &subscription.session);
            format!("{name:?} to session {session:?}")
        });
        repeated(names, |name| {
            notes.add("subscriptions", format!("two are {name}"));
        });
        if self.journal == JournalSettings::None && !self.subscriptions.is_empty() {
            let text = "journal.engine is none, which keeps nothing until a subscriber has it; \
                        take it out, or the subscriptions";
            notes.add("subscriptions", text);
        }
    }

    fn judge_gateways(&self, notes: &Notes) {
        repeated(self.gateways.iter().map(|gateway| &gateway.name), |name| {
            notes.add("gateways", format!("two gateways have the name {name:?}"));
        });
        let told = self.gateways.iter().flat_map(|gateway| {
            let url = gateway.gateway.url();
            let sessions = gateway.sessions.iter();
            sessions.map(move |id| format!("{id:?} at {url}"))
        });
        repeated(told, |session| {
            let text = format!("two of them register the session {session}");
            notes.add("gateways", text);
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

    /// The sources by the patterns of their paths, without the names of path parameters.
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

/// Reports each name that occurs more than once.
fn repeated<N: Ord>(names: impl Iterator<Item = N>, mut report: impl FnMut(&N)) {
    let mut counts: BTreeMap<N, usize> = BTreeMap::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    for (name, count) in counts {
        if count > 1 {
            report(&name);
        }
    }
}

/// A handler is registered both in code and in the settings file.
pub(crate) fn same_handler(name: &str) -> Problems {
    Problems::one(Problem {
        place: "handlers".to_owned(),
        text: same_name(name),
    })
}

fn same_name(handler: &str) -> String {
    format!("two handlers have the name {handler:?}")
}
