//! `/api/test` and `/api/subscriptions/{session}/{name}/test`: a test event through the checks of a source, and a test
//! POST to one subscriber.
//!
//! Both are marked with the header `offhook-test: true`, which no sender can send.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpResponse, web};
use bytes::Bytes;
use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::{Answer, ApiError};
use super::request::{event_kind, json_body, run_to_end};
use super::role::Role;
use super::state::{AdminState, State};
use crate::dispatch::ConsumerControls;
use crate::ingress::NotTested;
use crate::relay::{SubscriptionKey, TestBusy, TestPost};
use crate::signature::Refusal;
use crate::{Event, EventKind, Timestamp};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TestRequest {
    pub(super) source: Option<String>,
    pub(super) session: Option<String>,
    pub(super) event: Option<String>,
    /// In place of the body that is made for the kind of event.
    body: Option<Value>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/test`: a source's own test event.
pub(super) async fn source(state: State, body: web::Bytes) -> Answer {
    let request: TestRequest = json_body(&body)?;
    let names = state.ingress.names();
    let source = match request.source {
        Some(source) => source,
        None => names.first().cloned().ok_or_else(|| {
            ApiError::not_found("there is no source; add one to [[sources]] of the settings")
        })?,
    };
    state.check_source(&source)?;
    if request.session.as_deref() == Some("") {
        let text = "session is empty; leave it out for offhook-test";
        return Err(ApiError::bad_request(text));
    }
    let session = request.session.unwrap_or_else(|| SESSION.to_owned());
    let kind = kind(request.event)?;
    let body = match request.body {
        Some(body) => body.to_string(),
        None => event_body(kind, &session, state.clock.now()),
    };
    let tested = state.ingress.test_event(&source, &session, body.into());
    let test = tested.map_err(|why| not_tested(&source, why))?;
    let of_first = test.events.first().and_then(Event::session_id);
    let mut answer = json!({
        "source": source,
        "session": of_first.unwrap_or(&session),
        "reaches": reaches(&state, &test.events).await,
    });
    if request.dry_run {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let ingress = Arc::clone(&state.ingress);
    let received = run_to_end(async move { ingress.receive_test(test).await });
    let received = received
        .await?
        .map_err(|why| ApiError::unavailable(why.to_string()))?;
    answer["event"] = received.event.to_string().into();
    answer["duplicate"] = received.is_duplicate.into();
    Ok(HttpResponse::Ok().json(answer))
}

fn not_tested(source: &str, why: NotTested) -> ApiError {
    let refused = |code, text: String| ApiError::new(StatusCode::CONFLICT, code, text);
    match why {
        NotTested::Refused(Refusal::Missing) => refused(
            "refused",
            format!(
                "{source} refuses its own test: its scheme signs a header whose value only its sender knows, so it \
                 cannot be tested so"
            ),
        ),
        NotTested::Refused(why) => {
            refused("refused", format!("{source} refuses its own test: {why}"))
        }
        NotTested::NoSecret => refused("no_secret", format!("{source} has no secret to sign with")),
        NotTested::TooLong(most) => {
            ApiError::bad_request(format!("the body is longer than max_body, {most} bytes"))
        }
        NotTested::NoSource(names) => ApiError::no_source(source, &names),
    }
}

fn kind(text: Option<String>) -> Result<EventKind, ApiError> {
    let kind = event_kind(text)?.unwrap_or(EventKind::Message);
    if !TESTABLE.contains(&kind) {
        let kinds = TESTABLE.map(EventKind::as_str).join(", ");
        let text = format!("event: {kind} cannot be tested so; what can be: {kinds}");
        return Err(ApiError::bad_request(text));
    }
    Ok(kind)
}

/// The consumers that want one of these events.
async fn reaches(state: &AdminState, events: &[Event]) -> Vec<String> {
    let consumers = state.pipeline().map(|pipeline| pipeline.consumers());
    let consumers = consumers.unwrap_or_default();
    let asked = consumers.iter().map(async |consumer: &ConsumerControls| {
        let options = consumer.held_up(0).await.options?;
        let wants = |event: &Event| {
            options.wants_kind(event.kind()) && options.wants_session(event.session_id())
        };
        let wants = events.iter().any(wants);
        wants.then(|| consumer.name().to_owned())
    });
    let wanting = join_all(asked).await.into_iter().flatten();
    wanting.take(MOST_NAMED).collect()
}

/// A body in the shape that the gateway documents, with an id of its own. It says that it is a test.
fn event_body(kind: EventKind, session: &str, now: Timestamp) -> String {
    let id = format!("offhook-test-{}", Uuid::now_v7());
    let body = match kind {
        EventKind::Status => json!({ "messageId": id, "status": "delivered" }),
        EventKind::Connection => json!({ "status": "connected" }),
        _ => json!({
            "messageId": id, "from": SESSION, "type": "text", "message": "This is a test by offhook.",
        }),
    };
    let name = if kind == EventKind::Unknown {
        SESSION
    } else {
        kind.as_str()
    };
    let mut whole = json!({ "event": name, "sessionId": session, "timestamp": now });
    if let (Value::Object(whole), Value::Object(body)) = (&mut whole, body) {
        whole.extend(body);
    }
    whole.to_string()
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PostRequest {}

/// `POST /api/subscriptions/{session}/{name}/test`: one signed POST, which is not stored and not tried again.
pub(super) async fn subscriber(
    state: State,
    role: Role,
    path: web::Path<(String, String)>,
    body: web::Bytes,
) -> Answer {
    let PostRequest {} = json_body(&body)?;
    let (session, name) = path.into_inner();
    let unknown = || ApiError::not_found(format!("there is no subscription {session}/{name}"));
    let key = SubscriptionKey::new(&session, &name).map_err(|_| unknown())?;
    let registry = Arc::clone(state.registry()?);
    let entry = registry.list(Some(&session)).into_iter();
    let mut entry = entry.filter(|entry| entry.subscription.key == key);
    let entry = entry.next().ok_or_else(unknown)?;
    let kinds = entry.subscription.events.as_ref();
    let kind = kinds.and_then(|kinds| TESTABLE.into_iter().find(|kind| kinds.contains(kind)));
    let own = if session == "*" { SESSION } else { &session };
    let body: Bytes = event_body(kind.unwrap_or(EventKind::Message), own, state.clock.now()).into();
    let own = own.to_owned();
    let posted = run_to_end(async move { registry.test(&entry, &own, body).await });
    let posted = posted.await?.map_err(|busy| {
        ApiError::busy(match busy {
            TestBusy::Same => "a test of this subscription runs; ask again when it has ended",
            TestBusy::Others => "8 tests of other subscriptions run; ask again in a moment",
        })
    })?;
    Ok(HttpResponse::Ok().json(Shown::of(posted, role)))
}

/// What a test POST has shown.
#[derive(Debug, Serialize)]
struct Shown {
    delivered: bool,
    /// What an attempt would have said.
    verdict: String,
    /// What that would be for an event.
    meaning: &'static str,
    status: Option<u16>,
    took_ms: u64,
    /// The addresses that were judged, and how long that took.
    resolved: Vec<String>,
    resolve_ms: u64,
    first_byte_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_excerpt: Option<String>,
}

impl Shown {
    fn of(posted: TestPost, role: Role) -> Self {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self {
            delivered: posted.verdict.is_ok(),
            meaning: match (posted.verdict.is_ok(), posted.status) {
                (true, _) => "an event would be delivered",
                (_, Some(410)) => "an event would be a dead letter, and the subscription would end",
                _ if posted.is_final => "an event would be a dead letter",
                _ => "an event would be tried again",
            },
            verdict: posted
                .verdict
                .err()
                .unwrap_or_else(|| "delivered".to_owned()),
            status: posted.status,
            took_ms: ms(posted.took),
            resolved: posted.resolved.iter().map(ToString::to_string).collect(),
            resolve_ms: ms(posted.resolving),
            first_byte_ms: posted.first_byte.map(ms),
            body_excerpt: posted.said.filter(|_| role.sees_bodies()),
        }
    }
}

/// The kinds that the documented gateway has.
const TESTABLE: [EventKind; 4] = [
    EventKind::Message,
    EventKind::Status,
    EventKind::Connection,
    EventKind::Unknown,
];

/// The session of test events, and what else names them.
const SESSION: &str = "offhook-test";

/// So many consumers are named.
const MOST_NAMED: usize = 100;
