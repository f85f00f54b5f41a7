//! `[[sources]]`: who may send, and how they prove it.

use std::sync::Arc;
use std::time::Duration;

use config::ValueKind;

use super::kinds::{
    Variant, boolean, by_name, checked, duration, noted, one_of, secret, secret_list, some, text,
    texts, variant, variant_or,
};
use super::spot::{Spot, keys};
use crate::Source;
use crate::dialect::{Codeskytz, Dialect, Evolution, Gowa, Raw, Telegram, Waha};
use crate::signature::{
    Algorithm, Encoding, EvolutionJwt, Generic, Meta, Scheme, Secret, Secrets, Slack,
    StandardWebhooks, Stripe, Template, Token, Twilio, XWebhookSignature, is_undecodable,
};

keys!(Source {
    name: text => "the source's name in logs and metrics",
    path: text,
    secrets: secret_list,
    quiet_after: some(duration),
    path_token: some(secret),
    probe: boolean,
});

pub(super) fn source(table: &Spot<'_>) -> Option<Source> {
    let mut source = table.over(Source::new(""));
    let scheme = variant(table, "scheme", None, &SCHEMES);
    source.scheme = scheme.unwrap_or(source.scheme);
    let dialect = default_dialect(source.scheme.name());
    let dialect = variant_or(table, "dialect", dialect, &DIALECTS);
    source.dialect = dialect.unwrap_or(source.dialect);
    let sessions = table.read("sessions", by_name(session));
    for (id, (secrets, quiet_after)) in sessions.unwrap_or_default() {
        let secrets = secrets.map(|secrets| (id.clone(), Secrets::new(secrets)));
        source.sessions.extend(secrets);
        let quiet = quiet_after.map(|quiet_after| (id, quiet_after));
        source.quiet_sessions.extend(quiet);
    }
    check_secrets(table, &source);
    check_unsigned(table, &source);
    Some(source)
}

/// The secrets of a source and of its sessions.
pub(super) fn all_secrets(source: &Source) -> impl Iterator<Item = &Secret> {
    let own = source.sessions.iter().flat_map(|(_, own)| own.iter());
    source.secrets.iter().chain(own)
}

/// `sessions."id"`: the session's own secrets, its own `quiet_after`, or both.
fn session(spot: &Spot<'_>) -> Option<(Option<Vec<Secret>>, Option<Duration>)> {
    spot.table(|table| {
        let wrong = "is empty; take the session out, or give it a secret";
        let own = checked(secret_list, |secrets| !secrets.is_empty(), wrong);
        let secrets = table.read("secrets", own);
        let quiet_after = table.read("quiet_after", duration);
        if !table.has("secrets") && !table.has("quiet_after") {
            let text =
                "is missing; it is the list of this session's own secrets (or set quiet_after)";
            table.at("secrets").note(text);
        }
        (secrets, quiet_after)
    })
}

/// The dialect that the senders of a scheme speak.
fn default_dialect(scheme: &str) -> &str {
    match scheme {
        "x-webhook-signature" | "standard-webhooks" | "hmac" => "codeskytz",
        "evolution-jwt" => "evolution",
        // Where no dialect has the name of the scheme, it is `raw`.
        same => same,
    }
}

/// Where the senders of the table's scheme write the name of an event and its session.
fn raw_of(table: &Spot<'_>) -> Raw {
    let raw = Raw::default();
    let ValueKind::String(scheme) = table.at("scheme").value else {
        return raw;
    };
    match scheme.as_str() {
        "slack" => { raw.event("/event/type").or_event("/type") }.session("/team_id"),
        "stripe" => raw.event("/type").session("/account"),
        "viber" => raw.event("/event"),
        "line" => { raw.each("/events") }
            .event("/type")
            .session("/destination"),
        // A message, and each status of it, are events of their own.
        "twilio" => { raw.event_field("SmsStatus") }.id_fields(["MessageSid", "MessageStatus"]),
        _ => raw,
    }
}

