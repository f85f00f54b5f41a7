//! [`Plan`]: what differs between the settings that run and those that were read.
//!
//! Changes are told by name and key (`keys.rs`); no value is told, because it may be a secret. Only the values of
//! keys that need a restart are told, because their line has to be put back.

mod emptied;
mod keys;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use humantime::format_duration;

use crate::settings::{
    AdminSettings, Durability, JournalSettings, PostgresSettings, ServerSettings, Settings,
    TlsSettings, TlsVersion,
};

pub(crate) use emptied::Emptied;
use keys::{
    admin_keys, gateway_keys, handler_keys, log_keys, options, postgres_keys, refused_keys,
    relay_keys, server_keys, source_keys, source_name, sqlite_keys, subscription_keys,
    subscription_name, tls_keys,
};
pub(super) use words::summary;

/// What a reload would change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// What can change while the server runs.
    pub(crate) changes: Vec<Change>,
    /// What cannot.
    pub(crate) restarts: Vec<NeedsRestart>,
    /// What is left of the sources or the consumers; a half-written file looks like this.
    pub(crate) emptied: Option<Emptied>,
}

/// One thing that changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// What it is, such as `source` or `section`.
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Section,
    Source,
    Handler,
    Subscription,
    Gateway,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum How {
    Added,
    Removed,
    /// These of its keys have other values.
    Changed(Vec<&'static str>),
}

/// The files of a section, by their keys, that hold something else than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChangedFiles {
    /// Such as `server.tls`.
    pub(crate) section: &'static str,
    pub(crate) keys: Vec<&'static str>,
}

/// A key that has another value, and cannot have it before a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeedsRestart {
    /// Such as `server`.
    section: &'static str,
    key: &'static str,
    /// The line that has to be put back; `None` if the key has to be taken out.
    line: Option<String>,
}

impl Plan {
    /// Compares all settings.
    pub(crate) fn between(old: &Settings, new: &Settings) -> Self {
        // The options that a consumer has in the end are what counts.
        let (old_effective, new_effective) = (old.effective(), new.effective());
        let Settings {
            server,
            admin,
            log,
            refused,
            sources,
            journal,
            dispatch,
            relay,
            gateways,
            // Compared with all their options.
            handlers: _,
            subscriptions: _,
        } = old;
        let mut plan = Self::default();
        plan.server(server, &new.server);
        plan.admin(admin.as_ref(), new.admin.as_ref());
        plan.section("log", log_keys(log, &new.log));
        plan.section("refused", refused_keys(refused, &new.refused));
        plan.journal(journal, &new.journal);
        plan.section("dispatch", options(dispatch, &new.dispatch));
        plan.section("relay", relay_keys(relay, &new.relay));
        plan.list(
            Kind::Source,
            sources,
            &new.sources,
            source_name,
            source_keys,
        );
        let effective = [&old_effective, &new_effective];
        let [before, after] = effective.map(|settings| &settings.handlers[..]);
        plan.list(
            Kind::Handler,
            before,
            after,
            |one| one.name.clone(),
            handler_keys,
        );
        let [before, after] = effective.map(|settings| &settings.subscriptions[..]);
        plan.list(
            Kind::Subscription,
            before,
            after,
            subscription_name,
            subscription_keys,
        );
        plan.list(
            Kind::Gateway,
            gateways,
            &new.gateways,
            |one| one.name.clone(),
            gateway_keys,
        );
        plan.emptied = Emptied::between(old, new);
        plan
    }

