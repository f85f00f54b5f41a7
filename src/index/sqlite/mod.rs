//! [`Index`]: the index in a SQLite database.
//!
//! The database may be deleted: the events are indexed again from the journal. Only duplicates and
//! the timelines of old attempts are lost with it.
//!
//! An event has no row of its own. The newest events are in memory, in the open
//! [`segment`]. When the segment is full, or two seconds after its first event, it becomes one row:
//! a summary (ids, positions, times, kinds, a filter of the sessions) and one blob. A search reads
//! the summaries, newest first, and decodes only the blobs that may hold what it looks for. Attempts
//! are written in the same way, in buckets of consecutive bodies.
//!
//! Where to look:
//!
//! - [`inbox`]: what is not indexed yet; [`indexer`]: when to take it, and how much.
//! - [`segment`] and [`attempts`]: the data in memory and as blobs.
//! - [`writer`]: writes the database; [`erase`]: what it does for deleted events; [`query`]: reads it; [`schema`]: its tables and sizes.

mod attempts;
mod erase;
mod inbox;
mod indexer;
#[cfg(test)]
mod model_tests;
mod query;
mod schema;
mod segment;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use rusqlite::Connection;

use self::inbox::Inbox;
use self::indexer::Indexer;
use self::query::Snapshot;
use self::schema::{IndexTuning, Result, TUNING};
use self::writer::{IndexWriter, Unwritten, lock};
use crate::EventId;
use crate::index::{Answer, EventEntry, EventFilter, Notes, Search, TimelineEntry};
use crate::journal::{Position, Readers, Seq};

/// The index of one journal: the handle that answers searches.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    readers: Arc<Readers>,
    unwritten: Arc<Mutex<Unwritten>>,
    inbox: Arc<Inbox>,
    /// [`IndexTuning::bucket`].
    bucket: u64,
}

impl Index {
    /// Opens the index in the journal's folder. An index that cannot be used is built again from
    /// the journal. Returns the indexer too, which must run as a task.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Indexer), OpenFailure> {
        Self::tuned(folder, TUNING)
    }

    fn tuned(folder: &Path, tuning: IndexTuning) -> Result<(Self, Indexer), OpenFailure> {
        let path = folder.join("index.db");
        let writer = IndexWriter::new(schema::open(&path)?, tuning)?;
        let inbox = Arc::new(Inbox::default());
        let index = Self {
            readers: Readers::new(&path)?,
            unwritten: Arc::clone(&writer.unwritten),
            inbox: Arc::clone(&inbox),
            bucket: tuning.bucket,
        };
        let indexer = Indexer {
            writer,
            inbox,
            due: None,
            deletions: true,
        };
        Ok((index, indexer))
    }

    /// Returns the receiver of attempts, duplicates and trims.
    pub(crate) fn notes(&self) -> Arc<dyn Notes> {
        Arc::new(Arc::clone(&self.inbox))
    }

    /// Runs a query on a blocking thread, after the wait that [`Search`] promises.
    async fn search<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T> + Send + 'static,
    ) -> Answer<T> {
        self.inbox.caught_up().await;
        let unwritten = Arc::clone(&self.unwritten);
        let query = move |reader: &Connection| query(&Snapshot::take(reader, &unwritten)?);
        self.readers.look(query).await
    }
}

/// Why an index cannot be created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenFailure {
    #[error("index.db: {0}")]
    Database(#[from] rusqlite::Error),
    #[error("index.db: {0}")]
    Io(#[from] std::io::Error),
}

#[async_trait]
impl Search for Index {
    async fn newest(&self, filter: EventFilter, limit: usize) -> Answer<Vec<EventEntry>> {
        self.search(move |all| all.newest(&filter, limit)).await
    }

    async fn positions(&self, filter: EventFilter, limit: usize) -> Answer<Vec<Position>> {
        self.search(move |all| all.positions(&filter, limit)).await
    }

    async fn by_id(&self, id: EventId) -> Answer<Option<EventEntry>> {
        self.search(move |all| all.by_id(id)).await
    }

    async fn by_positions(&self, positions: Vec<Position>) -> Answer<Vec<EventEntry>> {
        self.search(move |all| all.by_positions(positions)).await
    }

    async fn is_complete(&self, up_to: Seq) -> bool {
        self.inbox.caught_up().await;
        lock(&self.unwritten).indexed >= up_to
    }

    async fn attempts(&self, position: Position) -> Answer<Vec<TimelineEntry>> {
        let bucket = self.bucket;
        self.search(move |all| all.attempts(position, bucket)).await
    }
}
