//! The settings of the relay: `[relay]` and `[[subscriptions]]`.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};
use url::Url;

use super::guard::Guard;
use super::options::RelayOptions;
use super::shown::shown;
use super::subscription::SubscriptionKey;
use crate::dispatch::HandlerOptions;
use crate::signature::Secret;

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

/// A subscription: the events of a session, relayed to a URL.
///
/// ```
/// use offhook::settings::SubscriptionSettings;
/// use offhook::signature::Secret;
/// use offhook::{EventKind, HandlerOptions, Offhook};
///
/// let mut crm = SubscriptionSettings::new("crm", "https://crm.example/webhook");
/// crm.secret = Some(Secret::new("a secret of the CRM's").unwrap());
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
    /// The secret that deliveries are signed with. Without one they are not signed.
    pub secret: Option<Secret>,
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
            secret: None,
            options: HandlerOptions::default(),
        }
    }

    /// Everything that is wrong with it, without regard to other settings.
    pub(crate) fn problems(&self, guard: &Guard) -> Vec<String> {
        let mut texts = Vec::new();
        if let Err(error) = SubscriptionKey::new(&*self.session, &*self.name) {
            texts.push(error.to_string());
        }
        if let Err(rejected) = guard.url(&self.webhook_url) {
            texts.push(format!("webhook_url: {rejected}"));
        }
        texts
    }

    /// The URL without parts that may be tokens.
    pub fn shown_url(&self) -> String {
        shown_url(&self.webhook_url)
    }
}

fn shown_url(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => shown(&url),
        Err(_) => "no URL".to_owned(),
    }
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
            .field("has_secret", &self.secret.is_some())
            .field("options", &self.options)
            .finish()
    }
}
