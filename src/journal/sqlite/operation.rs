//! [`Operation`]: something to write, and the caller that waits until it is durable.

use tokio::sync::oneshot;

use super::commit::Step;
use crate::journal::{Appended, Entry, Unavailable};

/// Something to write, and the caller that waits until it is durable.
pub(super) enum Operation {
    Append(Append),
    Change(Box<dyn Change>),
}

/// A body to append.
pub(super) struct Append {
    pub(super) entry: Entry,
    /// What the transaction did with it.
    pub(super) appended: Option<Appended>,
    pub(super) caller: oneshot::Sender<Result<Appended, Unavailable>>,
}

/// A change of anything but the log's end.
pub(super) trait Change: Send {
    /// Estimates how many bytes it writes.
    fn bytes(&self) -> usize;

    /// Makes the change in the transaction.
    ///
    /// # Errors
    ///
    /// If the whole transaction must fail.
    fn make(&mut self, step: &mut Step<'_>) -> rusqlite::Result<()>;

    /// Tells the caller, after the transaction has become durable or has failed.
    fn answer(self: Box<Self>, failure: Option<&Unavailable>);
}

/// A [`Change`] by a function that returns the caller's outcome; an error in the outcome does not
/// fail the transaction.
struct Asked<F, T, E> {
    bytes: usize,
    make: F,
    outcome: Option<Result<T, E>>,
    caller: oneshot::Sender<Result<T, E>>,
}

impl<F, T, E> Change for Asked<F, T, E>
where
    F: FnMut(&mut Step<'_>) -> rusqlite::Result<Result<T, E>> + Send,
    T: Send,
    E: From<Unavailable> + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn make(&mut self, step: &mut Step<'_>) -> rusqlite::Result<()> {
        self.outcome = Some((self.make)(step)?);
        Ok(())
    }

    fn answer(self: Box<Self>, failure: Option<&Unavailable>) {
        let outcome = match failure {
            Some(why) => Some(Err(why.clone().into())),
            None => self.outcome,
        };
        if let Some(outcome) = outcome {
            // A caller that no longer waits needs no answer.
            drop(self.caller.send(outcome));
        }
    }
}

impl Operation {
    pub(super) fn append(entry: Entry) -> (Self, oneshot::Receiver<Result<Appended, Unavailable>>) {
        let (caller, answered) = oneshot::channel();
        let append = Append {
            entry,
            appended: None,
            caller,
        };
        (Self::Append(append), answered)
    }

    /// A change that writes about `bytes` bytes.
    pub(super) fn change<T, E>(
        bytes: usize,
        make: impl FnMut(&mut Step<'_>) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> (Self, oneshot::Receiver<Result<T, E>>)
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let (caller, answered) = oneshot::channel();
        let asked = Asked {
            bytes,
            make,
            outcome: None,
            caller,
        };
        (Self::Change(Box::new(asked)), answered)
    }

    /// Estimates how many bytes it writes.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(append) => append.entry.received.body.len(),
            Self::Change(change) => change.bytes(),
        }
    }

    /// Tells the caller, after the transaction has become durable or has failed.
    pub(super) fn answer(self, failure: Option<&Unavailable>) {
        match self {
            Self::Append(append) => {
                let outcome = match failure {
                    Some(why) => Some(Err(why.clone())),
                    None => append.appended.map(Ok),
                };
                if let Some(outcome) = outcome {
                    drop(append.caller.send(outcome));
                }
            }
            Self::Change(change) => change.answer(failure),
        }
    }
}
