//! What became of events: [`EventState`] over all consumers, and [`States`], from which it is told.

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};

use crate::dispatch::{ConsumerControls, EventStates};
use crate::engine::Pipeline;
use crate::index::EventEntry;
use crate::journal::{DeadLetter, Position, Unavailable};

/// What became of an event, over all consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EventState {
    /// A consumer has given up on it.
    Dead,
    /// A consumer has failed and will try again.
    Retrying,
    /// A consumer has not settled it yet.
    Pending,
    /// Nothing is left to do.
    Done,
    /// Nothing is left to do, because it is the same as an earlier one. It is shown as `done`, with that one's id.
    #[serde(rename(serialize = "done"))]
    Duplicate,
}

impl EventState {
    /// The states that can be searched for.
    #[cfg(feature = "dashboard")]
    pub(super) const NAMES: [&str; 5] = ["pending", "done", "retrying", "dead", "duplicate"];

    /// The name by which it is searched for.
    #[cfg(feature = "dashboard")]
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Retrying => "retrying",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Duplicate => "duplicate",
        }
    }

    /// Whether who asks for the `wanted` state gets it.
    pub(super) fn is(self, wanted: Self) -> bool {
        self == wanted || (self, wanted) == (Self::Duplicate, Self::Done)
    }

    fn of<'a>(
        event: &EventEntry,
        mut shares: impl Iterator<Item = &'a EventStates> + Clone,
        is_dead: impl Fn(Position) -> bool,
    ) -> Self {
        let Some(position) = event.in_journal() else {
            return Self::Duplicate;
        };
        let is_pending = |share: &EventStates| {
            !share.progress.is_settled(position) || share.replaying.contains(position)
        };
        if is_dead(position) {
            Self::Dead
        } else if shares
            .clone()
            .any(|share| share.retrying.contains(position))
        {
            Self::Retrying
        } else if shares.any(is_pending) {
            Self::Pending
        } else {
            Self::Done
        }
    }
}

/// How all consumers are doing, and which events they have given up on.
pub(super) struct States {
    /// Each consumer with what it does in each share.
    consumers: Vec<(String, Vec<EventStates>)>,
    /// Dead letters of the events that were learnt, each with its consumer's name.
    pub(super) dead: Vec<(String, DeadLetter)>,
}

impl States {
    /// How the consumers are doing now, and of no event yet whether it is dead.
    pub(super) async fn now(pipeline: &Pipeline) -> Self {
        let consumers = pipeline.consumers();
        let shares = join_all(consumers.iter().map(ConsumerControls::events)).await;
        let names = consumers.iter().map(|one| one.name().to_owned());
        Self {
            consumers: names.zip(shares).collect(),
            dead: Vec::new(),
        }
    }

    /// Learns which of these events are dead.
    pub(super) async fn learn(
        &mut self,
        pipeline: &Pipeline,
        events: &[EventEntry],
    ) -> Result<(), Unavailable> {
        let positions: Vec<Position> = events.iter().filter_map(EventEntry::in_journal).collect();
        let dead = pipeline.journal().dead_letters_of(&positions).await?;
        self.dead.extend(dead);
        Ok(())
    }

    /// Forgets the dead letters of all events but these.
    pub(super) fn only<'a>(&mut self, events: impl Iterator<Item = &'a EventEntry> + Clone) {
        let positions = events.filter_map(EventEntry::in_journal);
        let is_one = |letter: &DeadLetter| {
            let mut positions = positions.clone();
            positions.any(|position| position == letter.position)
        };
        self.dead.retain(|(_, letter)| is_one(letter));
    }

    /// The state of an event that was learnt.
    pub(super) fn of(&self, event: &EventEntry) -> EventState {
        let shares = self.consumers.iter().flat_map(|(_, shares)| shares);
        let is_dead = |position| {
            let mut dead = self.dead.iter();
            dead.any(|(_, letter)| letter.position == position)
        };
        EventState::of(event, shares, is_dead)
    }

    /// The state that an event that was learnt has for each consumer.
    #[cfg(feature = "dashboard")]
    pub(super) fn of_each(&self, event: &EventEntry) -> impl Iterator<Item = (&str, EventState)> {
        self.consumers.iter().map(move |(name, shares)| {
            let is_dead = |position| {
                let mut dead = self.dead.iter();
                dead.any(|(by, letter)| by == name && letter.position == position)
            };
            (&**name, EventState::of(event, shares.iter(), is_dead))
        })
    }
}
