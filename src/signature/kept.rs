//! Which headers of a request are stored with its event.

use std::borrow::Cow;

use actix_http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The headers to store: the encoding of the body, those named in `always`, its type, and the sender's own.
/// Of the last, those that look like a credential are left out; with the type they have [`MAX_KEPT_HEADERS`]
/// bytes at most.
pub(super) fn kept_headers(
    headers: &HeaderMap,
    always: &[String],
) -> Vec<(Cow<'static, str>, Bytes)> {
    let mut kept = Vec::with_capacity(4);
    // Whether a body can be read, and whose duplicate it is, must not depend on what else was sent. Of one that
    // is repeated two are enough to see it.
    let mut needed = |name: Cow<'static, str>, values: std::slice::Iter<'_, HeaderValue>| {
        kept.extend(values.take(2).map(|value| {
            let value = value.as_bytes();
            if value.len() <= MAX_KEPT_HEADERS {
                return (name.clone(), kept_value(value));
            }
            // One that is longer must not be taken for none, nor for another that is too long: it may be an id.
            let hash = format!("sha256={}", const_hex::encode(Sha256::digest(value)));
            (name.clone(), hash.into())
        }));
    };
    needed("content-encoding".into(), headers.get_all(CONTENT_ENCODING));
    for name in always {
        needed(name.clone().into(), headers.get_all(name));
    }
    let mut bytes = 0;
    for (name, value) in headers {
        let is_kept =
            *name == CONTENT_ENCODING || always.iter().any(|other| name.as_str() == other);
        if !is_kept
            && let Some(name) = kept_name(name.as_str())
            && bytes + value.len() <= MAX_KEPT_HEADERS
            && kept.len() < MAX_KEPT_HEADERS / 64
        {
            bytes += value.len();
            kept.push((name, kept_value(value.as_bytes())));
        }
    }
    kept
}

/// A copy, because the value itself would keep the connection's whole buffer alive.
fn kept_value(value: &[u8]) -> Bytes {
    const JSON: &[u8] = b"application/json";
    if value == JSON {
        Bytes::from_static(JSON)
    } else {
        Bytes::copy_from_slice(value)
    }
}

/// The name of a header that is stored and may be shown; `None` for one that may be a credential.
pub(crate) fn kept_name(name: &str) -> Option<Cow<'static, str>> {
    const ALWAYS: [&str; 3] = ["content-type", "user-agent", "x-webhook-signature"];
    if let Some(name) = ALWAYS.into_iter().find(|always| *always == name) {
        return Some(Cow::Borrowed(name));
    }
    let own = name.starts_with("x-") || name.starts_with("webhook-");
    let kept = own && !CREDENTIALS.iter().any(|word| name.contains(word));
    kept.then(|| Cow::Owned(name.to_owned()))
}

/// Whether the name of a header says that its value may be a credential. Such a value is not shown. It is stored if
/// only its name says `key` or `session`, because a receiver may need that.
pub(crate) fn looks_like_a_credential(name: &str) -> bool {
    let mut words = CREDENTIALS.iter().chain(&["key", "session"]);
    words.any(|word| name.contains(word))
}

/// A header with one of these in its name is not stored.
const CREDENTIALS: [&str; 7] = [
    "auth", "token", "secret", "cookie", "password", "api-key", "apikey",
];

/// How many bytes of headers are stored with an event.
const MAX_KEPT_HEADERS: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_ids_stay_different() {
        let kept = |value: &str| {
            let mut headers = HeaderMap::new();
            let name = actix_http::header::HeaderName::from_static("x-id");
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            let mut kept = kept_headers(&headers, &["x-id".to_owned()]);
            assert_eq!(kept.len(), 1);
            kept.remove(0).1
        };
        assert_eq!(kept("1"), "1");
        let long = "x".repeat(MAX_KEPT_HEADERS);
        assert_eq!(kept(&long), long);
        let (one, other) = (kept(&format!("{long}1")), kept(&format!("{long}2")));
        assert_ne!(one, other);
        assert!(one.len() < 100);
    }
}
