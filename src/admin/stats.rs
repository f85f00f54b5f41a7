//! `/api/stats`: what happened in each minute of the last hour, or in each hour of the last day.

use std::collections::BTreeMap;
use std::path::PathBuf;

use actix_web::{HttpResponse, web};
use futures_util::future::join_all;
use serde::Deserialize;
use serde_json::{Value, json};

use super::error::{Answer, ApiError};
use super::state::{AdminState, State};
use crate::Timestamp;
use crate::clock::{Clock as _, SystemClock};
use crate::dispatch::ConsumerControls;
use crate::engine::Pipeline;
use crate::journal::{Seq, Unavailable};
use crate::telemetry::Window;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatsQuery {
    window: Option<String>,
}

/// `GET /api/stats`
pub(super) async fn show(state: State, query: web::Query<StatsQuery>) -> Answer {
    let window = match query.window.as_deref() {
        None | Some("1h") => Window::Hour,
        Some("24h") => Window::Day,
        Some(other) => {
            let text = format!("window: found {other:?}, expected 1h or 24h");
            return Err(ApiError::bad_request(text));
        }
    };
    let (stats, now) = (state.metrics.stats(), SystemClock.monotonic());
    let sources = stats.sources(window, now).into_iter();
    let sources = sources.map(|(name, [received, duplicates, refused, unavailable])| {
        json!({
            "name": name,
            "received": received,
            "duplicates": duplicates,
            "refused": refused,
            "unavailable": unavailable,
        })
    });
    let sources: Vec<Value> = sources.collect();
    let consumers = stats.consumers(window, now);
    let lags = match &state.pipeline {
        Some(pipeline) => lags(pipeline).await,
        None => BTreeMap::new(),
    };
    let consumers = consumers.into_iter();
    let consumers = consumers.map(|(name, [delivered, failed, dead, mut lag])| {
        // The step that runs shows what is known now.
        if let (Some(last), Some(now)) = (lag.last_mut(), lags.get(&name)) {
            *last = u32::try_from(*now).ok();
        }
        json!({
            "name": name,
            "delivered": delivered,
            "failed": failed,
            "dead": dead,
            "lag": lag,
        })
    });
    let consumers: Vec<Value> = consumers.collect();
    let journal = match &state.pipeline {
        Some(pipeline) => journal(&state, pipeline).await?,
        None => Value::Null,
    };
    Ok(HttpResponse::Ok().json(json!({
        "since": stats.since(),
        "step_s": window.step_s(),
        "sources": sources,
        "consumers": consumers,
        "journal": journal,
        "viewers": state.metrics.news().viewers(),
    })))
}

/// How far each consumer is behind now.
async fn lags(pipeline: &Pipeline) -> BTreeMap<String, u64> {
    let consumers = pipeline.consumers();
    let statuses = join_all(consumers.iter().map(ConsumerControls::status)).await;
    let known = consumers.iter().zip(statuses);
    let known = known.filter_map(|(one, status)| Some((one.name().to_owned(), status?.lag())));
    known.collect()
}

async fn journal(state: &AdminState, pipeline: &Pipeline) -> Result<Value, Unavailable> {
    let (journal, kept) = (pipeline.journal(), kept(state, pipeline).await?);
    let newest = match journal.tail().get(kept.head) {
        Some(newest) => Some(newest.kept_at),
        None => {
            let newest = journal.read(kept.head.saturating_sub(1), 1).await?.pop();
            newest.map(|newest| newest.kept_at)
        }
    };
    Ok(json!({
        "events": kept.bodies,
        "bytes": kept.bytes,
        "oldest_at": kept.oldest_at,
        "newest_at": newest,
        "retention_s": pipeline.retention().age.as_secs(),
        "disk_free": kept.disk_free,
    }))
}

/// What the journal holds.
pub(super) struct Kept {
    /// The number of the newest body.
    pub(super) head: Seq,
    bodies: u64,
    pub(super) bytes: Option<u64>,
    pub(super) oldest_at: Option<Timestamp>,
    pub(super) disk_free: Option<u64>,
}

pub(super) async fn kept(state: &AdminState, pipeline: &Pipeline) -> Result<Kept, Unavailable> {
    let journal = pipeline.journal();
    let head = journal.tail().head();
    let oldest = state.oldest.find(journal.as_ref()).await?;
    let disk_free = match pipeline.folder() {
        Some(folder) => free(folder.to_owned()).await,
        None => None,
    };
    Ok(Kept {
        head,
        bodies: oldest.map_or(0, |(seq, _)| (head + 1).saturating_sub(seq)),
        bytes: pipeline.size().await,
        oldest_at: oldest.map(|(_, at)| at),
        disk_free,
    })
}

/// How many bytes the file system has left for this process.
async fn free(folder: PathBuf) -> Option<u64> {
    let asked = web::block(move || rustix::fs::statvfs(&folder)).await;
    let found = asked.ok()?.ok()?;
    Some(found.f_bavail.saturating_mul(found.f_frsize))
}
