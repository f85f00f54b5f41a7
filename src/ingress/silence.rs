//! [`Silence`]: when each source was last seen, and which sources are quiet.
//!
//! A verified request stores the time for its source, and for its session if that is watched. If the
//! stored time is less than a millisecond old it is only read, so that busy workers do not compete for
//! its cache line. Each watch ([`watchdog`]) sleeps until its `quiet_after` would be over and then
//! checks again; it does not wake at any other time, and not at all while the source is quiet.
//!
//! Waiting uses the monotonic clock, so setting the clock neither raises nor hides an alarm. The time of
//! day is only shown, and bridges a restart ([`recall`]).
//!
//! The sources can be replaced. What is known of a source or a session stays with its name.

mod recall;
mod shared;
#[cfg(test)]
mod tests;
mod watchdog;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::clock::Clock;
use crate::telemetry::{Metrics, QuietMetrics};
use crate::{Source, Timestamp};

pub(crate) use watchdog::{Tell, Watchdog};

/// All sources and when they were last seen.
#[derive(Debug)]
pub(crate) struct Silence {
    /// In the order of the sources.
    sources: ArcSwap<Vec<Arc<SourceSeen>>>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// The origin of monotonic times.
    origin: Instant,
    /// Where several instances share the journal: whether this one announces changes.
    housekeeper: OnceLock<watch::Receiver<bool>>,
}

/// When a source was last seen: as a whole, and for each watched session.
#[derive(Debug)]
pub(crate) struct SourceSeen {
    whole: Arc<LastSeen>,
    sessions: HashMap<String, Arc<LastSeen>>,
    origin: Instant,
}

/// When one source, or one session of it, was last seen.
#[derive(Debug)]
struct LastSeen {
    source: String,
    session: Option<String>,
    limit: watch::Sender<Limit>,
    /// Since when it may be seen; nanoseconds from the origin.
    known_since: i64,
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
    /// There is a task that watches it.
    is_watched: AtomicBool,
    metrics: QuietMetrics,
}

/// How long a source may send nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Limit {
    Of(Duration),
    /// It is not watched.
    None,
    /// It is not served any more.
    Removed,
}

/// The sources that may be served next, with what is known of them.
#[derive(Debug)]
pub(crate) struct NextSilence {
    sources: Vec<Arc<SourceSeen>>,
    limits: Vec<(Arc<LastSeen>, Limit)>,
}

/// What is known of one source or session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenReport {
    pub(crate) source: String,
    pub(crate) session: Option<String>,
    pub(crate) last_event_at: Option<Timestamp>,
    pub(crate) since_last: Option<Duration>,
    pub(crate) quiet_since: Option<Timestamp>,
}

impl Silence {
    pub(crate) fn of(sources: &[Source], metrics: &Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let silence = Self {
            sources: ArcSwap::default(),
            metrics: Arc::clone(metrics),
            origin: clock.monotonic(),
            clock,
            housekeeper: OnceLock::new(),
        };
        silence.replace(silence.next(sources));
        silence
    }

    /// Looks up what is known of these sources. Nothing is changed yet.
    pub(super) fn next(&self, sources: &[Source]) -> NextSilence {
        let mut known: HashMap<_, _> = self.all().into_iter().map(|one| (one.key(), one)).collect();
        let mut limits = Vec::new();
        let mut seen = |source: &Source, session: Option<&String>, limit: Option<Duration>| {
            let key = (source.name.clone(), session.cloned());
            let seen = known.remove(&key);
            let seen = seen.unwrap_or_else(|| self.never_seen(key));
            limits.push((Arc::clone(&seen), limit.map_or(Limit::None, Limit::Of)));
            seen
        };
        let sources = sources.iter().map(|source| {
            let whole = seen(source, None, source.quiet_after);
            let sessions = source.quiet_sessions.iter();
            let sessions =
                sessions.map(|(id, after)| (id.clone(), seen(source, Some(id), Some(*after))));
            Arc::new(SourceSeen {
                sessions: sessions.collect(),
                whole,
                origin: self.origin,
            })
        });
        let sources = sources.collect();
        limits.extend(known.into_values().map(|seen| (seen, Limit::Removed)));
        NextSilence { sources, limits }
    }

