//! `/api/replay` and `/api/events/{id}/replay`: handing events over again, after a look at what that would do.

use std::collections::HashMap;
use std::sync::Arc;

use actix_web::{HttpResponse, web};
use serde::{Deserialize, Serialize};
use serde_json::json;
use uuid::Uuid;

use super::error::{Answer, ApiError};
use super::hand_over::{goes_on, hand_over, taken};
use super::plans::{Plan, Sum};
use super::preview::Preview;
use super::request::{event_kind, json_body, time};
use super::state::{AdminState, State};
use crate::Timestamp;
use crate::dispatch::{self, ConsumerControls};
use crate::index::EventFilter;
use crate::journal::{Position, Seq};

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
    /// Everything that is kept, where nothing else says which events.
    #[serde(default)]
    pub(super) all: bool,
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
    let Some(plan) = request.plan.take() else {
        if request.dry_run {
            return Ok(HttpResponse::Ok().json(shown(&state, &request).await?));
        }
        request.check_chosen()?;
        let chosen = Chosen::find(&state, request.plan(head(&state)?)?).await?;
        chosen.check_number(request.expected)?;
        chosen.check_running(&state)?;
        return chosen.replay(&state).await;
    };
    if request != ReplayRequest::expecting(request.expected) {
        let text = "a plan says what is replayed: expected nothing beside it but `expected`";
        return Err(ApiError::bad_request(text));
    }
    let id = plan.id;
    state.plans.check(id, state.clock.monotonic())?;
    let chosen = Chosen::find(&state, plan).await?;
    chosen.check_number(request.expected)?;
    chosen.check_running(&state)?;
    let (sum, now) = (chosen.sum(&state)?, state.clock.monotonic());
    state.plans.take(id, sum, now)?;
    chosen.replay(&state).await
}

/// The newest body of the journal.
fn head(state: &AdminState) -> Result<Seq, ApiError> {
    Ok(state.pipeline()?.journal().tail().head())
}

/// What a replay would do, and the plan to ask for it.
pub(super) async fn shown(state: &AdminState, request: &ReplayRequest) -> Result<Shown, ApiError> {
    // One at a time: it may be of a million events.
    let _turn = state.previews.acquire().await;
    let up_to = head(state)?;
    let mut plan = request.plan(up_to)?;
    let now = state.clock.now();
    plan.to = Some(plan.to.map_or(now, |to| to.min(now)));
    let mut chosen = Chosen::find(state, plan).await?;
    chosen.check_number(request.expected)?;
    if !state.search()?.is_complete(up_to).await {
        let text = "the index does not have all events yet; ask again in a moment";
        return Err(ApiError::unavailable(text));
    }
    chosen.check_running(state)?;
    // What changes from here on is found when the plan is used.
    let sum = chosen.sum(state)?;
    let preview = Preview::of(state, &chosen.plan, &chosen.consumers, &chosen.events).await?;
    let (id, lifetime) = state.plans.show(sum, state.clock.monotonic());
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

    /// Everything to everyone is not done by a mistake.
    fn check_chosen(&self) -> Result<(), ApiError> {
        let chosen = [
            &self.consumer,
            &self.session,
            &self.event,
            &self.from,
            &self.to,
        ];
        let is_chosen = chosen.into_iter().any(Option::is_some) || self.ids.is_some();
        if is_chosen || self.all || self.expected.is_some() {
            return Ok(());
        }
        Err(ApiError::bad_request(
            "which events? Give consumer, session, event, ids, from or to, or \"all\": true for everything that is \
             kept; a dry run (dry_run) only says how many there are",
        ))
    }

    fn plan(&self, up_to: Seq) -> Result<Plan, ApiError> {
        let is_filtered = [&self.session, &self.event, &self.from, &self.to];
        let is_filtered = is_filtered.into_iter().any(Option::is_some);
        if self.ids.is_some() && is_filtered {
            return Err(wrong_ids());
        }
        Ok(Plan {
            id: Uuid::nil(),
            consumer: self.consumer.clone(),
            session: self.session.clone().filter(|session| session != "*"),
            event: self.event.clone().filter(|event| event != "*"),
            ids: self.ids.clone(),
            from: time("from", self.from.as_deref())?,
            to: time("to", self.to.as_deref())?,
            up_to,
            rate: rate(self.rate)?,
        })
    }
}

