//! [`Stats`]: what happened in each of the last 60 minutes and 24 hours (`GET /api/stats`).
//!
//! The events fill the rings themselves, so there is no timer. The rings of a source or a consumer take 1.4 KB, from its
//! first request or attempt on. Times count from the start of the process: a step that nothing has happened in
//! is 0, and one before the start is not known.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use super::recent::{RecentFailure, RecentFailures};
use crate::Timestamp;

/// The rings of all sources and consumers.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    began: OnceLock<(Timestamp, Instant)>,
    sources: Names,
    consumers: Names,
}

type Names = Mutex<BTreeMap<String, Arc<Rings>>>;

/// A window and its steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Window {
    /// 60 minutes.
    Hour,
    /// 24 hours.
    Day,
}

impl Window {
    /// The length of a step, in seconds.
    pub(crate) fn step_s(self) -> u64 {
        match self {
            Self::Hour => 60,
            Self::Day => 3600,
        }
    }
}

/// The values of a series, from the oldest step to the one that runs now; `None` where nothing is known.
pub(crate) type Series = Vec<Option<u32>>;

impl Stats {
    /// Nothing is counted before this.
    pub(crate) fn begin(&self, at: Timestamp, now: Instant) {
        // A second start would move the steps.
        let _ = self.began.set((at, now));
    }

    /// When counting has begun.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        self.began.get().map(|(at, _)| *at)
    }

    /// The number of the present minute; `None` before the beginning.
    pub(crate) fn minute(&self, now: Instant) -> Option<u32> {
        let (_, began) = self.began.get()?;
        let minutes = now.saturating_duration_since(*began).as_secs() / 60;
        u32::try_from(minutes).ok()
    }

    pub(super) fn source(&self, name: &str) -> Arc<Rings> {
        rings(&self.sources, name, [0; SERIES])
    }

    pub(super) fn consumer(&self, name: &str) -> Arc<Rings> {
        rings(&self.consumers, name, [0, 0, 0, UNKNOWN])
    }

    pub(super) fn forget_source(&self, name: &str) {
        lock(&self.sources).remove(name);
    }

    pub(super) fn forget_consumer(&self, name: &str) {
        lock(&self.consumers).remove(name);
    }

    /// The series of each source: received, duplicates, refused, unavailable.
    pub(crate) fn sources(&self, window: Window, now: Instant) -> Vec<(String, [Series; SERIES])> {
        self.all(&self.sources, window, now)
    }

    /// The series of each consumer: delivered, failed, dead, lag.
    pub(crate) fn consumers(
        &self,
        window: Window,
        now: Instant,
    ) -> Vec<(String, [Series; SERIES])> {
        self.all(&self.consumers, window, now)
    }

    /// The newest failed attempts of a consumer, newest first.
    pub(crate) fn failures(&self, consumer: &str) -> Vec<RecentFailure> {
        let names = lock(&self.consumers);
        names
            .get(consumer)
            .map_or_else(Vec::new, |rings| lock(&rings.failures).all())
    }

    fn all(&self, names: &Names, window: Window, now: Instant) -> Vec<(String, [Series; SERIES])> {
        let Some(minute) = self.minute(now) else {
            return Vec::new();
        };
        let names = lock(names);
        let read = names
            .iter()
            .map(|(name, rings)| (name.clone(), rings.read(window, minute)));
        read.collect()
    }
}

