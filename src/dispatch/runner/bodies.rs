//! [`BodyReading`]: finds the body of an attempt, and reads its events where the consumer needs them.

use std::sync::Arc;

use super::context::RunnerContext;
use crate::dispatch::lane::SessionHasher;
use crate::dispatch::large::{LARGE, LargeRoom, OwnRoom};
use crate::dispatch::records::Chunks;
use crate::journal::{Events, Position, Record, Unavailable};

/// What an attempt needs to read a body that is not at hand.
pub(super) struct BodyReading {
    pub(super) context: RunnerContext,
    pub(super) chunks: Arc<Chunks>,
    pub(super) own: Arc<OwnRoom>,
    pub(super) hasher: SessionHasher,
    /// Whether the handler looks into the content, or only sends the bytes on.
    pub(super) reads_content: bool,
}

/// Whether an attempt can begin with this record as it is.
pub(super) fn is_at_hand(record: &Record, reads_content: bool) -> bool {
    let is_known = match record.events {
        Events::Unread => false,
        Events::Outline(_) => !reads_content,
        Events::Typed(_) => true,
    };
    is_known && record.received.body.len() <= LARGE
}

impl BodyReading {
    /// Returns the record with the room that its body takes; `None` if it is not in the journal any more. `next` is
    /// the record, where it is in memory already.
    pub(super) async fn read(
        self,
        position: Position,
        next: Option<Arc<Record>>,
    ) -> Result<Option<(Arc<Record>, Option<LargeRoom>)>, Unavailable> {
        let mut room = None;
        let mut found = next;
        let record = loop {
            let record = match found.take() {
                Some(record) => record,
                None => match self.find(position).await? {
                    Some(record) => record,
                    None => return Ok(None),
                },
            };
            let bytes = self.bytes(&record);
            if bytes <= LARGE || room.is_some() {
                break record;
            }
            let session = record.parts.view(position.part(), &record.received).session;
            let session = self.hasher.key(&record.received.source, session);
            let large = &self.context.large;
            room = large.try_take(&self.own, session, bytes);
            if room.is_some() {
                break record;
            }
            // It is not held while it waits, and read again.
            drop(record);
            room = Some(large.take(&self.own, session, bytes).await);
        };
        Ok(Some((self.typed(record).await, room)))
    }

    async fn find(&self, position: Position) -> Result<Option<Arc<Record>>, Unavailable> {
        let journal = self.context.journal.as_ref();
        self.chunks.find(journal, position.seq()).await
    }

    /// How many bytes an attempt holds at most.
    fn bytes(&self, record: &Record) -> usize {
        let body = record.received.body.len();
        let is_decoded = self.reads_content && self.context.decoder.is_encoded(&record.received);
        let reader = self.context.decoder.reader(&record.received.source);
        body + if is_decoded { reader.limit(body) } else { 0 }
    }

    /// The record with what the consumer needs of its events. What is to be decoded is decoded off the
    /// threads that run attempts.
    async fn typed(&self, record: Arc<Record>) -> Arc<Record> {
        let decoder = &self.context.decoder;
        if !decoder.is_encoded(&record.received) {
            return record.typed(|received| decoder.decode(received));
        }
        if !self.reads_content {
            return self.context.outlined(record);
        }
        let Ok(_turn) = self.context.large.decoding.acquire().await else {
            return record;
        };
        let (decoder, kept) = (Arc::clone(decoder), Arc::clone(&record));
        let typed = move || record.typed(|received| decoder.decode(received));
        // A dialect that panics is caught within.
        tokio::task::spawn_blocking(typed).await.unwrap_or(kept)
    }
}
