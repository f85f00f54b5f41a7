//! [`Operation`]: something to write, and the caller that waits for it.

use tokio::sync::oneshot;

use super::answer::{Answer, answer_all};
use crate::journal::{
    Appended, Entry, Expected, Position, ProgressChange, PutError, Seq, Unavailable, Version,
};

/// Sends the outcome to the caller.
pub(super) type Asked<T, E = Unavailable> = oneshot::Sender<Result<T, E>>;

/// Something to write, and the caller that waits for it.
#[derive(Debug)]
pub(super) enum Operation {
    Append(Entry, Answer),
    /// Progress, saved by the desk with this epoch.
    Save {
        change: ProgressChange,
        epoch: u64,
        asked: Asked<()>,
    },
    Introduce(String, Vec<u8>, Asked<()>),
    ForgetConsumer(String, Asked<()>),
    PutDocument {
        key: String,
        value: Option<Vec<u8>>,
        expected: Expected,
        asked: Asked<Version, PutError>,
    },
    ForgetDeadLetters(String, Vec<Position>, Asked<usize>),
    Trim(Seq, Asked<usize>),
}

/// The outcome of an operation whose transaction is durable.
#[derive(Debug)]
pub(super) enum Outcome {
    Appended(Appended),
    Done,
    Removed(usize),
    Put(Version),
    /// The document was not as expected.
    Conflict,
    /// Another desk of the share was opened since.
    Fenced,
    /// Nothing was removed, because the dedup entries of the bodies could not be sealed.
    Unsealed,
}

impl Operation {
    /// Estimates how many bytes the operation writes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(entry, _) => entry.received.body.len(),
            Self::Save { change, .. } => change.progress.len() + change.dead.len() * 64,
            Self::Introduce(_, progress, _) => progress.len(),
            Self::ForgetDeadLetters(_, events, _) => events.len() * 64,
            Self::ForgetConsumer(name, _) => name.len(),
            Self::PutDocument { value, .. } => value.as_ref().map_or(0, Vec::len),
            // A trim fills a quarter of a batch, so that few other operations wait behind it.
            Self::Trim(..) => MAX_BATCH_BYTES / 4,
        }
    }
}

/// Sends the outcome of each operation of a batch. A caller that no longer waits needs no answer.
pub(super) fn answer(batch: &mut Vec<Operation>, outcomes: Vec<Outcome>) {
    let mut appended = Vec::with_capacity(batch.len());
    for (operation, outcome) in batch.drain(..).zip(outcomes) {
        match (operation, outcome) {
            (Operation::Append(_, asked), Outcome::Appended(outcome)) => {
                appended.push((asked, Ok(outcome)));
            }
            (Operation::Save { asked, .. }, Outcome::Fenced) => {
                drop(asked.send(Err(Unavailable::Fenced(0))));
            }
            (
                Operation::Save { asked, .. }
                | Operation::Introduce(_, _, asked)
                | Operation::ForgetConsumer(_, asked),
                _,
            ) => drop(asked.send(Ok(()))),
            (Operation::PutDocument { asked, .. }, Outcome::Put(version)) => {
                drop(asked.send(Ok(version)));
            }
            (Operation::PutDocument { asked, .. }, Outcome::Conflict) => {
                drop(asked.send(Err(PutError::Conflict)));
            }
            (
                Operation::ForgetDeadLetters(_, _, asked) | Operation::Trim(_, asked),
                Outcome::Removed(count),
            ) => drop(asked.send(Ok(count))),
            (Operation::Trim(_, asked), Outcome::Unsealed) => {
                let why = "dedup entries cannot be sealed, so no event is removed".to_owned();
                drop(asked.send(Err(Unavailable::Away(why))));
            }
            // Each operation has its own kind of outcome.
            (
                Operation::Append(..)
                | Operation::PutDocument { .. }
                | Operation::ForgetDeadLetters(..)
                | Operation::Trim(..),
                _,
            ) => {}
        }
    }
    answer_all(appended);
}

/// Fails each operation of a batch.
pub(super) fn refuse(batch: &mut Vec<Operation>, why: &Unavailable) {
    let mut appends = Vec::new();
    for operation in batch.drain(..) {
        let why = why.clone();
        match operation {
            Operation::Append(_, asked) => appends.push((asked, Err(why))),
            Operation::Save { asked, .. }
            | Operation::Introduce(_, _, asked)
            | Operation::ForgetConsumer(_, asked) => drop(asked.send(Err(why))),
            Operation::PutDocument { asked, .. } => drop(asked.send(Err(why.into()))),
            Operation::ForgetDeadLetters(_, _, asked) | Operation::Trim(_, asked) => {
                drop(asked.send(Err(why)));
            }
        }
    }
    answer_all(appends);
}

pub(super) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;
