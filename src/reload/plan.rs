//! [`Plan`]: what differs between the settings that run and those that were read.
//!
//! Each comparison names all fields of its type (`differing!`), so that a field that is added later does not
//! compile until it is known here. Changes are told by name and key; no value is told, because it may be a secret.
//! Only the values of keys that need a restart are told, because their line has to be put back.

mod emptied;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::time::Duration;

use humantime::format_duration;

use crate::Source;
use crate::dispatch::HandlerOptions;
use crate::relay::{RelayOptions, RelaySettings, SubscriptionSettings};
use crate::settings::{
    AdminSettings, GatewaySettings, HandlerSettings, JournalSettings, ServerSettings, Settings,
    SqliteSettings, TlsSettings, TlsVersion,
};

pub(crate) use emptied::Emptied;
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

/// A key that has another value, and cannot have it before a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NeedsRestart {
    /// Such as `server`.
    section: &'static str,
    key: &'static str,
    /// The line that has to be put back; `None` if the key has to be taken out.
    line: Option<String>,
}

/// The keys of the fields that differ. Names every field of the type.
macro_rules! differing {
    ($type:ident { $($field:ident: $key:literal),* $(,)? }, $old:expr, $new:expr) => {{
        let ($type { $($field),* }, new): (&$type, &$type) = ($old, $new);
        let mut keys: Vec<&'static str> = Vec::new();
        $(
            // References are compared, because a `dyn` cannot be moved.
            if $field != &new.$field {
                keys.push($key);
            }
        )*
        keys
    }};
}

impl Plan {
    /// Compares all settings.
    pub(crate) fn between(old: &Settings, new: &Settings) -> Self {
        // The options that a consumer has in the end are what counts.
        let (old_effective, new_effective) = (old.effective(), new.effective());
        let Settings {
            server,
            admin,
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
        let keys = differing!(
            ServerSettings {
                bind: "bind",
                workers: "workers",
                max_body: "max_body",
                max_in_flight: "max_in_flight",
                max_connections: "max_connections",
                request_timeout: "request_timeout",
                keep_alive: "keep_alive",
                min_body_rate: "min_body_rate",
                drain_delay: "drain_delay",
                health_path: "health_path",
                trusted_proxies: "trusted_proxies",
                tls: "tls",
            },
            old,
            new
        );
        let switched = self.tls("server.tls", old.tls.as_ref(), new.tls.as_ref());
        let keys = keys.into_iter().filter(|key| *key != "tls" || !switched);
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
        let keys = differing!(
            AdminSettings {
                bind: "bind",
                token: "token",
                tls: "tls",
            },
            old,
            new
        );
        let switched = self.tls("admin.tls", old.tls.as_ref(), new.tls.as_ref());
        let keys = keys.into_iter().filter(|key| *key != "tls" || !switched);
        let lines = keys.map(|key| match key {
            "bind" => (key, Some(quoted(old.bind))),
            // With or without a token the listener is open to others.
            _ => (key, None),
        });
        self.split("admin", lines.collect());
    }

    /// A listener cannot begin or end to speak TLS. Returns whether it is to.
    fn tls(
        &mut self,
        section: &'static str,
        old: Option<&TlsSettings>,
        new: Option<&TlsSettings>,
    ) -> bool {
        if old.is_some() == new.is_some() {
            return false;
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
        true
    }

    fn journal(&mut self, old: &JournalSettings, new: &JournalSettings) {
        let (old, new) = match (old, new) {
            (JournalSettings::None, JournalSettings::None) => return,
            (JournalSettings::Sqlite(old), JournalSettings::Sqlite(new)) => (old, new),
            (JournalSettings::None, _) | (JournalSettings::Sqlite(_), _) => {
                let line = Some(quoted(old.name()));
                return self.split("journal", vec![("engine", line)]);
            }
        };
        let keys = differing!(
            SqliteSettings {
                path: "path",
                retention: "retention",
                retention_size: "retention_size",
                dedup_window: "dedup_window",
                dedup_window_unkeyed: "dedup_window_unkeyed",
            },
            old,
            new
        );
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

    /// Adds the sections whose files hold another certificate.
    pub(crate) fn add_certificates(&mut self, sections: &[&'static str]) {
        for section in sections {
            self.section(section, vec!["certificate"]);
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

fn source_name(source: &Source) -> String {
    source.name.clone()
}

fn source_keys(old: &Source, new: &Source) -> Vec<&'static str> {
    let mut keys = differing!(
        Source {
            name: "name",
            path: "path",
            scheme: "scheme",
            dialect: "dialect",
            secrets: "secrets",
            sessions: "sessions",
            path_token: "path_token",
            probe: "probe",
            quiet_after: "quiet_after",
            quiet_sessions: "sessions",
        },
        old,
        new
    );
    keys.dedup();
    keys
}

fn handler_keys(old: &HandlerSettings, new: &HandlerSettings) -> Vec<&'static str> {
    let mut keys = differing!(
        HandlerSettings {
            name: "name",
            used: "use",
            options: "options",
        },
        old,
        new
    );
    // Says which.
    keys.retain(|key| *key != "options");
    keys.extend(options(&old.options, &new.options));
    keys
}

/// The subscription as its consumer is named.
fn subscription_name(one: &SubscriptionSettings) -> String {
    format!("{:?} to session {:?}", one.name, one.session)
}

fn subscription_keys(old: &SubscriptionSettings, new: &SubscriptionSettings) -> Vec<&'static str> {
    let mut keys = differing!(
        SubscriptionSettings {
            name: "name",
            session: "session",
            webhook_url: "webhook_url",
            secrets: "secrets",
            headers: "headers",
            options: "options",
        },
        old,
        new
    );
    keys.retain(|key| *key != "options");
    keys.extend(options(&old.options, &new.options));
    keys
}

fn gateway_keys(old: &GatewaySettings, new: &GatewaySettings) -> Vec<&'static str> {
    differing!(
        GatewaySettings {
            name: "name",
            gateway: "url, shape or headers",
            sessions: "sessions",
            registration: "webhook_url, events or secret",
        },
        old,
        new
    )
}

fn relay_keys(old: &RelaySettings, new: &RelaySettings) -> Vec<&'static str> {
    let mut keys = differing!(
        RelaySettings {
            options: "options",
            suspend_after: "suspend_after",
        },
        old,
        new
    );
    keys.retain(|key| *key != "options");
    keys.extend(differing!(
        RelayOptions {
            timeout: "timeout",
            allow_private: "allow_private",
            allow: "allow",
            give_up_on: "give_up_on",
        },
        &old.options,
        &new.options
    ));
    keys
}

fn options(old: &HandlerOptions, new: &HandlerOptions) -> Vec<&'static str> {
    differing!(
        HandlerOptions {
            events: "events",
            sessions: "sessions",
            order: "order",
            timeout: "timeout",
            concurrency: "concurrency",
            retry: "retry",
            monotonic: "status",
            suspend_after: "suspend_after",
        },
        old,
        new
    )
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
