//! [`GatewayClient`] makes a [`Call`]; the call can be shown and sent, and returns an answer.

use std::time::Duration;

use super::api::{Request, SecretUse, Telling, Told};
use super::call::Connection;
use super::mask::{MASKED, Mask};
use super::{Call, Gateway, GatewayError, Registration};
use crate::relay::http_client::HttpClient;

/// Makes calls to one gateway. Cloning is cheap; clones share their connections.
#[derive(Debug, Clone)]
pub struct GatewayClient(Connection);

impl GatewayClient {
    /// Makes a client for `gateway`. It follows no redirects and uses no proxy, whatever the environment
    /// says.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Key`] if the gateway has no key and each request to it needs one;
    /// [`GatewayError::Client`] if the system has no trusted certificates.
    pub fn new(gateway: Gateway) -> Result<Self, GatewayError> {
        gateway.check_key()?;
        let http = HttpClient::new(&gateway.base, MOST_IDLE).map_err(GatewayError::Client)?;
        Ok(Self(Connection {
            gateway,
            http,
            timeout: TIMEOUT,
        }))
    }

    /// Sets how long to wait for an answer. Default: [`TIMEOUT`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = timeout;
        self
    }

    /// The gateway that it calls.
    pub const fn gateway(&self) -> &Gateway {
        &self.0.gateway
    }

    /// Makes the call that tells the gateway where to send a session's events. A kind
    /// [without sessions](super::Kind::has_sessions) ignores `session`.
    ///
    /// # Errors
    ///
    /// When a gateway of this kind cannot take the session, the URL, an event or the secret.
    pub fn register(
        &self,
        session: &str,
        registration: &Registration,
    ) -> Result<Call, GatewayError> {
        let gateway = self.gateway();
        let session = gateway.session(session)?;
        let events = registration.events_for(gateway)?;
        let secret = registration.secret_for(gateway)?;
        let (url, shown_url) = registration.url_for(session)?;
        let sent = Told {
            url: &url,
            events: &events,
            secret: secret.filter(|_| gateway.api().secret() != SecretUse::None),
        };
        let shown = Told {
            url: &shown_url,
            secret: sent.secret.map(|_| MASKED),
            ..sent
        };
        let request = gateway.api().register(session, &Telling { sent, shown });
        let mut mask = gateway.mask();
        mask.add(secret.unwrap_or_default());
        if url != shown_url {
            mask.add_url(&url, session);
        }
        Ok(self.call(request, mask))
    }

    /// Makes the call that removes a session's registration.
    ///
    /// # Errors
    ///
    /// When the session cannot be part of a path; [`GatewayError::WhichUrl`] for a kind whose sessions may have
    /// several registrations, such as WAHA: see [`GatewayClient::remove_url`].
    pub fn remove(&self, session: &str) -> Result<Call, GatewayError> {
        let session = self.gateway().session(session)?;
        let request = self.gateway().api().remove(session, None)?;
        Ok(self.call(request, self.gateway().mask()))
    }

    /// Makes the call that removes the registration of this URL. Where a session has only one, it is removed
    /// whatever its URL.
    ///
    /// # Errors
    ///
    /// When the session cannot be part of a path or of the URL.
    pub fn remove_url(
        &self,
        session: &str,
        registration: &Registration,
    ) -> Result<Call, GatewayError> {
        let session = self.gateway().session(session)?;
        let (url, shown_url) = registration.url_for(session)?;
        let request = self.gateway().api().remove(session, Some(&url))?;
        let mut mask = self.gateway().mask();
        if url != shown_url {
            mask.add_url(&url, session);
        }
        Ok(self.call(request, mask))
    }

    /// Makes the call that asks how a session is registered.
    ///
    /// # Errors
    ///
    /// When the session cannot be part of a path.
    pub fn show(&self, session: &str) -> Result<Call, GatewayError> {
        let session = self.gateway().session(session)?;
        let request = self.gateway().api().show(session);
        Ok(self.call(request, self.gateway().mask()))
    }

    fn call(&self, request: Request, mask: Mask) -> Call {
        Call::new(self.0.clone(), request, mask)
    }
}

/// How long one request may take, with its answer. Default: 10 s.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How many idle connections are kept.
const MOST_IDLE: usize = 8;
