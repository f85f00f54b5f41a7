//! [`Relay`]: one subscriber, as a handler.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use url::Url;

use super::{RelayClient, RelayError, RelayOptions};
use crate::signature::Secret;
use crate::{Delivery, Event, EventHandler, HandlerError};

/// Sends every event on to one subscriber.
pub struct Relay {
    url: Url,
    secret: Option<Secret>,
    client: RelayClient,
    gone: Option<Gone>,
}

type Gone = Arc<dyn Fn(&str) + Send + Sync>;

impl Relay {
    /// A relay to `url` with connections of its own.
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
            url,
            secret,
            client: client.clone(),
            gone: None,
        }
    }

    /// Calls `told` with the reason, once, when the subscriber says that it is gone (410).
    pub(crate) fn on_gone(self, told: Gone) -> Self {
        let gone = Some(told);
        Self { gone, ..self }
    }
}

#[async_trait]
impl EventHandler for Relay {
    async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
        Err(HandlerError::retry("not built yet"))
    }
}

/// Shows where to; never the secret.
impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay").finish_non_exhaustive()
    }
}
