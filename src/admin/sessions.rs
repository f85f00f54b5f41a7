//! `/sessions/{id}/webhook`: the gateway's own registration, served by us.
//!
//! Downstream programs subscribe here as they would at the gateway. What they change is kept before
//! it is answered, and seen through even where they do not wait for the answer. `GET
//! /api/subscriptions` lists those of all sessions.

use std::sync::Arc;

use actix_web::http::header::ALLOW;
use actix_web::{HttpRequest, HttpResponse, Resource, web};
use serde::Deserialize;
use serde_json::json;

use self::registration::Registration;
use self::shown::{Listed, shown, told};
use super::AdminState;
use super::reply::{Refused, answer, seen_through};
use crate::relay::{Change, ChangeError, Key, KeyError, Refusal, Registry, Wanted};
use crate::signature::{Secret, is_undecodable};

mod registration;
mod shown;

/// `/sessions/{id}/webhook`
pub(super) fn resource() -> Resource {
    let other = || async {
        let mut response = HttpResponse::MethodNotAllowed();
        response.insert_header((ALLOW, METHODS));
        let text = format!("only {METHODS} are possible here");
        super::error(response, "method_not_allowed", &text)
    };
    web::resource("/sessions/{id}/webhook")
        .route(web::get().to(list))
        .route(web::post().to(set))
        .route(web::patch().to(change))
        .route(web::delete().to(remove))
        .default_service(web::to(other))
}

/// Which one, where it is not said in the body.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    name: Option<String>,
}

impl Named {
    fn or<'a>(&'a self, in_body: Option<&'a str>) -> Result<Option<&'a str>, Refused> {
        match (self.name.as_deref(), in_body) {
            (Some(one), Some(other)) if one != other => Err(Refused::bad_request(
                "the name in the path's query and the one in the body differ",
            )),
            (one, other) => Ok(one.or(other)),
        }
    }
}

/// `GET /sessions/{id}/webhook`
async fn list(state: web::Data<AdminState>, request: HttpRequest) -> HttpResponse {
    answer(list_inner(&state, &request).await)
}

async fn list_inner(state: &AdminState, request: &HttpRequest) -> Result<HttpResponse, Refused> {
    let session = session(request)?;
    let registry = state.registry()?;
    let entries = registry.list(Some(&session));
    let suspended = registry.suspended(&entries).await;
    let webhooks = entries.iter().zip(&suspended);
    let webhooks: Vec<_> = webhooks
        .map(|(entry, suspended)| shown(entry, suspended.as_ref()))
        .collect();
    let answer = json!({ "success": true, "sessionId": session, "webhooks": webhooks });
    Ok(HttpResponse::Ok().json(answer))
}

/// `GET /api/subscriptions`
pub(super) async fn all(state: web::Data<AdminState>) -> HttpResponse {
    answer(all_inner(&state).await)
}

async fn all_inner(state: &AdminState) -> Result<HttpResponse, Refused> {
    let registry = state.registry()?;
    let entries = registry.list(None);
    let suspended = registry.suspended(&entries).await;
    let listed = entries.iter().zip(&suspended);
    let listed = listed.map(|(entry, suspended)| Listed {
        session_id: entry.subscription.key.session(),
        webhook: shown(entry, suspended.as_ref()),
    });
    let listed: Vec<_> = listed.collect();
    Ok(HttpResponse::Ok().json(json!({ "subscriptions": listed })))
}

/// `POST /sessions/{id}/webhook`
async fn set(
    state: web::Data<AdminState>,
    request: HttpRequest,
    named: web::Query<Named>,
    body: web::Payload,
) -> HttpResponse {
    answer(set_inner(&state, &request, &named, body).await)
}

async fn set_inner(
    state: &AdminState,
    request: &HttpRequest,
    named: &Named,
    body: web::Payload,
) -> Result<HttpResponse, Refused> {
    let registry = Arc::clone(state.registry()?);
    let session = session(request)?;
    let registration = Registration::read(&read(body).await?)?;
    let key = key(session, named.or(registration.name.as_deref())?)?;
    let url = registration.url.as_deref().ok_or_else(|| {
        let text = "webhookUrl is missing; it is the URL that events are POSTed to";
        Refused::bad_request(text)
    })?;
    let (url, unresolved) = vetted(&registry, url).await?;
    let warning = warning(unresolved, registration.secret.as_ref());
    let wanted = Wanted {
        key,
        url,
        events: registration.events.unwrap_or_default(),
        secret: registration.secret.unwrap_or_default(),
        active: registration.active.unwrap_or(true),
    };
    let changing = Arc::clone(&registry);
    let (entry, new) = seen_through(async move { changing.set(wanted).await }).await??;
    let response = match new {
        true => HttpResponse::Created(),
        false => HttpResponse::Ok(),
    };
    Ok(told(response, &registry, &entry, warning.as_deref()).await)
}

/// `PATCH /sessions/{id}/webhook`
async fn change(
    state: web::Data<AdminState>,
    request: HttpRequest,
    named: web::Query<Named>,
    body: web::Payload,
) -> HttpResponse {
    answer(change_inner(&state, &request, &named, body).await)
}

