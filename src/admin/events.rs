//! `/api/events`: what was received, newest first.

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};

use super::contains::Contains;
use super::error::{Answer, ApiError};
use super::request::{event_id, event_kind, page_size, time};
use super::role::Role;
use super::state::{AdminState, State};
use super::states::{EventState, States};
use crate::engine::Pipeline;
use crate::index::{EventEntry, EventFilter};
use crate::journal::Unavailable;
use crate::{EventId, Timestamp};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventQuery {
    pub(super) session: Option<String>,
    pub(super) event: Option<String>,
    pub(super) state: Option<EventState>,
    pub(super) source: Option<String>,
    pub(super) name: Option<String>,
    /// Bytes that the body must have.
    pub(super) contains: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    pub(super) before: Option<String>,
    pub(super) limit: Option<usize>,
}

/// A page of events.
#[derive(Debug, Serialize)]
pub(super) struct EventPage {
    pub(super) events: Vec<ShownEvent>,
    /// Where the next page begins, if there may be more.
    pub(super) next: Option<EventId>,
    /// When the last event was received that was looked at; `None` if all were.
    pub(super) searched_to: Option<Timestamp>,
}

/// `GET /api/events`
pub(super) async fn list(state: State, role: Role, query: web::Query<EventQuery>) -> Answer {
    let (page, _) = find(&state, role, query.into_inner()).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// The page that a query asks for, and the states of its events.
pub(super) async fn find(
    state: &AdminState,
    role: Role,
    query: EventQuery,
) -> Result<(EventPage, States), ApiError> {
    let limit = page_size(query.limit)?;
    let contains = match query.contains.as_deref() {
        None | Some("") => None,
        Some(text) => Some(Contains::new(state, role, text)?),
    };
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
        contains,
    };
    search(state, filter, wanted, limit).await
}

/// What the index does not search by.
struct Wanted<'a> {
    state: Option<EventState>,
    source: Option<String>,
    name: Option<String>,
    contains: Option<Contains<'a>>,
}

impl Wanted<'_> {
    /// Whether the body has what it must have. `None` when enough was read for one request.
    async fn has(
        &mut self,
        pipeline: &Pipeline,
        event: &EventEntry,
    ) -> Result<Option<bool>, Unavailable> {
        match &mut self.contains {
            None => Ok(Some(true)),
            Some(contains) => contains.is_in(pipeline, event).await,
        }
    }

    fn takes(&self, event: &EventEntry) -> bool {
        let source = self.source.as_ref();
        source.is_none_or(|source| *source == event.source)
            && (self.name.is_none() || self.name == event.name)
    }
}

/// At most `limit` events that pass the filter and are `wanted`, newest first.
async fn search(
    state: &AdminState,
    mut filter: EventFilter,
    mut wanted: Wanted<'_>,
    limit: usize,
) -> Result<(EventPage, States), ApiError> {
    let pipeline = state.pipeline()?;
    let mut states = States::now(pipeline).await;
    let (mut found, mut searched, mut searched_to) = (Vec::<ShownEvent>::new(), 0, None);
    while searched < MAX_SEARCHED {
        let events = state.search()?.newest(filter.clone(), BATCH).await?;
        let is_last_batch = events.len() < BATCH;
        searched += events.len();
        states.only(found.iter().map(|shown| &shown.event));
        states.learn(pipeline, &events).await?;
        let mut is_enough = false;
        for event in events {
            let state = states.of(&event);
            let may_be = wanted.takes(&event) && wanted.state.is_none_or(|wanted| state.is(wanted));
            let is_wanted = match may_be {
                true => wanted.has(pipeline, &event).await?,
                false => Some(false),
            };
            if is_wanted.is_none() {
                is_enough = true;
                break;
            }
            (filter.before, searched_to) = (Some(event.id), Some(event.at));
            if is_wanted == Some(true) {
                found.push(ShownEvent { event, state });
            }
            if found.len() == limit {
                break;
            }
        }
        if is_enough || found.len() == limit {
            break;
        }
        if is_last_batch {
            let page = EventPage {
                events: found,
                next: None,
                searched_to: None,
            };
            return Ok((page, states));
        }
    }
    let page = EventPage {
        events: found,
        next: filter.before,
        searched_to,
    };
    Ok((page, states))
}

/// An event as the list shows it.
#[derive(Debug, Serialize)]
pub(super) struct ShownEvent {
    #[serde(flatten)]
    pub(super) event: EventEntry,
    pub(super) state: EventState,
}

/// How many events are taken from the index in one step.
const BATCH: usize = 500;

/// A search for a rare state ends after so many events. The client searches on with `next`.
const MAX_SEARCHED: usize = 20_000;
