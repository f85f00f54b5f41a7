//! Reading ahead along the journal, and replays: what comes into the schedule.

use std::sync::Arc;

use super::super::lane::Lane;
use super::super::progress::Waiting;
use super::super::schedule::Seq;
use super::Runner;
use crate::journal::{Journal, Record, Unavailable};
use crate::{Event, Timestamp};

impl Runner {
    /// Whether one more event may be known.
    pub(super) fn has_room(&self) -> bool {
        self.schedule.len() < self.read_ahead
    }

    pub(super) async fn read_ahead(&mut self) -> Result<(), Unavailable> {
        let head = self.journal.tail().head();
        while self.cursor < head && self.has_room() {
            match self.journal.tail().get(self.cursor + 1) {
                Some(record) => self.take(&record),
                None => {
                    let records = self.journal.read(self.cursor, READ_AT_ONCE).await?;
                    if records.is_empty() {
                        return Err(Unavailable(format!(
                            "event {} is not there",
                            self.cursor + 1
                        )));
                    }
                    for record in &records {
                        self.take(record);
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, record: &Record) {
        // What retention has removed needs nothing more.
        for gone in self.cursor + 1..record.seq {
            self.progress.settle(gone);
            self.remembered.remove(&gone);
        }
        self.cursor = record.seq;
        if self.progress.is_settled(record.seq) {
            return;
        }
        let waiting = self.remembered.remove(&record.seq);
        let session = record.received.session.as_deref();
        // One of another session is not even read.
        let events = self
            .consumer
            .wants_session(session)
            .then(|| self.dialects.events(record))
            .filter(|events| self.consumer.wants_any(events));
        let Some(events) = events else {
            self.progress.settle(record.seq);
            return self.passed_by();
        };
        if let Some(monotonic) = &mut self.monotonic
            && !monotonic.comes(record.seq, &record.received.source, &events)
        {
            self.progress.settle(record.seq);
            return self.unsaved();
        }
        let lane = self.lane(record, &events);
        self.add(record.seq, lane, waiting);
    }

    /// Brings replays whose time has come into the schedule.
    pub(super) async fn take_replays(&mut self) -> Result<(), Unavailable> {
        let now = self.clock.now();
        while self.has_room() {
            let due = self.replays.front().filter(|(_, at)| *at <= now);
            let Some((seq, _)) = due.copied() else { break };
            let record = find(self.journal.as_ref(), seq).await?;
            let waiting = self.remembered.remove(&seq);
            let record = record.map(|record| (self.dialects.events(&record), record));
            let wanted = record.filter(|(events, record)| {
                let session = record.received.session.as_deref();
                self.consumer.wants(session, events)
            });
            match wanted {
                Some((events, record)) => {
                    let lane = self.lane(&record, &events);
                    self.add(seq, lane, waiting);
                }
                // Retention has removed it since, or it was never for this consumer.
                None => {
                    self.replaying.remove(seq);
                    self.unsaved();
                }
            }
            self.replays.pop_front();
        }
        Ok(())
    }

    fn add(&mut self, seq: Seq, lane: Option<Lane>, waiting: Option<Waiting>) {
        let due = waiting.and_then(|waiting| Timestamp::from_millisecond(waiting.due).ok());
        let attempts = waiting.map_or(0, |waiting| waiting.attempts);
        self.schedule.add(seq, lane, attempts, due);
    }

    fn lane(&self, record: &Record, events: &[Event]) -> Option<Lane> {
        let session = record.received.session.as_deref();
        self.consumer
            .order()
            .lane(&record.received.source, session, events)
    }
}

/// The record, where it is still there.
pub(super) async fn find(
    journal: &dyn Journal,
    seq: Seq,
) -> Result<Option<Arc<Record>>, Unavailable> {
    if let Some(record) = journal.tail().get(seq) {
        return Ok(Some(record));
    }
    let records = journal.read(seq - 1, 1).await?;
    let record = records.into_iter().find(|record| record.seq == seq);
    Ok(record.map(Arc::new))
}

/// How many events of a consumer are known at once; bodies are read when they are due. Few in unit
/// tests, which reach the limit.
pub(super) const READ_AHEAD: usize = if cfg!(test) { 16 } else { 16_384 };

const READ_AT_ONCE: usize = if cfg!(test) { 4 } else { 256 };
