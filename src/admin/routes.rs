//! All paths of the admin listener.

use actix_service::ServiceFactory;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::{
    App, FromRequest, Handler, HttpResponse, Resource, Responder, ResponseError as _, web,
};

use super::access::check_access;
use super::error::ApiError;
use super::headers::protect;
use super::request::wrong_query;
use super::state::AdminState;
#[cfg(feature = "dashboard")]
use super::ui;
use super::{
    body, consumers, conversations, dead, deletion, event, events, health, openapi, refused,
    replay, replays, settings, stats, stream, subscriptions, trial,
};

/// The admin API.
pub(crate) fn app(
    state: web::Data<AdminState>,
) -> App<
    impl ServiceFactory<
        ServiceRequest,
        Config = (),
        Response = ServiceResponse,
        Error = actix_web::Error,
        InitError = (),
    >,
> {
    App::new()
        .app_data(state)
        .app_data(queries())
        .configure(routes)
        .default_service(web::to(no_such_path))
        .wrap(from_fn(check_access))
}

/// The admin API as a part of an application's own `App`, with the same checks. It answers all paths of the
/// scope in which it is mounted.
pub(crate) fn mount(state: web::Data<AdminState>, app: &mut web::ServiceConfig) {
    app.service(
        web::scope("")
            .app_data(state)
            .app_data(queries())
            // The application's own may be larger.
            .app_data(web::PayloadConfig::default())
            .configure(routes)
            .default_service(web::to(no_such_path))
            .wrap(from_fn(check_access)),
    );
}

fn queries() -> web::QueryConfig {
    web::QueryConfig::default()
        .error_handler(|problem, request| wrong_query(request.query_string(), &problem).into())
}

#[cfg(not(feature = "dashboard"))]
async fn no_dashboard() -> HttpResponse {
    let text = "this build is without the dashboard (feature `dashboard`); the API is below /api, and `offhook --help` \
                lists the commands";
    ApiError::not_found(text).error_response()
}

async fn no_such_path() -> HttpResponse {
    ApiError::not_found("there is no such path").error_response()
}

/// The answer to a request that could not be answered, or not in time, with the headers that all answers have.
pub(crate) fn given_up(error: Option<&actix_web::Error>) -> HttpResponse {
    let text = "the answer took too long; the log may say why";
    let mut answer = match error {
        Some(error) => error.error_response(),
        None => ApiError::unavailable(text).error_response(),
    };
    protect(answer.headers_mut());
    answer
}

/// Every path and its methods.
fn routes(app: &mut web::ServiceConfig) {
    app.service(on("GET", "/health", health::health))
        .service(on("GET", "/ready", health::ready))
        .service(on("GET", "/metrics", health::metrics))
        .service(on("GET", "/openapi.json", openapi::show))
        .service(
            only("/api/events", "GET, DELETE")
                .route(web::get().to(events::list))
                .route(web::delete().to(deletion::many)),
        )
        .service(
            only("/api/events/{id}", "GET, DELETE")
                .route(web::get().to(event::show))
                .route(web::delete().to(deletion::one)),
        )
        .service(on("GET", "/api/events/{id}/body", body::download))
        .service(on("POST", "/api/events/{id}/replay", replay::one))
        .service(on("POST", "/api/replay", replay::many))
        .service(on("GET", "/api/replays", replays::list))
        .service(on("DELETE", "/api/replays/{id}", replays::cancel))
        .service(
            only("/api/dead", "GET, DELETE")
                .route(web::get().to(dead::list))
                .route(web::delete().to(dead::delete_many)),
        )
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
        .service(on("GET", "/api/conversations", conversations::list))
        .service(on(
            "GET",
            "/api/conversations/{session}/{peer}",
            conversations::show,
        ))
        .service(on("GET", "/api/stats", stats::show))
        .service(on("GET", "/api/stream", stream::watch))
        .service(
            only("/api/refused", "GET, DELETE")
                .route(web::get().to(refused::list))
                .route(web::delete().to(refused::forget)),
        )
        .service(on("POST", "/api/refused/verify", refused::verify_many))
        .service(on("GET", "/api/refused/{id}", refused::show))
        .service(on("POST", "/api/refused/{id}/verify", refused::verify_one))
        .service(on("GET", "/api/settings", settings::show))
        .service(on("POST", "/api/reload", settings::reload))
        .service(on("POST", "/api/test", trial::source))
        .service(on("GET", "/api/subscriptions", subscriptions::list_all))
        .service(on(
            "POST",
            "/api/subscriptions/{session}/{name}/test",
            trial::subscriber,
        ))
        .service(
            only("/sessions/{id}/webhook", "GET, POST, PATCH, DELETE")
                .route(web::get().to(subscriptions::list))
                .route(web::post().to(subscriptions::set))
                .route(web::patch().to(subscriptions::change))
                .route(web::delete().to(subscriptions::remove)),
        );
    #[cfg(feature = "dashboard")]
    ui::routes(app);
    #[cfg(not(feature = "dashboard"))]
    app.service(on("GET", "/", no_dashboard));
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
