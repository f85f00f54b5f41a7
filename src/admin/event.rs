//! `GET /api/events/{id}`: one event with its timeline and its body.

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::error::ApiError;
use super::event_state::{EventState, dead_letters};
use super::events::ListedEvent;
use super::lookup;
use super::state::AdminState;
use crate::index::TimelineEntry;
use crate::journal::DeadLetter;

#[derive(Serialize)]
struct EventDetails<'a> {
    #[serde(flatten)]
    listed: ListedEvent<'a>,
    timeline: Vec<Value>,
    /// The body, where it is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    /// The body, where it is not JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// `GET /api/events/{id}`
pub(super) async fn show(
    state: web::Data<AdminState>,
    id: web::Path<String>,
) -> Result<HttpResponse, ApiError> {
    let pipeline = state.pipeline()?;
    let event = lookup::event(pipeline, &id).await?;
    let consumers = lookup::statuses(pipeline).await;
    let dead = dead_letters(pipeline, std::slice::from_ref(&event)).await?;
    let listed = ListedEvent::new(&event, EventState::of(&event, &consumers, &dead));
    let mut timeline = vec![json!({ "at": event.at.to_string(), "what": "received" })];
    let mut content = None;
    if let Some(position) = event.position {
        let seq = position.seq();
        let kept = pipeline.journal().read(seq - 1, 1).await?;
        if let Some(record) = kept.into_iter().find(|record| record.seq == seq) {
            timeline.push(json!({ "at": record.kept_at.to_string(), "what": "durable" }));
            let (received, _) = pipeline.decoder().decode(&record.received);
            content = Some(received.content.clone());
        }
        let attempts = state.search()?.attempts(position).await?;
        timeline.extend(attempts.iter().map(show_attempt));
        timeline.extend(
            dead.iter()
                .map(|(consumer, letter)| show_dead_letter(consumer, letter, &attempts)),
        );
    }
    let content = content.as_deref();
    let body = content.and_then(|content| serde_json::from_slice(content).ok());
    Ok(HttpResponse::Ok().json(EventDetails {
        listed,
        timeline,
        body,
        body_base64: content
            .filter(|_| body.is_none())
            .map(|content| STANDARD.encode(content)),
    }))
}

fn show_attempt(attempt: &TimelineEntry) -> Value {
    json!({
        "at": attempt.at.to_string(),
        "what": "attempt",
        "consumer": attempt.consumer,
        "attempt": attempt.attempt,
        "outcome": attempt.outcome,
    })
}

fn show_dead_letter(consumer: &str, letter: &DeadLetter, attempts: &[TimelineEntry]) -> Value {
    // A letter's time is in whole milliseconds, and must not be before the attempt that made it.
    let last_attempt = attempts
        .iter()
        .filter(|attempt| attempt.consumer == consumer && attempt.attempt == letter.attempts)
        .map(|attempt| attempt.at)
        .max();
    let at = last_attempt.map_or(letter.at, |last| last.max(letter.at));
    json!({
        "at": at.to_string(),
        "what": "dead",
        "consumer": consumer,
        "attempt": letter.attempts,
        "outcome": letter.reason,
    })
}
