//! [`EventState`]: what became of an event, over all consumers.

use serde::{Deserialize, Serialize};

use crate::dispatch::Status;
use crate::engine::Pipeline;
use crate::index::EventEntry;
use crate::journal::{DeadLetter, Position, Unavailable};

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
    pub(super) fn of(
        event: &EventEntry,
        consumers: &[Status],
        dead: &[(String, DeadLetter)],
    ) -> Self {
        // A duplicate is never handed over.
        let Some(position) = event.position else {
            return Self::Done;
        };
        let is_retrying = |status: &Status| status.retrying.contains(position);
        let is_pending = |status: &Status| {
            !status.progress.is_settled(position) || status.replaying.contains(position)
        };
        if dead.iter().any(|(_, letter)| letter.position == position) {
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
    events: &[EventEntry],
) -> Result<Vec<(String, DeadLetter)>, Unavailable> {
    let positions: Vec<Position> = events.iter().filter_map(|event| event.position).collect();
    pipeline.journal().dead_letters_of(&positions).await
}
