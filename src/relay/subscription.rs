//! [`Subscription`]: which events go to which URL, and the document that the journal stores of it.
//!
//! A subscription is identified by its [`SubscriptionKey`]. Its document is JSON, and fields of a later
//! version are ignored.

mod key;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use url::Url;

use super::shown;
use crate::signature::Secret;
use crate::{EventKind, Timestamp};

pub(crate) use key::{SubscriptionKey, SubscriptionKeyError};

/// Which events go to which URL.
#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) key: SubscriptionKey,
    pub(crate) url: Url,
    /// The kinds it wants; `None` for all.
    pub(crate) events: Option<BTreeSet<EventKind>>,
    pub(crate) secret: Option<Secret>,
    /// Whether events are sent. While they are not, they wait, as long as the journal retains them.
    pub(crate) active: bool,
    /// When and why the subscriber has ended it, if it has.
    pub(crate) ended: Option<Ended>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// The end of a subscription: the subscriber has answered 410.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) reason: String,
}

impl Subscription {
    /// Reads what [`Subscription::to_document`], or that of a later version, has written.
    ///
    /// # Errors
    ///
    /// When it is not such a document. The error shows nothing of its contents.
    pub(crate) fn from_document(bytes: &[u8]) -> Result<Self, DocumentError> {
        let document: SubscriptionDocument = serde_json::from_slice(bytes)
            .map_err(|error| DocumentError::Json(error.line(), error.column()))?;
        let time = |text: &str| text.parse().map_err(|_| DocumentError::Field("a time"));
        let ended = document.ended.map(|ended| {
            Ok(Ended {
                at: time(&ended.at)?,
                reason: ended.reason,
            })
        });
        let secret = document.secret.map(Secret::new).transpose();
        let events = document.events.map(|names| {
            // This version has no events of a kind that only a later version knows.
            names.iter().filter_map(|name| name.parse().ok()).collect()
        });
        Ok(Self {
            key: SubscriptionKey::new(document.session, document.name)
                .map_err(|_| DocumentError::Field("the session or the name"))?,
            url: Url::parse(&document.webhook_url).map_err(|_| DocumentError::Field("the URL"))?,
            events,
            secret: secret.map_err(|_| DocumentError::Field("the secret"))?,
            active: document.active,
            ended: ended.transpose()?,
            created_at: time(&document.created_at)?,
            updated_at: time(&document.updated_at)?,
        })
    }

    /// The whole subscription as JSON, with its secret.
    pub(crate) fn to_document(&self) -> Vec<u8> {
        let names = |kinds: &BTreeSet<EventKind>| {
            let names = kinds.iter().map(|kind| kind.as_str().to_owned());
            names.collect()
        };
        let text = |secret: &Secret| String::from_utf8_lossy(secret.expose()).into_owned();
        let document = SubscriptionDocument {
            session: self.key.session().to_owned(),
            name: self.key.name().to_owned(),
            webhook_url: self.url.as_str().to_owned(),
            events: self.events.as_ref().map(names),
            secret: self.secret.as_ref().map(text),
            active: self.active,
            ended: self.ended.as_ref().map(|ended| EndedDocument {
                at: ended.at.to_string(),
                reason: ended.reason.clone(),
            }),
            created_at: self.created_at.to_string(),
            updated_at: self.updated_at.to_string(),
        };
        serde_json::to_vec(&document).expect("texts under texts are JSON")
    }

    /// Whether both send the same events to the same URL with the same secret.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        let secret = match (&self.secret, &other.secret) {
            (Some(secret), Some(other)) => secret.is(other.expose()),
            (None, None) => true,
            _ => false,
        };
        secret && self.url == other.url && self.events == other.events
    }
}

/// Shows no secret, and no part of the URL that may be one.
impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("key", &self.key)
            .field("url", &shown(&self.url))
            .field("events", &self.events)
            .field("active", &self.active)
            .finish_non_exhaustive()
    }
}

/// Why a document of a subscription cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DocumentError {
    /// It is not JSON, or a field is missing or has the wrong type.
    #[error("it is no such JSON at line {0}, column {1}")]
    Json(usize, usize),
    /// A field has an impossible value.
    #[error("{0} in it cannot be one")]
    Field(&'static str),
}

#[derive(Serialize, Deserialize)]
struct SubscriptionDocument {
    session: String,
    name: String,
    webhook_url: String,
    events: Option<Vec<String>>,
    secret: Option<String>,
    active: bool,
    ended: Option<EndedDocument>,
    created_at: String,
    updated_at: String,
}

#[derive(Serialize, Deserialize)]
struct EndedDocument {
    at: String,
    reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscription() -> Subscription {
        Subscription {
            key: SubscriptionKey::new("408f/ü \"*", "crm").unwrap(),
            url: Url::parse("https://crm.example/hook?token=hidden-token").unwrap(),
            events: Some([EventKind::Message, EventKind::Unknown].into()),
            secret: Some(Secret::new("hidden-secret").unwrap()),
            active: false,
            ended: Some(Ended {
                at: "2026-01-08T12:00:00.5Z".parse().unwrap(),
                reason: "answered 410 Gone".to_owned(),
            }),
            created_at: "2026-01-08T11:00:00Z".parse().unwrap(),
            updated_at: "2026-01-08T12:00:00.5Z".parse().unwrap(),
        }
    }

    #[test]
    fn a_document_holds_the_whole_subscription() {
        let plain = Subscription {
            events: None,
            secret: None,
            active: true,
            ended: None,
            ..subscription()
        };
        for kept in [subscription(), plain] {
            let read = Subscription::from_document(&kept.to_document()).unwrap();
            assert!(read.is_like(&kept));
            assert_eq!((&read.key, read.active), (&kept.key, kept.active));
            assert_eq!(read.ended, kept.ended);
            let times = |one: &Subscription| (one.created_at, one.updated_at);
            assert_eq!(times(&read), times(&kept));
        }
    }

    #[test]
    fn fields_of_a_later_version_are_ignored() {
        let mut document: serde_json::Value =
            serde_json::from_slice(&subscription().to_document()).unwrap();
        document["headers"] = serde_json::json!({ "x": [1] });
        document["events"] = serde_json::json!(["message", "call", "unknown"]);
        let read = Subscription::from_document(document.to_string().as_bytes()).unwrap();
        assert!(read.is_like(&subscription()));
    }

    #[test]
    fn errors_show_nothing_of_the_document() {
        let mut document: serde_json::Value =
            serde_json::from_slice(&subscription().to_document()).unwrap();
        document["created_at"] = "hidden".into();
        for odd in [
            "",
            "{\"secret\":\"hidden\"}",
            "[\"hidden\"]",
            &document.to_string(),
        ] {
            let error = Subscription::from_document(odd.as_bytes()).unwrap_err();
            assert!(!error.to_string().contains("hidden"), "{error}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", subscription());
        assert!(!shown.contains("hidden"), "{shown}");
    }
}