/// The events of a plan, and the consumers that get them.
struct Chosen {
    plan: Plan,
    consumers: Vec<ConsumerControls>,
    /// Oldest first.
    events: Arc<[Position]>,
}

impl Chosen {
    async fn find(state: &AdminState, plan: Plan) -> Result<Self, ApiError> {
        rate(plan.rate)?;
        let consumers = state.consumers(plan.consumer.as_deref())?;
        let events = match &plan.ids {
            Some(ids) if ids.is_empty() || ids.len() > MOST_IDS => return Err(wrong_ids()),
            Some(ids) => positions(state, ids).await?,
            None => {
                let filter = EventFilter {
                    session: plan.session.clone(),
                    kind: event_kind(plan.event.clone())?,
                    from: plan.from,
                    to: plan.to,
                    ..EventFilter::default()
                };
                let mut found = state.search()?.positions(filter, MAX_REPLAY + 1).await?;
                found.retain(|event| event.seq() <= plan.up_to);
                found
            }
        };
        if events.len() > MAX_REPLAY {
            let text = format!("more than {MAX_REPLAY} events match; ask for a shorter time");
            return Err(ApiError::bad_request(text));
        }
        Ok(Self {
            plan,
            consumers,
            events: events.into(),
        })
    }

    /// Over what it does, and where each consumer's events go.
    fn sum(&self, state: &AdminState) -> Result<Sum, ApiError> {
        let entries = state.registry()?.list(None);
        let entries = entries.into_iter().map(|entry| entry.subscription);
        let subscriptions: HashMap<_, _> = entries.map(|one| (one.key.consumer(), one)).collect();
        let consumers = self.consumers.iter().map(|consumer| {
            let name = consumer.name();
            let subscription = subscriptions.get(name);
            let goes = subscription.map(|one| (one.url.as_str(), &one.events, one.active));
            json!([name, goes]).to_string()
        });
        Ok(Sum::of(&self.plan, consumers, &self.events))
    }

    fn check_number(&self, expected: Option<usize>) -> Result<(), ApiError> {
        let found = self.events.len();
        match expected.filter(|expected| *expected != found) {
            Some(expected) => Err(ApiError::plan_changed(format!(
                "{found} events match, and {expected} were expected"
            ))),
            None => Ok(()),
        }
    }

    /// Fails if one of the consumers cannot be asked now.
    fn check_running(&self, state: &AdminState) -> Result<(), ApiError> {
        let mut names = self.consumers.iter().map(ConsumerControls::name);
        names.try_for_each(|name| state.running(name).map(drop))
    }

    async fn replay(self, state: &State) -> Answer {
        let Self {
            plan,
            consumers,
            events,
        } = self;
        let (id, matched, rate) = (Uuid::now_v7(), events.len(), plan.rate);
        let asked = dispatch::ReplayRequest {
            session: plan.session,
            event: plan.event,
            from: plan.from,
            to: plan.to,
            ids: plan.ids.map(|_| matched as u64),
            rate,
        };
        let shares = consumers.iter();
        let shares = shares.map(|consumer| (consumer.name().to_owned(), Arc::clone(&events)));
        hand_over(state, id, asked, shares.collect()).await?;
        if rate.is_some() && matched > 1 {
            return Ok(goes_on(id, matched));
        }
        Ok(taken(id, matched, matched, &[]))
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
    let request = ReplayRequest {
        consumer: request.consumer,
        ids: Some(vec![id.into_inner()]),
        dry_run: request.dry_run,
        rate: request.rate,
        ..ReplayRequest::default()
    };
    if request.dry_run {
        return Ok(HttpResponse::Ok().json(shown(&state, &request).await?));
    }
    let chosen = Chosen::find(&state, request.plan(head(&state)?)?).await?;
    chosen.check_running(&state)?;
    chosen.replay(&state).await
}

fn wrong_ids() -> ApiError {
    ApiError::bad_request(format!(
        "ids: expected 1 to {MOST_IDS} ids of events, without session, event, from and to"
    ))
}

fn rate(rate: Option<u32>) -> Result<Option<u32>, ApiError> {
    if rate == Some(0) {
        let text = "rate: found 0, expected at least 1 event a second";
        return Err(ApiError::bad_request(text));
    }
    Ok(rate)
}

/// So many events can be named one by one.
pub(super) const MOST_IDS: usize = 100;

/// How many events one replay may have.
pub(super) const MAX_REPLAY: usize = 1_000_000;
