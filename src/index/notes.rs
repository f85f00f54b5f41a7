//! [`Notes`]: what an index is told that is not in the journal.

use std::fmt::Debug;

use crate::dispatch::AttemptObserver;
use crate::journal::{Part, Position, Seq};
use crate::{Event, Received};

/// What an index is told that is not in the journal.
pub(crate) trait Notes: Debug + Send + Sync + 'static {
    /// Where a consumer tells of its attempts. The index ends after the last of these is dropped.
    fn consumer(&self, name: &str) -> Box<dyn AttemptObserver>;

    /// The event `part` of a body was received that is the same as the event `of`. `events` has all events
    /// of the body.
    fn duplicate(&self, received: &Received, events: &[Event], part: Part, of: Position);

    /// Bodies up to this one have left the journal.
    fn trimmed(&self, up_to: Seq);
}

/// Without an index nothing is noted.
impl Notes for () {
    fn consumer(&self, _: &str) -> Box<dyn AttemptObserver> {
        Box::new(())
    }

    fn duplicate(&self, _: &Received, _: &[Event], _: Part, _: Position) {}

    fn trimmed(&self, _: Seq) {}
}
