//! `/api/replay` and `/api/events/{id}/replay`: handing events over again, after a look at what that would do.

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::{Answer, ApiError};
use super::plans::{Plan, Sum};
use super::preview::Preview;
use super::request::{event_kind, json_body, time};
use super::state::{AdminState, State};
use crate::Timestamp;
use crate::dispatch::{self, ConsumerControls};
use crate::index::EventFilter;
use crate::journal::Position;

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReplayRequest {
    pub(super) consumer: Option<String>,
    pub(super) session: Option<String>,
    pub(super) event: Option<String>,
    /// These events, in place of all that match.
    pub(super) ids: Option<Vec<String>>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    #[serde(default)]
    pub(super) dry_run: bool,
    /// Events a second. By default there is no limit.
    pub(super) rate: Option<u32>,
    /// What a dry run has shown. Nothing else can be asked for beside it.
    pub(super) plan: Option<Plan>,
    /// How many events must match; otherwise nothing is replayed.
    pub(super) expected: Option<usize>,
}

/// `POST /api/replay`
pub(super) async fn many(state: State, body: web::Bytes) -> Answer {
    let mut request: ReplayRequest = json_body(&body)?;
    if request.dry_run {
        return Ok(HttpResponse::Ok().json(shown(&state, &request).await?));
    }
    let shown = request.plan.take();
    let plan = match &shown {
        Some(plan) => {
            if request != ReplayRequest::expecting(request.expected) {
                let text =
                    "a plan says what is replayed: expected nothing beside it but `expected`";
                return Err(ApiError::bad_request(text));
            }
            plan.clone()
        }
        None => request.plan()?,
    };
    let chosen = Chosen::find(&state, plan).await?;
    let found = chosen.events.len();
    if let Some(expected) = request.expected.filter(|expected| *expected != found) {
        let text = format!("{found} events match, and {expected} were expected");
        return Err(ApiError::plan_changed(text));
    }
    let Some(Plan { id, .. }) = shown else {
        return chosen.replay(&state).await;
    };
    state
        .plans
        .take(id, chosen.sum(), state.clock.monotonic())?;
    let answer = chosen.replay(&state).await;
    if answer.is_err() {
        state.plans.give_back(id);
    }
    answer
}

/// What a replay would do, and the plan to ask for it.
pub(super) async fn shown(state: &AdminState, request: &ReplayRequest) -> Result<Shown, ApiError> {
    let mut plan = request.plan()?;
    // What comes later was not seen.
    let now = state.clock.now();
    plan.to = Some(plan.to.map_or(now, |to| to.min(now)));
    let mut chosen = Chosen::find(state, plan).await?;
    let preview = Preview::of(state, &chosen.plan, &chosen.consumers, &chosen.events).await?;
    let (id, lifetime) = state.plans.show(chosen.sum(), state.clock.monotonic());
    chosen.plan.id = id;
    Ok(Shown {
        matched: chosen.events.len(),
        replayed: 0,
        plan: chosen.plan,
        expires_at: now.saturating_add(lifetime).unwrap_or(now),
        preview,
    })
}

/// The answer to a dry run.
#[derive(Debug, Serialize)]
pub(super) struct Shown {
    pub(super) matched: usize,
    replayed: usize,
    pub(super) plan: Plan,
    /// Until when the plan can be asked for.
    pub(super) expires_at: Timestamp,
    #[serde(flatten)]
    pub(super) preview: Preview,
}

impl ReplayRequest {
    fn expecting(expected: Option<usize>) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    fn plan(&self) -> Result<Plan, ApiError> {
        let is_filtered = [&self.session, &self.event, &self.from, &self.to];
        let is_filtered = is_filtered.into_iter().any(Option::is_some);
        if let Some(ids) = &self.ids
            && (is_filtered || ids.is_empty() || ids.len() > MOST_IDS)
        {
            let text = format!(
                "ids: expected 1 to {MOST_IDS} ids of events, without session, event, from and to"
            );
            return Err(ApiError::bad_request(text));
        }
        Ok(Plan {
            id: Uuid::nil(),
            consumer: self.consumer.clone(),
            session: self.session.clone().filter(|session| session != "*"),
            event: self.event.clone().filter(|event| event != "*"),
            ids: self.ids.clone(),
            from: time("from", self.from.as_deref())?,
            to: time("to", self.to.as_deref())?,
            rate: rate(self.rate)?,
        })
    }
}

/// The events of a plan, and the consumers that get them.
struct Chosen {
    plan: Plan,
    consumers: Vec<ConsumerControls>,
    events: Vec<Position>,
}

impl Chosen {
    async fn find(state: &AdminState, plan: Plan) -> Result<Self, ApiError> {
        rate(plan.rate)?;
        let consumers = state.consumers(plan.consumer.as_deref())?;
        let events = match &plan.ids {
            Some(ids) => positions(state, ids).await?,
            None => {
                let filter = EventFilter {
                    session: plan.session.clone(),
                    kind: event_kind(plan.event.clone())?,
                    from: plan.from,
                    to: plan.to,
                    ..EventFilter::default()
                };
                state.search()?.positions(filter, MAX_REPLAY + 1).await?
            }
        };
        if events.len() > MAX_REPLAY {
            let text = format!("more than {MAX_REPLAY} events match; ask for a shorter time");
            return Err(ApiError::bad_request(text));
        }
        Ok(Self {
            plan,
            consumers,
            events,
        })
    }

