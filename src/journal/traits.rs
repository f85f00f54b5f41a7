//! The four traits of a journal: [`Log`], [`Desks`] with [`Desk`], [`Documents`] and [`DeadLetters`].
//! [`Unavailable`]: why a journal cannot serve a request now.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::watch;

use super::position::{Position, Seq, Share};
use super::record::{Appended, Entry, Record};
use super::tail::Tail;
use crate::Timestamp;

/// An append-only log of bodies, numbered from 1 without gaps.
#[async_trait]
pub trait Log: Debug + Send + Sync + 'static {
    /// Appends a body unless all its events are duplicates. Returns when the outcome is durable.
    ///
    /// # Errors
    ///
    /// If the body cannot be stored now. Nothing is stored, and its dedup keys have no effect. Only after
    /// [`Unavailable::Unknown`] the body may be stored.
    async fn append(&self, entry: Entry) -> Result<Appended, Unavailable>;

    /// Returns the records after `after`, at most `most`, in order and without gaps. Returns
    /// fewer if the bodies are long, but at least one if there is any.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    async fn read(&self, after: Seq, most: usize) -> Result<Vec<Record>, Unavailable>;

    /// Removes the oldest bodies, up to and including `up_to`, and their dead letters. A call removes only
    /// some of them and returns how many; call it again until it returns 0. Never removes the newest
    /// body. The dedup keys stay until their windows end. Calls [`Tail::remove_up_to`], so that consumers
    /// do not hand the bodies over from memory.
    ///
    /// # Errors
    ///
    /// If they cannot be removed now. No body is removed.
    async fn trim(&self, up_to: Seq) -> Result<usize, Unavailable>;

    /// Deletes these bodies with their dead letters. Only the number, the id and the times of a body stay, and
    /// its record says that it was [deleted](super::Missing::Deleted); the next number is derived from it as
    /// before. The dedup keys stay until their windows end. Returns how many events were deleted; duplicates,
    /// and what was deleted before, do not count. Calls [`Tail::delete`], so that consumers do not hand the
    /// bodies over from memory. A dead letter that comes for a deleted body is not stored.
    ///
    /// # Errors
    ///
    /// If not all of them can be deleted now. Some may be; a caller may ask again.
    async fn delete(&self, bodies: &[Seq]) -> Result<usize, Unavailable>;

    /// Returns the deletions after this number, in order, at most `most`: those of bodies that are still in
    /// the log.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    async fn deletions(&self, after: u64, most: usize) -> Result<Vec<Deletion>, Unavailable>;

    /// Returns how many bytes the stored bodies take.
    ///
    /// # Errors
    ///
    /// If that cannot be read now.
    async fn bytes(&self) -> Result<u64, Unavailable>;

    /// Returns the tail: the newest records, in memory, and the number of the newest one.
    fn tail(&self) -> &Arc<Tail>;

    /// Returns whether the journal can store new bodies now.
    fn is_ready(&self) -> bool;

    /// Returns when the journal can store nothing more until the process is started again, for
    /// example because its thread has panicked. The server then ends with an error. By default this
    /// never returns.
    async fn broken(&self) {
        std::future::pending::<()>().await;
    }

    /// Writes everything that waits and accepts nothing more. Another process may then open the journal.
    async fn close(&self);
}

/// That a body was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deletion {
    /// The number of the deletion, higher than that of each one before.
    pub number: u64,
    /// The number of the body.
    pub seq: Seq,
}

/// Opens the desks of a journal. Each share has a [`Desk`], which stores the progress of consumers in that
/// share.
#[async_trait]
pub trait Desks: Debug + Send + Sync + 'static {
    /// Returns the number of shares of dispatch: at least one, and always the same for one journal.
    fn shares(&self) -> Share;

    /// Opens the desk of a share. Desks of the share that were opened earlier, by this or another instance,
    /// can save nothing more: they return [`Unavailable::Fenced`].
    ///
    /// # Errors
    ///
    /// If the desk cannot be opened now.
    async fn desk(&self, share: Share) -> Result<Arc<dyn Desk>, Unavailable>;

    /// Adds a consumer: stores `head`, without rows, in each share that has no progress of it. So the
    /// consumer starts at the same point in all shares, even if several instances hold them. Durable when
    /// it returns.
    ///
    /// # Errors
    ///
    /// If the change cannot be stored now.
    async fn introduce(&self, consumer: &str, head: &[u8]) -> Result<(), Unavailable>;

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
    /// If the progress cannot be read. Never return `None` then: the consumer would start from now and skip
    /// its unsettled events.
    async fn saved(&self, consumer: &str) -> Result<Option<SavedProgress>, Unavailable>;

    /// Saves a consumer's change and returns when it is durable. A caller may save a change again
    /// after an error; saving it twice has the same effect as once.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Fenced`] if a newer desk of the share was opened: this desk may save nothing
    /// more. Any other error if the change cannot be stored now.
    async fn save(&self, change: ProgressChange) -> Result<(), Unavailable>;
}

