//! Checks that need all settings together.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::journal::MAX_KEPT_BODY;
use super::sources::all_secrets;
use super::spot::Notes;
use super::{Certificates, HandlerSettings, JournalSettings, Settings, SubscriptionSettings, Use};
use crate::error::Problems;
use crate::signature::{DOCUMENTED_KEY, Secret};
use crate::{JsonlHandler, Source};

/// A shorter token can be guessed.
const MIN_TOKEN: usize = 16;

impl Settings {
    /// Checks settings that were read or made, with the names of the handlers that are added in code. Loads the
    /// certificates that are not in `certificates` yet.
    pub(crate) fn check(
        &self,
        in_code: &[&str],
        certificates: &mut Certificates,
    ) -> Result<(), Problems> {
        let notes = Notes::new("the settings");
        self.judge(in_code, &notes);
        self.judge_certificates(certificates, &notes);
        Problems::none_of(notes.into_problems())
    }

    /// Notes every reason why these settings must not be used.
    pub(super) fn judge(&self, in_code: &[&str], notes: &Notes) {
        self.judge_listeners(notes);
        self.judge_refused(notes);
        self.judge_sources(notes);
        self.judge_subscriptions(notes);
        self.judge_handlers(notes);
        self.judge_names(in_code, notes);
    }

    /// Notes which certificates cannot be used. This reads their files.
    pub(super) fn judge_certificates(&self, certificates: &mut Certificates, notes: &Notes) {
        let admin = self.admin.as_ref();
        let admin = admin.and_then(|admin| admin.tls.as_ref());
        // A path that is missing was told.
        let is_named = |path: &Path| !path.as_os_str().is_empty();
        for (keys, tls) in [
            ("server.tls", self.server.tls.as_ref()),
            ("admin.tls", admin),
        ] {
            let tls = tls.filter(|tls| is_named(&tls.certificate) && is_named(&tls.key));
            if let Some(Err((key, text))) = tls.map(|tls| certificates.of(tls)) {
                notes.add(&format!("{keys}.{key}"), text);
            }
        }
    }

    fn judge_refused(&self, notes: &Notes) {
        let refused = &self.refused;
        if refused.body > refused.total {
            let text = "is more than refused.total, so the longest body is never kept";
            notes.add("refused.body", text);
        }
    }

    fn judge_listeners(&self, notes: &Notes) {
        let server = &self.server;
        if server.max_in_flight < server.max_body {
            let text = "must be at least server.max_body, or the longest body never fits";
            notes.add("server.max_in_flight", text);
        }
        if let Some(health) = &server.health_path
            && self.sources.iter().any(|source| source.path == *health)
        {
            notes.add(
                "server.health_path",
                format!("{health} is the path of a source too"),
            );
        }
        if self.journal != JournalSettings::None && server.max_body > MAX_KEPT_BODY {
            let engine = self.journal.name();
            let text =
                format!("is more than journal.engine = {engine:?} can keep; at most 512 MiB");
            notes.add("server.max_body", text);
        }
        if let JournalSettings::Postgres(postgres) = &self.journal
            && let Some((key, text)) = postgres.problem()
        {
            notes.add(&format!("journal.{key}"), text);
        }
        let Some(admin) = &self.admin else { return };
        let bind = admin.bind;
        if admin.token.is_none() && !bind.ip().is_loopback() {
            let text = "is not loopback, and there is no admin.token: set one, or bind 127.0.0.1";
            notes.add("admin.bind", format!("{bind} {text}"));
        }
        if let Some(viewer) = &admin.viewer_token {
            let text = match &admin.token {
                None => "does nothing without admin.token: without one nobody is asked for a token",
                Some(token) if token == viewer => {
                    "is admin.token too; a viewer needs a token of its own"
                }
                Some(_) => "",
            };
            if !text.is_empty() {
                notes.add("admin.viewer_token", text);
            }
        }
        if bind == server.bind && bind.port() != 0 {
            notes.add("admin.bind", format!("{bind} is server.bind too"));
        }
    }

    fn judge_sources(&self, notes: &Notes) {
        if self.sources.is_empty() {
            let text = "there is none, so no request is accepted; add one with a name and secrets";
            notes.add("sources", text);
        }
        for (index, source) in self.sources.iter().enumerate() {
            self.judge_source(source, &format!("sources[{index}]"), notes);
        }
        let mut reported = BTreeSet::new();
        for (path, names) in self.paths() {
            // Two sources on one path also share the path pattern for sessions. Report them once.
            if names.len() > 1 && reported.insert(names.clone()) {
                let names = names.join(" and ");
                notes.add("sources", format!("{names} have the same path {path}"));
            }
        }
    }

    fn judge_subscriptions(&self, notes: &Notes) {
        let guard = self.relay.options.guard();
        for (index, subscription) in self.subscriptions.iter().enumerate() {
            for text in subscription.problems(&guard) {
                let text = format!("{}: {text}", subscription.name);
                notes.add(&format!("subscriptions[{index}]"), text);
            }
        }
        if self.journal == JournalSettings::None && !self.subscriptions.is_empty() {
            let text = "journal.engine is none, which keeps nothing until a subscriber has it; \
                        take it out, or the subscriptions";
            notes.add("subscriptions", text);
        }
    }

