//! [`DeadLetters`]: the events that consumers have given up on.

use std::fmt::Debug;

use async_trait::async_trait;

use super::position::Position;
use super::unavailable::Unavailable;
use crate::Timestamp;

/// An event that a consumer has given up on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Which event.
    pub position: Position,
    /// How many attempts were made.
    pub attempts: u32,
    /// How the last one ended.
    pub reason: String,
    /// When it ended, to the millisecond.
    pub at: Timestamp,
}

/// A dead letter with the consumer's name.
pub type NamedLetter = (String, DeadLetter);

/// The dead letters of a journal. Consumers add to them by [`Desk::save`](super::Desk::save).
#[async_trait]
pub trait DeadLetters: Debug + Send + Sync + 'static {
    /// Dead letters of one consumer or of all: newest first, those of one event by their consumers'
    /// names, the last name first. Only those that come after `before` in that order, at most `most`. An
    /// empty name in `before` stands for all letters of that event.
    ///
    /// # Errors
    ///
    /// When they cannot be read now.
    async fn dead_letters(
        &self,
        consumer: Option<&str>,
        before: Option<(Position, &str)>,
        most: usize,
    ) -> Result<Vec<NamedLetter>, Unavailable>;

    /// Which consumers have given up on which of these events.
    ///
    /// # Errors
    ///
    /// When they cannot be read now.
    async fn dead_letters_of(&self, events: &[Position]) -> Result<Vec<NamedLetter>, Unavailable>;

    /// Removes dead letters of a consumer. Returns how many there were. Durable when it returns.
    ///
    /// # Errors
    ///
    /// When that cannot be stored now.
    async fn forget_dead_letters(
        &self,
        consumer: &str,
        events: &[Position],
    ) -> Result<usize, Unavailable>;
}
