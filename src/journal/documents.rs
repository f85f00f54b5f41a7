//! [`Documents`]: small documents of the server itself, such as subscriptions.

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
    /// Its content.
    pub value: Vec<u8>,
    /// The number of its last change.
    pub version: Version,
}

/// The condition for changing a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// No condition.
    Anything,
    /// There is no document with that key.
    Absent,
    /// The document's last change is this one.
    Version(Version),
}

/// Why a document was not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The document is not as expected: another change came first.
    #[error("the document was changed by another request; read it and ask again")]
    Conflict,
    /// The journal cannot store it now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The documents of a journal.
#[async_trait]
pub trait Documents: Debug + Send + Sync + 'static {
    /// Writes a document, or removes it with `None`, if it is as `expected`. Returns the number of
    /// the change when it is durable. Removing a document that does not exist is a change too.
    ///
    /// # Errors
    ///
    /// [`PutError::Conflict`] if it is not as expected; [`PutError::Unavailable`] if it cannot be
    /// stored now.
    async fn put_document(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        expected: Expected,
    ) -> Result<Version, PutError>;

    /// Returns the documents whose keys begin with `prefix`, sorted by key.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    async fn documents(&self, prefix: &str) -> Result<Vec<Document>, Unavailable>;

    /// Returns a receiver of the newest known change, by this instance or another, to wait for the
    /// next one.
    fn watch_documents(&self) -> watch::Receiver<Version>;
}

impl Expected {
    /// Returns whether a document whose last change is `found` may be changed.
    pub fn allows(self, found: Option<Version>) -> bool {
        match self {
            Self::Anything => true,
            Self::Absent => found.is_none(),
            Self::Version(version) => found == Some(version),
        }
    }
}
