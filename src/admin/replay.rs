//! `/api/replay` and `/api/events/{id}/replay`: handing events over again.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::error::{Answer, ApiError};
use super::request::{event_kind, json_body, time};
use super::state::State;
use crate::dispatch::ConsumerControls;
use crate::engine::Pipeline;
use crate::index::EventFilter;
use crate::journal::Position;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayRequest {
    consumer: Option<String>,
    session: Option<String>,
    event: Option<String>,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    dry_run: bool,
    /// Events a second. By default there is no limit.
    rate: Option<u32>,
}

/// `POST /api/replay`
pub(super) async fn many(state: State, body: web::Bytes) -> Answer {
    let pipeline = state.pipeline()?;
    let request: ReplayRequest = json_body(&body)?;
    let consumers = state.consumers(request.consumer.as_deref())?;
    let filter = EventFilter {
        session: request.session.filter(|session| session != "*"),
        kind: event_kind(request.event)?,
        from: time("from", request.from.as_deref())?,
        to: time("to", request.to.as_deref())?,
        ..EventFilter::default()
    };
    let events = state.search()?.positions(filter, MAX_REPLAY + 1).await?;
    if events.len() > MAX_REPLAY {
        let text = format!("more than {MAX_REPLAY} events match; ask for a shorter time");
        return Err(ApiError::bad_request(text));
    }
    replay(pipeline, &consumers, &events, request.dry_run, request.rate).await
}

/// `POST /api/events/{id}/replay`
pub(super) async fn one(state: State, id: web::Path<String>, body: web::Bytes) -> Answer {
    let pipeline = state.pipeline()?;
    let request: ReplayRequest = json_body(&body)?;
    let consumers = state.consumers(request.consumer.as_deref())?;
    let Some(position) = state.event(&id).await?.in_journal() else {
        return Err(ApiError::bad_request(
            "this is a duplicate; replay the event it is the same as",
        ));
    };
    let (dry_run, rate) = (request.dry_run, request.rate);
    replay(pipeline, &consumers, &[position], dry_run, rate).await
}

async fn replay(
    pipeline: &Pipeline,
    consumers: &[ConsumerControls],
    events: &[Position],
    dry_run: bool,
    rate: Option<u32>,
) -> Answer {
    if rate == Some(0) {
        return Err(ApiError::bad_request(
            "rate: found 0, expected at least 1 event a second",
        ));
    }
    if dry_run {
        return Ok(replayed(events.len(), 0));
    }
    let pause = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
    let journal = pipeline.journal().as_ref();
    for consumer in consumers {
        let taken = consumer.replay(journal, events.to_vec(), pause).await;
        taken.ok_or_else(|| ApiError::has_ended(consumer.name()))??;
    }
    Ok(replayed(events.len(), events.len()))
}

/// The answer to every replay: `{"matched":N,"replayed":N}`.
pub(super) fn replayed(matched: usize, replayed: usize) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "matched": matched, "replayed": replayed }))
}

/// How many events one replay may have.
pub(super) const MAX_REPLAY: usize = 1_000_000;
