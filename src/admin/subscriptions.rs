//! `/sessions/{id}/webhook`: the gateway's own registration API, served by offhook.
//!
//! Applications subscribe here as they would at the gateway. A change is durable before it is
//! answered, and is made also when the client hangs up before the answer. `GET /api/subscriptions`
//! lists the subscriptions of all sessions. Secrets, and values of headers, are never shown; a viewer sees URLs
//! without what may be a token.

use std::sync::Arc;

use actix_web::http::header::IF_NONE_MATCH;
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{Answer, ApiError};
use super::registration::{Registration, key, session};
use super::request::{only, run_to_end};
use super::role::Role;
use super::state::State;
use crate::dispatch::ConsumerStatus;
use crate::relay::{RegisteredSubscription, Registry, Subscription, without_tokens};

/// `GET /sessions/{id}/webhook`
pub(super) async fn list(state: State, role: Role, request: HttpRequest) -> Answer {
    let (session, registry) = (session(&request)?, state.registry()?);
    let entries = registry.list(Some(&session));
    let statuses = registry.statuses(&entries).await;
    let shown = entries.iter().zip(&statuses);
    let webhooks: Vec<Value> = shown
        .map(|(entry, status)| show(role, entry, status.as_ref()))
        .collect();
    let answer = json!({ "success": true, "sessionId": session, "webhooks": webhooks });
    Ok(HttpResponse::Ok().json(answer))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SessionQuery {
    session: Option<String>,
}

/// `GET /api/subscriptions`: those to one session, or all; each with its session and its lag.
pub(super) async fn list_all(state: State, role: Role, query: web::Query<SessionQuery>) -> Answer {
    let registry = state.registry()?;
    let entries = registry.list(query.session.as_deref());
    let statuses = registry.statuses(&entries).await;
    let both = entries.iter().zip(&statuses);
    // One that has a consumer without a status restarts after a fault, and cannot say how far it is.
    let idle = both.filter(|(entry, status)| status.is_none() && !entry.has_consumer());
    let idle: Vec<_> = idle.map(|(entry, _)| entry.clone()).collect();
    let mut backlogs = registry.backlogs(&idle).await?.into_iter();
    let mut subscriptions = Vec::new();
    for (entry, status) in entries.iter().zip(&statuses) {
        let mut shown = show(role, entry, status.as_ref());
        shown["sessionId"] = entry.subscription.key.session().into();
        let lag = match status {
            Some(status) => Some(status.lag()),
            None if entry.has_consumer() => None,
            None => backlogs.next().flatten().map(|backlog| backlog.lag),
        };
        shown["lag"] = lag.into();
        subscriptions.push(shown);
    }
    Ok(HttpResponse::Ok().json(json!({ "subscriptions": subscriptions })))
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
    let only_new = only(request.headers(), &IF_NONE_MATCH) == Some("*");
    let (wanted, warning) = registration.check(&registry.guard()).await?;
    let url = wanted.url.ok_or_else(|| {
        let text = "webhookUrl is missing; it is the URL that events are POSTed to";
        ApiError::bad_request(text)
    })?;
    let wanted = Subscription {
        events: wanted.events.unwrap_or_default(),
        secrets: wanted.secrets.unwrap_or_default(),
        headers: wanted.headers.unwrap_or_default(),
        active: wanted.active.unwrap_or(true),
        ..Subscription::new(key, url)
    };
    let changing = Arc::clone(&registry);
    let (entry, is_new) = run_to_end(async move { changing.set(wanted, only_new).await }).await??;
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
    let (change, warning) = registration.check(&registry.guard()).await?;
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
    let status = registry.statuses(std::slice::from_ref(entry)).await.pop();
    let mut answer = json!({
        "success": true,
        "sessionId": entry.subscription.key.session(),
        "webhook": show(Role::Administrator, entry, status.flatten().as_ref()),
    });
    if let Some(warning) = warning {
        answer["warning"] = warning.into();
    }
    response.json(answer)
}

/// A subscription as the API shows it, without its session. What does not apply is left out.
fn show(role: Role, entry: &RegisteredSubscription, status: Option<&ConsumerStatus>) -> Value {
    let subscription = &entry.subscription;
    let url = if role.may_change() {
        subscription.url.to_string()
    } else {
        without_tokens(&subscription.url)
    };
    let all = || json!(["*"]);
    let mut shown = json!({
        "name": subscription.key.name(),
        "webhookUrl": url,
        "events": subscription.events.as_ref().map_or_else(all, |kinds| json!(kinds)),
        "hasSecret": !subscription.secrets.is_empty(),
        "secretCount": subscription.secrets.iter().len(),
        "active": subscription.active,
        "createdAt": subscription.created_at,
        "updatedAt": subscription.updated_at,
    });
    if !subscription.headers.is_empty() {
        shown["headerNames"] = subscription.headers.names().collect();
    }
    if let Some(ended) = &subscription.ended {
        shown["endedAt"] = json!(ended.at);
        shown["endedReason"] = json!(ended.reason);
    }
    if let Some(rejected) = entry.rejected().filter(|_| subscription.active) {
        shown["suspendedReason"] = rejected.to_string().into();
    }
    if let Some(since) = status.and_then(|status| status.failing_since) {
        shown["failingSince"] = json!(since);
        shown["failingReason"] = json!(status.and_then(|status| status.failing_reason.as_ref()));
    }
    if let Some(suspended) = status.and_then(|status| status.suspended.as_ref()) {
        shown["suspendedAt"] = json!(suspended.since);
        shown["suspendedReason"] = json!(suspended.reason);
    }
    if entry.is_defined() {
        shown["definedInSettings"] = true.into();
    }
    shown
}
