//! `/api/events`: what was received, newest first.

use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use super::contains::Contains;
use super::error::{Answer, ApiError};
use super::request::{event_id, event_kind, page_size, time};
use super::role::Role;
use super::state::{AdminState, State};
use crate::dispatch::{ConsumerControls, EventStates};
use crate::engine::Pipeline;
use crate::index::{EventEntry, EventFilter};
use crate::journal::{DeadLetter, Position, Unavailable};
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
    let page = find(&state, role, query.into_inner()).await?;
    Ok(HttpResponse::Ok().json(page))
}

/// The page that a query asks for.
pub(super) async fn find(
    state: &AdminState,
    role: Role,
    query: EventQuery,
) -> Result<EventPage, ApiError> {
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
) -> Result<EventPage, ApiError> {
    let pipeline = state.pipeline()?;
    let consumers = states(pipeline).await;
    let (mut found, mut searched, mut searched_to) = (Vec::new(), 0, None);
    while searched < MAX_SEARCHED {
        let events = state.search()?.newest(filter.clone(), BATCH).await?;
        let is_last_batch = events.len() < BATCH;
        searched += events.len();
        let dead = dead_letters(pipeline, &events).await?;
        let mut is_enough = false;
        for event in events {
            let state = EventState::of(&event, &consumers, &dead);
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
            return Ok(EventPage {
                events: found,
                next: None,
                searched_to: None,
            });
        }
    }
    Ok(EventPage {
        events: found,
        next: filter.before,
        searched_to,
    })
}

/// An event as the list shows it.
#[derive(Debug, Serialize)]
pub(super) struct ShownEvent {
    #[serde(flatten)]
    pub(super) event: EventEntry,
    pub(super) state: EventState,
}

/// What became of an event, over all consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventState {
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
    /// The states that can be searched for.
    #[cfg(feature = "dashboard")]
    pub(super) const NAMES: [&str; 5] = ["pending", "done", "retrying", "dead", "duplicate"];

    /// The name by which it is searched for.
    #[cfg(feature = "dashboard")]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Retrying => "retrying",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Duplicate => "duplicate",
        }
    }

    /// The state of an event, from how all consumers are doing and the dead letters of the event.
    pub(super) fn of(
        event: &EventEntry,
        consumers: &[EventStates],
        dead: &[(String, DeadLetter)],
    ) -> Self {
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
pub(super) async fn states(pipeline: &Pipeline) -> Vec<EventStates> {
    let consumers = pipeline.consumers();
    let states = join_all(consumers.iter().map(ConsumerControls::events)).await;
    states.into_iter().flatten().collect()
}

/// The dead letters of these events, each with its consumer's name.
pub(super) async fn dead_letters(
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
