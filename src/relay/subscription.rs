//! [`Subscription`]: which events go to which URL, and the document that the journal stores of it.
//!
//! A subscription is identified by its [`SubscriptionKey`]. Its document is JSON, and fields of a later
//! version are ignored. Logs and errors show its URL as [`shown`] writes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::headers::SubscriptionHeaders;
use crate::signature::{Secret, Secrets};
use crate::{EventKind, Timestamp};

#[derive(Clone)]
pub(crate) struct Subscription {
    pub(crate) key: SubscriptionKey,
    pub(crate) url: Url,
    /// The kinds it wants; `None` for all.
    pub(crate) events: Option<BTreeSet<EventKind>>,
    /// What deliveries are signed with: [`MAX_SECRETS`] at most, the newest first.
    pub(crate) secrets: Secrets,
    pub(crate) headers: SubscriptionHeaders,
    /// Whether events are sent. While they are not, they wait, as long as the journal retains them.
    pub(crate) active: bool,
    /// When and why the subscriber has ended it, if it has.
    pub(crate) ended: Option<Ended>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
}

/// The end of a subscription: the subscriber has answered 410.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ended {
    pub(crate) at: Timestamp,
    pub(crate) reason: String,
}

impl Subscription {
    /// An active subscription to all events, without a secret, made at the epoch.
    pub(crate) fn new(key: SubscriptionKey, url: Url) -> Self {
        Self {
            key,
            url,
            events: None,
            secrets: Secrets::default(),
            headers: SubscriptionHeaders::default(),
            active: true,
            ended: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    /// Reads what [`Subscription::to_document`], or that of a later version, has written. The error shows
    /// nothing of the contents.
    pub(crate) fn from_document(bytes: &[u8]) -> Result<Self, String> {
        let document: SubscriptionDocument = serde_json::from_slice(bytes).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            format!("it is no such JSON at line {line}, column {column}")
        })?;
        let key = SubscriptionKey::new(document.session, document.name);
        let mut secrets = document.secrets.unwrap_or_default();
        if secrets.is_empty() {
            secrets.extend(document.secret);
        }
        let secrets: Result<Vec<Secret>, _> = secrets.iter().map(Secret::new).collect();
        let mut headers = document.headers.unwrap_or_default().into_iter();
        let none = SubscriptionHeaders::default();
        let headers = headers.try_fold(none, |all, (name, value)| all.text(&name, &value));
        let events = document.events.map(|names| {
            // This version has no events of a kind that only a later version knows.
            names.iter().filter_map(|name| name.parse().ok()).collect()
        });
        Ok(Self {
            key: key.map_err(|_| "the session or the name in it cannot be one")?,
            url: document.webhook_url,
            events,
            secrets: Secrets::new(secrets.map_err(|_| "a secret in it cannot be one")?),
            headers: headers.map_err(|_| "a header in it cannot be sent")?,
            active: document.active,
            ended: document.ended,
            created_at: document.created_at,
            updated_at: document.updated_at,
        })
    }

    /// The whole subscription as JSON, with its secrets and its headers. An older version reads `secret`
    /// alone: it signs with the first secret, and sends no headers.
    pub(crate) fn to_document(&self) -> Vec<u8> {
        let texts = { self.secrets.iter() }.map(|secret| String::from_utf8_lossy(secret.expose()));
        let secrets: Vec<_> = texts.collect();
        let headers: BTreeMap<&str, &str> = self.headers.expose().collect();
        let document = json!({
            "session": self.key.session,
            "name": self.key.name,
            "webhook_url": self.url,
            "events": self.events,
            "secret": secrets.first(),
            "secrets": (secrets.len() > 1).then_some(&secrets),
            "headers": (!headers.is_empty()).then_some(&headers),
            "active": self.active,
            "ended": self.ended,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        });
        document.to_string().into_bytes()
    }

