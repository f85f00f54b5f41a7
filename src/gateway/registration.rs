//! [`Registration`]: what a gateway is told, and checks for likely mistakes.

use std::fmt;
use std::net::IpAddr;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::{Host, Url};

use super::api::SecretUse;
use super::target::parse;
use super::{Gateway, GatewayError};
use crate::signature::Secret;

/// Where a gateway sends a session's events, which events, and the secret that it signs them with.
///
/// `Debug` shows no secret.
#[derive(Clone, PartialEq)]
pub struct Registration {
    /// The URL as given, with `{session}` in it.
    webhook_url: String,
    hidden: bool,
    events: Option<Vec<String>>,
    secret: Option<Secret>,
}

impl Registration {
    /// Asks for the default events of the gateway's kind, sent to `webhook_url`. `{session}` in the URL
    /// stands for the session's id.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Url`] if it is not an http or https URL, or has a password in it.
    pub fn new(webhook_url: &str) -> Result<Self, GatewayError> {
        parse(&webhook_url.replace(SESSION, "session"), EXAMPLE)?;
        Ok(Self {
            webhook_url: webhook_url.to_owned(),
            hidden: false,
            events: None,
            secret: None,
        })
    }

    /// The same, where the URL may be written as `env:NAME` or `file:PATH`. Of such a URL only the host
    /// is shown.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Url`], also if the variable or the file cannot be read.
    pub fn resolve(webhook_url: &str) -> Result<Self, GatewayError> {
        if !webhook_url.starts_with("env:") && !webhook_url.starts_with("file:") {
            return Self::new(webhook_url);
        }
        let url = Secret::resolve(webhook_url);
        let url = url.map_err(|error| GatewayError::Url(error.to_string()))?;
        Ok(Self::new(&String::from_utf8_lossy(url.expose()))?.hide_url())
    }

