//! `/api/replay` and `/api/events/{id}/replay`: handing over once more.

use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde::Deserialize;

use super::events::{find, kind};
use super::reply::{Refused, answer, body, replayed, time};
use super::{AdminState, search};
use crate::dispatch::Controls;
use crate::engine::Pipeline;
use crate::index::EventFilter;
use crate::journal::Position;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    consumer: Option<String>,
    session: Option<String>,
    event: Option<String>,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    dry_run: bool,
    /// Events a second; as fast as they go unless told.
    rate: Option<u32>,
}

/// `POST /api/replay`
pub(super) async fn many(state: web::Data<AdminState>, bytes: web::Bytes) -> HttpResponse {
    answer(many_inner(&state, &bytes).await)
}

async fn many_inner(state: &AdminState, bytes: &[u8]) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    let request: Request = body(bytes)?;
    let consumers = consumers(pipeline, request.consumer.as_deref())?;
    let filter = EventFilter {
        session: request.session.filter(|session| session != "*"),
        kind: kind(request.event)?,
        from: time("from", request.from.as_deref())?,
        to: time("to", request.to.as_deref())?,
        ..EventFilter::default()
    };
    let events = search(pipeline)?.positions(filter, MAX_REPLAY + 1).await?;
    if events.len() > MAX_REPLAY {
        let text = format!("more than {MAX_REPLAY} events match; ask for a shorter time");
        return Err(Refused::bad_request(text));
    }
    replay(&consumers, &events, request.dry_run, request.rate).await
}

/// `POST /api/events/{id}/replay`
pub(super) async fn one(
    state: web::Data<AdminState>,
    path: web::Path<String>,
    bytes: web::Bytes,
) -> HttpResponse {
    answer(one_inner(&state, &path, &bytes).await)
}

async fn one_inner(state: &AdminState, path: &str, bytes: &[u8]) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    let request: Request = body(bytes)?;
    let consumers = consumers(pipeline, request.consumer.as_deref())?;
    let Some(position) = find(pipeline, path).await?.position else {
        return Err(Refused::bad_request(
            "this is a duplicate; replay the event it is the same as",
        ));
    };
    replay(&consumers, &[position], request.dry_run, request.rate).await
}

async fn replay(
    consumers: &[Controls],
    events: &[Position],
    dry_run: bool,
    rate: Option<u32>,
) -> Result<HttpResponse, Refused> {
    if rate == Some(0) {
        return Err(Refused::bad_request(
            "rate: found 0, expected at least 1 event a second",
        ));
    }
    if dry_run {
        return Ok(replayed(events.len(), 0));
    }
    let pause = rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
    for consumer in consumers {
        let replayed = consumer.replay(events.to_vec(), pause).await;
        replayed.ok_or_else(|| Refused::not_found(format!("{} has ended", consumer.name())))??;
    }
    Ok(replayed(events.len(), events.len()))
}

/// The consumer of this name, or all.
pub(super) fn consumers(pipeline: &Pipeline, name: Option<&str>) -> Result<Vec<Controls>, Refused> {
    let all = pipeline.consumers();
    let Some(name) = name else { return Ok(all) };
    let names: Vec<String> = all
        .iter()
        .map(|consumer| consumer.name().to_owned())
        .collect();
    let named: Vec<_> = all
        .into_iter()
        .filter(|consumer| consumer.name() == name)
        .collect();
    match named.is_empty() {
        false => Ok(named),
        true => {
            let text = format!(
                "there is no consumer {name:?}; there are: {}",
                names.join(", ")
            );
            Err(Refused::not_found(text))
        }
    }
}

const MAX_REPLAY: usize = 1_000_000;
