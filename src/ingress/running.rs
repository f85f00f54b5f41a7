//! [`Running`]: the events that are with the engine. Each one is completed even if its sender hangs up,
//! and a graceful stop waits for all of them.

use std::pin::Pin;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};

use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TrackedFuture;

use crate::engine::{Accepted, NotAccepted, Work};

/// The work of a receiver, for a graceful stop.
#[derive(Debug, Default)]
pub(crate) struct Running {
    accepting: TaskTracker,
    /// The stop was announced: no new events should be sent here.
    leaving: AtomicBool,
    draining: AtomicBool,
    refusing: AtomicBool,
    /// Ends the work whose sender has hung up.
    cut_off: CancellationToken,
    /// The runtime for events whose senders have hung up.
    home: OnceLock<Handle>,
}

impl Running {
    /// Sets the runtime that continues events whose senders hang up; it outlives the workers.
    pub(crate) fn settle(&self, home: Handle) {
        // The first server that runs the receiver provides its runtime.
        let _ = self.home.set(home);
    }

    /// Whether the engine may be given another event.
    pub(super) fn has_room(&self) -> bool {
        !self.refusing.load(Ordering::Relaxed) && self.accepting.len() < MAX_ACCEPTING
    }

    /// From now on no new events should be sent here. Those that are sent are still taken.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed)
    }

    /// From now on each connection is also closed after its next answer.
    pub(crate) fn drain(&self) {
        self.leave();
        self.draining.store(true, Ordering::Relaxed);
    }

    /// From now on the engine is given no event.
    pub(crate) fn refuse(&self) {
        self.refusing.store(true, Ordering::Relaxed);
    }

    /// From now on work whose sender hangs up ends, instead of being completed.
    pub(crate) fn cut_off(&self) {
        self.refuse();
        self.cut_off.cancel();
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until no event is with the engine.
    pub(crate) async fn idle(&self) {
        self.accepting.close();
        self.accepting.wait().await;
    }

    /// Counts an engine's work on one event, and completes it even if the result is dropped.
    pub(super) fn finish(&self, work: Work) -> Finish<'_> {
        Finish {
            work: Some(self.accepting.track_future(work)),
            running: self,
        }
    }
}

/// An engine's work on one event. A verified event is completed even if its sender hangs up: when this
/// is dropped, the rest of the work continues as a separate task.
pub(super) struct Finish<'a> {
    work: Option<TrackedFuture<Work>>,
    running: &'a Running,
}

impl Future for Finish<'_> {
    type Output = Result<Accepted, NotAccepted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.work.as_mut().expect("not polled after it was ready");
        let outcome = ready!(Pin::new(work).poll(cx));
        self.work = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        let Some(work) = self.work.take() else {
            return;
        };
        // The server's own runtime outlives its workers; a receiver in an application's own `App` has
        // only the current worker's.
        let home = self.running.home.get().cloned();
        let home = home.or_else(|| Handle::try_current().ok());
        if let Some(home) = home {
            // The engine has logged the outcome, and no task waits for it.
            home.spawn(self.running.cut_off.clone().run_until_cancelled_owned(work));
        }
    }
}

/// The maximum number of events with the engine, including those whose senders have hung up. Further
/// requests are answered 503.
const MAX_ACCEPTING: usize = 65_536;
