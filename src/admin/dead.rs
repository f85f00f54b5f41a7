//! `/api/dead`: the events that consumers have given up on.

use std::collections::BTreeMap;
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::{Answer, ApiError};
use super::hand_over::{hand_over, taken};
use super::replay::MAX_REPLAY;
use super::request::{complete_id, json_body, page_size, run_to_end, time};
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

/// Which dead letters something is done with.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    pub(super) consumer: Option<String>,
    id: Option<String>,
    /// Of these events.
    ids: Option<Vec<String>>,
    session: Option<String>,
    /// Those that were given up before this time.
    before: Option<String>,
    #[serde(default)]
    dry_run: bool,
    /// How many there must be; otherwise nothing is done.
    expected: Option<usize>,
}

/// `POST /api/dead/replay`
pub(super) async fn replay(state: State, body: web::Bytes) -> Answer {
    let which: Which = json_body(&body)?;
    let (matched, by_consumer) = select(&state, &which).await?;
    let left_out = left_out(&state, &by_consumer);
    if which.dry_run {
        return Ok(counts("replayed", matched, &by_consumer, &left_out));
    }
    let (mut count, mut shares) = (0, Vec::new());
    for (name, events) in by_consumer {
        if !left_out.iter().any(|left| left["consumer"] == *name) {
            count += events.len();
            shares.push((name, events.into()));
        }
    }
    let (id, asked) = (
        Uuid::now_v7(),
        ReplayRequest {
            session: which.session,
            ids: Some(count as u64),
            ..ReplayRequest::default()
        },
    );
    hand_over(&state, id, asked, shares).await?;
    Ok(taken(id, matched, count, &left_out))
}

/// The consumers that cannot get their events: the dead letters of one that no longer exists, or does not run, stay.
pub(super) fn left_out(state: &AdminState, by_consumer: &ByConsumer) -> Vec<Value> {
    let stay = by_consumer.iter().filter_map(|(name, events)| {
        let reason = state.consumer(name).err()?.to_string();
        Some(json!({ "consumer": name, "events": events.len(), "reason": reason }))
    });
    stay.collect()
}

/// `DELETE /api/dead`: forgets many. The events stay.
pub(super) async fn delete_many(state: State, body: web::Bytes) -> Answer {
    let which: Which = json_body(&body)?;
    let (matched, by_consumer) = select(&state, &which).await?;
    if which.dry_run {
        return Ok(counts("deleted", matched, &by_consumer, &[]));
    }
    if which.expected.is_none() {
        let text =
            "expected is missing: how many dead letters are deleted; a dry run (dry_run) says it";
        return Err(ApiError::bad_request(text));
    }
    let pipeline = Arc::clone(state.shared_pipeline()?);
    let forget = async move {
        let mut deleted = 0;
        for (name, events) in by_consumer {
            for some in events.chunks(BATCH) {
                deleted += pipeline.journal().forget_dead_letters(&name, some).await?;
            }
        }
        Ok::<_, ApiError>(deleted)
    };
    let deleted = run_to_end(forget).await??;
    Ok(HttpResponse::Ok().json(json!({ "matched": matched, "deleted": deleted })))
}

/// The answer to a dry run.
fn counts(
    what: &str,
    matched: usize,
    by_consumer: &ByConsumer,
    left_out: &[Value],
) -> HttpResponse {
    let by_consumer = by_consumer.iter();
    let by_consumer =
        by_consumer.map(|(name, events)| json!({ "name": name, "events": events.len() }));
    let by_consumer: Vec<_> = by_consumer.collect();
    let mut answer = json!({ "matched": matched, what: 0, "by_consumer": by_consumer });
    if !left_out.is_empty() {
        answer["left_out"] = left_out.into();
    }
    HttpResponse::Ok().json(answer)
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

/// Each consumer with the events that it has given up on, oldest first.
pub(super) type ByConsumer = BTreeMap<String, Vec<Position>>;

/// The dead letters that are meant, and how many.
///
/// # Errors
///
/// Also when there are more than [`MAX_REPLAY`], or not as many as expected.
pub(super) async fn select(
    state: &AdminState,
    which: &Which,
) -> Result<(usize, ByConsumer), ApiError> {
    let journal = state.pipeline()?.journal();
    let consumer = which.consumer.as_deref();
    let ids = which.ids.iter().flatten().chain(&which.id);
    let before = time("before", which.before.as_deref())?;
    let (mut by_consumer, mut count) = (ByConsumer::new(), 0);
    let mut add = |letters: Vec<(String, DeadLetter)>| {
        let meant = letters.into_iter();
        for (name, letter) in meant.filter(|(_, one)| before.is_none_or(|before| one.at < before)) {
            count += 1;
            let positions = by_consumer.entry(name).or_default();
            positions.push(letter.position);
        }
        if count > MAX_REPLAY {
            let text = format!(
                "more than {MAX_REPLAY} dead letters match; give a consumer or an earlier `before`"
            );
            return Err(ApiError::bad_request(text));
        }
        Ok(())
    };
    if which.ids.is_none() && which.id.is_none() {
        let mut last: Option<(Position, String)> = None;
        loop {
            let after = last.as_ref().map(|(position, name)| (*position, &**name));
            let letters = journal.dead_letters(consumer, after, BATCH).await?;
            let Some((name, letter)) = letters.last() else {
                break;
            };
            last = Some((letter.position, name.clone()));
            add(letters)?;
        }
    } else if ids.clone().count() > MOST_IDS {
        let text = format!("ids: expected at most {MOST_IDS} ids of events");
        return Err(ApiError::bad_request(text));
    }
    for id in ids {
        let event = state.event(id).await?;
        add(of_event(state, consumer, &event).await?)?;
    }
    check_consumer(state, consumer, by_consumer.is_empty())?;
    for events in by_consumer.values_mut() {
        events.sort_unstable();
        events.dedup();
        if let Some(session) = &which.session {
            *events = of_session(state, session, events).await?;
        }
    }
    by_consumer.retain(|_, events| !events.is_empty());
    let matched = by_consumer.values().map(Vec::len).sum();
    if let Some(expected) = which.expected.filter(|expected| *expected != matched) {
        let text = format!("there are {matched} dead letters, and {expected} were expected");
        return Err(ApiError::plan_changed(text));
    }
    Ok((matched, by_consumer))
}

/// Those of the events that are of a session.
async fn of_session(
    state: &AdminState,
    session: &str,
    events: &[Position],
) -> Result<Vec<Position>, ApiError> {
    let mut found = Vec::new();
    for some in events.chunks(BATCH) {
        let entries = state.search()?.by_positions(some.to_vec()).await?;
        let own = entries
            .iter()
            .filter(|entry| entry.session.as_deref() == Some(session));
        found.extend(own.filter_map(EventEntry::in_journal));
    }
    Ok(found)
}

/// So many events can be named one by one.
const MOST_IDS: usize = 200;

/// How many letters are looked up or deleted together.
const BATCH: usize = 1000;

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
