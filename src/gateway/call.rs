//! [`Call`]: a request to a gateway, or several of which each depends on the answer before it.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::Value;
use url::Url;

use super::api::{Next, Request};
use super::mask::Mask;
use super::{Answer, Gateway, Verdict};
use crate::relay::http_client::{HttpClient, Unanswered};

/// The gateway that is called, and how.
#[derive(Debug, Clone)]
pub(super) struct Connection {
    pub(super) gateway: Gateway,
    pub(super) http: HttpClient,
    pub(super) timeout: Duration,
}

/// A request to a gateway, ready to be sent. `Debug` shows no secret.
#[must_use = "it is not sent yet"]
pub struct Call {
    connection: Connection,
    url: Url,
    shown_url: String,
    request: Request,
    mask: Mask,
}

impl Call {
    pub(super) fn new(connection: Connection, request: Request, mask: Mask) -> Self {
        let (url, shown_url) = connection.gateway.address(&request);
        Self {
            connection,
            url,
            shown_url,
            request,
            mask,
        }
    }

    /// The HTTP method.
    pub fn method(&self) -> &str {
        self.request.method.as_str()
    }

    /// The URL of the request, with `***` for a token in it.
    pub fn url(&self) -> &str {
        &self.shown_url
    }

    /// The gateway that it is sent to.
    pub const fn gateway(&self) -> &Gateway {
        &self.connection.gateway
    }

    /// The JSON body with `***` for secrets; `None` if there is no body.
    pub fn body(&self) -> Option<&str> {
        self.request.body.as_ref().map(|body| body.shown.as_str())
    }

    /// Sends the request and those that follow it, and returns the answer to the last one. It reads at most
    /// 64 KiB of each answer.
    ///
    /// # Errors
    ///
    /// When no complete answer arrives in time.
    pub async fn send(self) -> Result<Answer, Unanswered> {
        let mut call = self;
        loop {
            match call.step().await? {
                (answer, None) => return Ok(answer),
                (_, Some(next)) => call = next,
            }
        }
    }

    /// Sends only this request. Returns its answer, and the request that follows it, if there is one.
    ///
    /// # Errors
    ///
    /// When no complete answer arrives in time.
    pub async fn step(self) -> Result<(Answer, Option<Self>), Unanswered> {
        let Self {
            connection, mask, ..
        } = self;
        let mut request = HttpClient::request(self.request.method, &self.url)
            .body(Bytes::new())
            .map_err(|error| Unanswered::Unreachable(mask.text(&error.to_string())))?;
        let headers = connection.gateway.headers.clone();
        request.headers_mut().extend(headers);
        if let Some(body) = self.request.body {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
            *request.body_mut() = body.sent.into();
        }
        let Connection { http, timeout, .. } = &connection;
        let answered = http.send(request, *timeout, LONGEST_ANSWER).await?;
        let status = answered.response.status().as_u16();
        let body = answered.response.body();
        let mut answer = Answer::new(status, body, answered.is_cut, &mask);
        // What follows would be built on a failure.
        let is_failure = matches!(
            answer.verdict,
            Verdict::SaysNo | Verdict::NotJson | Verdict::TooLong
        );
        let Some(then) = self.request.then.filter(|_| !is_failure) else {
            return Ok((answer, None));
        };
        // The answer's own JSON has no secrets any more.
        let json = serde_json::from_slice(body).unwrap_or(Value::Null);
        let next = match then(status, &json) {
            Next::Nothing => None,
            Next::Unchanged => {
                answer.unchanged = true;
                None
            }
            Next::Odd => {
                answer.verdict = Verdict::NotJson;
                None
            }
            Next::Send(request) => Some(Self::new(connection, request, mask)),
        };
        Ok((answer, next))
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("method", &self.method())
            .field("url", &self.url())
            .field("body", &self.body())
            .finish_non_exhaustive()
    }
}

/// How much of an answer is read, in bytes.
const LONGEST_ANSWER: usize = 64 * 1024;
