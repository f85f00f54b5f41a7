//! [`Replay`]: events that are handed over again on request, some at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::progress::Positions;
use crate::Timestamp;
use crate::journal::Position;

/// A replay of one consumer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Replay {
    /// A request that asks several consumers has one id.
    #[serde(skip)]
    pub(crate) id: Uuid,
    #[serde(flatten)]
    pub(crate) request: ReplayRequest,
    pub(crate) asked_at: Timestamp,
    pub(crate) state: ReplayState,
    /// How many events it had at the beginning.
    pub(crate) matched: u64,
    /// How many of them were handed over, or need not be.
    pub(crate) handed_over: u64,
    /// The events that are still to be handed over.
    #[serde(skip)]
    pub(crate) pending: Positions,
}

/// What was asked for, as an administrator sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReplayRequest {
    pub(crate) session: Option<String>,
    pub(crate) event: Option<String>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// How many events were named one by one, in place of all that match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) ids: Option<u64>,
    /// Events a second; `None` if there is no limit.
    pub(crate) rate: Option<u32>,
}

/// What has become of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ReplayState {
    Running,
    /// All events were handed over.
    Done,
    Cancelled,
}

impl Replay {
    /// A replay of these events.
    pub(crate) fn new(
        id: Uuid,
        request: ReplayRequest,
        events: impl IntoIterator<Item = Position>,
        asked_at: Timestamp,
    ) -> Self {
        let pending: Positions = events.into_iter().collect();
        Self {
            id,
            request,
            asked_at,
            state: ReplayState::Running,
            matched: pending.len(),
            handed_over: 0,
            pending,
        }
    }

    /// The pause between two events.
    pub(super) fn pause(&self) -> Duration {
        let rate = self.request.rate;
        rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate.max(1))
    }

    /// Takes an event off the list. The replay is done with the last one.
    pub(super) fn handed_over(&mut self, position: Position) {
        if self.pending.remove(position) {
            self.handed_over += 1;
        }
        if self.pending.is_empty() {
            self.state = ReplayState::Done;
        }
    }

    /// Ends it: what was not handed over stays as it is.
    pub(super) fn cancel(&mut self) {
        self.pending.clear();
        self.state = ReplayState::Cancelled;
    }

    /// Combines the parts of a replay in two shares.
    pub(super) fn add(&mut self, other: &Self) {
        self.matched += other.matched;
        self.handed_over += other.handed_over;
        if other.is_running() || self.state == ReplayState::Done {
            self.state = other.state;
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.state == ReplayState::Running
    }
}
