//! The admin listener: health, readiness and metrics.
//!
//! With a token every path but `/health` and `/ready` asks for it. Without one (loopback only) the
//! request's `Host` must be a loopback name and a foreign `Origin` is refused, so that no web page
//! can reach it through somebody's browser.

mod guard;

use std::net::TcpListener;

use actix_http::{HttpService, KeepAlive};
use actix_server::{Server, ServerBuilder};
use actix_service::map_config;
use actix_web::dev::AppConfig;
use actix_web::http::header;
use actix_web::middleware::from_fn;
use actix_web::{App, HttpResponse, web};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use crate::ingress::Receiver;
use crate::metrics::{ListenerMetrics, Metrics};
use crate::signature::Secret;

/// What the admin routes need.
pub(crate) struct AdminState {
    pub(crate) token: Option<Secret>,
    pub(crate) fingerprint: String,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) listener: ListenerMetrics,
    pub(crate) receiver: Receiver,
}

/// Serves the admin routes on one worker.
pub(crate) fn listen(socket: TcpListener, state: web::Data<AdminState>) -> std::io::Result<Server> {
    let builder = ServerBuilder::new()
        .workers(1)
        .max_concurrent_connections(MAX_CONNECTIONS)
        .shutdown_timeout(1)
        .disable_signals();
    let builder = builder.listen("admin", socket, move || {
        let app = App::new()
            .app_data(state.clone())
            .wrap(from_fn(guard::guard))
            .service(page("/health", web::get().to(health)))
            .service(page("/ready", web::get().to(ready)))
            .service(page("/metrics", web::get().to(metrics)))
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
    })?;
    Ok(builder.run())
}

fn page(path: &str, get: actix_web::Route) -> actix_web::Resource {
    web::resource(path)
        .route(get)
        .default_service(web::to(|| async {
            let mut response = HttpResponse::MethodNotAllowed();
            response.insert_header((header::ALLOW, "GET"));
            error(response, "method_not_allowed", "only GET is possible here")
        }))
}

/// Whether the process lives, and on which settings.
async fn health(state: web::Data<AdminState>) -> HttpResponse {
    HttpResponse::Ok().json(json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "engine": "none",
        "fingerprint": state.fingerprint,
    }))
}

/// Whether new events should be sent here.
async fn ready(state: web::Data<AdminState>) -> HttpResponse {
    match state.receiver.running().is_draining() {
        false => HttpResponse::Ok().json(json!({ "status": "ready" })),
        true => HttpResponse::ServiceUnavailable().json(json!({ "status": "stopping" })),
    }
}

async fn metrics(state: web::Data<AdminState>) -> HttpResponse {
    let used = state.receiver.limits().in_flight.used();
    state.listener.in_flight(used);
    HttpResponse::Ok()
        .content_type("text/plain; version=0.0.4; charset=utf-8")
        .body(state.metrics.render())
}

/// An error in the form that every admin path has.
fn error(mut response: actix_web::HttpResponseBuilder, code: &str, text: &str) -> HttpResponse {
    response.json(json!({ "success": false, "error": text, "code": code }))
}

const MAX_CONNECTIONS: usize = 256;
