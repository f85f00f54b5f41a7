//! [`Opened`]: an open journal, with the index that follows it.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::dialect::Decoder;
use crate::index::{Notes, Search};
use crate::journal::Journal;

/// An open journal, with the index that follows it, if there is one.
pub(crate) struct Opened {
    pub(super) journal: Arc<dyn Journal>,
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

    /// Has an index that never follows the journal.
    #[cfg(test)]
    pub(crate) fn with_a_still_index(mut self) -> Self {
        self.follower = None;
        self
    }
}
