//! [`LazyTimer`]: a timer for a deadline that moves often.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// A timer that follows a deadline lazily.
///
/// When the deadline moves later, the timer keeps running for the earlier one, and is set again only
/// when it has run out. So requests that follow each other quickly do not touch it.
#[derive(Default)]
pub(super) struct LazyTimer(Option<Pin<Box<Sleep>>>);

impl LazyTimer {
    /// When it runs out, if it is set.
    pub(super) fn alarm(&self) -> Option<Instant> {
        self.0.as_ref().map(|sleep| sleep.deadline().into_std())
    }

    /// Whether it will wake the task that polled it last, at `deadline` or before.
    pub(super) fn runs(&self, deadline: Instant) -> bool {
        let sleep = self.0.as_ref();
        sleep.is_some_and(|sleep| sleep.deadline() <= deadline.into() && !sleep.is_elapsed())
    }

    /// Ready when `deadline` has passed. The timer is unset then.
    pub(super) fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = deadline.into();
        let sleep = self
            .0
            .get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if sleep.deadline() > deadline {
            sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(sleep.as_mut().poll(cx));
            if sleep.deadline() == deadline {
                break;
            }
            // It has run out for an earlier deadline.
            sleep.as_mut().reset(deadline);
        }
        self.0 = None;
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    #[actix_web::test]
    async fn the_timer_resets_only_for_earlier_deadlines() {
        let now = SystemClock.monotonic();
        let in_seconds = |seconds| now + Duration::from_secs(seconds);
        let mut timer = LazyTimer::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        assert!(!timer.runs(in_seconds(20)));
        for (deadline, alarm) in [(20, 20), (30, 20), (10, 10), (20, 10)] {
            assert!(timer.poll(in_seconds(deadline), &mut cx).is_pending());
            assert_eq!(timer.alarm(), Some(in_seconds(alarm)));
        }
        assert!(timer.runs(in_seconds(20)));
        assert!(!timer.runs(in_seconds(5)));
        poll_fn(|cx| timer.poll(now, cx)).await;
        assert_eq!(timer.alarm(), None);
    }

    #[actix_web::test]
    async fn the_timer_continues_to_a_later_deadline() {
        let now = SystemClock.monotonic();
        let mut timer = LazyTimer::default();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let soon = now + Duration::from_millis(20);
        assert!(timer.poll(soon, &mut cx).is_pending());
        tokio::time::sleep_until((soon + Duration::from_millis(20)).into()).await;
        let later = now + Duration::from_secs(60);
        assert!(timer.poll(later, &mut cx).is_pending());
        assert_eq!(timer.alarm(), Some(later));
    }
}
