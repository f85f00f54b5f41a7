//! [`Queue`]: the operations that wait for the journal's thread, taken one commit at a time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use super::operation::{MAX_BATCH_BYTES, Operation};
use crate::journal::Unavailable;

/// Operations in the order they were requested.
#[derive(Debug, Default)]
pub(super) struct Queue(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Operation>,
    /// Wakes the thread when it has nothing to do.
    waker: Option<Waker>,
    closed: bool,
}

impl Queue {
    /// Adds an operation.
    ///
    /// # Errors
    ///
    /// If the queue is full or closed; the operation was not added.
    pub(super) fn push(&self, operation: Operation) -> Result<(), Unavailable> {
        let mut state = self.lock();
        if state.closed {
            return Err(Unavailable::Ended);
        }
        if state.waiting.len() >= MAX_WAITING {
            return Err(Unavailable::Full("too much waits to be written".to_owned()));
        }
        state.waiting.push_back(operation);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }

    /// Refuses further operations; those that wait can still be taken.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Closes the queue when dropped, also by a panic, so that no caller waits for a thread that
    /// has ended.
    pub(super) fn closed_at_end(&self) -> impl Drop + use<'_> {
        AtEnd(self)
    }

    /// Moves operations into `batch`, as many as one commit may hold. Ready with none if the queue
    /// is closed and empty.
    pub(super) fn poll_take(
        &self,
        batch: &mut Vec<Operation>,
        context: &mut Context<'_>,
    ) -> Poll<()> {
        let mut state = self.lock();
        let mut bytes = 0;
        while batch.len() < MAX_BATCH
            && bytes < MAX_BATCH_BYTES
            && let Some(next) = state.waiting.pop_front()
        {
            bytes += next.bytes();
            batch.push(next);
        }
        if batch.is_empty() && !state.closed {
            state.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    /// Like [`Queue::poll_take`], but blocks this thread.
    pub(super) fn take(&self, batch: &mut Vec<Operation>, unpark: &Waker) {
        let mut context = Context::from_waker(unpark);
        while self.poll_take(batch, &mut context).is_pending() {
            std::thread::park();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct AtEnd<'a>(&'a Queue);

impl Drop for AtEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
        // Dropping an operation tells its caller.
        drop(std::mem::take(&mut self.0.lock().waiting));
    }
}

/// Returns a waker that unparks the thread.
pub(super) fn unpark(thread: Thread) -> Waker {
    Waker::from(Arc::new(Unpark(thread)))
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// More than the server can have in progress: events, and commands of administrators and consumers.
const MAX_WAITING: usize = 131_072;

const MAX_BATCH: usize = 1024;
