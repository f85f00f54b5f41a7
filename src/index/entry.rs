//! What is asked of an index, and what it answers.

use crate::journal::Position;
use crate::{EventId, EventKind, Timestamp};

/// Which events.
#[derive(Debug, Clone, Default)]
#[cfg_attr(
    not(feature = "sqlite"),
    expect(dead_code, reason = "only an index reads them")
)]
pub(crate) struct EventFilter {
    pub(crate) session: Option<String>,
    pub(crate) kind: Option<EventKind>,
    /// Only events before this one.
    pub(crate) before: Option<EventId>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

/// An event as the index has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EventEntry {
    pub(crate) id: EventId,
    /// Where it stands in the journal; `None` for a duplicate.
    pub(crate) position: Option<Position>,
    /// The event it is the same as.
    pub(crate) duplicate_of: Option<EventId>,
    pub(crate) at: Timestamp,
    pub(crate) source: String,
    pub(crate) session: Option<String>,
    pub(crate) kind: EventKind,
    pub(crate) name: Option<String>,
    pub(crate) bytes: u64,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TimelineEntry {
    pub(crate) at: Timestamp,
    pub(crate) consumer: String,
    pub(crate) attempt: u32,
    pub(crate) outcome: String,
}
