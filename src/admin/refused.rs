//! `/api/refused`: the refused requests that are kept, and verifying them again.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::{Answer, ApiError};
use super::request::{body_or_query, page_size, run_to_end, time};
use super::role::Role;
use super::state::{AdminState, State};
use crate::engine::NotAccepted;
use crate::ingress::Recovered;
use crate::refused::{Details, Listed, RefusedRequests, Selection};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    pub(super) source: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) status: Option<u16>,
    pub(super) explained: Option<bool>,
    pub(super) before: Option<Uuid>,
    pub(super) limit: Option<usize>,
}

/// `GET /api/refused`
pub(super) async fn list(state: State, query: web::Query<ListQuery>) -> Answer {
    let found = find_all(&state, query.into_inner()).await?;
    Ok(HttpResponse::Ok().json(found))
}

/// The page that a query asks for, with all groups.
pub(super) async fn find_all(state: &AdminState, query: ListQuery) -> Result<Value, ApiError> {
    let limit = page_size(query.limit)?;
    let which = Selection {
        source: query.source,
        reason: query.reason,
        status: query.status,
        explained: query.explained,
        ..Selection::default()
    };
    let refused = state.ingress.refused();
    refused.settle().await;
    let page = refused.page(&which, query.before, limit);
    let last = page.refused.last().filter(|_| page.has_more);
    Ok(json!({
        "next": last.map(Listed::id),
        "refused": page.refused,
        "groups": page.groups,
        "since": page.since,
        "dropped": page.dropped,
    }))
}

#[derive(Serialize)]
struct Shown<'a> {
    #[serde(flatten)]
    details: &'a Details,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// `GET /api/refused/{id}`
pub(super) async fn show(state: State, role: Role, id: web::Path<String>) -> Answer {
    let details = one(&state, &id).await?;
    let content = details.content.as_deref().filter(|_| role.sees_bodies());
    let body = content.and_then(|content| serde_json::from_slice(content).ok());
    let body_base64 = content.filter(|_| body.is_none());
    Ok(HttpResponse::Ok().json(Shown {
        details: &details,
        body,
        body_base64: body_base64.map(|content| STANDARD.encode(content)),
    }))
}

/// All that is known of the request with this id, or the only one whose id begins so.
pub(super) async fn one(state: &AdminState, id: &str) -> Result<Details, ApiError> {
    let id = find(state, id).await?;
    state.ingress.refused().details(id).ok_or_else(gone)
}

