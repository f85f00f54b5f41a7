//! [`Operation`]: something to write, and the caller that waits until it is durable; [`Queue`]: the
//! way to the thread that writes.
//!
//! The answer is the operation itself, with its outcome: memory costs least to free on the thread that has
//! allocated it. So the caller also gets a record that has left the tail, if there is one.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::oneshot;

use super::commit::Step;
use crate::journal::{Record, Unavailable};

/// Something to write, and the caller that waits until it is durable.
pub(super) trait Operation: Send {
    /// Estimates how many bytes it writes.
    fn bytes(&self) -> usize;

    /// Writes it in the transaction. An error makes the whole transaction fail.
    fn write(&mut self, step: &mut Step<'_>) -> rusqlite::Result<()>;

    /// Tells the caller, after the transaction has become durable or has failed. The caller frees `old`.
    fn answer(self: Box<Self>, failure: Option<&Unavailable>, old: Option<Arc<Record>>);
}

/// An operation on its way through the queue and a commit.
pub(super) type Queued = Box<dyn Operation>;

#[derive(Debug, Clone)]
pub(super) struct Queue(Arc<Mutex<Option<Senders>>>);

#[derive(Debug)]
struct Senders {
    first: mpsc::Sender<Queued>,
    later: mpsc::Sender<Queued>,
}

/// The other end of the [`Queue`], at the thread that writes.
pub(super) struct Asked {
    first: mpsc::Receiver<Queued>,
    /// Operations that let those in `first` go ahead.
    later: mpsc::Receiver<Queued>,
}

impl Asked {
    /// Waits for operations, and adds them to `waiting`: at most `most`, or one that let all others
    /// go ahead. None once the queue is closed and empty.
    pub(super) async fn receive(&mut self, waiting: &mut Vec<Queued>, most: usize) {
        tokio::select! {
            biased;
            _ = self.first.recv_many(waiting, most) => {}
            Some(later) = self.later.recv() => waiting.push(later),
        }
    }

    /// Returns an operation that has let others go ahead, if one waits.
    pub(super) fn later(&mut self) -> Option<Queued> {
        self.later.try_recv().ok()
    }
}

impl Queue {
    pub(super) fn new() -> (Self, Asked) {
        let (first, asked_first) = mpsc::channel(MAX_WAITING);
        let (later, asked_later) = mpsc::channel(MAX_LATER);
        let asked = Asked {
            first: asked_first,
            later: asked_later,
        };
        (
            Self(Arc::new(Mutex::new(Some(Senders { first, later })))),
            asked,
        )
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
        let (operation, answered) = By::boxed(bytes, write);
        self.push(operation, |senders| &senders.first)?;
        outcome(answered).await
    }

    /// The same for an operation that lets others go ahead. It has a transaction of its own.
    pub(super) async fn write_later<T, E>(
        &self,
        bytes: usize,
        write: impl FnMut(&mut Step<'_>) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Unavailable> + Send + 'static,
    {
        let (operation, answered) = By::boxed(bytes, write);
        self.push(operation, |senders| &senders.later)?;
        outcome(answered).await
    }

    fn push(
        &self,
        operation: Queued,
        choose: impl Fn(&Senders) -> &mpsc::Sender<Queued>,
    ) -> Result<(), Unavailable> {
        let senders = self.lock();
        let senders = senders.as_ref().ok_or(Unavailable::Ended)?;
        choose(senders)
            .try_send(operation)
            .map_err(|error| match error {
                TrySendError::Full(_) => {
                    Unavailable::Full("too much waits to be written".to_owned())
                }
                TrySendError::Closed(_) => Unavailable::Ended,
            })
    }

    fn lock(&self) -> MutexGuard<'_, Option<Senders>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits for the answer, which is the operation with its outcome.
async fn outcome<F, T, E: From<Unavailable>>(answered: Answered<F, T, E>) -> Result<T, E> {
    let answer = answered.await.ok();
    answer
        .and_then(|operation| operation.outcome)
        .unwrap_or_else(|| Err(Unavailable::Ended.into()))
}

/// An [`Operation`] by a function that returns the caller's outcome.
struct By<F, T, E> {
    bytes: usize,
    write: F,
    outcome: Option<Result<T, E>>,
    /// `None` after the answer.
    caller: Option<oneshot::Sender<Box<Self>>>,
    /// Only to be freed by the caller.
    old: Option<Arc<Record>>,
}

/// Where the caller gets the operation back.
type Answered<F, T, E> = oneshot::Receiver<Box<By<F, T, E>>>;

impl<F, T, E> By<F, T, E>
where
    F: FnMut(&mut Step<'_>) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<Unavailable> + Send + 'static,
{
    /// Returns the operation, and where its caller gets the outcome.
    fn boxed(bytes: usize, write: F) -> (Queued, Answered<F, T, E>) {
        let (caller, answered) = oneshot::channel();
        let operation = Self {
            bytes,
            write,
            outcome: None,
            caller: Some(caller),
            old: None,
        };
        (Box::new(operation), answered)
    }
}

impl<F, T, E> Operation for By<F, T, E>
where
    F: FnMut(&mut Step<'_>) -> rusqlite::Result<Result<T, E>> + Send + 'static,
    T: Send + 'static,
    E: From<Unavailable> + Send + 'static,
{
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn write(&mut self, step: &mut Step<'_>) -> rusqlite::Result<()> {
        step.bytes = self.bytes;
        self.outcome = Some((self.write)(step)?);
        Ok(())
    }

    fn answer(mut self: Box<Self>, failure: Option<&Unavailable>, old: Option<Arc<Record>>) {
        if let Some(why) = failure {
            self.outcome = Some(Err(why.clone().into()));
        }
        self.old = old;
        if let Some(caller) = self.caller.take() {
            // A caller that no longer waits needs no answer.
            drop(caller.send(self));
        }
    }
}

/// More than the server can have in progress: events, and commands of administrators and consumers.
const MAX_WAITING: usize = 131_072;

/// More than the tasks that send such operations.
const MAX_LATER: usize = 64;
