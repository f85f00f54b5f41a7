//! Reads the events of bodies without holding up the requests that are answered on the same thread.

use std::sync::Arc;

use actix_web::web;

use crate::dispatch::outlined;
use crate::engine::Pipeline;
use crate::journal::Record;

/// The record with its events. What may take long is read on another thread.
pub(super) async fn with_events(pipeline: &Pipeline, record: Arc<Record>) -> Arc<Record> {
    let decoder = pipeline.decoder();
    let is_small = record.received.body.len() <= SMALL && !decoder.is_encoded(&record.received);
    if is_small || record.events.known().is_some() {
        return outlined(record, decoder);
    }
    let (decoder, kept) = (Arc::clone(decoder), Arc::clone(&record));
    let read = move || outlined(record, &decoder);
    web::block(read).await.unwrap_or(kept)
}

/// A body that is not encoded and has at most so many bytes is read within a millisecond.
const SMALL: usize = 16 * 1024;
