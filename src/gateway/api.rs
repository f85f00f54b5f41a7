//! [`Api`]: what the gateways of one kind are asked.

use http::Method;

use super::GatewayError;

/// The requests that gateways of one kind take, as plain data.
pub(super) trait Api: Sync {
    /// What the gateway does with the secret that it is told.
    fn secret(&self) -> SecretUse {
        SecretUse::Signs
    }

    /// The events to ask for by default.
    fn default_events(&self) -> &'static [&'static str];

    /// Checks the events that are asked for, of which there is at least one.
    fn check_events(&self, events: &[String]) -> Result<(), GatewayError>;

    /// Tells it where to send.
    fn register(&self, session: &str, telling: &Telling<'_>) -> Request;

    /// Has it send no more; `url` is the one that it was told, if the caller knows it.
    fn remove(&self, session: &str, url: Option<&str>) -> Result<Request, GatewayError>;

    /// Asks what it was told.
    fn show(&self, session: &str) -> Request;
}

/// What a gateway does with the secret that it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretUse {
    /// It proves each event with it.
    Signs,
    /// It takes none.
    None,
}

/// What a gateway is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told<'a> {
    pub(super) url: &'a str,
    pub(super) events: &'a [&'a str],
    pub(super) secret: Option<&'a str>,
}

/// What a gateway is told: as it is sent, and as it may be shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling<'a> {
    pub(super) sent: Told<'a>,
    pub(super) shown: Told<'a>,
}

impl<'a> Telling<'a> {
    /// A body that says it.
    pub(super) fn body(&self, text: impl Fn(Told<'a>) -> String) -> Body {
        Body {
            sent: text(self.sent),
            shown: text(self.shown),
        }
    }
}

/// A JSON body: as it is sent, and as it may be shown.
pub(super) struct Body {
    pub(super) sent: String,
    pub(super) shown: String,
}

/// A request without what all requests to a gateway have in common.
pub(super) struct Request {
    pub(super) method: Method,
    /// The segments after the gateway's own path.
    pub(super) path: Vec<String>,
    pub(super) body: Option<Body>,
}

impl Request {
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|&segment| segment.to_owned()).collect(),
            body: None,
        }
    }

    pub(super) fn body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }
}

/// Checks each name with `is_good`; `allowed` says what it accepts.
pub(super) fn check_each(
    events: &[String],
    is_good: impl Fn(&str) -> bool,
    allowed: &str,
) -> Result<(), GatewayError> {
    let odd = events.iter().find(|name| !is_good(name));
    odd.map_or(Ok(()), |name| {
        let (name, allowed) = (name.clone(), allowed.to_owned());
        Err(GatewayError::Event { name, allowed })
    })
}

/// A name of an event as gateways write them.
pub(super) fn is_event_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/*".contains(c);
    (1..=64).contains(&name.len()) && name.chars().all(plain)
}

/// What [`is_event_name`] accepts.
pub(super) const EVENT_NAMES: &str = "1 to 64 letters, digits and - _ . : / *";
