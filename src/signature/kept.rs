//! Which headers of a request are stored with its event.

use std::borrow::Cow;

use actix_http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use bytes::Bytes;

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
            // One that is longer cannot be read, and must not be taken for none.
            let is_short = value.len() <= MAX_KEPT_HEADERS;
            let read = if is_short { value.as_bytes() } else { b"?" };
            (name.clone(), kept_value(read))
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
