//! Answers of the API, and what a request may ask.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::journal::Unavailable;
use crate::{EventId, Timestamp};

/// Why a request is not answered with what it asks for.
#[derive(Debug)]
pub(super) struct Refused {
    status: StatusCode,
    code: &'static str,
    text: String,
}

impl Refused {
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::BAD_REQUEST,
            code: "bad_request",
            text: text.into(),
        }
    }

    /// A bad request with a code of its own.
    pub(super) fn with_code(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            code,
            ..Self::bad_request(text)
        }
    }

    pub(super) fn conflict(code: &'static str, text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::CONFLICT,
            code,
            text: text.into(),
        }
    }

    /// The body is longer than `most` bytes.
    pub(super) fn too_large(most: usize) -> Self {
        Self {
            status: StatusCode::PAYLOAD_TOO_LARGE,
            code: "too_large",
            text: format!("the body is longer than {most} bytes"),
        }
    }

    pub(super) fn unavailable(text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "unavailable",
            text: text.into(),
        }
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self {
            status: StatusCode::NOT_FOUND,
            code: "not_found",
            text: text.into(),
        }
    }

    /// Nothing is kept with the engine `none`.
    pub(super) fn nothing_kept() -> Self {
        Self {
            status: StatusCode::CONFLICT,
            code: "nothing_kept",
            text: "the engine is none, which keeps no events".to_owned(),
        }
    }

    /// There is no index in this build, or beside this journal.
    pub(super) fn no_search() -> Self {
        Self {
            status: StatusCode::CONFLICT,
            code: "no_search",
            text: "there is no search over this journal".to_owned(),
        }
    }

    pub(super) fn response(self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if self.status == StatusCode::PAYLOAD_TOO_LARGE {
            // The rest of the body must not be taken for the next request.
            response.force_close();
        }
        super::error(response, self.code, &self.text)
    }
}

impl From<Unavailable> for Refused {
    fn from(error: Unavailable) -> Self {
        log::warn!("an administrator's request: {error}");
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "unavailable",
            text: "the journal cannot answer now; the log says why".to_owned(),
        }
    }
}

/// Turns a handler's outcome into a response.
pub(super) fn answer(outcome: Result<HttpResponse, Refused>) -> HttpResponse {
    outcome.unwrap_or_else(Refused::response)
}

/// Does it even where the client does not wait for the answer.
pub(super) async fn seen_through<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Refused> {
    tokio::spawn(work)
        .await
        .map_err(|_| Refused::unavailable("a change was broken off; ask once more"))
}

/// A request's JSON body; an empty one is `{}`.
pub(super) fn body<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refused> {
    let body = if body.trim_ascii().is_empty() {
        b"{}"
    } else {
        body
    };
    serde_json::from_slice(body).map_err(|error| Refused::bad_request(format!("the body: {error}")))
}

/// A time in a request.
pub(super) fn time(key: &str, text: Option<&str>) -> Result<Option<Timestamp>, Refused> {
    let parsed = text.map(|text| {
        let expected = "expected a time such as 2026-01-08T12:00:00Z";
        text.parse()
            .map_err(|_| Refused::bad_request(format!("{key}: found {text:?}, {expected}")))
    });
    parsed.transpose()
}

/// An event's id in a request.
pub(super) fn id(text: &str) -> Result<EventId, Refused> {
    text.parse()
        .map_err(|_| Refused::bad_request(format!("found {text:?}, expected an event's id")))
}

/// A page's size: `limit`, or the default, within bounds.
pub(super) fn page(limit: Option<usize>) -> Result<usize, Refused> {
    match limit.unwrap_or(DEFAULT_PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit),
        other => {
            let text = format!("limit: found {other}, expected 1 to {MAX_PAGE}");
            Err(Refused::bad_request(text))
        }
    }
}

/// `{"matched":N,"replayed":N}`
pub(super) fn replayed(matched: usize, replayed: usize) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "matched": matched, "replayed": replayed }))
}

const DEFAULT_PAGE: usize = 50;
const MAX_PAGE: usize = 500;
