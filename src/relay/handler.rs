//! [`Relay`]: one subscriber, as a handler.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use http::StatusCode;
use url::Url;

use super::answer::Judgement;
use super::request::Target;
use super::{RelayClient, RelayError, RelayOptions};
use crate::signature::Secret;
use crate::{Delivery, Event, EventHandler, HandlerError};

/// Sends every event on to one subscriber, whatever language that is written in.
///
/// A delivery is a POST of the bytes as they were received, with their `Content-Type` and
/// `Content-Encoding`. It is signed twice with the subscriber's own secret: `X-Webhook-Signature` as
/// the gateway does it, and as [Standard Webhooks](https://www.standardwebhooks.com) has it, where
/// `webhook-id` is the id of the body and so the same over all attempts. `offhook-attempt`,
/// `offhook-session` and, on a replay, `offhook-replay: true` go with it. Without a secret there is
/// no signature.
///
/// A body that holds several events is sent once.
///
/// 2xx says that the subscriber has it. 410 and the statuses of [`RelayOptions::give_up_on`] are
/// final. Everything else is tried again as the handler's retries say: other statuses, redirects,
/// which are not followed, and no answer in time. With 429 and 503 a `Retry-After` is honoured, up
/// to 24 h. The status counts as soon as it is there; of the answer's body 64 KiB are read, and for
/// a second, so that the connection can be used again.
///
/// ```no_run
/// use offhook::relay::{Relay, RelayOptions};
/// use offhook::signature::Secret;
/// use offhook::Offhook;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let secret = Secret::resolve("env:CRM_SECRET")?;
/// let crm = Relay::new("https://crm.example/webhook", Some(secret), &RelayOptions::default())?;
/// let offhook = Offhook::from_settings("settings.toml")?.handler("crm", crm);
/// # Ok(()) }
/// ```
///
/// A handler of your own can choose what goes through it:
///
/// ```
/// use offhook::relay::Relay;
/// use offhook::{async_trait, Delivery, Event, EventHandler, HandlerError};
///
/// /// Relays messages that mention an order, and nothing else.
/// struct Orders(Relay);
///
/// #[async_trait]
/// impl EventHandler for Orders {
///     async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
///         match event {
///             Event::Message(message) if message.message().contains("order") => {
///                 self.0.handle(event, delivery).await
///             }
///             _ => Ok(()),
///         }
///     }
/// }
/// ```
pub struct Relay {
    target: Target,
    client: RelayClient,
    gone: Option<Gone>,
}

struct Gone {
    tell: Arc<dyn Fn(&str) + Send + Sync>,
    told: AtomicBool,
}

impl Relay {
    /// A relay to `url` with connections of its own. Where the address that its host has is one
    /// nothing may be sent to, each attempt fails: names change what they stand for.
    ///
    /// # Errors
    ///
    /// When nothing may be sent to `url`, or the HTTP client cannot be set up.
    pub fn new(
        url: &str,
        secret: Option<Secret>,
        options: &RelayOptions,
    ) -> Result<Self, RelayError> {
        let client = RelayClient::new(options)?;
        let url = client.guard().url(url)?;
        Ok(Self::with_client(url, secret, &client))
    }

    /// A relay that shares its connections with others.
    pub(crate) fn with_client(url: Url, secret: Option<Secret>, client: &RelayClient) -> Self {
        Self {
            target: Target::new(url, secret),
            client: client.clone(),
            gone: None,
        }
    }

    /// Calls `tell` with the reason, once, when the subscriber says that it is gone (410). The events
    /// that it had not taken go to the dead letters.
    pub fn on_gone(self, tell: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        let told = AtomicBool::new(false);
        let gone = Some(Gone { tell, told });
        Self { gone, ..self }
    }

    async fn send(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let target = &self.target;
        let (status, judgement) = match self.client.send(target, delivery).await {
            Ok(judged) => judged,
            Err(why) => return Err(HandlerError::retry(format!("POST {target}: {why}"))),
        };
        let says = || format!("POST {target}: {}", in_words(status));
        match judgement {
            Judgement::Delivered => Ok(()),
            Judgement::Final => Err(HandlerError::reject(says())),
            Judgement::Retry(None) => Err(HandlerError::retry(says())),
            Judgement::Retry(Some(pause)) => {
                let says = format!("{}, Retry-After {} s", says(), pause.as_secs());
                Err(HandlerError::retry(says).after(pause))
            }
            Judgement::Gone => {
                let says = says();
                if let Some(gone) = &self.gone
                    && !gone.told.swap(true, Ordering::Relaxed)
                {
                    (gone.tell)(&says);
                }
                Err(HandlerError::reject(says))
            }
        }
    }
}

/// The status as standards name it; what the subscriber calls it could be anything.
fn in_words(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    let words = format!("{} {reason}", status.as_str());
    match status.is_redirection() {
        true => format!("{words}: redirects are not followed"),
        false => words.trim_end().to_owned(),
    }
}

#[async_trait]
impl EventHandler for Relay {
    async fn handle(&self, _: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        self.send(delivery).await
    }

    /// The body is what is sent.
    fn takes_bodies(&self) -> bool {
        true
    }

    async fn deliver(&self, _: &[&Event], delivery: &Delivery) -> Result<(), HandlerError> {
        self.send(delivery).await
    }
}

/// Shows where to, without what may be a token; never the secret.
impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Relay");
        shown.field("target", &self.target).finish_non_exhaustive()
    }
}