/// `POST /api/refused/{id}/verify`
pub(super) async fn verify_one(state: State, id: web::Path<String>) -> Answer {
    let id = find(&state, &id).await?;
    let kept = state.ingress.refused().get(id).ok_or_else(gone)?;
    if kept.body().is_none() {
        let text = "its body is not kept, so it cannot be verified";
        return Err(ApiError::new(StatusCode::CONFLICT, "body_not_kept", text));
    }
    let ingress = Arc::clone(&state.ingress);
    let recovered = run_to_end(async move {
        let one = |refused: &RefusedRequests| refused.get(id).into_iter().collect();
        let recovered = ingress.recover(one, false).await;
        tell(&recovered);
        recovered
    });
    match recovered.await?.first() {
        None => Err(gone()),
        Some(Recovered::Accepted {
            event,
            is_duplicate,
        }) => Ok(HttpResponse::Ok().json(json!({
            "valid": true, "event": event, "duplicate": is_duplicate,
        }))),
        Some(Recovered::NotAccepted(why)) => Err(not_accepted(*why)),
        Some(Recovered::Test) => {
            let text = "its signature is right now, but it only tests the address: it is no event, and no longer kept";
            Err(ApiError::new(StatusCode::CONFLICT, "only_a_test", text))
        }
        Some(Recovered::Valid | Recovered::Invalid) => {
            let ingress = Arc::clone(&state.ingress);
            let findings = web::block(move || ingress.refused().findings(&kept)).await;
            Ok(HttpResponse::Ok().json(json!({
                "valid": false, "findings": findings.unwrap_or_default(),
            })))
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct VerifyRequest {
    source: Option<String>,
    reason: Option<String>,
    from: Option<String>,
    to: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/refused/verify`
pub(super) async fn verify_many(state: State, http: HttpRequest, body: web::Bytes) -> Answer {
    let asked: VerifyRequest = body_or_query(http.query_string(), &body)?;
    let which = Selection {
        source: asked.source,
        reason: asked.reason,
        from: time("from", asked.from.as_deref())?,
        to: time("to", asked.to.as_deref())?,
        ..Selection::default()
    };
    let (ingress, dry_run) = (Arc::clone(&state.ingress), asked.dry_run);
    let source = which.source.clone();
    ingress.refused().settle().await;
    let recovered = run_to_end(async move {
        let recovered = ingress
            .recover(|refused| refused.with_bodies(&which), dry_run)
            .await;
        if !dry_run {
            tell(&recovered);
        }
        recovered
    });
    let recovered = recovered.await?;
    check_source(&state, source.as_deref(), recovered.len())?;
    let counts = Counts::of(&recovered);
    let mut answer = json!({
        "looked_at": recovered.len(),
        "valid": counts.valid,
        "accepted": counts.accepted,
        "duplicates": counts.duplicates,
    });
    if counts.not_accepted > 0 {
        answer["not_accepted"] = counts.not_accepted.into();
    }
    if let Some(lost) = state.ingress.refused().lost(source.as_deref()) {
        answer["dropped"] = lost.count.into();
        answer["dropped_first"] = lost.first.to_string().into();
        answer["dropped_last"] = lost.last.to_string().into();
    }
    Ok(HttpResponse::Ok().json(answer))
}

/// What has become of requests that were verified again.
#[derive(Debug, Default)]
struct Counts {
    valid: usize,
    accepted: usize,
    duplicates: usize,
    not_accepted: usize,
}

impl Counts {
    fn of(recovered: &[Recovered]) -> Self {
        let mut counts = Self::default();
        for one in recovered {
            counts.valid += usize::from(*one != Recovered::Invalid);
            match one {
                Recovered::Accepted { is_duplicate, .. } => {
                    counts.accepted += 1;
                    counts.duplicates += usize::from(*is_duplicate);
                }
                Recovered::NotAccepted(_) => counts.not_accepted += 1,
                Recovered::Valid | Recovered::Test | Recovered::Invalid => {}
            }
        }
        counts
    }
}

/// One line for what an administrator has done.
fn tell(recovered: &[Recovered]) {
    let (counts, looked_at) = (Counts::of(recovered), recovered.len());
    if looked_at == 0 {
        return;
    }
    let Counts {
        accepted,
        duplicates,
        not_accepted,
        ..
    } = counts;
    log::info!(
        actor = "administrator";
        "an administrator has had refused requests verified again: {looked_at} looked at, {accepted} accepted, \
         {duplicates} of these as duplicates; {not_accepted} valid and not accepted"
    );
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForgetQuery {
    source: Option<String>,
}

/// `DELETE /api/refused`
pub(super) async fn forget(state: State, query: web::Query<ForgetQuery>) -> Answer {
    state.ingress.refused().settle().await;
    let forgotten = state.ingress.forget(query.source.as_deref()).await;
    check_source(&state, query.source.as_deref(), forgotten)?;
    if forgotten > 0 {
        log::info!(actor = "administrator"; "an administrator has had refused requests forgotten: {forgotten}");
    }
    Ok(HttpResponse::Ok().json(json!({ "forgotten": forgotten })))
}

/// A misspelt name has no requests. One that was removed may have some.
fn check_source(state: &AdminState, name: Option<&str>, found: usize) -> Result<(), ApiError> {
    match name.filter(|_| found == 0) {
        Some(name) => state.check_source(name),
        None => Ok(()),
    }
}

/// The request with this id, or the only one whose id begins so.
async fn find(state: &AdminState, text: &str) -> Result<Uuid, ApiError> {
    let refused = state.ingress.refused();
    refused.settle().await;
    let text = text.to_ascii_lowercase();
    if text.len() < SHORTEST_BEGINNING {
        let least = SHORTEST_BEGINNING;
        let text = format!(
            "found {text:?}, expected the id of a refused request, or {least} characters of it"
        );
        return Err(ApiError::bad_request(text));
    }
    match refused.beginning_with(&text)[..] {
        [] => Err(gone()),
        [id] => Ok(id),
        _ => {
            let text = format!("several refused requests begin with {text}; give more of the id");
            Err(ApiError::bad_request_as("ambiguous_id", text))
        }
    }
}

fn gone() -> ApiError {
    ApiError::not_found("no refused request with this id is kept, or it is not kept any more")
}

fn not_accepted(why: NotAccepted) -> ApiError {
    ApiError::unavailable(format!(
        "its signature is right now, but {why}; it is still kept"
    ))
}

/// In the first eight characters of an id is the time, to a minute.
const SHORTEST_BEGINNING: usize = 8;
