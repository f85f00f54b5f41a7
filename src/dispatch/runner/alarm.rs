//! [`Alarm`]: the one timer of a runner.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;

use crate::clock::Clock;

/// Wakes the runner. It is set anew only for an earlier time and rings too soon otherwise: that costs
/// less than a timer for each event.
#[derive(Default)]
pub(super) struct Alarm(Option<(Instant, BoxFuture<'static, ()>)>);

impl Alarm {
    /// Lets it ring after `pause`, if it does not ring sooner.
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

/// Who waits longer looks at the time on the way.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);
