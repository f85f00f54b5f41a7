//! `offhook check`: lists every problem of the settings, or shows what would run. No secret is shown.

mod connect;
mod text;
mod tls;

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use offhook::dialect::{Dialect as _, Evolution};
use offhook::settings::{
    DOCUMENTED_KEY, GatewaySettings, HandlerSettings, JournalSettings, Problem, Problems, Settings,
    SubscriptionSettings,
};
use offhook::{HandlerOptions, Source};
use rustix::fs::{Access, access};
use serde_json::{Map, Value, json};

use super::output::{self, Failure, Outcome, Verdict};
use super::settings_file::SettingsFile;

/// Say what is wrong with a settings file, or what would run
///
/// Secrets are read to find missing ones, and are never shown.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Check {
    #[command(flatten)]
    file: SettingsFile,

    /// Print one JSON object instead, problems too
    #[arg(long)]
    json: bool,

    /// Look at the database of the engine postgres too; nothing in it is changed
    #[arg(long)]
    connect: bool,
}

impl Check {
    pub(super) fn run(self) -> Outcome {
        let file = self.file.path().display();
        if self.json {
            let loaded = Settings::load(self.file.path());
            let problems = loaded.as_ref().map_or_else(Problems::list, |_| &[]);
            let shown = |one: &Problem| problem(&one.place, &one.keys, &one.text);
            let mut problems: Vec<Value> = problems.iter().map(shown).collect();
            let journal = loaded.as_ref().ok().and_then(journal_problem);
            let at = |key: &str| format!("{file}: {key}");
            problems.extend(journal.map(|(key, text)| problem(&at(key), key, &text)));
            let database = match &loaded {
                Ok(settings) if self.connect => Some(connect::database(settings)?),
                _ => None,
            };
            let place = format!("{file}: {JOURNAL}");
            let unfit = database.iter().flatten().filter(|one| one.is_unfit());
            problems.extend(unfit.map(|one| problem(&place, JOURNAL, one.told())));
            let is_ok = problems.is_empty();
            let mut answer = json!({
                "ok": is_ok,
                "problems": problems,
                "summary": loaded.as_ref().ok().map(summary),
            });
            if let Some(seen) = database {
                answer["database"] = seen.iter().map(connect::Seen::json).collect();
            }
            output::print_json(&answer)?;
            return Ok(Verdict::from(is_ok));
        }
        let settings = self.file.load("nothing would start")?;
        if let Some((key, text)) = journal_problem(&settings) {
            output::note(&format!("{file}: {key}: {text}"));
            let text = "1 problem in the settings; nothing would start";
            return Err(Failure::failed(text));
        }
        output::print(&format!("{file}: {}\n", output::good("no problem")))?;
        let without_handlers = without_consumer(&settings).unwrap_or("none");
        output::print(&text::text(&summary(&settings), without_handlers))?;
        if !self.connect {
            return Ok(Verdict::Yes);
        }
        let seen = connect::database(&settings)?;
        output::print(&format!("\n{}", connect::text(&seen)))?;
        Ok(Verdict::from(!seen.iter().any(connect::Seen::is_unfit)))
    }
}

fn problem(place: &str, key: &str, text: &str) -> Value {
    json!({ "place": place, "key": key, "text": text })
}

/// The key of `[journal]` with which nothing would start on this machine, and why. Nothing is made.
fn journal_problem(settings: &Settings) -> Option<(&'static str, String)> {
    let folder = folder_problem(settings).map(|text| (JOURNAL_PATH, text));
    #[cfg(feature = "postgres")]
    if let JournalSettings::Postgres(postgres) = &settings.journal
        && let Err(error) = postgres.options().and_then(|options| options.check_tls())
    {
        return folder.or(Some((JOURNAL_TLS, error.to_string())));
    }
    folder
}

/// Why the journal's folder can neither be made nor written to.
fn folder_problem(settings: &Settings) -> Option<String> {
    let path = match &settings.journal {
        JournalSettings::Sqlite(sqlite) => &sqlite.path,
        // The folder of the index.
        JournalSettings::Postgres(postgres) => &postgres.path,
        _ => return None,
    };
    let path = std::path::absolute(path).ok()?;
    let above = path.ancestors().find(|above| above.exists())?;
    let why = if above.is_dir() {
        let error = access(above, Access::WRITE_OK | Access::EXEC_OK).err()?;
        std::io::Error::from(error).to_string()
    } else {
        "it is not a folder".to_owned()
    };
    let (path, above) = (path.display(), above.display());
    Some(format!(
        "{path} cannot be used, because of {above}: {why}; it must be a folder that this user can make or write to"
    ))
}

