//! `GET /api/stream`: events and changes as they come, as server-sent events.
//!
//! 1. This file reads what is asked for, and takes a place.
//! 2. `viewer.rs` makes what is sent, when the connection has room for it and `pace.rs` has.
//! 3. `reader.rs` reads the events; `rows.rs` chooses and shows them; `place.rs` says where to go on.
//!    Changes come from [`News`](crate::telemetry::News).
//! 4. `encoding.rs` writes it.

mod encoding;
mod pace;
mod place;
mod reader;
mod rows;
mod viewer;

use std::convert::Infallible;
use std::str::FromStr as _;
use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{ACCEPT, CACHE_CONTROL, HeaderMap, HeaderName};
use actix_web::{HttpRequest, HttpResponse, web};
use futures_util::stream::unfold;
use serde::Deserialize;

use self::pace::Pace;
use self::place::Place;
use self::reader::{EventReader, Source};
use self::rows::RowFilter;
use self::viewer::Viewer;
use super::error::{Answer, ApiError};
use super::request::{event_kind, only, time};
use super::state::State;
use crate::Timestamp;
use crate::clock::{Clock as _, SystemClock};
use crate::journal::{Journal, Unavailable};
use crate::telemetry::{ChangeKind, News, NoPlace};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamQuery {
    session: Option<String>,
    event: Option<String>,
    source: Option<String>,
    kinds: Option<String>,
    after: Option<String>,
    from: Option<String>,
    #[serde(default)]
    complete: bool,
    #[serde(default)]
    strict: bool,
}

/// `GET /api/stream`
pub(super) async fn watch(
    state: State,
    request: HttpRequest,
    query: web::Query<StreamQuery>,
) -> Answer {
    let (query, headers) = (query.into_inner(), request.headers());
    let pipeline = Arc::clone(state.shared_pipeline()?);
    check_accept(headers)?;
    let (events, changes) = kinds(query.kinds.as_deref())?;
    let filter = Arc::new(RowFilter {
        source: query.source,
        session: query.session,
        event: event_kind(query.event)?,
        from: time("from", query.from.as_deref())?,
        changes,
    });
    let resume = resume(headers, query.after.as_deref())?;
    let news = state.metrics.news();
    let viewing = news.view(&filter.changes)?;
    // The token may have been replaced since the request was let through, and before this viewer could be sent away.
    if !state.is_known(headers) {
        return Err(ApiError::unauthorized());
    }
    let journal = pipeline.journal().as_ref();
    let (at, is_other) = begin(journal, news, (resume, filter.from), query.strict).await?;
    let mut out = encoding::opening(&at);
    if is_other && events {
        encoding::add(&mut out, None, "skipped", OTHER_JOURNAL);
    }
    let source = Source {
        journal: Arc::clone(pipeline.journal()),
        decoder: Arc::clone(pipeline.decoder()),
        filter: Arc::clone(&filter),
    };
    let hears_states = filter.changes.contains(&ChangeKind::State);
    let viewer = Viewer {
        events: events.then(|| EventReader::new(source, news.clone(), at)),
        viewing,
        filter,
        pace: Pace::new(query.complete, events && hears_states),
        out,
        sent_at: SystemClock.monotonic(),
        has_ended: false,
    };
    let pieces = unfold(viewer, |mut viewer| async move {
        let piece = viewer.next().await?;
        Some((Ok::<_, Infallible>(piece), viewer))
    });
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        .insert_header((CACHE_CONTROL, "no-store"))
        // nginx would hold it back.
        .insert_header((X_ACCEL_BUFFERING, "no"))
        .streaming(pieces))
}

/// Whether events are asked for, and which changes.
fn kinds(text: Option<&str>) -> Result<(bool, Vec<ChangeKind>), ApiError> {
    let Some(text) = text else {
        return Ok((true, ChangeKind::ALL.to_vec()));
    };
    let (mut events, mut changes) = (false, Vec::new());
    for name in text.split(',') {
        let change = ChangeKind::ALL.into_iter();
        match change.clone().find(|kind| kind.as_str() == name) {
            Some(kind) => changes.push(kind),
            None if name == EVENT => events = true,
            None => {
                let names: Vec<_> = change.map(ChangeKind::as_str).collect();
                return Err(ApiError::bad_request(format!(
                    "kinds: found {name:?}; allowed: {EVENT}, {}, with commas between them",
                    names.join(", ")
                )));
            }
        }
    }
    Ok((events, changes))
}

