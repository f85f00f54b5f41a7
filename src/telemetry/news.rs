//! [`News`]: what changes while the server runs, for those who watch it (`GET /api/stream`).
//!
//! Most of the time nobody watches. Then a change costs one atomic load, and no memory. What is told is not
//! stored: who does not keep up misses the oldest changes, and holds up nothing.
//!
//! States are many, other changes are rare. They have channels of their own, so that no flood of states takes the
//! others away; their numbers say in which order they were told.
//!
//! Events are not among the changes. A viewer reads them in the journal, as consumers do; one viewer at a time, so
//! that their number does not count in memory.

use std::fmt;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};
use tokio::time::timeout;

use crate::EventKind;

/// The news of one server, and who watches. Clones are the same news.
#[derive(Clone)]
pub(crate) struct News(pub(super) Arc<Shared>);

pub(super) struct Shared {
    /// How many viewers listen to changes.
    pub(super) listeners: AtomicUsize,
    /// There while somebody listens.
    channels: Mutex<Option<Channels>>,
    /// How many changes were told.
    pub(super) told: AtomicU64,
    /// For the viewer that reads the journal.
    turn: Arc<Semaphore>,
    /// How many viewers there are.
    pub(super) viewers: watch::Sender<usize>,
    pub(super) max_viewers: AtomicUsize,
    /// How often all viewers were sent away; `None` when the server stops.
    pub(super) sent_away: watch::Sender<Option<u64>>,
}

#[derive(Clone)]
pub(super) struct Channels {
    pub(super) states: broadcast::Sender<Arc<Change>>,
    pub(super) others: broadcast::Sender<Arc<Change>>,
}

/// A change, as it is told.
#[derive(Debug)]
pub(crate) struct Change {
    /// Each has a higher number than those that were told before.
    pub(super) number: u64,
    pub(crate) kind: ChangeKind,
    /// What it is about, for filters; `None` passes every filter.
    pub(crate) about: Option<About>,
    /// JSON without line breaks.
    pub(crate) data: String,
    /// Whether another instance has passed it on.
    pub(super) elsewhere: bool,
}

/// What changes are about. Each has its name in `kinds` of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeKind {
    /// An attempt has ended, which changes the state of its event.
    State,
    /// A consumer has started, stopped, or fails.
    Consumer,
    /// A source has fallen silent, or is heard again.
    Source,
    /// A replay has begun or ended.
    Replay,
    /// It was found out why a request was refused whose sender knows a secret.
    Refused,
}

impl ChangeKind {
    pub(crate) const ALL: [Self; 5] = [
        Self::State,
        Self::Consumer,
        Self::Source,
        Self::Replay,
        Self::Refused,
    ];

    /// The name in the stream.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Consumer => "consumer",
            Self::Source => "source",
            Self::Replay => "replay",
            Self::Refused => "refused",
        }
    }
}

/// The source, the session and the kind of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct About {
    pub(crate) source: String,
    pub(crate) session: Option<String>,
    pub(crate) event: Option<EventKind>,
}

