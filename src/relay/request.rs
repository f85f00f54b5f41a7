//! [`Target`]: makes the requests to one subscriber.

#[cfg(test)]
mod tests;

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{
    ACCEPT, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName,
    HeaderValue, USER_AGENT,
};
use http::{Method, Request, Uri};
use http_body_util::Full;
use jiff::Timestamp;
use url::Url;
use uuid::Uuid;

use super::guard::Guard;
use super::headers::SubscriptionHeaders;
use super::subscription::{may_be_token, shown};
use super::trace::{TRACEPARENT, Trace};
use crate::signature::{
    Mac, Secret, Secrets, TEST, standard_webhooks_key, standard_webhooks_signature,
    x_webhook_signature,
};
use crate::{Delivery, percent_encode};

/// One subscriber's URL and keys, prepared for its requests.
pub(super) struct Target {
    /// The URL in the client's form, or why no request can be sent to it.
    pub(super) uri: Result<Uri, String>,
    /// The `Host` header, for `http` URLs. HTTP/2, which needs TLS here, has no such header.
    host: Option<HeaderValue>,
    /// The URL as logs and errors show it.
    shown: String,
    keys: Option<Keys>,
    /// What each request has in addition.
    pub(super) headers: SubscriptionHeaders,
    /// The name of the consumer, which tells its attempts from those of others in a trace.
    pub(super) consumer: String,
}

/// A subscriber's secrets in both of their forms.
struct Keys {
    /// The text of the first is the key of `X-Webhook-Signature`.
    all: Secrets,
    /// The HMACs of `webhook-signature`, one of each secret, with its key already mixed in.
    standard: Vec<Mac>,
}

impl Keys {
    fn new(secrets: &Secrets) -> Option<Self> {
        secrets.first()?;
        Some(Self {
            all: secrets.clone(),
            standard: secrets.iter().map(standard_webhooks_key).collect(),
        })
    }

    /// The value of `X-Webhook-Signature`.
    fn own(&self, body: &[u8]) -> String {
        let first = self.all.first();
        first.map_or_else(String::new, |secret| x_webhook_signature(secret, body))
    }

    /// The value of `webhook-signature`: the signature of each secret.
    fn standard(&self, id: &str, seconds: &str, body: &[u8]) -> String {
        let sign = |mac: &Mac| standard_webhooks_signature(mac.clone(), id, seconds, body);
        let mut each = self.standard.iter().map(sign);
        let first = each.next().unwrap_or_default();
        each.fold(first, |all, next| all + " " + &next)
    }
}

impl Target {
    /// Judges the URL by `guard`, which never changes. That is all for a URL whose host is an address;
    /// names are judged by the resolver for each connection.
    pub(super) fn new(mut url: Url, secrets: &Secrets, guard: &Guard) -> Self {
        url.set_fragment(None);
        let uri = match guard.check(&url) {
            Ok(()) => Uri::try_from(url.as_str())
                .map_err(|_| "the URL cannot be written into a request".to_owned()),
            Err(rejected) => Err(rejected.to_string()),
        };
        let host = uri
            .as_ref()
            .ok()
            .filter(|_| url.scheme() == "http")
            .and_then(Uri::authority)
            .and_then(|host| HeaderValue::from_str(host.as_str()).ok());
        Self {
            uri,
            host,
            shown: shown(&url),
            keys: Keys::new(secrets),
            headers: SubscriptionHeaders::default(),
            consumer: String::new(),
        }
    }