    fn sum(&self) -> Sum {
        let names = self.consumers.iter().map(ConsumerControls::name);
        Sum::of(&self.plan, names, &self.events)
    }

    async fn replay(&self, state: &AdminState) -> Answer {
        let plan = &self.plan;
        let asked = dispatch::ReplayRequest {
            session: plan.session.clone(),
            event: plan.event.clone(),
            from: plan.from,
            to: plan.to,
            rate: plan.rate,
        };
        replay(state, &self.consumers, &asked, &self.events).await
    }
}

/// Where these events are, oldest first.
async fn positions(state: &AdminState, ids: &[String]) -> Result<Vec<Position>, ApiError> {
    let mut positions = Vec::with_capacity(ids.len());
    for id in ids {
        positions.push(position(state, id).await?);
    }
    positions.sort_unstable();
    positions.dedup();
    Ok(positions)
}

/// Where an event is that can be replayed.
async fn position(state: &AdminState, id: &str) -> Result<Position, ApiError> {
    let event = state.event(id).await?;
    if event.is_deleted {
        return Err(ApiError::deleted(event.id));
    }
    event.in_journal().ok_or_else(|| {
        ApiError::bad_request(format!(
            "{} is a duplicate; replay the event it is the same as",
            event.id
        ))
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OneRequest {
    consumer: Option<String>,
    #[serde(default)]
    dry_run: bool,
    rate: Option<u32>,
}

/// `POST /api/events/{id}/replay`
pub(super) async fn one(state: State, id: web::Path<String>, body: web::Bytes) -> Answer {
    let request: OneRequest = json_body(&body)?;
    let consumers = state.consumers(request.consumer.as_deref())?;
    let position = position(&state, &id).await?;
    let asked = dispatch::ReplayRequest {
        rate: rate(request.rate)?,
        ..dispatch::ReplayRequest::default()
    };
    if request.dry_run {
        return Ok(taken(Uuid::nil(), 1, 0, &[]));
    }
    replay(&state, &consumers, &asked, &[position]).await
}

fn rate(rate: Option<u32>) -> Result<Option<u32>, ApiError> {
    if rate == Some(0) {
        let text = "rate: found 0, expected at least 1 event a second";
        return Err(ApiError::bad_request(text));
    }
    Ok(rate)
}

/// Replays to these consumers, if all of them can be asked now.
async fn replay(
    state: &AdminState,
    consumers: &[ConsumerControls],
    asked: &dispatch::ReplayRequest,
    events: &[Position],
) -> Answer {
    let id = Uuid::now_v7();
    for consumer in consumers {
        state.running(consumer.name())?;
    }
    for consumer in consumers {
        hand_over(state, consumer.name(), id, asked, events.to_vec()).await?;
    }
    let matched = events.len();
    if asked.rate.is_some() && matched > 1 {
        return Ok(goes_on(id, matched));
    }
    Ok(taken(id, matched, matched, &[]))
}

/// The answer to a replay that goes on after it.
fn goes_on(id: Uuid, matched: usize) -> HttpResponse {
    HttpResponse::Accepted().json(json!({ "replay": id, "matched": matched }))
}

/// The answer to a replay that `matched` events, of which `count` are handed over. A long one goes on after
/// the answer. `left_out` names the consumers whose events are not handed over.
pub(super) fn taken(id: Uuid, matched: usize, count: usize, left_out: &[Value]) -> HttpResponse {
    let (status, mut answer) = if count <= ANSWERED_AT_ONCE {
        let answer = json!({ "matched": matched, "replayed": count });
        (StatusCode::OK, answer)
    } else {
        let answer = json!({ "replay": id, "matched": matched });
        (StatusCode::ACCEPTED, answer)
    };
    if !left_out.is_empty() {
        answer["left_out"] = left_out.into();
    }
    HttpResponse::build(status).json(answer)
}

/// Has a consumer replay events. Returns when that is durable.
pub(super) async fn hand_over(
    state: &AdminState,
    name: &str,
    id: Uuid,
    asked: &dispatch::ReplayRequest,
    events: Vec<Position>,
) -> Result<(), ApiError> {
    let journal = state.pipeline()?.journal().as_ref();
    let consumer = state.running(name)?;
    let taken = consumer.replay(journal, id, asked, events).await;
    taken
        .ok_or_else(|| ApiError::has_ended(name))?
        .map_err(Into::into)
}

/// So many events can be named one by one.
pub(super) const MOST_IDS: usize = 100;

/// How many events one replay may have.
pub(super) const MAX_REPLAY: usize = 1_000_000;

/// A replay of more events is answered with its id.
const ANSWERED_AT_ONCE: usize = 1000;
