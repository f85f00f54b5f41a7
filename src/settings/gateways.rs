//! `[[gateways]]`: who is told our public URL when a server starts.

use std::collections::BTreeSet;

use super::read::Table;
use super::{GatewaySummary, Settings};
use crate::gateway::{Gateway, GatewayError, Registrar, Registration, Shape};
use crate::signature::Secret;

/// A gateway to register at.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewaySettings {
    /// Its name in logs; its host unless told.
    pub name: String,
    /// Where it is, and how it is asked.
    pub gateway: Gateway,
    /// The sessions to register, at least one.
    pub sessions: Vec<String>,
    /// What it is told.
    pub registration: Registration,
}

impl GatewaySettings {
    /// Registers `sessions` at `gateway`, under the name of its host.
    pub fn new(
        gateway: Gateway,
        sessions: impl IntoIterator<Item = impl Into<String>>,
        registration: Registration,
    ) -> Self {
        Self {
            name: gateway.host(),
            gateway,
            sessions: sessions.into_iter().map(Into::into).collect(),
            registration,
        }
    }

    pub(crate) fn registrar(&self) -> Registrar {
        Registrar {
            name: self.name.clone(),
            gateway: self.gateway.clone(),
            registration: self.registration.clone(),
            sessions: self.sessions.clone(),
        }
    }
}

pub(super) fn read(table: &Table<'_>) -> Option<GatewaySettings> {
    let url = table.required("url", "where the gateway's API is");
    let gateway = url.and_then(|url| noted(table, "url", Gateway::new(&url)));
    let shape = table.one_of("shape", &Shape::ALL).unwrap_or_default();
    let gateway = gateway.map(|gateway| read_headers(table, gateway.shape(shape)));
    let registration = read_registration(table);
    let sessions = read_sessions(table);
    let name = table.string("name");
    if name.as_ref().is_some_and(String::is_empty) {
        table.problem("name", "is empty; leave it out for the gateway's host");
    }
    table.finish();

    let mut settings = GatewaySettings::new(gateway?, sessions?, registration?);
    settings.name = name.unwrap_or(settings.name);
    let GatewaySettings {
        gateway,
        registration,
        ..
    } = &settings;
    noted(table, "events", registration.events_for(gateway))?;
    if registration.signing_secret().is_some() && !shape.has_secret() {
        let text = format!("the shape {shape} has no room for a secret; take one of them out");
        table.problem("secret", text);
    }
    for session in &settings.sessions {
        noted(table, "sessions", gateway.session_url(session))?;
    }
    Some(settings)
}

/// `webhook_url`, `events` and `secret`
fn read_registration(table: &Table<'_>) -> Option<Registration> {
    let what = "our own URL as the gateway reaches it: \"https://me.example/webhook/{session}\"";
    // It may hold a path_token, and be kept where secrets are.
    let registration = match table.required("webhook_url", what) {
        None => None,
        Some(text) if text.starts_with("env:") || text.starts_with("file:") => {
            let secret = table.secret("webhook_url");
            let text = secret.map(|secret| String::from_utf8_lossy(secret.expose()).into_owned());
            let hidden =
                text.and_then(|text| noted(table, "webhook_url", Registration::new(&text)));
            hidden.map(Registration::hide_url)
        }
        Some(text) => noted(table, "webhook_url", Registration::new(&text)),
    };
    let events = table.strings("events");
    let secret = table.secret("secret");
    if let Some(secret) = &secret
        && std::str::from_utf8(secret.expose()).is_err()
    {
        table.problem("secret", "is not UTF-8 text, and can be told to no gateway");
    }
    let mut registration = registration?;
    if let Some(events) = events {
        registration = registration.events(events);
    }
    if let Some(secret) = secret {
        registration = registration.secret(secret);
    }
    Some(registration)
}

/// `headers = { Authorization = "Bearer env:TOKEN" }`
fn read_headers(table: &Table<'_>, gateway: Gateway) -> Gateway {
    let Some(headers) = table.table("headers") else {
        return gateway;
    };
    let texts = headers.texts().into_iter();
    texts.fold(gateway, |gateway, (name, value)| {
        match gateway.clone().header(name, &value) {
            Ok(with_header) => with_header,
            Err(GatewayError::Header { problem, .. }) => {
                headers.problem(name, problem);
                gateway
            }
            Err(other) => {
                headers.problem(name, other.to_string());
                gateway
            }
        }
    })
}

fn read_sessions(table: &Table<'_>) -> Option<Vec<String>> {
    if !table.has("sessions") {
        table.problem(
            "sessions",
            "is missing; it is the list of sessions to register",
        );
    }
    let sessions = table.strings("sessions")?;
    let different: BTreeSet<_> = sessions.iter().collect();
    if sessions.is_empty() || sessions.len() > MAX_SESSIONS {
        let text = format!(
            "expected 1 to {MAX_SESSIONS} sessions, found {}",
            sessions.len()
        );
        table.problem("sessions", text);
    } else if different.len() < sessions.len() {
        table.problem("sessions", "one of them is listed twice");
    }
    Some(sessions)
}

fn noted<T>(table: &Table<'_>, key: &str, result: Result<T, GatewayError>) -> Option<T> {
    result
        .map_err(|error| table.problem(key, error.to_string()))
        .ok()
}

/// A `path_token` is a secret, in a `webhook_url` too.
pub(super) fn hide_path_tokens(settings: &mut Settings) {
    let tokens = settings.sources.iter();
    let tokens: Vec<&Secret> = tokens.filter_map(|one| one.path_token.as_ref()).collect();
    for gateway in &mut settings.gateways {
        let registration = &gateway.registration;
        if tokens
            .iter()
            .any(|token| registration.url_holds(token.expose()))
        {
            gateway.registration = registration.clone().hide_url();
        }
    }
}

pub(super) fn summary(settings: &Settings) -> Vec<GatewaySummary> {
    let known = |secret: &Secret| {
        let sources = settings.sources.iter();
        let mut secrets = sources.flat_map(|source| {
            let own = source.sessions.iter().flat_map(|(_, own)| own.iter());
            source.secrets.iter().chain(own)
        });
        secrets.any(|one| one.is(secret.expose()))
    };
    let gateways = settings.gateways.iter();
    let summaries = gateways.map(|one| {
        let events = one
            .registration
            .events_for(&one.gateway)
            .unwrap_or_default();
        let secret = one.registration.signing_secret();
        GatewaySummary {
            name: one.name.clone(),
            url: one.gateway.url().to_owned(),
            shape: one.gateway.in_shape().as_str(),
            sessions: one.sessions.clone(),
            webhook_url: one.registration.shown_url(),
            events: events.into_iter().map(str::to_owned).collect(),
            secret: secret.is_some(),
            secret_known: secret.is_some_and(known),
            headers: one.gateway.header_names().map(str::to_owned).collect(),
            warnings: one.registration.warnings(&one.gateway),
        }
    });
    summaries.collect()
}

const MAX_SESSIONS: usize = 1000;
