//! `/sessions/{id}/webhook`: the gateway's own registration API, served by offhook.
//!
//! Applications subscribe here as they would at the gateway. A change is durable before it is
//! answered, and is made also when the client hangs up before the answer. `GET /api/subscriptions`
//! lists the subscriptions of all sessions.

mod checks;
mod registration;
mod shown;

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use self::checks::{check_url, key, limited_body, one_name, session, warning};
use self::registration::Registration;
use self::shown::{ListedSubscription, ShownSubscription, answer};
use super::error::ApiError;
use super::request::run_to_end;
use super::state::AdminState;
use crate::relay::{SubscriptionChange, WantedSubscription};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NameQuery {
    name: Option<String>,
}

/// `GET /sessions/{id}/webhook`
pub(super) async fn list(
    state: web::Data<AdminState>,
    request: HttpRequest,
) -> Result<HttpResponse, ApiError> {
    let session = session(&request)?;
    let registry = state.registry()?;
    let entries = registry.list(Some(&session));
    let suspended = registry.suspended(&entries).await;
    let webhooks: Vec<_> = entries
        .iter()
        .zip(&suspended)
        .map(|(entry, suspended)| ShownSubscription::new(entry, suspended.as_ref()))
        .collect();
    let answer = json!({ "success": true, "sessionId": session, "webhooks": webhooks });
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /api/subscriptions`
pub(super) async fn list_all(state: web::Data<AdminState>) -> Result<HttpResponse, ApiError> {
    let registry = state.registry()?;
    let entries = registry.list(None);
    let suspended = registry.suspended(&entries).await;
    let listed: Vec<_> = entries
        .iter()
        .zip(&suspended)
        .map(|(entry, suspended)| ListedSubscription::new(entry, suspended.as_ref()))
        .collect();
    Ok(HttpResponse::Ok().json(json!({ "subscriptions": listed })))
}

/// `POST /sessions/{id}/webhook`
pub(super) async fn set(
    state: web::Data<AdminState>,
    request: HttpRequest,
    query: web::Query<NameQuery>,
    body: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let registry = Arc::clone(state.registry()?);
    let session = session(&request)?;
    let registration = Registration::read(&limited_body(body).await?)?;
    let name = one_name(query.name.as_deref(), registration.name.as_deref())?;
    let key = key(session, name)?;
    let url = registration.url.as_deref().ok_or_else(|| {
        let text = "webhookUrl is missing; it is the URL that events are POSTed to";
        ApiError::bad_request(text)
    })?;
    let (url, unresolved) = check_url(registry.guard(), url).await?;
    let warning = warning(unresolved, registration.secret.as_ref());
    let wanted = WantedSubscription {
        key,
        url,
        events: registration.events.unwrap_or_default(),
        secret: registration.secret.unwrap_or_default(),
        active: registration.active.unwrap_or(true),
    };
    let changing = Arc::clone(&registry);
    let (entry, is_new) = run_to_end(async move { changing.set(wanted).await }).await??;
    let response = if is_new {
        HttpResponse::Created()
    } else {
        HttpResponse::Ok()
    };
    Ok(answer(response, &registry, &entry, warning.as_deref()).await)
}

/// `PATCH /sessions/{id}/webhook`
pub(super) async fn change(
    state: web::Data<AdminState>,
    request: HttpRequest,
    query: web::Query<NameQuery>,
    body: web::Payload,
) -> Result<HttpResponse, ApiError> {
    let registry = Arc::clone(state.registry()?);
    let session = session(&request)?;
    let registration = Registration::read(&limited_body(body).await?)?;
    let name = one_name(query.name.as_deref(), registration.name.as_deref())?;
    let key = key(session, name)?;
    let (url, unresolved) = match &registration.url {
        Some(url) => {
            let (url, unresolved) = check_url(registry.guard(), url).await?;
            (Some(url), unresolved)
        }
        None => (None, None),
    };
    let warning = warning(unresolved, registration.secret.as_ref());
    let change = SubscriptionChange {
        url,
        events: registration.events,
        secret: registration.secret,
        active: registration.active,
    };
    let changing = Arc::clone(&registry);
    let entry = run_to_end(async move { changing.change(&key, change).await }).await??;
    Ok(answer(HttpResponse::Ok(), &registry, &entry, warning.as_deref()).await)
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
    state: web::Data<AdminState>,
    request: HttpRequest,
    query: web::Query<RemoveQuery>,
) -> Result<HttpResponse, ApiError> {
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