impl News {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            listeners: AtomicUsize::new(0),
            channels: Mutex::default(),
            told: AtomicU64::new(0),
            turn: Arc::new(Semaphore::new(1)),
            viewers: watch::Sender::new(0),
            max_viewers: AtomicUsize::new(DEFAULT_MAX_VIEWERS),
            sent_away: watch::Sender::new(Some(0)),
        }))
    }

    /// Whether somebody listens. Otherwise nothing need be told.
    pub(crate) fn is_heard(&self) -> bool {
        self.0.listeners.load(Ordering::Relaxed) > 0
    }

    /// Tells a change, if somebody listens; `data` makes what is told.
    pub(crate) fn tell(
        &self,
        kind: ChangeKind,
        about: Option<About>,
        data: impl FnOnce() -> Value,
    ) {
        self.pass(kind, about, false, || data().to_string());
    }

    /// The same, of what may have happened elsewhere; `data` makes the JSON.
    pub(super) fn pass(
        &self,
        kind: ChangeKind,
        about: Option<About>,
        elsewhere: bool,
        data: impl FnOnce() -> String,
    ) {
        if !self.is_heard() {
            return;
        }
        let data = data();
        if let Some(channels) = &*self.0.channels() {
            // The lock makes the order that of the numbers.
            let number = self.0.told.fetch_add(1, Ordering::AcqRel);
            let change = Change {
                number,
                kind,
                about,
                data,
                elsewhere,
            };
            let channel = match kind {
                ChangeKind::State => &channels.states,
                _ => &channels.others,
            };
            // The last listener may have just gone.
            let _ = channel.send(Arc::new(change));
        }
    }

    /// Waits until no other viewer reads the journal. It may while it has the permit.
    pub(crate) async fn turn(&self) -> OwnedSemaphorePermit {
        let turn = Arc::clone(&self.0.turn).acquire_owned().await;
        turn.expect("nobody closes it")
    }

    /// Tells that a consumer is in another state now, and why.
    pub(crate) fn consumer(&self, name: &str, state: &str, reason: Option<&str>) {
        self.tell(
            ChangeKind::Consumer,
            None,
            || json!({ "name": name, "state": state, "reason": reason }),
        );
    }

    /// From now on there may be so many viewers. Those that are there stay.
    pub(crate) fn set_max_viewers(&self, most: usize) {
        self.0.max_viewers.store(most, Ordering::Relaxed);
    }

    /// Returns a receiver of how many viewers there are.
    pub(crate) fn watch_viewers(&self) -> watch::Receiver<usize> {
        self.0.viewers.subscribe()
    }

    /// How many viewers there are.
    pub(crate) fn viewers(&self) -> usize {
        *self.0.viewers.borrow()
    }

    /// Sends all viewers away. They may come back, with the token that counts now.
    pub(crate) fn send_away(&self) {
        self.0
            .sent_away
            .send_modify(|times| *times = times.map(|times| times + 1));
    }

    /// Sends all viewers away for good, and waits a moment until they have gone.
    pub(crate) async fn end(&self) {
        self.0.sent_away.send_replace(None);
        let mut viewers = self.0.viewers.subscribe();
        // One that reads nothing is cut off with its connection.
        let _ = timeout(FAREWELL, viewers.wait_for(|viewers| *viewers == 0)).await;
    }
}

impl fmt::Debug for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("News")
            .field("viewers", &self.viewers())
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// Somebody more listens. Returns the channels.
    pub(super) fn listen(&self) -> Channels {
        let mut channels = self.channels();
        self.listeners.fetch_add(1, Ordering::Relaxed);
        let channels = channels.get_or_insert_with(|| Channels {
            states: broadcast::Sender::new(STATES),
            others: broadcast::Sender::new(OTHERS),
        });
        channels.clone()
    }

    /// Somebody listens no more.
    pub(super) fn stop_listening(&self) {
        let mut channels = self.channels();
        if self.listeners.fetch_sub(1, Ordering::Relaxed) == 1 {
            *channels = None;
        }
    }

    pub(super) fn channels(&self) -> MutexGuard<'_, Option<Channels>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How many viewers there may be by default.
pub(crate) const DEFAULT_MAX_VIEWERS: usize = 16;

/// How many states wait for the slowest listener.
pub(super) const STATES: usize = 1024;

/// How many other changes do.
const OTHERS: usize = 256;

/// How long a stop waits for viewers.
const FAREWELL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    #[actix_web::test]
    async fn one_viewer_reads_at_a_time() {
        let news = News::new();
        let first = news.turn().await;
        let mut second = std::pin::pin!(news.turn());
        assert!(futures_util::poll!(second.as_mut()).is_pending());
        drop(first);
        drop(second.await);
    }
}
