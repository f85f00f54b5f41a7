//! [`Kept`]: what is kept of one refused request.

use std::sync::Arc;

use actix_http::header::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use uuid::Uuid;

use super::cause::Cause;
use crate::Timestamp;
use crate::signature::KeptHead;

/// A refused request. It proves nothing about its sender.
pub(crate) struct Kept {
    pub(crate) id: Uuid,
    /// When it was received.
    pub(crate) at: Timestamp,
    pub(crate) source: Option<Arc<str>>,
    /// The session that the path names.
    pub(super) session: Option<String>,
    /// Whether the session may be shown.
    pub(super) is_session_shown: bool,
    /// Its path and query as they were sent, if its body is kept. Not shown.
    pub(super) target: String,
    /// As it is shown.
    pub(super) path: String,
    pub(super) method: String,
    pub(super) peer: Option<String>,
    pub(super) status: u16,
    pub(super) cause: Cause,
    pub(super) headers: Vec<Header>,
    /// The length of the body, if it is known.
    pub(super) bytes: Option<u64>,
    pub(super) body: Body,
}

/// A header of a refused request.
pub(super) struct Header {
    pub(super) name: HeaderName,
    /// `None` if its value is not kept.
    pub(super) value: Option<Bytes>,
    pub(super) is_shown: bool,
}

/// What is kept of a body.
pub(super) enum Body {
    Whole(Bytes),
    /// It is longer than a body that is kept. Its SHA-256, in hexadecimal, unless there was no time for it.
    Hash(Option<String>),
    Unread,
}

impl Kept {
    /// The bytes that are held for it.
    pub(super) fn size(&self) -> usize {
        let headers = self.headers.iter().map(|header| {
            let value = header.value.as_ref().map_or(0, Bytes::len);
            header.name.as_str().len() + value + size_of::<Header>()
        });
        let texts = [
            self.session.as_ref().map_or(0, String::len),
            self.target.len(),
            self.path.len(),
            self.method.len(),
            self.peer.as_ref().map_or(0, String::len),
            self.body().map_or(0, Bytes::len),
        ];
        headers.sum::<usize>() + texts.iter().sum::<usize>() + size_of::<Self>() + OVERHEAD
    }

    /// The whole body.
    pub(crate) fn body(&self) -> Option<&Bytes> {
        match &self.body {
            Body::Whole(body) => Some(body),
            Body::Hash(_) | Body::Unread => None,
        }
    }

    /// The session that the path names.
    pub(crate) fn session(&self) -> Option<&str> {
        self.session.as_deref()
    }

    /// The session as it is shown.
    pub(super) fn shown_session(&self) -> Option<&str> {
        let session = self.session()?;
        Some(if self.is_session_shown {
            session
        } else {
            "…"
        })
    }

    /// Whether no source has its path, or it has a method that no source has.
    pub(super) fn is_misdirected(&self) -> bool {
        self.cause.is_misdirected()
    }

    /// The headers whose values are kept.
    pub(super) fn headers(&self) -> HeaderMap {
        header_map(&self.headers)
    }

    /// What a scheme may judge it by, beside its body.
    pub(crate) fn head(&self) -> KeptHead<'_> {
        KeptHead {
            headers: self.headers(),
            target: &self.target,
        }
    }

    /// Whether it came with one of these headers, and its value is not kept: then it cannot be judged by it.
    pub(crate) fn lacks(&self, needed: &[String]) -> bool {
        let mut left = self.headers.iter().filter(|header| header.value.is_none());
        left.any(|header| needed.iter().any(|name| name == header.name.as_str()))
    }

    /// The value of a header, if it is shown.
    pub(super) fn shown(&self, name: &str) -> Option<String> {
        let mut headers = self.headers.iter().filter(|header| header.is_shown);
        let header = headers.find(|header| header.name.as_str() == name)?;
        let text = String::from_utf8_lossy(header.value.as_ref()?);
        Some(text.chars().take(LONGEST_SHOWN).collect())
    }
}

/// The headers whose values are kept.
pub(super) fn header_map(headers: &[Header]) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(headers.len());
    for header in headers {
        let value = header.value.clone();
        let value = value.and_then(|value| HeaderValue::from_maybe_shared(value).ok());
        if let Some(value) = value {
            map.append(header.name.clone(), value);
        }
    }
    map
}

/// What an entry of the pool, its findings and its texts take beside what is counted.
const OVERHEAD: usize = 1024;

const LONGEST_SHOWN: usize = 200;
