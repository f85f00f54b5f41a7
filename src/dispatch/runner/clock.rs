//! A time of day that is set back. Retries and replays are due at a time of day, which a restart does
//! not change; nobody is to wait an hour longer because a clock was corrected by one.

use std::time::Duration;

use jiff::SignedDuration;

use super::Runner;
use crate::Timestamp;

impl Runner {
    /// Moves all that waits with the time of day, where that has gone back since the last step.
    pub(super) fn follow_clock(&mut self) {
        let (shown, began) = self.seen;
        self.seen = (self.clock.now(), self.clock.monotonic());
        let passed = self.seen.1.saturating_duration_since(began);
        let expected = shown.saturating_add(passed).unwrap_or(Timestamp::MAX);
        let by = expected.duration_since(self.seen.0);
        if by < NOTICED {
            return;
        }
        let name = self.consumer.name();
        log::warn!("{name}: the clock was set back by {by:#}: retries come as if it had not been");
        self.schedule.set_back(by);
        let earlier = |at: &mut Timestamp| *at = at.saturating_sub(by).unwrap_or(Timestamp::MIN);
        self.replays.iter_mut().for_each(|(_, at)| earlier(at));
        self.failing_since.iter_mut().for_each(earlier);
        self.unsaved();
    }

    /// When a retry from before a restart is due. None was due so late then: where it seems to be, the
    /// clock was set back since, and it comes after the longest pause of the settings.
    pub(super) fn due_after_restart(&self, due: Timestamp) -> Timestamp {
        let after = |pause| self.clock.now().saturating_add(pause);
        // Jitter makes no pause longer than twice as long.
        match after(self.retry.max.saturating_mul(2).max(ASKED)) {
            Ok(latest) if due > latest => after(self.retry.max).unwrap_or(due),
            _ => due,
        }
    }
}

/// The longest pause that subscribers ask for and get.
const ASKED: Duration = Duration::from_secs(24 * 3600);

/// Smaller steps make nobody wait noticeably longer.
const NOTICED: SignedDuration = SignedDuration::from_secs(1);
