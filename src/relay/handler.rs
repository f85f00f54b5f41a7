//! [`Relay`]: the handler that sends events to one subscriber.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use url::Url;

use super::client::Answered;
use super::request::Target;
use super::{RelayClient, RelayError, RelayOptions, SubscriptionHeaders};
use crate::clock::SystemClock;
use crate::signature::Secrets;
use crate::{Delivery, Event, EventHandler, HandlerError};

/// Sends events to one subscriber, in any language.
///
/// A delivery is a POST of the bytes as they were received, with their `Content-Type` and
/// `Content-Encoding`. It is signed twice with the subscriber's own secret: with
/// `X-Webhook-Signature`, as the gateway does, and with the headers of
/// [Standard Webhooks](https://www.standardwebhooks.com), where `webhook-id` is the id of the body,
/// the same for all attempts. It has the headers `offhook-attempt`, `offhook-session` and, on a replay,
/// `offhook-replay: true`. Without a secret it is not signed; with several, `webhook-signature` is made with
/// each and `X-Webhook-Signature` with the first. A body that holds several events is sent once; if not all of them are
/// meant, `offhook-parts` has the numbers of those that are, from 1.
///
/// 2xx means delivered. 410 and the statuses of [`RelayOptions::give_up_on`] are final. Everything
/// else is retried: other statuses, redirects, which are not followed, and no answer in time. With 429
/// and 503 a `Retry-After` is honoured, up to 24 h. The status counts as soon as it arrives. At most
/// 64 KiB of the answer's body are read, for at most 1 s, so that the connection can be used again. The
/// first 512 bytes of a refusal are kept for the event's timeline ([`HandlerError::answer`]), with stars in
/// place of signatures and secrets. With [`RelayOptions::trace`] each attempt has a `traceparent`, whose trace id
/// is the id of the body.
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
/// A handler of your own can choose which events it sends:
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
    client: Arc<RelayClient>,
    /// What to call when the subscriber answers 410.
    on_gone: Option<Callback>,
    was_gone: AtomicBool,
}

type Callback = Arc<dyn Fn(&str) + Send + Sync>;

impl Relay {
    /// A relay to `url` with connections of its own. `secrets` is one [`Secret`](crate::signature::Secret),
    /// several, or `None`.
    ///
    /// The host's addresses are judged by each attempt, because a name may change its address. An
    /// attempt fails where one of them may not be posted to.
    ///
    /// # Errors
    ///
    /// When `url` may not be posted to, or the HTTP client cannot be set up.
    pub fn new(
        url: &str,
        secrets: impl Into<Secrets>,
        options: &RelayOptions,
    ) -> Result<Self, RelayError> {
        let client = RelayClient::new(options.guard(), options, Arc::new(SystemClock), None)?;
        let url = client.guard().url(url)?;
        let relay = Self::with_client(url, &secrets.into(), &client);
        let name = relay.target.to_string();
        Ok(relay.consumer(name))
    }

    /// A relay that shares its connections with others.
    pub(crate) fn with_client(url: Url, secrets: &Secrets, client: &Arc<RelayClient>) -> Self {
        Self {
            target: Target::new(url, secrets, client.guard()),
            client: Arc::clone(client),
            on_gone: None,
            was_gone: AtomicBool::new(false),
        }
    }

    /// Sends these headers with each attempt.
    pub fn headers(mut self, headers: SubscriptionHeaders) -> Self {
        self.target.headers = headers;
        self
    }

    /// Names the consumer that sends, for `traceparent`.
    pub(crate) fn consumer(mut self, name: String) -> Self {
        self.target.consumer = name;
        self
    }

    /// Calls `callback` with the reason when the subscriber answers 410, once only. The event of that
    /// attempt becomes a dead letter.
    pub fn on_gone(mut self, callback: Arc<dyn Fn(&str) + Send + Sync>) -> Self {
        self.on_gone = Some(callback);
        self
    }

    async fn send(&self, delivery: &Delivery) -> Result<(), HandlerError> {
        let (target, client) = (&self.target, &self.client);
        let answered = client.send(target, delivery).await;
        let Answered { judged, is_gone } =
            answered.map_err(|why| HandlerError::retry(format!("POST {target}: {why}")))?;
        if let (true, Err(error)) = (is_gone, &judged)
            && let Some(on_gone) = &self.on_gone
            && !self.was_gone.swap(true, Ordering::Relaxed)
        {
            on_gone(&error.to_string());
        }
        judged
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

    fn reads_content(&self) -> bool {
        false
    }

    async fn deliver(&self, _: &[&Event], delivery: &Delivery) -> Result<(), HandlerError> {
        self.send(delivery).await
    }
}

/// Shows the URL without parts that may be tokens, and never the secret.
impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}
