//! [`Contains`]: whether a body has certain bytes. Nothing is stored for it: bodies are read, newest first, within
//! limits of bytes and time, and one request at a time.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use memchr::memmem::Finder;
use tokio::sync::SemaphorePermit;

use super::error::ApiError;
use super::role::Role;
use super::state::AdminState;
use crate::Received;
use crate::clock::Clock;
use crate::dispatch::find;
use crate::engine::Pipeline;
use crate::index::EventEntry;
use crate::journal::{Journal, Record, Seq, Unavailable};

/// A search in bodies.
pub(super) struct Contains<'a> {
    finder: Finder<'a>,
    /// The records that were read last, oldest first: events that are next to each other are read together.
    chunk: Vec<Record>,
    /// How many more bytes are read.
    left: usize,
    clock: &'a dyn Clock,
    until: Instant,
    _turn: SemaphorePermit<'a>,
}

impl<'a> Contains<'a> {
    /// # Errors
    ///
    /// For a viewer who must not see bodies, for a text of another length than 1 to [`LONGEST`] bytes, and while
    /// another such search runs.
    pub(super) fn new(state: &'a AdminState, role: Role, text: &'a str) -> Result<Self, ApiError> {
        if !role.sees_bodies() {
            return Err(ApiError::no_bodies());
        }
        if text.len() > LONGEST {
            let text = format!("contains: expected at most {LONGEST} bytes");
            return Err(ApiError::bad_request(text));
        }
        let turn = state.body_search.try_acquire().map_err(|_| {
            let text = "another search in bodies runs; ask again in a moment";
            ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", text)
        })?;
        let clock = &*state.clock;
        Ok(Self {
            finder: Finder::new(text),
            chunk: Vec::new(),
            left: MOST_BYTES,
            clock,
            until: clock.monotonic() + LONGEST_TIME,
            _turn: turn,
        })
    }

    /// Whether the body of an event has the bytes, as they came or decoded. `None` when enough was read.
    pub(super) async fn is_in(
        &mut self,
        pipeline: &Pipeline,
        event: &EventEntry,
    ) -> Result<Option<bool>, Unavailable> {
        let Some(position) = event.in_journal() else {
            return Ok(Some(false));
        };
        if self.left == 0 || self.clock.monotonic() > self.until {
            return Ok(None);
        }
        let found = self
            .received(pipeline.journal().as_ref(), position.seq())
            .await?;
        let Some(received) = &found else {
            return Ok(Some(false));
        };
        let decoder = pipeline.decoder();
        let content = if decoder.is_encoded(received) {
            Cow::Owned(decoder.decode(received).0.content.clone())
        } else {
            Cow::Borrowed(&received.body)
        };
        self.left = self.left.saturating_sub(content.len());
        Ok(Some(self.finder.find(&content).is_some()))
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
            let after = seq.saturating_sub(CHUNK as Seq);
            self.chunk = journal.read(after, CHUNK).await?;
        }
        let Some(at) = place(&self.chunk) else {
            // Those before it are long, so that fewer were read.
            let found = find(journal, seq).await?;
            return Ok(found.map(|record| Arc::clone(&record.received)));
        };
        let record = &self.chunk[at];
        let is_there = record.missing.is_none();
        Ok(is_there.then(|| Arc::clone(&record.received)))
    }
}

/// The longest text that is searched for, in bytes.
const LONGEST: usize = 128;

/// So many records are read together, or fewer if they are long.
const CHUNK: usize = 64;

/// So many bytes are read for one request, for so long.
const MOST_BYTES: usize = 256 * 1024 * 1024;
const LONGEST_TIME: Duration = Duration::from_secs(10);
