//! [`Summary`]: what a server with these settings does, without its secrets.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::SubscriptionSettings;
use super::{DOCUMENTED_KEY, HandlerSettings, Settings, Use};
use crate::dispatch::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, HandlerOptions};
use crate::{EventKind, Source};

/// What a server with these settings does. It holds no secret and may be shown to anybody.
///
/// Handlers that are registered in code are no part of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Where webhooks are received.
    pub bind: SocketAddr,
    /// Where the administrator is answered; `None` for nowhere.
    pub admin: Option<AdminSummary>,
    /// Who may send.
    pub sources: Vec<SourceSummary>,
    /// When an event may be acknowledged: `sqlite`, when it is on disk; `none`, when the handlers
    /// have run.
    pub engine: &'static str,
    /// What the answer 200 means, for people.
    pub promise: String,
    /// The ready-made handlers.
    pub handlers: Vec<HandlerSummary>,
    /// The subscriptions of the settings; the API may have more.
    pub subscriptions: Vec<SubscriptionSummary>,
    /// The gateways that are told our public URL.
    pub gateways: Vec<GatewaySummary>,
    /// What requests may take.
    pub limits: LimitsSummary,
    /// See [`Settings::fingerprint`].
    pub fingerprint: String,
}

/// The admin listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AdminSummary {
    /// Where it listens.
    pub bind: SocketAddr,
    /// Whether it asks for a token.
    pub token: bool,
}

/// One source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SourceSummary {
    /// Its name.
    pub name: String,
    /// Its paths, without and with a session; `{token}` stands for a token that is not shown.
    pub paths: [String; 2],
    /// How it signs; `None` where a token in the path is all it has.
    pub scheme: Option<&'static str>,
    /// How its bodies are read.
    pub dialect: &'static str,
    /// How many secrets are good for it.
    pub secrets: usize,
    /// The sessions with secrets of their own.
    pub sessions: Vec<String>,
    /// How long it may send nothing; in seconds where it is written as JSON, `None` for ever.
    #[serde(rename = "quiet_after_seconds", serialize_with = "maybe_seconds")]
    pub quiet_after: Option<Duration>,
    /// The sessions that are watched by themselves, and how long each may send nothing.
    #[serde(rename = "quiet_sessions_seconds", serialize_with = "seconds_each")]
    pub quiet_sessions: BTreeMap<String, Duration>,
    /// Whether one of its secrets is [`DOCUMENTED_KEY`].
    pub documented_key: bool,
}

/// One ready-made handler.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HandlerSummary {
    /// Its name.
    pub name: String,
    /// Which handler it is, and what is its own.
    #[serde(flatten)]
    pub used: UseSummary,
    /// The kinds it wants; `None` for all.
    pub events: Option<Vec<&'static str>>,
    /// The sessions it wants; `None` for all.
    pub sessions: Option<Vec<String>>,
    /// What comes one at a time.
    pub order: String,
    /// How long one attempt may take; in seconds where it is written as JSON.
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    pub timeout: Duration,
    /// How many attempts run at once.
    pub concurrency: usize,
}

/// [`Use`] without the values of variables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "use", rename_all = "lowercase")]
#[non_exhaustive]
pub enum UseSummary {
    /// `use = "log"`
    Log,
    /// `use = "jsonl"`
    Jsonl {
        /// The file to append to.
        path: String,
    },
    /// `use = "exec"`
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
        /// The names of the variables it is given; their values may be secrets.
        env: Vec<String>,
        /// Exit codes that mean "do not try again".
        reject_codes: Vec<u8>,
    },
}

/// One subscription.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SubscriptionSummary {
    /// Its name among those to the session.
    pub name: String,
    /// The session, or `*` for all.
    pub session: String,
    /// Where events are POSTed; a query is not shown, as it may hold a token.
    pub webhook_url: String,
    /// The kinds it wants; `None` for all.
    pub events: Option<Vec<&'static str>>,
    /// Whether what it gets is signed.
    pub signed: bool,
    /// What comes one at a time.
    pub order: String,
    /// How long one attempt may take; in seconds where it is written as JSON.
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    pub timeout: Duration,
    /// How many attempts run at once.
    pub concurrency: usize,
}

/// One gateway that is told our public URL when a server starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct GatewaySummary {
    /// Its name.
    pub name: String,
    /// Where its API is.
    pub url: String,
    /// What its requests look like.
    pub shape: &'static str,
    /// The sessions that are registered.
    pub sessions: Vec<String>,
    /// The URL it is given, `{session}` in it; its path is `***` where it holds a token.
    pub webhook_url: String,
    /// The events it is asked for.
    pub events: Vec<String>,
    /// Whether it is given a secret.
    pub secret: bool,
    /// Whether one of the sources has that secret.
    pub secret_known: bool,
    /// The names of the headers it is sent; their values may be secrets.
    pub headers: Vec<String>,
    /// What is probably not meant, a sentence each.
    pub warnings: Vec<String>,
}

/// What requests may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct LimitsSummary {
    /// Worker threads; 0 for one per core.
    pub workers: usize,
    /// The longest body, in bytes.
    pub max_body: usize,
    /// The bytes of bodies held at once.
    pub max_in_flight: usize,
    /// How many connections are open at once.
    pub max_connections: usize,
    /// How long one request may take; in seconds where it is written as JSON.
    #[serde(rename = "request_timeout_seconds", serialize_with = "seconds")]
    pub request_timeout: Duration,
    /// How long an idle connection is kept; in seconds where it is written as JSON.
    #[serde(rename = "keep_alive_seconds", serialize_with = "seconds")]
    pub keep_alive: Duration,
}

