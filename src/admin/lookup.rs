//! Finds the event or the consumers that a request names.

use futures_util::future::join_all;

use super::error::ApiError;
use super::request::event_id;
use crate::dispatch::{ConsumerControls, Status};
use crate::engine::Pipeline;
use crate::index::EventEntry;

/// The event with this id.
pub(super) async fn event(pipeline: &Pipeline, id: &str) -> Result<EventEntry, ApiError> {
    let id = event_id(id)?;
    let search = pipeline.search().ok_or_else(ApiError::no_search)?;
    let found = search.by_id(id).await?;
    found.ok_or_else(|| ApiError::not_found(format!("there is no event {id}")))
}

/// The consumer with this name.
pub(super) fn consumer(pipeline: &Pipeline, name: &str) -> Result<ConsumerControls, ApiError> {
    let all = pipeline.consumers();
    let found = all.iter().find(|consumer| consumer.name() == name);
    found.cloned().ok_or_else(|| {
        let names: Vec<&str> = all.iter().map(ConsumerControls::name).collect();
        let names = names.join(", ");
        ApiError::not_found(format!("there is no consumer {name:?}; there are: {names}"))
    })
}

/// The consumer with this name, or all consumers.
pub(super) fn consumers(
    pipeline: &Pipeline,
    name: Option<&str>,
) -> Result<Vec<ConsumerControls>, ApiError> {
    match name {
        Some(name) => Ok(vec![consumer(pipeline, name)?]),
        None => Ok(pipeline.consumers()),
    }
}

/// How all consumers are doing, in each share.
pub(super) async fn statuses(pipeline: &Pipeline) -> Vec<Status> {
    let consumers = pipeline.consumers();
    let statuses = join_all(consumers.iter().map(ConsumerControls::shares)).await;
    statuses.into_iter().flatten().collect()
}