/// A preset of `hmac`.
fn preset(name: &str) -> Option<Arc<dyn Scheme>> {
    let scheme: Arc<dyn Scheme> = Arc::new(Generic::preset(name)?);
    Some(scheme)
}

const SCHEMES: [Variant<Arc<dyn Scheme>>; 18] = [
    ("x-webhook-signature", |_| Some(Arc::new(XWebhookSignature))),
    ("standard-webhooks", |table| {
        Some(Arc::new(table.over(StandardWebhooks::default())))
    }),
    ("hmac", |table| Some(Arc::new(table.over(Generic::new(""))))),
    ("github", |_| preset("github")),
    ("stripe", |table| {
        Some(Arc::new(table.over(Stripe::default())))
    }),
    ("slack", |table| {
        let tolerance = table.read("tolerance", duration);
        let slack = Slack::default();
        Some(Arc::new(match tolerance {
            Some(tolerance) => slack.tolerance(tolerance),
            None => slack,
        }))
    }),
    ("meta", |table| Some(Arc::new(table.over(Meta::with(None))))),
    ("waha", |_| preset("waha")),
    ("gowa", |_| preset("gowa")),
    ("shopify", |_| preset("shopify")),
    ("line", |_| preset("line")),
    ("viber", |_| preset("viber")),
    ("wuzapi", |_| preset("wuzapi")),
    ("openwa", |_| preset("openwa")),
    ("token", |table| Some(Arc::new(table.over(Token::new(""))))),
    ("telegram", |_| Some(Arc::new(Token::telegram()))),
    ("evolution-jwt", |_| Some(Arc::new(EvolutionJwt))),
    ("twilio", |table| {
        let what = "the address that Twilio was given, such as \"https://me.example/twilio\"";
        let twilio = table.required("public_url", public_url, what);
        let algorithm = table.read("algorithm", one_of(&Twilio::ALGORITHMS));
        let twilio = twilio?;
        Some(Arc::new(match algorithm {
            Some(algorithm) => twilio.algorithm(algorithm),
            None => twilio,
        }))
    }),
];

keys!(Stripe {
    tolerance: duration,
});

keys!(Meta {
    verify_token: some(secret) => "the token that the app's settings at Meta name beside the address",
});

keys!(Token {
    header: header_name => "the header that carries the secret",
    prefix: text,
});

/// The address that Twilio signs.
fn public_url(spot: &Spot<'_>) -> Option<Twilio> {
    let twilio = Twilio::new(text(spot)?);
    twilio.or_else(|| spot.wrong("an address such as \"https://me.example/twilio\""))
}

keys!(StandardWebhooks {
    tolerance: duration,
});

keys!(Generic {
    header: header_name => "the header that carries the signature",
    algorithm: one_of(&Algorithm::ALL),
    encoding: one_of(&Encoding::ALL),
    prefix: text,
    template: template,
    tolerance: duration,
    separator: some(checked(text, |text| !text.is_empty(), "is empty; expected one such as \",\"")),
    id_header: some(lower_header_name),
    id_pointer: some(pointer),
    event_header: some(lower_header_name),
});

const DIALECTS: [Variant<Arc<dyn Dialect>>; 7] = [
    ("codeskytz", |_| Some(Arc::new(Codeskytz))),
    ("meta", |_| Some(Arc::new(crate::dialect::Meta))),
    ("waha", |_| Some(Arc::new(Waha))),
    ("evolution", |_| Some(Arc::new(Evolution))),
    ("gowa", |_| Some(Arc::new(Gowa))),
    ("telegram", |_| Some(Arc::new(Telegram))),
    ("raw", |table| Some(Arc::new(table.over(raw_of(table))))),
];

keys!(Raw {
    event_pointer: pointers,
    session_pointer: some(pointer),
    events_pointer: some(pointer),
    event_field: some(text),
    session_field: some(text),
    id_fields: texts,
});

