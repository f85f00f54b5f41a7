//! [`Operation`]: something to write, and the caller that waits until it is durable; [`Queue`]: the
//! way to the thread that writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use super::commit::Step;
use crate::journal::Unavailable;

/// Something to write, and the caller that waits until it is durable.
pub(super) trait Operation: Send {
    /// Estimates how many bytes it writes.
    fn bytes(&self) -> usize;

    /// Writes it in the transaction. An error makes the whole transaction fail.
    fn write(&mut self, step: &mut Step<'_>) -> rusqlite::Result<()>;

    /// Tells the caller, after the transaction has become durable or has failed.
    fn answer(&mut self, failure: Option<&Unavailable>);
}

/// An operation on its way through the queue and a commit.
pub(super) type Queued = Box<dyn Operation>;

#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Mutex<Option<mpsc::Sender<Queued>>>>);

impl Queue {
    pub(super) fn new() -> (Self, mpsc::Receiver<Queued>) {
        let (queue, waiting) = mpsc::channel(MAX_WAITING);
        (Self(Arc::new(Mutex::new(Some(queue)))), waiting)
    }

    /// Refuses further operations; those that wait can still be received.
    pub(super) fn close(&self) {
        self.lock().take();
    }

    /// Has the thread write about `bytes` bytes. Returns when they are durable. An error inside the
    /// result of `write` does not fail the transaction.
    pub(super) async fn write<T, E>(
        &self,
        bytes: usize,
        write: impl FnMut(&mut Step<'_>) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let (caller, answered) = oneshot::channel();
        self.push(Box::new(Asked {
            bytes,
            write,
            outcome: None,
            caller: Some(caller),
        }))?;
        answered.await.map_err(|_| Unavailable::Ended)?
    }

    fn push(&self, operation: Queued) -> Result<(), Unavailable> {
        let queue = self.lock();
        let queue = queue.as_ref().ok_or(Unavailable::Ended)?;
        queue.try_send(operation).map_err(|error| match error {
            TrySendError::Full(_) => Unavailable::Full("too much waits to be written".to_owned()),
            TrySendError::Closed(_) => Unavailable::Ended,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Option<mpsc::Sender<Queued>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An [`Operation`] by a function that returns the caller's outcome.
struct Asked<F, T, E> {
    bytes: usize,
    write: F,
    outcome: Option<Result<T, E>>,
    /// `None` after the answer.
    caller: Option<oneshot::Sender<Result<T, E>>>,
}

impl<F, T, E> Operation for Asked<F, T, E>
where
    F: FnMut(&mut Step<'_>) -> rusqlite::Result<Result<T, E>> + Send,
    T: Send,
    E: From<Unavailable> + Send,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn write(&mut self, step: &mut Step<'_>) -> rusqlite::Result<()> {
        step.bytes = self.bytes;
        self.outcome = Some((self.write)(step)?);
        Ok(())
    }

    fn answer(&mut self, failure: Option<&Unavailable>) {
        let failed = failure.map(|why| Err(why.clone().into()));
        let outcome = failed.or_else(|| self.outcome.take());
        if let (Some(outcome), Some(caller)) = (outcome, self.caller.take()) {
            // A caller that no longer waits needs no answer.
            drop(caller.send(outcome));
        }
    }
}

/// More than the server can have in progress: events, and commands of administrators and consumers.
const MAX_WAITING: usize = 131_072;