    /// Whether both send the same events to the same URL with the same secrets and headers.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (&self.url, &self.events) == (&other.url, &other.events)
            && (&self.secrets, &self.headers) == (&other.secrets, &other.headers)
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

/// What [`Subscription::to_document`] writes.
#[derive(Deserialize)]
struct SubscriptionDocument {
    session: String,
    name: String,
    webhook_url: Url,
    events: Option<Vec<String>>,
    secret: Option<String>,
    secrets: Option<Vec<String>>,
    headers: Option<BTreeMap<String, String>>,
    active: bool,
    ended: Option<Ended>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SubscriptionKey {
    session: String,
    name: String,
}

impl SubscriptionKey {
    /// The key of the subscription `name` (1 to 64 letters, digits, `-`, `_` and `.`) to `session` (1 to
    /// 1,024 bytes without control characters), which is `*` for all sessions.
    pub(crate) fn new(
        session: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<Self, SubscriptionKeyError> {
        let (session, name) = (session.into(), name.into());
        if session.is_empty()
            || session.len() > MAX_SESSION
            || session.chars().any(char::is_control)
        {
            return Err(SubscriptionKeyError::Session);
        }
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || name.len() > MAX_NAME || !name.bytes().all(plain) {
            return Err(SubscriptionKeyError::Name(
                name.chars().take(MAX_NAME).collect(),
            ));
        }
        Ok(Self { session, name })
    }

    /// The session's id, or `*` for all.
    pub(crate) fn session(&self) -> &str {
        &self.session
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The name of its consumer. It is unambiguous, because a name has no colon.
    pub(crate) fn consumer(&self) -> String {
        format!("subscription:{}:{}", self.session, self.name)
    }

    /// The name of its document. It is unambiguous, because a name has no slash.
    pub(crate) fn document(&self, prefix: &str) -> String {
        format!("{prefix}{}/{}", self.session, self.name)
    }
}

/// As logs and errors show it.
impl fmt::Display for SubscriptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} to session {:?}", self.name, self.session)
    }
}

/// Why a session and a name are not a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubscriptionKeyError {
    #[error(
        "a session's id here has 1 to {MAX_SESSION} bytes and no control character; * is all sessions"
    )]
    Session,
    #[error("found {0:?}, expected a name of 1 to {MAX_NAME} of A-Z a-z 0-9 - _ .")]
    Name(String),
}

/// A URL without parts that may be tokens: its query, and each segment of its path that has
/// [`SHORTEST_TOKEN`] characters or more. User and fragment are never sent, and not shown either.
pub(crate) fn shown(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    let mut shown = format!("{}://{host}", url.scheme());
    if let Some(port) = url.port() {
        shown += &format!(":{port}");
    }
    for part in url.path().trim_start_matches('/').split('/') {
        shown.push('/');
        shown += if may_be_token(part) { "…" } else { part };
    }
    if url.query().is_some() {
        shown += "?…";
    }
    shown
}

/// Whether this segment of a path may be a token.
pub(super) fn may_be_token(segment: &str) -> bool {
    segment.len() >= SHORTEST_TOKEN
}

/// How many secrets one subscription can have.
pub(crate) const MAX_SECRETS: usize = 8;

/// The longest name, in bytes.
const MAX_NAME: usize = 64;

/// The longest session id that can be subscribed to, in bytes.
const MAX_SESSION: usize = 1024;

