//! [`RunnerContext`]: what all runners of a share have in common, and the limits on their work.

use std::sync::Arc;

use crate::clock::Clock;
use crate::dialect::Decoder;
use crate::dispatch::large::LargeBodies;
use crate::dispatch::records::outlined;
use crate::journal::{Desk, Hold, Journal, Record};

/// What all runners of a share have in common.
#[derive(Debug, Clone)]
pub(crate) struct RunnerContext {
    pub(crate) journal: Arc<dyn Journal>,
    /// Stores the progress in this share.
    pub(crate) desk: Arc<dyn Desk>,
    /// Says whether the share is still held, if several instances share the journal.
    pub(crate) hold: Option<Hold>,
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) large: Arc<LargeBodies>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tuning: DispatchTuning,
}

impl RunnerContext {
    /// Whether this instance may not use the share any more.
    pub(super) fn is_lapsed(&self) -> bool {
        let hold = self.hold.as_ref();
        hold.is_some_and(|hold| hold.is_over(self.clock.monotonic()))
    }

    /// The record with its events, as far as they are needed to schedule them.
    pub(super) fn outlined(&self, record: Arc<Record>) -> Arc<Record> {
        outlined(record, &self.decoder)
    }
}

/// Limits on the work of a runner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DispatchTuning {
    /// How much memory the waiting events of a consumer take, in bytes; most bodies are read only when they
    /// are due.
    pub(in crate::dispatch) memory: usize,
    /// How many of them are of one conversation.
    pub(in crate::dispatch) lane: usize,
    /// How many records are read at a time.
    pub(in crate::dispatch) read_in_a_turn: usize,
    /// How many records of events that start soon are in memory.
    pub(in crate::dispatch) next: usize,
    /// After this many started attempts, other work gets its turn.
    pub(in crate::dispatch) started_in_a_turn: usize,
    /// How many events of one replay are handed over and not settled.
    pub(in crate::dispatch) replayed_together: u64,
    /// After so many bodies of a backlog a new bookmark is saved. After a restart so many are read again
    /// before new events.
    pub(in crate::dispatch) bookmark_every: u64,
}

impl Default for DispatchTuning {
    fn default() -> Self {
        Self {
            memory: 12 << 20,
            lane: 4_096,
            read_in_a_turn: 128,
            next: 192,
            started_in_a_turn: 128,
            replayed_together: 256,
            bookmark_every: 16_384,
        }
    }
}
