//! `[[gateways]]`: the gateways that are told our public URL when the server starts.

use serde::{Serialize, Serializer};
use serde_json::json;

use super::kinds::{Variant, by_name, checked, noted, one_of, secret, text, texts, variant};
use super::sources::all_secrets;
use super::spot::Spot;
use crate::Source;
pub use crate::gateway::startup::GatewaySettings;
use crate::gateway::{Gateway, Kind, Registration, Shape};
use crate::signature::Secret;

impl GatewaySettings {
    /// Whether one of `sources` has the secret that the gateway is given, and verifies what gateways of this kind
    /// send; `None` if it is given none. Without such a source, what the gateway sends is refused.
    pub fn has_secret_of(&self, sources: &[Source]) -> Option<bool> {
        let secret = self.registration.signing_secret()?;
        let kind = self.gateway.kind();
        let schemes = kind.schemes();
        let mut sources = sources.iter().filter(|source| {
            let scheme = source.scheme.name();
            schemes.is_empty() || scheme == "hmac" || schemes.contains(&scheme)
        });
        Some(sources.any(|source| {
            if kind.takes_verify_token() {
                return source.scheme.other_secrets().contains(secret);
            }
            all_secrets(source).any(|one| one == secret)
        }))
    }
}

/// Writes no secrets: only the names of headers, and the URL in the form that may be shown.
impl Serialize for GatewaySettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_shape = self.gateway.kind() == Kind::Codeskytz;
        let written = json!({
            "name": self.name,
            "kind": self.gateway.kind().as_str(),
            "url": self.gateway.url(),
            "shape": has_shape.then(|| self.gateway.in_shape().as_str()),
            "headers": self.gateway.header_names().collect::<Vec<_>>(),
            "sessions": self.sessions,
            "webhook_url": self.registration.shown_url(),
            "events": self.registration.events_for(&self.gateway).ok(),
            "secret": self.registration.signing_secret(),
        });
        written.serialize(serializer)
    }
}

pub(super) fn gateway(table: &Spot<'_>) -> Option<GatewaySettings> {
    let of_kind = variant(table, "kind", None, &KINDS);
    let what = "our own URL as the gateway reaches it: \"https://me.example/webhook/{session}\"";
    let registration = table.required("webhook_url", webhook_url, what);
    // `headers = { Authorization = "Bearer env:TOKEN" }`
    let headers = table.read("headers", by_name(text)).unwrap_or_default();
    let wrong = "is empty; leave it out for the gateway's host";
    let name = table.read("name", checked(text, |name| !name.is_empty(), wrong));

    let OfKind {
        gateway,
        sessions,
        events,
        secret,
    } = of_kind?;
    let mut gateway = gateway?;
    for (name, value) in headers {
        let with_header = gateway.clone().header(&name, &value);
        gateway = noted(&table.at("headers"), with_header).unwrap_or(gateway);
    }
    let mut settings = GatewaySettings::new(gateway, sessions?, registration?);
    settings.name = name.unwrap_or(settings.name);
    if let Some(events) = events {
        settings.registration = settings.registration.events(events);
    }
    if let Some((_, secret)) = &secret {
        settings.registration = settings.registration.secret(secret.clone());
    }
    let (gateway, registration) = (&settings.gateway, &settings.registration);
    noted(&table.at("events"), registration.events_for(gateway));
    if let Some((key, _)) = secret {
        noted(&table.at(key), registration.secret_for(gateway));
    }
    if !gateway.kind().has_sessions() {
        noted(&table.at("webhook_url"), registration.url_for(""));
    }
    for session in &settings.sessions {
        noted(&table.at("sessions"), gateway.session(session));
    }
    Some(settings)
}

/// What the kind of a gateway decides; each is `None` if it is absent or wrong.
struct OfKind {
    gateway: Option<Gateway>,
    sessions: Option<Vec<String>>,
    events: Option<Vec<String>>,
    /// With its key.
    secret: Option<(&'static str, Secret)>,
}

impl OfKind {
    fn read(table: &Spot<'_>, kind: Kind) -> Self {
        let url = |spot: &Spot<'_>| noted(spot, Gateway::of(kind, &text(spot)?));
        let gateway = match kind.default_url() {
            None => table.required("url", url, "where the gateway's API is"),
            // Read all the same, so that the key is known.
            Some(default) if !table.has("url") => table
                .read("url", url)
                .or_else(|| Gateway::of(kind, default).ok()),
            Some(_) => table.read("url", url),
        };
        let key = match kind.needed_key() {
            Some(what) => table.required("api_key", text, what),
            None => table.read("api_key", text),
        };
        let gateway = gateway.and_then(|gateway| match key {
            Some(key) => noted(&table.at("api_key"), gateway.api_key(&key)),
            None => Some(gateway),
        });
        let what = "the list of sessions to register";
        let sessions = if kind.has_sessions() {
            table.required("sessions", sessions, what)
        } else {
            Some(Vec::new())
        };
        let secret = if kind.takes_verify_token() {
            let what = "the verify token, a text of your own that the source has too";
            let token = table.required("verify_token", secret, what);
            token.map(|token| ("verify_token", token))
        } else {
            let secret = table.read("secret", secret);
            secret.map(|secret| ("secret", secret))
        };
        Self {
            gateway,
            sessions,
            events: table.read("events", texts),
            secret,
        }
    }
}

const KINDS: [Variant<OfKind>; 8] = [
    ("codeskytz", |table| {
        let shape = table.read("shape", one_of(&Shape::ALL)).unwrap_or_default();
        let mut read = OfKind::read(table, Kind::Codeskytz);
        read.gateway = read.gateway.map(|gateway| gateway.shape(shape));
        if read.secret.is_some() && !shape.has_secret() {
            let text = format!("the shape {shape} has no room for a secret; take one of them out");
            table.at("secret").note(text);
        }
        Some(read)
    }),
    ("waha", |table| Some(OfKind::read(table, Kind::Waha))),
    ("evolution", |table| {
        Some(OfKind::read(table, Kind::Evolution))
    }),
    ("gowa", |table| Some(OfKind::read(table, Kind::Gowa))),
    ("telegram", |table| {
        Some(OfKind::read(table, Kind::Telegram))
    }),
    ("meta", |table| Some(OfKind::read(table, Kind::Meta))),
    ("meta-app", |table| Some(OfKind::read(table, Kind::MetaApp))),
    ("wuzapi", |table| Some(OfKind::read(table, Kind::Wuzapi))),
];

/// The URL that a gateway is told. It may hold a `path_token`, so it can be written like a secret.
fn webhook_url(spot: &Spot<'_>) -> Option<Registration> {
    noted(spot, Registration::resolve(&text(spot)?))
}

fn sessions(spot: &Spot<'_>) -> Option<Vec<String>> {
    let sessions = texts(spot)?;
    let found = sessions.len();
    if !(1..=MAX_SESSIONS).contains(&found) {
        let text = format!("expected 1 to {MAX_SESSIONS} sessions, found {found}");
        spot.note(text);
    }
    Some(sessions)
}

/// Hides the URLs that hold a source's `path_token`, because it is a secret.
pub(super) fn hide_path_tokens(gateways: &mut [GatewaySettings], sources: &[Source]) {
    for GatewaySettings { registration, .. } in gateways {
        let mut tokens = sources.iter().filter_map(|one| one.path_token.as_ref());
        if tokens.any(|token| registration.url_holds(token.expose())) {
            *registration = registration.clone().hide_url();
        }
    }
}

const MAX_SESSIONS: usize = 1000;