    /// From now on these are the sources.
    pub(super) fn replace(&self, next: NextSilence) {
        let now = self.now();
        self.sources.store(Arc::new(next.sources));
        for (seen, limit) in next.limits {
            seen.set_limit(limit, now);
        }
    }

    fn never_seen(&self, (source, session): (String, Option<String>)) -> Arc<LastSeen> {
        Arc::new(LastSeen {
            metrics: self.metrics.quiet(&source, session.as_deref()),
            source,
            session,
            limit: watch::Sender::new(Limit::Removed),
            known_since: self.now(),
            last: AtomicI64::new(NEVER),
            last_at: AtomicI64::new(NEVER),
            quiet_since: AtomicI64::new(NEVER),
            recalled_mark: AtomicI64::new(NEVER),
            again: Notify::new(),
            is_watched: AtomicBool::new(false),
        })
    }

    /// The entry for the source with this index, in the order of the sources.
    #[cfg(test)]
    fn source(&self, index: usize) -> Arc<SourceSeen> {
        Arc::clone(&self.sources.load()[index])
    }

    /// What is known of all sources and of the watched sessions.
    pub(crate) fn report(&self) -> Vec<SeenReport> {
        let now = self.now();
        self.all().iter().map(|seen| seen.report(now)).collect()
    }

    /// Updates the metrics that are computed only on request.
    pub(crate) fn measure(&self) {
        let now = self.now();
        for seen in self.all() {
            seen.metrics.set_since_last(seen.report(now).since_last);
            seen.remove_metrics_if_removed();
        }
    }

    /// Whether there is anything to watch.
    pub(crate) fn is_watched(&self) -> bool {
        self.all().iter().any(|seen| seen.quiet_after().is_some())
    }

    fn all(&self) -> Vec<Arc<LastSeen>> {
        let sources = self.sources.load();
        let all = sources.iter().flat_map(|source| {
            let mut sessions: Vec<_> = source.sessions.values().collect();
            sessions.sort_by_key(|seen| &seen.session);
            [&source.whole].into_iter().chain(sessions)
        });
        all.cloned().collect()
    }

    fn now(&self) -> i64 {
        nanos(self.origin, self.clock.monotonic())
    }
}

impl NextSilence {
    /// The entry for the source with this index, in the order of the sources that this was made of.
    pub(super) fn source(&self, index: usize) -> Arc<SourceSeen> {
        Arc::clone(&self.sources[index])
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
    fn key(&self) -> (String, Option<String>) {
        (self.source.clone(), self.session.clone())
    }

    fn quiet_after(&self) -> Option<Duration> {
        match *self.limit.borrow() {
            Limit::Of(limit) => Some(limit),
            Limit::None | Limit::Removed => None,
        }
    }

    fn set_limit(&self, limit: Limit, now: i64) {
        match limit {
            Limit::Removed => {}
            Limit::None => self.metrics.set_quiet(None),
            Limit::Of(_) => self.metrics.set_quiet(Some(self.quiet_since().is_some())),
        }
        if limit != Limit::Removed {
            self.metrics.set_since_last(self.report(now).since_last);
        }
        // The watch is woken only by a change.
        self.limit
            .send_if_modified(|known| std::mem::replace(known, limit) != limit);
        self.remove_metrics_if_removed();
    }

    /// Code that sets a metric calls this behind it, so that the series of what is not served do not come back.
    fn remove_metrics_if_removed(&self) {
        if *self.limit.borrow() == Limit::Removed {
            self.metrics.remove();
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

    fn report(&self, now: i64) -> SeenReport {
        let last = self.last();
        let since = now.saturating_sub(last).max(0).unsigned_abs();
        SeenReport {
            source: self.source.clone(),
            session: self.session.clone(),
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
