//! Handles a clock that is set back.

use std::time::{Duration, Instant};

use super::state::Runner;
use crate::Timestamp;

impl Runner {
    /// Retries wait until a time of day, and the clock may be set back: that must not make them wait
    /// longer.
    pub(super) fn look_at_the_clock(&mut self, monotonic: Instant) {
        let now = self.context.clock.now();
        let (seen, at) = std::mem::replace(&mut self.seen, (now, monotonic));
        let passed = monotonic.saturating_duration_since(at);
        let expected = seen.saturating_add(passed).unwrap_or(Timestamp::MAX);
        let back = Duration::try_from(expected.duration_since(now)).unwrap_or_default();
        if back < SET_BACK {
            return;
        }
        log::info!(
            "{}: the clock was set back by {back:.1?}; retries do not wait longer because of it",
            self.consumer.name()
        );
        let earlier = |at: Timestamp| at.saturating_sub(back).unwrap_or(Timestamp::MIN);
        self.schedule.set_back(back);
        for waiting in self.reading.remembered.values_mut() {
            let back = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
            waiting.due = waiting.due.saturating_sub(back);
        }
        self.reading
            .replays
            .iter_mut()
            .for_each(|(_, at)| *at = earlier(*at));
        self.health.failing_since = self.health.failing_since.map(earlier);
        self.unsaved();
    }
}

/// The clock counts as set back when it is this far behind what it should show.
const SET_BACK: Duration = Duration::from_secs(1);