async fn change_inner(
    state: &AdminState,
    request: &HttpRequest,
    named: &Named,
    body: web::Payload,
) -> Result<HttpResponse, Refused> {
    let registry = Arc::clone(state.registry()?);
    let session = session(request)?;
    let registration = Registration::read(&read(body).await?)?;
    let key = key(session, named.or(registration.name.as_deref())?)?;
    let (url, unresolved) = match &registration.url {
        Some(url) => {
            let (url, unresolved) = vetted(&registry, url).await?;
            (Some(url), unresolved)
        }
        None => (None, None),
    };
    let warning = warning(unresolved, registration.secret.as_ref());
    let change = Change {
        url,
        events: registration.events,
        secret: registration.secret,
        active: registration.active,
    };
    let changing = Arc::clone(&registry);
    let changed = seen_through(async move { changing.change(&key, change).await });
    let entry = changed.await??;
    Ok(told(HttpResponse::Ok(), &registry, &entry, warning.as_deref()).await)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    name: Option<String>,
    #[serde(default)]
    all: bool,
}

/// `DELETE /sessions/{id}/webhook`
async fn remove(
    state: web::Data<AdminState>,
    request: HttpRequest,
    which: web::Query<Which>,
) -> HttpResponse {
    answer(remove_inner(&state, &request, &which).await)
}

async fn remove_inner(
    state: &AdminState,
    request: &HttpRequest,
    which: &Which,
) -> Result<HttpResponse, Refused> {
    let registry = Arc::clone(state.registry()?);
    let session = session(request)?;
    let key = key(session.clone(), which.name.as_deref())?;
    let all = match (which.all, &which.name) {
        (true, Some(_)) => {
            let text = "all and name cannot both be; leave one of them out";
            return Err(Refused::bad_request(text));
        }
        (all, _) => all,
    };
    let removed = seen_through(async move {
        match all {
            true => registry.remove_all(key.session()).await,
            false => registry.remove(&key).await,
        }
    });
    removed.await??;
    Ok(HttpResponse::Ok().json(json!({ "success": true, "sessionId": session })))
}

/// The session in the path.
fn session(request: &HttpRequest) -> Result<String, Refused> {
    let raw = request.match_info().get("id").unwrap_or_default();
    // As the ingress has it, so that both mean the same session.
    let decoded = percent_encoding::percent_decode_str(raw).decode_utf8_lossy();
    // What is wrong with it is the same whatever the name.
    key(decoded.clone().into_owned(), None)?;
    Ok(decoded.into_owned())
}

fn key(session: String, name: Option<&str>) -> Result<Key, Refused> {
    Key::new(session, name.unwrap_or(DEFAULT_NAME)).map_err(|error| {
        let code = match error {
            KeyError::Session => "bad_session",
            KeyError::Name(_) => "bad_name",
        };
        Refused::with_code(code, error.to_string())
    })
}

/// A request's body, up to [`MAX_BODY`].
async fn read(body: web::Payload) -> Result<web::Bytes, Refused> {
    match body.to_bytes_limited(MAX_BODY).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(Refused::bad_request(format!("the body: {error}"))),
        Err(_) => Err(Refused::too_large(MAX_BODY)),
    }
}

/// The URL, once it is clear that it may be sent to, and a warning where that is not clear yet.
async fn vetted(registry: &Registry, url: &str) -> Result<(url::Url, Option<String>), Refused> {
    let refused = |refusal: Refusal| {
        let code = match refusal {
            Refusal::Address { .. } => "refused_address",
            _ => "bad_url",
        };
        Refused::with_code(code, format!("webhookUrl: {refusal}"))
    };
    let url = registry.guard().url(url).map_err(refused)?;
    match registry.guard().vet(&url).await {
        Ok(_) => Ok((url, None)),
        Err(refusal) if refusal.is_unresolved() => {
            let text = format!("{refusal}; events wait until it does");
            Ok((url, Some(text)))
        }
        Err(refusal) => Err(refused(refusal)),
    }
}

/// What is probably not meant, in one text.
fn warning(unresolved: Option<String>, secret: Option<&Option<Secret>>) -> Option<String> {
    let undecodable = secret.and_then(Option::as_ref).is_some_and(is_undecodable);
    let text = "secret begins with whsec_, but what follows is no base64, so the text is the key";
    let undecodable = undecodable.then(|| text.to_owned());
    let warnings: Vec<String> = unresolved.into_iter().chain(undecodable).collect();
    (!warnings.is_empty()).then(|| warnings.join("; "))
}

impl AdminState {
    /// Who is relayed to.
    pub(super) fn registry(&self) -> Result<&Arc<Registry>, Refused> {
        self.registry.as_ref().ok_or_else(Refused::nothing_kept)
    }
}

impl From<ChangeError> for Refused {
    fn from(error: ChangeError) -> Self {
        match error {
            ChangeError::Defined(_) => Self::conflict("defined_in_settings", error.to_string()),
            ChangeError::TooMany => Self::conflict("too_many", error.to_string()),
            ChangeError::Unknown(_) => Self::not_found(error.to_string()),
            ChangeError::Unavailable(error) => error.into(),
        }
    }
}

/// The name of a subscription that is given none.
const DEFAULT_NAME: &str = "default";

const METHODS: &str = "GET, POST, PATCH, DELETE";

/// The longest body of a registration, in bytes.
const MAX_BODY: usize = 64 * 1024;
