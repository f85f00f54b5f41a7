//! [`Documents`]: small documents of the server's own, such as subscriptions.

use std::fmt::Debug;

use async_trait::async_trait;
use tokio::sync::watch;

use super::unavailable::Unavailable;

/// The number of a change to the documents of a journal: each change has the next higher one.
pub type Version = u64;

/// A document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Its key; documents are found by the beginning of their keys.
    pub key: String,
    /// What is kept.
    pub value: Vec<u8>,
    /// When it was changed last, as the number of that change.
    pub version: Version,
}

/// What must be true of a document for it to be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Anything,
    /// There is no document of that key.
    Absent,
    /// It was changed last by this change.
    Version(Version),
}

/// Why a document was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// It is not as it was expected to be: another change came first.
    #[error("the document was changed by another request; read it and ask again")]
    Conflict,
    /// The journal cannot store it now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The documents of a journal.
#[async_trait]
pub trait Documents: Debug + Send + Sync + 'static {
    /// Writes a document, or removes it with `None`, where it is as `expected`. Returns the number of the
    /// change when it is durable. To remove a document that is not there is a change too.
    ///
    /// # Errors
    ///
    /// [`PutError::Conflict`] when it is not as expected; otherwise when it cannot be stored now.
    async fn put_document(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        expected: Expected,
    ) -> Result<Version, PutError>;

    /// The documents whose keys begin with `prefix`, in the order of their keys.
    ///
    /// # Errors
    ///
    /// When they cannot be read now.
    async fn documents(&self, prefix: &str) -> Result<Vec<Document>, Unavailable>;

    /// For waiting until a document is changed, by this instance or by another: the newest change that is
    /// known.
    fn watch_documents(&self) -> watch::Receiver<Version>;
}

impl Expected {
    #[cfg(any(feature = "sqlite", feature = "test-support", test))]
    /// Whether a document that was changed last by `found` may be changed.
    pub(crate) fn allows(self, found: Option<Version>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        }
    }
}
