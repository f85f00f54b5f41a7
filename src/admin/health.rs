//! `/health`, `/ready` and `/metrics`.

use actix_web::{HttpRequest, HttpResponse};
use serde_json::{Value, json};

use super::state::State;
use crate::ingress::SeenReport;
use crate::telemetry::Metrics;

/// `GET /health`: the process lives, and which settings it runs with.
///
/// The sources and what came of the last reload are only in the answer to a request with a token, where
/// there is one: names, sessions and paths are not for everyone.
pub(super) async fn health(state: State, request: HttpRequest) -> HttpResponse {
    let mut health = json!({
        "status": "ok",
        "version": env!("CARGO_PKG_VERSION"),
        "engine": state.engine,
        "fingerprint": state.settings.fingerprint(),
    });
    if state.is_known(request.headers()) {
        let silence = state.ingress.silence();
        health["sources"] = silence.report().iter().map(source_health).collect();
        health["settings"] = state.settings.health();
    }
    HttpResponse::Ok().json(health)
}

/// When a source, or a session that is watched, sent its last event, and since when it is quiet.
fn source_health(heard: &SeenReport) -> Value {
    let mut source = json!({
        "name": heard.source,
        "last_event_at": heard.last_event_at,
        "quiet_since": heard.quiet_since,
    });
    if let Some(session) = &heard.session {
        source["session"] = session.as_str().into();
    }
    source
}

/// `GET /ready`: whether new events should be sent here.
pub(super) async fn ready(state: State) -> HttpResponse {
    match state.ingress.not_ready() {
        None => {
            let mut ready = json!({ "status": "ready" });
            let consumers = state
                .pipeline
                .iter()
                .flat_map(|pipeline| pipeline.consumers());
            let down = consumers.filter(|consumer| !consumer.is_up());
            let down: Vec<String> = down.map(|consumer| consumer.name().to_owned()).collect();
            if !down.is_empty() {
                ready["restarting"] = down.into();
            }
            HttpResponse::Ok().json(ready)
        }
        Some(why) => {
            HttpResponse::ServiceUnavailable().json(json!({ "status": "not ready", "reason": why }))
        }
    }
}

/// `GET /metrics`: all metrics in Prometheus' text format.
pub(super) async fn metrics(state: State) -> HttpResponse {
    let used = state.ingress.in_flight().used();
    state.listener.in_flight_bytes.set(used as u64);
    state.ingress.silence().measure();
    if let Some(pipeline) = &state.pipeline {
        pipeline.measure().await;
    }
    HttpResponse::Ok()
        .content_type(Metrics::CONTENT_TYPE)
        .body(state.metrics.render())
}
