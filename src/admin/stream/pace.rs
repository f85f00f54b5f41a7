//! [`Pace`]: how many rows a viewer gets.

use std::time::{Duration, Instant};

use crate::clock::{Clock as _, SystemClock};

/// What counts in a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Event,
    State,
}

/// How many rows a viewer has got in this second.
#[derive(Debug)]
pub(super) struct Pace {
    /// All rows are sent.
    complete: bool,
    /// How many events, or states, there may be.
    most: u32,
    events: u32,
    states: u32,
    since: Option<Instant>,
}

impl Pace {
    /// For a viewer that wants all; and for one that wants both events and states, which leave room to each other.
    pub(super) fn new(complete: bool, both: bool) -> Self {
        Self {
            complete,
            most: if both { MOST_OF_ONE } else { ROWS_A_SECOND },
            events: 0,
            states: 0,
            since: None,
        }
    }

    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// Begins the next second, if it is time. Returns whether the one before was used up by events.
    pub(super) fn was_used_up(&mut self, now: Instant) -> bool {
        let is_over = |since: Instant| now.saturating_duration_since(since) >= SECOND;
        if !self.since.is_none_or(is_over) {
            return false;
        }
        let was_used_up = !self.has_room(Kind::Event);
        (self.events, self.states) = (0, 0);
        // The next second begins with its first row.
        self.since = None;
        was_used_up
    }

    pub(super) fn row(&mut self, kind: Kind) {
        match kind {
            Kind::Event => self.events += 1,
            Kind::State => self.states += 1,
        }
        if self.since.is_none() {
            self.since = Some(SystemClock.monotonic());
        }
    }

    /// Whether another row of this kind may be sent in this second.
    pub(super) fn has_room(&self, kind: Kind) -> bool {
        let count = match kind {
            Kind::Event => self.events,
            Kind::State => self.states,
        };
        self.complete || (count < self.most && self.events + self.states < ROWS_A_SECOND)
    }

    /// When there is room for everything again; `None` if there is.
    pub(super) fn next_room(&self) -> Option<Instant> {
        let has_room = self.has_room(Kind::Event) && self.has_room(Kind::State);
        let since = self.since.filter(|_| !has_room);
        since.map(|since| since + SECOND)
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// How many rows a viewer gets in a second, unless it wants all.
const ROWS_A_SECOND: u32 = 200;

/// How many of them are events, or states, if it wants both.
const MOST_OF_ONE: u32 = 150;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_two_hundred_rows() {
        let start = SystemClock.monotonic();
        let mut pace = Pace::new(false, false);
        assert!(!pace.was_used_up(start));
        for _ in 0..ROWS_A_SECOND {
            assert!(pace.has_room(Kind::Event) && pace.next_room().is_none());
            pace.row(Kind::Event);
        }
        assert!(!pace.has_room(Kind::Event));
        let next = pace.next_room().unwrap();
        assert!(next >= start + SECOND);
        assert!(!pace.was_used_up(start) && pace.was_used_up(next));
        assert!(pace.has_room(Kind::Event) && !pace.was_used_up(next + SECOND));
    }

    #[test]
    fn events_and_states_leave_room_to_each_other() {
        for (first, second) in [(Kind::Event, Kind::State), (Kind::State, Kind::Event)] {
            let mut pace = Pace::new(false, true);
            let mut sent = |kind| {
                let mut count = 0;
                while pace.has_room(kind) {
                    pace.row(kind);
                    count += 1;
                }
                count
            };
            assert_eq!([sent(first), sent(second), sent(first)], [150, 50, 0]);
        }
    }

    #[test]
    fn who_wants_all_waits_for_nothing() {
        let mut pace = Pace::new(true, true);
        for _ in 0..=ROWS_A_SECOND {
            pace.row(Kind::Event);
        }
        assert!(pace.has_room(Kind::Event) && pace.next_room().is_none());
    }
}
