//! `GET /api/events`: what was received, newest first.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::ApiError;
use super::event_state::{EventState, dead_letters};
use super::lookup;
use super::request::{event_id, event_kind, page_size};
use super::state::AdminState;
use crate::EventId;
use crate::index::{EventEntry, EventFilter};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    session: Option<String>,
    event: Option<String>,
    state: Option<EventState>,
    before: Option<String>,
    limit: Option<usize>,
}

/// One event as the list shows it.
#[derive(Debug, Serialize)]
pub(super) struct ListedEvent<'a> {
    id: EventId,
    source: &'a str,
    session: Option<&'a str>,
    event: &'a str,
    name: Option<&'a str>,
    received_at: String,
    bytes: u64,
    state: EventState,
    #[serde(skip_serializing_if = "Option::is_none")]
    duplicate_of: Option<EventId>,
}

/// `GET /api/events`
pub(super) async fn list(
    state: web::Data<AdminState>,
    query: web::Query<EventQuery>,
) -> Result<HttpResponse, ApiError> {
    let query = query.into_inner();
    let limit = page_size(query.limit)?;
    let filter = EventFilter {
        session: query.session,
        kind: event_kind(query.event)?,
        before: query.before.as_deref().map(event_id).transpose()?,
        ..EventFilter::default()
    };
    let (found, next) = search(&state, filter, query.state, limit).await?;
    let events: Vec<_> = found
        .iter()
        .map(|(event, state)| ListedEvent::new(event, *state))
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "events": events, "next": next })))
}

/// At most `limit` events that pass the filter and are in the `wanted` state, newest first, and the
/// id before which to search on, where there may be more.
async fn search(
    state: &AdminState,
    mut filter: EventFilter,
    wanted: Option<EventState>,
    limit: usize,
) -> Result<(Vec<(EventEntry, EventState)>, Option<EventId>), ApiError> {
    let pipeline = state.pipeline()?;
    let consumers = lookup::statuses(pipeline).await;
    let mut found = Vec::new();
    let mut searched = 0;
    while searched < MAX_SEARCHED {
        let events = state.search()?.newest(filter.clone(), BATCH).await?;
        let is_last_batch = events.len() < BATCH;
        searched += events.len();
        let dead = dead_letters(pipeline, &events).await?;
        for event in events {
            filter.before = Some(event.id);
            let event_state = EventState::of(&event, &consumers, &dead);
            if wanted.is_none_or(|wanted| wanted == event_state) {
                found.push((event, event_state));
            }
            if found.len() == limit {
                return Ok((found, filter.before));
            }
        }
        if is_last_batch {
            return Ok((found, None));
        }
    }
    Ok((found, filter.before))
}

impl<'a> ListedEvent<'a> {
    pub(super) fn new(event: &'a EventEntry, state: EventState) -> Self {
        Self {
            id: event.id,
            source: &event.source,
            session: event.session.as_deref(),
            event: event.kind.as_str(),
            name: event.name.as_deref(),
            received_at: event.at.to_string(),
            bytes: event.bytes,
            state,
            duplicate_of: event.duplicate_of,
        }
    }
}

/// How many events are taken from the index in one step.
const BATCH: usize = 500;

/// A search for a rare state ends after so many events. The client searches on with `next`.
const MAX_SEARCHED: usize = 20_000;
