//! The records of events: found, read as far as needed, and cached for the attempts that start soon.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::Event;
use crate::dialect::{Decoder, outline};
use crate::journal::{Events, Journal, Part, Position, PositionMap, Record, Seq, Unavailable};

/// Returns the record, or `None` when its body is no longer in the journal.
pub(crate) async fn find(
    journal: &dyn Journal,
    seq: Seq,
) -> Result<Option<Arc<Record>>, Unavailable> {
    if let Some(record) = journal.tail().get(seq) {
        return Ok(Some(record).filter(is_there));
    }
    let records = journal.read(seq - 1, 1).await?;
    let record = records.into_iter().find(|record| record.seq == seq);
    Ok(record.map(Arc::new).filter(is_there))
}

/// Whether the body of a record is still in the journal.
fn is_there(record: &Arc<Record>) -> bool {
    record.missing.is_none()
}

/// The record with its events, as far as they are needed to schedule them: outlines of a body that would
/// have to be decoded, which one from an older journal is once more.
pub(crate) fn outlined(record: Arc<Record>, decoder: &Decoder) -> Arc<Record> {
    if record.events.known().is_some() {
        return record;
    }
    if !decoder.is_encoded(&record.received) {
        return record.typed(|received| decoder.decode(received));
    }
    let (_, events) = decoder.decode(&record.received);
    let mut outlines: Vec<Event> = events.iter().map(outline).collect();
    record.set_sessions(&mut outlines);
    let mut record = Arc::unwrap_or_clone(record);
    record.events = Events::Outline(outlines.into());
    Arc::new(record)
}

/// What is known of the events of one part, nearly always one.
pub(crate) fn events_of(record: &Record, part: Part) -> &[Event] {
    let events = record.events.known().map_or(&[][..], |events| events);
    Record::events_of(record.parts.count(), part, events)
}

/// Caches the records of the events that start next, so that they need not be read again. It holds only
/// those that start soon: a thousand consumers that hang must not fill the memory.
#[derive(Debug)]
pub(super) struct Next {
    records: PositionMap<Arc<Record>>,
    bytes: usize,
    max_records: usize,
}

impl Next {
    pub(super) fn new(max_records: usize) -> Self {
        Self {
            records: PositionMap::default(),
            bytes: 0,
            max_records,
        }
    }

    pub(super) fn put(&mut self, position: Position, record: Arc<Record>) {
        let bytes = self.bytes + held(&record);
        if self.records.len() < self.max_records && bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.records.insert(position, record);
        }
    }

    pub(super) fn take(&mut self, position: Position) -> Option<Arc<Record>> {
        let record = self.records.remove(&position)?;
        self.bytes -= held(&record);
        Some(record)
    }

    /// Removes the records of bodies that were deleted.
    pub(super) fn forget(&mut self, is_deleted: impl Fn(Seq) -> bool) {
        let deleted = { self.records.keys() }.filter(|position| is_deleted(position.seq()));
        let deleted: Vec<Position> = deleted.copied().collect();
        for position in deleted {
            self.take(position);
        }
    }

    /// Frees memory that is no longer needed.
    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
    }
}

/// What a record holds that may be much: its body, and the events behind the first.
fn held(record: &Record) -> usize {
    record.received.body.len() + record.events.further_bytes()
}

/// Reads the records of one consumer's attempts from the disk, many at a time: the events that start
/// together were often received together.
#[derive(Debug, Default)]
pub(super) struct Chunks(Mutex<VecDeque<Vec<Arc<Record>>>>);

impl Chunks {
    /// Returns the record, or `None` when its body is no longer in the journal. Reads those behind it too.
    pub(super) async fn find(
        &self,
        journal: &dyn Journal,
        seq: Seq,
    ) -> Result<Option<Arc<Record>>, Unavailable> {
        if let Some(record) = journal.tail().get(seq) {
            return Ok(Some(record).filter(is_there));
        }
        // Held while reading, so that the attempts of one chunk read it once.
        let mut chunks = self.0.lock().await;
        let in_chunk = |chunk: &Vec<Arc<Record>>| {
            let found = chunk.binary_search_by_key(&seq, |record| record.seq);
            found.ok().map(|index| Arc::clone(&chunk[index]))
        };
        if let Some(record) = chunks.iter().find_map(in_chunk) {
            return Ok(Some(record).filter(is_there));
        }
        let read = journal.read(seq - 1, CHUNK).await?;
        let mut chunk: Vec<_> = read.into_iter().map(Arc::new).collect();
        let mut room = CHUNK_BYTES;
        let mut fits = |record: &Arc<Record>| {
            let left = room.checked_sub(record.received.body.len());
            room = left.unwrap_or_default();
            left.is_some()
        };
        let fitting = chunk.iter().take_while(|record| fits(record)).count();
        let record = chunk.first().filter(|record| record.seq == seq).cloned();
        chunk.truncate(fitting);
        chunks.push_front(chunk);
        chunks.truncate(CHUNKS);
        Ok(record.filter(is_there))
    }

    /// Frees the memory.
    pub(super) fn clear(&self) {
        if let Ok(mut chunks) = self.0.try_lock() {
            *chunks = VecDeque::new();
        }
    }
}

const MAX_BYTES: usize = 256 * 1024;

/// How many chunks are in memory, each with so many records and bytes at most.
const CHUNKS: usize = 4;
const CHUNK: usize = 64;
const CHUNK_BYTES: usize = 128 * 1024;
