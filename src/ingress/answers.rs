//! What senders are told. A refusal has its own answer: `RequestError`.

use actix_http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use bytes::Bytes;

pub(super) fn unavailable() -> HttpResponse {
    let mut response = HttpResponse::ServiceUnavailable();
    response.insert_header((header::RETRY_AFTER, "1"));
    error(response, "Temporarily unavailable")
}

pub(super) fn received_ok() -> HttpResponse {
    const JSON: HeaderValue = HeaderValue::from_static("application/json");
    HttpResponse::Ok()
        .insert_header((header::CONTENT_TYPE, JSON))
        .body(Bytes::from_static(b"{\"status\":\"received\"}"))
}

pub(super) const DUPLICATE: HeaderName = HeaderName::from_static("offhook-duplicate");

pub(super) fn handler_failed() -> HttpResponse {
    error(HttpResponse::InternalServerError(), "Handler failed")
}

pub(super) fn method_not_allowed(is_probed: bool) -> HttpResponse {
    let mut response = HttpResponse::MethodNotAllowed();
    let allowed = if is_probed { "GET, HEAD, POST" } else { "POST" };
    response.insert_header((header::ALLOW, allowed));
    response.force_close();
    error(response, "Method not allowed")
}

fn error(mut response: HttpResponseBuilder, text: &str) -> HttpResponse {
    response.json(serde_json::json!({ "error": text }))
}
