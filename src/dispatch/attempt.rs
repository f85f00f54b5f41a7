//! One attempt: turns whatever a handler does into an [`Outcome`].

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::{FutureExt as _, poll};

use crate::{Delivery, Event, EventHandler, HandlerError};

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// The handler succeeded.
    Done,
    /// The handler failed; the error says whether to try again.
    Failed(HandlerError),
    /// The handler did not finish in time.
    TimedOut(Duration),
    /// The handler panicked.
    Panicked(String),
}

impl Outcome {
    /// The outcome's index in [`Outcome::NAMES`].
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

    /// The pause that the handler asked for.
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

/// Hands the events of one delivery to the handler, in order, within `timeout` for all of them. The
/// first failure ends the attempt.
pub(super) async fn attempt(
    handler: &dyn EventHandler,
    events: &[&Event],
    delivery: &Delivery,
    timeout: Duration,
) -> Outcome {
    // An async block, because a handler can also panic before it returns its future.
    let work = async { handler.deliver(events, delivery).await };
    // After a panic only the handler itself can see its half-changed state; a handler that panics while
    // it holds a lock finds that lock poisoned.
    let mut caught = pin!(Some(AssertUnwindSafe(work).catch_unwind()));
    let at_work = "it is there until it is dropped";
    // Many handlers finish immediately; those need no timer.
    let ended = match poll!(caught.as_mut().as_pin_mut().expect(at_work)) {
        Poll::Ready(ended) => Ok(ended),
        Poll::Pending => {
            let caught = caught.as_mut().as_pin_mut().expect(at_work);
            tokio::time::timeout(timeout, caught).await
        }
    };
    // A handler that timed out is dropped in the middle of its work, and that drop can panic too.
    if ended.is_err() {
        let dropped = catch_unwind(AssertUnwindSafe(|| caught.set(None)));
        // The timeout came first, so the outcome stays `TimedOut`.
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
