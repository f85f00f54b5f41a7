//! `/api/consumers`: how far each one has come; pausing and resuming.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::AdminState;
use super::events::statuses;
use super::replay::consumers;
use super::reply::seen_through;
use super::reply::{Refused, answer};
use crate::dispatch::Status;
use crate::engine::Pipeline;
use crate::journal::Unavailable;

/// `GET /api/consumers`
pub(super) async fn list(state: web::Data<AdminState>) -> HttpResponse {
    answer(list_inner(&state).await)
}

async fn list_inner(state: &AdminState) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    let mut shown = Vec::new();
    for status in statuses(pipeline).await {
        shown.push(show(pipeline, &status).await?);
    }
    Ok(HttpResponse::Ok().json(json!({ "consumers": shown })))
}

/// `POST /api/consumers/{name}/pause`
pub(super) async fn pause(state: web::Data<AdminState>, path: web::Path<String>) -> HttpResponse {
    answer(set(&state, &path, true).await)
}

/// `POST /api/consumers/{name}/resume`
pub(super) async fn resume(state: web::Data<AdminState>, path: web::Path<String>) -> HttpResponse {
    answer(set(&state, &path, false).await)
}

async fn set(state: &AdminState, name: &str, paused: bool) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    if !paused {
        // One that is not active is no consumer that could be asked.
        let (registry, name) = (Arc::clone(state.registry()?), name.to_owned());
        seen_through(async move { registry.resume(&name).await }).await??;
    }
    let ended = || Refused::not_found(format!("{name} has ended"));
    let consumers = consumers(pipeline, Some(name))?;
    let consumer = consumers.first().ok_or_else(ended)?;
    consumer.pause(paused).await.ok_or_else(ended)??;
    let status = consumer.status().await.ok_or_else(ended)?;
    Ok(HttpResponse::Ok().json(show(pipeline, &status).await?))
}

async fn show(pipeline: &Pipeline, status: &Status) -> Result<Value, Unavailable> {
    let state = match status {
        Status { paused: true, .. } => "paused",
        Status {
            suspended: Some(_), ..
        } => "suspended",
        Status {
            failing_since: Some(_),
            ..
        } => "failing",
        _ => "running",
    };
    let suspended = status.suspended.as_ref().map(
        |suspended| json!({ "since": suspended.since.to_string(), "reason": suspended.reason }),
    );
    let oldest = pipeline.oldest_waiting(status).await?;
    let (kind, _) = status.name.split_once(':').unwrap_or(("handler", ""));
    Ok(json!({
        "name": status.name,
        "kind": kind,
        "state": state,
        "lag": status.lag,
        "oldest_waiting": oldest.map(|at| at.to_string()),
        "failing_since": status.failing_since.map(|at| at.to_string()),
        "suspended": suspended,
        "in_flight": status.in_flight,
    }))
}
