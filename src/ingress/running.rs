//! [`Running`]: the events that are with the engine. Each one is completed even if its sender hangs up,
//! and a graceful stop waits for all of them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::Event;
use crate::engine::{Accepted, Engine, Envelope, NotAccepted, Work};

/// The work of a receiver, for a graceful stop.
#[derive(Debug, Default)]
pub(crate) struct Running {
    accepting: AtomicUsize,
    draining: AtomicBool,
    idle: Notify,
    /// The runtime for events whose senders have hung up.
    home: OnceLock<Handle>,
}

impl Running {
    /// Sets the runtime that continues events whose senders hang up; it outlives the workers.
    pub(crate) fn settle(&self, home: Handle) {
        // The first server that runs the receiver provides its runtime.
        let _ = self.home.set(home);
    }

    pub(super) fn has_room(&self) -> bool {
        self.accepting.load(Ordering::Relaxed) < MAX_ACCEPTING
    }

    /// From now on each connection is closed after its next answer.
    pub(crate) fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Waits until no event is with the engine.
    pub(crate) async fn idle(&self) {
        loop {
            let idle = self.idle.notified();
            if self.accepting.load(Ordering::Acquire) == 0 {
                return;
            }
            idle.await;
        }
    }
}

/// An engine's work on one event. A verified event is completed even if its sender hangs up: when this
/// is dropped, the rest of the work continues as a separate task.
pub(super) struct Finish {
    work: Option<Work>,
    counted: Option<Counted>,
}

impl Finish {
    pub(super) fn new(
        running: &Arc<Running>,
        engine: Arc<dyn Engine>,
        envelope: Envelope,
        events: Vec<Event>,
    ) -> Self {
        Self {
            counted: Some(Counted::new(running)),
            work: Some(engine.accept(envelope, events)),
        }
    }
}

impl Future for Finish {
    type Output = Result<Accepted, NotAccepted>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = self.work.as_mut().expect("not polled after it was ready");
        let outcome = std::task::ready!(work.as_mut().poll(cx));
        self.work = None;
        Poll::Ready(outcome)
    }
}

impl Drop for Finish {
    fn drop(&mut self) {
        let (Some(work), Some(counted)) = (self.work.take(), self.counted.take()) else {
            return;
        };
        // The server's own runtime outlives its workers; a receiver in an application's own `App` has
        // only the current worker's.
        let home = counted.0.home.get().cloned();
        let Some(home) = home.or_else(|| Handle::try_current().ok()) else {
            return;
        };
        home.spawn(async move {
            let _counted = counted;
            // The engine has logged the outcome, and no task waits for it.
            let _ = work.await;
        });
    }
}

/// One event that is with the engine.
struct Counted(Arc<Running>);

impl Counted {
    fn new(running: &Arc<Running>) -> Self {
        running.accepting.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(running))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.0.accepting.fetch_sub(1, Ordering::Release) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}

/// The maximum number of events with the engine, including those whose senders have hung up. Further
/// requests are answered 503.
const MAX_ACCEPTING: usize = 65_536;
