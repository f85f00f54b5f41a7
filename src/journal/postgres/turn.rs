//! [`Turn`]: when it is this instance's turn to append, where others append too.

use std::time::{Duration, Instant};

/// When it is this instance's turn to append. Whoever sends a call earlier only waits for those of others in the database,
/// and what comes meanwhile needs a further call.
#[derive(Debug, Default)]
pub(super) struct Turn {
    /// When the next call is sent, if that is not at once.
    next: Option<Instant>,
    /// How long this instance has paused before the call that is under way.
    paused: Duration,
    /// Whether the last call had to wait.
    had_to_wait: bool,
}

impl Turn {
    /// When the next call is to be sent; `None` if at once.
    pub(super) fn comes(&self, now: Instant) -> Option<Instant> {
        self.next.filter(|next| *next > now)
    }

    /// This instance has paused for so long before the call that it sends now.
    pub(super) fn paused(&mut self, paused: Duration) {
        self.paused = paused;
    }

    /// A call has ended at `now` that has waited so long for those of others. If the one before had to wait, too, the next one
    /// comes after a pause: half of what the others took, so that the database always has a call that waits.
    pub(super) fn waited(&mut self, waited: Duration, now: Instant) {
        let others = std::mem::take(&mut self.paused).saturating_add(waited);
        let pause = (others / 2).min(LONGEST);
        let had_to_wait = waited >= LEAST;
        let pauses = had_to_wait && self.had_to_wait && pause >= SHORTEST;
        self.next = pauses.then(|| now + pause);
        self.had_to_wait = had_to_wait;
    }
}

/// Who waits less has waited for nobody.
const LEAST: Duration = Duration::from_micros(100);

/// A shorter pause would last too long: timers count milliseconds.
const SHORTEST: Duration = Duration::from_millis(1);

/// The longest pause.
const LONGEST: Duration = Duration::from_millis(5);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn half_of_what_others_take_is_waited_for_here() {
        let (mut turn, mut now) = (Turn::default(), SystemClock.monotonic());
        assert_eq!(turn.comes(now), None);
        // Others append for 4 ms after each call of this one.
        for round in 0..5 {
            let paused = turn.comes(now).map_or(Duration::ZERO, |next| next - now);
            let expected = if round < 2 {
                Duration::ZERO
            } else {
                2 * MILLISECOND
            };
            assert_eq!(paused, expected, "{round}");
            turn.paused(paused);
            now += 5 * MILLISECOND;
            turn.waited(4 * MILLISECOND - paused, now);
        }
        assert_eq!(turn.comes(now + 2 * MILLISECOND), None, "that long ago");
        turn.waited(Duration::MAX, now);
        assert_eq!(turn.comes(now), Some(now + LONGEST));
        // The others have ended.
        turn.waited(Duration::ZERO, now);
        assert_eq!(turn.comes(now), None);
    }

    #[test]
    fn a_single_append_of_another_instance_makes_no_pause() {
        let (mut turn, now) = (Turn::default(), SystemClock.monotonic());
        for waited in [4 * MILLISECOND, Duration::ZERO, 4 * MILLISECOND] {
            turn.waited(waited, now);
            assert_eq!(turn.comes(now), None);
        }
        turn.waited(MILLISECOND, now);
        assert_eq!(turn.comes(now), None, "half of it is too short");
    }
}
