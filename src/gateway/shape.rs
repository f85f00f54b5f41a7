//! [`Shape`]: the three forms of requests that gateways of this family take.

use std::fmt;
use std::str::FromStr;

use http::Method;
use serde::Serialize;

use super::GatewayError;
use super::api::{Api, EVENT_NAMES, Request, SecretUse, Telling, check_each, is_event_name};

/// The form of a gateway's registration requests. In each, `POST` registers, `DELETE` removes and `GET`
/// shows, on the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Shape {
    /// As the documentation says, and as offhook's own sessions API takes it: `{webhookUrl, events,
    /// secret}` at `/sessions/{id}/webhook`.
    #[default]
    Docs,
    /// As the public implementation does it: `{incoming, group, status}`, each a URL, at
    /// `/sessions/{id}/webhooks`. It has no secret, so the gateway signs nothing, and no connection
    /// events.
    Implementation,
    /// `{url, events}` at `/api/sessions/{id}/webhooks`. It has no secret.
    Next,
}

impl Shape {
    /// Every shape by its name, in the order of their declaration.
    pub const ALL: [(&'static str, Self); 3] = [
        ("docs", Self::Docs),
        ("implementation", Self::Implementation),
        ("next", Self::Next),
    ];

    /// The name in settings and options.
    pub const fn as_str(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// Whether a gateway of this shape takes a secret.
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::Docs)
    }

    /// The events to ask for by default.
    pub const fn default_events(self) -> &'static [&'static str] {
        match self {
            Self::Docs | Self::Next => &["message", "status", "connection"],
            Self::Implementation => &["message", "status"],
        }
    }

    /// The events that can be asked for. [`Shape::Next`] uses the gateway's own names, so any name is
    /// allowed there.
    const fn events(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Docs => Some(&["message", "status", "connection", "unknown", "*"]),
            Self::Implementation => Some(&["message", "status", "*"]),
            Self::Next => None,
        }
    }

    /// Checks that a gateway of this shape knows the event.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Event`], with the allowed names.
    pub fn check_event(self, name: &str) -> Result<(), GatewayError> {
        self.check_events(&[name.to_owned()])
    }

    pub(super) const fn api(self) -> &'static dyn Api {
        match self {
            Self::Docs => &Self::Docs,
            Self::Implementation => &Self::Implementation,
            Self::Next => &Self::Next,
        }
    }

    /// The segments of a session's path.
    fn path(self, session: &str) -> Vec<&str> {
        match self {
            Self::Docs => vec!["sessions", session, "webhook"],
            Self::Implementation => vec!["sessions", session, "webhooks"],
            Self::Next => vec!["api", "sessions", session, "webhooks"],
        }
    }

    /// The body that registers `url`, with its fields in the order of the documentation.
    fn body(self, url: &str, events: &[&str], secret: Option<&str>) -> String {
        let wants = |event: &str| events.iter().any(|name| *name == event || *name == "*");
        let body = match self {
            Self::Docs => Body::Docs {
                webhook_url: url,
                events,
                secret,
            },
            Self::Implementation => Body::Implementation {
                incoming: wants("message").then_some(url),
                group: wants("message").then_some(url),
                status: wants("status").then_some(url),
            },
            Self::Next => Body::Next { url, events },
        };
        serde_json::to_string(&body).expect("texts and lists of texts can be written as JSON")
    }
}

impl Api for Shape {
    fn secret(&self) -> SecretUse {
        if self.has_secret() {
            SecretUse::Signs
        } else {
            SecretUse::None
        }
    }

    fn default_events(&self) -> &'static [&'static str] {
        Self::default_events(*self)
    }

    fn check_events(&self, events: &[String]) -> Result<(), GatewayError> {
        match self.events() {
            Some(known) => check_each(events, |name| known.contains(&name), &known.join(", ")),
            None => check_each(events, is_event_name, EVENT_NAMES),
        }
    }

    fn register(&self, session: &str, telling: &Telling<'_>) -> Request {
        let body = telling.body(|told| self.body(told.url, told.events, told.secret));
        Request::new(Method::POST, &self.path(session)).body(body)
    }

    fn remove(&self, session: &str, _: Option<&str>) -> Result<Request, GatewayError> {
        Ok(Request::new(Method::DELETE, &self.path(session)))
    }

    fn show(&self, session: &str) -> Request {
        Request::new(Method::GET, &self.path(session))
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.iter().find(|(name, _)| *name == text);
        let found = || format!("found {text:?}; allowed: docs, implementation, next");
        named.map(|(_, shape)| *shape).ok_or_else(found)
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Body<'a> {
    Docs {
        #[serde(rename = "webhookUrl")]
        webhook_url: &'a str,
        events: &'a [&'a str],
        #[serde(skip_serializing_if = "Option::is_none")]
        secret: Option<&'a str>,
    },
    Implementation {
        #[serde(skip_serializing_if = "Option::is_none")]
        incoming: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        group: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'a str>,
    },
    Next {
        url: &'a str,
        events: &'a [&'a str],
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_what_the_gateways_take() {
        let all = ["message", "status", "connection"];
        let table: [(Shape, &[&str], Option<&str>, &str); 6] = [
            (
                Shape::Docs,
                &all,
                Some("s\"1"),
                r#"{"webhookUrl":"http://u","events":["message","status","connection"],"secret":"s\"1"}"#,
            ),
            (
                Shape::Docs,
                &["*"],
                None,
                r#"{"webhookUrl":"http://u","events":["*"]}"#,
            ),
            (
                Shape::Implementation,
                &["message"],
                None,
                r#"{"incoming":"http://u","group":"http://u"}"#,
            ),
            (
                Shape::Implementation,
                &["status"],
                None,
                r#"{"status":"http://u"}"#,
            ),
            (
                Shape::Implementation,
                &["*"],
                Some("left out"),
                r#"{"incoming":"http://u","group":"http://u","status":"http://u"}"#,
            ),
            (
                Shape::Next,
                &["message.any"],
                Some("left out"),
                r#"{"url":"http://u","events":["message.any"]}"#,
            ),
        ];
        for (shape, events, secret, expected) in table {
            assert_eq!(shape.body("http://u", events, secret), expected);
        }
    }

    #[test]
    fn names_and_events() {
        for (name, shape) in Shape::ALL {
            assert_eq!((name.parse(), shape.to_string()), (Ok(shape), name.into()));
            assert!(
                shape
                    .default_events()
                    .iter()
                    .all(|e| shape.check_event(e).is_ok())
            );
            assert!(shape.check_event("").is_err() && shape.check_event("a b").is_err());
        }
        assert!("Docs".parse::<Shape>().is_err());
        assert!(Shape::Docs.check_event("mesage").is_err());
        assert!(Shape::Implementation.check_event("connection").is_err());
        assert!(Shape::Next.check_event("message.any").is_ok());
    }
}
