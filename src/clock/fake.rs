//! [`FakeClock`]: a clock that a test sets.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use tokio::sync::watch;

use super::{Clock, SystemClock};

/// A clock that moves only when a test moves it. A task that sleeps on it wakes when it has moved far
/// enough.
#[derive(Debug)]
pub struct FakeClock {
    started: Instant,
    passed: watch::Sender<Duration>,
    /// The time of day at the start, before any time has passed.
    start: Mutex<Timestamp>,
}

impl FakeClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self {
            started: SystemClock.monotonic(),
            passed: watch::Sender::default(),
            start: Mutex::new(start),
        }
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.passed.send_modify(|passed| *passed += by);
    }

    /// Sets the time of day, forward or back, as an administrator can. No time passes, so no task wakes.
    pub fn set(&self, now: Timestamp) {
        let start = now.saturating_sub(self.passed());
        *self.start() = start.unwrap_or(Timestamp::MIN);
    }

    fn start(&self) -> MutexGuard<'_, Timestamp> {
        self.start.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn passed(&self) -> Duration {
        *self.passed.borrow()
    }
}

impl Clock for FakeClock {
    fn now(&self) -> Timestamp {
        self.start()
            .saturating_add(self.passed())
            .unwrap_or(Timestamp::MAX)
    }

    fn monotonic(&self) -> Instant {
        self.started + self.passed()
    }

    fn since_boot(&self) -> Duration {
        self.passed()
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        let end = self.passed().saturating_add(pause);
        let mut passed = self.passed.subscribe();
        Box::pin(async move {
            if passed.wait_for(|passed| *passed >= end).await.is_err() {
                // The clock is gone, so it cannot move any more.
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn a_sleeper_wakes_at_its_end() {
        let clock = FakeClock::new(Timestamp::UNIX_EPOCH);
        let second = Duration::from_secs(1);
        let mut sleeper = clock.sleep(2 * second);
        assert_eq!((&mut sleeper).now_or_never(), None);
        clock.advance(2 * second - Duration::from_nanos(1));
        assert_eq!((&mut sleeper).now_or_never(), None);
        clock.advance(Duration::from_nanos(1));
        assert_eq!(sleeper.now_or_never(), Some(()));
        assert_eq!(clock.sleep(Duration::ZERO).now_or_never(), Some(()));

        let forgotten = clock.sleep(Duration::MAX);
        drop(clock);
        assert_eq!(forgotten.now_or_never(), None);
    }
}
