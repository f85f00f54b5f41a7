//! [`Client`]: POSTs bodies as the gateway does.

use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use http::header::CONTENT_TYPE;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sha2::Sha256;
use tokio::time::timeout;

/// Sends to one server. It keeps the connections that its requests have opened.
pub(crate) struct Client {
    http: legacy::Client<HttpConnector, String>,
    url: Uri,
    mac: Hmac<Sha256>,
}

/// How the server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Acknowledged,
    /// Acknowledged as a duplicate.
    Duplicate,
    /// Not with 200.
    Refused,
    /// Not at all, or with a part of an answer. The server may or may not have the message.
    Missing,
}

impl Client {
    pub(crate) fn new(url: Uri, secret: &str) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let http = legacy::Client::builder(TokioExecutor::new()).build(tcp);
        let mac = Hmac::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
        Self { http, url, mac }
    }

    /// Signs and sends a body, and waits for the whole answer.
    pub(crate) async fn post(&self, body: String) -> Answer {
        let mac = self.mac.clone().chain_update(&body).finalize();
        let request = Request::post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("X-Webhook-Signature", const_hex::encode(mac.into_bytes()))
            .body(body)
            .expect("hexadecimal digits are a valid header");
        let exchange = async {
            let (head, body) = self.http.request(request).await.ok()?.into_parts();
            Limited::new(body, LONGEST_ANSWER).collect().await.ok()?;
            Some(match head.status {
                StatusCode::OK if head.headers.contains_key("offhook-duplicate") => {
                    Answer::Duplicate
                }
                StatusCode::OK => Answer::Acknowledged,
                _ => Answer::Refused,
            })
        };
        let in_time = timeout(LONGEST, exchange).await;
        in_time.ok().flatten().unwrap_or(Answer::Missing)
    }
}

/// How long a request may take, with its answer.
const LONGEST: Duration = Duration::from_secs(60);

/// In bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
