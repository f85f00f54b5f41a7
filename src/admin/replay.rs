//! `/api/replay`, `/api/events/{id}/replay` and `/api/replays`: handing events over again.

use std::collections::BTreeMap;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::{Answer, ApiError};
use super::request::{event_kind, json_body, time};
use super::state::{AdminState, State};
use crate::dispatch;
use crate::index::EventFilter;
use crate::journal::Position;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayRequest {
    pub(super) consumer: Option<String>,
    pub(super) session: Option<String>,
    pub(super) event: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    #[serde(default)]
    pub(super) dry_run: bool,
    /// Events a second. By default there is no limit.
    pub(super) rate: Option<u32>,
}

/// `POST /api/replay`
pub(super) async fn many(state: State, body: web::Bytes) -> Answer {
    let request: ReplayRequest = json_body(&body)?;
    let (asked, events) = matching(&state, &request).await?;
    if request.dry_run {
        return Ok(taken(Uuid::nil(), events.len(), 0, &[]));
    }
    replay(&state, request.consumer.as_deref(), &asked, &events).await
}

/// What a request asks for, and the events that match now.
pub(super) async fn matching(
    state: &AdminState,
    request: &ReplayRequest,
) -> Result<(dispatch::ReplayRequest, Vec<Position>), ApiError> {
    let asked = dispatch::ReplayRequest {
        session: request.session.clone().filter(|session| session != "*"),
        event: request.event.clone().filter(|event| event != "*"),
        from: time("from", request.from.as_deref())?,
        to: time("to", request.to.as_deref())?,
        rate: rate(request.rate)?,
    };
    let filter = EventFilter {
        session: asked.session.clone(),
        kind: event_kind(asked.event.clone())?,
        from: asked.from,
        to: asked.to,
        ..EventFilter::default()
    };
    state.consumers(request.consumer.as_deref())?;
    let events = state.search()?.positions(filter, MAX_REPLAY + 1).await?;
    if events.len() > MAX_REPLAY {
        let text = format!("more than {MAX_REPLAY} events match; ask for a shorter time");
        return Err(ApiError::bad_request(text));
    }
    Ok((asked, events))
}

/// `POST /api/events/{id}/replay`
pub(super) async fn one(state: State, id: web::Path<String>, body: web::Bytes) -> Answer {
    let request: ReplayRequest = json_body(&body)?;
    state.consumers(request.consumer.as_deref())?;
    let event = state.event(&id).await?;
    if event.is_deleted {
        return Err(ApiError::deleted(event.id));
    }
    let Some(position) = event.in_journal() else {
        return Err(ApiError::bad_request(
            "this is a duplicate; replay the event it is the same as",
        ));
    };
    let asked = dispatch::ReplayRequest {
        rate: rate(request.rate)?,
        ..dispatch::ReplayRequest::default()
    };
    if request.dry_run {
        return Ok(taken(Uuid::nil(), 1, 0, &[]));
    }
    replay(&state, request.consumer.as_deref(), &asked, &[position]).await
}

fn rate(rate: Option<u32>) -> Result<Option<u32>, ApiError> {
    if rate == Some(0) {
        let text = "rate: found 0, expected at least 1 event a second";
        return Err(ApiError::bad_request(text));
    }
    Ok(rate)
}

/// Replays to one consumer, or to all.
async fn replay(
    state: &AdminState,
    consumer: Option<&str>,
    asked: &dispatch::ReplayRequest,
    events: &[Position],
) -> Answer {
    let id = Uuid::now_v7();
    for consumer in state.consumers(consumer)? {
        hand_over(state, consumer.name(), id, asked, events.to_vec()).await?;
    }
    let matched = events.len();
    if asked.rate.is_some() && matched > 1 {
        return Ok(goes_on(id, matched));
    }
    Ok(taken(id, matched, matched, &[]))
}

/// The answer to a replay that goes on after it.
fn goes_on(id: Uuid, matched: usize) -> HttpResponse {
    HttpResponse::Accepted().json(json!({ "replay": id, "matched": matched }))
}

/// The answer to a replay that `matched` events, of which `count` are handed over. A long one goes on after
/// the answer. `left_out` names the consumers whose events are not handed over.
pub(super) fn taken(id: Uuid, matched: usize, count: usize, left_out: &[Value]) -> HttpResponse {
    let (status, mut answer) = if count <= ANSWERED_AT_ONCE {
        let answer = json!({ "matched": matched, "replayed": count });
        (StatusCode::OK, answer)
    } else {
        let answer = json!({ "replay": id, "matched": matched });
        (StatusCode::ACCEPTED, answer)
    };
    if !left_out.is_empty() {
        answer["left_out"] = left_out.into();
    }
    HttpResponse::build(status).json(answer)
}

/// Has a consumer replay events. Returns when that is durable.
pub(super) async fn hand_over(
    state: &AdminState,
    name: &str,
    id: Uuid,
    asked: &dispatch::ReplayRequest,
    events: Vec<Position>,
) -> Result<(), ApiError> {
    let journal = state.pipeline()?.journal().as_ref();
    let consumer = state.running(name)?;
    let taken = consumer.replay(journal, id, asked, events).await;
    taken
        .ok_or_else(|| ApiError::has_ended(name))?
        .map_err(Into::into)
}

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

/// How many events one replay may have.
pub(super) const MAX_REPLAY: usize = 1_000_000;

/// A replay of more events is answered with its id.
const ANSWERED_AT_ONCE: usize = 1000;
