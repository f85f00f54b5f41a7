//! The settings of the relay: `[relay]` and `[[subscriptions]]`.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use url::Url;

use super::guard::{Exception, Guard};
use super::headers::SubscriptionHeaders;
use super::subscription::{MAX_SECRETS, SubscriptionKey, shown};
use super::trace::Trace;
use crate::dispatch::HandlerOptions;
use crate::signature::Secrets;

/// `[relay]`: the settings for every subscriber.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RelaySettings {
    /// How long an attempt may take, which addresses it may go to, and which answers are final.
    pub options: RelayOptions,
    /// A subscription is suspended after this time without a success. Default: 24 hours.
    pub suspend_after: Duration,
}

impl Default for RelaySettings {
    fn default() -> Self {
        Self {
            options: RelayOptions::default(),
            suspend_after: Duration::from_secs(24 * 3600),
        }
    }
}

/// The options for every subscriber (`[relay]` in the settings).
///
/// ```
/// use std::time::Duration;
/// use offhook::relay::RelayOptions;
///
/// let mut options = RelayOptions::default();
/// options.timeout = Duration::from_secs(5);
/// options.give_up_on.insert(404);
/// assert!(!options.allow_private);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RelayOptions {
    /// How long one attempt may take, from the connection to the answer. Default: 10 s.
    pub timeout: Duration,
    /// Whether subscribers may be at private and loopback addresses. Link-local addresses, and those
    /// where a cloud keeps its machines' credentials, stay closed. Default: false.
    pub allow_private: bool,
    /// Addresses and hosts that are always allowed. Default: none.
    pub allow: Vec<Exception>,
    /// Statuses that are final: the event becomes a dead letter immediately. Default: none.
    pub give_up_on: BTreeSet<u16>,
    /// Whether attempts have the header `traceparent`. Default: no.
    pub trace: Trace,
}

impl Default for RelayOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            allow_private: false,
            allow: Vec::new(),
            give_up_on: BTreeSet::new(),
            trace: Trace::Off,
        }
    }
}

impl RelayOptions {
    pub(crate) fn guard(&self) -> Guard {
        Guard::new(self.allow_private, self.allow.clone())
    }
}

/// A subscription: the events of a session, relayed to a URL.
///
/// ```
/// use offhook::settings::SubscriptionSettings;
/// use offhook::signature::{Secret, Secrets};
/// use offhook::{EventKind, HandlerOptions, Offhook};
///
/// let mut crm = SubscriptionSettings::new("crm", "https://crm.example/webhook");
/// crm.secrets = Secrets::from(Secret::new("a secret of the CRM's").unwrap());
/// crm.options = HandlerOptions::default().events([EventKind::Message]);
/// let offhook = Offhook::builder().configure(|settings| settings.subscriptions.push(crm));
/// ```
#[derive(Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SubscriptionSettings {
    /// Its name, unique in the session: 1 to 64 letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The session whose events it gets. Default: `*`, for all.
    pub session: String,
    /// The URL that events are POSTed to, at most 2,048 bytes.
    #[serde(serialize_with = "without_tokens")]
    pub webhook_url: String,
    /// The secret that deliveries are signed with, or several while one replaces the other: 8 at most.
    /// Without one they are not signed. `webhook-signature` is made with each, `X-Webhook-Signature` with the
    /// first.
    pub secrets: Secrets,
    /// Headers that each attempt has in addition. Default: none.
    pub headers: SubscriptionHeaders,
    /// Which events it wants, and how. The default timeout is that of `[relay]`.
    pub options: HandlerOptions,
}

impl SubscriptionSettings {
    /// The events of all sessions to `webhook_url`, without a signature.
    pub fn new(name: impl Into<String>, webhook_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            session: "*".to_owned(),
            webhook_url: webhook_url.into(),
            secrets: Secrets::default(),
            headers: SubscriptionHeaders::default(),
            options: HandlerOptions::default(),
        }
    }

    /// Everything that is wrong with it, without regard to other settings.
    pub(crate) fn problems(&self, guard: &Guard) -> Vec<String> {
        let key = SubscriptionKey::new(&*self.session, &*self.name);
        let url = guard.url(&self.webhook_url);
        let key = key.err().map(|error| error.to_string());
        let url = url.err().map(|rejected| format!("webhook_url: {rejected}"));
        let many = (self.secrets.iter().len() > MAX_SECRETS)
            .then(|| format!("secrets: there are more than {MAX_SECRETS}"));
        key.into_iter().chain(url).chain(many).collect()
    }

    /// The URL without parts that may be tokens.
    pub fn shown_url(&self) -> String {
        shown_url(&self.webhook_url)
    }
}

fn shown_url(url: &str) -> String {
    Url::parse(url).map_or_else(|_| "no URL".to_owned(), |url| shown(&url))
}

fn without_tokens<S: Serializer>(url: &str, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&shown_url(url))
}

/// Shows no secret, and no part of the URL that may be one.
impl fmt::Debug for SubscriptionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionSettings")
            .field("name", &self.name)
            .field("session", &self.session)
            .field("webhook_url", &self.shown_url())
            .field("secrets", &self.secrets)
            .field("headers", &self.headers)
            .field("options", &self.options)
            .finish()
    }
}
