//! [`ConsumerStatus`] and [`EventStates`]: how far a consumer is.

use super::progress::{Positions, Progress};
use super::saved::Suspended;
use crate::Timestamp;
use crate::journal::Seq;

/// What a consumer has done with each event of one share.
#[derive(Debug, Clone)]
pub(crate) struct EventStates {
    pub(crate) progress: Progress,
    /// Events that are handed over again, or will be.
    pub(crate) replaying: Positions,
    pub(crate) retrying: Positions,
}

/// The state of a consumer, in all shares together.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerStatus {
    pub(crate) paused: bool,
    /// Events that are not settled.
    pub(crate) unsettled: u64,
    /// Settled events that are to be replayed.
    pub(crate) again: u64,
    /// Every event up to here is settled.
    pub(crate) floor: Seq,
    /// Attempts that run now.
    pub(crate) in_flight: usize,
    /// Events that wait in memory.
    pub(crate) in_memory: usize,
    /// Events that were read and left in the journal until there is room for them in memory.
    pub(crate) overflowed: u64,
    /// Events that were tried and wait for a retry.
    pub(crate) retrying: u64,
    /// When the first failure since the last success happened, by the monotonic clock.
    pub(crate) failing_since: Option<Timestamp>,
    /// Why the last attempt failed; `None` when it did not, or none was
    /// made since the program started.
    pub(crate) failing_reason: Option<String>,
    /// Set while the consumer is suspended because nothing succeeded for too long. It starts nothing until
    /// it is resumed.
    pub(crate) suspended: Option<Suspended>,
}

impl ConsumerStatus {
    /// Events that are not settled, and events to be replayed.
    pub(crate) fn lag(&self) -> u64 {
        self.unsettled + self.again
    }

    /// Combines the states of two shares.
    pub(super) fn and(self, other: Self) -> Self {
        let failing = [self.failing_since, other.failing_since];
        Self {
            paused: self.paused || other.paused,
            unsettled: self.unsettled + other.unsettled,
            again: self.again + other.again,
            floor: self.floor.min(other.floor),
            in_flight: self.in_flight + other.in_flight,
            in_memory: self.in_memory + other.in_memory,
            overflowed: self.overflowed + other.overflowed,
            retrying: self.retrying + other.retrying,
            failing_since: failing.into_iter().flatten().min(),
            failing_reason: self.failing_reason.or(other.failing_reason),
            suspended: self.suspended.or(other.suspended),
        }
    }
}