/// A consumer's progress: a head and rows, opaque to the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SavedProgress {
    /// What each save replaces. Empty if the storage has damaged it: the consumer then begins with the oldest
    /// event, because nothing may be skipped.
    pub head: Vec<u8>,
    /// What a save changes row by row: keys and values, sorted by key.
    pub rows: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a consumer has done since its last save.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgressChange {
    /// The consumer's name.
    pub consumer: String,
    /// The new head of the consumer's progress.
    pub head: Vec<u8>,
    /// The rows that have changed: their keys, and their new values, or `None` for those to remove.
    /// Removing a row that does not exist is not an error.
    pub rows: Vec<(Vec<u8>, Option<Vec<u8>>)>,
    /// Events that are no longer dead letters, because they are replayed.
    pub revived: Vec<Position>,
    /// Events that the consumer has given up on since its last save. An event that is also in `revived`
    /// was replayed and has failed again.
    pub dead: Vec<DeadLetter>,
}

/// The number of a change to the documents of a journal. Each change has a higher number than the one
/// before.
pub type Version = u64;

/// A small value with a key and a version, for example a subscription.
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
    /// The document does not meet the condition: another change came first.
    #[error("another request has changed the document; read it again, then repeat the change")]
    Conflict,
    /// The journal cannot store it now.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// The documents of a journal.
#[async_trait]
pub trait Documents: Debug + Send + Sync + 'static {
    /// Writes a document, or removes it if `value` is `None`. Does so only if the document meets the
    /// condition `expected`. Returns the number of the change when it is durable. Removing a document that
    /// does not exist is a change too.
    ///
    /// # Errors
    ///
    /// [`PutError::Conflict`] if the document does not meet the condition; [`PutError::Unavailable`] if it
    /// cannot be stored now.
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

/// An event that a consumer has given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Where the event is in the journal.
    pub position: Position,
    /// How many attempts were made.
    pub attempts: u32,
    /// The outcome of the last attempt.
    pub reason: String,
    /// When the last attempt ended, to the millisecond.
    pub at: Timestamp,
}

/// A consumer's name and one of its dead letters.
pub type NamedLetter = (String, DeadLetter);

/// The dead letters of a journal. Consumers add to them by [`Desk::save`].
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync + 'static {
    /// Returns at most `most` dead letters of one consumer, or of all: the newest event first, and for one
    /// event in descending order of the consumers' names. With `before`, returns only the dead letters that
    /// follow it in this order. An empty name in `before` skips all dead letters of that event.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    async fn dead_letters(
        &self,
        consumer: Option<&str>,
        before: Option<(Position, &str)>,
        most: usize,
    ) -> Result<Vec<NamedLetter>, Unavailable>;

    /// Returns all dead letters of these events, with the name of each consumer.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    async fn dead_letters_of(&self, events: &[Position]) -> Result<Vec<NamedLetter>, Unavailable>;

    /// Removes dead letters of a consumer. Returns how many there were, once that is durable.
    ///
    /// # Errors
    ///
    /// If the change cannot be stored now.
    async fn forget_dead_letters(
        &self,
        consumer: &str,
        events: &[Position],
    ) -> Result<usize, Unavailable>;
}

/// Why a journal cannot serve a request now. Log the text; do not send it to clients.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Unavailable {
    /// There is no room: the disk is full, or too much waits to be written. Nothing was stored; the
    /// caller may try again later.
    #[error("{0}")]
    Full(String),
    /// The storage cannot be reached, or fails. Nothing was stored; the caller may try again later.
    #[error("{0}")]
    Away(String),
    /// Another instance has taken the share, or the storage has gone back behind what this desk has saved.
    /// Nothing was stored, and this desk may write nothing more.
    #[error("another instance holds share {0} now, or the journal has gone back")]
    Fenced(Share),
    /// The outcome is unknown: the data may or may not be stored.
    #[error("it is unknown whether the data was stored: {0}")]
    Unknown(String),
    /// The journal is closed.
    #[error("the journal is closed")]
    Ended,
}
