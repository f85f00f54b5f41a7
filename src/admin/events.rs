//! `/api/events`: what was received, newest first; one event with its timeline and its body.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::error::{Answer, ApiError};
use super::request::{event_id, event_kind, page_size, time};
use super::state::{AdminState, State};
use crate::dispatch::{ConsumerControls, EventStates};
use crate::engine::Pipeline;
use crate::index::{EventEntry, EventFilter, TimelineEntry};
use crate::journal::{DeadLetter, Missing, Position, Record, Seq, Unavailable};
use crate::{EventId, Timestamp};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    session: Option<String>,
    event: Option<String>,
    state: Option<EventState>,
    source: Option<String>,
    name: Option<String>,
    from: Option<String>,
    to: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/events`
pub(super) async fn list(state: State, query: web::Query<EventQuery>) -> Answer {
    let query = query.into_inner();
    let limit = page_size(query.limit)?;
    let filter = EventFilter {
        session: query.session,
        kind: event_kind(query.event)?,
        before: query.before.as_deref().map(event_id).transpose()?,
        from: time("from", query.from.as_deref())?,
        to: time("to", query.to.as_deref())?,
        ..EventFilter::default()
    };
    let wanted = Wanted {
        state: query.state,
        source: query.source,
        name: query.name,
    };
    let found = search(&state, filter, &wanted, limit).await?;
    Ok(HttpResponse::Ok().json(found))
}

/// What the index does not search by.
#[derive(Debug)]
struct Wanted {
    state: Option<EventState>,
    source: Option<String>,
    name: Option<String>,
}

impl Wanted {
    fn takes(&self, event: &EventEntry) -> bool {
        let source = self.source.as_ref();
        source.is_none_or(|source| *source == event.source)
            && (self.name.is_none() || self.name == event.name)
    }
}

/// A page of events.
#[derive(Debug, Serialize)]
struct Page {
    events: Vec<ShownEvent>,
    /// Where the next page begins, if there may be more.
    next: Option<EventId>,
    /// When the last event was received that was looked at; `None` if all were.
    searched_to: Option<Timestamp>,
}

/// At most `limit` events that pass the filter and are `wanted`, newest first.
async fn search(
    state: &AdminState,
    mut filter: EventFilter,
    wanted: &Wanted,
    limit: usize,
) -> Result<Page, ApiError> {
    let pipeline = state.pipeline()?;
    let consumers = states(pipeline).await;
    let (mut found, mut searched, mut searched_to) = (Vec::new(), 0, None);
    while searched < MAX_SEARCHED {
        let events = state.search()?.newest(filter.clone(), BATCH).await?;
        let is_last_batch = events.len() < BATCH;
        searched += events.len();
        let dead = dead_letters(pipeline, &events).await?;
        for event in events {
            (filter.before, searched_to) = (Some(event.id), Some(event.at));
            if !wanted.takes(&event) {
                continue;
            }
            let state = EventState::of(&event, &consumers, &dead);
            if wanted.state.is_none_or(|wanted| state.is(wanted)) {
                found.push(ShownEvent { event, state });
            }
            if found.len() == limit {
                break;
            }
        }
        if found.len() == limit {
            break;
        }
        if is_last_batch {
            return Ok(Page {
                events: found,
                next: None,
                searched_to: None,
            });
        }
    }
    Ok(Page {
        events: found,
        next: filter.before,
        searched_to,
    })
}

/// An event as the list shows it.
#[derive(Debug, Serialize)]
struct ShownEvent {
    #[serde(flatten)]
    event: EventEntry,
    state: EventState,
}

#[derive(Serialize)]
struct EventDetails<'a> {
    #[serde(flatten)]
    listed: ShownEvent,
    timeline: Vec<Value>,
    /// Why the body cannot be shown: what is on the disk is not what was written.
    #[serde(skip_serializing_if = "is_false")]
    damaged: bool,
    /// The body, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    /// The body, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// `GET /api/events/{id}`
pub(super) async fn show(state: State, id: web::Path<String>) -> Answer {
    let pipeline = state.pipeline()?;
    let event = state.event(&id).await?;
    let left = record_of(pipeline, event.position.seq()).await?;
    if let Some(Missing::Deleted(at)) = left.as_ref().and_then(|record| record.missing) {
        return show_deleted(&state, &event, left, at).await;
    }
    let consumers = states(pipeline).await;
    let dead = dead_letters(pipeline, std::slice::from_ref(&event)).await?;
    let mut timeline = vec![json!({ "at": event.at, "what": "received" })];
    let (mut content, mut missing) = (None, None);
    if let Some(position) = event.in_journal() {
        if let Some(record) = left {
            timeline.push(durable(&record, &event));
            missing = record.missing;
            if missing.is_none() {
                let decoder = Arc::clone(pipeline.decoder());
                // A large body must not hold up the others that are asked for.
                let decode = move || decoder.decode(&record.received).0.content.clone();
                content = web::block(decode).await.ok();
            }
        }
        let attempts = state.search()?.attempts(position).await?;
        timeline.extend(attempts.iter().map(attempt));
        timeline.extend(dead.iter().map(|(consumer, letter)| {
            let at = given_up_at(consumer, letter, &attempts);
            step("dead", at, consumer, letter.attempts, &letter.reason)
        }));
    }
    let state = EventState::of(&event, &consumers, &dead);
    let content = content.as_deref();
    let body = content.and_then(|content| serde_json::from_slice(content).ok());
    Ok(HttpResponse::Ok().json(EventDetails {
        listed: ShownEvent { event, state },
        timeline,
        damaged: missing == Some(Missing::Damaged),
        body,
        body_base64: content
            .filter(|_| body.is_none())
            .map(|content| STANDARD.encode(content)),
    }))
}

/// What is left of an event that was deleted: its id, its times, and how each attempt ended, without what a
/// subscriber has answered.
async fn show_deleted(
    state: &AdminState,
    event: &EventEntry,
    left: Option<Record>,
    at: Timestamp,
) -> Answer {
    let mut timeline = vec![json!({ "at": event.at, "what": "received" })];
    if let (Some(position), Some(record)) = (event.in_journal(), left) {
        timeline.push(durable(&record, event));
        let attempts = state.search()?.attempts(position).await?;
        timeline.extend(attempts.iter().map(|made| {
            let (consumer, outcome) = (&made.consumer, &made.outcome);
            step("attempt", made.at, consumer, made.attempt, outcome)
        }));
    }
    timeline.push(json!({ "at": at, "what": "deleted" }));
    timeline.sort_by_key(|step| {
        step["at"]
            .as_str()
            .and_then(|at| at.parse::<Timestamp>().ok())
    });
    Ok(HttpResponse::Ok().json(json!({
        "id": event.id,
        "received_at": event.at,
        "deleted_at": at,
        "timeline": timeline,
    })))
}

/// The record of a body; `None` if it is not in the journal any more.
async fn record_of(pipeline: &Pipeline, seq: Seq) -> Result<Option<Record>, Unavailable> {
    let kept = pipeline.journal().read(seq.saturating_sub(1), 1).await?;
    Ok(kept.into_iter().find(|record| record.seq == seq))
}

/// When an event was stored. That is known in whole milliseconds, and is not before it was received.
fn durable(record: &Record, event: &EventEntry) -> Value {
    json!({ "at": record.kept_at.max(event.at), "what": "durable" })
}

/// For serde, which skips what this returns true for.
fn is_false(flag: &bool) -> bool {
    !flag
}

fn step(what: &str, at: Timestamp, consumer: &str, attempt: u32, outcome: &str) -> Value {
    json!({ "at": at, "what": what, "consumer": consumer, "attempt": attempt, "outcome": outcome })
}

fn attempt(made: &TimelineEntry) -> Value {
    let (consumer, outcome) = (&made.consumer, &made.outcome);
    let mut step = step("attempt", made.at, consumer, made.attempt, outcome);
    step["took_ms"] = made.took_ms.into();
    if let Some(answer) = &made.answer {
        step["answer"] = (&**answer).into();
    }
    step
}

/// When a consumer gave up. A letter's time is in whole milliseconds, and must not be before the
/// attempt that made it.
fn given_up_at(consumer: &str, letter: &DeadLetter, attempts: &[TimelineEntry]) -> Timestamp {
    let own = attempts
        .iter()
        .filter(|made| made.consumer == consumer && made.attempt == letter.attempts);
    own.map(|made| made.at).fold(letter.at, Timestamp::max)
}

/// What became of an event, over all consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum EventState {
    /// A consumer has given up on it.
    Dead,
    /// A consumer has failed and will try again.
    Retrying,
    /// A consumer has not settled it yet.
    Pending,
    /// Nothing is left to do.
    Done,
    /// Nothing is left to do, because it is the same as an earlier one. It is shown as `done`, with that one's id.
    #[serde(rename(serialize = "done"))]
    Duplicate,
}

impl EventState {
    /// The state of an event, from how all consumers are doing and the dead letters of the event.
    fn of(event: &EventEntry, consumers: &[EventStates], dead: &[(String, DeadLetter)]) -> Self {
        let Some(position) = event.in_journal() else {
            return Self::Duplicate;
        };
        let is_retrying = |share: &EventStates| share.retrying.contains(position);
        let is_pending = |share: &EventStates| {
            !share.progress.is_settled(position) || share.replaying.contains(position)
        };
        if dead.iter().any(|(_, letter)| letter.position == position) {
            Self::Dead
        } else if consumers.iter().any(is_retrying) {
            Self::Retrying
        } else if consumers.iter().any(is_pending) {
            Self::Pending
        } else {
            Self::Done
        }
    }

    /// Whether who asks for the `wanted` state gets it.
    fn is(self, wanted: Self) -> bool {
        self == wanted || (self, wanted) == (Self::Duplicate, Self::Done)
    }
}

/// How all consumers are doing, in each share.
async fn states(pipeline: &Pipeline) -> Vec<EventStates> {
    let consumers = pipeline.consumers();
    let states = join_all(consumers.iter().map(ConsumerControls::events)).await;
    states.into_iter().flatten().collect()
}

/// The dead letters of these events, each with its consumer's name.
async fn dead_letters(
    pipeline: &Pipeline,
    events: &[EventEntry],
) -> Result<Vec<(String, DeadLetter)>, Unavailable> {
    let positions: Vec<Position> = events.iter().filter_map(EventEntry::in_journal).collect();
    pipeline.journal().dead_letters_of(&positions).await
}

/// How many events are taken from the index in one step.
const BATCH: usize = 500;

/// A search for a rare state ends after so many events. The client searches on with `next`.
const MAX_SEARCHED: usize = 20_000;
