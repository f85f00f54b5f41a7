//! [`Contains`]: whether a body has certain bytes. Nothing is stored for it: bodies are read, newest first, within
//! limits of bytes and time, and one request at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web;
use memchr::memmem::Finder;
use tokio::sync::SemaphorePermit;

use super::error::ApiError;
use super::role::Role;
use super::state::AdminState;
use crate::Received;
use crate::clock::Clock;
use crate::dialect::Decoder;
use crate::engine::Pipeline;
use crate::index::EventEntry;
use crate::journal::{Journal, Position, Record, Seq, Unavailable};

/// A search in bodies.
pub(super) struct Contains<'a> {
    finder: Arc<Finder<'static>>,
    /// The records that were read last, oldest first: events that are next to each other are read together.
    chunk: Vec<Record>,
    /// So many records are read next: few where bodies are long.
    step: usize,
    /// The body that was searched last: several events may be in it.
    last: Option<(Seq, bool)>,
    /// How many more bytes are read and decoded.
    left: usize,
    clock: &'a dyn Clock,
    /// `None` before the first body.
    until: Option<Instant>,
    _turn: SemaphorePermit<'a>,
}

impl<'a> Contains<'a> {
    /// # Errors
    ///
    /// For a viewer who must not see bodies, for a text of another length than 1 to [`LONGEST`] bytes, and while
    /// another such search runs.
    pub(super) fn new(state: &'a AdminState, role: Role, text: &str) -> Result<Self, ApiError> {
        if !role.sees_bodies() {
            return Err(ApiError::no_bodies());
        }
        if text.len() > LONGEST {
            let text = format!("contains: expected at most {LONGEST} bytes");
            return Err(ApiError::bad_request(text));
        }
        let turn = state.body_search.try_acquire();
        let turn = turn
            .map_err(|_| ApiError::busy("another search in bodies runs; ask again in a moment"))?;
        Ok(Self {
            finder: Arc::new(Finder::new(text).into_owned()),
            chunk: Vec::new(),
            step: CHUNK,
            last: None,
            left: MOST_BYTES,
            clock: &*state.clock,
            until: None,
            _turn: turn,
        })
    }

    /// Whether the body of an event has the bytes, as they came or decoded. `None` when enough was read, but not
    /// before the first body.
    pub(super) async fn is_in(
        &mut self,
        pipeline: &Pipeline,
        event: &EventEntry,
    ) -> Result<Option<bool>, Unavailable> {
        let Some(seq) = event.in_journal().map(Position::seq) else {
            return Ok(Some(false));
        };
        if let Some((last, is_in)) = self.last
            && last == seq
        {
            return Ok(Some(is_in));
        }
        let now = self.clock.monotonic();
        let until = *self.until.get_or_insert(now + LONGEST_TIME);
        if self.left == 0 || now > until {
            return Ok(None);
        }
        let received = self.received(pipeline.journal().as_ref(), seq).await?;
        let is_in = match received {
            None => false,
            Some(received) => self.has(pipeline.decoder(), received).await,
        };
        self.last = Some((seq, is_in));
        Ok(Some(is_in))
    }

    async fn has(&mut self, decoder: &Arc<Decoder>, received: Arc<Received>) -> bool {
        let is_encoded = decoder.is_encoded(&received);
        // What is not shown is not found: a search would tell it piece by piece.
        let reader = decoder.reader(&received.source);
        // To hide something a body is read, which takes longer.
        let is_small = |small| !is_encoded && received.body.len() <= small;
        if is_small(SMALL / 16) || is_small(SMALL) && !reader.hides(&received.body) {
            return self.finder.find(&reader.shown(&received.body)).is_some();
        }
        let (finder, decoder) = (Arc::clone(&self.finder), Arc::clone(decoder));
        let searched = web::block(move || {
            if !is_encoded {
                return (finder.find(&reader.shown(&received.body)).is_some(), 0);
            }
            let content = decoder.decode(&received).0.content.clone();
            (
                finder.find(&reader.shown(&content)).is_some(),
                content.len(),
            )
        });
        let (is_in, decoded) = searched.await.unwrap_or_default();
        self.left = self.left.saturating_sub(decoded);
        is_in
    }

    /// The body with this number; `None` if it is not in the journal any more. Reads those before it too, which come
    /// next.
    async fn received(
        &mut self,
        journal: &dyn Journal,
        seq: Seq,
    ) -> Result<Option<Arc<Received>>, Unavailable> {
        let place = |chunk: &[Record]| chunk.binary_search_by_key(&seq, |record| record.seq).ok();
        if place(&self.chunk).is_none() {
            self.read(journal, seq).await?;
            if place(&self.chunk).is_none() && self.step > 1 {
                // A read ends early where bodies are long.
                self.step = 1;
                self.read(journal, seq).await?;
            }
            self.step = (2 * self.step).min(CHUNK);
        }
        let Some(at) = place(&self.chunk) else {
            return Ok(None);
        };
        let record = &self.chunk[at];
        let is_there = record.missing.is_none();
        Ok(is_there.then(|| Arc::clone(&record.received)))
    }

    /// Reads the record with this number, and those before it.
    async fn read(&mut self, journal: &dyn Journal, seq: Seq) -> Result<(), Unavailable> {
        let after = seq.saturating_sub(self.step as Seq);
        self.chunk = journal.read(after, self.step).await?;
        let read = self.chunk.iter().map(|record| record.received.body.len());
        self.left = self.left.saturating_sub(read.sum());
        Ok(())
    }
}

/// The longest text that is searched for, in bytes.
const LONGEST: usize = 128;

/// So many records are read together, or fewer if they are long.
const CHUNK: usize = 64;

/// A body of so many bytes is searched within a millisecond.
const SMALL: usize = 1024 * 1024;

/// So many bytes are read for one request, for so long.
const MOST_BYTES: usize = 256 * 1024 * 1024;
const LONGEST_TIME: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::clock::SystemClock;
    use crate::journal::contract::{WINDOW, entry, new};
    use crate::journal::{Sqlite, TestFolder};
    use crate::telemetry::JournalMetrics;

    /// Reads of the journal end after 8 MiB: those that end before the body that is looked for must not be made again
    /// and again.
    #[actix_web::test]
    async fn long_bodies_are_read_twice_at_most() {
        let (folder, clock) = (TestFolder::new(), Arc::new(SystemClock));
        let open = || Sqlite::open(folder.path(), JournalMetrics::unrecorded(), clock.clone());
        let journal = open().unwrap();
        let sizes = [300 * 1024; 60].into_iter().chain([10; 60]);
        let mut all = 0;
        for (number, size) in (1..).zip(sizes) {
            let received = Received::new("source", "x".repeat(size));
            new(&journal, entry(received, number, WINDOW)).await;
            all += size;
        }
        let (turns, clock) = (Semaphore::new(1), SystemClock);
        let mut contains = Contains {
            finder: Arc::new(Finder::new("y").into_owned()),
            chunk: Vec::new(),
            step: CHUNK,
            last: None,
            left: MOST_BYTES,
            clock: &clock,
            until: None,
            _turn: turns.try_acquire().unwrap(),
        };
        for seq in (1..=120).rev() {
            let found = contains.received(&journal, seq).await.unwrap();
            let size = if seq > 60 { 10 } else { 300 * 1024 };
            assert_eq!(found.unwrap().body.len(), size, "{seq}");
        }
        assert!(contains.received(&journal, 121).await.unwrap().is_none());
        let read = MOST_BYTES - contains.left;
        assert!((all..2 * all).contains(&read), "{read} of {all}");
    }
}
