//! [`HttpClient`]: the HTTP client of the gateway's client, the command line and [`crate::testing`].
//!
//! It makes its connections as the relay does, but only to hosts that the operator has named, so it
//! judges no address. It speaks HTTP/1, follows no redirects and uses no proxy.
//!
//! The module is public for the `offhook` command. It is not part of the interface.

use std::error::Error;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_LENGTH, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, request, response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::GaiResolver;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use percent_encoding::percent_decode_str;
use rustls::RootCertStore;
use url::Url;

use super::connector::{Identity, Trusted, tcp, tls};
use super::failure::{innermost, is_timeout};
use super::pem::Pem;

/// Makes requests. Its clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    http: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// An answer, or the beginning of a long one.
#[derive(Debug)]
#[non_exhaustive]
pub struct Answered {
    /// The status, the headers, and what was read of the body.
    pub response: Response<Vec<u8>>,
    /// Whether the body is longer than what was read.
    pub is_cut: bool,
}

/// An answer whose body is read piece by piece.
#[derive(Debug)]
#[non_exhaustive]
pub struct Opened {
    /// The status and the headers.
    pub head: response::Parts,
    body: Incoming,
}

impl Opened {
    /// Returns the next piece of the body; `None` at its end.
    ///
    /// # Errors
    ///
    /// When the connection breaks, or nothing comes within `timeout`.
    pub async fn next(&mut self, timeout: Duration) -> Result<Option<Bytes>, Unanswered> {
        let frame = tokio::time::timeout(timeout, self.body.frame()).await;
        let frame = frame.map_err(|_| Unanswered::TimedOut(timeout))?;
        let frame = frame.transpose();
        let frame = frame.map_err(|error| Unanswered::new(&error, false, timeout))?;
        Ok(frame.map(|frame| frame.into_data().unwrap_or_default()))
    }
}

/// What a client trusts besides the authorities of the system, and how it proves itself.
#[derive(Debug, Clone, Copy, Default)]
#[allow(
    clippy::exhaustive_structs,
    reason = "the command makes it, and it is not part of the interface"
)]
pub struct Trusting<'a> {
    /// A PEM file. Each certificate in it is trusted as an authority, and as the certificate of the server itself,
    /// whatever its name: a self-signed one may be marked as an authority.
    pub authorities: Option<&'a Path>,
    /// A PEM file of which the first certificate is trusted as that of the server itself, if it can be read.
    pub server: Option<&'a Path>,
    /// The PEM files of the client's own certificate and its key.
    pub identity: Option<(&'a Path, &'a Path)>,
}

impl Trusting<'_> {
    fn read(&self) -> Result<(Trusted, Option<Identity>), String> {
        let named = |path: &Path, text: String| format!("{}: {text}", path.display());
        let certificates = |path: &Path| {
            let found = Pem::read(path).and_then(|pem| pem.certificates());
            found.map_err(|text| named(path, text))
        };
        let mut trusted = self.authorities.map_or(Ok(Vec::new()), certificates)?;
        let own = self.server.and_then(|path| certificates(path).ok());
        trusted.extend(own.into_iter().flatten().take(1));
        let identity = self.identity.map(|(certificate, key)| {
            let chain = certificates(certificate)?;
            let private = Pem::read(key).and_then(|pem| pem.private_key());
            Ok::<_, String>((chain, private.map_err(|text| named(key, text))?))
        });
        Ok((Trusted::System(trusted), identity.transpose()?))
    }
}

impl HttpClient {
    /// A client for `url` and other paths of its host, which keeps up to `idle` connections open.
    ///
    /// # Errors
    ///
    /// When the URL begins with `https` and the system has no trusted certificates. The error is a short
    /// text.
    pub fn new(url: &Url, idle: usize) -> Result<Self, String> {
        Self::trusting(url, idle, &Trusting::default())
    }

    /// The same, for a server whose certificate may also be one that `trusting` names.
    ///
    /// # Errors
    ///
    /// As [`HttpClient::new`], and when a file that is named cannot be used.
    pub fn trusting(url: &Url, idle: usize, trusting: &Trusting<'_>) -> Result<Self, String> {
        // Without `https`, no certificates are needed, and the system may have none.
        let (trusted, identity) = if url.scheme() == "http" {
            (Trusted::Only(RootCertStore::empty()), None)
        } else {
            trusting.read()?
        };
        let tls = tls(trusted, &[b"http/1.1"], identity).map_err(|error| innermost(&error))?;
        let http = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(idle)
            .build((tcp(GaiResolver::new(), None), tls).into());
        Ok(Self { http })
    }

