//! [`Watchdog`]: reports when a source falls silent, and when it is seen again.
//!
//! ```text
//! seen ── nothing for quiet_after ──▶ quiet: source.quiet
//!   ▲                                   │
//!   └──────── source.resumed ── seen ───┘
//! ```
//!
//! Each change writes one line to the log, changes the gauge once, and creates one event for the
//! handlers that want it. An event that the journal cannot take now is offered again until the journal
//! takes it, before the next event.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;

use super::{LastSeen, Limit, NEVER, Silence};
use crate::clock::Clock;
use crate::engine::NotAccepted;
use crate::telemetry::{About, ChangeKind};
use crate::{SourceChange, SourceEvent, escape_controls};

/// Hands an event to the engine.
pub(crate) type Tell =
    Arc<dyn Fn(SourceEvent) -> BoxFuture<'static, Result<(), NotAccepted>> + Send + Sync>;

/// The tasks that watch, one for each source or session; they end when this is dropped.
pub(crate) struct Watchdog {
    tasks: JoinSet<()>,
    tell: Tell,
    home: Handle,
}

impl Watchdog {
    /// Starts to watch on `home`.
    pub(crate) fn start(silence: &Arc<Silence>, tell: Tell, home: &Handle) -> Self {
        let mut watchdog = Self {
            tasks: JoinSet::new(),
            tell,
            home: home.clone(),
        };
        watchdog.watch_new(silence);
        watchdog
    }

