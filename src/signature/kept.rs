//! Which headers of a request are stored with its event.

use std::borrow::Cow;

use actix_http::header::{CONTENT_ENCODING, HeaderMap, HeaderValue};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

/// The headers to store: the encoding of the body, those named in `always`, its type, and the sender's own.
/// Of the last, those that look like a credential are left out; with the type they have [`MAX_KEPT_HEADERS`]
/// bytes at most.
pub(super) fn kept_headers<'h>(
    headers: &'h HeaderMap,
    always: &[String],
) -> Vec<(Cow<'static, str>, Cow<'h, [u8]>)> {
    let mut kept = Vec::with_capacity(4);
    // Whether a body can be read, and whose duplicate it is, must not depend on what else was sent. Of one that
    // is repeated two are enough to see it.
    let mut needed = |name: Cow<'static, str>, values: std::slice::Iter<'h, HeaderValue>| {
        kept.extend(values.take(2).map(|value| {
            let value = value.as_bytes();
            if value.len() <= MAX_KEPT_HEADERS {
                return (name.clone(), value.into());
            }
            // One that is longer must not be taken for none, nor for another that is too long: it may be an id.
            let hash = format!("sha256={}", const_hex::encode(Sha256::digest(value)));
            (name.clone(), hash.into_bytes().into())
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
            kept.push((name, value.as_bytes().into()));
        }
    }
    kept
}

/// The body, and the values behind it in the same memory. Copies, because the values themselves would keep the
/// connection's whole buffer alive.
pub(super) fn kept_together(
    mut body: Vec<u8>,
    kept: Vec<(Cow<'static, str>, Cow<'_, [u8]>)>,
) -> (Bytes, Vec<(Cow<'static, str>, Bytes)>) {
    let length = body.len();
    for (_, value) in &kept {
        body.extend_from_slice(value);
    }
    let whole = Bytes::from(body);
    let mut end = length;
    let headers = kept.into_iter().map(|(name, value)| {
        let start = end;
        end += value.len();
        (name, whole.slice(start..end))
    });
    (whole.slice(..length), headers.collect())
}

/// How many bytes the values take.
pub(super) fn bytes_of(kept: &[(Cow<'static, str>, Cow<'_, [u8]>)]) -> usize {
    kept.iter().map(|(_, value)| value.len()).sum()
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
    fn values_are_behind_the_body() {
        let kept = vec![
            ("a".into(), b"1"[..].into()),
            ("b".into(), b"22"[..].into()),
        ];
        let (body, headers) = kept_together(b"body".to_vec(), kept);
        assert_eq!(body, "body");
        let values: Vec<&[u8]> = headers.iter().map(|(_, value)| &value[..]).collect();
        assert_eq!(values, [&b"1"[..], b"22"]);
        assert_eq!(values[1].as_ptr(), body[..].as_ptr().wrapping_add(5));
    }

    #[test]
    fn long_ids_stay_different() {
        let kept = |value: &str| {
            let mut headers = HeaderMap::new();
            let name = actix_http::header::HeaderName::from_static("x-id");
            headers.insert(name, HeaderValue::from_str(value).unwrap());
            let mut kept = kept_headers(&headers, &["x-id".to_owned()]);
            assert_eq!(kept.len(), 1);
            Bytes::copy_from_slice(&kept.remove(0).1)
        };
        assert_eq!(kept("1"), "1");
        let long = "x".repeat(MAX_KEPT_HEADERS);
        assert_eq!(kept(&long), long);
        let (one, other) = (kept(&format!("{long}1")), kept(&format!("{long}2")));
        assert_ne!(one, other);
        assert!(one.len() < 100);
    }
}
