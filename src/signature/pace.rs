//! [`BodyPace`]: until when a body has to arrive.
//!
//! A body may take as long as it keeps coming. It is late
//!
//! - when nothing of it has come for `request_timeout`, or
//! - when more than `request_timeout` has passed, and less has come than `min_body_rate` for each second but
//!   one. The second is for what arrives in pieces.
//!
//! Bytes beyond `max_body` do not count, so a body in chunks cannot last longer than the longest body.

use std::time::{Duration, Instant};

/// The limits on the time of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyPace {
    /// The longest silence, and the time in which the rate does not matter.
    pub(crate) request_timeout: Duration,
    /// Bytes in a second, at least 1.
    pub(crate) min_rate: u64,
    pub(crate) max_body: usize,
}

/// What has come of a body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyProgress {
    pub(crate) begun: Instant,
    /// When the newest byte came.
    pub(crate) last: Instant,
    pub(crate) bytes: u64,
}

impl BodyProgress {
    /// A body that begins now, of which `bytes` are there.
    pub(crate) fn new(now: Instant, bytes: u64) -> Self {
        Self {
            begun: now,
            last: now,
            bytes,
        }
    }

    /// More has come.
    pub(crate) fn add(&mut self, bytes: u64, now: Instant) {
        self.bytes += bytes;
        self.last = now;
    }
}

impl BodyPace {
    /// Until when the next byte of this body has to come.
    pub(crate) fn deadline(&self, body: &BodyProgress) -> Instant {
        let bytes = body.bytes.min(self.max_body as u64);
        let rate = u128::from(self.min_rate.max(1));
        let earned = u128::from(bytes) * u128::from(NANOS) / rate;
        let earned = Duration::from_nanos(u64::try_from(earned).unwrap_or(u64::MAX));
        let earned = earned.saturating_add(PIECES).min(LONGEST);
        let by_rate = body.begun + earned.max(self.request_timeout);
        by_rate.min(body.last + self.request_timeout)
    }
}

const NANOS: u32 = 1_000_000_000;

/// How far behind the rate a body may be that comes in pieces.
const PIECES: Duration = Duration::from_secs(1);

/// No clock goes further than that.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const PACE: BodyPace = BodyPace {
        request_timeout: Duration::from_secs(10),
        min_rate: 1000,
        max_body: 100_000,
    };

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// How long after its begin a body of so many bytes, the newest of them `last` seconds after it, is late.
    fn late_after(bytes: u64, last: u64) -> Duration {
        let begun = SystemClock.monotonic();
        let mut body = BodyProgress::new(begun, 0);
        body.add(bytes, begun + seconds(last));
        PACE.deadline(&body).duration_since(begun)
    }

    #[test]
    fn silence_ends_a_body() {
        assert_eq!(late_after(0, 0), seconds(10));
        assert_eq!(late_after(90_000, 15), seconds(25));
    }

    #[test]
    fn a_rate_that_is_too_low_ends_a_body() {
        // 9.5 s of the rate and one more.
        assert_eq!(late_after(9_500, 10), Duration::from_millis(10_500));
        assert_eq!(late_after(1, 9), seconds(10));
        assert_eq!(late_after(20_000, 20), seconds(21));
    }

    #[test]
    fn bytes_beyond_the_longest_body_do_not_count() {
        assert_eq!(late_after(u64::MAX / 2, 100), seconds(101));
    }

    #[test]
    fn extreme_limits_do_not_overflow() {
        let now = SystemClock.monotonic();
        let year = seconds(365 * 24 * 3600);
        for min_rate in [0, 1, u64::MAX] {
            let pace = BodyPace {
                request_timeout: year,
                min_rate,
                max_body: usize::MAX,
            };
            let body = BodyProgress::new(now, u64::MAX);
            assert!(pace.deadline(&body) <= now + year);
        }
    }

    proptest! {
        /// A body that comes at the rate, in pieces of up to a second, is never late.
        #[test]
        fn the_rate_is_enough(pieces in prop::collection::vec(1..=1000_u64, 1..99)) {
            let begun = SystemClock.monotonic();
            let (mut body, mut now) = (BodyProgress::new(begun, 0), begun);
            for millis in pieces {
                now += Duration::from_millis(millis);
                prop_assert!(now <= PACE.deadline(&body));
                // What came in this time, at 1,000 bytes a second.
                body.add(millis, now);
            }
        }
    }
}
