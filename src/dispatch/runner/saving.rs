//! Saves progress, and handles a journal that is unavailable.

use std::time::{Duration, Instant};

use super::state::{Runner, Unsaved};
use crate::dispatch::saved::{Saved, Waiting};
use crate::journal::{ProgressChange, Unavailable};

impl Runner {
    /// Notes that there is progress to save.
    pub(super) fn unsaved(&mut self) {
        let now = || self.context.clock.monotonic();
        self.unsaved.since.get_or_insert_with(now);
    }

    /// Notes that an unwanted event was skipped. If that is forgotten the event is skipped again, so a
    /// thousand consumers that wait for other events write almost nothing.
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

    /// Saves all progress, durably. A failed save is tried again later.
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

/// How long progress may stay unsaved. Events whose progress is lost are delivered again.
const SAVE_PAUSE: Duration = Duration::from_millis(100);

/// The same when the only progress is skipped events.
const PASSED_BY_PAUSE: Duration = Duration::from_secs(5);

const STUMBLE_PAUSE: Duration = Duration::from_secs(1);
