//! Saving progress, and what happens when the journal cannot do what it is asked for.

use std::time::{Duration, Instant};

use super::state::{Runner, Unsaved};
use crate::dispatch::saved::{Saved, Waiting};
use crate::journal::{ProgressChange, Unavailable};

impl Runner {
    /// Something was done that is not saved.
    pub(super) fn unsaved(&mut self) {
        let now = || self.context.clock.monotonic();
        self.unsaved.since.get_or_insert_with(now);
    }

    /// An event was passed by that is not for this consumer. If that is forgotten it is passed by
    /// again, so a thousand consumers that wait for other events write nearly nothing.
    pub(super) fn passed_by(&mut self) {
        let now = || self.context.clock.monotonic();
        self.unsaved.passed_by_since.get_or_insert_with(now);
    }

    /// When to save; `None` when there is nothing to save.
    pub(super) fn save_at(&self) -> Option<Instant> {
        let soon = self.unsaved.since.map(|since| since + SAVE_PAUSE);
        let late = self
            .unsaved
            .passed_by_since
            .map(|since| since + PASSED_BY_PAUSE);
        soon.into_iter().chain(late).min()
    }

    /// Saves all there is, durably. What cannot be saved now is tried again.
    pub(super) async fn save(&mut self) -> Result<(), Unavailable> {
        let change = ProgressChange {
            consumer: self.consumer.name().to_owned(),
            progress: self.to_save().encode(),
            revived: self.unsaved.revived.clone(),
            dead: self.unsaved.dead.clone(),
        };
        let saved = self.context.desk.save(change).await;
        match &saved {
            Ok(()) => {
                self.unsaved = Unsaved::default();
                self.schedule.shrink();
                self.reading.next.shrink();
            }
            Err(error) => self.stumble("cannot save its progress", error),
        }
        saved
    }

    fn to_save(&self) -> Saved {
        let waiting = self
            .schedule
            .waiting()
            .map(|(position, attempts, due)| Waiting {
                position,
                attempts,
                due: due.as_millisecond(),
            });
        let remembered = self.reading.remembered.values().copied();
        Saved {
            progress: self.progress.clone(),
            waiting: waiting.chain(remembered).collect(),
            replaying: self.reading.replaying.clone(),
            paused: self.health.paused,
            failing_since: self.health.failing_since,
            suspended: self.health.suspended.clone(),
            saved_at: Some(self.context.clock.now()),
        }
    }

    pub(super) fn stumble(&mut self, what: &str, error: &Unavailable) {
        if let Unavailable::Fenced(_) = error {
            self.fenced = true;
            return;
        }
        log::warn!(
            "{}: {what}: {error}; tried again in a second",
            self.consumer.name()
        );
        self.resume_at = Some(self.context.clock.monotonic() + STUMBLE_PAUSE);
    }
}

/// How long progress may be unsaved. What is lost with it is handed over once more.
const SAVE_PAUSE: Duration = Duration::from_millis(100);

/// The same where nothing but events of others was passed by.
const PASSED_BY_PAUSE: Duration = Duration::from_secs(5);

const STUMBLE_PAUSE: Duration = Duration::from_secs(1);
