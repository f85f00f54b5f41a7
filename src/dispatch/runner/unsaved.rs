//! [`Unsaved`]: what was done since the last save.

use std::collections::BTreeSet;
use std::time::Instant;

use futures_util::future::BoxFuture;

use crate::dispatch::controls::Saved;
use crate::dispatch::saved::Row;
use crate::journal::{DeadLetter, Position, Unavailable};

/// What was done since the last save, and what is being saved.
#[derive(Default)]
pub(super) struct Unsaved {
    pub(super) dead: Vec<DeadLetter>,
    /// Replayed events, which are no longer dead letters.
    pub(super) revived: Vec<Position>,
    /// Rows that could not be saved.
    pub(super) rows: BTreeSet<Row>,
    /// Callers that wait until all of this is durable.
    pub(super) answers: Vec<Saved>,
    /// When to save; `None` when there is nothing to save.
    pub(super) save_at: Option<Instant>,
    pub(super) saving: Option<BeingSaved>,
}

/// A change on its way to the disk.
pub(super) struct BeingSaved {
    pub(super) dead: Vec<DeadLetter>,
    pub(super) revived: Vec<Position>,
    pub(super) rows: BTreeSet<Row>,
    pub(super) answers: Vec<Saved>,
    pub(super) saved: BoxFuture<'static, Result<(), Unavailable>>,
}

impl Unsaved {
    /// These events are no longer dead letters.
    pub(super) fn revive(&mut self, events: &[Position]) {
        let events: BTreeSet<_> = events.iter().copied().collect();
        self.dead
            .retain(|letter| !events.contains(&letter.position));
        self.revived.extend(events);
    }

    /// When to save next; `None` while something is being saved.
    pub(super) fn next_save(&self) -> Option<Instant> {
        self.save_at.filter(|_| self.saving.is_none())
    }

    #[cfg(test)]
    pub(super) fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// Waits until what is being saved is saved, or cannot be.
    pub(super) async fn saved(&mut self) -> Result<(), Unavailable> {
        match &mut self.saving {
            Some(saving) => (&mut saving.saved).await,
            None => std::future::pending().await,
        }
    }

    /// Takes back what could not be saved. What was done since comes after it.
    pub(super) fn take_back(&mut self, failed: BeingSaved) {
        let since: BTreeSet<_> = self.revived.iter().copied().collect();
        let dead = failed.dead.into_iter();
        let mut dead: Vec<_> = dead
            .filter(|letter| !since.contains(&letter.position))
            .collect();
        dead.append(&mut self.dead);
        self.dead = dead;
        self.revived.extend(failed.revived);
        self.rows.extend(failed.rows);
    }
}
