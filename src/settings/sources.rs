//! `[[sources]]`: who may send, and how they prove it.

use std::sync::Arc;

use super::read::Table;
use crate::Source;
use crate::dialect::{Codeskytz, Dialect, Raw};
use crate::signature::{
    Algorithm, Encoding, Generic, Scheme, Secrets, StandardWebhooks, XWebhookSignature,
    is_undecodable,
};

pub(super) fn read(table: &Table<'_>) -> Option<Source> {
    let name = table.required("name", "the source's name in logs and metrics");
    let mut source = Source::new(name.unwrap_or_default());
    if let Some(path) = table.string("path") {
        source.path = path;
    }
    if let Some(scheme) = read_scheme(table) {
        source.scheme = scheme;
    }
    if let Some(dialect) = read_dialect(table) {
        source.dialect = dialect;
    }
    source.secrets = table.secrets("secrets").unwrap_or_default();
    source.sessions = read_sessions(table);
    check_secrets(table, &source);
    read_unsigned(table, &mut source);
    table.finish();
    Some(source)
}

fn read_scheme(table: &Table<'_>) -> Option<Arc<dyn Scheme>> {
    let later = "this version does not know this scheme yet";
    let name = table
        .string("scheme")
        .unwrap_or_else(|| "x-webhook-signature".to_owned());
    let scheme: Option<Arc<dyn Scheme>> = match name.as_str() {
        "x-webhook-signature" => Some(Arc::new(XWebhookSignature)),
        "hmac" => return read_hmac(table),
        "standard-webhooks" => Some(Arc::new(read_standard_webhooks(table))),
        "github" | "stripe" | "slack" | "meta" | "waha" => {
            table.problem("scheme", format!("{later}: {name:?}; allowed: {SCHEMES}"));
            None
        }
        other => {
            table.problem("scheme", format!("found {other:?}; allowed: {SCHEMES}"));
            None
        }
    };
    for key in HMAC_KEYS {
        if table.has(key) {
            table.problem(
                key,
                format!("belongs to scheme = \"hmac\"; this source has {name:?}"),
            );
        }
    }
    if name != "standard-webhooks" && table.has("tolerance") {
        let schemes = "belongs to scheme = \"hmac\" or \"standard-webhooks\"";
        table.problem("tolerance", format!("{schemes}; this source has {name:?}"));
    }
    scheme
}

fn read_standard_webhooks(table: &Table<'_>) -> StandardWebhooks {
    let scheme = StandardWebhooks::default();
    match table.duration("tolerance") {
        Some(tolerance) => scheme.tolerance(tolerance),
        None => scheme,
    }
}

/// A `whsec_` that cannot be decoded would verify nothing, and nobody would see why.
fn check_secrets(table: &Table<'_>, source: &Source) {
    if source.scheme.name() != StandardWebhooks::default().name() {
        return;
    }
    let text = "holds one that begins with whsec_, but what follows is no base64";
    if source.secrets.iter().any(is_undecodable) {
        table.problem("secrets", text);
    }
    let mut sessions = source.sessions.iter();
    if sessions.any(|(_, secrets)| secrets.iter().any(is_undecodable)) {
        table.problem("sessions", text);
    }
}

fn read_hmac(table: &Table<'_>) -> Option<Arc<dyn Scheme>> {
    let header = table.required("header", "the header that carries the signature");
    let name = header.as_deref().filter(|name| !is_header_name(name));
    if let Some(name) = name {
        table.problem(
            "header",
            format!("found {name:?}, which cannot be a header's name"),
        );
    }
    let mut scheme = Generic::new(header.clone().unwrap_or_default());
    if let Some(algorithm) = table.one_of("algorithm", &Algorithm::ALL) {
        scheme = scheme.algorithm(algorithm);
    }
    if let Some(encoding) = table.one_of("encoding", &Encoding::ALL) {
        scheme = scheme.encoding(encoding);
    }
    if let Some(prefix) = table.string("prefix") {
        scheme = scheme.prefix(prefix);
    }
    if let Some(tolerance) = table.duration("tolerance") {
        scheme = scheme.tolerance(tolerance);
    }
    if let Some(template) = table.string("template") {
        match scheme.clone().template(&template) {
            Ok(with_template) => {
                for name in with_template
                    .template_headers()
                    .filter(|name| !is_header_name(name))
                {
                    let text = format!("{name:?} in it cannot be a header's name");
                    table.problem("template", text);
                }
                scheme = with_template;
            }
            Err(error) => table.problem("template", format!("found {template:?}: {error}")),
        }
    }
    header.map(|_| Arc::new(scheme) as Arc<dyn Scheme>)
}

