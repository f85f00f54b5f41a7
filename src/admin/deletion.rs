//! `DELETE /api/events/{id}` and `DELETE /api/events`: deletes one event, or those of a session or a person.

use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::json;

use super::error::{Answer, ApiError};
use super::request::{body_or_query, complete_id, run_to_end};
use super::state::State;
use crate::engine::Person;

/// `DELETE /api/events/{id}`
pub(super) async fn one(state: State, id: web::Path<String>) -> Answer {
    let event = state.exact_event(complete_id(&id)?).await?;
    if event.is_deleted {
        return Ok(deleted(0));
    }
    let Some(position) = event.in_journal() else {
        return Err(ApiError::bad_request(
            "this is a duplicate, whose body was not stored; delete the event it is the same as",
        ));
    };
    let id = event.id;
    let count = run_to_end(async move {
        let count = state.pipeline()?.delete(&[position.seq()]).await?;
        log::info!(event:% = id, actor = "administrator"; "an administrator has deleted event {id}");
        Ok::<_, ApiError>(count)
    });
    Ok(deleted(count.await??))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DeleteRequest {
    session: Option<String>,
    sender: Option<String>,
    #[serde(default)]
    dry_run: bool,
}

/// `DELETE /api/events`. Some clients send no body with a DELETE, so the query can say the same.
pub(super) async fn many(state: State, http: HttpRequest, body: web::Bytes) -> Answer {
    let request: DeleteRequest = body_or_query(http.query_string(), &body)?;
    let named = request.session;
    let Some(session) = named.filter(|session| !session.is_empty() && session != "*") else {
        let text = "session: expected the id of the session whose events are to be deleted";
        return Err(ApiError::bad_request(text));
    };
    if request.sender.as_deref() == Some("") {
        let text = "sender: found an empty text, expected the sender as the events have it";
        return Err(ApiError::bad_request(text));
    }
    let (sender, dry_run) = (request.sender, request.dry_run);
    let person = Person { session, sender };
    let count = run_to_end(async move {
        let (pipeline, search) = (state.pipeline()?, state.search()?);
        let count = pipeline.delete_all_of(search, &person, dry_run).await?;
        if !dry_run {
            // The log does not say whose they were, because it is not erased.
            log::info!(actor = "administrator"; "an administrator has deleted {count} events of a session or a sender");
        }
        Ok::<_, ApiError>(count)
    });
    Ok(deleted(count.await??))
}

fn deleted(count: usize) -> HttpResponse {
    HttpResponse::Ok().json(json!({ "deleted": count }))
}
