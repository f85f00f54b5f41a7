//! [`Index`]: the handle that answers searches.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::Connection;

use super::inbox::{Inbox, IndexNotes};
use super::indexer::Indexer;
use super::query::Snapshot;
use super::schema::{self, Failure, IndexTuning, TUNING};
use super::writer::{Open, Writer};
use crate::EventId;
use crate::index::{EventEntry, EventFilter, Notes, Search, TimelineEntry};
use crate::journal::{Position, Unavailable};

/// The index of one journal.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    reader: Arc<Mutex<Connection>>,
    open: Arc<Mutex<Open>>,
    inbox: Arc<Inbox>,
    tuning: IndexTuning,
}

impl Index {
    /// Opens the index in the journal's folder. An index that cannot be used is built again from
    /// the journal. Returns the indexer too, which must run as a task.
    pub(crate) fn open(folder: &Path) -> rusqlite::Result<(Self, Indexer)> {
        Self::tuned(folder, TUNING)
    }

    pub(super) fn tuned(folder: &Path, tuning: IndexTuning) -> rusqlite::Result<(Self, Indexer)> {
        let path = folder.join("index.db");
        let writer = Writer::new(schema::open(&path)?, tuning)?;
        let inbox = Arc::new(Inbox::default());
        let index = Self {
            reader: Arc::new(Mutex::new(schema::open_reader(&path)?)),
            open: Arc::clone(writer.open()),
            inbox: Arc::clone(&inbox),
            tuning,
        };
        Ok((index, Indexer::new(writer, inbox, tuning)))
    }

    /// Returns the receiver of attempts, duplicates and trims.
    pub(crate) fn notes(&self) -> Arc<dyn Notes> {
        Arc::new(IndexNotes(Arc::clone(&self.inbox)))
    }

    /// Runs a query on a blocking thread, after the wait that [`Search`] promises.
    async fn search<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Unavailable> {
        self.inbox.caught_up().await;
        let (reader, open) = (Arc::clone(&self.reader), Arc::clone(&self.open));
        let searched = tokio::task::spawn_blocking(move || {
            let reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            query(&Snapshot::take(&reader, &open)?)
        });
        match searched.await {
            Ok(found) => found.map_err(|failure| Unavailable::Away(failure.to_string())),
            Err(panicked) => Err(Unavailable::Away(panicked.to_string())),
        }
    }
}

#[async_trait]
impl Search for Index {
    async fn newest(
        &self,
        filter: EventFilter,
        limit: usize,
    ) -> Result<Vec<EventEntry>, Unavailable> {
        self.search(move |all| all.newest(&filter, limit)).await
    }

    async fn positions(
        &self,
        filter: EventFilter,
        limit: usize,
    ) -> Result<Vec<Position>, Unavailable> {
        self.search(move |all| all.positions(&filter, limit)).await
    }

    async fn by_id(&self, id: EventId) -> Result<Option<EventEntry>, Unavailable> {
        self.search(move |all| all.by_id(id)).await
    }

    async fn by_positions(&self, positions: Vec<Position>) -> Result<Vec<EventEntry>, Unavailable> {
        self.search(move |all| all.by_positions(&positions)).await
    }

    async fn attempts(&self, position: Position) -> Result<Vec<TimelineEntry>, Unavailable> {
        let bucket = self.tuning.bucket;
        self.search(move |all| all.attempts(position, bucket)).await
    }
}
