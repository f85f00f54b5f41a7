//! The records of events: found, decoded, and cached for the attempts that start soon.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::Event;
use crate::dialect::Decoder;
use crate::journal::{Journal, Part, Position, PositionMap, Record, Seq, Unavailable};

/// Returns the record, or `None` when it is no longer in the journal.
pub(crate) async fn find(
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

/// The record with its typed events. Records that were read from the disk have none yet.
pub(super) fn decoded(record: Arc<Record>, decoder: &Decoder) -> Arc<Record> {
    if record.events.is_some() {
        return record;
    }
    record.decoded(|received| decoder.decode(received)).0
}

/// The typed events of one part of a decoded record, nearly always one.
pub(super) fn events_of(record: &Record, part: Part) -> &[Event] {
    let events = record.events.as_deref().unwrap_or_default();
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
        let bytes = self.bytes + record.received.body.len();
        if self.records.len() < self.max_records && bytes <= MAX_BYTES {
            self.bytes = bytes;
            self.records.insert(position, record);
        }
    }

    pub(super) fn take(&mut self, position: Position) -> Option<Arc<Record>> {
        let record = self.records.remove(&position)?;
        self.bytes -= record.received.body.len();
        Some(record)
    }

    /// Frees memory that is no longer needed.
    pub(super) fn shrink(&mut self) {
        self.records.shrink_to_fit();
    }
}

/// Reads the records of one consumer's attempts from the disk, many at a time: the events that start
/// together were often received together.
#[derive(Debug, Default)]
pub(super) struct Chunks(Mutex<VecDeque<Vec<Arc<Record>>>>);

impl Chunks {
    /// Returns the record, or `None` when it is no longer in the journal. Reads those behind it too.
    pub(super) async fn find(
        &self,
        journal: &dyn Journal,
        seq: Seq,
    ) -> Result<Option<Arc<Record>>, Unavailable> {
        if let Some(record) = journal.tail().get(seq) {
            return Ok(Some(record));
        }
        // Held while reading, so that the attempts of one chunk read it once.
        let mut chunks = self.0.lock().await;
        let in_chunk = |chunk: &Vec<Arc<Record>>| {
            let found = chunk.binary_search_by_key(&seq, |record| record.seq);
            found.ok().map(|index| Arc::clone(&chunk[index]))
        };
        if let Some(record) = chunks.iter().find_map(in_chunk) {
            return Ok(Some(record));
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
        Ok(record)
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