fn rings(names: &Names, name: &str, blank: [u32; SERIES]) -> Arc<Rings> {
    let mut names = lock(names);
    let rings = names.entry(name.to_owned());
    Arc::clone(rings.or_insert_with(|| Arc::new(Rings::new(blank))))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The counts of one source or consumer.
pub(crate) struct Rings {
    slots: Mutex<Slots>,
    failures: Mutex<RecentFailures>,
    /// What a step without events has.
    blank: [u32; SERIES],
}

struct Slots {
    /// The newest minute that has a slot.
    minute: u32,
    minutes: [[u32; SERIES]; MINUTES],
    hours: [[u32; SERIES]; HOURS],
}

impl Rings {
    fn new(blank: [u32; SERIES]) -> Self {
        let slots = Slots {
            minute: 0,
            minutes: [blank; MINUTES],
            hours: [blank; HOURS],
        };
        Self {
            slots: Mutex::new(slots),
            failures: Mutex::default(),
            blank,
        }
    }

    /// Counts one in a series.
    pub(super) fn count(&self, minute: u32, series: usize) {
        self.change(minute, series, |count| count.saturating_add(1));
    }

    /// Notes a value of a series of which the largest is kept.
    pub(super) fn note(&self, minute: u32, series: usize, value: u64) {
        let value = u32::try_from(value).unwrap_or(UNKNOWN - 1);
        self.change(minute, series, |largest| match largest {
            UNKNOWN => value,
            largest => largest.max(value),
        });
    }

    pub(super) fn failed(&self, failure: RecentFailure) {
        lock(&self.failures).add(failure);
    }

    fn change(&self, minute: u32, series: usize, change: impl Fn(u32) -> u32) {
        let mut slots = lock(&self.slots);
        slots.advance(minute, self.blank);
        // Another thread may have come before, with a later minute.
        let minute = slots.minute;
        let slot = &mut slots.minutes[minute as usize % MINUTES][series];
        *slot = change(*slot);
        let slot = &mut slots.hours[(minute / 60) as usize % HOURS][series];
        *slot = change(*slot);
    }

    fn read(&self, window: Window, minute: u32) -> [Series; SERIES] {
        let slots = lock(&self.slots);
        let (ring, newest, now): (&[[u32; SERIES]], u32, u32) = match window {
            Window::Hour => (&slots.minutes, slots.minute, minute),
            Window::Day => (&slots.hours, slots.minute / 60, minute / 60),
        };
        let length = ring.len();
        let step = |ago: usize| {
            let step = now.checked_sub(u32::try_from(ago).ok()?)?;
            let is_there = step <= newest && newest - step < length as u32;
            Some(if is_there {
                ring[step as usize % length]
            } else {
                self.blank
            })
        };
        let steps: Vec<Option<[u32; SERIES]>> = (0..length).rev().map(step).collect();
        std::array::from_fn(|series| {
            let values = steps.iter().map(|step| step.map(|values| values[series]));
            values
                .map(|value| value.filter(|value| *value != UNKNOWN))
                .collect()
        })
    }
}

impl Slots {
    /// Makes room for this minute: clears the slots of those that have passed without an event.
    fn advance(&mut self, minute: u32, blank: [u32; SERIES]) {
        if minute <= self.minute {
            return;
        }
        for passed in (self.minute + 1..=minute).take(MINUTES) {
            self.minutes[passed as usize % MINUTES] = blank;
        }
        for passed in (self.minute / 60 + 1..=minute / 60).take(HOURS) {
            self.hours[passed as usize % HOURS] = blank;
        }
        self.minute = minute;
    }
}

impl fmt::Debug for Rings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rings").finish_non_exhaustive()
    }
}

/// How many series a source or a consumer has.
const SERIES: usize = 4;

const MINUTES: usize = 60;
const HOURS: usize = 24;

const UNKNOWN: u32 = u32::MAX;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::{Clock as _, SystemClock};

    fn known(series: &Series) -> Vec<(usize, u32)> {
        let known = series.iter().enumerate();
        known
            .filter_map(|(index, value)| Some((index, (*value)?)))
            .filter(|(_, value)| *value > 0)
            .collect()
    }

    #[test]
    fn rings_hold_an_hour_and_a_day() {
        let rings = Rings::new([0, 0, 0, UNKNOWN]);
        for (minute, count) in [(0, 1), (1, 2), (59, 3), (60, 4), (200, 5), (199, 6)] {
            for _ in 0..count {
                rings.count(minute, 0);
            }
        }
        for lag in [5, 77, 9] {
            rings.note(200, 3, lag);
        }
        let read = |window, minute| {
            let [counts, _, _, lag] = rings.read(window, minute);
            (known(&counts), known(&lag))
        };
        // What comes late counts in the newest minute.
        assert_eq!(read(Window::Hour, 200), (vec![(59, 11)], vec![(59, 77)]));
        assert_eq!(read(Window::Hour, 205), (vec![(54, 11)], vec![(54, 77)]));
        assert_eq!(read(Window::Hour, 300), (vec![], vec![]));
        assert_eq!(read(Window::Day, 200).0, [(20, 6), (21, 4), (23, 11)]);
        assert_eq!(read(Window::Day, 24 * 60).0, [(0, 4), (2, 11)]);
        // A day later nothing is left of it.
        rings.count(3 * 24 * 60, 0);
        assert_eq!(read(Window::Day, 3 * 24 * 60).0, [(23, 1)]);
        assert_eq!(read(Window::Hour, 3 * 24 * 60).0, [(59, 1)]);
    }

    #[test]
    fn nothing_is_known_of_the_time_before() {
        let stats = Stats::default();
        let now = SystemClock.monotonic();
        assert_eq!(stats.minute(now), None);
        assert!(stats.sources(Window::Hour, now).is_empty());
        stats.begin(Timestamp::UNIX_EPOCH, now);
        let later = now + Duration::from_secs(130);
        stats.source("a").count(stats.minute(later).unwrap(), 0);
        let all = stats.sources(Window::Hour, later);
        let (name, [received, ..]) = &all[0];
        assert_eq!((all.len(), name.as_str(), received.len()), (1, "a", 60));
        assert!(received[..57].iter().all(Option::is_none));
        assert_eq!(received[57..], [Some(0), Some(0), Some(1)]);
        let [_, _, _, lag] = rings(&stats.consumers, "c", [0, 0, 0, UNKNOWN]).read(Window::Day, 0);
        assert!(lag.len() == 24 && lag.iter().all(Option::is_none));
        stats.forget_source("a");
        assert!(stats.sources(Window::Hour, later).is_empty());
    }

    #[test]
    fn rings_are_small() {
        assert!(size_of::<Rings>() < 1500, "{}", size_of::<Rings>());
    }
}
