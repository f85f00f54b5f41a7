//! `[[subscriptions]]`: who gets which events relayed, and where.

use std::fmt;

use url::Url;

use super::handlers::{read_dispatch_keys, read_events};
use super::read::Table;
use crate::EventKind;
use crate::dispatch::HandlerOptions;
use crate::relay::{Guard, Key, shown};
use crate::signature::{Secret, is_undecodable};

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
#[derive(Clone)]
#[non_exhaustive]
pub struct SubscriptionSettings {
    /// Its name among those to the session: 1 to 64 of letters, digits and `-` `_` `.`.
    pub name: String,
    /// The session whose events it gets; `*`, the default, for all.
    pub session: String,
    /// Where they are POSTed; 2,048 bytes at most.
    pub webhook_url: String,
    /// What they are signed with; without it they are not.
    pub secret: Option<Secret>,
    /// Which events it wants, and how. Its timeout is `[relay]`'s unless told.
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

    /// What is wrong with it by itself.
    pub(super) fn problems(&self, guard: &Guard) -> Vec<String> {
        let mut texts = Vec::new();
        if let Err(error) = Key::new(&*self.session, &*self.name) {
            texts.push(error.to_string());
        }
        if let Err(refusal) = guard.url(&self.webhook_url) {
            texts.push(format!("webhook_url: {refusal}"));
        }
        texts
    }

    /// The URL without what may be a token.
    pub(super) fn shown_url(&self) -> String {
        match Url::parse(&self.webhook_url) {
            Ok(url) => shown(&url),
            Err(_) => "no URL".to_owned(),
        }
    }
}

/// Shows no secret, and nothing of the URL that may be one.
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

pub(super) fn read(table: &Table<'_>) -> Option<SubscriptionSettings> {
    let name = table.required("name", "the subscription's name in the API and in logs");
    let session = table.string("session").unwrap_or_else(|| "*".to_owned());
    let webhook_url = table.required("webhook_url", "the URL that events are POSTed to");
    let secret = table.secret("secret");
    if secret.as_ref().is_some_and(is_undecodable) {
        let text = "begins with whsec_, but what follows is no base64";
        table.problem("secret", text);
    }
    let options = HandlerOptions {
        events: read_events(table, &EventKind::RECEIVED),
        ..read_dispatch_keys(table, HandlerOptions::default())
    };
    table.finish();
    Some(SubscriptionSettings {
        name: name?,
        session,
        webhook_url: webhook_url?,
        secret,
        options,
    })
}
