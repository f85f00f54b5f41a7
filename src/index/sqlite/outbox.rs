//! [`Outbox`]: attempts that the other instances do not know yet.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::attempts::Attempt;

/// Attempts that the other instances do not know yet.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    attempts: Mutex<Vec<Attempt>>,
    pub(super) something: Notify,
}

impl Outbox {
    pub(super) fn push(&self, attempt: &Attempt) {
        let mut attempts = self.lock();
        if attempts.len() < MOST_WAITING {
            attempts.push(attempt.clone());
        }
        let is_first = attempts.len() == 1;
        drop(attempts);
        if is_first {
            self.something.notify_one();
        }
    }

    pub(super) fn take(&self) -> Vec<Attempt> {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Attempt>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The most attempts that wait to be told; further ones are shown only here.
const MOST_WAITING: usize = 16_384;
