//! [`GatewayClient`] makes a [`Call`]; the call can be shown and sent, and returns an answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{CONTENT_TYPE, HeaderValue};
use url::Url;

use super::answer::{MASKED, Mask};
use super::{Answer, Gateway, GatewayError, Registration};
use crate::relay::http_client::{HttpClient, Unanswered};

/// Makes calls to one gateway. Cloning is cheap; clones share their connections.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    gateway: Gateway,
    http: HttpClient,
    timeout: Duration,
}

impl GatewayClient {
    /// Makes a client for `gateway`. It follows no redirects and uses no proxy, whatever the environment
    /// says.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Client`] if the system has no trusted certificates.
    pub fn new(gateway: Gateway) -> Result<Self, GatewayError> {
        let http = HttpClient::new(&gateway.base, MOST_IDLE).map_err(GatewayError::Client)?;
        Ok(Self {
            gateway,
            http,
            timeout: TIMEOUT,
        })
    }

    /// Sets how long to wait for an answer. Default: [`TIMEOUT`].
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The gateway that it calls.
    pub const fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Makes the call that tells the gateway where to send a session's events.
    ///
    /// # Errors
    ///
    /// When a gateway of this shape cannot take the session, an event or the secret.
    pub fn register(
        &self,
        session: &str,
        registration: &Registration,
    ) -> Result<Call, GatewayError> {
        let events = registration.events_for(&self.gateway)?;
        let (url, shown) = registration.url_for(session)?;
        let mut call = self.call(Method::POST, session)?;
        let secret = registration.signing_secret();
        let secret = secret.map(|secret| std::str::from_utf8(secret.expose()));
        let secret = secret.transpose().map_err(|_| GatewayError::Secret)?;
        if let Some(secret) = secret {
            call.mask.add(secret);
        }
        if url != shown {
            call.mask.add_url(&url, session);
        }
        let shape = self.gateway.shape;
        call.body = Some(shape.body(&url, &events, secret));
        call.shown = Some(shape.body(&shown, &events, secret.map(|_| MASKED)));
        Ok(call)
    }

    /// Makes the call that removes a session's registration.
    ///
    /// # Errors
    ///
    /// When the session cannot be part of a path.
    pub fn remove(&self, session: &str) -> Result<Call, GatewayError> {
        self.call(Method::DELETE, session)
    }

    /// Makes the call that asks how a session is registered.
    ///
    /// # Errors
    ///
    /// When the session cannot be part of a path.
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
    /// The body with secrets masked.
    shown: Option<String>,
    mask: Mask,
}

impl Call {
    /// The HTTP method.
    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    /// The URL of the request.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// The gateway that it is sent to.
    pub const fn gateway(&self) -> &Gateway {
        &self.client.gateway
    }

    /// The JSON body with `***` for secrets; `None` if there is no body.
    pub fn body(&self) -> Option<&str> {
        self.shown.as_deref()
    }

    /// Sends the request, and reads at most 64 KiB of the answer.
    ///
    /// # Errors
    ///
    /// When no complete answer arrives in time.
    pub async fn send(self) -> Result<Answer, Unanswered> {
        let client = self.client;
        let mut request = HttpClient::request(self.method, &self.url)
            .body(Bytes::new())
            .map_err(|error| Unanswered::Unreachable(error.to_string()))?;
        request.headers_mut().extend(client.gateway.headers);
        if let Some(body) = self.body {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = body.into();
        }
        let answered = client.http.send(request, client.timeout, LONGEST_ANSWER);
        let answered = answered.await?;
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

/// How long one call may take, with its answer. Default: 10 s.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// How much of an answer is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;

/// How many idle connections are kept.
const MOST_IDLE: usize = 8;
