//! `/api/events/{id}/body`: the bytes of an event, as they were received; without a gateway's credentials in them, unless
//! an administrator asks for all.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_DISPOSITION, HeaderName, HeaderValue};
use actix_web::{HttpResponse, web};

use bytes::Bytes;
use serde::Deserialize;

use super::error::{Answer, ApiError};
use super::role::Role;
use super::state::State;
use crate::Received;
use crate::dialect::{BodyReader, content_encoding};
use crate::journal::Missing;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BodyQuery {
    /// Every byte, with the credentials. A viewer never gets those.
    #[serde(default)]
    raw: bool,
}

/// `GET /api/events/{id}/body`. A browser must neither show nor run what somebody has sent, so its own type is in a
/// header that browsers do not know.
pub(super) async fn download(
    state: State,
    role: Role,
    id: web::Path<String>,
    query: web::Query<BodyQuery>,
) -> Answer {
    if !role.sees_bodies() {
        return Err(ApiError::no_bodies());
    }
    let pipeline = state.pipeline()?;
    let event = state.event(&id).await?;
    let Some(position) = event.in_journal() else {
        return Err(ApiError::not_found(
            "this is a duplicate, whose body was not stored; ask for the event it is the same as",
        ));
    };
    let seq = position.seq();
    let kept = pipeline.journal().read(seq.saturating_sub(1), 1).await?;
    let record = kept.into_iter().find(|record| record.seq == seq);
    let record = record.ok_or_else(|| {
        ApiError::not_found(format!("the body of {} is not kept any more", event.id))
    })?;
    match record.missing {
        None => {}
        Some(Missing::Deleted(_)) => return Err(ApiError::deleted_body(event.id)),
        Some(Missing::Damaged) => {
            let text = format!("the body of {} is damaged on the disk", event.id);
            return Err(ApiError::new(StatusCode::GONE, "damaged", text));
        }
    }
    let received = &record.received;
    let reader = pipeline.decoder().reader(&received.source);
    let (body, is_decoded) = if query.raw && role.may_change() {
        (received.body.clone(), false)
    } else {
        shown(received, reader).await?
    };
    let mut response = HttpResponse::Ok();
    for (name, shown) in SHOWN {
        if is_decoded && name == "content-encoding" {
            continue;
        }
        let values = received.headers.iter().filter(|(kept, _)| kept == name);
        for (_, value) in values {
            if let Ok(value) = HeaderValue::from_bytes(value) {
                response.append_header((shown.clone(), value));
            }
        }
    }
    let file = format!("attachment; filename=\"{}\"", received.id);
    Ok(response
        .content_type("application/octet-stream")
        .insert_header((CONTENT_DISPOSITION, file))
        .insert_header(("x-content-type-options", "nosniff"))
        .insert_header(("content-security-policy", "default-src 'none'; sandbox"))
        .insert_header(("cache-control", "no-store"))
        .body(body))
}

/// The body without credentials, and whether it was decoded for that.
async fn shown(received: &Arc<Received>, reader: BodyReader) -> Result<(Bytes, bool), ApiError> {
    if !reader.hides(&received.body) {
        return Ok((received.body.clone(), false));
    }
    let received = Arc::clone(received);
    let hide = move || {
        let encoding = content_encoding(&received.headers);
        reader.shown_as_sent(&received.body, encoding, true)
    };
    web::block(hide).await.ok().flatten().ok_or_else(|| {
        ApiError::not_found(
            "its encoding cannot be undone, so the credentials in it cannot be hidden; raw=true is every byte",
        )
    })
}

/// Which headers of the sender are told, and as what.
const SHOWN: [(&str, HeaderName); 2] = [
    (
        "content-type",
        HeaderName::from_static("offhook-content-type"),
    ),
    (
        "content-encoding",
        HeaderName::from_static("offhook-content-encoding"),
    ),
];
