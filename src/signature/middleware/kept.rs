//! Selects which headers of a request are stored with its event.

use std::borrow::Cow;

use actix_http::header::HeaderMap;
use bytes::Bytes;

/// The headers to store: those that describe the body, and the sender's own. Excludes everything that
/// looks like a credential; at most [`MAX_KEPT_HEADERS`] bytes.
pub(super) fn kept_headers(headers: &HeaderMap) -> Vec<(Cow<'static, str>, Bytes)> {
    let mut kept = Vec::with_capacity(4);
    let mut bytes = 0;
    for (name, value) in headers {
        let Some(name) = kept_name(name.as_str()) else {
            continue;
        };
        if bytes + value.len() <= MAX_KEPT_HEADERS && kept.len() < MAX_KEPT_HEADERS / 64 {
            bytes += value.len();
            kept.push((name, kept_value(value.as_bytes())));
        }
    }
    kept
}

/// A copy, because the value itself would keep the connection's whole buffer alive.
fn kept_value(value: &[u8]) -> Bytes {
    const JSON: &[u8] = b"application/json";
    match value == JSON {
        true => Bytes::from_static(JSON),
        false => Bytes::copy_from_slice(value),
    }
}

fn kept_name(name: &str) -> Option<Cow<'static, str>> {
    match name {
        "content-type" => Some(Cow::Borrowed("content-type")),
        "content-encoding" => Some(Cow::Borrowed("content-encoding")),
        "user-agent" => Some(Cow::Borrowed("user-agent")),
        "x-webhook-signature" => Some(Cow::Borrowed("x-webhook-signature")),
        own if own.starts_with("x-") || own.starts_with("webhook-") => {
            let credential = [
                "auth", "token", "secret", "cookie", "password", "api-key", "apikey",
            ];
            let credential = credential.iter().any(|word| own.contains(word));
            (!credential).then(|| Cow::Owned(own.to_owned()))
        }
        _ => None,
    }
}

/// How many bytes of headers are stored with an event.
const MAX_KEPT_HEADERS: usize = 8 * 1024;
