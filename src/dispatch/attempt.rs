//! One handing-over: whatever a handler does becomes an [`Outcome`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt as _, poll};

use crate::{Delivery, Event, EventHandler, HandlerError};

/// What became of one attempt.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The handler did its work.
    Done,
    /// It failed; the error says whether to try again.
    Failed(HandlerError),
    /// It was not done in time.
    TimedOut(Duration),
    /// It panicked.
    Panicked(String),
}

impl Outcome {
    /// Where the outcome stands in [`Outcome::NAMES`].
    pub(crate) fn index(&self) -> usize {
        match self {
            Self::Done => 0,
            Self::Failed(error) if error.is_reject() => 1,
            Self::Failed(_) => 2,
            Self::TimedOut(_) => 3,
            Self::Panicked(_) => 4,
        }
    }

    /// Whether the handler does not want the event again.
    pub(crate) fn is_final(&self) -> bool {
        matches!(self, Self::Failed(error) if error.is_reject())
    }

    /// The pause the handler has asked for.
    pub(crate) fn asked_pause(&self) -> Option<Duration> {
        match self {
            Self::Failed(error) => error.pause(),
            _ => None,
        }
    }

    /// The outcomes' names in metrics.
    pub(crate) const NAMES: [&'static str; 5] =
        ["done", "rejected", "failed", "timed_out", "panicked"];
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Failed(error) if error.is_reject() => write!(f, "rejected: {error}"),
            Self::Failed(error) => write!(f, "{error}"),
            Self::TimedOut(after) => write!(f, "not done after {after:?}"),
            Self::Panicked(message) => write!(f, "panicked: {message}"),
        }
    }
}

/// Hands the events of one delivery over, in their order, within `timeout` for all of them. The
/// first failure ends the attempt.
pub(super) async fn attempt(
    handler: &dyn EventHandler,
    events: &[&Event],
    delivery: &Delivery,
    timeout: Duration,
) -> Outcome {
    // An async block, since what a handler does before it returns its future can panic too.
    let work = async { handler.deliver(events, delivery).await };
    // The handler is not touched after a panic by anything that could see it half-changed except
    // itself; a handler that panics while it holds a lock meets its own poisoned lock.
    let mut caught = pin!(Some(AssertUnwindSafe(work).catch_unwind()));
    let at_work = "it is there until it is dropped";
    // Many handlers are done at once; those need no timer.
    let ended = match poll!(caught.as_mut().as_pin_mut().expect(at_work)) {
        Poll::Ready(ended) => Ok(ended),
        Poll::Pending => {
            let caught = caught.as_mut().as_pin_mut().expect(at_work);
            tokio::time::timeout(timeout, caught).await
        }
    };
    // What was not done in time is dropped in the middle of its work, and that can panic as well.
    if ended.is_err() {
        let dropped = catch_unwind(AssertUnwindSafe(|| caught.set(None)));
        // The time was over before: that is what became of the attempt.
        drop(dropped);
    }
    match ended {
        Ok(Ok(Ok(()))) => Outcome::Done,
        Ok(Ok(Err(error))) => Outcome::Failed(error),
        Ok(Err(panic)) => Outcome::Panicked(panic_message(panic.as_ref())),
        Err(_) => Outcome::TimedOut(timeout),
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a value that is no text").to_owned()
}