    /// Notes which handlers cannot start on this machine: each of their attempts would fail.
    fn judge_handlers(&self, notes: &Notes) {
        for (index, HandlerSettings { name, used, .. }) in self.handlers.iter().enumerate() {
            let (key, checked) = match used {
                Use::Log => continue,
                Use::Jsonl { path } => {
                    let checked = JsonlHandler::check(path);
                    ("path", checked.map_err(|error| error.to_string()))
                }
                Use::Exec(exec) => {
                    let checked = exec.check();
                    ("command", checked.map_err(|error| error.to_string()))
                }
            };
            if let Err(problem) = checked {
                notes.add(
                    &format!("handlers[{index}].{key}"),
                    format!("{name}: {problem}"),
                );
            }
        }
    }

    /// Notes what only one may have, but two have.
    fn judge_names(&self, in_code: &[&str], notes: &Notes) {
        let mut found: BTreeMap<String, usize> = BTreeMap::new();
        let mut only_one = |keys: &str, text: String| {
            let count = found.entry(text.clone()).or_default();
            *count += 1;
            if *count == 2 {
                notes.add(keys, text);
            }
        };
        for Source { name, .. } in &self.sources {
            only_one("sources", format!("two sources have the name {name:?}"));
        }
        let names = self.handlers.iter().map(|handler| handler.name.as_str());
        for name in names.chain(in_code.iter().copied()) {
            only_one("handlers", format!("two handlers have the name {name:?}"));
        }
        for handler in &self.handlers {
            if let Use::Jsonl { path } = &handler.used {
                let text = format!("two handlers write to {}", path.display());
                only_one("handlers", text);
            }
        }
        for SubscriptionSettings { name, session, .. } in &self.subscriptions {
            let text = format!("two are {name:?} to session {session:?}");
            only_one("subscriptions", text);
        }
        for one in &self.gateways {
            let (name, url) = (&one.name, one.gateway.url());
            only_one(
                "gateways",
                format!("two gateways have the name {name:?}; give each its own with name = …"),
            );
            for session in &one.sessions {
                let text = format!("the session {session:?} is registered twice at {url}");
                only_one("gateways", text);
            }
        }
    }

    fn judge_source(&self, source: &Source, keys: &str, notes: &Notes) {
        let Source { name, path, .. } = source;
        if !is_path(path) {
            let text = format!(
                "found {path:?}, expected a path such as \"/webhook\": letters, digits, - _ . ~ \
                 between slashes, none at the end"
            );
            notes.add(&format!("{keys}.path"), text);
        }
        let mut secrets = all_secrets(source).peekable();
        if let Some(token) = &source.path_token {
            let (keys, token) = (format!("{keys}.path_token"), token.expose());
            if token.len() < MIN_TOKEN {
                let text = format!("is shorter than {MIN_TOKEN} characters");
                notes.add(&keys, text);
            }
            let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
            if !token.iter().all(plain) {
                notes.add(&keys, "may hold letters, digits and - _ . ~ only");
            }
        } else if secrets.peek().is_none() {
            let text = format!(
                "{name}: no secret, so nothing it sends can be verified; set secrets, or unsigned with a path_token"
            );
            notes.add(keys, text);
        }
        let bind = self.server.bind;
        if let Some(text) = guessable(source)
            && !bind.ip().is_loopback()
        {
            let text = format!("{name}: {text}; server.bind {bind} is not loopback");
            notes.add(keys, text);
        }
        let is_default = |secret: &Secret| source.scheme.name() == "gowa" && secret.is(b"secret");
        if all_secrets(source).any(is_default) && !bind.ip().is_loopback() {
            let text = format!(
                "{name}: its secret is GOWA's default, so it is public, and server.bind {bind} is not loopback: set \
                 a secret of your own there (WHATSAPP_WEBHOOK_SECRET) and here"
            );
            notes.add(keys, text);
        }
        if secrets.any(|secret| secret.is(DOCUMENTED_KEY)) && !bind.ip().is_loopback() {
            let text = format!(
                "{name}: its secret is the one printed in the gateway's documentation, so it is public, \
                 and server.bind {bind} is not loopback: set a secret of your own"
            );
            notes.add(keys, text);
        }
    }

    /// The sources by the patterns of their paths, without the names of path parameters.
    fn paths(&self) -> BTreeMap<String, Vec<&str>> {
        let mut paths: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for source in &self.sources {
            for pattern in source.patterns() {
                let pattern = pattern
                    .replace("{session}", "{…}")
                    .replace("{token}", "{…}");
                paths.entry(pattern).or_default().push(&source.name);
            }
        }
        paths
    }
}

/// What to know of a source whose secret can be guessed: one that is sent as it is, or that a token is made of.
pub(super) fn guessable(source: &Source) -> Option<String> {
    let is_short = |secret: &Secret| secret.expose().len() < MIN_TOKEN;
    let is_sent = source.path_token.is_none() && source.scheme.sends_secret();
    let what = if is_sent && all_secrets(source).any(is_short) {
        "one of its secrets"
    } else if source.scheme.other_secrets().iter().any(is_short) {
        "its verify_token"
    } else {
        return None;
    };
    Some(format!(
        "{what} has fewer than {MIN_TOKEN} characters, so it can be guessed; set {MIN_TOKEN} random ones or more, here and \
         at the sender"
    ))
}

fn is_path(path: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.~".contains(c);
    let segments = path.strip_prefix('/').map(|rest| rest.split('/'));
    segments.is_some_and(|mut segments| {
        segments.all(|segment| !segment.is_empty() && segment.chars().all(plain))
    })
}