    /// A request with the stored bytes and all headers, signed at the time `now`.
    pub(super) fn request(
        &self,
        uri: Uri,
        delivery: &Delivery,
        trace: Trace,
        now: Timestamp,
    ) -> Request<Full<Bytes>> {
        let body = delivery.body();
        let own = self.headers.map();
        let mut headers = HeaderMap::with_capacity(EXPECTED_HEADERS + own.len());
        for (name, value) in own {
            headers.insert(name.clone(), value.clone());
        }
        add_event_headers(&mut headers, delivery);
        // A subscription's own header wins.
        if !headers.contains_key(TRACEPARENT)
            && let Some(parent) = trace.parent(&self.consumer, delivery)
        {
            headers.insert(TRACEPARENT, parent);
        }
        let mut buffer = Uuid::encode_buffer();
        let id: &str = delivery.id().body().hyphenated().encode_lower(&mut buffer);
        let seconds = now.as_second().to_string();
        set(&mut headers, WEBHOOK_ID, id.to_owned());
        if let Some(keys) = &self.keys {
            let own = keys.own(body);
            set_sensitive(&mut headers, X_WEBHOOK_SIGNATURE, own);
            let standard = keys.standard(id, &seconds, body);
            set_sensitive(&mut headers, WEBHOOK_SIGNATURE, standard);
        }
        set(&mut headers, WEBHOOK_TIMESTAMP, seconds);
        if body.is_empty() {
            // hyper leaves it out then, and some subscribers need it.
            headers.insert(CONTENT_LENGTH, HeaderValue::from(0));
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

    /// What the answer to a request with these signatures must not show: the values of its sensitive headers,
    /// whole and in their parts, the secrets, and the parts of the URL that may be tokens. An answer may
    /// have them with or without escapes ([`super::refusal`]).
    pub(super) fn hidden(&self, uri: &Uri, signatures: &Signatures) -> Vec<Vec<u8>> {
        let mut hidden = hidden_in_url(uri);
        let secrets = self.keys.iter().flat_map(|keys| keys.all.iter());
        for secret in secrets.map(Secret::expose) {
            hidden.push(secret.to_vec());
            hidden.extend(secret.strip_prefix(b"whsec_").map(<[u8]>::to_vec));
        }
        let own = self.headers.map().values();
        for value in own.chain(signatures.0.iter().flatten()) {
            add_value(value.as_bytes(), &mut hidden);
        }
        hidden
    }
}

/// The signatures of a request that was sent, which are shown to nobody.
pub(super) struct Signatures([Option<HeaderValue>; 2]);

impl Signatures {
    pub(super) fn of<T>(request: &Request<T>) -> Self {
        Self(
            [X_WEBHOOK_SIGNATURE, WEBHOOK_SIGNATURE]
                .map(|name| request.headers().get(name).cloned()),
        )
    }
}

/// The query, the parts of its pairs, and the segments of the path that may be tokens.
fn hidden_in_url(uri: &Uri) -> Vec<Vec<u8>> {
    let query = uri.query().unwrap_or_default();
    let mut hidden = vec![query.into()];
    for pair in query.split('&') {
        let value = pair.split_once('=').map_or(pair, |(_, value)| value);
        // In a query both stand for a space.
        hidden.extend([value.into(), value.replace('+', " ").into()]);
    }
    let segments = uri.path().split('/').filter(|part| may_be_token(part));
    hidden.extend(segments.map(Into::into));
    hidden
}

/// Adds the value of a header and what it is made of.
fn add_value(value: &[u8], hidden: &mut Vec<Vec<u8>>) {
    hidden.push(value.to_vec());
    if let Some((scheme, credentials)) = split_at(value, b' ')
        && scheme.eq_ignore_ascii_case(b"basic")
        && let Ok(pair) = STANDARD.decode(credentials.trim_ascii())
    {
        let (user, password) = split_at(&pair, b':').unwrap_or((&pair, b""));
        hidden.extend([user.to_vec(), password.to_vec()]);
        hidden.push(pair);
    }
    for part in value.split(|byte| b" ,;".contains(byte)) {
        hidden.push(part.to_vec());
        // As in `key="value"`.
        if let Some((_, value)) = split_at(part, b'=') {
            let value = value.strip_prefix(b"\"").unwrap_or(value);
            hidden.push(value.strip_suffix(b"\"").unwrap_or(value).to_vec());
        }
    }
}

fn split_at(text: &[u8], by: u8) -> Option<(&[u8], &[u8])> {
    let at = text.iter().position(|byte| *byte == by)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Adds the headers that describe the body and the delivery. Of the sender's headers only the body's
/// type and encoding are passed on; the others may hold what is not meant for subscribers.
fn add_event_headers(headers: &mut HeaderMap, delivery: &Delivery) {
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
    let attempt = match delivery.attempt() {
        1 => FIRST,
        later => HeaderValue::from(later),
    };
    headers.insert(OFFHOOK_ATTEMPT, attempt);
    // A body may name a session of any length, and a subscriber would refuse a head that is too long in
    // every attempt.
    let session = delivery.session().map(percent_encode);
    if let Some(session) = session.filter(|session| session.len() <= LONGEST_SESSION) {
        set(headers, OFFHOOK_SESSION, session.into());
    }
    if let Some(parts) = delivery.parts() {
        let parts: Vec<String> = parts.iter().map(u16::to_string).collect();
        set(headers, OFFHOOK_PARTS, parts.join(","));
    }
    if delivery.is_replay() {
        headers.insert(OFFHOOK_REPLAY, HeaderValue::from_static("true"));
    }
    if delivery.header(TEST).is_some() {
        headers.insert(OFFHOOK_TEST, HeaderValue::from_static("true"));
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: String) {
    headers.insert(name, header_value(value));
}

/// As [`set`], for a value that proves the request and is never shown.
fn set_sensitive(headers: &mut HeaderMap, name: HeaderName, value: String) {
    let mut value = header_value(value);
    value.set_sensitive(true);
    headers.insert(name, value);
}

fn header_value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).expect("visible ASCII is a header's value")
}

/// Shows the URL without parts that may be tokens, and whether there is a secret.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target")
            .field("url", &self.shown)
            .field("signed", &self.keys.is_some())
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// The longest `offhook-session` header, in bytes. A longer session is only in the body.
const LONGEST_SESSION: usize = 4096;

/// How many headers the map has room for: those of a usual delivery, and those that the client adds.
const EXPECTED_HEADERS: usize = 12;

const OFFHOOK: HeaderValue =
    HeaderValue::from_static(concat!("offhook/", env!("CARGO_PKG_VERSION")));
const ANYTHING: HeaderValue = HeaderValue::from_static("*/*");
const FIRST: HeaderValue = HeaderValue::from_static("1");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

const X_WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("x-webhook-signature");
const WEBHOOK_ID: HeaderName = HeaderName::from_static("webhook-id");
const WEBHOOK_TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const WEBHOOK_SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");
const OFFHOOK_PARTS: HeaderName = HeaderName::from_static("offhook-parts");
const OFFHOOK_ATTEMPT: HeaderName = HeaderName::from_static("offhook-attempt");
const OFFHOOK_SESSION: HeaderName = HeaderName::from_static("offhook-session");
const OFFHOOK_REPLAY: HeaderName = HeaderName::from_static("offhook-replay");
const OFFHOOK_TEST: HeaderName = HeaderName::from_static(TEST);
