//! [`EventState`]: what became of an event, over all consumers.

use serde::{Deserialize, Serialize};

use crate::dispatch::Status;
use crate::engine::Pipeline;
use crate::index::Entry;
use crate::journal::{DeadLetter, Seq, Unavailable};

/// What became of an event, over all consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventState {
    /// A consumer has given up on it.
    Dead,
    /// A consumer has failed and will try again.
    Retrying,
    /// A consumer has not settled it yet.
    Pending,
    /// Nothing is left to do.
    Done,
}

impl EventState {
    /// The state of an event, from how all consumers are doing and the dead letters of the event.
    pub(super) fn of(event: &Entry, consumers: &[Status], dead: &[(String, DeadLetter)]) -> Self {
        // A duplicate is never handed over.
        let Some(seq) = event.seq else {
            return Self::Done;
        };
        let is_retrying = |status: &Status| status.retrying.contains(seq);
        let is_pending =
            |status: &Status| !status.progress.is_settled(seq) || status.replaying.contains(seq);
        if dead.iter().any(|(_, letter)| letter.seq == seq) {
            Self::Dead
        } else if consumers.iter().any(is_retrying) {
            Self::Retrying
        } else if consumers.iter().any(is_pending) {
            Self::Pending
        } else {
            Self::Done
        }
    }
}

/// The dead letters of these events, each with its consumer's name.
pub(super) async fn dead_letters(
    pipeline: &Pipeline,
    events: &[Entry],
) -> Result<Vec<(String, DeadLetter)>, Unavailable> {
    let numbers: Vec<Seq> = events.iter().filter_map(|event| event.seq).collect();
    pipeline.journal().dead_among(&numbers).await
}