/// Whether one of the source's secrets is the key printed in the gateway's documentation.
pub(super) fn has_documented_key(source: &Source) -> bool {
    let mut secrets = source.secrets.iter();
    secrets.any(|secret| secret.is(DOCUMENTED_KEY))
}

/// What becomes of events, if there is neither a handler nor a subscription.
pub(super) fn without_consumer(settings: &Settings) -> Option<&'static str> {
    let none = settings.handlers.is_empty() && settings.subscriptions.is_empty();
    none.then_some(match settings.journal {
        JournalSettings::None => "none: events are verified, answered and discarded",
        _ => "none: events are kept for later subscriptions",
    })
}

fn summary(settings: &Settings) -> Value {
    let effective = settings.effective();
    let (server, sources) = (&settings.server, &settings.sources);
    let gateways = settings.gateways.iter();
    let admin = settings.admin.as_ref();
    json!({
        "bind": server.bind,
        "health_path": server.health_path,
        "tls": server.tls.as_ref().map(tls::tls),
        "admin": admin.map(|admin| json!({
            "bind": admin.bind,
            "token": admin.token.is_some(),
            "tls": admin.tls.as_ref().map(tls::tls),
            "warnings": admin.warnings(),
        })),
        "sources": sources.iter().map(source).collect::<Value>(),
        "engine": settings.journal.name(),
        "promise": settings.journal.promise(),
        "journal": journal(&settings.journal),
        "handlers": effective.handlers.iter().map(handler).collect::<Value>(),
        "subscriptions": effective.subscriptions.iter().map(subscription).collect::<Value>(),
        "gateways": gateways.map(|one| gateway(one, sources)).collect::<Value>(),
        "limits": {
            "workers": server.workers,
            "max_body": server.max_body,
            "max_in_flight": server.max_in_flight,
            "max_connections": server.max_connections,
            "request_timeout_seconds": server.request_timeout.as_secs_f64(),
            "min_body_rate": server.min_body_rate,
            "drain_delay_seconds": server.drain_delay.as_secs_f64(),
            "keep_alive_seconds": server.keep_alive.as_secs_f64(),
        },
        "warnings": settings.warnings(),
        "fingerprint": settings.fingerprint(),
    })
}

fn journal(settings: &JournalSettings) -> Option<Value> {
    match settings {
        JournalSettings::Sqlite(sqlite) => Some(json!({
            "path": sqlite.path.display().to_string(),
            "retention_seconds": sqlite.retention.as_secs_f64(),
            "retention_size": sqlite.retention_size,
            "dedup_window_seconds": sqlite.dedup_window.as_secs_f64(),
            "dedup_window_unkeyed_seconds": sqlite.dedup_window_unkeyed.as_secs_f64(),
        })),
        JournalSettings::Postgres(postgres) => Some(json!({
            "instance": postgres.instance_name(),
            "path": postgres.path.display().to_string(),
            "shares": postgres.shares,
            "lease_seconds": postgres.lease.as_secs_f64(),
            "append_timeout_seconds": postgres.append_timeout.as_secs_f64(),
            "retention_seconds": postgres.retention.as_secs_f64(),
            "retention_size": postgres.retention_size,
            "dedup_window_seconds": postgres.dedup_window.as_secs_f64(),
            "dedup_window_unkeyed_seconds": postgres.dedup_window_unkeyed.as_secs_f64(),
        })),
        _ => None,
    }
}

