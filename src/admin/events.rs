//! `/api/events`: what was received, and what became of it.

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;

use super::reply::{Refused, answer, id, page};
use super::{AdminState, search};
use crate::dispatch::Status;
use crate::engine::Pipeline;
use crate::index::{EventEntry, EventFilter};
use crate::journal::{DeadLetter, Unavailable};
use crate::{EventId, EventKind};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    session: Option<String>,
    event: Option<String>,
    state: Option<State>,
    before: Option<String>,
    limit: Option<usize>,
}

/// What became of an event, over all consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// A consumer has given up on it.
    Dead,
    /// A consumer has failed and will try again.
    Retrying,
    /// A consumer has not done its work yet.
    Pending,
    /// Nothing is left to do.
    Done,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    id: EventId,
    source: &'a str,
    session: Option<&'a str>,
    event: &'a str,
    name: Option<&'a str>,
    received_at: String,
    bytes: u64,
    state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<EventId>,
}

/// `GET /api/events`
pub(super) async fn list(state: web::Data<AdminState>, query: web::Query<Query>) -> HttpResponse {
    answer(list_inner(&state, query.into_inner()).await)
}

async fn list_inner(state: &AdminState, query: Query) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    let limit = page(query.limit)?;
    let mut filter = EventFilter {
        session: query.session,
        kind: kind(query.event)?,
        before: query.before.as_deref().map(id).transpose()?,
        ..EventFilter::default()
    };
    let search = search(pipeline)?;
    let statuses = statuses(pipeline).await;
    let mut found = Vec::new();
    let mut looked_at = 0;
    let mut more = true;
    while more && found.len() < limit && looked_at < MAX_LOOKED_AT {
        let asked = filter.clone();
        let entries = search.newest(asked, PAGE).await?;
        more = entries.len() == PAGE;
        looked_at += entries.len();
        let dead = dead_among(pipeline, &entries).await?;
        for entry in entries {
            filter.before = Some(entry.id);
            let state = state_of(&entry, &statuses, &dead);
            if query.state.is_none_or(|wanted| wanted == state) {
                found.push((entry, state));
                if found.len() == limit {
                    more = true;
                    break;
                }
            }
        }
    }
    let events: Vec<_> = found
        .iter()
        .map(|(entry, state)| shown(entry, *state))
        .collect();
    let next = filter.before.filter(|_| more);
    Ok(HttpResponse::Ok().json(json!({ "events": events, "next": next })))
}

/// `GET /api/events/{id}`
pub(super) async fn one(state: web::Data<AdminState>, path: web::Path<String>) -> HttpResponse {
    answer(one_inner(&state, &path).await)
}

#[derive(Serialize)]
struct Whole<'a> {
    #[serde(flatten)]
    shown: Shown<'a>,
    timeline: Vec<serde_json::Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

async fn one_inner(state: &AdminState, path: &str) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    let entry = find(pipeline, path).await?;
    let statuses = statuses(pipeline).await;
    let dead = dead_among(pipeline, std::slice::from_ref(&entry)).await?;
    let shown = shown(&entry, state_of(&entry, &statuses, &dead));
    let mut timeline = vec![json!({ "at": entry.at.to_string(), "what": "received" })];
    let mut content = None;
    if let Some(position) = entry.position {
        let seq = position.seq();
        let kept = pipeline.journal().read(seq - 1, 1).await?;
        if let Some(record) = kept.into_iter().find(|record| record.seq == seq) {
            timeline.push(json!({ "at": record.kept_at.to_string(), "what": "durable" }));
            let (received, _) = pipeline.decoder().decode(&record.received);
            content = Some(received.content.clone());
        }
        let made = search(pipeline)?.attempts(position).await?;
        timeline.extend(made.iter().map(|made| {
            json!({
                "at": made.at.to_string(),
                "what": "attempt",
                "consumer": made.consumer,
                "attempt": made.attempt,
                "outcome": made.outcome,
            })
        }));
        timeline.extend(dead.iter().map(|(consumer, letter)| {
            // Letters are dated to the millisecond: not before the attempt that made them.
            let last = made
                .iter()
                .filter(|made| made.consumer == *consumer && made.attempt == letter.attempts);
            let at = last.map(|made| made.at).max().unwrap_or(letter.at);
            json!({
                "at": at.max(letter.at).to_string(),
                "what": "dead",
                "consumer": consumer,
                "attempt": letter.attempts,
                "outcome": letter.reason,
            })
        }));
    }
    let body = content
        .as_deref()
        .and_then(|content| serde_json::from_slice::<&RawValue>(content).ok());
    let whole = Whole {
        shown,
        timeline,
        body_base64: match body {
            Some(_) => None,
            None => content.as_ref().map(|content| STANDARD.encode(content)),
        },
        body,
    };
    Ok(HttpResponse::Ok().json(whole))
}

/// The event with this id.
pub(super) async fn find(pipeline: &Pipeline, text: &str) -> Result<EventEntry, Refused> {
    let id = id(text)?;
    let found = search(pipeline)?.by_id(id).await?;
    found.ok_or_else(|| Refused::not_found(format!("there is no event {id}")))
}

/// An event kind in a request; `None` for all.
pub(super) fn kind(text: Option<String>) -> Result<Option<EventKind>, Refused> {
    let Some(text) = text.filter(|text| text != "*") else {
        return Ok(None);
    };
    text.parse().map(Some).map_err(|_| {
        let allowed = EventKind::ALL.map(EventKind::as_str).join(", ");
        Refused::bad_request(format!("event: found {text:?}; allowed: {allowed}, *"))
    })
}

/// How all consumers are doing.
pub(super) async fn statuses(pipeline: &Pipeline) -> Vec<Status> {
    let consumers = pipeline.consumers();
    let asked = consumers.iter().map(|controls| controls.status());
    let statuses = futures_util::future::join_all(asked).await;
    statuses.into_iter().flatten().collect()
}

async fn dead_among(
    pipeline: &Pipeline,
    entries: &[EventEntry],
) -> Result<Vec<(String, DeadLetter)>, Unavailable> {
    let positions: Vec<_> = entries.iter().filter_map(|entry| entry.position).collect();
    pipeline.journal().dead_letters_of(&positions).await
}

fn state_of(entry: &EventEntry, statuses: &[Status], dead: &[(String, DeadLetter)]) -> State {
    // A duplicate is done with when it was received.
    let Some(position) = entry.position else {
        return State::Done;
    };
    if dead.iter().any(|(_, letter)| letter.position == position) {
        return State::Dead;
    }
    if statuses
        .iter()
        .any(|status| status.retrying.contains(position))
    {
        return State::Retrying;
    }
    let unsettled = |status: &Status| {
        !status.progress.is_settled(position) || status.replaying.contains(position)
    };
    match statuses.iter().any(unsettled) {
        true => State::Pending,
        false => State::Done,
    }
}

fn shown(entry: &EventEntry, state: State) -> Shown<'_> {
    Shown {
        id: entry.id,
        source: &entry.source,
        session: entry.session.as_deref(),
        event: entry.kind.as_str(),
        name: entry.name.as_deref(),
        received_at: entry.at.to_string(),
        bytes: entry.bytes,
        state,
        duplicate_of: entry.duplicate_of,
    }
}

const PAGE: usize = 500;

/// A search for a rare state ends after so many events; `next` goes on from there.
const MAX_LOOKED_AT: usize = 20_000;
