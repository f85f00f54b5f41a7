//! [`Replaying`]: what the replays of a runner are doing.

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use uuid::Uuid;

use crate::dispatch::progress::{Positions, Progress};
use crate::journal::{Position, PositionMap};

/// What the replays of a runner are doing.
pub(super) struct Replaying {
    /// Settled events that were handed over, before a restart or without room, and are not in the schedule yet.
    pub(super) again: VecDeque<Position>,
    /// None of them is tried again until an event is settled.
    pub(super) waits_for_room: bool,
    /// When each replay hands over next.
    pub(super) next_at: HashMap<Uuid, Instant>,
    /// The events that were handed over and are not settled, with their replays.
    handed_over: PositionMap<Uuid>,
    /// How many of them each replay has.
    pub(super) counts: HashMap<Uuid, u64>,
    /// Whether their records are being fetched.
    pub(super) is_fetching: bool,
}

impl Replaying {
    /// Reading on finds those that are not settled, each in its turn.
    pub(super) fn new(replaying: &Positions, progress: &Progress) -> Self {
        let settled = replaying.iter();
        let settled = settled.filter(|event| progress.is_settled(*event));
        let mut again: Vec<_> = settled.collect();
        again.sort_unstable();
        Self {
            again: again.into(),
            waits_for_room: false,
            next_at: HashMap::new(),
            handed_over: PositionMap::default(),
            counts: HashMap::new(),
            is_fetching: false,
        }
    }

    /// Whether anything may still be handed over.
    pub(super) fn is_idle(&self) -> bool {
        self.again.is_empty() && self.next_at.is_empty()
    }

    pub(super) fn settled(&mut self, position: Position) {
        self.waits_for_room = false;
        if let Some(id) = self.handed_over.remove(&position)
            && let Some(count) = self.counts.get_mut(&id)
        {
            *count -= 1;
        }
    }

    /// Forgets a replay that has ended.
    pub(super) fn forget(&mut self, id: Uuid) {
        self.counts.remove(&id);
        self.handed_over.retain(|_, of| *of != id);
    }

    pub(super) fn hand_over(&mut self, id: Uuid, position: Position) {
        if self.handed_over.insert(position, id).is_none() {
            *self.counts.entry(id).or_default() += 1;
        }
    }
}
