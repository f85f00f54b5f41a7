//! [`Damage`]: reports what is damaged, once, however often it is met.

use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use roaring::RoaringTreemap;

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

/// Reports that a row beside the events is not what was written.
pub(super) fn tell_row(what: &str, consequence: &str) {
    log::error!("journal: damaged: {what} is not what was written; {consequence}");
}

/// Each damaged place has a line of its own, up to so many.
const MOST_LINES: usize = 100;
