//! [`GatewayClient`] makes a [`Call`]; the call is shown, sent and answered.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Method, Url};

use super::mask::{MASKED, Mask};
use super::{Answer, Gateway, GatewayError, Registration};

/// Asks one gateway. Cloning is cheap; clones share their connections.
#[derive(Debug, Clone)]
pub struct GatewayClient {
    gateway: Gateway,
    http: reqwest::Client,
    timeout: Duration,
}

impl GatewayClient {
    /// A client for `gateway`. It follows no redirect and asks no proxy, whatever the environment says.
    ///
    /// # Errors
    ///
    /// [`GatewayError::Client`] where the system has no certificates to trust.
    pub fn new(gateway: Gateway) -> Result<Self, GatewayError> {
        // Where another part of the process has set one already, that one is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(Policy::none());
        if gateway.base.scheme() == "http" {
            // Saves reading the system's certificates, which there may be none of.
            builder = builder.tls_certs_only([]);
        }
        let http = builder
            .build()
            .map_err(|error| GatewayError::Client(in_words(&error)))?;
        let timeout = TIMEOUT;
        Ok(Self {
            gateway,
            http,
            timeout,
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
        let request = http.request(self.method, self.url);
        let mut request = request.timeout(timeout).headers(gateway.headers);
        if let Some(body) = self.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let exchange = async {
            let mut response = request.send().await?;
            let mut body = Vec::new();
            let mut cut = false;
            while let Some(chunk) = response.chunk().await? {
                let room = LONGEST_ANSWER - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    cut = true;
                    break;
                }
            }
            Ok((response.status().as_u16(), body, cut))
        };
        let (status, body, cut) = exchange
            .await
            .map_err(|error| Unanswered::new(&error, timeout))?;
        Ok(Answer::new(status, &body, cut, &self.mask))
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

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// Nobody listens there.
    #[error("connection refused")]
    Refused,
    /// Nothing, or not all of it, in this time.
    #[error("no answer within {}", humantime::format_duration(*_0))]
    TimedOut(Duration),
    /// The connection could not be made in another way: a name that does not resolve, a certificate.
    #[error("{0}")]
    Unreachable(String),
    /// What came was no whole answer.
    #[error("{0}")]
    Broken(String),
}

impl Unanswered {
    fn new(error: &reqwest::Error, timeout: Duration) -> Self {
        if error.is_timeout() {
            return Self::TimedOut(timeout);
        }
        match in_words(error) {
            refused if refused == std::io::ErrorKind::ConnectionRefused.to_string() => {
                Self::Refused
            }
            words if error.is_connect() => Self::Unreachable(words),
            words => Self::Broken(words),
        }
    }
}

/// The innermost cause: that is what happened. The rest tells which library noticed, and the URL.
fn in_words(error: &reqwest::Error) -> String {
    let mut text = None;
    let mut source = error.source();
    while let Some(cause) = source {
        text = match cause.downcast_ref::<std::io::Error>() {
            Some(io) if io.raw_os_error().is_some() => return io.kind().to_string(),
            _ => Some(cause.to_string()),
        };
        source = cause.source();
    }
    text.unwrap_or_else(|| "the request could not be made".to_owned())
}

/// How long one call may take, its answer too, unless told.
pub const TIMEOUT: Duration = Duration::from_secs(10);

const LONGEST_ANSWER: usize = 64 * 1024;
