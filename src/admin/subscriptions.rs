//! `/sessions/{id}/webhook`: the gateway's own registration API, served by offhook.
//!
//! Applications subscribe here as they would at the gateway. A change is durable before it is
//! answered, and is made also when the client hangs up before the answer. `GET /api/subscriptions`
//! lists the subscriptions of all sessions. Secrets are never shown.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::{Answer, ApiError};
use super::registration::{Registration, key, session};
use super::request::run_to_end;
use super::state::State;
use crate::dispatch::Suspended;
use crate::relay::{RegisteredSubscription, Registry, Subscription, SubscriptionChange};
use crate::{EventKind, Timestamp};

/// `GET /sessions/{id}/webhook`
pub(super) async fn list(state: State, request: HttpRequest) -> Answer {
    let session = session(&request)?;
    let webhooks = shown(state.registry()?, Some(&session)).await;
    let answer = json!({ "success": true, "sessionId": session, "webhooks": webhooks });
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /api/subscriptions`
pub(super) async fn list_all(state: State) -> Answer {
    let subscriptions = shown(state.registry()?, None).await;
    Ok(HttpResponse::Ok().json(json!({ "subscriptions": subscriptions })))
}

/// The subscriptions of one session, or those of all sessions, each with its session.
async fn shown(registry: &Registry, session: Option<&str>) -> Vec<Value> {
    let entries = registry.list(session);
    let suspended = registry.suspended(&entries).await;
    let all = entries.iter().zip(&suspended);
    all.map(|(entry, suspended)| {
        let mut shown = json!(ShownSubscription::new(entry, suspended.as_ref()));
        if session.is_none() {
            shown["sessionId"] = entry.subscription.key.session().into();
        }
        shown
    })
    .collect()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameQuery {
    name: Option<String>,
}

/// `POST /sessions/{id}/webhook`
pub(super) async fn set(
    state: State,
    request: HttpRequest,
    query: web::Query<NameQuery>,
    body: web::Payload,
) -> Answer {
    let registry = Arc::clone(state.registry()?);
    let (key, registration) = Registration::read(&request, query.name.as_deref(), body).await?;
    let (url, warning) = registration.check(registry.guard()).await?;
    let url = url.ok_or_else(|| {
        let text = "webhookUrl is missing; it is the URL that events are POSTed to";
        ApiError::bad_request(text)
    })?;
    let wanted = Subscription {
        events: registration.events.unwrap_or_default(),
        secret: registration.secret.unwrap_or_default(),
        active: registration.active.unwrap_or(true),
        ..Subscription::new(key, url)
    };
    let changing = Arc::clone(&registry);
    let (entry, is_new) = run_to_end(async move { changing.set(wanted).await }).await??;
    let response = if is_new {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    Ok(changed(response, &registry, &entry, warning).await)
}

/// `PATCH /sessions/{id}/webhook`
pub(super) async fn change(
    state: State,
    request: HttpRequest,
    query: web::Query<NameQuery>,
    body: web::Payload,
) -> Answer {
    let registry = Arc::clone(state.registry()?);
    let (key, registration) = Registration::read(&request, query.name.as_deref(), body).await?;
    let (url, warning) = registration.check(registry.guard()).await?;
    let change = SubscriptionChange {
        url,
        events: registration.events,
        secret: registration.secret,
        active: registration.active,
    };
    let changing = Arc::clone(&registry);
    let entry = run_to_end(async move { changing.change(&key, change).await }).await??;
    Ok(changed(HttpResponse::Ok(), &registry, &entry, warning).await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RemoveQuery {
    name: Option<String>,
    #[serde(default)]
    all: bool,
}

/// `DELETE /sessions/{id}/webhook`
pub(super) async fn remove(
    state: State,
    request: HttpRequest,
    query: web::Query<RemoveQuery>,
) -> Answer {
    let registry = Arc::clone(state.registry()?);
    let session = session(&request)?;
    let RemoveQuery { name, all } = query.into_inner();
    let key = key(session.clone(), name.as_deref())?;
    if all && name.is_some() {
        let text = "all and name cannot both be; leave one of them out";
        return Err(ApiError::bad_request(text));
    }
    let removal = async move {
        if all {
            registry.remove_all(key.session()).await
        } else {
            registry.remove(&key).await
        }
    };
    run_to_end(removal).await??;
    Ok(HttpResponse::Ok().json(json!({ "success": true, "sessionId": session })))
}

/// The answer to a change: the subscription as it is now.
async fn changed(
    mut response: HttpResponseBuilder,
    registry: &Registry,
    entry: &RegisteredSubscription,
    warning: Option<String>,
) -> HttpResponse {
    let suspended = registry.suspended(std::slice::from_ref(entry)).await.pop();
    response.json(ChangeAnswer {
        success: true,
        session_id: entry.subscription.key.session(),
        webhook: ShownSubscription::new(entry, suspended.flatten().as_ref()),
        warning,
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ChangeAnswer<'a> {
    success: bool,
    session_id: &'a str,
    webhook: ShownSubscription<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    warning: Option<String>,
}

/// A subscription as the API shows it, without its session.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownSubscription<'a> {
    name: &'a str,
    webhook_url: &'a str,
    events: Vec<&'static str>,
    has_secret: bool,
    active: bool,
    created_at: Timestamp,
    updated_at: Timestamp,
    // What follows is left out where it does not apply.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suspended_reason: Option<&'a str>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    defined_in_settings: bool,
}

impl<'a> ShownSubscription<'a> {
    fn new(entry: &'a RegisteredSubscription, suspended: Option<&'a Suspended>) -> Self {
        let Subscription {
            key,
            url,
            events,
            secret,
            active,
            ended,
            created_at,
            updated_at,
        } = &entry.subscription;
        Self {
            name: key.name(),
            webhook_url: url.as_str(),
            events: match events {
                None => vec!["*"],
                Some(kinds) => kinds.iter().copied().map(EventKind::as_str).collect(),
            },
            has_secret: secret.is_some(),
            active: *active,
            created_at: *created_at,
            updated_at: *updated_at,
            ended_at: ended.as_ref().map(|ended| ended.at),
            ended_reason: ended.as_ref().map(|ended| &*ended.reason),
            suspended_at: suspended.map(|suspended| suspended.since),
            suspended_reason: suspended.map(|suspended| &*suspended.reason),
            defined_in_settings: entry.is_defined(),
        }
    }
}
