//! What senders are told. A refusal has its own answer: `RequestError`.

use actix_http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;

use crate::signature::Reply;

/// The sender should come again after so many seconds.
pub(super) fn unavailable(retry_after: u64) -> HttpResponse {
    let mut response = HttpResponse::ServiceUnavailable();
    response.insert_header((header::RETRY_AFTER, retry_after));
    error(response, "Temporarily unavailable")
}

/// The answer to an event that was taken, as its scheme wants it.
pub(super) fn received(reply: Reply) -> HttpResponse {
    match reply {
        Reply::Received => received_ok(),
        Reply::Empty => HttpResponse::Ok().finish(),
        Reply::NoContent => HttpResponse::NoContent().finish(),
    }
}

/// The answer to a signed test of the address.
pub(super) fn handshake(json: String) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, "application/json"));
    response.body(json)
}

/// The answer to a challenge. A stranger that knows the token chooses the text, so no browser may take it for a
/// page.
pub(super) fn echo(text: String) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CONTENT_TYPE, "text/plain"));
    response.insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    response.body(text)
}

fn received_ok() -> HttpResponse {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, JSON))
        .body(Bytes::from_static(b"{\"status\":\"received\"}"))
}

pub(super) const DUPLICATE: HeaderName = HeaderName::from_static("offhook-duplicate");

pub(super) fn handler_failed() -> HttpResponse {
    error(HttpResponse::InternalServerError(), "Handler failed")
}

pub(super) fn method_not_allowed(is_probed: bool, has_challenge: bool) -> HttpResponse {
    let mut response = HttpResponse::MethodNotAllowed();
    let allowed = match (is_probed, has_challenge) {
        (true, _) => "GET, HEAD, POST",
        (false, true) => "GET, POST",
        (false, false) => "POST",
    };
    response.insert_header((header::ALLOW, allowed));
    response.force_close();
    error(response, "Method not allowed")
}

fn error(mut response: HttpResponseBuilder, text: &str) -> HttpResponse {
    response.json(serde_json::json!({ "error": text }))
}