impl Settings {
    /// What a server with these settings does, without its secrets.
    pub fn summary(&self) -> Summary {
        let server = &self.server;
        let admin = self.admin.as_ref().map(|admin| AdminSummary {
            bind: admin.bind,
            token: admin.token.is_some(),
        });
        let handlers = self.handlers.iter();
        Summary {
            bind: server.bind,
            admin,
            sources: self.sources.iter().map(source).collect(),
            engine: self.journal.name(),
            promise: self.journal.promise(),
            handlers: handlers.map(|one| handler(one, &self.dispatch)).collect(),
            subscriptions: self
                .subscriptions
                .iter()
                .map(|one| subscription(one, self))
                .collect(),
            gateways: self.gateways(),
            limits: LimitsSummary {
                workers: server.workers,
                max_body: server.max_body,
                max_in_flight: server.max_in_flight,
                max_connections: server.max_connections,
                request_timeout: server.request_timeout,
                keep_alive: server.keep_alive,
            },
            fingerprint: self.fingerprint(),
        }
    }
}

impl Settings {
    fn gateways(&self) -> Vec<GatewaySummary> {
        super::gateways::summary(self)
    }
}

fn source(source: &Source) -> SourceSummary {
    let mut secrets = source.secrets.iter();
    SourceSummary {
        name: source.name.clone(),
        paths: source.patterns(),
        scheme: source.path_token.is_none().then(|| source.scheme.name()),
        dialect: source.dialect.name(),
        secrets: source.secrets.len(),
        sessions: source.sessions.iter().map(|(id, _)| id.clone()).collect(),
        quiet_after: source.quiet_after,
        quiet_sessions: source.quiet_sessions.iter().cloned().collect(),
        documented_key: secrets.any(|secret| secret.is(DOCUMENTED_KEY)),
    }
}

fn handler(handler: &HandlerSettings, dispatch: &HandlerOptions) -> HandlerSummary {
    let used = match &handler.used {
        Use::Log => UseSummary::Log,
        Use::Jsonl { path } => UseSummary::Jsonl {
            path: path.display().to_string(),
        },
        Use::Exec(exec) => UseSummary::Exec {
            command: exec.command.clone(),
            env: exec.env.keys().cloned().collect(),
            reject_codes: exec.reject_codes.clone(),
        },
    };
    let options = handler.options.clone().or(dispatch);
    HandlerSummary {
        name: handler.name.clone(),
        used,
        events: options.events.map(names),
        sessions: options.sessions.map(|ids| ids.into_iter().collect()),
        order: options.order.unwrap_or_default().to_string(),
        timeout: options.timeout.unwrap_or(DEFAULT_TIMEOUT),
        concurrency: options.concurrency.unwrap_or(DEFAULT_CONCURRENCY),
    }
}

fn subscription(subscription: &SubscriptionSettings, settings: &Settings) -> SubscriptionSummary {
    let timeout = subscription.options.timeout;
    let options = subscription.options.clone().or(&settings.dispatch);
    SubscriptionSummary {
        name: subscription.name.clone(),
        session: subscription.session.clone(),
        webhook_url: subscription.shown_url(),
        events: options.events.map(names),
        signed: subscription.secret.is_some(),
        order: options.order.unwrap_or_default().to_string(),
        timeout: timeout.unwrap_or(settings.relay.options.timeout),
        concurrency: options.concurrency.unwrap_or(DEFAULT_CONCURRENCY),
    }
}

fn names(kinds: BTreeSet<EventKind>) -> Vec<&'static str> {
    kinds.into_iter().map(EventKind::as_str).collect()
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn maybe_seconds<S: Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let seconds = duration.as_ref().map(Duration::as_secs_f64);
    seconds.serialize(serializer)
}

fn seconds_each<S: Serializer>(
    durations: &BTreeMap<String, Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let pairs = durations.iter();
    serializer.collect_map(pairs.map(|(name, duration)| (name, duration.as_secs_f64())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Exec;
    use crate::signature::Secret;

    #[test]
    fn no_secret_is_part_of_it() {
        let secret = |text: &str| Secret::new(text).unwrap();
        let exec = Exec {
            command: vec!["notify".into()],
            env: [("TOKEN".to_owned(), "hidden-value".to_owned())].into(),
            reject_codes: vec![64],
        };
        let settings = Settings {
            sources: vec![
                Source::new("signed").secret(secret("hidden-secret")),
                Source::new("unsigned").dangerous_unsigned(secret("hidden-token-of-16")),
            ],
            handlers: vec![HandlerSettings {
                name: "notify".into(),
                used: Use::Exec(exec),
                options: HandlerOptions::default(),
            }],
            ..Settings::default()
        };
        let summary = settings.summary();
        let shown = serde_json::to_string(&summary).unwrap() + &format!("{summary:?}");
        assert!(!shown.contains("hidden"), "{shown}");
        assert!(shown.contains("TOKEN"), "{shown}");
        assert_eq!(summary.sources[1].paths[0], "/webhook/{token}");
        assert_eq!(summary.sources[1].scheme, None);
        assert_eq!(summary.handlers[0].timeout, DEFAULT_TIMEOUT);
    }
}
