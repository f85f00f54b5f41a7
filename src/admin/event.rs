//! `/api/events/{id}`: one event with its timeline and its body.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::error::{Answer, ApiError};
use super::events::ShownEvent;
use super::role::Role;
use super::state::{AdminState, State};
use super::states::States;
use crate::dialect::hide_credentials;
use crate::engine::Pipeline;
use crate::index::{EventEntry, TimelineEntry};
use crate::journal::{DeadLetter, Missing, Record, Seq, Unavailable};
use crate::{Event, EventId, Received, Timestamp};

/// One event, with what has happened to it.
#[derive(Serialize)]
pub(super) struct EventDetails {
    #[serde(flatten)]
    pub(super) listed: ShownEvent,
    pub(super) timeline: Vec<Step>,
    /// Why the body cannot be shown: what is on the disk is not what was written.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) damaged: bool,
    /// Whether the body is not shown because a viewer asks.
    #[serde(skip_serializing_if = "is_false")]
    pub(super) body_hidden: bool,
    /// What was received, if it is still there and may be shown; with its content decoded.
    #[serde(skip)]
    pub(super) received: Option<Arc<Received>>,
    /// The decoded content, with stars in place of a gateway's credentials.
    #[serde(skip)]
    pub(super) content: Bytes,
    /// The typed events as a handler gets them: one, but for the last part of a body with very many.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) typed: Vec<Event>,
}

impl EventDetails {
    /// What was received, if it is still there and may be shown; with its content decoded.
    pub(super) fn received(&self) -> Option<&Arc<Received>> {
        self.received.as_ref()
    }
}

/// What is left of an event that was deleted.
#[derive(Serialize)]
pub(super) struct DeletedEvent {
    pub(super) id: EventId,
    pub(super) received_at: Timestamp,
    pub(super) deleted_at: Timestamp,
    pub(super) timeline: Vec<Step>,
}

/// An event that was asked for.
pub(super) enum FoundEvent {
    Kept(Box<EventDetails>),
    Deleted(DeletedEvent),
}

#[derive(Serialize)]
struct WithBody<'a> {
    #[serde(flatten)]
    details: &'a EventDetails,
    /// The body, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    /// The body, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// `GET /api/events/{id}`
pub(super) async fn show(state: State, role: Role, id: web::Path<String>) -> Answer {
    let details = match details(&state, role, &id).await? {
        FoundEvent::Kept(details) => details,
        FoundEvent::Deleted(left) => return Ok(HttpResponse::Ok().json(left)),
    };
    let content = details.received().map(|_| &*details.content);
    let body = content.and_then(|content| serde_json::from_slice(content).ok());
    Ok(HttpResponse::Ok().json(WithBody {
        details: &details,
        body,
        body_base64: content
            .filter(|_| body.is_none())
            .map(|content| STANDARD.encode(content)),
    }))
}

/// The event with this id, or the only one whose id begins so.
pub(super) async fn details(
    state: &AdminState,
    role: Role,
    id: &str,
) -> Result<FoundEvent, ApiError> {
    let pipeline = state.pipeline()?;
    let event = state.event(id).await?;
    let left = record_of(pipeline, event.position.seq()).await?;
    if let Some(Missing::Deleted(at)) = left.as_ref().and_then(|record| record.missing) {
        let left = deleted(state, &event, left, at).await?;
        return Ok(FoundEvent::Deleted(left));
    }
    let mut states = States::now(pipeline).await;
    states.learn(pipeline, std::slice::from_ref(&event)).await?;
    let mut timeline = vec![Step::new("received", event.at)];
    let (mut received, mut typed, mut missing) = (None, Vec::new(), None);
    let mut content = Bytes::new();
    if let Some(position) = event.in_journal() {
        if let Some(record) = left {
            timeline.push(durable(&record, &event));
            missing = record.missing;
            if missing.is_none() && role.sees_bodies() {
                let decoder = Arc::clone(pipeline.decoder());
                // A large body must not hold up the others that are asked for.
                let decode = move || {
                    let (received, mut events) = decoder.decode(&record.received);
                    record.set_sessions(&mut events);
                    let own = Record::events_of(record.parts.count(), position.part(), &events);
                    let mut typed = own[..own.len().min(MOST_TYPED)].to_vec();
                    typed.iter_mut().for_each(hide_credentials);
                    let content = decoder.reader(&received.source).shown(&received.content);
                    (received, typed, content)
                };
                if let Ok(decoded) = web::block(decode).await {
                    received = Some(decoded.0);
                    (typed, content) = (decoded.1, decoded.2);
                }
            }
        }
        let attempts = state.search()?.attempts(position).await?;
        timeline.extend(attempts.iter().map(|made| attempt(made, role)));
        timeline.extend(states.dead.iter().map(|(consumer, letter)| {
            let at = given_up_at(consumer, letter, &attempts);
            Step::of_consumer("dead", at, consumer, letter.attempts, &letter.reason)
        }));
        timeline.sort_by_key(|step| step.at);
    }
    let state = states.of(&event);
    Ok(FoundEvent::Kept(Box::new(EventDetails {
        listed: ShownEvent { event, state },
        timeline,
        damaged: missing == Some(Missing::Damaged),
        body_hidden: !role.sees_bodies(),
        received,
        content,
        typed,
    })))
}

