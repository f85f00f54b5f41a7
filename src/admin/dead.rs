//! `/api/dead`: the events that consumers have given up on.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::error::{Answer, ApiError};
use super::replay::{MAX_REPLAY, hand_over, taken};
use super::request::{complete_id, json_body, page_size};
use super::state::{AdminState, State};
use crate::dispatch::ReplayRequest;
use crate::index::EventEntry;
use crate::journal::{DeadLetter, Position};
use crate::{EventId, Timestamp};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeadQuery {
    pub(super) consumer: Option<String>,
    pub(super) before: Option<String>,
    pub(super) limit: Option<usize>,
}

/// A page of dead letters.
#[derive(Serialize)]
pub(super) struct DeadPage {
    pub(super) dead: Vec<ShownLetter>,
    /// Before which letter the next page begins, where there is one.
    pub(super) next: Option<String>,
}

/// A dead letter as the list shows it.
#[derive(Serialize)]
pub(super) struct ShownLetter {
    pub(super) id: EventId,
    pub(super) consumer: String,
    pub(super) session: Option<String>,
    pub(super) event: &'static str,
    pub(super) attempts: u32,
    pub(super) reason: String,
    pub(super) at: Timestamp,
}

/// `GET /api/dead`
pub(super) async fn list(state: State, query: web::Query<DeadQuery>) -> Answer {
    let page = find(&state, &query).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// The page that a query asks for.
pub(super) async fn find(state: &AdminState, query: &DeadQuery) -> Result<DeadPage, ApiError> {
    let pipeline = state.pipeline()?;
    let limit = page_size(query.limit)?;
    let before = match &query.before {
        Some(text) => page_start(state, text).await?,
        None => None,
    };
    let before = before.as_ref().map(|(position, name)| (*position, &**name));
    let (journal, consumer) = (pipeline.journal(), query.consumer.as_deref());
    let mut letters = journal.dead_letters(consumer, before, limit + 1).await?;
    check_consumer(state, consumer, letters.is_empty())?;
    let more = letters.len() > limit;
    letters.truncate(limit);
    let mut positions: Vec<_> = letters.iter().map(|(_, letter)| letter.position).collect();
    positions.dedup();
    let events = state.search()?.by_positions(positions).await?;
    let next = letters.last().filter(|_| more).map(page_token);
    let shown = letters.into_iter().filter_map(|(consumer, letter)| {
        let mut events = events.iter();
        let event = events.find(|event| event.position == letter.position)?;
        Some(ShownLetter {
            id: event.id,
            consumer,
            session: event.session.clone(),
            event: event.kind.as_str(),
            attempts: letter.attempts,
            reason: letter.reason,
            at: letter.at,
        })
    });
    let dead = shown.collect();
    Ok(DeadPage { dead, next })
}

/// Names the last letter of a page: the answer's `next`, and the next request's `before`. The event's
/// id is not enough, because several consumers may have given up on one event.
fn page_token((consumer, letter): &(String, DeadLetter)) -> String {
    let (seq, part) = (letter.position.seq(), letter.position.part());
    URL_SAFE_NO_PAD.encode(json!([seq, part, consumer]).to_string())
}

/// The letter after which a page starts: that of a token, or all letters of the event with this id.
async fn page_start(
    state: &AdminState,
    text: &str,
) -> Result<Option<(Position, String)>, ApiError> {
    let token = URL_SAFE_NO_PAD.decode(text).ok();
    let letter = token.and_then(|token| serde_json::from_slice(&token).ok());
    if let Some((seq, part, consumer)) = letter {
        return Ok(Some((Position::new(seq, part), consumer)));
    }
    let position = state.event(text).await?.in_journal();
    Ok(position.map(|position| (position, String::new())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeadReplayRequest {
    consumer: Option<String>,
    id: Option<String>,
}

/// `POST /api/dead/replay`
pub(super) async fn replay(state: State, body: web::Bytes) -> Answer {
    let request: DeadReplayRequest = json_body(&body)?;
    let consumer = request.consumer.as_deref();
    let letters = select(&state, consumer, request.id.as_deref()).await?;
    check_consumer(&state, consumer, letters.is_empty())?;
    let matched = letters.len();
    let mut by_consumer: BTreeMap<String, Vec<Position>> = BTreeMap::new();
    for (consumer, letter) in letters {
        let positions = by_consumer.entry(consumer).or_default();
        positions.push(letter.position);
    }
    let (id, asked) = (Uuid::now_v7(), ReplayRequest::default());
    let (mut count, mut left_out) = (0, Vec::new());
    for (name, mut events) in by_consumer {
        // The dead letters of a consumer that no longer exists, or does not run, stay.
        if let Err(error) = state.consumer(&name) {
            let reason = error.to_string();
            left_out.push(json!({ "consumer": name, "events": events.len(), "reason": reason }));
            continue;
        }
        events.sort_unstable();
        count += events.len();
        hand_over(&state, &name, id, &asked, events).await?;
    }
    Ok(taken(id, matched, count, &left_out))
}

/// A misspelt name has no dead letters, nor has a consumer that never gave up. Only the first is an error.
fn check_consumer(
    state: &AdminState,
    name: Option<&str>,
    has_no_letter: bool,
) -> Result<(), ApiError> {
    match name.filter(|_| has_no_letter) {
        Some(name) => state.check_consumer(name),
        None => Ok(()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DeleteQuery {
    consumer: Option<String>,
}

/// `DELETE /api/dead/{id}`
pub(super) async fn delete(
    state: State,
    id: web::Path<String>,
    query: web::Query<DeleteQuery>,
) -> Answer {
    let pipeline = state.pipeline()?;
    let event = state.exact_event(complete_id(&id)?).await?;
    let letters = of_event(&state, query.consumer.as_deref(), &event).await?;
    if letters.is_empty() {
        let text = match &query.consumer {
            None => format!("no consumer has given up on {id}"),
            Some(consumer) => format!("{consumer} has not given up on {id}"),
        };
        return Err(ApiError::not_found(text));
    }
    let journal = pipeline.journal();
    for (name, letter) in &letters {
        let position = [letter.position];
        journal.forget_dead_letters(name, &position).await?;
    }
    Ok(HttpResponse::Ok().json(json!({ "success": true, "deleted": letters.len() })))
}

/// The dead letters of one consumer or of all, for one event or for all; at most [`MAX_REPLAY`].
async fn select(
    state: &AdminState,
    consumer: Option<&str>,
    event: Option<&str>,
) -> Result<Vec<(String, DeadLetter)>, ApiError> {
    let journal = state.pipeline()?.journal();
    let Some(id) = event else {
        return Ok(journal.dead_letters(consumer, None, MAX_REPLAY).await?);
    };
    let event = state.event(id).await?;
    of_event(state, consumer, &event).await
}

/// The dead letters of one event.
async fn of_event(
    state: &AdminState,
    consumer: Option<&str>,
    event: &EventEntry,
) -> Result<Vec<(String, DeadLetter)>, ApiError> {
    let journal = state.pipeline()?.journal();
    let position = event.in_journal();
    let mut letters = journal.dead_letters_of(position.as_slice()).await?;
    letters.retain(|(name, _)| consumer.is_none_or(|consumer| consumer == name));
    Ok(letters)
}
