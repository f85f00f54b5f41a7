//! [`Opened`]: an open journal, with the index that follows it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
#[cfg(all(feature = "postgres", feature = "sqlite"))]
use futures_util::future::{OptionFuture, join};
use tokio::sync::watch;

use crate::dialect::Decoder;
use crate::index::{Notes, Search};
use crate::journal::{Cluster, Journal};

/// An open journal, with the index that follows it, if there is one.
pub(crate) struct Opened {
    pub(super) journal: Arc<dyn Journal>,
    /// The journal again, if several instances share it.
    pub(super) cluster: Option<Arc<dyn Cluster>>,
    /// The journal's own folder, if it has one.
    pub(super) folder: Option<PathBuf>,
    pub(super) notes: Arc<dyn Notes>,
    pub(super) search: Option<Arc<dyn Search>>,
    pub(super) follower: Option<Follower>,
}

/// Follows the journal until it is told to stop.
pub(super) type Follower = Box<
    dyn FnOnce(Arc<dyn Journal>, Arc<Decoder>, watch::Receiver<bool>) -> BoxFuture<'static, ()>
        + Send,
>;

impl Opened {
    /// A journal without an index.
    pub(crate) fn without_search(journal: Arc<dyn Journal>) -> Self {
        Self {
            journal,
            cluster: None,
            folder: None,
            notes: Arc::new(()),
            search: None,
            follower: None,
        }
    }

    /// Opens the journal and the index in `folder`. `decoder` and `windows` make the dedup keys of an older
    /// journal again.
    ///
    /// # Errors
    ///
    /// When the journal cannot be opened, or the index cannot be created beside it.
    #[cfg(feature = "sqlite")]
    pub(crate) fn sqlite(
        folder: &std::path::Path,
        metrics: &crate::telemetry::Metrics,
        clock: &Arc<dyn crate::clock::Clock>,
        decoder: &Decoder,
        windows: super::Windows,
    ) -> Result<Self, crate::Error> {
        use super::keys::keys_of;
        use crate::journal::{Record, Sqlite};
        use crate::{Error, index::Index};
        let keys_of = |record: &Record| keys_of(record, decoder, windows);
        let (metrics, clock) = (metrics.journal(), Arc::clone(clock));
        let journal = Sqlite::open_with(folder, metrics, clock, Some(&keys_of));
        let journal = Arc::new(journal.map_err(Error::journal)?);
        let (index, indexer) = Index::open(folder).map_err(Error::journal)?;
        Ok(Self {
            folder: Some(folder.to_owned()),
            notes: index.notes(),
            search: Some(Arc::new(index)),
            follower: Some(Box::new(|journal, decoder, stop| {
                Box::pin(indexer.run(journal, decoder, stop))
            })),
            ..Self::without_search(journal)
        })
    }

    /// Opens the journal in a database, and the index of this instance below `path`.
    ///
    /// # Errors
    ///
    /// When the database is not fit for the journal or cannot be reached, or the index cannot be created.
    #[cfg(feature = "postgres")]
    pub(crate) fn postgres(
        options: crate::journal::PostgresOptions,
        path: &std::path::Path,
        clock: &Arc<dyn crate::clock::Clock>,
    ) -> Result<Self, crate::Error> {
        use crate::Error;
        use crate::journal::Postgres;

        let clock = Arc::clone(clock);
        // A thread of its own, because the caller may be on one that must not wait.
        let opening = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            let opened = runtime.block_on(Postgres::connect(options, clock));
            std::io::Result::Ok(opened)
        });
        let opened = opening
            .join()
            .unwrap_or_else(|_| Err(std::io::ErrorKind::Other.into()));
        let opened = opened.map_err(|error| Error::Io {
            what: "the thread that opens the journal",
            error,
        })?;
        let opened = opened.map_err(|error| Error::Database(Box::new(error)))?;
        let journal = Arc::new(opened);
        let opened = Self {
            cluster: Some(Arc::clone(&journal) as _),
            ..Self::without_search(Arc::clone(&journal) as _)
        };
        opened.indexed(&path.join(format!("index-{}", journal.log_id())))
    }

    /// With an index in a folder of its own.
    #[cfg(all(feature = "postgres", feature = "sqlite"))]
    fn indexed(self, folder: &std::path::Path) -> Result<Self, crate::Error> {
        use crate::{Error, index::Index};

        // Two instances on one machine need a folder each.
        let lock = crate::journal::own_folder(folder).map_err(Error::journal)?;
        let (index, indexer) = Index::open(folder).map_err(Error::journal)?;
        let cluster = self.cluster.clone();
        let exchange = cluster.map(|cluster| index.exchange(folder, cluster));
        Ok(Self {
            notes: index.notes(),
            search: Some(Arc::new(index)),
            follower: Some(Box::new(|journal, decoder, stop| {
                Box::pin(async move {
                    let exchanged = exchange.map(|exchange| exchange.run(stop.clone()));
                    let exchanged = OptionFuture::from(exchanged);
                    join(indexer.run(journal, decoder, stop), exchanged).await;
                    drop(lock);
                })
            })),
            ..self
        })
    }

    /// This build has no index.
    #[cfg(all(feature = "postgres", not(feature = "sqlite")))]
    #[allow(clippy::unnecessary_wraps)] // as with an index
    fn indexed(self, _: &std::path::Path) -> Result<Self, crate::Error> {
        Ok(self)
    }

    /// Has an index that never follows the journal.
    #[cfg(test)]
    pub(crate) fn with_a_still_index(mut self) -> Self {
        self.follower = None;
        self
    }
}
