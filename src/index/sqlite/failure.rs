//! [`Failure`]: why the index cannot be written or read.

use crate::journal::Unavailable;

/// Why the index cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("index.db: {0}")]
    Database(#[from] rusqlite::Error),
    #[error(
        "index.db: what it holds cannot be read; stop offhook and delete the file: it is made anew"
    )]
    Damaged,
    #[error("reading the journal: {0}")]
    Journal(#[from] Unavailable),
}
