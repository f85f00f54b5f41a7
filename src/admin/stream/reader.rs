//! [`EventReader`]: reads events along the journal, as a consumer does, but without progress.
//!
//! The newest events come from memory ([`Tail`](crate::journal::Tail)), others from the disk. Writing does not
//! know of readers.

use std::collections::VecDeque;
use std::sync::Arc;

use actix_web::web;
use tokio::sync::watch;

use super::place::Place;
use super::rows::{Row, RowFilter};
use crate::engine::Pipeline;
use crate::journal::{Record, Seq, Unavailable};

/// Reads the events that pass a filter, in order.
pub(super) struct EventReader {
    pipeline: Arc<Pipeline>,
    filter: Arc<RowFilter>,
    head: watch::Receiver<Seq>,
    /// Everything up to here was read.
    at: Place,
    /// What was read and not taken.
    rows: VecDeque<Row>,
}

/// Bodies that are left out: from the first one to the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) from: Seq,
    pub(super) to: Seq,
}

/// What comes next.
pub(super) enum Next {
    Row(Row),
    /// These are not in the journal any more.
    Removed(Gap),
    /// Nothing, until there are newer events.
    End,
}

impl EventReader {
    pub(super) fn new(pipeline: Arc<Pipeline>, filter: Arc<RowFilter>, at: Place) -> Self {
        let head = pipeline.journal().tail().watch();
        Self {
            pipeline,
            filter,
            head,
            at,
            rows: VecDeque::new(),
        }
    }

    /// Returns when there may be something to read.
    pub(super) async fn wait(&mut self) {
        if self.rows.is_empty() && self.at.body >= *self.head.borrow_and_update() {
            // It fails when the journal has gone, and then there is nothing more.
            if self.head.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// Reads the next event.
    ///
    /// # Errors
    ///
    /// When the journal cannot be read now.
    pub(super) async fn next(&mut self) -> Result<Next, Unavailable> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Next::Row(row));
            }
            if self.at.body >= self.head() {
                return Ok(Next::End);
            }
            let journal = self.pipeline.journal();
            let mut records = journal.tail().range(self.at.body, BATCH);
            if records.is_empty() {
                let read = journal.read(self.at.body, BATCH).await?;
                records = read.into_iter().map(Arc::new).collect();
            }
            let missing = || Unavailable::Away("a stored body cannot be found".to_owned());
            let first = records.first().ok_or_else(missing)?.seq;
            if first > self.at.body + 1 {
                let gap = Gap {
                    from: self.at.body + 1,
                    to: first - 1,
                };
                self.at = Place::behind(gap.to);
                return Ok(Next::Removed(gap));
            }
            self.take(records).await?;
        }
    }

    async fn take(&mut self, records: Vec<Arc<Record>>) -> Result<(), Unavailable> {
        let (filter, after) = (Arc::clone(&self.filter), self.at);
        let decoder = Arc::clone(self.pipeline.decoder());
        let must_decode = records.iter().any(|record| filter.must_decode(record));
        let read = move || {
            let (mut rows, mut room, mut at) = (VecDeque::new(), ROOM, after);
            for record in &records {
                // There is a gap, or there was no room for the whole body.
                if record.seq != at.body + 1 || room == 0 {
                    break;
                }
                at = filter.add_rows(record, after, &decoder, (&mut rows, &mut room));
            }
            (rows, at)
        };
        // Decoding must not hold up the others that this thread answers.
        (self.rows, self.at) = if must_decode {
            let broken = |_| Unavailable::Away("reading was broken off".to_owned());
            web::block(read).await.map_err(broken)?
        } else {
            read()
        };
        Ok(())
    }

    /// How many bodies it has not sent.
    pub(super) fn behind(&self) -> u64 {
        (self.head() + 1).saturating_sub(self.from())
    }

    /// Goes on with what comes from now on. Returns what is left out.
    pub(super) fn skip(&mut self) -> Option<Gap> {
        let gap = Gap {
            from: self.from(),
            to: self.head(),
        };
        self.rows.clear();
        self.at = self.at.max(Place::behind(gap.to));
        (gap.from <= gap.to).then_some(gap)
    }

    /// The number of the next body.
    fn from(&self) -> Seq {
        self.rows.front().map_or(self.at.body + 1, |row| row.seq)
    }

    fn head(&self) -> Seq {
        self.pipeline.journal().tail().head()
    }
}

impl Gap {
    /// How many bodies are left out.
    pub(super) fn bodies(self) -> u64 {
        self.to + 1 - self.from
    }
}

/// How many bodies are read at a time.
const BATCH: usize = 64;

/// How many bytes of rows are made at a time, and about how many wait at most.
const ROOM: usize = 128 * 1024;
