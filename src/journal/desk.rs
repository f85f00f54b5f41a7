//! [`Desk`]: where the progress of consumers is kept, for one share.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::dead_letters::DeadLetter;
use super::position::{Position, Share};
use super::unavailable::Unavailable;

/// The desks of a journal, one for each share.
#[async_trait]
pub trait Desks: Debug + Send + Sync + 'static {
    /// Into how many shares dispatch is divided; at least one, and always the same for one journal.
    fn shares(&self) -> Share;

    /// Takes a share: opens its desk. Every desk of the share that was opened before, also by another
    /// instance, is fenced from now on.
    ///
    /// # Errors
    ///
    /// When it cannot be taken now.
    async fn desk(&self, share: Share) -> Result<Arc<dyn Desk>, Unavailable>;

    /// Makes a consumer known: keeps `progress` in each share that has none of it. All shares begin at
    /// one point that way, whichever instance holds them. Durable when it returns.
    ///
    /// # Errors
    ///
    /// When that cannot be stored now.
    async fn introduce(&self, consumer: &str, progress: &[u8]) -> Result<(), Unavailable>;

    /// Forgets a consumer's progress in all shares; its dead letters stay. Durable when it returns.
    ///
    /// # Errors
    ///
    /// When that cannot be stored now.
    async fn forget_consumer(&self, consumer: &str) -> Result<(), Unavailable>;
}

/// Keeps the progress of consumers in one share, for the one instance that holds the share.
#[async_trait]
pub trait Desk: Debug + Send + Sync + 'static {
    /// Which share.
    fn share(&self) -> Share;

    /// What was saved of a consumer last; `None` for one that is not known.
    ///
    /// # Errors
    ///
    /// When it cannot be read. Never `None` then: the consumer would start from now.
    async fn saved(&self, consumer: &str) -> Result<Option<Vec<u8>>, Unavailable>;

    /// Saves what a consumer has done; returns when it is durable. The same change may be saved twice.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Fenced`] when another desk of the share was opened since: nothing may be saved any
    /// more. Otherwise when it cannot be stored now.
    async fn save(&self, change: ProgressChange) -> Result<(), Unavailable>;
}

/// What a consumer has done since it was saved last.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressChange {
    /// The consumer's name.
    pub consumer: String,
    /// How far it has come. A journal does not look into it.
    pub progress: Vec<u8>,
    /// Events that are no longer dead letters, because they are handed over again.
    pub revived: Vec<Position>,
    /// The events it has given up on since; those that are in `revived` too have died again.
    pub dead: Vec<DeadLetter>,
}
