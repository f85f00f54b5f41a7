//! [`Failure`]: why the index cannot be written or read.

use crate::journal::Unavailable;

/// Why the index cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("index.db: {0}")]
    Database(#[from] rusqlite::Error),
    #[error(
        "index.db: its contents cannot be read; stop offhook and delete the file: it is built again"
    )]
    Damaged,
    #[error("reading the journal: {0}")]
    Journal(#[from] Unavailable),
}