fn is_header_name(name: &str) -> bool {
    actix_http::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn read_dialect(table: &Table<'_>) -> Option<Arc<dyn Dialect>> {
    let name = table
        .string("dialect")
        .unwrap_or_else(|| "codeskytz".to_owned());
    let dialect: Option<Arc<dyn Dialect>> = match name.as_str() {
        "codeskytz" => Some(Arc::new(Codeskytz)),
        "raw" => return Some(Arc::new(read_raw(table))),
        "waha" | "evolution" | "gowa" | "meta" => {
            let text =
                format!("this version does not know the dialect {name:?} yet; allowed: {DIALECTS}");
            table.problem("dialect", text);
            None
        }
        other => {
            table.problem("dialect", format!("found {other:?}; allowed: {DIALECTS}"));
            None
        }
    };
    for key in RAW_KEYS {
        if table.has(key) {
            table.problem(
                key,
                format!("belongs to dialect = \"raw\"; this source has {name:?}"),
            );
        }
    }
    dialect
}

fn read_raw(table: &Table<'_>) -> Raw {
    let pointer = |key| {
        let pointer = table.string(key)?;
        if !pointer.is_empty() && !pointer.starts_with('/') {
            let text = format!("found {pointer:?}, expected a JSON pointer such as \"/data/type\"");
            table.problem(key, text);
        }
        Some(pointer)
    };
    let mut raw = Raw::default();
    if let Some(event) = pointer(RAW_KEYS[0]) {
        raw = raw.event(event);
    }
    if let Some(session) = pointer(RAW_KEYS[1]) {
        raw = raw.session(session);
    }
    raw
}

/// `sessions."id".secrets = […]`
fn read_sessions(table: &Table<'_>) -> Vec<(String, Secrets)> {
    let Some(sessions) = table.table("sessions") else {
        return Vec::new();
    };
    let read = sessions.children().into_iter().filter_map(|(id, session)| {
        let secrets = session.secrets("secrets");
        if !session.has("secrets") {
            session.problem(
                "secrets",
                "is missing; it is the list of this session's own secrets",
            );
        }
        session.finish();
        let secrets = secrets?;
        if secrets.is_empty() {
            session.problem(
                "secrets",
                "is empty; take the session out, or give it a secret",
            );
        }
        Some((id.to_owned(), Secrets::new(secrets)))
    });
    read.collect()
}

fn read_unsigned(table: &Table<'_>, source: &mut Source) {
    let unsigned = table.boolean("unsigned").unwrap_or(false);
    let token = table.secret("path_token");
    match (unsigned, token) {
        (true, Some(token)) => source.path_token = Some(token),
        (true, None) if !table.has("path_token") => {
            let text =
                "is needed with unsigned = true: 16 characters or more that nobody can guess";
            table.problem("path_token", text);
        }
        (false, Some(_)) => table.problem("path_token", "does nothing without unsigned = true"),
        (_, None) => {}
    }
    if unsigned {
        for key in ["secrets", "sessions", "scheme"] {
            if table.has(key) {
                table.problem(
                    key,
                    "does nothing with unsigned = true; take one of them out",
                );
            }
        }
    }
}

const SCHEMES: &str = "x-webhook-signature, standard-webhooks, hmac";
const DIALECTS: &str = "codeskytz, raw";
const HMAC_KEYS: [&str; 5] = ["header", "algorithm", "encoding", "prefix", "template"];
const RAW_KEYS: [&str; 2] = ["event_pointer", "session_pointer"];
