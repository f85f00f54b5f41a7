//! Reads a body within [`Limits`]. [`RequestError`] is the answer to a
//! request that exceeds them, or that is refused.

use std::future::poll_fn;
use std::net::IpAddr;
use std::task::{Poll, ready};
use std::time::{Duration, Instant};

use actix_http::header::{self, HeaderMap};
use actix_web::body::BoxBody;
use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::timeout_at;

use super::Refusal;
use super::pace::{BodyPace, BodyProgress};
use super::room::{Held, InFlight};
use crate::clock::{Clock as _, SystemClock};

/// Refuses a body whose declared length is too long. Returns that length, if the head says it.
pub(super) fn check_declared_length(
    headers: &HeaderMap,
    max_body: usize,
) -> Result<Option<u64>, RequestError> {
    match declared_length(headers) {
        Some(length) if length > max_body as u64 => Err(RequestError::TooLarge {
            bytes: length,
            limit: max_body,
        }),
        declared => Ok(declared),
    }
}

/// How much memory a body is expected to need.
pub(super) struct Expected {
    /// Its length, as the head says it.
    pub(super) declared: Option<u64>,
    /// How many bytes are to be added to it.
    pub(super) spare: usize,
}

/// Reads the body, in any number of chunks, into memory of its own length, with the spare bytes behind it. With
/// `begun` it has to come fast enough from then on; otherwise the connection sees to that.
pub(super) async fn read_body(
    payload: &mut Payload,
    expected: Expected,
    limits: &Limits,
    peer: Option<IpAddr>,
    begun: Option<Instant>,
) -> Result<(Vec<u8>, Held), RequestError> {
    let mut held = limits.in_flight.hold(peer);
    let mut body = Vec::new();
    let mut progress = begun.map(|begun| BodyProgress::new(begun, 0));
    loop {
        let chunk = match &mut progress {
            None => next_chunk(payload, &held).await?,
            // Boxed, so that its timer takes no room where the connection has one.
            Some(progress) => Box::pin(chunk_in_time(payload, &held, limits, progress)).await?,
        };
        let Some(chunk) = chunk else { break };
        let length = body.len() + chunk.len();
        if length > limits.max_body {
            return Err(RequestError::TooLarge {
                bytes: length as u64,
                limit: limits.max_body,
            });
        }
        if length + expected.spare > body.capacity() {
            // At most twice what was received, because the declared length is only a claim.
            let declared = expected.declared.unwrap_or_default();
            let declared = usize::try_from(declared).unwrap_or(usize::MAX);
            let room = declared.clamp(length, (2 * length).min(limits.max_body));
            if !held.grow_to(room) {
                return Err(RequestError::Busy);
            }
            body.reserve_exact(room + expected.spare - body.len());
        }
        // A copy, because the chunk keeps the connection's whole buffer alive, which is not counted.
        body.extend_from_slice(&chunk);
    }
    if !held.completed() {
        return Err(RequestError::Busy);
    }
    Ok((body, held))
}

/// The next part of the body, unless the body is late, or has to make room for others.
async fn chunk_in_time(
    payload: &mut Payload,
    held: &Held,
    limits: &Limits,
    progress: &mut BodyProgress,
) -> Result<Option<Bytes>, RequestError> {
    let end = limits.pace().deadline(progress);
    let chunk = timeout_at(end.into(), next_chunk(payload, held)).await;
    let chunk = chunk.map_err(|_| RequestError::TooSlow)??;
    if let Some(chunk) = &chunk {
        progress.add(chunk.len() as u64, SystemClock.monotonic());
    }
    Ok(chunk)
}

/// The next part of the body, unless the body has to make room for others.
fn next_chunk(
    payload: &mut Payload,
    held: &Held,
) -> impl Future<Output = Result<Option<Bytes>, RequestError>> {
    poll_fn(|cx| {
        if held.poll_evicted(cx).is_ready() {
            return Poll::Ready(Err(RequestError::Busy));
        }
        let chunk = ready!(payload.poll_next_unpin(cx));
        Poll::Ready(chunk.transpose().map_err(|_| RequestError::Broken))
    })
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
    /// How long the head of a request may take, and how long nothing of its body may come. Default: 10 s. In an
    /// application's own `App` the middleware sees only the body.
    pub request_timeout: Duration,
    /// How fast a body has to come, in bytes a second, once `request_timeout` has passed: since its begin, on
    /// average, and a second of it may be missing. Default: 16 KiB.
    pub min_body_rate: u64,
    /// The budget for bytes of bodies in memory, over all requests that share this value.
    pub in_flight: InFlight,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body: 32 * 1024 * 1024,
            request_timeout: Duration::from_secs(10),
            min_body_rate: 16 * 1024,
            in_flight: InFlight::new(128 * 1024 * 1024),
        }
    }
}

impl Limits {
    /// How fast a body has to come.
    pub(crate) fn pace(&self) -> BodyPace {
        BodyPace {
            request_timeout: self.request_timeout,
            min_rate: self.min_body_rate,
            max_body: self.max_body,
        }
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
    /// 408: nothing of the body has come for [`Limits::request_timeout`], or it came more slowly than
    /// [`Limits::min_body_rate`].
    #[error("the body came too slowly")]
    TooSlow,
    /// 503: [`Limits::in_flight`] is full, or the body had to make room for others.
    #[error("the in-flight byte budget is full")]
    Busy,
    /// 400: the body ended early, or its chunks are malformed.
    #[error("the body broke off or is malformed")]
    Broken,
}

impl RequestError {
    fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Refused(Refusal::Challenge) => (StatusCode::FORBIDDEN, "Forbidden"),
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
