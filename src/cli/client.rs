//! [`Client`]: POSTs signed bodies to a receiver.

use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use offhook::clock::{Clock as _, SystemClock};
use offhook::http_client::HttpClient;
use offhook::signature::SignedHeader;
use url::Url;

use super::output::Failure;
use super::trust::Trust;

/// Follows no redirects and uses no proxy, so that only the named receiver is tested.
#[derive(Debug)]
pub(super) struct Client {
    http: HttpClient,
    url: Url,
    /// The URL without a token.
    pub(super) shown: String,
}

/// A body with its signature headers.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) body: Bytes,
    pub(super) headers: Vec<SignedHeader>,
}

/// A receiver's answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// The body, or its beginning if it is long.
    pub(super) body: String,
    /// When the whole answer had arrived.
    pub(super) at: Instant,
}

impl Client {
    /// A client that keeps up to `connections` connections open. `server` is the file of the certificate of the
    /// server, if the settings name it.
    pub(super) fn new(
        trust: &Trust,
        url: Url,
        shown: String,
        connections: usize,
        server: Option<&Path>,
    ) -> Result<Self, Failure> {
        let http = trust.client(&url, connections, server);
        let http = http.map_err(Failure::failed)?;
        Ok(Self { http, url, shown })
    }

    /// Sends a body and reads the answer, or says in one of a few fixed texts why there is none.
    pub(super) async fn post(&self, signed: Signed) -> Result<Answer, String> {
        let mut request =
            HttpClient::request(Method::POST, &self.url).header(CONTENT_TYPE, "application/json");
        for header in signed.headers {
            request = request.header(header.name.as_ref(), header.value);
        }
        let request = request
            .body(signed.body)
            .map_err(|error| error.to_string())?;
        let answered = self.http.send(request, TIMEOUT, LONGEST_ANSWER).await;
        let response = answered.map_err(|error| error.to_string())?.response;
        Ok(Answer {
            status: response.status().as_u16(),
            body: String::from_utf8_lossy(response.body()).into_owned(),
            at: SystemClock.monotonic(),
        })
    }
}

/// Parses the URL of an HTTP server. An error says that something like `example` is expected.
pub(super) fn http_url(text: &str, example: &str) -> Result<Url, String> {
    let url =
        Url::parse(text).map_err(|error| format!("{error}; expected a URL such as {example}"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(format!("expected a URL such as {example}"));
    }
    Ok(url)
}

/// How long a request may take, with its answer.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

const LONGEST_ANSWER: usize = 64 * 1024;
