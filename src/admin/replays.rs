//! `/api/replays`: how far each replay is, and cancelling one.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::{Answer, ApiError};
use super::state::{AdminState, State};

/// `GET /api/replays`: those that run, and the newest that have ended, newest first.
pub(super) async fn list(state: State) -> Answer {
    let replays = all(&state).await?;
    Ok(HttpResponse::Ok().json(json!({ "replays": replays })))
}

/// The replays that run, and the newest that have ended, newest first.
pub(super) async fn all(state: &AdminState) -> Result<Vec<Value>, ApiError> {
    let mut shown: BTreeMap<(Uuid, String), Value> = BTreeMap::new();
    for consumer in state.consumers(None)? {
        for replay in consumer.replays().await {
            let name = consumer.name().to_owned();
            let (id, asked) = (replay.id, &replay.request);
            let value = json!({
                "id": id,
                "consumer": name,
                "session": asked.session,
                "event": asked.event,
                "from": asked.from,
                "to": asked.to,
                "ids": asked.ids,
                "rate": asked.rate,
                "asked_at": replay.asked_at,
                "matched": replay.matched,
                "handed_over": replay.handed_over,
                "state": replay.state,
            });
            shown.insert((id, name), value);
        }
    }
    Ok(shown.into_values().rev().collect())
}

/// `DELETE /api/replays/{id}`: what has not been handed over is not handed over, to no consumer.
pub(super) async fn cancel(state: State, id: web::Path<String>) -> Answer {
    let unknown = || ApiError::not_found(format!("there is no replay {id} that runs"));
    let wanted: Uuid = id.parse().map_err(|_| unknown())?;
    let mut cancelled = Vec::new();
    for consumer in state.consumers(None)? {
        if let Some(saved) = consumer.cancel_replay(wanted).await {
            saved?;
            cancelled.push(consumer.name().to_owned());
        }
    }
    if cancelled.is_empty() {
        return Err(unknown());
    }
    Ok(HttpResponse::Ok().json(json!({ "cancelled": cancelled })))
}