/// Where a client wants to begin.
#[derive(Debug, Clone, Copy)]
enum Resume {
    /// With the oldest event that is kept.
    Oldest,
    /// Behind the last one that it has got.
    After(Place),
}

/// Where the client goes on. A browser that comes back says it in a header.
fn resume(headers: &HeaderMap, after: Option<&str>) -> Result<Option<Resume>, ApiError> {
    let read = |name: &str, text: &str| {
        Place::from_str(text).map_err(|()| {
            ApiError::bad_request(format!(
                "{name}: found {text:?}, expected the id of an event of the stream, such as 1048577"
            ))
        })
    };
    if headers.contains_key(LAST_EVENT_ID) {
        let once = only(headers, &LAST_EVENT_ID).ok_or_else(|| {
            ApiError::bad_request("Last-Event-ID: expected once, with the id of an event")
        })?;
        // A client that has got nothing yet has this of an empty journal.
        return Ok(Some(Resume::After(read("Last-Event-ID", once)?)));
    }
    let place = after.map(|after| read("after", after)).transpose()?;
    Ok(place.map(|place| {
        if place == NOTHING {
            Resume::Oldest
        } else {
            Resume::After(place)
        }
    }))
}

/// The place after which the viewer reads; and whether it goes on in another journal than it has read before.
async fn begin(
    journal: &dyn Journal,
    news: &News,
    (resume, from): (Option<Resume>, Option<Timestamp>),
    strict: bool,
) -> Result<(Place, bool), ApiError> {
    let newest = Place::behind(journal.tail().head());
    match (&resume, from) {
        (None, None) => return Ok((newest, false)),
        (Some(Resume::After(place)), _) if *place == newest => return Ok((newest, false)),
        _ => {}
    }
    // What is read here counts as well.
    let _turn = news.turn().await;
    let oldest = oldest(journal).await?;
    let place = match (resume, from) {
        (Some(Resume::After(place)), _) => place,
        (None, Some(from)) => return Ok((Place::at(journal, from).await?.max(oldest), false)),
        _ => return Ok((oldest, false)),
    };
    let why = if place > newest {
        "the journal has no event with such a number yet: it is another journal, or an older copy"
    } else if place < oldest {
        "events behind it are not kept any more"
    } else {
        return Ok((place, false));
    };
    if strict {
        let oldest = "after=0 begins with the oldest event that is kept";
        let text = format!("cannot go on after {place}: {why}; {oldest}");
        return Err(ApiError::new(StatusCode::GONE, "gone", text));
    }
    let is_other = place > newest;
    Ok((if is_other { oldest } else { place }, is_other))
}

/// The place before the oldest event that is kept.
async fn oldest(journal: &dyn Journal) -> Result<Place, Unavailable> {
    let oldest = journal.read(0, 1).await?;
    let newest = journal.tail().head();
    Ok(Place::behind(
        oldest.first().map_or(newest, |oldest| oldest.seq - 1),
    ))
}

/// A client that takes something else has asked the wrong path.
fn check_accept(headers: &HeaderMap) -> Result<(), ApiError> {
    let Some(accepted) = headers.get(ACCEPT) else {
        return Ok(());
    };
    let accepted = accepted.to_str().unwrap_or_default().to_ascii_lowercase();
    let mut types = accepted
        .split(',')
        .map(|one| one.split(';').next().unwrap_or_default().trim());
    if types.any(|one| matches!(one, "text/event-stream" | "text/*" | "*/*")) {
        return Ok(());
    }
    let text = "this is a stream of events; ask with Accept: text/event-stream, or without Accept";
    let status = StatusCode::NOT_ACCEPTABLE;
    Err(ApiError::new(status, "not_acceptable", text))
}

impl From<NoPlace> for ApiError {
    fn from(no_place: NoPlace) -> Self {
        match no_place {
            NoPlace::Taken(most) => Self::too_many_viewers(most),
            NoPlace::Stopping => Self::unavailable("the server stops"),
        }
    }
}

/// The name of events in `kinds`.
const EVENT: &str = "event";

/// Before everything.
const NOTHING: Place = Place { body: 0, parts: 0 };

/// What a client is told that has read more than there is.
const OTHER_JOURNAL: &str = r#"{"kind":"event","why":"other_journal"}"#;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
