//! [`Notes`]: what an index must be told because the journal does not hold it.

use std::fmt::Debug;

use crate::dispatch::AttemptObserver;
use crate::journal::{Part, Position, Seq};
use crate::{Event, Received};

/// Tells an index what the journal does not hold.
pub(crate) trait Notes: Debug + Send + Sync + 'static {
    /// Returns the observer of one consumer's attempts. The index ends after the last observer is
    /// dropped.
    fn consumer(&self, name: &str) -> Box<dyn AttemptObserver>;

    /// Notes that the event `part` of a received body repeats the event at `of`. `events` holds all
    /// events of the body.
    fn duplicate(&self, received: &Received, events: &[Event], part: Part, of: Position);

    /// Notes that bodies up to this one have left the journal.
    fn trimmed(&self, up_to: Seq);
}

/// Discards all notes, for a server without an index.
impl Notes for () {
    fn consumer(&self, _: &str) -> Box<dyn AttemptObserver> {
        Box::new(())
    }

    fn duplicate(&self, _: &Received, _: &[Event], _: Part, _: Position) {}

    fn trimmed(&self, _: Seq) {}
}