fn source(source: &Source) -> Value {
    let signed = source.path_token.is_none();
    let sessions = source.sessions.iter().map(|(id, _)| id.as_str());
    let quiet = source.quiet_sessions.iter();
    let quiet = quiet.map(|(id, after)| (id, after.as_secs_f64()));
    let of_scheme = signed.then(|| source.scheme.parameters());
    let keys = of_scheme
        .into_iter()
        .flatten()
        .chain(source.dialect.parameters());
    let keys = keys.filter(|(_, value)| !value.is_empty());
    let keys = keys.map(|(key, value)| (key.to_owned(), Value::from(value)));
    json!({
        "name": source.name,
        "paths": source.patterns(),
        "scheme": signed.then(|| source.scheme.name()),
        "dialect": source.dialect.name(),
        "keys": keys.collect::<Map<_, _>>(),
        "probe": source.probe,
        "secrets": source.secrets.len(),
        "sessions": sessions.collect::<Value>(),
        "quiet_after_seconds": source.quiet_after.as_ref().map(Duration::as_secs_f64),
        "quiet_sessions_seconds": quiet.collect::<BTreeMap<_, _>>(),
        "documented_key": has_documented_key(source),
        // Evolution in another way too, such as with a secret in a header.
        "never_again": (signed && source.scheme.gives_up_when_refused())
            || source.dialect.name() == Evolution.name(),
    })
}

fn handler(handler: &HandlerSettings) -> Value {
    let options = json!({"name": handler.name, "sessions": handler.options.sessions});
    merged([json!(handler.used), options, wanted(&handler.options)])
}

fn subscription(subscription: &SubscriptionSettings) -> Value {
    let own = json!({
        "name": subscription.name,
        "session": subscription.session,
        "webhook_url": subscription.shown_url(),
        "signed": !subscription.secrets.is_empty(),
        "headers": subscription.headers,
    });
    merged([own, wanted(&subscription.options)])
}

/// The options of one consumer, all filled in.
fn wanted(options: &HandlerOptions) -> Value {
    json!({
        "events": options.events,
        "order": options.order,
        "timeout_seconds": options.timeout.as_ref().map(Duration::as_secs_f64),
        "concurrency": options.concurrency,
    })
}

fn gateway(settings: &GatewaySettings, sources: &[Source]) -> Value {
    let known = settings.has_secret_of(sources);
    let own = json!({
        "secret": known.is_some(),
        "secret_known": known == Some(true),
        "warnings": settings.registration.warnings(&settings.gateway),
    });
    merged([json!(settings), own])
}

/// One object with the keys of all objects. If several have the same key, the last one counts.
fn merged(objects: impl IntoIterator<Item = Value>) -> Value {
    let objects = objects
        .into_iter()
        .filter_map(|object| object.as_object().cloned());
    objects.flatten().collect::<Map<_, _>>().into()
}

const JOURNAL: &str = "journal";
const JOURNAL_PATH: &str = "journal.path";
#[cfg(feature = "postgres")]
const JOURNAL_TLS: &str = "journal.tls";

const EXAMPLES: &str = "\
Examples:
  offhook check
  offhook check --settings /etc/offhook.toml
  offhook check --json | jq .summary.fingerprint
  offhook check --connect

