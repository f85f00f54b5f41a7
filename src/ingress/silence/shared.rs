//! Silence where several instances share a journal: each hears of what the others receive, and one announces.

use std::sync::Arc;

use tokio::sync::watch;

use super::Silence;
use crate::dialect;
use crate::journal::{Record, Tail};

impl Silence {
    /// From now on a change is announced only while this is true; the log and the metrics have it in any case.
    pub(crate) fn announce_while(&self, is_housekeeper: watch::Receiver<bool>) {
        // It is set once, at the start.
        let _ = self.housekeeper.set(is_housekeeper);
    }

    /// Whether this instance announces changes.
    pub(super) fn announces(&self) -> bool {
        self.housekeeper.get().is_none_or(|is_so| *is_so.borrow())
    }

    /// Marks the sources of all events of the log, until told to stop. What the tail does not have any more was
    /// received a while ago, and newer events follow.
    pub(crate) async fn hear(self: Arc<Self>, tail: Arc<Tail>, mut stop: watch::Receiver<bool>) {
        let mut head = tail.watch();
        let mut heard = *head.borrow_and_update();
        while !*stop.borrow() {
            tokio::select! {
                _ = stop.changed() => continue,
                changed = head.changed() => if changed.is_err() { return },
            }
            let newest = *head.borrow_and_update();
            while heard < newest {
                let records = tail.range(heard, AT_ONCE);
                let Some(last) = records.last().map(|record| record.seq) else {
                    break;
                };
                records.iter().for_each(|record| self.hear_one(record));
                heard = last;
            }
            // The log may have gone back.
            heard = newest;
        }
    }

    fn hear_one(&self, record: &Record) {
        let received = &record.received;
        let sources = self.sources.load();
        let source = sources
            .iter()
            .find(|one| one.whole.source == *received.source);
        let Some(source) = source.filter(|_| dialect::read_own(received).is_none()) else {
            return;
        };
        for part in record.parts.views(received) {
            source.mark(self.clock.monotonic(), received.received_at, part.session);
        }
    }
}

const AT_ONCE: usize = 256;