    /// A request with the headers that every request of offhook has. A user and a password in the URL
    /// are sent as basic authentication.
    pub fn request(method: Method, url: &Url) -> request::Builder {
        let request = Request::builder()
            .method(method)
            .uri(url.as_str())
            .header(USER_AGENT, concat!("offhook/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT, "*/*");
        if url.username().is_empty() && url.password().is_none() {
            return request;
        }
        let decoded = |text: &str| percent_decode_str(text).collect::<Vec<u8>>();
        let password = decoded(url.password().unwrap_or_default());
        let user = [decoded(url.username()), password].join(&b':');
        request.header(AUTHORIZATION, format!("Basic {}", STANDARD.encode(user)))
    }

    /// Sends a request, and reads up to `longest` bytes of the answer's body.
    ///
    /// # Errors
    ///
    /// When there is no answer, or not all of it, within `timeout`.
    pub async fn send(
        &self,
        mut request: Request<Bytes>,
        timeout: Duration,
        longest: usize,
    ) -> Result<Answered, Unanswered> {
        let takes_body = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
        if takes_body && request.body().is_empty() {
            // hyper leaves it out then, and some servers need it.
            let headers = request.headers_mut();
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
        }
        let exchange = async {
            let (head, mut rest) = self.begin(request, timeout).await?.into_parts();
            let mut body = Vec::new();
            let mut is_cut = false;
            while let Some(frame) = rest.frame().await {
                let frame = frame.map_err(|error| Unanswered::new(&error, false, timeout))?;
                let chunk = frame.into_data().unwrap_or_default();
                let room = longest - body.len();
                body.extend_from_slice(&chunk[..chunk.len().min(room)]);
                if chunk.len() > room {
                    is_cut = true;
                    break;
                }
            }
            let response = Response::from_parts(head, body);
            Ok(Answered { response, is_cut })
        };
        let in_time = tokio::time::timeout(timeout, exchange).await;
        in_time.unwrap_or(Err(Unanswered::TimedOut(timeout)))
    }

    /// Sends a request without a body, and waits for the head of the answer.
    ///
    /// # Errors
    ///
    /// When there is no answer within `timeout`.
    pub async fn open(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Opened, Unanswered> {
        let begun = tokio::time::timeout(timeout, self.begin(request, timeout)).await;
        let response = begun.unwrap_or(Err(Unanswered::TimedOut(timeout)))?;
        let (head, body) = response.into_parts();
        Ok(Opened { head, body })
    }

    async fn begin(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
    ) -> Result<Response<Incoming>, Unanswered> {
        let response = self.http.request(request.map(Full::new)).await;
        response.map_err(|error| Unanswered::new(&error, error.is_connect(), timeout))
    }
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unanswered {
    /// No program listens there.
    #[error("connection refused")]
    Refused,
    /// There was no answer, or not all of it, in this time.
    #[error("no answer within {}", humantime::format_duration(*_0))]
    TimedOut(Duration),
    /// There is no connection for another reason, such as a name that does not resolve, or a
    /// certificate.
    #[error("{0}")]
    Unreachable(String),
    /// The answer was not complete.
    #[error("{0}")]
    Broken(String),
}

impl Unanswered {
    fn new(error: &(dyn Error + 'static), connecting: bool, timeout: Duration) -> Self {
        if is_timeout(error) {
            return Self::TimedOut(timeout);
        }
        match innermost(error) {
            refused if refused == ErrorKind::ConnectionRefused.to_string() => Self::Refused,
            words if connecting => Self::Unreachable(words),
            words => Self::Broken(words),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_sent_as_basic_authentication() {
        let sent = |url: &str| {
            let request = HttpClient::request(Method::GET, &Url::parse(url).unwrap());
            let request = request.body(()).unwrap();
            let header = request.headers().get(AUTHORIZATION);
            header.map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(sent("http://host/"), None);
        // "u@:p" and "u:"
        assert_eq!(sent("http://u%40:p@host/").unwrap(), "Basic dUA6cA==");
        assert_eq!(sent("http://u@host/").unwrap(), "Basic dTo=");
    }
}
