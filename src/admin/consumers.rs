//! `/api/consumers`: how far each consumer is; pausing and resuming one.

use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use serde_json::{Value, json};

use super::error::{Answer, ApiError};
use super::event::peer;
use super::request::run_to_end;
use super::role::Role;
use super::state::{AdminState, State};
use crate::dispatch::{ConsumerControls, HeldUp, events_of, find, outlined};
use crate::engine::{Backlog, Pipeline};
use crate::journal::{Part, Position, Record, Unavailable};
use crate::relay::RegisteredSubscription;
use crate::telemetry::RecentFailure;
use crate::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, Event, EventId, HandlerOptions, Timestamp};

/// `GET /api/consumers`
pub(super) async fn list(state: State) -> Answer {
    let mut answer = json!({ "consumers": all(&state).await? });
    if let Some(warning) = state.pipeline()?.cluster().and_then(|all| all.differ()) {
        answer["warning"] = warning.into();
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// All consumers, and the subscriptions that have none now.
pub(super) async fn all(state: &AdminState) -> Result<Vec<Value>, ApiError> {
    let pipeline = state.pipeline()?;
    let (mut shown, mut names) = (Vec::new(), BTreeSet::new());
    for consumer in pipeline.consumers() {
        // One that has ended meanwhile has no state.
        if let Some(state) = show(pipeline, &consumer).await? {
            shown.push(state);
            names.insert(consumer.name().to_owned());
        }
    }
    let registry = state.registry()?;
    let mut idle = registry.list(None);
    // One that is about to end may still run.
    idle.retain(|entry| {
        !entry.has_consumer() && !names.contains(&entry.subscription.key.consumer())
    });
    let backlogs = registry.backlogs(&idle).await?;
    let idle = idle.iter().zip(&backlogs);
    shown.extend(idle.map(|(entry, backlog)| show_idle(entry, backlog.as_ref())));
    Ok(shown)
}

/// `GET /api/consumers/{name}`: one of them, with its options, its newest failures, and the conversations and
/// sessions that it holds up.
pub(super) async fn show_one(state: State, role: Role, name: web::Path<String>) -> Answer {
    let shown = one(&state, role, &name).await?;
    Ok(HttpResponse::Ok().json(shown))
}

/// One consumer, with the conversations and sessions that it holds up.
pub(super) async fn one(state: &AdminState, role: Role, name: &str) -> Result<Value, ApiError> {
    let pipeline = state.pipeline()?;
    // As in the list, one that is about to end is shown as it runs.
    let missing = match state.consumer(name) {
        Ok(consumer) => match show(pipeline, &consumer).await? {
            Some(mut shown) => {
                let mut held_up = consumer.held_up(MOST_HELD_UP).await;
                if shown["state"] == "paused" || shown["state"] == "suspended" {
                    // Nothing is tried before it is resumed.
                    let (conversations, sessions) =
                        (&mut held_up.conversations, &mut held_up.sessions);
                    conversations.iter_mut().for_each(|(_, next)| *next = None);
                    sessions.iter_mut().for_each(|(_, next)| *next = None);
                }
                add_held_up(&mut shown, pipeline, role, held_up).await?;
                let failures = state.metrics.stats().failures(name);
                shown["failures"] = failures.iter().map(failure).collect();
                return Ok(shown);
            }
            None => ApiError::has_ended(name),
        },
        Err(error) => error,
    };
    let entry = state.idle(name).ok_or(missing)?;
    let backlogs = state.registry()?.backlogs(slice::from_ref(&entry)).await?;
    let backlog = backlogs.first().and_then(Option::as_ref);
    Ok(show_idle(&entry, backlog))
}

/// Adds the options, and the conversations and sessions that are held up.
async fn add_held_up(
    shown: &mut Value,
    pipeline: &Pipeline,
    role: Role,
    held_up: HeldUp,
) -> Result<(), Unavailable> {
    let (mut conversations, mut sessions) = (Vec::new(), Vec::new());
    for (one, next_try) in held_up.conversations {
        let found = find(pipeline.journal().as_ref(), one.position.seq()).await?;
        // Otherwise retention has removed it in the meantime.
        let Some(record) = found else { continue };
        let mut shown = held_up_event(&record, one.position, one.attempts, next_try);
        // It is text of the body.
        if role.sees_bodies() {
            shown["conversation"] = conversation(pipeline, &record, one.position.part()).into();
        }
        shown["behind"] = one.behind.into();
        shown["more_in_journal"] = one.more.into();
        conversations.push(shown);
    }
    for (one, next_try) in held_up.sessions {
        let found = find(pipeline.journal().as_ref(), one.position.seq()).await?;
        let Some(record) = found else { continue };
        let mut shown = held_up_event(&record, one.position, one.attempts, next_try);
        shown["in_flight"] = one.running.into();
        shown["retrying"] = one.retrying.into();
        shown["waiting"] = one.waiting.into();
        shown["more_in_journal"] = one.more.into();
        sessions.push(shown);
    }
    shown["options"] = held_up.options.as_ref().map(options).into();
    shown["held_up"] = conversations.into();
    shown["sessions"] = sessions.into();
    Ok(())
}

fn failure(failure: &RecentFailure) -> Value {
    json!({
        "at": failure.at,
        "event": failure.event.to_string(),
        "attempt": failure.attempt,
        "outcome": failure.outcome,
        "next_at": failure.next_at,
    })
}

/// The options of a consumer, with the defaults of those that are not set. `null`: all, or never.
fn options(options: &HandlerOptions) -> Value {
    let seconds = |time: Duration| time.as_secs_f64();
    let retry = options.retry.unwrap_or_default();
    json!({
        "events": options.events,
        "sessions": options.sessions,
        "order": options.order.unwrap_or_default(),
        "timeout_s": seconds(options.timeout.unwrap_or(DEFAULT_TIMEOUT)),
        "concurrency": options.concurrency.unwrap_or(DEFAULT_CONCURRENCY).max(1),
        "retry": {
            "first_s": seconds(retry.first),
            "factor": retry.factor,
            "max_s": seconds(retry.max),
            "attempts": retry.attempts,
            "jitter": retry.jitter,
        },
        "status": if options.monotonic == Some(true) { "monotonic" } else { "all" },
        "suspend_after_s": options.suspend_after.map(seconds),
    })
}

/// What is known of an event that holds up others.
fn held_up_event(
    record: &Record,
    position: Position,
    attempts: u32,
    next_try: Option<Timestamp>,
) -> Value {
    let (part, received) = (position.part(), &record.received);
    json!({
        "event": EventId::new(received.id, part).to_string(),
        "session": record.parts.view(part, received).session,
        "attempt": attempts,
        "next_at": next_try,
    })
}

/// Whose messages, or which message's statuses, an event is about.
fn conversation(pipeline: &Pipeline, record: &Arc<Record>, part: Part) -> Option<String> {
    let record = outlined(Arc::clone(record), pipeline.decoder());
    match events_of(&record, part).first()? {
        Event::Status(status) => status.message_id.clone(),
        other => peer(other).map(str::to_owned),
    }
}

/// `POST /api/consumers/{name}/pause`
pub(super) async fn pause(state: State, name: web::Path<String>) -> Answer {
    set_paused(&state, &name, true).await
}

/// `POST /api/consumers/{name}/resume`
pub(super) async fn resume(state: State, name: web::Path<String>) -> Answer {
    // A subscription that is not active has no consumer to resume yet.
    let (registry, subscription) = (Arc::clone(state.registry()?), name.clone());
    run_to_end(async move { registry.resume(&subscription).await }).await??;
    set_paused(&state, &name, false).await
}

async fn set_paused(state: &AdminState, name: &str, paused: bool) -> Answer {
    let has_ended = || ApiError::has_ended(name);
    let consumer = state.running(name)?;
    consumer.pause(paused).await.ok_or_else(has_ended)??;
    let shown = show(state.pipeline()?, &consumer).await?;
    Ok(HttpResponse::Ok().json(shown.ok_or_else(has_ended)?))
}

/// A subscription without a consumer, as the API shows consumers: it has a backlog, where that is known.
fn show_idle(entry: &RegisteredSubscription, backlog: Option<&Backlog>) -> Value {
    let subscription = &entry.subscription;
    let mut shown = json!({
        "name": subscription.key.consumer(),
        "kind": "subscription",
        "state": "inactive",
        "lag": backlog.map(|backlog| backlog.lag),
        "oldest_waiting": backlog.and_then(|backlog| backlog.oldest_waiting),
        "in_flight": 0,
        "panics": 0,
    });
    if let Some(ended) = &subscription.ended {
        shown["state"] = "ended".into();
        shown["ended"] = json!({ "at": ended.at, "reason": ended.reason });
    }
    if let Some(rejected) = entry.rejected().filter(|_| subscription.active) {
        shown["state"] = "suspended".into();
        shown["suspended"] = json!({ "since": null, "reason": rejected.to_string() });
    }
    shown
}

/// A consumer as the API shows it; `None` when it has ended.
async fn show(
    pipeline: &Pipeline,
    consumer: &ConsumerControls,
) -> Result<Option<Value>, Unavailable> {
    let name = consumer.name();
    let (kind, _) = name.split_once(':').unwrap_or(("handler", ""));
    if !consumer.is_up() {
        // It cannot be asked: it has panicked, and starts again after a pause.
        return Ok(Some(json!({
            "name": name,
            "kind": kind,
            "state": "restarting",
            "lag": null,
            "in_flight": 0,
            "panics": consumer.panics(),
        })));
    }
    let Some(status) = consumer.status().await else {
        return Ok(None);
    };
    let suspended = status
        .suspended
        .as_ref()
        .map(|suspended| json!({ "since": suspended.since, "reason": suspended.reason }));
    let state = if status.paused {
        "paused"
    } else if status.suspended.is_some() {
        "suspended"
    } else if status.failing_since.is_some() {
        "failing"
    } else {
        "running"
    };
    let oldest = pipeline.oldest_waiting(status.floor).await?;
    Ok(Some(json!({
        "name": name,
        "kind": kind,
        "state": state,
        "lag": status.lag(),
        "oldest_waiting": oldest,
        "failing_since": status.failing_since,
        "failing_reason": status.failing_reason,
        "suspended": suspended,
        "in_flight": status.in_flight,
        "in_memory": status.in_memory,
        "overflowed": status.overflowed,
        "retrying": status.retrying,
        "panics": consumer.panics(),
    })))
}

/// How many held-up conversations and sessions are shown.
const MOST_HELD_UP: usize = 20;
