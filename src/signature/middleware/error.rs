//! [`RequestError`]: why a request was refused, and the answer to it.

use actix_http::header;
use actix_web::body::BoxBody;
use actix_web::http::StatusCode;
use actix_web::{HttpResponse, ResponseError};

use super::super::Refusal;

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
    /// 413: longer than [`Limits::max_body`](super::Limits::max_body).
    #[error("a body of at least {bytes} bytes, over the limit of {limit}")]
    TooLarge {
        /// The declared length, or the length received when the limit was exceeded.
        bytes: u64,
        /// The limit.
        limit: usize,
    },
    /// 408: head and body took longer than [`Limits::request_timeout`](super::Limits::request_timeout).
    #[error("the body was not complete in time")]
    TooSlow,
    /// 503: [`Limits::in_flight`](super::Limits::in_flight) is full.
    #[error("the in-flight byte budget is full")]
    Busy,
    /// 400: the body ended early, or its chunks are malformed.
    #[error("the body broke off or is malformed")]
    Broken,
}

impl RequestError {
    fn text(&self) -> &'static str {
        match self {
            Self::Refused(_) => "Invalid signature",
            Self::TooLarge { .. } => "Payload too large",
            Self::TooSlow => "Request timeout",
            Self::Busy => "Temporarily unavailable",
            Self::Broken => "Bad request",
        }
    }
}

impl ResponseError for RequestError {
    fn status_code(&self) -> StatusCode {
        match self {
            Self::Refused(_) => StatusCode::UNAUTHORIZED,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::Broken => StatusCode::BAD_REQUEST,
        }
    }

    fn error_response(&self) -> HttpResponse<BoxBody> {
        let mut response = HttpResponse::build(self.status_code());
        if *self == Self::Busy {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        response.force_close();
        response.json(serde_json::json!({ "error": self.text() }))
    }
}

impl From<RequestError> for actix_http::Response<BoxBody> {
    fn from(error: RequestError) -> Self {
        error.error_response().into()
    }
}
