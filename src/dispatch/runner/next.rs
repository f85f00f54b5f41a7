//! [`Next`]: the records of events that will start soon.

use std::sync::Arc;

use crate::dispatch::tuning::DispatchTuning;
use crate::journal::{Position, PositionMap, Record};

/// Caches the records of the events that start next, so that they need not be read again. It holds only
/// those that start soon: a thousand consumers that hang must not fill the memory.
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

    /// Frees memory that is no longer needed.
    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
    }
}

const MAX_BYTES: usize = 256 * 1024;
