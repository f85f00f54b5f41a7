//! `/openapi.json`: what the admin listener answers, for programs.
//!
//! The document is written by hand, because many answers are made field by field. `tests/it/openapi/` holds it to
//! the code: the paths, methods, parameters and roles, and every answer that a test gets.

use actix_web::HttpResponse;

/// `GET /openapi.json`
pub(super) async fn show() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("application/json")
        .body(DOCUMENT)
}

const DOCUMENT: &str = include_str!("openapi.json");
