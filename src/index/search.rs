//! [`Search`]: the questions that an index answers.

use std::fmt::Debug;

use async_trait::async_trait;

use super::entry::{EventEntry, EventFilter, TimelineEntry};
use crate::EventId;
use crate::journal::{Position, Unavailable};

/// The questions that an index answers. Each waits for one second at most until everything that
/// happened before it is indexed.
#[async_trait]
pub(crate) trait Search: Debug + Send + Sync + 'static {
    /// Returns the newest events that match, newest first, at most `limit`.
    async fn newest(
        &self,
        filter: EventFilter,
        limit: usize,
    ) -> Result<Vec<EventEntry>, Unavailable>;

    /// Returns the positions of all events in the journal that match, oldest first, at most
    /// `limit`.
    async fn positions(
        &self,
        filter: EventFilter,
        limit: usize,
    ) -> Result<Vec<Position>, Unavailable>;

    /// Returns the event with this id.
    async fn by_id(&self, id: EventId) -> Result<Option<EventEntry>, Unavailable>;

    /// Returns the events at these positions, oldest first.
    async fn by_positions(&self, positions: Vec<Position>) -> Result<Vec<EventEntry>, Unavailable>;

    /// Returns all attempts at an event, oldest first, at most 1,000.
    async fn attempts(&self, position: Position) -> Result<Vec<TimelineEntry>, Unavailable>;
}
