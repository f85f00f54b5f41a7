//! `/api/settings` and `/api/reload`: which settings run, and loading them again.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::{HttpRequest, HttpResponse, web};
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{Answer, ApiError};
use super::request::body_or_query;
use super::state::{AdminState, State};
use crate::reload::{NotAsked, Outcome, Report};

/// `GET /api/settings`: the settings that run, without secrets.
pub(super) async fn show(state: State) -> HttpResponse {
    let mut answer = state.settings.health();
    answer["settings"] = state.settings.settings();
    HttpResponse::Ok().json(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    #[serde(default)]
    dry_run: bool,
}

/// `POST /api/reload`: loads the settings again, all or nothing. The query can say `dry_run` too.
pub(super) async fn reload(state: State, http: HttpRequest, body: web::Bytes) -> Answer {
    let Asked { dry_run } = body_or_query(http.query_string(), &body)?;
    let report = ask(&state, dry_run).await?;
    Ok(answer(&report))
}

/// Has the settings loaded again, or asks what that would do.
pub(super) async fn ask(state: &AdminState, dry_run: bool) -> Result<Arc<Report>, ApiError> {
    let Some(reload) = &state.reload else {
        let text = "there is no file to load again: the settings were made in code, or offhook is a part of \
                    another program's App";
        return Err(ApiError::new(StatusCode::CONFLICT, "no_file", text));
    };
    reload.reload(dry_run).await.map_err(|why| match why {
        NotAsked::Busy => ApiError::busy("too many reloads are waiting; ask again in a moment"),
        NotAsked::Stopped => ApiError::unavailable("the server stops"),
    })
}

fn answer(report: &Report) -> HttpResponse {
    let changes = report.outcome.changes().iter().map(ToString::to_string);
    let mut answer = json!({
        "success": !report.outcome.is_refused(),
        "outcome": report.outcome.name(),
        "fingerprint": report.fingerprint,
        "changes": changes.collect::<Vec<_>>(),
    });
    let (status, code) = match &report.outcome {
        Outcome::Reloaded { is_finished, .. } => {
            answer["finished"] = (*is_finished).into();
            return HttpResponse::Ok().json(answer);
        }
        // Only what nobody has asked for is unconfirmed.
        Outcome::WouldReload(_) | Outcome::Unchanged | Outcome::Unconfirmed => {
            return HttpResponse::Ok().json(answer);
        }
        Outcome::RestartNeeded(keys) => {
            answer["keys"] = keys.iter().map(|key| key.key()).collect();
            (StatusCode::CONFLICT, "restart_needed")
        }
        Outcome::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
        Outcome::Invalid(_) | Outcome::HalfWritten(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, "invalid_settings")
        }
    };
    let problems = report.outcome.problems();
    answer["error"] = match &problems[..] {
        [one] => one.as_str().into(),
        more => Value::from(format!("{} problems; nothing was changed", more.len())),
    };
    answer["code"] = code.into();
    answer["problems"] = problems.into();
    HttpResponse::build(status).json(answer)
}
