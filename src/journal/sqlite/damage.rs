//! [`Damage`]: reports what is damaged, once, however often it is met.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;
use roaring::RoaringTreemap;

use crate::clock::{Clock as _, SystemClock};
use crate::journal::{Record, Seq};

/// What was found damaged since the start.
#[derive(Debug)]
pub(super) struct Damage {
    found: Mutex<Found>,
    counter: Counter,
}

#[derive(Debug, Default)]
struct Found {
    bodies: RoaringTreemap,
    lines: usize,
}

impl Damage {
    pub(super) fn new(counter: Counter) -> Self {
        Self {
            found: Mutex::default(),
            counter,
        }
    }

    /// Reports that a body is not what was written.
    pub(super) fn body(&self, record: &Record) {
        let id = record.received.id;
        let named = if id.is_nil() {
            String::new()
        } else {
            format!(" ({id})")
        };
        self.tell(record.seq, record.seq, &named, "is not what was written");
    }

    /// Reports that the rows of these bodies cannot be read or are missing.
    pub(super) fn bodies(&self, first: Seq, last: Seq) {
        self.tell(first, last, "", "cannot be read");
    }

    /// Takes these bodies for told.
    pub(super) fn is_told(&self, first: Seq, last: Seq) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.bodies.insert_range(first..=last);
    }

    fn tell(&self, first: Seq, last: Seq, named: &str, what: &str) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let new = found.bodies.insert_range(first..=last);
        if new == 0 {
            return;
        }
        self.counter.inc_by(new);
        found.lines += 1;
        let bodies = match last - first {
            0 => format!("event {first}{named}"),
            _ => format!("events {first} to {last}"),
        };
        match found.lines {
            ..MOST_LINES => log::error!(
                "journal: damaged: {bodies} {what}; no consumer gets it; `offhook journal verify` \
                 lists what is damaged, a backup may still have it"
            ),
            MOST_LINES => log::error!(
                "journal: damaged: {bodies} {what}; further damaged events are only counted"
            ),
            _ => {}
        }
    }
}

/// Reports that a row beside the events is not what was written: once in [`TOLD_AGAIN`], however often it is read.
pub(super) fn tell_row(what: &str, consequence: &str) {
    let told = ROWS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .pass(what, SystemClock.monotonic());
    if told {
        log::error!("journal: damaged: {what} is not what was written; {consequence}");
    }
}

/// When damaged rows were told last.
#[derive(Debug)]
struct Rows(BTreeMap<String, Instant>);

impl Rows {
    /// Whether a row is to be told now.
    fn pass(&mut self, what: &str, now: Instant) -> bool {
        let is_recent = |told: &Instant| now.saturating_duration_since(*told) < TOLD_AGAIN;
        if self.0.get(what).is_some_and(is_recent) {
            return false;
        }
        if self.0.len() >= MOST_LINES {
            self.0.retain(|_, told| is_recent(told));
        }
        let has_room = self.0.len() < MOST_LINES;
        if has_room {
            self.0.insert(what.to_owned(), now);
        }
        has_room
    }
}

static ROWS: Mutex<Rows> = Mutex::new(Rows(BTreeMap::new()));

/// How long a damaged row is not told again.
const TOLD_AGAIN: Duration = Duration::from_secs(3600);

/// Each damaged place has a line of its own, up to so many.
const MOST_LINES: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_row_is_told_once_an_hour() {
        let mut rows = Rows(BTreeMap::new());
        let start = SystemClock.monotonic();
        let later = start + TOLD_AGAIN;
        assert!(rows.pass("a", start));
        assert!(!rows.pass("a", start) && rows.pass("b", start));
        assert!(rows.pass("a", later));
        let told = (0..1000).filter(|number| rows.pass(&number.to_string(), later));
        assert_eq!(told.count(), MOST_LINES - 1);
    }
}
