//! [`News`]: what changes while the server runs, for those who watch it (`GET /api/stream`).
//!
//! Most of the time nobody watches. Then a change costs one atomic load, and no memory. What is told is not
//! stored: who does not keep up misses the oldest changes, and holds up nothing.
//!
//! Events are not among the changes. A viewer reads them in the journal, as consumers do.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{broadcast, watch};
use tokio::time::timeout;

use crate::EventKind;

/// The news of one server, and who watches. Clones are the same news.
#[derive(Clone)]
pub(crate) struct News(Arc<Shared>);

struct Shared {
    /// How many viewers listen to changes.
    listeners: AtomicUsize,
    /// There while somebody listens.
    channel: Mutex<Option<broadcast::Sender<Arc<Change>>>>,
    /// How many viewers there are.
    viewers: watch::Sender<usize>,
    max_viewers: AtomicUsize,
    /// How often all viewers were sent away; `None` when the server stops.
    sent_away: watch::Sender<Option<u64>>,
}

/// A change, as it is told.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) kind: ChangeKind,
    /// What it is about, for filters; `None` passes every filter.
    pub(crate) about: Option<About>,
    /// JSON without line breaks.
    pub(crate) data: String,
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
}

impl ChangeKind {
    pub(crate) const ALL: [Self; 4] = [Self::State, Self::Consumer, Self::Source, Self::Replay];

    /// The name in the stream.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Consumer => "consumer",
            Self::Source => "source",
            Self::Replay => "replay",
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
            channel: Mutex::default(),
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
        if !self.is_heard() {
            return;
        }
        if let Some(channel) = &*self.0.channel() {
            let data = data().to_string();
            // Whoever has listened may have just gone.
            let _ = channel.send(Arc::new(Change { kind, about, data }));
        }
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

    /// How many viewers there are.
    pub(crate) fn viewers(&self) -> usize {
        *self.0.viewers.borrow()
    }

    /// Takes a place for a viewer; `listens` to changes or only reads events.
    ///
    /// # Errors
    ///
    /// When there are as many as there may be, or the server stops.
    pub(crate) fn view(&self, listens: bool) -> Result<Viewing, NoPlace> {
        let sent_away = self.0.sent_away.subscribe();
        if sent_away.borrow().is_none() {
            return Err(NoPlace::Stopping);
        }
        let most = self.0.max_viewers.load(Ordering::Relaxed);
        let has_place = self.0.viewers.send_if_modified(|viewers| {
            let has_place = *viewers < most;
            *viewers += usize::from(has_place);
            has_place
        });
        if !has_place {
            return Err(NoPlace::Taken(most));
        }
        let changes = listens.then(|| {
            let mut channel = self.0.channel();
            self.0.listeners.fetch_add(1, Ordering::Relaxed);
            let channel = channel.get_or_insert_with(|| broadcast::Sender::new(REMEMBERED));
            channel.subscribe()
        });
        Ok(Viewing {
            changes,
            sent_away,
            news: self.clone(),
        })
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
    fn channel(&self) -> MutexGuard<'_, Option<broadcast::Sender<Arc<Change>>>> {
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a viewer; free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Viewing {
    /// The changes, if it listens.
    changes: Option<broadcast::Receiver<Arc<Change>>>,
    sent_away: watch::Receiver<Option<u64>>,
    news: News,
}

/// What a viewer hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Change(Arc<Change>),
    /// So many changes were missed.
    Missed(u64),
    /// The viewer has to go.
    Bye,
}

impl Viewing {
    /// Waits for the next change, or for the end. Dropping the future loses nothing.
    pub(crate) async fn hear(&mut self, listens_now: bool) -> Heard {
        let Self {
            changes, sent_away, ..
        } = self;
        let change = async {
            match changes.as_mut().filter(|_| listens_now) {
                Some(changes) => changes.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = sent_away.changed() => Heard::Bye,
            change = change => match change {
                Ok(change) => Heard::Change(change),
                Err(broadcast::error::RecvError::Lagged(missed)) => Heard::Missed(missed),
                Err(broadcast::error::RecvError::Closed) => Heard::Bye,
            },
        }
    }

    /// What it can hear without waiting.
    pub(crate) fn try_hear(&mut self) -> Option<Heard> {
        match self.changes.as_mut()?.try_recv() {
            Ok(change) => Some(Heard::Change(change)),
            Err(broadcast::error::TryRecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(_) => None,
        }
    }

    /// Whether the viewer has to go.
    pub(crate) fn is_sent_away(&self) -> bool {
        self.sent_away.has_changed().unwrap_or(true)
    }
}

impl Drop for Viewing {
    fn drop(&mut self) {
        if self.changes.take().is_some() {
            let mut channel = self.news.0.channel();
            if self.news.0.listeners.fetch_sub(1, Ordering::Relaxed) == 1 {
                *channel = None;
            }
        }
        self.news.0.viewers.send_modify(|viewers| *viewers -= 1);
    }
}

/// Why there is no place for another viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoPlace {
    /// There are so many already.
    Taken(usize),
    Stopping,
}

/// How many viewers there may be by default.
pub(crate) const DEFAULT_MAX_VIEWERS: usize = 16;

/// How many changes wait for the slowest listener.
const REMEMBERED: usize = 1024;

/// How long a stop waits for viewers.
const FAREWELL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    fn told(news: &News, number: u64) {
        news.tell(ChangeKind::State, None, || json!(number));
    }

    #[actix_web::test]
    async fn nothing_is_made_while_nobody_listens() {
        let news = News::new();
        let only_events = news.view(false).unwrap();
        news.tell(ChangeKind::State, None, || panic!("nobody listens"));
        let mut viewer = news.view(true).unwrap();
        told(&news, 1);
        let Heard::Change(change) = viewer.hear(true).await else {
            panic!("no change");
        };
        assert_eq!((change.kind, &*change.data), (ChangeKind::State, "1"));
        drop((viewer, only_events));
        news.tell(ChangeKind::State, None, || panic!("it has gone"));
        assert!(news.0.channel().is_none());
        assert_eq!(news.viewers(), 0);
    }

    #[actix_web::test]
    async fn a_slow_listener_misses_the_oldest() {
        let news = News::new();
        let mut viewer = news.view(true).unwrap();
        for number in 0..REMEMBERED as u64 + 7 {
            told(&news, number);
        }
        assert!(matches!(viewer.try_hear(), Some(Heard::Missed(7))));
        let Some(Heard::Change(change)) = viewer.try_hear() else {
            panic!("no change");
        };
        assert_eq!(change.data, "7");
    }

    #[actix_web::test]
    async fn viewers_are_counted_and_sent_away() {
        let news = News::new();
        news.set_max_viewers(1);
        let mut viewer = news.view(true).unwrap();
        assert_eq!(news.view(false).unwrap_err(), NoPlace::Taken(1));
        assert!(!viewer.is_sent_away());
        news.send_away();
        assert!(viewer.is_sent_away());
        assert!(matches!(viewer.hear(false).await, Heard::Bye));
        drop(viewer);
        let mut again = news.view(true).unwrap();
        let ended = news.end();
        let gone = async {
            assert!(matches!(again.hear(true).await, Heard::Bye));
            drop(again);
        };
        futures_util::future::join(ended, gone).await;
        assert_eq!(news.view(true).unwrap_err(), NoPlace::Stopping);
    }
}