    /// Watches the sources that have come since. The watches of those that have gone end by themselves.
    pub(crate) fn watch_new(&mut self, silence: &Arc<Silence>) {
        while self.tasks.try_join_next().is_some() {}
        for seen in silence.all() {
            if !seen.is_watched.swap(true, Ordering::Relaxed) {
                let (silence, tell) = (Arc::clone(silence), Arc::clone(&self.tell));
                let task = async move { watch(&silence, &seen, &tell).await };
                self.tasks.spawn_on(task, &self.home);
            }
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog")
            .field("watches", &self.tasks.len())
            .finish_non_exhaustive()
    }
}

/// One watch; it ends when the source is not served any more.
async fn watch(silence: &Silence, seen: &LastSeen, tell: &Tell) {
    let clock = silence.clock.as_ref();
    let mut limit = seen.limit.subscribe();
    // It may have been quiet already when the previous process ended.
    let mut mark = seen.mark_when_recalled();
    loop {
        let quiet_mark = match mark.take() {
            Some(mark) => mark,
            None => {
                let Some(mark) = until_quiet(silence, seen, &mut limit).await else {
                    return;
                };
                log::warn!("{}", seen.quiet_line());
                seen.metrics.set_quiet(Some(true));
                seen.remove_metrics_if_removed();
                seen.tell(silence, "quiet");
                if silence.announces() {
                    announce(seen, SourceChange::Quiet, clock, tell).await;
                }
                mark
            }
        };
        match until_seen(seen, quiet_mark, &mut limit).await {
            Limit::Of(_) => {
                seen.quiet_since.store(NEVER, Ordering::SeqCst);
                seen.metrics.set_quiet(Some(false));
                log::info!("{} is heard again", seen.subject());
                seen.tell(silence, "resumed");
                if silence.announces() {
                    announce(seen, SourceChange::Resumed, clock, tell).await;
                }
            }
            Limit::None => {
                seen.quiet_since.store(NEVER, Ordering::SeqCst);
                seen.metrics.set_quiet(None);
            }
            Limit::Removed => return,
        }
    }
}

/// Waits until nothing was seen for too long, and marks it quiet; returns when it was last seen. `None` if it is
/// not served any more.
async fn until_quiet(
    silence: &Silence,
    seen: &LastSeen,
    limit: &mut Receiver<Limit>,
) -> Option<i64> {
    loop {
        let now = *limit.borrow_and_update();
        let left = match now {
            Limit::Removed => return None,
            Limit::None => None,
            Limit::Of(after) => match seen.left(after, silence.now()) {
                Some(left) => Some(left),
                None => match seen.fall_quiet(silence, after) {
                    Some(mark) => return Some(mark),
                    None => continue,
                },
            },
        };
        tokio::select! {
            // Its sender is in `seen`.
            _ = limit.changed() => {}
            () = silence.clock.sleep(left.unwrap_or_default()), if left.is_some() => {}
        }
    }
}

/// Waits until it is seen after `quiet_mark`, or is not watched any more. Returns its limit.
async fn until_seen(seen: &LastSeen, quiet_mark: i64, limit: &mut Receiver<Limit>) -> Limit {
    loop {
        let now = *limit.borrow_and_update();
        // The notification may be from before it fell quiet.
        if !matches!(now, Limit::Of(_)) || seen.last() > quiet_mark {
            return now;
        }
        tokio::select! {
            _ = limit.changed() => {}
            () = seen.again.notified() => {}
        }
    }
}

/// Offers the event until the engine takes it. Without a journal, a handler that fails is not called
/// again: its failure is in the log.
async fn announce(seen: &LastSeen, change: SourceChange, clock: &dyn Clock, tell: &Tell) {
    let mut pause = FIRST_PAUSE;
    let event = seen.event(change, clock);
    while let Err(NotAccepted::Unavailable) = tell(event.clone()).await {
        clock.sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

impl LastSeen {
    /// How long it may still be silent; `None` when the time is over.
    fn left(&self, after: Duration, now: i64) -> Option<Duration> {
        let after = i64::try_from(after.as_nanos()).unwrap_or(i64::MAX);
        let last = match self.last() {
            NEVER => self.known_since,
            last => last,
        };
        let left = last.saturating_add(after).saturating_sub(now);
        let left = u64::try_from(left).ok().filter(|left| *left > 0);
        left.map(Duration::from_nanos)
    }

    /// Marks it quiet, unless it was seen at this moment.
    pub(super) fn fall_quiet(&self, silence: &Silence, after: Duration) -> Option<i64> {
        let now = silence.clock.now().as_microsecond();
        self.quiet_since.store(now, Ordering::SeqCst);
        let mark = self.last();
        if self.left(after, silence.now()).is_some() {
            self.quiet_since.store(NEVER, Ordering::SeqCst);
            return None;
        }
        Some(mark)
    }

    /// If it was quiet from the start: the mark that the next event must be later than.
    fn mark_when_recalled(&self) -> Option<i64> {
        self.quiet_since()?;
        log::warn!("{}", self.quiet_line());
        self.metrics.set_quiet(Some(true));
        Some(self.recalled_mark.load(Ordering::Relaxed))
    }

    fn event(&self, change: SourceChange, clock: &dyn Clock) -> SourceEvent {
        let quiet_after = self.quiet_after().unwrap_or_default();
        let mut event = SourceEvent::new(change, self.source.as_str(), quiet_after);
        event.session_id = self.session.clone();
        event.last_event_at = self.last_at();
        event.timestamp = clock.now();
        event
    }

    /// Tells those who watch.
    fn tell(&self, silence: &Silence, change: &str) {
        let about = About {
            source: self.source.clone(),
            session: self.session.clone(),
            event: None,
        };
        let news = silence.metrics.news();
        news.tell(ChangeKind::Source, Some(about), || {
            json!({
                "name": self.source,
                "session": self.session,
                "change": change,
                "last_event_at": self.last_at(),
            })
        });
    }

    fn quiet_line(&self) -> String {
        let subject = self.subject();
        let after = humantime::format_duration(self.quiet_after().unwrap_or_default());
        match self.last_at() {
            Some(at) => format!("{subject} is quiet since {at} (quiet_after = {after})"),
            None => format!("{subject} is quiet: no event for {after}"),
        }
    }

    fn subject(&self) -> String {
        let subject = match &self.session {
            None => format!("source {}", self.source),
            Some(session) => format!("source {} session {session}", self.source),
        };
        escape_controls(&subject).into_owned()
    }
}

/// How long to wait before an event that cannot be stored is offered again. The pause doubles each time,
/// up to the maximum below.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const MAX_PAUSE: Duration = Duration::from_secs(60);
