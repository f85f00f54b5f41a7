//! [`Silence`]: when each source was last seen, and which sources are quiet.
//!
//! A verified request stores the time for its source, and for its session if that is watched. If the
//! stored time is less than a millisecond old it is only read, so that busy workers do not compete for
//! its cache line. Each watch ([`watchdog`]) sleeps until its `quiet_after` would be over and then
//! checks again; it does not wake at any other time, and not at all while the source is quiet.
//!
//! Waiting uses the monotonic clock, so setting the clock neither raises nor hides an alarm. The time of
//! day is only shown, and bridges a restart ([`recall`]).

mod recall;
#[cfg(test)]
mod tests;
mod watchdog;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::telemetry::{Metrics, QuietMetrics};
use crate::{Source, Timestamp};

pub(crate) use watchdog::{Tell, Watchdog};

/// All sources and when they were last seen.
#[derive(Debug)]
pub(crate) struct Silence {
    sources: Vec<Arc<SourceSeen>>,
    clock: Arc<dyn Clock>,
    /// The origin of monotonic times.
    origin: Instant,
}

/// When a source was last seen: as a whole, and for each watched session.
#[derive(Debug)]
pub(crate) struct SourceSeen {
    whole: LastSeen,
    sessions: HashMap<String, LastSeen>,
    origin: Instant,
}

/// When one source, or one session of it, was last seen.
#[derive(Debug)]
struct LastSeen {
    source: String,
    session: Option<String>,
    /// `None` when it is not watched.
    quiet_after: Option<Duration>,
    /// Nanoseconds from the origin; [`NEVER`] for never. Negative when a previous process saw it.
    last: AtomicI64,
    /// The same time as a time of day: microseconds since 1970, or [`NEVER`].
    last_at: AtomicI64,
    /// Since when it is quiet: microseconds since 1970, or [`NEVER`] while it is not.
    quiet_since: AtomicI64,
    /// If it was quiet when the previous process ended: it is seen again when `last` is later than this.
    recalled_mark: AtomicI64,
    /// Notified when it is seen while it is quiet.
    again: Notify,
    metrics: QuietMetrics,
}

/// What is known of one source or session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenReport<'a> {
    pub(crate) source: &'a str,
    pub(crate) session: Option<&'a str>,
    pub(crate) last_event_at: Option<Timestamp>,
    pub(crate) since_last: Option<Duration>,
    pub(crate) quiet_since: Option<Timestamp>,
}

impl Silence {
    pub(crate) fn of(sources: &[Source], metrics: &Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let origin = clock.monotonic();
        let sources = sources.iter().map(|source| {
            let seen = |session: Option<&String>, quiet_after| {
                LastSeen::new(&source.name, session, quiet_after, metrics)
            };
            let sessions = source.quiet_sessions.iter();
            let sessions = sessions.map(|(id, after)| (id.clone(), seen(Some(id), Some(*after))));
            Arc::new(SourceSeen {
                whole: seen(None, source.quiet_after),
                sessions: sessions.collect(),
                origin,
            })
        });
        Self {
            sources: sources.collect(),
            clock,
            origin,
        }
    }

    /// The entry for the source with this index, in the order of the sources that this was made of.
    pub(crate) fn source(&self, index: usize) -> Arc<SourceSeen> {
        Arc::clone(&self.sources[index])
    }

    /// What is known of all sources and of the watched sessions.
    pub(crate) fn report(&self) -> Vec<SeenReport<'_>> {
        let now = self.now();
        self.all().map(|seen| seen.report(now)).collect()
    }

    /// Updates the metrics that are computed only on request.
    pub(crate) fn measure(&self) {
        let now = self.now();
        for seen in self.all() {
            if let Some(age) = seen.report(now).since_last {
                seen.metrics.set_since_last(age);
            }
        }
    }

    /// Whether there is anything to watch.
    pub(crate) fn is_watched(&self) -> bool {
        self.all().any(|seen| seen.quiet_after.is_some())
    }

    fn all(&self) -> impl Iterator<Item = &LastSeen> {
        self.sources.iter().flat_map(|source| {
            let mut sessions: Vec<_> = source.sessions.values().collect();
            sessions.sort_by_key(|seen| &seen.session);
            [&source.whole].into_iter().chain(sessions)
        })
    }

    fn now(&self) -> i64 {
        nanos(self.origin, self.clock.monotonic())
    }
}

impl SourceSeen {
    /// Records a verified request: `at` by the monotonic clock, `received_at` by the time of day.
    pub(crate) fn mark(&self, at: Instant, received_at: Timestamp, session: Option<&str>) {
        let at = nanos(self.origin, at);
        self.whole.mark(at, received_at);
        if let Some(session) = session.and_then(|session| self.sessions.get(session)) {
            session.mark(at, received_at);
        }
    }
}

impl LastSeen {
    fn new(
        source: &str,
        session: Option<&String>,
        quiet_after: Option<Duration>,
        metrics: &Arc<Metrics>,
    ) -> Self {
        let session = session.cloned();
        let watched = quiet_after.is_some();
        Self {
            metrics: metrics.quiet(source, session.as_deref(), watched),
            source: source.to_owned(),
            session,
            quiet_after,
            last: AtomicI64::new(NEVER),
            last_at: AtomicI64::new(NEVER),
            quiet_since: AtomicI64::new(NEVER),
            recalled_mark: AtomicI64::new(NEVER),
            again: Notify::new(),
        }
    }

    fn mark(&self, at: i64, received_at: Timestamp) {
        let last = self.last.load(Ordering::Relaxed);
        let marked = last != NEVER && at < last.saturating_add(MARK_EVERY);
        if marked && self.quiet_since.load(Ordering::Relaxed) == NEVER {
            return;
        }
        self.last_at
            .store(received_at.as_microsecond(), Ordering::Relaxed);
        // All threads agree on one order of this and the operations in `fall_quiet`: either this sees
        // that it is quiet, or the watchdog sees that it was seen.
        self.last.fetch_max(at, Ordering::SeqCst);
        if self.quiet_since.load(Ordering::SeqCst) != NEVER {
            self.again.notify_one();
        }
    }

    fn last(&self) -> i64 {
        self.last.load(Ordering::SeqCst)
    }

    fn last_at(&self) -> Option<Timestamp> {
        time(self.last_at.load(Ordering::Relaxed))
    }

    fn quiet_since(&self) -> Option<Timestamp> {
        time(self.quiet_since.load(Ordering::SeqCst))
    }

    fn report(&self, now: i64) -> SeenReport<'_> {
        let last = self.last();
        let since = now.saturating_sub(last).max(0).unsigned_abs();
        SeenReport {
            source: &self.source,
            session: self.session.as_deref(),
            last_event_at: self.last_at(),
            since_last: (last != NEVER).then_some(Duration::from_nanos(since)),
            quiet_since: self.quiet_since(),
        }
    }
}

/// Nanoseconds from `origin` to `at`: enough for 292 years.
fn nanos(origin: Instant, at: Instant) -> i64 {
    let passed = at.saturating_duration_since(origin).as_nanos();
    i64::try_from(passed).unwrap_or(i64::MAX)
}

fn time(micros: i64) -> Option<Timestamp> {
    match micros {
        NEVER => None,
        micros => Timestamp::from_microsecond(micros).ok(),
    }
}

const NEVER: i64 = i64::MIN;

/// How long a stored time is precise enough, in nanoseconds: as long as the shortest `quiet_after`.
const MARK_EVERY: i64 = 1_000_000;
