//! Reading ahead along the journal, and replays: what comes into the schedule.

use std::sync::Arc;

use super::super::lane::Lane;
use super::super::progress::Waiting;
use super::super::schedule::ENOUGH;
use super::Runner;
use crate::journal::{Journal, Record, Seq, SeqMap, Unavailable};
use crate::{Event, Timestamp};

impl Runner {
    /// Whether one more event may be known.
    pub(super) fn has_room(&self) -> bool {
        self.schedule.len() < self.read_ahead
    }

    /// Whether reading ahead would bring more that could start now, or that overtakes what waits.
    pub(super) fn reads_on(&self) -> bool {
        self.has_room() && (self.monotonic.is_some() || !self.schedule.has_enough())
    }

    /// Whether there is something to read ahead.
    pub(super) fn is_behind(&self) -> bool {
        self.reads_on() && self.cursor < self.journal.tail().head()
    }

    pub(super) async fn read_ahead(&mut self) -> Result<(), Unavailable> {
        while self.is_behind() {
            let mut records = self.journal.tail().range(self.cursor, READ_AT_ONCE);
            if records.is_empty() {
                let read = self.journal.read(self.cursor, READ_AT_ONCE).await?;
                records = read.into_iter().map(Arc::new).collect();
            }
            if records.is_empty() {
                let next = self.cursor + 1;
                return Err(Unavailable(format!("event {next} is not there")));
            }
            for record in records {
                self.take(record);
            }
        }
        Ok(())
    }

    fn take(&mut self, record: Arc<Record>) {
        let seq = record.seq;
        // What retention has removed needs nothing more.
        for gone in self.cursor + 1..seq {
            self.progress.settle(gone);
            self.remembered.remove(&gone);
        }
        self.cursor = seq;
        if self.progress.is_settled(seq) {
            return;
        }
        let waiting = match self.remembered.is_empty() {
            true => None,
            false => self.remembered.remove(&seq),
        };
        // One of another session is not even read.
        let session = record.received.session.as_deref();
        if !self.consumer.wants_session(session) {
            self.progress.settle(seq);
            return self.passed_by();
        }
        let (record, events) = record.decoded(|received| self.decoder.decode(received));
        if !self.consumer.wants_any(&events) {
            self.progress.settle(seq);
            return self.passed_by();
        }
        let waits = |seq| self.schedule.contains(seq);
        if let Some(monotonic) = &mut self.monotonic
            && !monotonic.comes(seq, &record.received.source, &events, waits)
        {
            self.progress.settle(seq);
            return self.unsaved();
        }
        let lane = self.lane(&record, &events);
        if self.add(seq, lane, waiting) {
            self.next.put(record);
        }
    }

    pub(super) async fn take_replays(&mut self) -> Result<(), Unavailable> {
        let now = self.clock.now();
        while self.reads_on() {
            let due = self.replays.front().filter(|(_, at)| *at <= now);
            let Some((seq, _)) = due.copied() else { break };
            let record = find(self.journal.as_ref(), seq).await?;
            let waiting = self.remembered.remove(&seq);
            let record =
                record.map(|record| record.decoded(|received| self.decoder.decode(received)));
            let wanted = record.filter(|(record, events)| {
                let session = record.received.session.as_deref();
                self.consumer.wants(session, events)
            });
            match wanted {
                Some((record, events)) => {
                    let lane = self.lane(&record, &events);
                    if self.add(seq, lane, waiting) {
                        self.next.put(record);
                    }
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

    fn add(&mut self, seq: Seq, lane: Option<Lane>, waiting: Option<Waiting>) -> bool {
        let due = waiting.and_then(|waiting| Timestamp::from_millisecond(waiting.due).ok());
        let attempts = waiting.map_or(0, |waiting| waiting.attempts);
        self.schedule.add(seq, lane, attempts, due)
    }

    fn lane(&self, record: &Record, events: &[Event]) -> Option<Lane> {
        let session = record.received.session.as_deref();
        self.consumer
            .order()
            .lane(&record.received.source, session, events)
    }
}

/// The records of events that are to start next, so that they need not be looked for again. Only as
/// many as start soon: a thousand consumers that hang must not fill the memory.
#[derive(Debug, Default)]
pub(super) struct Next {
    records: SeqMap<Arc<Record>>,
    bytes: usize,
}

impl Next {
    fn put(&mut self, record: Arc<Record>) {
        let bytes = self.bytes + record.received.body.len();
        if self.records.len() < ENOUGH + READ_AT_ONCE && bytes <= NEXT_BYTES {
            self.bytes = bytes;
            self.records.insert(record.seq, record);
        }
    }

    pub(super) fn take(&mut self, seq: Seq) -> Option<Arc<Record>> {
        let record = self.records.remove(&seq)?;
        self.bytes -= record.received.body.len();
        Some(record)
    }

    /// Gives back the memory for more than there are.
    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
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

/// How many events of a consumer are known at once; the bodies of most are read when they are due. Few
/// in unit tests, which reach the limit.
pub(super) const READ_AHEAD: usize = if cfg!(test) { 16 } else { 16_384 };

const READ_AT_ONCE: usize = if cfg!(test) { 4 } else { 128 };

const NEXT_BYTES: usize = 256 * 1024;
