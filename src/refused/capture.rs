//! [`Capture`]: a refused request on its way into the pool. It is made on the thread that has answered the
//! request, so it does nothing but copy.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_http::RequestHead;
use actix_http::header::{HeaderMap, HeaderName};
use bytes::Bytes;
use uuid::Uuid;

use super::cause::Cause;
use super::kept::Header;
use crate::Timestamp;
use crate::signature::{Unverified, kept_name};

/// A refused request, as the code that has answered it knows it.
pub(crate) struct Arrived<'a> {
    pub(crate) head: &'a RequestHead,
    /// The path below the mount point, decoded.
    pub(crate) path: &'a str,
    /// The name of its source.
    pub(crate) source: Option<&'a Arc<str>>,
    /// The session that the path names.
    pub(crate) session: Option<&'a str>,
    /// The headers, in lower case, that its source needs to verify and to read it.
    pub(crate) needed: &'a [String],
    pub(crate) cause: Cause,
    /// The whole request, if its body was read.
    pub(crate) request: Option<Box<Unverified>>,
}

/// A refused request on its way into the pool.
pub(super) struct Capture {
    pub(super) id: Uuid,
    pub(super) at: Timestamp,
    pub(super) source: Option<Arc<str>>,
    pub(super) session: Option<String>,
    pub(super) path: String,
    pub(super) method: String,
    pub(super) peer: Option<SocketAddr>,
    pub(super) cause: Cause,
    pub(super) headers: Vec<Header>,
    /// The length that the sender has declared.
    pub(super) declared: Option<u64>,
    pub(super) body: CapturedBody,
}

/// The body of a refused request.
pub(super) enum CapturedBody {
    /// With its share of the budget for bodies, until it is in the pool.
    Read(Box<Unverified>),
    /// There is no room for it on the way.
    Left(u64),
    Unread,
}

impl Capture {
    pub(super) fn new(id: Uuid, now: Timestamp, arrived: Arrived<'_>) -> Self {
        let head = arrived.head;
        let at = arrived.request.as_ref();
        Self {
            id,
            at: at.map_or(now, |request| request.received_at),
            source: arrived.source.cloned(),
            session: arrived.session.map(|session| cut(session, LONGEST_SESSION)),
            path: cut(arrived.path, LONGEST_PATH),
            method: cut(head.method.as_str(), LONGEST_METHOD),
            peer: head.peer_addr,
            cause: arrived.cause,
            headers: headers(head.headers(), arrived.needed),
            declared: declared(head.headers()),
            body: arrived
                .request
                .map_or(CapturedBody::Unread, CapturedBody::Read),
        }
    }
}

fn cut(text: &str, most: usize) -> String {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn declared(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(actix_http::header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The names of all headers; the values of those that are `needed`, and of those that may be shown.
fn headers(all: &HeaderMap, needed: &[String]) -> Vec<Header> {
    let mut room = MOST_VALUES;
    let mut kept = Vec::with_capacity(all.len().min(MOST_HEADERS));
    for (name, value) in all.iter().take(MOST_HEADERS) {
        if name.as_str().len() > LONGEST_NAME {
            continue;
        }
        let is_needed = needed.iter().any(|needed| needed == name.as_str());
        let is_shown = is_shown(name, is_needed);
        let fits = value.len() <= room;
        let value = value.as_bytes();
        kept.push(Header {
            name: name.clone(),
            // A copy, because the value itself would keep the connection's whole buffer alive.
            value: ((is_needed || is_shown) && fits).then(|| {
                room -= value.len();
                Bytes::copy_from_slice(value)
            }),
            is_shown,
        });
    }
    kept
}

/// Whether the value of a header may be shown.
fn is_shown(name: &HeaderName, is_needed: bool) -> bool {
    const ALWAYS: [&str; 5] = [
        "content-type",
        "content-length",
        "content-encoding",
        "user-agent",
        "host",
    ];
    const CREDENTIALS: [&str; 7] = [
        "auth", "token", "key", "secret", "cookie", "session", "password",
    ];
    let name = name.as_str();
    if ALWAYS.contains(&name) {
        return true;
    }
    (is_needed || kept_name(name).is_some()) && !CREDENTIALS.iter().any(|word| name.contains(word))
}

/// How many bytes of values are kept of one request.
const MOST_VALUES: usize = 8 * 1024;

const MOST_HEADERS: usize = 96;

/// In bytes, as the next ones.
const LONGEST_NAME: usize = 128;
const LONGEST_PATH: usize = 1024;
const LONGEST_SESSION: usize = 4096;
const LONGEST_METHOD: usize = 32;

#[cfg(test)]
mod tests {
    use actix_http::header::HeaderValue;

    use super::*;

    #[test]
    fn credentials_are_not_shown() {
        let mut map = HeaderMap::new();
        for (name, value) in [
            ("host", "h"),
            ("accept", "a"),
            ("authorization", "hidden"),
            ("cookie", "hidden"),
            ("x-api-key", "hidden"),
            ("x-access-token", "hidden"),
            ("x-session-id", "hidden"),
            ("x-webhook-signature", "s"),
            ("webhook-id", "i"),
            ("x-own-auth-signature", "needed"),
            ("x-large", &"x".repeat(MOST_VALUES)),
        ] {
            let value = HeaderValue::from_str(value).unwrap();
            map.append(HeaderName::from_static(name), value);
        }
        let kept = headers(&map, &["x-own-auth-signature".to_owned()]);
        assert_eq!(kept.len(), map.len());
        let of = |name: &str| {
            let one = kept.iter().find(|one| one.name.as_str() == name).unwrap();
            (one.value.is_some(), one.is_shown)
        };
        for name in [
            "authorization",
            "cookie",
            "x-api-key",
            "x-access-token",
            "x-session-id",
            "accept",
        ] {
            assert_eq!(of(name), (false, false), "{name}");
        }
        for name in ["host", "x-webhook-signature", "webhook-id"] {
            assert_eq!(of(name), (true, true), "{name}");
        }
        assert_eq!(of("x-own-auth-signature"), (true, false));
        assert_eq!(of("x-large"), (false, true));
    }
}
