//! [`Client`]: POSTs signed bodies to a receiver.

use std::error::Error as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::SignedHeader;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Response, Url};

use super::invocation;
use super::output::Failure;

/// Follows no redirect and asks no proxy: what is tested is the receiver that was named.
#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    url: Url,
}

/// A body with the headers that sign it.
#[derive(Debug, Clone)]
pub(super) struct Signed {
    pub(super) body: Bytes,
    pub(super) headers: Vec<SignedHeader>,
}

/// What a receiver answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    /// Whether the receiver says that it has the event already.
    pub(super) duplicate: bool,
    /// Its beginning, where it is long.
    pub(super) body: String,
    /// When all of it was there.
    pub(super) at: Instant,
}

impl Client {
    /// A client that keeps up to `connections` open.
    pub(super) fn new(url: Url, connections: usize) -> Result<Self, Failure> {
        let http = http(&url, connections)?;
        Ok(Self { http, url })
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Sends it, and reads the answer; or says why there is none, in a few fixed words.
    pub(super) async fn post(&self, signed: Signed) -> Result<Answer, String> {
        let request = self.http.post(self.url.clone());
        let request = request
            .header(CONTENT_TYPE, "application/json")
            .body(signed.body);
        let headers = signed.headers.into_iter();
        let request = headers.fold(request, |request, header| {
            request.header(header.name.as_ref(), header.value)
        });
        let exchange = async {
            let response = request.send().await?;
            let status = response.status().as_u16();
            let duplicate = response.headers().contains_key("offhook-duplicate");
            let body = beginning(response).await?;
            Ok((status, duplicate, body))
        };
        let (status, duplicate, body) = exchange
            .await
            .map_err(|error: reqwest::Error| in_words(&error))?;
        let at = SystemClock.monotonic();
        Ok(Answer {
            status,
            duplicate,
            body,
            at,
        })
    }
}

/// A client for `url`, which follows no redirect and asks no proxy.
pub(super) fn http(url: &Url, connections: usize) -> Result<reqwest::Client, Failure> {
    // Where another part of the process has set one already, that one is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("offhook/", env!("CARGO_PKG_VERSION")))
        .http1_only()
        .no_proxy()
        .redirect(Policy::none())
        .timeout(TIMEOUT)
        .pool_max_idle_per_host(connections);
    if url.scheme() == "http" {
        // Saves reading the system's certificates, which there may be none of.
        builder = builder.tls_certs_only([]);
    }
    let client = builder.build();
    client.map_err(|error| Failure::failed(in_words(&error)))
}

/// Reads all of a short body, so that the connection can be kept; the beginning of a long one.
async fn beginning(mut response: Response) -> reqwest::Result<String> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let rest = LONGEST_ANSWER - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(rest)]);
        if body.len() == LONGEST_ANSWER {
            break;
        }
    }
    Ok(String::from_utf8_lossy(&body).into_owned())
}

/// The innermost cause: that is what happened. The rest tells which library noticed.
pub(super) fn in_words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return format!("no answer within {} s", TIMEOUT.as_secs());
    }
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = match cause.downcast_ref::<std::io::Error>() {
            Some(io) if io.raw_os_error().is_some() => return io.kind().to_string(),
            _ => cause.to_string(),
        };
        source = cause.source();
    }
    text
}

/// What to do about an answer that is no success.
pub(super) fn advice(status: u16) -> String {
    let text = match status {
        300..=399 => "The receiver is elsewhere; redirects are not followed, so give its own URL.",
        401 | 403 => {
            return format!(
                "The receiver has another secret: give it with --secret. `{} verify` says what is \
                 wrong with a signature.",
                invocation()
            );
        }
        404 | 405 => "Nobody receives webhooks at this path: is it the `path` of a source?",
        408 => "The body did not arrive in time.",
        413 => "The body is longer than the receiver's max_body.",
        429 | 503 => "The receiver is busy; try again, with fewer events at a time.",
        500..=599 => "A handler failed: the receiver's log says why.",
        _ => "The receiver refuses it; its log may say why.",
    };
    text.to_owned()
}

/// What to do when there is no answer.
pub(super) fn advice_unreached(error: &str) -> String {
    match error {
        "connection refused" => {
            format!(
                "Is the receiver running? `{} serve` starts one.",
                invocation()
            )
        }
        _ => "Is the URL right, and the receiver running?".to_owned(),
    }
}

const TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST_ANSWER: usize = 64 * 1024;
