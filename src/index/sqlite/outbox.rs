//! [`Outbox`]: attempts and duplicates that the other instances do not know yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::attempts::Attempt;
use crate::EventId;
use crate::journal::Position;

/// What the other instances do not know yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Untold>,
    pub(super) something: Notify,
}

#[derive(Debug, Default)]
pub(super) struct Untold {
    pub(super) attempts: Vec<Attempt>,
    pub(super) duplicates: Vec<Duplicate>,
}

/// An event that repeats an earlier one, without what both have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Duplicate {
    pub(super) id: EventId,
    pub(super) of: Position,
    /// Nanoseconds since 1970.
    pub(super) at: i64,
    pub(super) bytes: u64,
}

impl Outbox {
    pub(super) fn attempt(&self, attempt: &Attempt) {
        self.push(|untold| {
            if untold.attempts.len() < MOST_WAITING {
                untold.attempts.push(attempt.clone());
            }
        });
    }

    pub(super) fn duplicate(&self, duplicate: Duplicate) {
        self.push(|untold| {
            if untold.duplicates.len() < MOST_WAITING {
                untold.duplicates.push(duplicate);
            }
        });
    }

    fn push(&self, push: impl FnOnce(&mut Untold)) {
        let mut waiting = self.lock();
        let is_first = waiting.attempts.is_empty() && waiting.duplicates.is_empty();
        push(&mut waiting);
        drop(waiting);
        if is_first {
            self.something.notify_one();
        }
    }

    pub(super) fn take(&self) -> Untold {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Untold> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many attempts, and so many duplicates, wait at most to be told; further ones are shown only here.
const MOST_WAITING: usize = 16_384;
