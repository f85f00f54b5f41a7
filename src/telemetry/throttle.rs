//! [`Throttle`]: allows one log line per pause, by default one second, and counts those that were left out.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::{Clock, SystemClock};

#[derive(Debug)]
pub(crate) struct Throttle {
    pause: Duration,
    last: Mutex<Option<Instant>>,
    unsaid: AtomicU64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new()
    }
}

impl Throttle {
    /// Allows one line per second.
    pub(crate) const fn new() -> Self {
        Self::every(Duration::from_secs(1))
    }

    /// Allows one line per `pause`.
    pub(crate) const fn every(pause: Duration) -> Self {
        Self {
            pause,
            last: Mutex::new(None),
            unsaid: AtomicU64::new(0),
        }
    }

    /// `Some` if a line may be logged now, with the number of lines left out since the last one.
    pub(crate) fn pass(&self) -> Option<u64> {
        self.pass_at(SystemClock.monotonic())
    }

    /// The number of lines left out, in words.
    pub(crate) fn more(unsaid: u64) -> String {
        match unsaid {
            0 => String::new(),
            unsaid => format!(" (and {unsaid} more since the last such line)"),
        }
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let again = last.is_none_or(|last| now.saturating_duration_since(last) >= self.pause);
        if !again {
            self.unsaid.fetch_add(1, Ordering::Relaxed);
            return None;
        }
        *last = Some(now);
        Some(self.unsaid.swap(0, Ordering::Relaxed))
    }
}

/// How often a failure that goes on is logged, such as that of a disk.
pub(crate) const ONGOING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_and_the_rest_is_counted() {
        let throttle = Throttle::default();
        let start = SystemClock.monotonic();
        let at = |millis| throttle.pass_at(start + Duration::from_millis(millis));
        let calls = [at(0), at(1), at(999), at(1000), at(1500), at(9000)];
        assert_eq!(calls, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