    /// Shows only the host of the URL. For a URL that holds a token.
    #[must_use]
    pub const fn hide_url(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Sets the events to ask for, as this kind of gateway names them. Default: all that become typed events; for
    /// the documented gateway [`Shape::default_events`](super::Shape::default_events).
    #[must_use]
    pub fn events(mut self, events: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.events = Some(events.into_iter().map(Into::into).collect());
        self
    }

    /// Sets the secret that the gateway signs with; at Meta the verify token, without which there is no
    /// registration. Default: none.
    #[must_use]
    pub fn secret(mut self, secret: Secret) -> Self {
        self.secret = Some(secret);
        self
    }

    /// The URL as it may be shown, with `{session}` in it.
    pub fn shown_url(&self) -> String {
        self.shown(&self.webhook_url)
    }

    /// The events that it asks this gateway for.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Event`] if such a gateway does not know one of them; [`GatewayError::Events`] if
    /// there are none, or it cannot be asked for these.
    pub fn events_for(&self, gateway: &Gateway) -> Result<Vec<&str>, GatewayError> {
        let api = gateway.api();
        let Some(events) = &self.events else {
            return Ok(api.default_events().to_vec());
        };
        api.check_events(events)?;
        if !(1..=MAX_EVENTS).contains(&events.len()) {
            let text = format!("expected 1 to {MAX_EVENTS} events, or none to be left out");
            return Err(GatewayError::Events(text));
        }
        Ok(events.iter().map(String::as_str).collect())
    }

    /// Likely mistakes, one sentence each.
    pub fn warnings(&self, gateway: &Gateway) -> Vec<String> {
        let mut warnings = Vec::new();
        let ours = parse(&self.webhook_url.replace(SESSION, "session"), "").ok();
        let is_far = |url: &&Url| is_loopback(url) && !is_loopback(&gateway.base);
        if let Some(ours) = ours.as_ref().filter(is_far) {
            warnings.push(format!(
                "The webhook URL is on {}, which to the gateway is the gateway's own machine: \
                 give a URL that leads here from there.",
                ours.host_str().unwrap_or_default()
            ));
        }
        if let Some(ours) = ours.filter(|url| url.scheme() == "http")
            && gateway.api().needs_https()
            && !is_loopback(&gateway.base)
        {
            let host = ours.host_str().unwrap_or_default();
            warnings.push(format!(
                "The webhook URL at {host} is http, and {} sends to https only.",
                gateway.kind()
            ));
        }
        match (gateway.api().secret(), &self.secret) {
            (SecretUse::None, Some(_)) => warnings.push(format!(
                "The shape {} has no room for a secret, so none is sent and the gateway signs \
                 nothing: receive it at a source with `unsigned` and a `path_token`.",
                gateway.in_shape()
            )),
            (SecretUse::Signs, None) => warnings.push(
                "Without a secret the gateway signs nothing, and a source that verifies refuses \
                 what it sends."
                    .to_owned(),
            ),
            _ => (),
        }
        warnings
    }

    /// The secret that it tells this gateway, as text.
    pub(crate) fn secret_for(&self, gateway: &Gateway) -> Result<Option<&str>, GatewayError> {
        let secret = self.secret.as_ref();
        let secret = secret.map(|secret| std::str::from_utf8(secret.expose()));
        let secret = secret.transpose().map_err(|_| GatewayError::Secret)?;
        match secret {
            Some(secret) => gateway.api().check_secret(secret)?,
            None if gateway.api().secret() == SecretUse::Verifies => {
                return Err(GatewayError::NoVerifyToken);
            }
            None => {}
        }
        Ok(secret)
    }

    pub(crate) const fn signing_secret(&self) -> Option<&Secret> {
        self.secret.as_ref()
    }

    /// Whether the URL contains this text.
    pub(crate) fn url_holds(&self, text: &[u8]) -> bool {
        let mut parts = self.webhook_url.as_bytes().windows(text.len().max(1));
        parts.any(|part| part == text)
    }

    /// The URL for a session: the one to send and the one to show. An empty session is none.
    pub(crate) fn url_for(&self, session: &str) -> Result<(String, String), GatewayError> {
        if session.is_empty() && self.webhook_url.contains(SESSION) {
            let text =
                "{session} in the URL stands for a session, and this kind of gateway has none";
            return Err(GatewayError::Url(text.to_owned()));
        }
        let session = utf8_percent_encode(session, ODD).to_string();
        let url = self.webhook_url.replace(SESSION, &session);
        parse(&url, EXAMPLE)?;
        let shown = self.shown(&url);
        Ok((url, shown))
    }

    /// `https://host/***`, if the URL is hidden. Otherwise without its query, which may be a token.
    fn shown(&self, url: &str) -> String {
        if !self.hidden {
            return match url.split_once('?') {
                Some((place, _)) => format!("{place}?…"),
                None => url.to_owned(),
            };
        }
        let (scheme, rest) = url.split_once("://").unwrap_or_default();
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        format!("{scheme}://{host}/***")
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("webhook_url", &self.shown_url())
            .field("events", &self.events)
            .field("secret", &self.secret)
            .finish_non_exhaustive()
    }
}

/// Whether the host is a loopback address or name.
fn is_loopback(url: &Url) -> bool {
    let ip: IpAddr = match url.host() {
        Some(Host::Ipv4(ip)) => ip.into(),
        Some(Host::Ipv6(ip)) => ip.to_canonical(),
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            return name == "localhost" || name.ends_with(".localhost");
        }
        None => return false,
    };
    ip.is_loopback() || ip.is_unspecified()
}

