//! [`Alarm`]: the one timer of a runner.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::clock::Clock;

/// Wakes the runner. The timer is set again only for an earlier time and may ring too early: that costs
/// less than a timer for each event.
#[derive(Default)]
pub(super) struct Alarm(Option<(Instant, BoxFuture<'static, ()>)>);

impl Alarm {
    /// Makes it ring after `pause`, or earlier.
    pub(super) fn set(&mut self, pause: Option<Duration>, clock: &dyn Clock) {
        let Some(pause) = pause else { return };
        let at = clock.monotonic() + pause.min(MAX_PAUSE);
        if self.0.as_ref().is_none_or(|(set, _)| at < *set) {
            self.0 = Some((at, clock.sleep(pause.min(MAX_PAUSE))));
        }
    }

    /// Waits until it rings.
    pub(super) async fn rings(&mut self) {
        match &mut self.0 {
            Some((_, sleep)) => sleep.await,
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}

/// A longer wait is interrupted once per day to read the time again.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);
