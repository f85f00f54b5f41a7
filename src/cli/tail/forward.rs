//! [`Forward`]: POSTs events to a program, as the relay does.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use offhook::clock::{Clock as _, SystemClock};
use offhook::http_client::HttpClient;
use offhook::percent_encode;
use offhook::signature::{Scheme as _, Secret, StandardWebhooks, XWebhookSignature};
use serde_json::json;
use url::Url;

use super::super::admin::Server;
use super::super::output::Failure;
use super::super::trust::Trust;
use super::Event;

/// Where events are forwarded to.
#[derive(Debug)]
pub(super) struct Forward {
    http: HttpClient,
    url: Url,
    secret: Option<Secret>,
}

/// What came of it: the status, and how long it took; or why there is none.
pub(super) type Forwarded = Result<(StatusCode, Duration), String>;

impl Forward {
    pub(super) fn new(trust: &Trust, url: Url, secret: Option<Secret>) -> Result<Self, Failure> {
        let http = trust.client(&url, 1, None).map_err(Failure::failed)?;
        Ok(Self { http, url, secret })
    }

    /// Fetches the bytes of an event, and POSTs them.
    pub(super) async fn event(&self, server: &Server, event: &Event) -> Forwarded {
        let path = ["api", "events", &event.id, "body"];
        let opened = server.open(&path, &json!({ "raw": true }), &[]).await;
        let mut opened = opened.map_err(|error| match error.status {
            Some(StatusCode::GONE | StatusCode::NOT_FOUND) => "it is not kept any more".to_owned(),
            _ => format!("cannot be fetched: {}", error.failure),
        })?;
        let headers = std::mem::take(&mut opened.head.headers);
        let mut body = Vec::new();
        loop {
            match opened.next(TIMEOUT).await {
                Ok(Some(piece)) => body.extend_from_slice(&piece),
                Ok(None) => break,
                Err(error) => return Err(format!("cannot be fetched: {error}")),
            }
        }
        self.post(body.into(), &headers, event).await
    }

    async fn post(&self, body: Bytes, kept: &HeaderMap, event: &Event) -> Forwarded {
        let (begun, now) = (SystemClock.monotonic(), SystemClock.now());
        let mut request = HttpClient::request(Method::POST, &self.url);
        for (kept_as, name) in [
            (OFFHOOK_TYPE, CONTENT_TYPE),
            (OFFHOOK_ENCODING, CONTENT_ENCODING),
        ] {
            if let Some(value) = kept.get(kept_as) {
                request = request.header(name, value);
            }
        }
        // The id is of the body, which is one for all its events.
        let id = event.id.split('.').next().unwrap_or_default();
        request = request
            .header("webhook-id", id)
            .header("offhook-attempt", "1");
        if let Some(session) = event.session.as_deref().map(percent_encode)
            && session.len() <= LONGEST_SESSION
        {
            request = request.header("offhook-session", &*session);
        }
        let signed = match &self.secret {
            None => Vec::new(),
            Some(secret) => {
                let standard = StandardWebhooks::default().sign_as(id, &body, secret, now);
                let own = XWebhookSignature.sign(&body, secret, now);
                standard.into_iter().chain(own).collect()
            }
        };
        if signed.is_empty() {
            request = request.header("webhook-timestamp", now.as_second().to_string());
        }
        for header in signed {
            if header.name != "webhook-id" {
                request = request.header(header.name.as_ref(), header.value);
            }
        }
        let request = request.body(body).map_err(|error| error.to_string())?;
        let answered = self.http.send(request, TIMEOUT, LONGEST_ANSWER).await;
        let answered = answered.map_err(|error| error.to_string())?;
        let took = SystemClock.monotonic().saturating_duration_since(begun);
        Ok((answered.response.status(), took))
    }
}

/// The headers in which the server says what the sender has said of the body.
const OFFHOOK_TYPE: HeaderName = HeaderName::from_static("offhook-content-type");
const OFFHOOK_ENCODING: HeaderName = HeaderName::from_static("offhook-content-encoding");

const TIMEOUT: Duration = Duration::from_secs(30);
const LONGEST_ANSWER: usize = 64 * 1024;

/// As the relay has it.
const LONGEST_SESSION: usize = 4096;