const SESSION: &str = "{session}";
const EXAMPLE: &str = "https://me.example/webhook";
/// Everything except the unreserved characters of RFC 3986.
const ODD: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const MAX_EVENTS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::{Kind, Shape};

    fn gateway(url: &str) -> Gateway {
        Gateway::new(url).unwrap()
    }

    #[test]
    fn the_session_is_put_into_the_url() {
        let registration = Registration::new("https://me/webhook/{session}").unwrap();
        let (url, _) = registration.url_for("408f-7_2.~ a/b").unwrap();
        assert_eq!(url, "https://me/webhook/408f-7_2.~%20a%2Fb");
        for odd in [
            "",
            "me/webhook",
            "ftp://me",
            "http://u:p@me",
            "http://me/a b",
        ] {
            assert!(Registration::new(odd).is_err(), "{odd}");
        }
    }

    #[test]
    fn a_hidden_url_and_a_secret_are_not_shown() {
        let registration = Registration::new("https://me:1/hidden/{session}?hidden")
            .unwrap()
            .hide_url()
            .secret(Secret::new("hidden").unwrap());
        let (_, shown) = registration.url_for("s").unwrap();
        let all = format!("{registration:?} {} {shown}", registration.shown_url());
        assert!(
            !all.contains("hidden") && all.contains("https://me:1/***"),
            "{all}"
        );
        assert!(registration.url_holds(b"hidden") && !registration.url_holds(b"other"));
    }

    #[test]
    fn a_loopback_url_means_something_else_to_a_gateway_elsewhere() {
        let table = [
            (
                "http://127.0.0.1:5000/webhook",
                "https://gateway.example",
                true,
            ),
            ("http://localhost/webhook", "http://10.0.0.1", true),
            ("http://[::1]/webhook", "http://gw", true),
            ("http://[::ffff:127.0.0.1]/", "http://gw", true),
            ("http://127.1/", "http://gw", true),
            ("http://0.0.0.0:5000/", "http://gw", true),
            ("http://a.localhost./", "http://gw", true),
            ("http://127.0.0.1:5000/", "http://localhost:3000", false),
            ("https://me.example/", "https://gateway.example", false),
            (
                "https://localhost.example/",
                "https://gateway.example",
                false,
            ),
            ("http://10.0.0.2/", "http://10.0.0.1", false),
        ];
        for (ours, theirs, expected) in table {
            let registration = Registration::new(ours).unwrap();
            let registration = registration.secret(Secret::new("s").unwrap());
            let warnings = registration.warnings(&gateway(theirs));
            assert_eq!(
                !warnings.is_empty(),
                expected,
                "{ours} {theirs}: {warnings:?}"
            );
        }
    }

    #[test]
    fn what_becomes_of_the_secret_is_said() {
        let plain = Registration::new("https://me").unwrap();
        let signed = plain.clone().secret(Secret::new("s").unwrap());
        for (_, shape) in Shape::ALL {
            let gateway = gateway("https://gw").shape(shape);
            let said = |one: &Registration| !one.warnings(&gateway).is_empty();
            assert_eq!(
                (said(&plain), said(&signed)),
                (shape.has_secret(), !shape.has_secret())
            );
        }
    }

    #[test]
    fn a_verify_token_is_needed_and_https_expected() {
        let meta = Gateway::of(Kind::Meta, "https://graph.example").unwrap();
        let plain = Registration::new("http://me.example/hook").unwrap();
        assert!(plain.secret_for(&meta).is_err());
        assert!(plain.warnings(&meta)[0].contains("https only"));
        let told = plain.secret(Secret::new("a token").unwrap());
        assert_eq!(told.secret_for(&meta).unwrap(), Some("a token"));
        let telegram = Gateway::of(Kind::Telegram, "https://api.telegram.org").unwrap();
        assert!(told.secret_for(&telegram).is_err(), "with a space in it");
        assert!(
            Registration::new("https://me/{session}")
                .unwrap()
                .url_for("")
                .is_err()
        );
    }

    #[test]
    fn events_are_those_of_the_shape() {
        let plain = Registration::new("https://me").unwrap();
        let gateway = gateway("https://gw").shape(Shape::Implementation);
        assert_eq!(plain.events_for(&gateway).unwrap(), ["message", "status"]);
        let connection = plain.clone().events(["connection"]);
        assert!(connection.events_for(&gateway).is_err());
        let none: [&str; 0] = [];
        assert!(plain.clone().events(none).events_for(&gateway).is_err());
        assert!(
            plain
                .events(vec!["message"; 65])
                .events_for(&gateway)
                .is_err()
        );
    }
}
