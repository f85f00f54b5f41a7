//! [`Running`]: the events that are with the engine. Each is seen through, whatever becomes of its
//! sender, and a graceful stop waits for all of them.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::Event;
use crate::engine::{Accepted, Engine, Envelope, NotAccepted, Work};

/// What a receiver is doing, for a graceful stop.
#[derive(Debug, Default)]
pub(crate) struct Running {
    accepting: AtomicUsize,
    draining: AtomicBool,
    idle: Notify,
    /// Where events go on whose senders have hung up.
    home: OnceLock<Handle>,
}

impl Running {
    /// Events whose senders hang up go on here, which outlives the workers.
    pub(crate) fn settle(&self, home: Handle) {
        // The first server that runs the receiver is its home.
        let _ = self.home.set(home);
    }

    pub(super) fn has_room(&self) -> bool {
        self.accepting.load(Ordering::Relaxed) < MAX_ACCEPTING
    }

    /// From now on connections are closed after their next answer.
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

/// An engine's work on one event. A verified event is seen through even if its sender hangs up: what
/// is left when this is dropped goes on as a task of its own.
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
        // What runs the server outlives its workers; a receiver in somebody's own `App` has only the
        // worker it is on.
        let home = counted.0.home.get().cloned();
        let Some(home) = home.or_else(|| Handle::try_current().ok()) else {
            return;
        };
        home.spawn(async move {
            let _counted = counted;
            // Its outcome is logged where it arises, and nobody waits for it.
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

/// How many events are with the engine at most, those included whose senders have hung up. More are
/// answered 503.
const MAX_ACCEPTING: usize = 65_536;
