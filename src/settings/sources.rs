//! `[[sources]]`: who may send, and how they prove it.

use std::sync::Arc;
use std::time::Duration;

use super::kinds::{boolean, by_name, duration, one_of, secret, secret_list, some, text};
use super::spot::{Keys as _, Spot, keys};
use crate::Source;
use crate::dialect::{Codeskytz, Dialect, Raw};
use crate::signature::{
    Algorithm, Encoding, Generic, Scheme, Secret, Secrets, StandardWebhooks, Template,
    XWebhookSignature, is_undecodable,
};

keys!(Source {
    name: text => "the source's name in logs and metrics",
    path: text,
    secrets: secret_list,
    quiet_after: some(duration),
    path_token: some(secret),
});

pub(super) fn source(spot: &Spot<'_>) -> Option<Source> {
    spot.table(|table| {
        let mut source = Source::new("");
        source.fill(table);
        source.scheme = read_scheme(table).unwrap_or(source.scheme);
        source.dialect = read_dialect(table).unwrap_or(source.dialect);
        let sessions = table.read("sessions", by_name(session));
        for (id, (secrets, quiet_after)) in sessions.unwrap_or_default() {
            let secrets = secrets.map(|secrets| (id.clone(), Secrets::new(secrets)));
            source.sessions.extend(secrets);
            let quiet = quiet_after.map(|quiet_after| (id, quiet_after));
            source.quiet_sessions.extend(quiet);
        }
        check_secrets(table, &source);
        check_unsigned(table, &source);
        source
    })
}

/// `sessions."id"`: the session's own secrets, its own `quiet_after`, or both.
fn session(spot: &Spot<'_>) -> Option<(Option<Vec<Secret>>, Option<Duration>)> {
    spot.table(|table| {
        let secrets = table.read("secrets", secret_list);
        let quiet_after = table.read("quiet_after", duration);
        if !table.has("secrets") && !table.has("quiet_after") {
            let text =
                "is missing; it is the list of this session's own secrets (or set quiet_after)";
            table.note_at("secrets", text);
        }
        if secrets.as_ref().is_some_and(Vec::is_empty) {
            let text = "is empty; take the session out, or give it a secret";
            table.note_at("secrets", text);
        }
        (secrets, quiet_after)
    })
}

keys!(Generic {
    header: header_name => "the header that carries the signature",
    algorithm: one_of(&Algorithm::ALL),
    encoding: one_of(&Encoding::ALL),
    prefix: text,
    template: template,
    tolerance: duration,
});

keys!(StandardWebhooks {
    tolerance: duration,
});

fn read_scheme(table: &Spot<'_>) -> Option<Arc<dyn Scheme>> {
    let names = ["x-webhook-signature", "standard-webhooks", "hmac"].map(|name| (name, name));
    let name = table.read_or("scheme", one_of(&names), names[0].0);
    let (mut hmac, mut standard) = (Generic::new(""), StandardWebhooks::default());
    let scheme: Option<Arc<dyn Scheme>> = match name {
        Some("hmac") => {
            hmac.fill(table);
            Some(Arc::new(hmac))
        }
        Some("standard-webhooks") => {
            standard.fill(table);
            Some(Arc::new(standard))
        }
        Some(_) => Some(Arc::new(XWebhookSignature)),
        None => None,
    };
    let wrong = name.map(|name| format!("does not belong to scheme = {name:?}"));
    table.pass(wrong.as_deref(), |table| Generic::new("").fill(table));
    scheme
}

keys!(Raw {
    event_pointer: some(pointer),
    session_pointer: some(pointer),
});

fn read_dialect(table: &Spot<'_>) -> Option<Arc<dyn Dialect>> {
    let names = ["codeskytz", "raw"].map(|name| (name, name));
    let name = table.read_or("dialect", one_of(&names), names[0].0);
    let mut raw = Raw::default();
    if name == Some("raw") {
        raw.fill(table);
        return Some(Arc::new(raw));
    }
    let wrong = name.map(|name| format!("does not belong to dialect = {name:?}"));
    table.pass(wrong.as_deref(), |table| raw.fill(table));
    Some(Arc::new(Codeskytz))
}

fn header_name(spot: &Spot<'_>) -> Option<String> {
    let name = text(spot)?;
    if !is_header_name(&name) {
        spot.note(format!("found {name:?}, which cannot be a header's name"));
    }
    Some(name)
}

fn is_header_name(name: &str) -> bool {
    actix_http::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn template(spot: &Spot<'_>) -> Option<Template> {
    let text = text(spot)?;
    match text.parse::<Template>() {
        Ok(template) => {
            if let Some(name) = template.headers().find(|name| !is_header_name(name)) {
                spot.note(format!("{name:?} in it cannot be a header's name"));
            }
            Some(template)
        }
        Err(error) => {
            spot.note(format!("found {text:?}: {error}"));
            None
        }
    }
}

/// A JSON pointer.
fn pointer(spot: &Spot<'_>) -> Option<String> {
    let pointer = text(spot)?;
    if pointer.is_empty() || pointer.starts_with('/') {
        return Some(pointer);
    }
    spot.wrong("a JSON pointer such as \"/data/type\"")
}

/// A `whsec_` secret that cannot be decoded would verify nothing, without any message that says why.
fn check_secrets(table: &Spot<'_>, source: &Source) {
    if source.scheme.name() != StandardWebhooks::default().name() {
        return;
    }
    let text = "holds one that begins with whsec_, but what follows is no base64";
    if source.secrets.iter().any(is_undecodable) {
        table.note_at("secrets", text);
    }
    let mut sessions = source.sessions.iter();
    if sessions.any(|(_, secrets)| secrets.iter().any(is_undecodable)) {
        table.note_at("sessions", text);
    }
}

/// A source either verifies signatures or has a token in its path.
fn check_unsigned(table: &Spot<'_>, source: &Source) {
    let own = !source.sessions.is_empty();
    match table.read_or("unsigned", boolean, false) {
        Some(true) => {
            if !table.has("path_token") {
                let text =
                    "is needed with unsigned = true: 16 characters or more that nobody can guess";
                table.note_at("path_token", text);
            }
            for key in ["secrets", "sessions", "scheme"] {
                if table.has(key) && (key != "sessions" || own) {
                    let text = "does nothing with unsigned = true; take one of them out";
                    table.note_at(key, text);
                }
            }
        }
        Some(false) if source.path_token.is_some() => {
            table.note_at("path_token", "does nothing without unsigned = true");
        }
        _ => {}
    }
}
