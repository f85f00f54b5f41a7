//! [`Next`]: the records of events that are to start soon.

use std::sync::Arc;

use crate::dispatch::tuning::DispatchTuning;
use crate::journal::{Position, PositionMap, Record};

/// The records of events that are to start next, so that they need not be looked for again. Only as
/// many as start soon: a thousand consumers that hang must not fill the memory.
#[derive(Debug)]
pub(super) struct Next {
    records: PositionMap<Arc<Record>>,
    bytes: usize,
    tuning: DispatchTuning,
}

impl Next {
    pub(super) fn new(tuning: DispatchTuning) -> Self {
        Self {
            records: PositionMap::default(),
            bytes: 0,
            tuning,
        }
    }

    pub(super) fn put(&mut self, position: Position, record: Arc<Record>) {
        let bytes = self.bytes + record.received.body.len();
        let room = self.tuning.enough + self.tuning.read_in_a_turn;
        if self.records.len() < room && bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.records.insert(position, record);
        }
    }

    pub(super) fn take(&mut self, position: Position) -> Option<Arc<Record>> {
        let record = self.records.remove(&position)?;
        self.bytes -= record.received.body.len();
        Some(record)
    }

    /// Gives back the memory for more than there are.
    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
    }
}

const MAX_BYTES: usize = 256 * 1024;
