//! [`Desk`]: stores the progress of consumers in one share.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::dead_letters::DeadLetter;
use super::position::{Position, Share};
use super::unavailable::Unavailable;

/// The desks of a journal, one for each share.
#[async_trait]
pub trait Desks: Debug + Send + Sync + 'static {
    /// Returns the number of shares of dispatch: at least one, and always the same for one journal.
    fn shares(&self) -> Share;

    /// Takes a share: opens its desk. This fences every desk of the share that was opened before,
    /// also by another instance.
    ///
    /// # Errors
    ///
    /// If the share cannot be taken now.
    async fn desk(&self, share: Share) -> Result<Arc<dyn Desk>, Unavailable>;

    /// Introduces a consumer: stores `progress` in each share that has none of it. So all shares
    /// begin at one point, whichever instance holds them. Durable when it returns.
    ///
    /// # Errors
    ///
    /// If the change cannot be stored now.
    async fn introduce(&self, consumer: &str, progress: &[u8]) -> Result<(), Unavailable>;

    /// Removes a consumer's progress from all shares; its dead letters stay. Durable when it
    /// returns.
    ///
    /// # Errors
    ///
    /// If the change cannot be stored now.
    async fn forget_consumer(&self, consumer: &str) -> Result<(), Unavailable>;
}

/// Stores the progress of consumers in one share, for the one instance that holds the share.
#[async_trait]
pub trait Desk: Debug + Send + Sync + 'static {
    /// Returns the share of this desk.
    fn share(&self) -> Share;

    /// Returns the progress that was last saved; `None` for an unknown consumer.
    ///
    /// # Errors
    ///
    /// If it cannot be read. This must not return `None`: the consumer would start from now.
    async fn saved(&self, consumer: &str) -> Result<Option<Vec<u8>>, Unavailable>;

    /// Saves a consumer's change and returns when it is durable. The same change may be saved
    /// twice.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Fenced`] if another desk of the share was opened since: this desk may save
    /// nothing more. Any other error if the change cannot be stored now.
    async fn save(&self, change: ProgressChange) -> Result<(), Unavailable>;
}

/// What a consumer has done since its last save.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressChange {
    /// The consumer's name.
    pub consumer: String,
    /// The consumer's progress, opaque to the journal.
    pub progress: Vec<u8>,
    /// Events that are no longer dead letters, because they are replayed.
    pub revived: Vec<Position>,
    /// Events that the consumer has given up on since; those that are in `revived` too failed
    /// again.
    pub dead: Vec<DeadLetter>,
}
