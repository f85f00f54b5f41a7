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
use crate::ingress::Tried;
use crate::relay::{SubscriptionKey, TestPost};
use crate::{EventKind, Timestamp};

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
    if !names.contains(&source) {
        return Err(no_source(&source, &names));
    }
    let session = request.session.unwrap_or_else(|| SESSION.to_owned());
    let kind = kind(request.event)?;
    let reaches = reaches(&state, &session, kind).await;
    let mut answer = json!({ "source": source, "session": session, "reaches": reaches });
    if request.dry_run {
        return Ok(HttpResponse::Ok().json(answer));
    }
    let body = match request.body {
        Some(body) => body.to_string(),
        None => event_body(kind, &session, state.clock.now()),
    };
    let ingress = Arc::clone(&state.ingress);
    let tried = run_to_end(async move {
        let tried = ingress.try_source(&source, &session, body.into()).await;
        (source, tried)
    });
    let (source, tried) = tried.await?;
    let refused = |code, text: String| Err(ApiError::new(StatusCode::CONFLICT, code, text));
    match tried {
        Tried::Accepted {
            event,
            is_duplicate,
        } => {
            answer["event"] = event.to_string().into();
            answer["duplicate"] = is_duplicate.into();
            Ok(HttpResponse::Ok().json(answer))
        }
        Tried::NotAccepted(why) => Err(ApiError::unavailable(why.to_string())),
        Tried::Refused(why) => refused("refused", format!("{source} refuses its own test: {why}")),
        Tried::NoSecret => refused("no_secret", format!("{source} has no secret to sign with")),
        Tried::TooLong(most) => Err(ApiError::bad_request(format!(
            "the body is longer than max_body, {most} bytes"
        ))),
        Tried::NoSource(names) => Err(no_source(&source, &names)),
    }
}

fn no_source(name: &str, names: &[String]) -> ApiError {
    let names = names.join(", ");
    ApiError::not_found(format!("there is no source {name:?}; there are: {names}"))
}

fn kind(text: Option<String>) -> Result<EventKind, ApiError> {
    let kind = event_kind(text)?.unwrap_or(EventKind::Message);
    if kind.is_own() {
        let text = format!("event: {kind} comes from offhook itself, and cannot be tested so");
        return Err(ApiError::bad_request(text));
    }
    Ok(kind)
}

/// The consumers that want such an event.
pub(super) async fn reaches(state: &AdminState, session: &str, kind: EventKind) -> Vec<String> {
    let consumers = state.pipeline().map(|pipeline| pipeline.consumers());
    let consumers = consumers.unwrap_or_default();
    let asked = consumers.iter().map(async |consumer: &ConsumerControls| {
        let options = consumer.held_up(0).await.options?;
        let kinds = options.events.as_ref();
        let sessions = options.sessions.as_ref();
        let wants = kinds.is_none_or(|kinds| kinds.contains(&kind))
            && sessions.is_none_or(|sessions| sessions.contains(session));
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
    let kind = kinds.and_then(|kinds| kinds.iter().find(|kind| !kind.is_own()).copied());
    let own = if session == "*" { SESSION } else { &session };
    let body: Bytes = event_body(kind.unwrap_or(EventKind::Message), own, state.clock.now()).into();
    let own = own.to_owned();
    let posted = run_to_end(async move { registry.test(&entry, &own, body).await });
    let posted = posted.await?.ok_or_else(|| {
        let text = "a test of this subscription runs; ask again when it has ended";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
    })?;
    Ok(HttpResponse::Ok().json(Shown::of(posted, role)))
}

/// What a test POST has shown.
#[derive(Debug, Serialize)]
struct Shown {
    delivered: bool,
    /// What an attempt would have said.
    verdict: String,
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

/// The session of test events, and what else names them.
const SESSION: &str = "offhook-test";

/// So many consumers are named.
const MOST_NAMED: usize = 100;
