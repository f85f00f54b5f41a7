//! [`Shared`]: the state that the handle and the thread share.

use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::watch;

use crate::journal::Version;

/// The state that the handle and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whether the journal can store what it is given.
    pub(super) ready: AtomicBool,
    /// How often the desk was opened: only the newest desk may save progress.
    pub(super) epoch: AtomicU64,
    /// The newest change of a document.
    pub(super) documents: watch::Sender<Version>,
}
