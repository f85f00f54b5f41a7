//! [`Reading`]: how far a runner has read; [`Fetching`]: a read from the disk.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::dispatch::records::{Chunks, Next};
use crate::journal::{Part, Position, PositionMap, Record, Seq, Unavailable};

/// How far a runner has read, and what it has in memory beside the schedule.
pub(super) struct Reading {
    /// Every event up to this body is settled, in the schedule, or left in the journal by the schedule.
    pub(super) cursor: Seq,
    /// Every body up to here that retention has removed is settled.
    pub(super) removed: Seq,
    /// Up to which body the running sweep has come.
    pub(super) sweep: Option<Seq>,
    pub(super) next: Next,
    pub(super) chunks: Arc<Chunks>,
    /// For a consumer that takes bodies: the events of each body whose first event is in the schedule.
    pub(super) together: PositionMap<Vec<Part>>,
    /// Whether a read from the disk is on its way, to read on and to sweep.
    pub(super) on_its_way: [bool; 2],
    /// No bookmark is placed before this body.
    pub(super) next_bookmark: Seq,
    /// How many records were read since an attempt could start.
    pub(super) ahead: usize,
}

/// A read from the disk.
pub(super) type Fetching = BoxFuture<'static, Fetched>;

/// What was read from the disk.
pub(super) enum Fetched {
    /// The records after this body.
    Records(Purpose, Seq, Result<Vec<Arc<Record>>, Unavailable>),
    /// Records of events to be replayed; `None` for those that are no longer there.
    Replayed(Vec<(Position, Found)>),
}

/// The record of an event, or `None` when it is no longer in the journal.
pub(super) type Found = Result<Option<Arc<Record>>, Unavailable>;

/// Why records are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    ReadOn,
    Sweep,
}

impl Reading {
    pub(super) fn new(cursor: Seq, next: Next) -> Self {
        Self {
            cursor,
            removed: 0,
            sweep: None,
            next,
            chunks: Arc::default(),
            together: PositionMap::default(),
            on_its_way: [false; 2],
            next_bookmark: cursor,
            ahead: 0,
        }
    }

    /// The events that are handed over together under this position; usually that one alone.
    pub(super) fn parts(&self, position: Position) -> impl Iterator<Item = Position> + use<'_> {
        let together = self.together.get(&position);
        let alone = together.is_none().then_some(position.part());
        let parts = together.into_iter().flatten().copied().chain(alone);
        parts.map(move |part| Position::new(position.seq(), part))
    }
}
