//! `/api/dead`: what consumers have given up on.

use std::collections::BTreeMap;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::json;

use super::events::find;
use super::replay::consumers;
use super::reply::{Refused, answer, body, page, replayed};
use super::{AdminState, search};
use crate::engine::Pipeline;
use crate::journal::{DeadLetter, Position};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Query {
    consumer: Option<String>,
    before: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/dead`
pub(super) async fn list(state: web::Data<AdminState>, query: web::Query<Query>) -> HttpResponse {
    answer(list_inner(&state, &query).await)
}

async fn list_inner(state: &AdminState, query: &Query) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    let limit = page(query.limit)?;
    let before = match &query.before {
        Some(text) => before(pipeline, text).await?,
        None => None,
    };
    let before = before
        .as_ref()
        .map(|(position, name)| (*position, name.as_str()));
    let consumer = query.consumer.as_deref();
    let mut letters = pipeline
        .journal()
        .dead_letters(consumer, before, limit + 1)
        .await?;
    let more = letters.len() > limit;
    letters.truncate(limit);
    let mut positions: Vec<_> = letters.iter().map(|(_, letter)| letter.position).collect();
    positions.dedup();
    let entries = search(pipeline)?.by_positions(positions).await?;
    let shown: Vec<_> = letters
        .iter()
        .filter_map(|(consumer, letter)| {
            let at = Some(letter.position);
            let entry = entries.iter().find(|entry| entry.position == at)?;
            Some(json!({
                "id": entry.id,
                "consumer": consumer,
                "session": entry.session,
                "event": entry.kind.as_str(),
                "attempts": letter.attempts,
                "reason": letter.reason,
                "at": letter.at.to_string(),
            }))
        })
        .collect();
    let next = letters.last().filter(|_| more).map(token);
    Ok(HttpResponse::Ok().json(json!({ "dead": shown, "next": next })))
}

/// What stands for a letter as the end of a page: `next`, to be given as `before`. Several consumers
/// may have given up on one event, so its id would not do.
fn token((consumer, letter): &(String, DeadLetter)) -> String {
    URL_SAFE_NO_PAD.encode(format!("{}:{consumer}", letter.position))
}

/// The letter after which a page begins: a token, or the id of an event, for all its letters.
async fn before(pipeline: &Pipeline, text: &str) -> Result<Option<(Position, String)>, Refused> {
    let token = URL_SAFE_NO_PAD.decode(text).ok();
    let token = token.and_then(|token| String::from_utf8(token).ok());
    let letter = token.as_deref().and_then(|token| token.split_once(':'));
    if let Some((place, consumer)) = letter
        && let Some(position) = position(place)
    {
        return Ok(Some((position, consumer.to_owned())));
    }
    let position = find(pipeline, text).await?.position;
    Ok(position.map(|position| (position, String::new())))
}

/// A position as [`token`] writes it: `7`, or `7.2` for the second event of a body.
fn position(text: &str) -> Option<Position> {
    match text.split_once('.') {
        None => Some(Position::first(text.parse().ok()?)),
        Some((seq, part)) => Some(Position::new(seq.parse().ok()?, part.parse().ok()?)),
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    consumer: Option<String>,
    id: Option<String>,
}

/// `POST /api/dead/replay`
pub(super) async fn replay(state: web::Data<AdminState>, bytes: web::Bytes) -> HttpResponse {
    answer(replay_inner(&state, &bytes).await)
}

async fn replay_inner(state: &AdminState, bytes: &[u8]) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    let request: Request = body(bytes)?;
    let letters = chosen(pipeline, request.consumer.as_deref(), request.id.as_deref()).await?;
    let matched = letters.len();
    let mut by_consumer: BTreeMap<String, Vec<Position>> = BTreeMap::new();
    for (consumer, letter) in letters {
        by_consumer
            .entry(consumer)
            .or_default()
            .push(letter.position);
    }
    let mut count = 0;
    for (name, mut events) in by_consumer {
        events.sort_unstable();
        // The dead letters of a consumer that is no more stay, until somebody deletes them.
        let Ok(running) = consumers(pipeline, Some(&name)) else {
            continue;
        };
        for consumer in running {
            let again = consumer.replay(events.clone(), Duration::ZERO).await;
            again.ok_or_else(|| Refused::not_found(format!("{name} has ended")))??;
            count += events.len();
        }
    }
    Ok(replayed(matched, count))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    consumer: Option<String>,
}

/// `DELETE /api/dead/{id}`
pub(super) async fn delete(
    state: web::Data<AdminState>,
    path: web::Path<String>,
    query: web::Query<Which>,
) -> HttpResponse {
    answer(delete_inner(&state, &path, query.consumer.as_deref()).await)
}

async fn delete_inner(
    state: &AdminState,
    id: &str,
    consumer: Option<&str>,
) -> Result<HttpResponse, Refused> {
    let pipeline = state.pipeline()?;
    let letters = chosen(pipeline, consumer, Some(id)).await?;
    if letters.is_empty() {
        return Err(Refused::not_found(format!(
            "no consumer has given up on {id}"
        )));
    }
    for (name, letter) in &letters {
        pipeline
            .journal()
            .forget_dead_letters(name, &[letter.position])
            .await?;
    }
    Ok(HttpResponse::Ok().json(json!({ "success": true, "deleted": letters.len() })))
}

async fn chosen(
    pipeline: &Pipeline,
    consumer: Option<&str>,
    id: Option<&str>,
) -> Result<Vec<(String, DeadLetter)>, Refused> {
    let Some(id) = id else {
        return Ok(pipeline
            .journal()
            .dead_letters(consumer, None, MAX_REPLAY)
            .await?);
    };
    let position = find(pipeline, id).await?.position;
    let mut letters = pipeline
        .journal()
        .dead_letters_of(position.as_slice())
        .await?;
    letters.retain(|(name, _)| consumer.is_none_or(|consumer| consumer == name));
    Ok(letters)
}

const MAX_REPLAY: usize = 1_000_000;
