//! [`Search`]: what can be asked of an index.

use std::fmt::Debug;

use async_trait::async_trait;

use super::entry::{EventEntry, EventFilter, TimelineEntry};
use crate::EventId;
use crate::journal::{Position, Unavailable};

/// What can be asked of an index. Every question first waits, for a second at most, until all is indexed
/// that happened before it.
#[async_trait]
pub(crate) trait Search: Debug + Send + Sync + 'static {
    /// The newest events that pass, newest first, at most `limit`.
    async fn newest(
        &self,
        filter: EventFilter,
        limit: usize,
    ) -> Result<Vec<EventEntry>, Unavailable>;

    /// The positions of all kept events that pass, oldest first, at most `limit`.
    async fn positions(
        &self,
        filter: EventFilter,
        limit: usize,
    ) -> Result<Vec<Position>, Unavailable>;

    /// The event with this id.
    async fn by_id(&self, id: EventId) -> Result<Option<EventEntry>, Unavailable>;

    /// The events at these positions, oldest first.
    async fn by_positions(&self, positions: Vec<Position>) -> Result<Vec<EventEntry>, Unavailable>;

    /// All attempts at an event, oldest first, at most 1,000.
    async fn attempts(&self, position: Position) -> Result<Vec<TimelineEntry>, Unavailable>;
}