Exit status: 0 no problem, 1 problems, 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    /// Other programs read these keys.
    #[test]
    fn every_part_keeps_its_keys() {
        let file = std::env::temp_dir().join(format!("offhook-check-{}.toml", std::process::id()));
        std::fs::write(&file, SETTINGS).unwrap();
        let settings = Settings::load(&file);
        std::fs::remove_file(&file).unwrap();
        let settings = settings.unwrap();
        let mut found = summary(&settings);
        assert_eq!(found["fingerprint"], settings.fingerprint());
        found["fingerprint"] = Value::Null;
        let expected: Value = serde_json::from_str(SUMMARY).unwrap();
        assert_eq!(found, expected);
    }

    /// A new key needs its place in the text.
    #[test]
    fn every_key_is_shown() {
        fn check(value: &Value) {
            for (key, value) in value.as_object().into_iter().flatten() {
                let shown = text::SHOWN.split(' ').any(|one| one == key);
                assert!(shown || ["engine", "name"].contains(&key.as_str()), "{key}");
                if !["keys", "quiet_sessions_seconds"].contains(&key.as_str()) {
                    check(value);
                }
            }
            value.as_array().into_iter().flatten().for_each(check);
        }
        check(&serde_json::from_str(SUMMARY).unwrap());
    }

    const SETTINGS: &str = r#"
        [admin]
        token = "hidden"
        [[sources]]
        name = "hub"
        secrets = ["hidden-1", "your-secret-key"]
        quiet_after = "30m"
        sessions.a.secrets = ["hidden-2"]
        sessions.q.quiet_after = "2h"
        [[sources]]
        name = "open"
        path = "/open"
        unsigned = true
        path_token = "hidden-0123456789"
        [[sources]]
        name = "other"
        path = "/other"
        scheme = "hmac"
        header = "X-Sig"
        prefix = "v1="
        dialect = "raw"
        event_pointer = "/type"
        secrets = ["hidden-4"]
        [dispatch]
        concurrency = 5
        [[handlers]]
        name = "script"
        use = "exec"
        command = ["sh"]
        env = { KEY = "hidden" }
        reject_codes = [1]
        events = ["message"]
        sessions = ["x"]
        timeout = "1500ms"
        [[handlers]]
        name = "file"
        use = "jsonl"
        path = "x.jsonl"
        [[subscriptions]]
        name = "crm"
        webhook_url = "https://crm.example/hook?t=hidden"
        secrets = ["hidden", "hidden-3"]
        headers = { X-Key = "hidden" }
        [[gateways]]
        url = "https://gw.example"
        sessions = ["a"]
        webhook_url = "https://me.example/webhook"
        secret = "hidden-1"
        headers = { X-Key = "hidden" }
    "#;

    const SUMMARY: &str = r#"{
        "bind": "127.0.0.1:5000",
        "health_path": null,
        "tls": null,
        "admin": {"bind": "127.0.0.1:5001", "token": true, "tls": null, "warnings": []},
        "sources": [
            {"name": "hub", "paths": ["/webhook", "/webhook/{session}"],
             "scheme": "x-webhook-signature", "dialect": "codeskytz", "keys": {}, "probe": false,
             "secrets": 2,
             "sessions": ["a"], "quiet_after_seconds": 1800.0,
             "quiet_sessions_seconds": {"q": 7200.0}, "documented_key": true, "never_again": false},
            {"name": "open", "paths": ["/open/{token}", "/open/{token}/{session}"],
             "scheme": null, "dialect": "codeskytz", "keys": {}, "probe": false,
             "secrets": 0, "sessions": [],
             "quiet_after_seconds": null, "quiet_sessions_seconds": {}, "documented_key": false,
             "never_again": false},
            {"name": "other", "paths": ["/other", "/other/{session}"],
             "scheme": "hmac", "dialect": "raw",
             "keys": {"header": "X-Sig", "prefix": "v1=", "algorithm": "sha256", "encoding": "hex",
                      "template": "{body}", "tolerance": "5m", "event_pointer": "/type"},
             "probe": false, "secrets": 1, "sessions": [],
             "quiet_after_seconds": null, "quiet_sessions_seconds": {}, "documented_key": false,
             "never_again": false}
        ],
        "engine": "sqlite",
        "promise": "sqlite: an event is on disk in data before it is answered 200",
        "journal": {"path": "data", "retention_seconds": 604800.0, "retention_size": null,
                    "dedup_window_seconds": 604800.0, "dedup_window_unkeyed_seconds": 60.0},
        "handlers": [
            {"name": "script", "use": "exec", "command": ["sh"], "env": ["KEY"],
             "reject_codes": [1], "events": ["message"], "sessions": ["x"],
             "order": "conversation", "timeout_seconds": 1.5, "concurrency": 5},
            {"name": "file", "use": "jsonl", "path": "x.jsonl", "events": null, "sessions": null,
             "order": "conversation", "timeout_seconds": 30.0, "concurrency": 5}
        ],
        "subscriptions": [
            {"name": "crm", "session": "*", "webhook_url": "https://crm.example/hook?…",
             "events": null, "signed": true, "headers": ["x-key"], "order": "conversation", "timeout_seconds": 10.0,
             "concurrency": 5}
        ],
        "gateways": [
            {"name": "gw.example", "kind": "codeskytz", "url": "https://gw.example", "shape": "docs",
             "sessions": ["a"], "webhook_url": "https://me.example/webhook",
             "events": ["message", "status", "connection"], "secret": true, "secret_known": true,
             "headers": ["x-key"], "warnings": []}
        ],
        "limits": {"workers": 0, "max_body": 33554432, "max_in_flight": 134217728,
                   "max_connections": 8192, "request_timeout_seconds": 10.0,
                   "min_body_rate": 16384, "drain_delay_seconds": 0.0,
                   "keep_alive_seconds": 75.0},
        "warnings": [],
        "fingerprint": null
    }"#;
}
