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
//! - [`writer`]: writes the database; [`erase`]: what it does for deleted events; [`query`]: reads it;
//!   [`schema`]: its tables and sizes; [`sums`]: its checksums.
//!
//! Damage is met at the start, while writing or in a search. In each case the indexer replaces the database
//! by an empty one and follows the journal from its beginning.

mod attempts;
#[cfg(feature = "test-support")]
pub mod blobs;
#[cfg(test)]
mod damage_tests;
mod erase;
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
mod exchange;
mod inbox;
mod indexer;
#[cfg(test)]
mod model_tests;
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
mod outbox;
mod query;
mod schema;
mod segment;
mod sums;
mod writer;

use std::path::Path;
use std::sync::{Arc, Mutex, OnceLock};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::watch;

use self::exchange::{Exchange, Others};
use self::inbox::{Inbox, Trouble};
use self::indexer::Indexer;
use self::outbox::Outbox;
use self::query::Snapshot;
use self::schema::{Failure, IndexTuning, Result, TUNING};
use self::writer::{IndexWriter, Unwritten, lock};
use crate::EventId;
use crate::index::{Answer, EventEntry, EventFilter, Notes, Search, TimelineEntry};
use crate::journal::{Cluster, Position, Readers, Seq};

/// The index of one journal: the handle that answers searches.
#[derive(Debug, Clone)]
pub(crate) struct Index {
    readers: Arc<Readers>,
    unwritten: Arc<Mutex<Unwritten>>,
    inbox: Arc<Inbox>,
    /// [`IndexTuning::bucket`].
    bucket: u64,
    /// The other instances, if several share the journal.
    others: Arc<OnceLock<Others>>,
}

impl Index {
    /// Opens the index in the journal's folder. An index that cannot be used is built again from
    /// the journal. Returns the indexer too, which must run as a task.
    pub(crate) fn open(folder: &Path) -> Result<(Self, Indexer), OpenFailure> {
        Self::tuned(folder, TUNING)
    }

    fn tuned(folder: &Path, tuning: IndexTuning) -> Result<(Self, Indexer), OpenFailure> {
        let path = folder.join("index.db");
        let writer = IndexWriter::open(&path, tuning)?;
        let readers = Readers::new(&path);
        let inbox = Arc::new(Inbox::default());
        let index = Self {
            readers: Arc::clone(&readers),
            unwritten: Arc::clone(&writer.unwritten),
            inbox: Arc::clone(&inbox),
            bucket: tuning.bucket,
            others: Arc::default(),
        };
        Ok((index, Indexer::new(writer, readers, inbox)))
    }

    /// Tells the other instances that share the journal of attempts and duplicates, and hears of theirs. It must run as a task.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) fn exchange(&self, folder: &Path, cluster: Arc<dyn Cluster>) -> Exchange {
        let outbox = Arc::<Outbox>::default();
        self.inbox.tell_others(&outbox);
        let heard = watch::Sender::new(0);
        // There is one exchange.
        let _ = self.others.set(Others {
            cluster: Arc::clone(&cluster),
            heard: heard.subscribe(),
        });
        Exchange {
            index: Arc::new(self.clone()),
            heard,
            inbox: Arc::clone(&self.inbox),
            outbox,
            cluster,
            file: folder.join("notes"),
        }
    }

    /// Returns the receiver of attempts, duplicates and trims.
    pub(crate) fn notes(&self) -> Arc<dyn Notes> {
        Arc::new(Arc::clone(&self.inbox))
    }

    /// Runs a query on a blocking thread, after the wait that [`Search`] promises. If it cannot read the
    /// index, it tells the indexer, and tries again once.
    async fn search<T: Send + 'static>(
        &self,
        query: impl Fn(&Snapshot<'_>) -> Result<T> + Send + Sync + 'static,
    ) -> Answer<T> {
        let query = Arc::new(query);
        self.inbox.caught_up().await;
        if let Ok(found) = self.try_search(Arc::clone(&query)).await {
            return Ok(found);
        }
        self.inbox.report(Trouble::Unclear);
        self.inbox.caught_up().await;
        self.try_search(query).await
    }

    /// The same, after what has happened at other instances was told too.
    async fn search_all<T: Send + 'static>(
        &self,
        query: impl Fn(&Snapshot<'_>) -> Result<T> + Send + Sync + 'static,
    ) -> Answer<T> {
        if let Some(others) = self.others.get() {
            others.told().await;
        }
        self.search(query).await
    }

    async fn try_search<T: Send + 'static>(
        &self,
        query: Arc<impl Fn(&Snapshot<'_>) -> Result<T> + Send + Sync + 'static>,
    ) -> Answer<T> {
        let (unwritten, inbox) = (Arc::clone(&self.unwritten), Arc::clone(&self.inbox));
        let query = move |reader: &Connection| {
            let found = Snapshot::take(reader, &unwritten).and_then(|all| query(&all));
            if found.as_ref().is_err_and(Failure::is_damage) {
                // Here, where the index cannot be replaced yet.
                inbox.report(Trouble::Damage);
            }
            found
        };
        self.readers.look(query).await
    }
}

/// Why an index cannot be created.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) struct OpenFailure(#[from] Failure);

impl From<std::io::Error> for OpenFailure {
    fn from(error: std::io::Error) -> Self {
        Self(error.into())
    }
}

#[async_trait]
impl Search for Index {
    async fn newest(&self, filter: EventFilter, limit: usize) -> Answer<Vec<EventEntry>> {
        self.search_all(move |all| all.newest(&filter, limit)).await
    }

    async fn positions(&self, filter: EventFilter, limit: usize) -> Answer<Vec<Position>> {
        self.search(move |all| all.positions(&filter, limit)).await
    }

    async fn positions_now(&self, filter: EventFilter, limit: usize) -> Answer<Vec<Position>> {
        let query = Arc::new({
            let filter = filter.clone();
            move |all: &Snapshot<'_>| all.positions(&filter, limit)
        });
        match self.try_search(query).await {
            Ok(found) => Ok(found),
            // Tells the indexer, which may make the index again.
            Err(_) => self.positions(filter, limit).await,
        }
    }

    async fn by_id(&self, id: EventId) -> Answer<Option<EventEntry>> {
        self.search_all(move |all| all.by_id(id)).await
    }

    async fn between(
        &self,
        first: EventId,
        last: EventId,
        up_to: Seq,
    ) -> Answer<Option<Vec<EventEntry>>> {
        let query = move |all: &Snapshot<'_>| {
            let is_complete = all.is_complete(up_to);
            is_complete.then(|| all.between(first, last)).transpose()
        };
        self.search(query).await
    }

    async fn by_positions(&self, positions: Vec<Position>) -> Answer<Vec<EventEntry>> {
        self.search(move |all| all.by_positions(positions.clone()))
            .await
    }

    async fn is_complete(&self, up_to: Seq) -> bool {
        self.inbox.caught_up().await;
        lock(&self.unwritten).indexed >= up_to
    }

    async fn attempts(&self, position: Position) -> Answer<Vec<TimelineEntry>> {
        let bucket = self.bucket;
        self.search_all(move |all| all.attempts(position, bucket))
            .await
    }
}
