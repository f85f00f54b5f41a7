//! Saving progress, and what happens when the journal cannot do what it is asked for.

use std::time::{Duration, Instant};

use super::super::progress::{Saved, Waiting};
use super::Runner;
use crate::journal::{Change, Unavailable};

impl Runner {
    /// Something was done that is not saved.
    pub(super) fn unsaved(&mut self) {
        self.unsaved_since
            .get_or_insert_with(|| self.clock.monotonic());
    }

    /// An event was passed by that is not for this consumer. If that is forgotten it is passed by
    /// again, so a thousand consumers that wait for other events write nearly nothing.
    pub(super) fn passed_by(&mut self) {
        self.passed_by_since
            .get_or_insert_with(|| self.clock.monotonic());
    }

    /// When to save; `None` when there is nothing to save.
    pub(super) fn save_at(&self) -> Option<Instant> {
        let soon = self.unsaved_since.map(|since| since + SAVE_PAUSE);
        let late = self.passed_by_since.map(|since| since + PASSED_BY_PAUSE);
        soon.into_iter().chain(late).min()
    }

    /// Saves all there is, durably. What cannot be saved now is tried again.
    pub(super) async fn save(&mut self) -> Result<(), Unavailable> {
        let waiting = self.schedule.waiting().map(|(seq, attempts, due)| Waiting {
            seq,
            attempts,
            due: due.as_millisecond(),
        });
        let change = Change {
            consumer: self.consumer.name().to_owned(),
            saved: Saved {
                progress: self.progress.clone(),
                waiting: waiting.chain(self.remembered.values().copied()).collect(),
                replaying: self.replaying.clone(),
                paused: self.paused,
                failing_since: self.failing_since,
                suspended: self.suspended.clone(),
                saved_at: Some(self.clock.now()),
            },
            revived: self.revived.clone(),
            dead: self.dead.clone(),
        };
        let saved = self.journal.save(change).await;
        match &saved {
            Ok(()) => {
                self.dead.clear();
                self.revived.clear();
                self.unsaved_since = None;
                self.passed_by_since = None;
                self.schedule.shrink();
                self.next.shrink();
            }
            Err(error) => self.stumble("cannot save its progress", error),
        }
        saved
    }

    pub(super) fn stumble(&mut self, what: &str, error: &Unavailable) {
        log::warn!(
            "{}: {what}: {error}; tried again in a second",
            self.consumer.name()
        );
        self.resume_at = Some(self.clock.monotonic() + STUMBLE_PAUSE);
    }
}

/// How long progress may be unsaved. What is lost with it is handed over once more.
const SAVE_PAUSE: Duration = Duration::from_millis(100);

/// The same where nothing but events of others was passed by.
const PASSED_BY_PAUSE: Duration = Duration::from_secs(5);

const STUMBLE_PAUSE: Duration = Duration::from_secs(1);
