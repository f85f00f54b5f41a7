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

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{BoxFuture, join_all};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::{LastSeen, NEVER, Silence};
use crate::clock::Clock;
use crate::engine::NotAccepted;
use crate::{SourceChange, SourceEvent, escape_controls};

/// Hands an event to the engine.
pub(crate) type Tell =
    Box<dyn Fn(SourceEvent) -> BoxFuture<'static, Result<(), NotAccepted>> + Send + Sync>;

/// The task that runs all watches; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watchdog(JoinHandle<()>);

impl Watchdog {
    /// Starts to watch on `home`; `None` when there is nothing to watch.
    pub(crate) fn start(silence: &Arc<Silence>, tell: Tell, home: &Handle) -> Option<Self> {
        if !silence.is_watched() {
            return None;
        }
        let silence = Arc::clone(silence);
        Some(Self(home.spawn(async move {
            let watches = silence.all().filter_map(|seen| {
                seen.quiet_after?;
                Some(watch(&silence, seen, &tell))
            });
            join_all(watches).await;
        })))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// One watch; it never ends.
async fn watch(silence: &Silence, seen: &LastSeen, tell: &Tell) {
    let clock = silence.clock.as_ref();
    // It may have been quiet already when the previous process ended.
    let mut mark = seen.mark_when_recalled();
    loop {
        let quiet_mark = match mark.take() {
            Some(mark) => mark,
            None => {
                let mark = until_quiet(silence, seen).await;
                log::warn!("{}", seen.quiet_line());
                seen.metrics.set_quiet(true);
                announce(seen, SourceChange::Quiet, clock, tell).await;
                mark
            }
        };
        // The notification may be from before it fell quiet.
        while seen.last() <= quiet_mark {
            seen.again.notified().await;
        }
        seen.quiet_since.store(NEVER, Ordering::SeqCst);
        seen.metrics.set_quiet(false);
        log::info!("{} is heard again", seen.subject());
        announce(seen, SourceChange::Resumed, clock, tell).await;
    }
}

/// Waits until nothing was seen for too long, and marks it quiet; returns when it was last seen.
async fn until_quiet(silence: &Silence, seen: &LastSeen) -> i64 {
    loop {
        match seen.left(silence.now()) {
            Some(left) => silence.clock.sleep(left).await,
            None => {
                if let Some(mark) = seen.fall_quiet(silence) {
                    return mark;
                }
            }
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
    fn left(&self, now: i64) -> Option<Duration> {
        let after = self.quiet_after.unwrap_or(Duration::MAX).as_nanos();
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        // If it was never seen, the time is counted from the start.
        let last = match self.last() {
            NEVER => 0,
            last => last,
        };
        let left = last.saturating_add(after).saturating_sub(now);
        let left = u64::try_from(left).ok().filter(|left| *left > 0);
        left.map(Duration::from_nanos)
    }

    /// Marks it quiet, unless it was seen at this moment.
    pub(super) fn fall_quiet(&self, silence: &Silence) -> Option<i64> {
        let now = silence.clock.now().as_microsecond();
        self.quiet_since.store(now, Ordering::SeqCst);
        let mark = self.last();
        if self.left(silence.now()).is_some() {
            self.quiet_since.store(NEVER, Ordering::SeqCst);
            return None;
        }
        Some(mark)
    }

    /// If it was quiet from the start: the mark that the next event must be later than.
    fn mark_when_recalled(&self) -> Option<i64> {
        self.quiet_since()?;
        log::warn!("{}", self.quiet_line());
        self.metrics.set_quiet(true);
        Some(self.recalled_mark.load(Ordering::Relaxed))
    }

    fn event(&self, change: SourceChange, clock: &dyn Clock) -> SourceEvent {
        let quiet_after = self.quiet_after.unwrap_or_default();
        let mut event = SourceEvent::new(change, self.source.as_str(), quiet_after);
        event.session_id = self.session.clone();
        event.last_event_at = self.last_at();
        event.timestamp = clock.now();
        event
    }

    fn quiet_line(&self) -> String {
        let subject = self.subject();
        let after = humantime::format_duration(self.quiet_after.unwrap_or_default());
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