fn header_name(spot: &Spot<'_>) -> Option<String> {
    let name = text(spot)?;
    if !is_header_name(&name) {
        spot.note(format!("found {name:?}, which cannot be a header's name"));
    }
    Some(name)
}

fn lower_header_name(spot: &Spot<'_>) -> Option<String> {
    header_name(spot).map(|name| name.to_ascii_lowercase())
}

fn is_header_name(name: &str) -> bool {
    actix_http::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
}

fn template(spot: &Spot<'_>) -> Option<Template> {
    let text = text(spot)?;
    let parsed = text.parse::<Template>();
    let parsed = parsed.map_err(|error| format!("found {text:?}: {error}"));
    let template = noted(spot, parsed)?;
    if let Some(name) = template.headers().find(|name| !is_header_name(name)) {
        spot.note(format!("{name:?} in it cannot be a header's name"));
    }
    Some(template)
}

/// A JSON pointer.
fn pointer(spot: &Spot<'_>) -> Option<String> {
    let pointer = text(spot)?;
    if pointer.is_empty() || pointer.starts_with('/') {
        return Some(pointer);
    }
    spot.wrong("a JSON pointer such as \"/data/type\"")
}

/// A JSON pointer, or a list of them.
fn pointers(spot: &Spot<'_>) -> Option<Vec<String>> {
    match spot.value {
        ValueKind::Array(_) => spot.each("[\"/event/type\", \"/type\"]", pointer),
        _ => pointer(spot).map(|one| vec![one]),
    }
}

/// A `whsec_` secret that cannot be decoded would verify nothing, without any message that says why.
fn check_secrets(table: &Spot<'_>, source: &Source) {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_-".contains(byte);
    let is_token =
        |secret: &Secret| secret.expose().len() <= 256 && secret.expose().iter().all(is_plain);
    if source.scheme.name() == "telegram" && !all_secrets(source).all(is_token) {
        let text = "holds one that Telegram does not take: 1 to 256 of A-Z, a-z, 0-9, _ and -";
        table.at("secrets").note(text);
    }
    if source.scheme.name() == "token" {
        check_ends(table, source);
    }
    if source.scheme.name() != StandardWebhooks::default().name() {
        return;
    }
    let text = "holds one that begins with whsec_, but what follows is no base64";
    if source.secrets.iter().any(is_undecodable) {
        table.at("secrets").note(text);
    }
    let mut sessions = source.sessions.iter();
    if sessions.any(|(_, secrets)| secrets.iter().any(is_undecodable)) {
        table.at("sessions").note(text);
    }
}

/// White space at an end of a header's value is taken off on its way, so a secret that has it is never right.
fn check_ends(table: &Spot<'_>, source: &Source) {
    let parameters = source.scheme.parameters();
    let is_whole = parameters.contains(&("prefix", String::new()));
    let is_cut = |secret: &Secret| {
        let secret = secret.expose();
        let begins = is_whole && secret.trim_ascii_start() != secret;
        begins || secret.trim_ascii_end() != secret
    };
    if all_secrets(source).any(is_cut) {
        let text = "holds one with white space at an end, which HTTP takes off a header: it can never be right";
        table.at("secrets").note(text);
    }
}

/// A source either verifies signatures or has a token in its path.
fn check_unsigned(table: &Spot<'_>, source: &Source) {
    let own = !source.sessions.is_empty();
    match table.read("unsigned", boolean) {
        Some(true) => {
            if !table.has("path_token") {
                let text = "is needed with unsigned = true: 16 random characters or more";
                table.at("path_token").note(text);
            }
            for key in ["secrets", "sessions", "scheme"] {
                if table.has(key) && (key != "sessions" || own) {
                    let text = "does nothing with unsigned = true; take one of them out";
                    table.at(key).note(text);
                }
            }
        }
        // A value that could not be read is the only problem.
        None if table.has("unsigned") => {}
        _ if source.path_token.is_some() => {
            let text = "does nothing without unsigned = true";
            table.at("path_token").note(text);
        }
        _ => {}
    }
}
