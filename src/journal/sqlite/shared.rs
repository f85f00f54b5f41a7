//! [`Shared`]: what the handle and the thread both know.

use std::sync::atomic::{AtomicBool, AtomicU64};

use tokio::sync::watch;

use crate::journal::Version;

/// What the handle and the thread both know.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whether the journal stores what it is given.
    pub(super) ready: AtomicBool,
    /// How often the desk was opened: progress is saved by the newest desk only.
    pub(super) epoch: AtomicU64,
    /// The newest change of a document.
    pub(super) documents: watch::Sender<Version>,
}
