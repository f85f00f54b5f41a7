//! `[[gateways]]`: the gateways that are told our public URL when the server starts.

use serde::{Serialize, Serializer};
use serde_json::json;

use super::kinds::{by_name, checked, noted, one_of, secret, text, texts};
use super::sources::all_secrets;
use super::spot::Spot;
use crate::Source;
pub use crate::gateway::startup::GatewaySettings;
use crate::gateway::{Gateway, Registration, Shape};
use crate::signature::Secret;

impl GatewaySettings {
    /// Whether one of `sources` has the secret that the gateway is given; `None` if it is given none.
    /// Without such a source, what the gateway sends is refused.
    pub fn has_secret_of(&self, sources: &[Source]) -> Option<bool> {
        let secret = self.registration.signing_secret()?;
        let mut secrets = sources.iter().flat_map(all_secrets);
        Some(secrets.any(|one| one == secret))
    }
}

/// Writes no secrets: only the names of headers, and the URL in the form that may be shown.
impl Serialize for GatewaySettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = json!({
            "name": self.name,
            "url": self.gateway.url(),
            "shape": self.gateway.in_shape().as_str(),
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
    let gateway = read_gateway(table);
    let what = "our own URL as the gateway reaches it: \"https://me.example/webhook/{session}\"";
    let registration = table.required("webhook_url", webhook_url, what);
    let what = "the list of sessions to register";
    let sessions = table.required("sessions", sessions, what);
    let events = table.read("events", texts);
    let wrong = "is not UTF-8 text, and can be told to no gateway";
    let secret = table.read("secret", checked(secret, is_utf8, wrong));
    let wrong = "is empty; leave it out for the gateway's host";
    let name = table.read("name", checked(text, |name| !name.is_empty(), wrong));

    let mut settings = GatewaySettings::new(gateway?, sessions?, registration?);
    settings.name = name.unwrap_or(settings.name);
    if let Some(events) = events {
        settings.registration = settings.registration.events(events);
    }
    if let Some(secret) = secret {
        settings.registration = settings.registration.secret(secret);
    }
    let (gateway, registration) = (&settings.gateway, &settings.registration);
    let shape = gateway.in_shape();
    noted(&table.at("events"), registration.events_for(gateway));
    if registration.signing_secret().is_some() && !shape.has_secret() {
        let text = format!("the shape {shape} has no room for a secret; take one of them out");
        table.at("secret").note(text);
    }
    for session in &settings.sessions {
        noted(&table.at("sessions"), gateway.session(session));
    }
    Some(settings)
}

fn read_gateway(table: &Spot<'_>) -> Option<Gateway> {
    let gateway = table.required("url", url, "where the gateway's API is");
    let shape = table.read("shape", one_of(&Shape::ALL)).unwrap_or_default();
    // `headers = { Authorization = "Bearer env:TOKEN" }`
    let headers = table.read("headers", by_name(text)).unwrap_or_default();
    let mut gateway = gateway?.shape(shape);
    for (name, value) in headers {
        let with_header = gateway.clone().header(&name, &value);
        gateway = noted(&table.at("headers"), with_header).unwrap_or(gateway);
    }
    Some(gateway)
}

fn url(spot: &Spot<'_>) -> Option<Gateway> {
    noted(spot, Gateway::new(&text(spot)?))
}

/// The URL that a gateway is told. It may hold a `path_token`, so it can be written like a secret.
fn webhook_url(spot: &Spot<'_>) -> Option<Registration> {
    noted(spot, Registration::resolve(&text(spot)?))
}

/// Whether a secret can be sent in JSON.
fn is_utf8(secret: &Secret) -> bool {
    std::str::from_utf8(secret.expose()).is_ok()
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
