//! `/api/consumers`: how far each consumer is; pausing and resuming one.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::error::{Answer, ApiError};
use super::request::run_to_end;
use super::state::{AdminState, State};
use crate::dispatch::ConsumerStatus;
use crate::engine::Pipeline;
use crate::journal::Unavailable;

/// `GET /api/consumers`
pub(super) async fn list(state: State) -> Answer {
    let pipeline = state.pipeline()?;
    let mut shown = Vec::new();
    for consumer in pipeline.consumers() {
        if let Some(status) = consumer.status().await {
            shown.push(show(pipeline, consumer.name(), &status).await?);
        }
    }
    Ok(HttpResponse::Ok().json(json!({ "consumers": shown })))
}

/// `POST /api/consumers/{name}/pause`
pub(super) async fn pause(state: State, name: web::Path<String>) -> Answer {
    set_paused(&state, &name, true).await
}

/// `POST /api/consumers/{name}/resume`
pub(super) async fn resume(state: State, name: web::Path<String>) -> Answer {
    // A subscription that is not active has no consumer to resume yet.
    let (registry, subscription) = (Arc::clone(state.registry()?), name.clone());
    run_to_end(async move { registry.resume(&subscription).await }).await??;
    set_paused(&state, &name, false).await
}

async fn set_paused(state: &AdminState, name: &str, paused: bool) -> Answer {
    let has_ended = || ApiError::has_ended(name);
    let consumer = state.consumer(name)?;
    consumer.pause(paused).await.ok_or_else(has_ended)??;
    let status = consumer.status().await.ok_or_else(has_ended)?;
    Ok(HttpResponse::Ok().json(show(state.pipeline()?, name, &status).await?))
}

async fn show(
    pipeline: &Pipeline,
    name: &str,
    status: &ConsumerStatus,
) -> Result<Value, Unavailable> {
    let suspended = status
        .suspended
        .as_ref()
        .map(|suspended| json!({ "since": suspended.since, "reason": suspended.reason }));
    let state = if status.paused {
        "paused"
    } else if status.suspended.is_some() {
        "suspended"
    } else if status.failing_since.is_some() {
        "failing"
    } else {
        "running"
    };
    let oldest = pipeline.oldest_waiting(status.floor).await?;
    let (kind, _) = name.split_once(':').unwrap_or(("handler", ""));
    Ok(json!({
        "name": name,
        "kind": kind,
        "state": state,
        "lag": status.lag,
        "oldest_waiting": oldest,
        "failing_since": status.failing_since,
        "suspended": suspended,
        "in_flight": status.in_flight,
    }))
}