/// A path segment may be a token from this length on, which is also the minimum of a source's
/// `path_token`.
const SHORTEST_TOKEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        Secret::new(text).unwrap()
    }

    fn subscription() -> Subscription {
        Subscription {
            key: SubscriptionKey::new("408f/ü \"*", "crm").unwrap(),
            url: Url::parse("https://crm.example/hook?token=hidden-token").unwrap(),
            events: Some([EventKind::Message, EventKind::Unknown].into()),
            secrets: vec![secret("hidden-new"), secret("hidden-old")].into(),
            headers: { SubscriptionHeaders::default() }
                .text("X-Key", "hidden-key")
                .unwrap(),
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
            secrets: Secrets::default(),
            headers: SubscriptionHeaders::default(),
            active: true,
            ended: None,
            ..subscription()
        };
        let with_one = Subscription {
            secrets: secret("hidden").into(),
            ..subscription()
        };
        for kept in [subscription(), plain, with_one] {
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
        document["later"] = serde_json::json!({ "x": [1] });
        document["events"] = serde_json::json!(["message", "call", "unknown"]);
        let read = Subscription::from_document(document.to_string().as_bytes()).unwrap();
        assert!(read.is_like(&subscription()));
    }

    /// Written by the version before there were several secrets and headers.
    const OLDER: &str = r#"{"session":"*","name":"crm","webhook_url":"https://crm.example/","events":null,
        "secret":"hidden","active":true,"ended":null,"created_at":"2026-01-08T11:00:00Z",
        "updated_at":"2026-01-08T11:00:00Z"}"#;

    #[test]
    fn a_document_of_an_older_version_is_read() {
        let read = Subscription::from_document(OLDER.as_bytes()).unwrap();
        assert_eq!(read.secrets, secret("hidden").into());
        assert!(read.headers.is_empty() && read.active);
    }

    #[test]
    fn an_older_version_signs_with_the_first_secret() {
        let written: serde_json::Value =
            serde_json::from_slice(&subscription().to_document()).unwrap();
        assert_eq!(written["secret"], "hidden-new");
    }

    #[test]
    fn errors_show_nothing_of_the_document() {
        let mut document: serde_json::Value =
            serde_json::from_slice(&subscription().to_document()).unwrap();
        let mut with_header = document.clone();
        with_header["headers"] = serde_json::json!({ "Host": "hidden" });
        let mut with_secret = document.clone();
        with_secret["secrets"] = serde_json::json!(["hidden", ""]);
        document["created_at"] = "hidden".into();
        for odd in [
            "",
            &with_header.to_string(),
            &with_secret.to_string(),
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

    #[test]
    fn sessions_and_names_have_limits() {
        let long = "n".repeat(MAX_NAME + 1);
        for name in ["", "a b", "a:b", "a/b", "é", &long] {
            let error = SubscriptionKey::new("s", name).unwrap_err();
            assert!(matches!(error, SubscriptionKeyError::Name(_)), "{name}");
        }
        let long = "s".repeat(MAX_SESSION + 1);
        for session in ["", "a\nb", "\u{7f}", &long] {
            assert_eq!(
                SubscriptionKey::new(session, "n"),
                Err(SubscriptionKeyError::Session),
                "{session}"
            );
        }
        let key = SubscriptionKey::new("a:b/c*é", &long[..MAX_NAME]).unwrap();
        assert!(key.consumer().starts_with("subscription:a:b/c*é:sss"));
        assert_eq!(
            SubscriptionKey::new("*", "A-z_0.9").unwrap().document("p/"),
            "p/*/A-z_0.9"
        );
    }

    #[test]
    fn parts_that_may_be_tokens_are_left_out() {
        let table = [
            ("https://crm.example", "https://crm.example/"),
            ("https://crm.example:443/hook/", "https://crm.example/hook/"),
            ("http://[::1]:80/a//b", "http://[::1]/a//b"),
            ("http://h:8080/p?t=hidden#hidden", "http://h:8080/p?…"),
            ("http://hidden:hidden@h/p?", "http://h/p?…"),
            (
                "https://hooks.example/services/T0123/B0123/hiddenhiddenhiddenhidden",
                "https://hooks.example/services/T0123/B0123/…",
            ),
            ("https://h/hidden-hidden-16/x", "https://h/…/x"),
            ("https://h/fifteen-letters", "https://h/fifteen-letters"),
        ];
        for (url, expected) in table {
            assert_eq!(shown(&url.parse().unwrap()), expected);
        }
    }
}
