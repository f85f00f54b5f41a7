//! Reads a body within [`Limits`], with as few copies as possible. [`RequestError`] is the answer to a
//! request that exceeds them, or that is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actix_http::header::{self, HeaderMap};
use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use super::Refusal;

/// Refuses a body whose declared length is too long.
pub(super) fn check_declared_length(
    headers: &HeaderMap,
    max_body: usize,
) -> Result<(), RequestError> {
    match declared_length(headers) {
        Some(length) if length > max_body as u64 => Err(RequestError::TooLarge {
            bytes: length,
            limit: max_body,
        }),
        _ => Ok(()),
    }
}

/// Reads the body, in any number of chunks. A single chunk stays as it is, several are joined.
pub(super) async fn read_body(
    mut payload: Payload,
    headers: &HeaderMap,
    limits: &Limits,
) -> Result<(Bytes, Held), RequestError> {
    let mut held = Held {
        budget: limits.in_flight.clone(),
        bytes: 0,
    };
    let mut single = Bytes::new();
    let mut joined = BytesMut::new();
    while let Some(chunk) = payload.next().await {
        let chunk = chunk.map_err(|_| RequestError::Broken)?;
        let length = single.len() + joined.len() + chunk.len();
        if length > limits.max_body {
            return Err(RequestError::TooLarge {
                bytes: length as u64,
                limit: limits.max_body,
            });
        }
        if !held.add(chunk.len()) {
            return Err(RequestError::Busy);
        }
        if length == chunk.len() {
            single = chunk;
            continue;
        }
        if joined.is_empty() {
            // At most twice what was received, because the declared length is only a claim.
            let declared = declared_length(headers).unwrap_or_default();
            let declared = usize::try_from(declared).unwrap_or(usize::MAX);
            joined.reserve(declared.clamp(length, 2 * length));
            joined.extend_from_slice(&std::mem::take(&mut single));
        }
        joined.extend_from_slice(&chunk);
    }
    let body = if joined.is_empty() {
        single
    } else {
        joined.freeze()
    };
    Ok((body, held))
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// Limits for one request.
///
/// ```
/// let mut limits = offhook::signature::Limits::default();
/// limits.max_body = 1024 * 1024;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// The longest body, in bytes. Default: 32 MiB.
    pub max_body: usize,
    /// How long head and body of one request may take. Default: 10 s. In an application's own `App` the
    /// middleware sees only the body, and measures from the end of the head.
    pub request_timeout: Duration,
    /// The budget for bytes of bodies in memory, over all requests that share this value.
    pub in_flight: InFlight,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 32 * 1024 * 1024,
            request_timeout: Duration::from_secs(10),
            in_flight: InFlight::new(128 * 1024 * 1024),
        }
    }
}

/// A budget of bytes, shared by its clones.
///
/// Only bytes that have arrived count, so a sender that declares a long body and sends nothing uses none
/// of the budget.
#[derive(Debug, Clone)]
pub struct InFlight {
    limit: usize,
    used: Arc<AtomicUsize>,
}

impl InFlight {
    /// At most `limit` bytes at the same time.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            used: Arc::default(),
        }
    }

    /// The bytes held now.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// A part of the budget, released on drop.
#[derive(Debug)]
pub(crate) struct Held {
    budget: InFlight,
    bytes: usize,
}

impl Held {
    /// Adds bytes, also over the limit. Returns whether they fit.
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let before = self.budget.used.fetch_add(bytes, Ordering::Relaxed);
        self.bytes += bytes;
        before.saturating_add(bytes) <= self.budget.limit
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// Why a request was refused, and what its sender is told.
///
/// The answer is short, fixed and free of details; the details go to the log. The connection is always
/// closed afterwards, so that its headers do not reveal the reason either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// 401: the request does not prove its sender.
    #[error("{0}")]
    Refused(#[from] Refusal),
    /// 413: longer than [`Limits::max_body`].
    #[error("a body of at least {bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// The declared length, or the length received when the limit was exceeded.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// 408: head and body took longer than [`Limits::request_timeout`].
    #[error("the body was not complete in time")]
    TooSlow,
    /// 503: [`Limits::in_flight`] is full.
    #[error("the in-flight byte budget is full")]
    Busy,
    /// 400: the body ended early, or its chunks are malformed.
    #[error("the body broke off or is malformed")]
    Broken,
}

impl RequestError {
    fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Refused(_) => (StatusCode::UNAUTHORIZED, "Invalid signature"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "Payload too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "Request timeout"),
            Self::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Temporarily unavailable"),
            Self::Broken => (StatusCode::BAD_REQUEST, "Bad request"),
        }
    }
}

impl ResponseError for RequestError {
    fn status_code(&self) -> StatusCode {
        self.answer().0
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let (status, text) = self.answer();
        let mut response = HttpResponse::build(status);
        if *self == Self::Busy {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        response.force_close();
        response.json(serde_json::json!({ "error": text }))
    }
}
