//! [`Search`]: what an index is asked; [`Notes`]: what it must be told.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use serde::Serialize;

use crate::dispatch::AttemptObserver;
use crate::journal::{Part, Position, Seq, Unavailable};
use crate::{Event, EventId, EventKind, Received, Timestamp};

/// The questions that an index answers. Each waits for one second at most until everything that
/// happened before it is indexed.
#[async_trait]
pub(crate) trait Search: Debug + Send + Sync + 'static {
    /// Returns the newest events that match, newest first, at most `limit`.
    async fn newest(&self, filter: EventFilter, limit: usize) -> Answer<Vec<EventEntry>>;

    /// Returns the positions of all events in the journal that match, oldest first, at most
    /// `limit`.
    async fn positions(&self, filter: EventFilter, limit: usize) -> Answer<Vec<Position>>;

    /// As [`Search::positions`], of what is indexed now: it does not wait, unless the index is in trouble.
    async fn positions_now(&self, filter: EventFilter, limit: usize) -> Answer<Vec<Position>>;

    async fn by_id(&self, id: EventId) -> Answer<Option<EventEntry>>;

    /// Returns events whose ids are from `first` to `last`, also deleted ones, at most two. `None` if not all
    /// bodies up to `up_to` are indexed: there may be others.
    async fn between(
        &self,
        first: EventId,
        last: EventId,
        up_to: Seq,
    ) -> Answer<Option<Vec<EventEntry>>>;

    /// Returns the events at these positions, oldest first.
    async fn by_positions(&self, positions: Vec<Position>) -> Answer<Vec<EventEntry>>;

    /// Returns whether all bodies up to this one are indexed.
    async fn is_complete(&self, up_to: Seq) -> bool;

    /// Returns all attempts at an event, oldest first, at most 1,000.
    async fn attempts(&self, position: Position) -> Answer<Vec<TimelineEntry>>;
}

pub(super) type Answer<T> = Result<T, Unavailable>;

#[derive(Debug, Clone, Default)]
#[cfg_attr(
    not(feature = "sqlite"),
    expect(dead_code, reason = "only an index reads them")
)]
pub(crate) struct EventFilter {
    pub(crate) session: Option<String>,
    pub(crate) kind: Option<EventKind>,
    /// Only events that were received before this one.
    pub(crate) before: Option<EventId>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
    /// Only events in the journal after this position.
    pub(crate) after: Option<Position>,
}

/// An event, as the index knows it and the admin API shows it. The texts can be borrowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct EventEntry<T = String> {
    pub(crate) id: EventId,
    /// Its position; for a duplicate, the position of its original.
    #[serde(skip)]
    pub(crate) position: Position,
    #[serde(skip)]
    pub(crate) is_duplicate: bool,
    /// Whether its body was deleted: only its id and its time are known.
    #[serde(skip)]
    pub(crate) is_deleted: bool,
    pub(crate) source: T,
    pub(crate) session: Option<T>,
    #[serde(rename = "event")]
    pub(crate) kind: EventKind,
    pub(crate) name: Option<T>,
    #[serde(rename = "received_at")]
    pub(crate) at: Timestamp,
    pub(crate) bytes: u64,
    /// For a duplicate, the event that it repeats.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) duplicate_of: Option<EventId>,
    /// Why its body is unusual.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) odd: Option<T>,
}

impl<T> EventEntry<T> {
    /// Returns its position in the journal, which has no duplicates.
    pub(crate) fn in_journal(&self) -> Option<Position> {
        (!self.is_duplicate).then_some(self.position)
    }
}

/// One attempt at an event. Attempts are ordered by time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimelineEntry {
    pub(crate) at: Timestamp,
    pub(crate) attempt: u32,
    pub(crate) consumer: String,
    pub(crate) outcome: String,
    pub(crate) took_ms: u32,
    /// The beginning of what a refusing subscriber has answered.
    pub(crate) answer: Option<String>,
}

/// Tells an index what the journal does not hold.
pub(crate) trait Notes: Debug + Send + Sync + 'static {
    /// Returns the observer of one consumer's attempts. The index ends after the last observer is
    /// dropped.
    fn consumer(&self, name: &str) -> Arc<dyn AttemptObserver>;

    /// Notes that the event `part` of a received body repeats the event at `of`. `events` holds all
    /// events of the body.
    fn duplicate(&self, received: &Received, events: &[Event], part: Part, of: Position);

    /// Notes that bodies up to this one have left the journal.
    fn trimmed(&self, up_to: Seq);

    /// Notes that the journal has new deletions.
    fn deleted(&self);
}

/// Discards all notes, for a server without an index.
impl Notes for () {
    fn consumer(&self, _: &str) -> Arc<dyn AttemptObserver> {
        Arc::new(())
    }

    fn duplicate(&self, _: &Received, _: &[Event], _: Part, _: Position) {}

    fn trimmed(&self, _: Seq) {}

    fn deleted(&self) {}
}
