//! What an administrator looks for: events by id, session, kind and time, and what became of them.
//!
//! The index is a consumer of the journal like any other: it follows behind and is never on the way
//! to an answer. It has a database of its own, which can be deleted: the events are found again in
//! the journal; only duplicates and the timelines of old attempts are lost with it.
//!
//! An event has no row. The newest events are in memory, in the open [`Segment`](segment); when there
//! are enough of them, or two seconds after the first, they become one row: what is known of them
//! all (ids, numbers, times, kinds, a filter of their sessions), and one blob. A search reads what is
//! known of each segment, newest first, and opens those that may have what it looks for. Attempts
//! are written in the same way, in buckets of consecutive events.
//!
//! Where to look:
//!
//! - [`inbox`]: what happened and is not indexed yet; [`indexer`]: when to take it, and how much.
//! - [`segment`] and [`attempts`]: what there is in memory; [`codec`] and [`sessions`]: as blobs.
//! - [`writer`]: into the database; [`query`]: out of it; [`schema`]: its tables.

mod attempts;
mod bytes;
mod codec;
mod inbox;
mod indexer;
#[cfg(test)]
mod model_tests;
mod query;
mod schema;
mod segment;
mod sessions;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;
use uuid::Uuid;

use crate::journal::{Seq, Unavailable};

pub(crate) use inbox::AttemptLog;
pub(crate) use indexer::Indexer;
pub(crate) use query::{Entry, Filter, TimelineEntry};

use inbox::Inbox;
use query::Snapshot;
use writer::{Open, Writer};

/// The index of one journal.
///
/// Every question first waits, for a second at most, until all is indexed that happened before it.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    reader: Arc<Mutex<Connection>>,
    open: Arc<Mutex<Open>>,
    inbox: Arc<Inbox>,
}

impl Index {
    /// Opens the index in the journal's folder; one that cannot be used is made anew. The second is
    /// the writing side, to be run as a task.
    pub(crate) fn open(folder: &Path) -> rusqlite::Result<(Self, Indexer)> {
        let path = folder.join("index.db");
        let writer = Writer::new(schema::open(&path)?)?;
        let inbox = Arc::new(Inbox::default());
        let index = Self {
            reader: Arc::new(Mutex::new(schema::open_reader(&path)?)),
            open: Arc::clone(writer.open()),
            inbox: Arc::clone(&inbox),
        };
        Ok((index, Indexer::new(writer, inbox)))
    }

    /// Where to tell of attempts and duplicates.
    pub(crate) fn notes(&self) -> AttemptLog {
        AttemptLog(Some(Arc::clone(&self.inbox)))
    }

    /// The newest events that pass, newest first, at most `limit`.
    pub(crate) async fn newest(
        &self,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        self.search(move |all| all.newest(&filter, limit)).await
    }

    /// The numbers of all kept events that pass, oldest first, at most `limit`.
    pub(crate) async fn numbers(
        &self,
        filter: Filter,
        limit: usize,
    ) -> Result<Vec<Seq>, Unavailable> {
        self.search(move |all| all.numbers(&filter, limit)).await
    }

    /// The event with this id.
    pub(crate) async fn by_id(&self, id: Uuid) -> Result<Option<Entry>, Unavailable> {
        self.search(move |all| all.by_id(id)).await
    }

    /// The events with these numbers, oldest first.
    pub(crate) async fn by_numbers(&self, numbers: Vec<Seq>) -> Result<Vec<Entry>, Unavailable> {
        self.search(move |all| all.by_numbers(&numbers)).await
    }

    /// All attempts at an event, oldest first, at most 1,000.
    pub(crate) async fn attempts(&self, seq: Seq) -> Result<Vec<TimelineEntry>, Unavailable> {
        self.ask(move |database, open| query::attempts(database, open, seq))
            .await
    }

    async fn search<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.ask(move |database, open| query(&Snapshot::take(database, open)?))
            .await
    }

    /// Asks the database, away from the asynchronous threads.
    async fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection, &Mutex<Open>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.inbox.caught_up().await;
        let (reader, open) = (Arc::clone(&self.reader), Arc::clone(&self.open));
        let asked = tokio::task::spawn_blocking(move || {
            query(
                &reader.lock().unwrap_or_else(PoisonError::into_inner),
                &open,
            )
        });
        let failed = |error: &dyn std::fmt::Display| Unavailable(error.to_string());
        let asked = asked.await.map_err(|error| failed(&error))?;
        asked.map_err(|error| failed(&error))
    }
}

/// Why the index cannot be written or read.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("index.db: {0}")]
    Database(#[from] rusqlite::Error),
    #[error(
        "index.db: what it holds cannot be read; stop offhook and delete the file: it is made anew"
    )]
    Damaged,
    #[error("reading the journal: {0}")]
    Journal(#[from] Unavailable),
}
