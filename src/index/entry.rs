//! What an index is asked for, and what it returns.

use crate::journal::Position;
use crate::{EventId, EventKind, Timestamp};

/// Selects events.
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
}

/// An event, as the index knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventEntry {
    pub(crate) id: EventId,
    /// Its position in the journal; `None` for a duplicate.
    pub(crate) position: Option<Position>,
    /// For a duplicate, the event that it repeats.
    pub(crate) duplicate_of: Option<EventId>,
    pub(crate) at: Timestamp,
    pub(crate) source: String,
    pub(crate) session: Option<String>,
    pub(crate) kind: EventKind,
    pub(crate) name: Option<String>,
    pub(crate) bytes: u64,
}

/// One attempt at an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimelineEntry {
    pub(crate) at: Timestamp,
    pub(crate) consumer: String,
    pub(crate) attempt: u32,
    pub(crate) outcome: String,
}
