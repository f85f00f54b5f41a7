//! A [`Journal`] is an append-only log of events, and what its consumers have done with it. One suite
//! ([`contract`]) says what every journal must do.

mod claims;
#[cfg(test)]
mod contract;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod memory;
mod position;
mod record;
mod sqlite;
mod tail;

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;

use crate::Timestamp;
use crate::dispatch::Saved;

#[cfg(test)]
pub(crate) use folder::TestFolder;
#[cfg(test)]
pub(crate) use memory::Memory;
pub(crate) use position::{Seq, SeqMap, SeqSet};
pub(crate) use record::{Appended, Claim, Entry, Record};
pub(crate) use sqlite::Sqlite;
pub(crate) use tail::Tail;

/// An append-only log of events, and what its consumers have done with it.
#[async_trait]
pub(crate) trait Journal: Debug + Send + Sync + 'static {
    /// Appends an event unless it is a duplicate; returns when the outcome is durable.
    async fn append(&self, entry: Entry) -> Result<Appended, Unavailable>;

    /// The records after `after`, at most `most`, in their order and without gaps. Where bodies are
    /// long there may be fewer, but at least one if there is one.
    async fn read(&self, after: Seq, most: usize) -> Result<Vec<Record>, Unavailable>;

    /// What was saved of a consumer last.
    async fn saved(&self, consumer: &str) -> Result<Option<Saved>, Unavailable>;

    /// Saves what a consumer has done; returns when it is durable.
    async fn save(&self, change: Change) -> Result<(), Unavailable>;

    /// Forgets how far a consumer has come; its dead letters stay. Durable when it returns.
    async fn forget_consumer(&self, name: &str) -> Result<(), Unavailable>;

    /// Keeps a small document of the server's own, or removes it; returns when that is durable.
    async fn put_document(&self, key: &str, value: Option<Vec<u8>>) -> Result<(), Unavailable>;

    /// The documents whose keys begin with `prefix`, in the order of their keys.
    async fn documents(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>, Unavailable>;

    /// All dead letters, newest first and those of one event by their consumers' names, the last one
    /// first: of one consumer or of all, those that come after the letter of `before`, at most `most`.
    /// An empty name in `before` stands for all letters of that event.
    async fn all_dead(
        &self,
        consumer: Option<&str>,
        before: Option<(Seq, &str)>,
        most: usize,
    ) -> Result<Vec<(String, DeadLetter)>, Unavailable>;

    /// All dead letters of a consumer, oldest first.
    #[cfg(test)]
    async fn dead(&self, consumer: &str) -> Result<Vec<DeadLetter>, Unavailable> {
        let letters = self.all_dead(Some(consumer), None, 1_000_000).await?;
        Ok(letters
            .into_iter()
            .rev()
            .map(|(_, letter)| letter)
            .collect())
    }

    /// Who has given up on which of these events.
    async fn dead_among(&self, events: &[Seq]) -> Result<Vec<(String, DeadLetter)>, Unavailable>;

    /// Forgets dead letters; how many there were. Durable when it returns.
    async fn forget_dead(&self, consumer: &str, events: &[Seq]) -> Result<usize, Unavailable>;

    /// Removes events up to `up_to`, oldest first, a few at a time and never the newest; how many.
    async fn trim(&self, up_to: Seq) -> Result<usize, Unavailable>;

    /// How many bytes the kept events take.
    async fn bytes(&self) -> Result<u64, Unavailable>;

    /// Writes what waits, and takes nothing more. Another process may open it then.
    async fn close(&self);

    /// The newest records, and the number of the newest.
    fn tail(&self) -> &Arc<Tail>;

    /// Whether it stores what it is given.
    fn is_ready(&self) -> bool;
}

/// What a consumer has done since it was saved last.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Change {
    pub(crate) consumer: String,
    pub(crate) saved: Saved,
    /// Events that are dead letters no more, because they are handed over once more.
    pub(crate) revived: Vec<Seq>,
    /// The events it has given up on since.
    pub(crate) dead: Vec<DeadLetter>,
}

/// An event that a consumer has given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) seq: Seq,
    pub(crate) attempts: u32,
    pub(crate) reason: String,
    pub(crate) at: Timestamp,
}

/// The journal cannot do it now; the text is for the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Unavailable(pub(crate) String);

impl Unavailable {
    /// The journal is closed, or its thread has ended.
    fn ended() -> Self {
        Self("the journal's thread has ended".to_owned())
    }
}
