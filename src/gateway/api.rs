//! [`Api`]: what the gateways of one kind are asked, and what follows their answers.

use http::Method;
use serde_json::Value;

use super::GatewayError;

/// The requests that gateways of one kind take, as plain data.
pub(super) trait Api: Sync {
    /// Where its API is, if there is one place for all.
    fn url(&self) -> Option<&'static str> {
        None
    }

    /// Whether a request names a session. Otherwise there is one session for each key.
    fn has_sessions(&self) -> bool {
        true
    }

    /// What authorizes us, if every request needs it.
    fn needed_key(&self) -> Option<&'static str> {
        None
    }

    /// Where that stands in a request.
    fn key(&self) -> Key {
        Key::Header("x-api-key", "")
    }

    /// What the gateway does with the secret that it is told.
    fn secret(&self) -> SecretUse {
        SecretUse::Signs
    }

    /// The schemes that verify what it sends; empty if it is not known.
    fn schemes(&self) -> &'static [&'static str] {
        &[]
    }

    /// Whether it sends to https only.
    fn needs_https(&self) -> bool {
        false
    }

    /// Checks the form of a secret. The error does not show it.
    fn check_secret(&self, _secret: &str) -> Result<(), GatewayError> {
        Ok(())
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

/// Where a gateway takes what authorizes us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Key {
    /// In the header of this name, after this text.
    Header(&'static str, &'static str),
    /// As user and password, in the header `Authorization`.
    Basic,
    /// In the path, after `bot`.
    Path,
}

/// What a gateway does with the secret that it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretUse {
    /// It proves each event with it.
    Signs,
    /// It proves itself with it while it is registered, and cannot be registered without.
    Verifies,
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
    pub(super) query: Option<&'static str>,
    pub(super) body: Option<Body>,
    /// Absent if the answer ends it.
    pub(super) then: Option<Then>,
}

/// Says what follows an answer, by its status and its JSON (`Null` if it is none).
pub(super) type Then = Box<dyn FnOnce(u16, &Value) -> Next + Send + Sync>;

/// What follows an answer.
pub(super) enum Next {
    /// Nothing: it is the answer to the whole.
    Nothing,
    /// Nothing, because it is already as it should be.
    Unchanged,
    /// Nothing, because it is no answer of such a gateway.
    Odd,
    /// Another request.
    Send(Request),
}

impl Request {
    pub(super) fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|&segment| segment.to_owned()).collect(),
            query: None,
            body: None,
            then: None,
        }
    }

    pub(super) fn body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }

    /// With a body that holds no secret.
    pub(super) fn json(self, body: &Value) -> Self {
        let (sent, shown) = (body.to_string(), body.to_string());
        self.body(Body { sent, shown })
    }

    pub(super) fn query(mut self, query: &'static str) -> Self {
        self.query = Some(query);
        self
    }

    pub(super) fn then(
        mut self,
        then: impl FnOnce(u16, &Value) -> Next + Send + Sync + 'static,
    ) -> Self {
        self.then = Some(Box::new(then));
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

/// A request as a text: the method, the path, and the body as it may be shown.
#[cfg(test)]
pub(super) fn in_words(request: &Request) -> String {
    let mut text = format!("{} /{}", request.method, request.path.join("/"));
    if let Some(query) = request.query {
        text += &format!("?{query}");
    }
    if let Some(body) = &request.body {
        text += &format!(" {}", body.shown);
    }
    text
}

/// What follows an answer, as [`in_words`].
#[cfg(test)]
pub(super) fn next_in_words(request: Request, status: u16, json: &Value) -> String {
    match request.then.expect("something follows")(status, json) {
        Next::Nothing => "nothing".to_owned(),
        Next::Unchanged => "unchanged".to_owned(),
        Next::Odd => "odd".to_owned(),
        Next::Send(request) => in_words(&request),
    }
}

/// What is told in tests: `secret` is sent, `***` is shown.
#[cfg(test)]
pub(super) const fn told<'a>(events: &'a [&'a str], secret: Option<&'a str>) -> Telling<'a> {
    let url = "https://me/hook";
    let sent = Told {
        url,
        events,
        secret,
    };
    let secret = match secret {
        Some(_) => Some("***"),
        None => None,
    };
    let shown = Told {
        url,
        events,
        secret,
    };
    Telling { sent, shown }
}
