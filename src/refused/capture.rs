//! [`Capture`]: a refused request on its way into the pool. It is made on the thread that has answered the
//! request, so it does nothing but copy.

use std::net::SocketAddr;
use std::sync::Arc;

use actix_http::RequestHead;
use actix_http::header::{CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use uuid::Uuid;

use super::cause::Cause;
use super::kept::Header;
use crate::Timestamp;
use crate::signature::{Unverified, kept_name, looks_like_a_credential};

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
    /// The path and the query as they were sent.
    pub(super) target: String,
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
    /// There is no room for it on the way, or for the headers or the address that it needs.
    Left(u64),
    Unread,
}

impl Capture {
    pub(super) fn new(id: Uuid, now: Timestamp, arrived: Arrived<'_>) -> Self {
        let head = arrived.head;
        let at = arrived.request.as_ref();
        let (headers, has_needed) = headers(head.headers(), arrived.needed);
        let target = head.uri.path_and_query();
        let target = target.map_or("", |target| target.as_str());
        let is_whole = has_needed && target.len() <= LONGEST_TARGET;
        Self {
            id,
            at: at.map_or(now, |request| request.received_at),
            source: arrived.source.cloned(),
            session: arrived.session.map(|session| cut(session, LONGEST_SESSION)),
            target: cut(target, LONGEST_TARGET),
            path: cut(arrived.path, LONGEST_PATH),
            method: cut(head.method.as_str(), LONGEST_METHOD),
            peer: head.peer_addr,
            cause: arrived.cause,
            headers,
            declared: declared(head.headers()),
            body: match arrived.request {
                None => CapturedBody::Unread,
                // Without a header or a part of the address that it is judged by it would be another request.
                Some(request) if !is_whole => CapturedBody::Left(request.body.len() as u64),
                Some(request) => CapturedBody::Read(request),
            },
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

/// The names of all headers; the values of those that are `needed`, of those that are stored with an event, and of
/// those that may be shown, in this order, as far as there is room. Whether all that are needed are there: what else
/// was sent takes no room from them.
fn headers(all: &HeaderMap, needed: &[String]) -> (Vec<Header>, bool) {
    let is_needed = |name: &HeaderName| {
        *name == CONTENT_ENCODING || needed.iter().any(|needed| needed == name.as_str())
    };
    let mut kept = Vec::with_capacity(all.len().min(MOST_HEADERS));
    let (mut room, mut is_whole) = (MOST_NEEDED, true);
    for name in all.keys().filter(|name| is_needed(name)) {
        // Two are enough to see that it is repeated.
        for value in all.get_all(name).take(2) {
            let header = Header::new(name, value, is_shown(name, true), &mut room);
            is_whole &= header.value.is_some();
            kept.push(header);
        }
    }
    let rank = |name: &HeaderName| (kept_name(name.as_str()).is_none(), !is_shown(name, false));
    let mut others: Vec<_> = all
        .iter()
        .filter(|(name, _)| !is_needed(name) && name.as_str().len() <= LONGEST_NAME)
        .collect();
    others.sort_by_key(|(name, _)| rank(name));
    let mut room = MOST_VALUES;
    for (name, value) in others {
        if kept.len() >= MOST_HEADERS {
            break;
        }
        let is_shown = is_shown(name, false);
        let is_kept = is_shown || kept_name(name.as_str()).is_some();
        let none = &mut 0;
        let room = if is_kept { &mut room } else { none };
        kept.push(Header::new(name, value, is_shown, room));
    }
    (kept, is_whole)
}

impl Header {
    /// With its value, if there is room for that.
    fn new(name: &HeaderName, value: &HeaderValue, is_shown: bool, room: &mut usize) -> Self {
        let left = room.checked_sub(value.len().max(1));
        // A copy, because the value itself would keep the connection's whole buffer alive.
        let value = left.map(|_| Bytes::copy_from_slice(value.as_bytes()));
        *room = left.unwrap_or(*room);
        Self {
            name: name.clone(),
            value,
            is_shown,
        }
    }
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
    let name = name.as_str();
    ALWAYS.contains(&name)
        || (is_needed || kept_name(name).is_some()) && !looks_like_a_credential(name)
}

/// How many bytes of values are kept of one request, beside those that are needed.
const MOST_VALUES: usize = 8 * 1024;

/// How many bytes of those.
const MOST_NEEDED: usize = 16 * 1024;

const MOST_HEADERS: usize = 96;

/// In bytes, as the next ones.
const LONGEST_NAME: usize = 128;
const LONGEST_PATH: usize = 1024;
const LONGEST_TARGET: usize = 4096;
const LONGEST_SESSION: usize = 4096;
const LONGEST_METHOD: usize = 32;

#[cfg(test)]
mod tests;
