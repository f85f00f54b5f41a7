//! All paths of the admin listener, and the HTTP service that serves them.

use std::time::Duration;

use actix_http::{HttpService, KeepAlive};
use actix_rt::net::TcpStream;
use actix_service::{ServiceFactory, map_config};
use actix_web::dev::AppConfig;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::{App, FromRequest, Handler, Resource, Responder, ResponseError as _, web};

use super::access::check_access;
use super::error::ApiError;
use super::state::AdminState;
use super::{consumers, dead, events, health, replay, subscriptions};

/// Serves connections to the admin listener.
pub(crate) fn http(
    state: web::Data<AdminState>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = ()> {
    let app = App::new()
        .app_data(state)
        .app_data(
            web::QueryConfig::default()
                .error_handler(|problem, _| ApiError::bad_request(problem.to_string()).into()),
        )
        .configure(routes)
        .default_service(web::to(|| async {
            ApiError::not_found("there is no such path").error_response()
        }))
        .wrap(from_fn(check_access));
    HttpService::build()
        .keep_alive(KeepAlive::Timeout(KEEP_ALIVE))
        .client_request_timeout(HEAD_TIMEOUT)
        .client_disconnect_timeout(DISCONNECT_TIMEOUT)
        .h1(map_config(app, |()| AppConfig::default()))
        .tcp()
}

/// Every path and its methods.
fn routes(app: &mut web::ServiceConfig) {
    app.service(on("GET", "/health", health::health))
        .service(on("GET", "/ready", health::ready))
        .service(on("GET", "/metrics", health::metrics))
        .service(on("GET", "/api/events", events::list))
        .service(on("GET", "/api/events/{id}", events::show))
        .service(on("POST", "/api/events/{id}/replay", replay::one))
        .service(on("POST", "/api/replay", replay::many))
        .service(on("GET", "/api/replays", replay::list))
        .service(on("DELETE", "/api/replays/{id}", replay::cancel))
        .service(on("GET", "/api/dead", dead::list))
        .service(on("POST", "/api/dead/replay", dead::replay))
        .service(on("DELETE", "/api/dead/{id}", dead::delete))
        .service(on("GET", "/api/consumers", consumers::list))
        .service(on("GET", "/api/consumers/{name}", consumers::show_one))
        .service(on("POST", "/api/consumers/{name}/pause", consumers::pause))
        .service(on(
            "POST",
            "/api/consumers/{name}/resume",
            consumers::resume,
        ))
        .service(on("GET", "/api/subscriptions", subscriptions::list_all))
        .service(
            only("/sessions/{id}/webhook", "GET, POST, PATCH, DELETE")
                .route(web::get().to(subscriptions::list))
                .route(web::post().to(subscriptions::set))
                .route(web::patch().to(subscriptions::change))
                .route(web::delete().to(subscriptions::remove)),
        );
}

fn on<A: FromRequest + 'static>(
    method: &'static str,
    path: &str,
    handler: impl Handler<A, Output: Responder + 'static>,
) -> Resource {
    let route = web::method(method.parse().expect("the name of a method"));
    only(path, method).route(route.to(handler))
}

/// A path that answers 405 to other methods than these, written as in the header `Allow`.
fn only(path: &str, methods: &'static str) -> Resource {
    web::resource(path).default_service(web::to(move || async move {
        let verb = if methods.contains(',') { "are" } else { "is" };
        let text = format!("only {methods} {verb} possible here");
        let error = ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", text);
        let mut response = error.error_response();
        let allowed = HeaderValue::from_static(methods);
        response.headers_mut().insert(ALLOW, allowed);
        response
    }))
}

/// How long a connection without a request is kept.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// How long the head of a connection's first request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a connection may take to close.
const DISCONNECT_TIMEOUT: Duration = Duration::from_secs(1);
