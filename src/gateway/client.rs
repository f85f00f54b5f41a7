//! [`GatewayClient`] makes a [`Call`]; the call is shown, sent and answered.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use super::mask::{MASKED, Mask};
use super::{Answer, Gateway, GatewayError, Registration};
use crate::relay::http_client::{HttpClient, Unanswered};

/// Asks one gateway. Cloning is cheap; clones share their connections.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    gateway: Gateway,
    http: HttpClient,
    timeout: Duration,
}

impl GatewayClient {
    /// A client for `gateway`. It follows no redirect and asks no proxy, whatever the environment says.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Client`] where the system has no certificates to trust.
    pub fn new(gateway: Gateway) -> Result<Self, GatewayError> {
        let http = HttpClient::new(&gateway.base, MOST_IDLE).map_err(GatewayError::Client)?;
        Ok(Self {
            gateway,
            http,
            timeout: TIMEOUT,
        })
    }

    /// Waits for an answer for as long as this, instead of [`TIMEOUT`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The gateway it asks.
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The call that tells the gateway where to send a session's events.
    ///
    /// # Errors
    ///
    /// Where the session, an event or the secret cannot be told to such a gateway.
    pub fn register(
        &self,
        session: &str,
        registration: &Registration,
    ) -> Result<Call, GatewayError> {
        let events = registration.events_for(&self.gateway)?;
        let (url, shown) = registration.url_for(session)?;
        let mut call = self.call(Method::POST, session)?;
        let secret = match registration.signing_secret() {
            Some(secret) => {
                call.mask.add_secret(secret);
                let text = std::str::from_utf8(secret.expose());
                Some(text.map_err(|_| GatewayError::Secret)?)
            }
            None => None,
        };
        if url != shown {
            call.mask.add_url(&url, session);
        }
        let shape = self.gateway.shape;
        call.body = Some(shape.body(&url, &events, secret));
        call.shown = Some(shape.body(&shown, &events, secret.map(|_| MASKED)));
        Ok(call)
    }

    /// The call that takes a session's registration away.
    ///
    /// # Errors
    ///
    /// Where the session cannot stand in a path.
    pub fn remove(&self, session: &str) -> Result<Call, GatewayError> {
        self.call(Method::DELETE, session)
    }

    /// The call that asks how a session is registered.
    ///
    /// # Errors
    ///
    /// Where the session cannot stand in a path.
    pub fn show(&self, session: &str) -> Result<Call, GatewayError> {
        self.call(Method::GET, session)
    }

    fn call(&self, method: Method, session: &str) -> Result<Call, GatewayError> {
        let url = self.gateway.session_url(session)?;
        let mut mask = Mask::default();
        for value in self.gateway.headers.values() {
            let value = String::from_utf8_lossy(value.as_bytes());
            mask.add(&value);
            mask.add(value.rsplit(' ').next().unwrap_or_default());
        }
        Ok(Call {
            client: self.clone(),
            method,
            url,
            body: None,
            shown: None,
            mask,
        })
    }
}

/// A request to a gateway, ready to be sent. `Debug` shows no secret.
#[must_use = "it is not sent yet"]
pub struct Call {
    client: GatewayClient,
    method: Method,
    url: Url,
    body: Option<String>,
    /// The body with its secrets taken out.
    shown: Option<String>,
    mask: Mask,
}

impl Call {
    /// The HTTP method.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// Where it goes.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The gateway it goes to.
    pub const fn gateway(&self) -> &Gateway {
        &self.client.gateway
    }

    /// The JSON that is sent, with `***` for secrets; `None` for none.
    pub fn body(&self) -> Option<&str> {
        self.shown.as_deref()
    }

    /// Sends it, and reads 64 KiB of the answer at most.
    ///
    /// # Errors
    ///
    /// Where there is no whole answer in time.
    pub async fn send(self) -> Result<Answer, Unanswered> {
        let GatewayClient {
            gateway,
            http,
            timeout,
        } = self.client;
        let mut request = HttpClient::request(self.method, &self.url)
            .body(Bytes::new())
            .map_err(|error| Unanswered::Unreachable(error.to_string()))?;
        request.headers_mut().extend(gateway.headers);
        if let Some(body) = self.body {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = body.into();
        }
        let answered = http.send(request, timeout, LONGEST_ANSWER).await?;
        let status = answered.response.status().as_u16();
        let body = answered.response.body();
        Ok(Answer::new(status, body, answered.is_cut, &self.mask))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("url", &self.url())
            .field("body", &self.shown)
            .finish_non_exhaustive()
    }
}

/// How long one call with its answer may take by default.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How much is read of an answer, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How many connections are kept without work.
const MOST_IDLE: usize = 8;
