//! [`DeadLetters`]: the events that consumers have given up on.

use std::fmt::Debug;

use async_trait::async_trait;

use super::position::Position;
use super::unavailable::Unavailable;
use crate::Timestamp;

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

/// The dead letters of a journal. Consumers add to them by [`Desk::save`](super::Desk::save).
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync + 'static {
    /// Returns dead letters of one consumer or of all, newest first; letters of the same event are
    /// sorted by consumer name, last name first. Only letters after `before` in that order, at most
    /// `most`. An empty name in `before` skips all letters of that event.
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

    /// Returns which consumers have given up on which of these events.
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
