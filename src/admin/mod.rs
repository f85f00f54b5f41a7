//! The admin listener: health, readiness, metrics, and what was kept.
//!
//! With a token every path but `/health` and `/ready` asks for it. Without one (loopback only) the
//! request's `Host` must be a loopback name and a foreign `Origin` is refused, so that no web page
//! can reach it through somebody's browser.

mod consumers;
mod dead;
mod events;
mod guard;
mod replay;
mod reply;
mod sessions;

use actix_http::{HttpService, KeepAlive};
use actix_rt::net::TcpStream;
use actix_service::{ServiceFactory, map_config};
use actix_web::dev::AppConfig;
use actix_web::http::header::ALLOW;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpRequest, HttpResponse, web};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use crate::Timestamp;
use crate::engine::Pipeline;
use crate::index::Search;
use crate::ingress::{HeardOf, Ingress};
use crate::relay::Registry;
use crate::signature::Secret;
use crate::telemetry::{ListenerMetrics, Metrics};

use reply::Refused;

/// What the admin routes need.
pub(crate) struct AdminState {
    pub(crate) token: Option<Secret>,
    pub(crate) fingerprint: String,
    pub(crate) engine: &'static str,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listener: ListenerMetrics,
    pub(crate) ingress: Arc<Ingress>,
    /// What is kept, where there is a journal.
    pub(crate) pipeline: Option<Arc<Pipeline>>,
    pub(crate) registry: Option<Arc<Registry>>,
}

/// What becomes of a connection to the admin listener.
pub(crate) fn http(
    state: web::Data<AdminState>,
) -> impl ServiceFactory<TcpStream, Config = (), Response = ()> {
    let app = App::new()
        .app_data(state)
        .configure(subscriptions)
        .wrap(from_fn(guard::guard))
        .service(page("/health", "GET", web::get().to(health)))
        .service(page("/ready", "GET", web::get().to(ready)))
        .service(page("/metrics", "GET", web::get().to(metrics)))
        .service(page("/api/events", "GET", web::get().to(events::list)))
        .service(page("/api/events/{id}", "GET", web::get().to(events::one)))
        .service(page(
            "/api/events/{id}/replay",
            "POST",
            web::post().to(replay::one),
        ))
        .service(page("/api/replay", "POST", web::post().to(replay::many)))
        .service(page("/api/dead", "GET", web::get().to(dead::list)))
        .service(page(
            "/api/dead/replay",
            "POST",
            web::post().to(dead::replay),
        ))
        .service(page(
            "/api/dead/{id}",
            "DELETE",
            web::delete().to(dead::delete),
        ))
        .service(page(
            "/api/consumers",
            "GET",
            web::get().to(consumers::list),
        ))
        .service(page(
            "/api/consumers/{name}/pause",
            "POST",
            web::post().to(consumers::pause),
        ))
        .service(page(
            "/api/consumers/{name}/resume",
            "POST",
            web::post().to(consumers::resume),
        ))
        .app_data(web::QueryConfig::default().error_handler(|problem, _| {
            let text = problem.to_string();
            let response = error(HttpResponse::BadRequest(), "bad_request", &text);
            actix_web::error::InternalError::from_response(problem, response).into()
        }))
        .default_service(web::to(|| async {
            error(
                HttpResponse::NotFound(),
                "not_found",
                "there is no such path",
            )
        }));
    HttpService::build()
        .keep_alive(KeepAlive::Timeout(Duration::from_secs(75)))
        .client_request_timeout(Duration::from_secs(5))
        .client_disconnect_timeout(Duration::from_secs(1))
        .h1(map_config(app, |()| AppConfig::default()))
        .tcp()
}

fn subscriptions(app: &mut web::ServiceConfig) {
    let all = web::get().to(sessions::all);
    app.service(sessions::resource())
        .service(page("/api/subscriptions", "GET", all));
}

/// A path that answers one method.
fn page(path: &str, method: &'static str, route: actix_web::Route) -> actix_web::Resource {
    let other = move || async move {
        let mut response = HttpResponse::MethodNotAllowed();
        response.insert_header((ALLOW, method));
        error(
            response,
            "method_not_allowed",
            &format!("only {method} is possible here"),
        )
    };
    web::resource(path)
        .route(route)
        .default_service(web::to(other))
}

impl AdminState {
    /// What is kept.
    fn pipeline(&self) -> Result<&Pipeline, Refused> {
        self.pipeline.as_deref().ok_or_else(Refused::nothing_kept)
    }
}

/// The search of a pipeline.
fn search(pipeline: &Pipeline) -> Result<&dyn Search, Refused> {
    pipeline.search().ok_or_else(Refused::no_search)
}

/// Whether the process lives, and on which settings. Who shows the token, where there is one, is told
/// of the sources too: their names and sessions are nobody else's business.
async fn health(state: web::Data<AdminState>, req: HttpRequest) -> HttpResponse {
    let mut health = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "engine": state.engine,
        "fingerprint": state.fingerprint,
    });
    if guard::is_administrator(&state, req.headers()) {
        let silence = state.ingress.silence();
        health["sources"] = silence.report().iter().map(source_health).collect();
    }
    HttpResponse::Ok().json(health)
}

/// When a source, or a session that is watched, was heard last, and since when it is quiet.
fn source_health(heard: &HeardOf<'_>) -> serde_json::Value {
    let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let mut source = json!({
        "name": heard.source,
        "last_event_at": time(heard.last_event_at),
        "quiet_since": time(heard.quiet_since),
    });
    if let Some(session) = heard.session {
        source["session"] = session.into();
    }
    source
}

/// Whether new events should be sent here.
async fn ready(state: web::Data<AdminState>) -> HttpResponse {
    match state.ingress.not_ready() {
        None => HttpResponse::Ok().json(json!({ "status": "ready" })),
        Some(why) => {
            HttpResponse::ServiceUnavailable().json(json!({ "status": "not ready", "reason": why }))
        }
    }
}

async fn metrics(state: web::Data<AdminState>) -> HttpResponse {
    let used = state.ingress.limits().in_flight.used();
    state.listener.in_flight(used);
    state.ingress.silence().measure();
    if let Some(pipeline) = &state.pipeline {
        pipeline.measure().await;
    }
    HttpResponse::Ok()
        .content_type(Metrics::CONTENT_TYPE)
        .body(state.metrics.render())
}

/// An error in the form that every admin path has.
fn error(mut response: actix_web::HttpResponseBuilder, code: &str, text: &str) -> HttpResponse {
    response.json(json!({ "success": false, "error": text, "code": code }))
}
