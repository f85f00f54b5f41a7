//! [`AttemptObserver`]: a part of the program that follows what consumers do, such as the index.

use std::fmt::Debug;

use super::attempt::Outcome;
use crate::Timestamp;
use crate::journal::Position;

/// Receives each attempt of one consumer; dropped when the consumer has ended.
pub(crate) trait AttemptObserver: Debug + Send + Sync {
    /// Called when the consumer's attempt number `attempt` at an event has ended.
    fn attempted(&self, position: Position, attempt: u32, outcome: &Outcome, at: Timestamp);
}

/// Observes nothing.
impl AttemptObserver for () {
    fn attempted(&self, _: Position, _: u32, _: &Outcome, _: Timestamp) {}
}
