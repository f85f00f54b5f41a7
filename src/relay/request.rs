//! [`Target`]: what is sent to one subscriber, ready but for what each delivery adds.

use std::fmt;

use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT,
};
use http::{Method, Request, Uri};
use http_body_util::Full;
use jiff::Timestamp;
use url::{Host, Url};
use uuid::Uuid;

use super::shown;
use crate::signature::{
    Mac, Secret, standard_webhooks_key, standard_webhooks_signature, x_webhook_signature,
};
use crate::{Delivery, percent_encode};

/// One subscriber: its address and its keys.
pub(super) struct Target {
    url: Url,
    /// The same as the client takes it; none where it takes less than the URL standard.
    uri: Option<Uri>,
    /// The `Host` header, where it is known that HTTP/1 will be spoken. HTTP/2 has none.
    host: Option<HeaderValue>,
    shown: String,
    keys: Option<Keys>,
}

/// A secret, and the HMAC of its other form with the key mixed in.
struct Keys {
    text: Secret,
    standard: Mac,
}

impl Target {
    pub(super) fn new(mut url: Url, secret: Option<Secret>) -> Self {
        url.set_fragment(None);
        let uri = uri(&url);
        let plain = uri.as_ref().filter(|_| url.scheme() == "http");
        let host = plain.and_then(Uri::authority);
        let host = host.and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        let shown = shown(&url);
        let keys = secret.map(|text| Keys {
            standard: standard_webhooks_key(&text),
            text,
        });
        Self {
            url,
            uri,
            host,
            shown,
            keys,
        }
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Where requests go.
    pub(super) fn uri(&self) -> Option<&Uri> {
        self.uri.as_ref()
    }

    /// Whether the address stands in the URL, so that nobody is asked for it.
    pub(super) fn is_literal(&self) -> bool {
        matches!(self.url.host(), Some(Host::Ipv4(_) | Host::Ipv6(_)))
    }

    /// The stored bytes with all headers, signed for `now`.
    pub(super) fn request(
        &self,
        uri: Uri,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Request<Full<Bytes>> {
        let body = delivery.body();
        let mut headers = HeaderMap::with_capacity(MOST_HEADERS);
        describe(&mut headers, delivery);
        let mut buffer = Uuid::encode_buffer();
        let id: &str = delivery.id().body().hyphenated().encode_lower(&mut buffer);
        let seconds = now.as_second();
        set(&mut headers, WEBHOOK_ID, id.to_owned());
        headers.insert(WEBHOOK_TIMESTAMP, HeaderValue::from(seconds));
        if let Some(keys) = &self.keys {
            let own = x_webhook_signature(&keys.text, body);
            set(&mut headers, X_WEBHOOK_SIGNATURE, own);
            let mac = keys.standard.clone();
            let standard = standard_webhooks_signature(mac, id, &seconds.to_string(), body);
            set(&mut headers, WEBHOOK_SIGNATURE, standard);
        }
        headers.insert(ACCEPT, ANYTHING);
        headers.insert(USER_AGENT, OFFHOOK);
        if let Some(host) = &self.host {
            headers.insert(HOST, host.clone());
        }
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers;
        request
    }
}

/// The URL without user and password, which are not sent.
fn uri(url: &Url) -> Option<Uri> {
    let mut bare = url.clone();
    // It fails where there can be none.
    let _ = bare.set_username("");
    let _ = bare.set_password(None);
    Uri::try_from(String::from(bare)).ok()
}

/// What the body is, and what delivery this is. Of the sender's headers only those that the bytes
/// cannot be read without: the others may say things that are not for subscribers.
fn describe(headers: &mut HeaderMap, delivery: &Delivery) {
    for (name, value) in delivery.headers() {
        let name = match name {
            "content-type" => CONTENT_TYPE,
            "content-encoding" => CONTENT_ENCODING,
            _ => continue,
        };
        let value = match value {
            b"application/json" => Ok(JSON),
            other => HeaderValue::from_bytes(other),
        };
        if let Ok(value) = value {
            headers.append(name, value);
        }
    }
    headers.insert(OFFHOOK_ATTEMPT, HeaderValue::from(delivery.attempt()));
    // A body may name a session of any length, and a head that is too long is refused for ever.
    let session = delivery.session().map(percent_encode);
    if let Some(session) = session.filter(|session| session.len() <= LONGEST_SESSION) {
        set(headers, OFFHOOK_SESSION, session.into());
    }
    if delivery.is_replay() {
        headers.insert(OFFHOOK_REPLAY, HeaderValue::from_static("true"));
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    let value = HeaderValue::try_from(value).expect("visible ASCII is a header's value");
    headers.insert(name, value);
}

/// Shows where to, without what may be a token; whether there is a secret, but not which.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("url", &self.shown)
            .field("signed", &self.keys.is_some())
            .finish_non_exhaustive()
    }
}

/// Where to, as errors say it.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The longest session that has a header, in bytes as it is sent. In the body it is in any case.
const LONGEST_SESSION: usize = 4096;

/// How many headers there is room for at once: those of a usual delivery, and what the client adds.
const MOST_HEADERS: usize = 12;

const OFFHOOK: HeaderValue =
    HeaderValue::from_static(concat!("offhook/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const X_WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const OFFHOOK_ATTEMPT: HeaderName = HeaderName::from_static("offhook-attempt");
const OFFHOOK_SESSION: HeaderName = HeaderName::from_static("offhook-session");
const OFFHOOK_REPLAY: HeaderName = HeaderName::from_static("offhook-replay");

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt as _;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::Received;

    fn delivery(change: impl FnOnce(&mut Received)) -> Delivery {
        let mut received = Received::new("s", "{}");
        received.id = Uuid::from_u128(7);
        change(&mut received);
        Delivery::new(Arc::new(received), 3, false)
    }

    fn request(secret: Option<&str>, delivery: &Delivery) -> Request<Full<Bytes>> {
        let url = Url::parse("https://u:p@crm.example/hook?token=t#f").unwrap();
        let secret = secret.map(|text| Secret::new(text).unwrap());
        let now = Timestamp::from_second(1000).unwrap();
        let target = Target::new(url, secret);
        target.request(target.uri().unwrap().clone(), delivery, now)
    }

    fn lines(request: &Request<Full<Bytes>>) -> Vec<String> {
        let headers = request.headers().iter();
        let mut lines: Vec<String> = headers
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        lines.sort();
        lines
    }

    #[test]
    fn without_secret_nothing_is_signed() {
        let request = request(None, &delivery(|_| ()));
        assert_eq!(
            lines(&request),
            [
                "accept: */*",
                "offhook-attempt: 3",
                concat!("user-agent: offhook/", env!("CARGO_PKG_VERSION")),
                "webhook-id: 00000000-0000-0000-0000-000000000007",
                "webhook-timestamp: 1000",
            ]
        );
        // Neither user nor password, which are not sent.
        assert_eq!(*request.uri(), "https://crm.example/hook?token=t");
        let body = request.into_body().collect().now_or_never().unwrap();
        assert_eq!(body.unwrap().to_bytes(), "{}");
    }

    #[test]
    fn what_describes_the_body_is_sent_on_and_nothing_else_of_the_sender() {
        let delivery = delivery(|received| {
            let header = |(name, value): (&'static str, &'static str)| (name.into(), value.into());
            let headers = [
                ("content-type", "text/x; charset=latin1"),
                ("content-encoding", "gzip"),
                ("user-agent", "gateway"),
                ("x-webhook-signature", "theirs"),
                ("webhook-id", "theirs"),
                ("x-own", "1"),
            ];
            received.headers = headers.map(header).into();
            received.session = Some("ü\r\nX: 1%".into());
        });
        let delivery = Delivery::new(Arc::new(delivery.received().clone()), 1, true);
        let request = request(Some("key"), &delivery);
        let lines = lines(&request);
        let names: Vec<&str> = lines
            .iter()
            .map(|line| line.split(':').next().unwrap())
            .collect();
        assert_eq!(
            names,
            [
                "accept",
                "content-encoding",
                "content-type",
                "offhook-attempt",
                "offhook-replay",
                "offhook-session",
                "user-agent",
                "webhook-id",
                "webhook-signature",
                "webhook-timestamp",
                "x-webhook-signature",
            ]
        );
        assert_eq!(lines[1], "content-encoding: gzip");
        assert_eq!(lines[2], "content-type: text/x; charset=latin1");
        assert_eq!(lines[4], "offhook-replay: true");
        assert_eq!(lines[5], "offhook-session: %C3%BC%0D%0AX:%201%25");
    }

    #[test]
    fn a_session_that_would_make_the_head_too_long_is_in_the_body_alone() {
        let request = |length| {
            let session = Some("s".repeat(length));
            request(None, &delivery(|received| received.session = session))
        };
        let header = |length| request(length).headers().get(OFFHOOK_SESSION).cloned();
        assert!(header(LONGEST_SESSION).is_some());
        assert!(header(LONGEST_SESSION + 1).is_none());
    }

    #[test]
    fn neither_query_nor_user_nor_secret_is_shown() {
        let url = Url::parse("https://user:pass@crm.example:8443/hook?token=t").unwrap();
        let target = Target::new(url, Some(Secret::new("key").unwrap()));
        assert_eq!(target.to_string(), "https://crm.example:8443/hook?…");
        let debug = format!("{target:?}");
        for hidden in ["user", "pass", "token", "key"] {
            assert!(!debug.contains(hidden), "{debug}");
        }
    }
}
