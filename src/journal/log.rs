//! [`Log`]: the append-only log of bodies.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use super::position::Seq;
use super::record::{Appended, Entry, Record};
use super::tail::Tail;
use super::unavailable::Unavailable;

/// An append-only log of bodies, with one dense sequence of numbers.
#[async_trait]
pub trait Log: Debug + Send + Sync + 'static {
    /// Appends a body unless all its events are duplicates. Returns when the outcome is durable.
    ///
    /// # Errors
    ///
    /// If it cannot be stored now. Nothing was stored then, and its dedup keys have no effect,
    /// except after [`Unavailable::Unknown`].
    async fn append(&self, entry: Entry) -> Result<Appended, Unavailable>;

    /// Returns the records after `after`, at most `most`, in order and without gaps. If bodies are
    /// long it may return fewer, but at least one if there is one.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    async fn read(&self, after: Seq, most: usize) -> Result<Vec<Record>, Unavailable>;

    /// Removes bodies up to `up_to` with their dead letters: oldest first, a few at a time, and
    /// never the newest. Returns how many were removed. Their dedup keys stay until their windows
    /// end.
    ///
    /// # Errors
    ///
    /// If they cannot be removed now; none was.
    async fn trim(&self, up_to: Seq) -> Result<usize, Unavailable>;

    /// Returns how many bytes the stored bodies take.
    ///
    /// # Errors
    ///
    /// If that cannot be read now.
    async fn bytes(&self) -> Result<u64, Unavailable>;

    /// Returns the newest records, and the number of the newest.
    fn tail(&self) -> &Arc<Tail>;

    /// Returns whether the journal can store what it is given.
    fn is_ready(&self) -> bool;

    /// Writes what waits and takes nothing more. Another process may open the journal afterwards.
    async fn close(&self);
}