    /// Whether the settings are the same.
    pub(crate) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.restarts.is_empty()
    }

    /// Whether a thing of this kind changes.
    pub(crate) fn concerns(&self, kind: Kind) -> bool {
        self.changes.iter().any(|change| change.kind == kind)
    }

    /// Whether a source or a consumer is removed.
    pub(crate) fn removes(&self) -> bool {
        let mut changes = self.changes.iter();
        changes.any(|change| change.how == How::Removed && change.kind != Kind::Gateway)
    }

    fn server(&mut self, old: &ServerSettings, new: &ServerSettings) {
        let keys = server_keys(old, new);
        self.tls("server.tls", old.tls.as_ref(), new.tls.as_ref());
        let keys = keys.into_iter().filter(|key| *key != "tls");
        let lines = keys.map(|key| {
            let line = match key {
                "bind" => Some(quoted(old.bind)),
                "workers" => Some(old.workers.to_string()),
                "max_connections" => Some(old.max_connections.to_string()),
                _ => None,
            };
            (key, line)
        });
        self.split("server", lines.collect());
    }

    fn admin(&mut self, old: Option<&AdminSettings>, new: Option<&AdminSettings>) {
        let (Some(old), Some(new)) = (old, new) else {
            if old.is_some() != new.is_some() {
                self.restarts.push(NeedsRestart {
                    section: "admin",
                    key: "bind",
                    line: old.map(|admin| format!("bind = {}", quoted(admin.bind))),
                });
            }
            return;
        };
        let keys = admin_keys(old, new);
        self.tls("admin.tls", old.tls.as_ref(), new.tls.as_ref());
        let keys = keys.into_iter().filter(|key| *key != "tls");
        let lines = keys.map(|key| match key {
            "bind" => (key, Some(quoted(old.bind))),
            // With or without a token the listener is open to others.
            _ => (key, None),
        });
        self.split("admin", lines.collect());
    }

    /// A listener cannot begin or end to speak TLS.
    fn tls(&mut self, section: &'static str, old: Option<&TlsSettings>, new: Option<&TlsSettings>) {
        match (old, new) {
            (None, None) => return,
            (Some(old), Some(new)) => return self.section(section, tls_keys(old, new)),
            _ => {}
        }
        let line = |key, path: &Path| Some(format!("{key} = {}", quoted(path.display())));
        let lines = old.map_or_else(
            || vec![("certificate", None)],
            |old| {
                // All of it: a listener without its client_ca would serve everyone.
                let TlsSettings {
                    certificate,
                    key,
                    client_ca,
                    min_version,
                } = old;
                let mut lines = vec![
                    ("certificate", line("certificate", certificate)),
                    ("key", line("key", key)),
                ];
                if let Some(path) = client_ca {
                    lines.push(("client_ca", line("client_ca", path)));
                }
                if *min_version == TlsVersion::Tls13 {
                    let text = "min_version = \"1.3\"".to_owned();
                    lines.push(("min_version", Some(text)));
                }
                lines
            },
        );
        let restarts = lines.into_iter();
        self.restarts
            .extend(restarts.map(|(key, line)| NeedsRestart { section, key, line }));
    }

    fn journal(&mut self, old: &JournalSettings, new: &JournalSettings) {
        let (old, new) = match (old, new) {
            (JournalSettings::None, JournalSettings::None) => return,
            (JournalSettings::Sqlite(old), JournalSettings::Sqlite(new)) => (old, new),
            (JournalSettings::Postgres(old), JournalSettings::Postgres(new)) => {
                return self.postgres(old, new);
            }
            (JournalSettings::None, _)
            | (JournalSettings::Sqlite(_), _)
            | (JournalSettings::Postgres(_), _) => {
                let line = Some(quoted(old.name()));
                return self.split("journal", vec![("engine", line)]);
            }
        };
        let keys = sqlite_keys(old, new);
        let lines = keys.into_iter().map(|key| {
            let line = match key {
                "path" => Some(quoted(old.path.display())),
                "dedup_window" => Some(duration(old.dedup_window)),
                "dedup_window_unkeyed" => Some(duration(old.dedup_window_unkeyed)),
                _ => None,
            };
            (key, line)
        });
        self.split("journal", lines.collect());
    }

    fn postgres(&mut self, old: &PostgresSettings, new: &PostgresSettings) {
        let keys = postgres_keys(old, new);
        if keys.contains(&"tls") {
            self.restarts.push(NeedsRestart {
                section: "journal",
                key: "tls",
                line: old.tls.is_some().then(|| "tls = { … }".to_owned()),
            });
        }
        let keys = keys.into_iter().filter(|key| *key != "tls");
        let lines = keys.map(|key| {
            let line = match key {
                // It holds a password.
                "url" => Some(quoted("…")),
                "schema" => Some(quoted(&old.schema)),
                "durability" => Some(quoted(match old.durability {
                    Durability::Replicated => "replicated",
                    _ => "primary",
                })),
                "shares" => Some(old.shares.to_string()),
                "lease" => Some(duration(old.lease)),
                "append_timeout" => Some(duration(old.append_timeout)),
                "instance" => Some(quoted(&old.instance)),
                "path" => Some(quoted(old.path.display())),
                "dedup_window" => Some(duration(old.dedup_window)),
                "dedup_window_unkeyed" => Some(duration(old.dedup_window_unkeyed)),
                _ => None,
            };
            (key, line)
        });
        self.split("journal", lines.collect());
    }

    /// Adds the keys of a section that differ. One with a value needs a restart, or that value again.
    fn split(&mut self, section: &'static str, keys: Vec<(&'static str, Option<String>)>) {
        let mut changed = Vec::new();
        for (key, value) in keys {
            match value {
                Some(value) => self.restarts.push(NeedsRestart {
                    section,
                    key,
                    line: Some(format!("{key} = {value}")),
                }),
                None => changed.push(key),
            }
        }
        self.section(section, changed);
    }

    /// Adds the keys whose files hold something else, though they may have the same paths.
    pub(crate) fn add_files(&mut self, files: &[ChangedFiles]) {
        for ChangedFiles { section, keys } in files {
            let mut changes = self.changes.iter_mut();
            let known = changes.find(|one| one.kind == Kind::Section && one.name == *section);
            match known.map(|one| &mut one.how) {
                Some(How::Changed(known)) => {
                    let new = keys.iter().filter(|key| !known.contains(key));
                    *known = known.iter().chain(new).copied().collect();
                }
                _ => self.section(section, keys.clone()),
            }
        }
    }

    fn section(&mut self, section: &str, keys: Vec<&'static str>) {
        if !keys.is_empty() {
            self.changes.push(Change {
                kind: Kind::Section,
                name: section.to_owned(),
                how: How::Changed(keys),
            });
        }
    }

    /// Compares two lists by the names of what is in them.
    fn list<T>(
        &mut self,
        kind: Kind,
        old: &[T],
        new: &[T],
        name: impl Fn(&T) -> String,
        keys: impl Fn(&T, &T) -> Vec<&'static str>,
    ) {
        let old: BTreeMap<String, &T> = old.iter().map(|one| (name(one), one)).collect();
        let new: BTreeMap<String, &T> = new.iter().map(|one| (name(one), one)).collect();
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let changes = names.into_iter().filter_map(|name| {
            let how = match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) => How::Changed(keys(old, new)),
                (None, _) => How::Added,
                (_, None) => How::Removed,
            };
            let is_same = matches!(&how, How::Changed(keys) if keys.is_empty());
            let name = name.clone();
            (!is_same).then_some(Change { kind, name, how })
        });
        self.changes.extend(changes);
    }
}

/// A TOML text.
fn quoted(value: impl fmt::Display) -> String {
    format!("{:?}", value.to_string())
}

fn duration(value: Duration) -> String {
    quoted(format_duration(value))
}

#[cfg(test)]
mod tests;