/// Whose conversation a message is of: its chat, or its sender where the gateway names no chat.
pub(super) fn peer(event: &Event) -> Option<&str> {
    let message = event.as_message()?;
    message.chat.as_deref().or(message.from.as_deref())
}

/// What is left of an event that was deleted: its id, its times, and how each attempt ended, without what a
/// subscriber has answered.
async fn deleted(
    state: &AdminState,
    event: &EventEntry,
    left: Option<Record>,
    at: Timestamp,
) -> Result<DeletedEvent, ApiError> {
    let mut timeline = vec![Step::new("received", event.at)];
    if let (Some(position), Some(record)) = (event.in_journal(), left) {
        timeline.push(durable(&record, event));
        let attempts = state.search()?.attempts(position).await?;
        timeline.extend(attempts.iter().map(|made| {
            let (consumer, outcome) = (&made.consumer, &made.outcome);
            Step::of_consumer("attempt", made.at, consumer, made.attempt, outcome)
        }));
    }
    timeline.push(Step::new("deleted", at));
    timeline.sort_by_key(|step| step.at);
    Ok(DeletedEvent {
        id: event.id,
        received_at: event.at,
        deleted_at: at,
        timeline,
    })
}

/// The record of a body; `None` if it is not in the journal any more.
async fn record_of(pipeline: &Pipeline, seq: Seq) -> Result<Option<Record>, Unavailable> {
    let kept = pipeline.journal().read(seq.saturating_sub(1), 1).await?;
    Ok(kept.into_iter().find(|record| record.seq == seq))
}

/// When an event was stored. That is known in whole milliseconds, and is not before it was received.
fn durable(record: &Record, event: &EventEntry) -> Step {
    Step::new("durable", record.kept_at.max(event.at))
}

/// So many typed events are shown at most.
const MOST_TYPED: usize = 100;

/// For serde, which skips what this returns true for.
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Something that has happened to an event.
#[derive(Debug, Serialize)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) what: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) consumer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) took_ms: Option<u32>,
    /// The beginning of what a refusing subscriber has answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) answer: Option<String>,
}

impl Step {
    fn new(what: &'static str, at: Timestamp) -> Self {
        Self {
            at,
            what,
            consumer: None,
            attempt: None,
            outcome: None,
            took_ms: None,
            answer: None,
        }
    }

    #[cfg(all(test, feature = "dashboard"))]
    pub(super) fn for_tests(at: Timestamp) -> Self {
        Self::new("received", at)
    }

    fn of_consumer(
        what: &'static str,
        at: Timestamp,
        consumer: &str,
        attempt: u32,
        outcome: &str,
    ) -> Self {
        Self {
            consumer: Some(consumer.to_owned()),
            attempt: Some(attempt),
            outcome: Some(outcome.to_owned()),
            ..Self::new(what, at)
        }
    }
}

/// An attempt. What a subscriber has answered may repeat the body.
fn attempt(made: &TimelineEntry, role: Role) -> Step {
    let (consumer, outcome) = (&made.consumer, &made.outcome);
    Step {
        took_ms: Some(made.took_ms),
        answer: made.answer.clone().filter(|_| role.sees_bodies()),
        ..Step::of_consumer("attempt", made.at, consumer, made.attempt, outcome)
    }
}

/// When a consumer gave up. A letter's time is in whole milliseconds, and must not be before the
/// attempt that made it.
fn given_up_at(consumer: &str, letter: &DeadLetter, attempts: &[TimelineEntry]) -> Timestamp {
    let own = attempts
        .iter()
        .filter(|made| made.consumer == consumer && made.attempt == letter.attempts);
    own.map(|made| made.at).fold(letter.at, Timestamp::max)
}
