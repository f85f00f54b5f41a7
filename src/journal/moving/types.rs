//! [`Moved`]: what was moved; [`MoveError`]; and [`Reshape`], which knows what progress means.

use std::collections::BTreeMap;
use std::fmt::Display;

use crate::journal::{Position, Record, SavedProgress, Seq, Share};

/// What is being moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MoveStep {
    /// An earlier process was interrupted: its work is used up to this event.
    Resumed(Seq),
    /// Events: the newest one that is moved, and the newest one of all.
    Events(Seq, Seq),
    /// Dedup keys: how many are moved.
    DedupKeys(u64),
    /// Progress, dead letters, subscriptions, and then the counts.
    Rest,
}

/// What was moved, as the target has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Moved {
    /// The oldest and the newest event; the newest is 0 in an empty journal.
    pub first: Seq,
    /// See `first`.
    pub last: Seq,
    /// How many dedup keys have windows that have not ended.
    pub dedup_keys: u64,
    /// What both journals have.
    pub counts: MovedCounts,
    /// Up to which event an earlier process had come.
    pub resumed_at: Option<Seq>,
}

/// How much a journal holds. Both journals were counted, and have the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MovedCounts {
    /// Bodies, also those that were deleted or are damaged.
    pub events: u64,
    /// Bodies that were deleted.
    pub deletions: u64,
    /// Consumers with progress.
    pub consumers: u64,
    /// Consumers that are paused.
    pub paused: u64,
    /// Events that consumers have given up on.
    pub dead_letters: u64,
    /// Subscriptions and other documents.
    pub documents: u64,
}

/// Why a journal was not moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MoveError {
    /// It cannot be moved like this. Nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// It has failed. The next call goes on.
    #[error("{0}; the old journal is as it was, and the same command goes on where this one ended")]
    Failed(String),
    /// The target does not hold what the source holds.
    #[error(
        "{what}: the old journal has {old}, and the new one {new}; the old one is as it was, and the new one is not used"
    )]
    Differs {
        /// What was counted.
        what: &'static str,
        /// How many there are in the source.
        old: u64,
        /// How many there are in the target.
        new: u64,
    },
}

pub(in crate::journal) fn failed(error: impl Display) -> MoveError {
    MoveError::Failed(error.to_string())
}

/// Knows what the progress of a consumer means. Each method returns `None` for what cannot be read.
pub(crate) trait Reshape {
    /// The events whose shares [`Reshape::divide`] asks for.
    fn positions(&self, saved: &SavedProgress) -> Option<Vec<Position>>;

    /// Divides progress among shares. An event whose share is not known is not in the log any more.
    fn divide(
        &self,
        saved: &SavedProgress,
        shares: Share,
        share_of: &dyn Fn(Position) -> Option<Share>,
    ) -> Option<Vec<SavedProgress>>;

    /// Begins to unite the progress of all shares.
    fn unite(&self, parts: &BTreeMap<Share, SavedProgress>) -> Option<Box<dyn Unite>>;

    /// Whether nothing starts until an administrator resumes the consumer.
    fn is_paused(&self, saved: &SavedProgress) -> bool;
}

/// Unites the progress of all shares: what an event is to the one whose share it is in.
pub(crate) trait Unite {
    /// All records after this one are to be taken, in order.
    fn floor(&self) -> Seq;

    fn take(&mut self, record: &Record);

    fn end(self: Box<Self>) -> SavedProgress;
}

impl MovedCounts {
    /// Compares the counts of the source with those of the target.
    pub(super) fn compare(self, target: Self) -> Result<Self, MoveError> {
        let table = [
            ("events", self.events, target.events),
            ("deleted events", self.deletions, target.deletions),
            ("consumers", self.consumers, target.consumers),
            ("paused consumers", self.paused, target.paused),
            ("dead letters", self.dead_letters, target.dead_letters),
            ("documents", self.documents, target.documents),
        ];
        match table.into_iter().find(|(_, old, new)| old != new) {
            Some((what, old, new)) => Err(MoveError::Differs { what, old, new }),
            None => Ok(self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_difference_is_enough() {
        let counts = MovedCounts::default();
        assert_eq!(counts.compare(counts).unwrap(), counts);
        type Change = fn(&mut MovedCounts) -> &mut u64;
        let all: [Change; 6] = [
            |counts| &mut counts.events,
            |counts| &mut counts.deletions,
            |counts| &mut counts.consumers,
            |counts| &mut counts.paused,
            |counts| &mut counts.dead_letters,
            |counts| &mut counts.documents,
        ];
        for change in all {
            let mut other = counts;
            *change(&mut other) = 1;
            let error = counts.compare(other).unwrap_err().to_string();
            assert!(error.contains("has 0, and the new one 1"), "{error}");
        }
    }
}
