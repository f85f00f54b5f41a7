//! [`Retention`]: how long and how much the journal stores, and the task that enforces it.
//!
//! Events are removed oldest first, a few at a time, when they are older than the age limit or when the
//! journal is larger than the size limit. This also removes events that a consumer has not settled, and
//! counts and logs them: space is finite, and a silent loss would be worse.
//!
//! The task sleeps until the oldest event reaches the age limit. If there is a size limit it also wakes
//! when events are added, at most once every [`SIZE_PAUSE`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::SignedDuration;
use log::Level;
use tokio::sync::watch;

use super::dispatch::Dispatch;
use crate::Timestamp;
use crate::clock::Clock;
use crate::dispatch::{Living, Saved};
use crate::index::Notes;
use crate::journal::{Journal, Seq, Unavailable};
use crate::telemetry::{Metrics, Throttle};

/// How long and how much the journal stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retention {
    pub(crate) age: Duration,
    pub(crate) bytes: Option<u64>,
}

/// Enforces the retention of one journal.
pub(crate) struct Keeper {
    pub(crate) retention: Retention,
    /// What it is from now on.
    pub(crate) next: watch::Receiver<Retention>,
    /// Whether this instance removes events.
    pub(super) is_housekeeper: watch::Receiver<bool>,
    pub(crate) journal: Arc<dyn Journal>,
    pub(crate) notes: Arc<dyn Notes>,
    pub(crate) consumers: Living,
    /// Where several instances share the journal: the consumers of all of them.
    pub(super) shared: Option<Arc<Dispatch>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl Keeper {
    /// Runs until told to stop.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut head = self.journal.tail().watch();
        let mut trusted = Trusted::new(self.clock.as_ref());
        let mut removed = Removed::default();
        while !*stop.borrow() {
            if !*self.is_housekeeper.borrow_and_update() {
                tokio::select! {
                    _ = stop.changed() => {}
                    // Otherwise everything ends.
                    Ok(()) = self.is_housekeeper.changed() => {}
                }
                continue;
            }
            self.retention = *self.next.borrow_and_update();
            let doubtful = trusted.look(self.clock.as_ref());
            let trimmed = match doubtful {
                None => self.trim(&mut removed).await,
                Some(pause) => self
                    .trim_to_size(&mut removed)
                    .await
                    .map(|()| Pause::of(pause)),
            };
            let Pause { most, or_grown } = trimmed.unwrap_or_else(|error| {
                log::warn!("retention: {error}; tried again in a minute");
                Pause::of(Duration::from_secs(60))
            });
            let now = self.clock.monotonic();
            removed.tell(now);
            let pause = removed.due(now).map_or(most, |due| due.min(most));
            let grown = async {
                self.clock.sleep(SIZE_PAUSE).await;
                // Only a closed journal never reports a new head.
                let _ = head.changed().await;
            };
            tokio::select! {
                () = self.clock.sleep(pause) => {}
                () = grown, if or_grown || self.retention.bytes.is_some() => {}
                Ok(()) = self.next.changed() => {}
                Ok(()) = self.is_housekeeper.changed() => {}
                _ = stop.changed() => {}
            }
        }
        removed.next_line = None;
        removed.tell(self.clock.monotonic());
    }

    /// Removes events beyond the limits; returns how long to wait until the next check.
    async fn trim(&self, removed: &mut Removed) -> Result<Pause, Unavailable> {
        let now = self.now().await?;
        let cutoff = now
            .saturating_sub(self.retention.age)
            .unwrap_or(Timestamp::MIN);
        let old = self.last_before(cutoff).await?;
        self.remove_up_to(old, removed).await?;
        self.trim_to_size(removed).await?;
        let oldest = self.first().await?;
        // It stays, however old, until there is another one.
        let is_newest = oldest.is_some_and(|(seq, _)| seq >= self.journal.tail().head());
        let oldest = oldest.map(|(_, kept_at)| kept_at);
        if let Some(kept_at) = oldest
            && kept_at.duration_since(now) > MAX_AHEAD
            && removed.set_back.pass().is_some()
        {
            log::warn!(
                "retention: the oldest event was stored at {kept_at}, but it is only {now}: the clock \
                 was set back, and no event is removed by age until {:?} after that time; \
                 until then only journal.retention_size limits the journal",
                self.retention.age
            );
        }
        let due = oldest.and_then(|kept_at| kept_at.saturating_add(self.retention.age).ok());
        let until = due.map(|due| Duration::try_from(due.duration_since(now)).unwrap_or_default());
        let until = until.unwrap_or(self.retention.age);
        if is_newest && until.is_zero() {
            return Ok(Pause {
                most: MAX_PAUSE,
                or_grown: true,
            });
        }
        Ok(Pause::of(until.clamp(Duration::from_secs(1), MAX_PAUSE)))
    }

    /// The time by which events were stored: where several instances share the journal, that of the database.
    async fn now(&self) -> Result<Timestamp, Unavailable> {
        let shared = self.shared.as_ref();
        match shared.and_then(|shared| shared.cluster.as_ref()) {
            Some(cluster) => cluster.now().await,
            None => Ok(self.clock.now()),
        }
    }

    /// Removes events beyond the size limit.
    async fn trim_to_size(&self, removed: &mut Removed) -> Result<(), Unavailable> {
        let Some(limit) = self.retention.bytes.map(for_events) else {
            return Ok(());
        };
        loop {
            let bytes = self.journal.bytes().await?;
            if bytes <= limit {
                return Ok(());
            }
            let (first, before) = (
                self.first().await?.map_or(0, |(seq, _)| seq),
                removed.events,
            );
            let kept = self.journal.tail().head().saturating_sub(first) + 1;
            // Down to nine tenths, so that not every new event causes a trim.
            let target = limit / 10 * 9;
            let share = (bytes - target) as f64 / bytes as f64;
            let trimmed = self.remove_up_to(first + (kept as f64 * share) as u64, removed);
            trimmed.await?;
            removed.for_size += removed.events - before;
            // The oldest events may have been the short ones. What is left may also not be events.
            let now_first = self.first().await?.map_or(0, |(seq, _)| seq);
            if now_first == first || now_first >= self.journal.tail().head() {
                return Ok(());
            }
        }
    }

    async fn remove_up_to(&self, up_to: Seq, removed: &mut Removed) -> Result<(), Unavailable> {
        let Some((first, _)) = self.first().await? else {
            return Ok(());
        };
        // The newest event stays.
        let up_to = up_to.min(self.journal.tail().head().saturating_sub(1));
        if up_to < first {
            return Ok(());
        }
        self.count_unsettled(first, up_to, removed).await;
        loop {
            let count = self.journal.trim(up_to).await?;
            if count == 0 {
                break;
            }
            removed.events += count as u64;
        }
        self.notes.trimmed(up_to);
        Ok(())
    }

    async fn count_unsettled(&self, first: Seq, up_to: Seq, removed: &mut Removed) {
        for (name, unsettled) in self.unsettled(first, up_to).await {
            if unsettled > 0 {
                self.metrics.expired(&name, unsettled);
                *removed.unsettled.entry(name).or_default() += unsettled;
            }
        }
    }

    /// How many of these events each consumer has not settled. A share that no instance has dispatched for a while
    /// counts events of other shares too.
    async fn unsettled(&self, first: Seq, up_to: Seq) -> Vec<(String, u64)> {
        let mut counts = Vec::new();
        let Some(shared) = &self.shared else {
            for consumer in self.consumers.controls() {
                let shares = consumer.events().await.into_iter();
                let counted = shares.map(|share| share.progress.unsettled(first, up_to));
                counts.push((consumer.name().to_owned(), counted.sum()));
            }
            return counts;
        };
        for consumer in shared.consumers() {
            let (name, mut count) = (consumer.name().to_owned(), 0);
            // Removing events does not wait for this.
            for saved in shared.saved(&name).await.unwrap_or_default() {
                let saved = Saved::decode(&saved);
                count += saved.map_or(0, |saved| saved.progress.unsettled(first, up_to));
            }
            counts.push((name, count));
        }
        counts
    }

    /// The oldest event, and when it was stored.
    async fn first(&self) -> Result<Option<(Seq, Timestamp)>, Unavailable> {
        let first = self.journal.read(0, 1).await?;
        Ok(first.first().map(|record| (record.seq, record.kept_at)))
    }

    /// The newest event that was stored before `cutoff`; 0 for none. Events are stored in order of time,
    /// so a binary search finds it.
    async fn last_before(&self, cutoff: Timestamp) -> Result<Seq, Unavailable> {
        let Some((mut low, first)) = self.first().await? else {
            return Ok(0);
        };
        if first >= cutoff {
            return Ok(0);
        }
        let mut high = self.journal.tail().head() + 1;
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let records = self.journal.read(middle - 1, 1).await?;
            match records.first() {
                Some(record) if record.kept_at < cutoff => low = middle,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

/// When to look again.
#[derive(Debug, PartialEq, Eq)]
struct Pause {
    most: Duration,
    /// Whether also when there is another event.
    or_grown: bool,
}

impl Pause {
    fn of(most: Duration) -> Self {
        Self {
            most,
            or_grown: false,
        }
    }
}

/// What was removed and is not logged yet: a busy journal is trimmed every second.
#[derive(Debug)]
struct Removed {
    events: u64,
    /// How many of them because of the size limit.
    for_size: u64,
    /// The same of those that a consumer had not settled.
    unsettled: BTreeMap<String, u64>,
    /// The earliest time of the next line.
    next_line: Option<Instant>,
    /// Limits the warning that the clock was set back.
    set_back: Throttle,
}

impl Default for Removed {
    fn default() -> Self {
        Self {
            events: 0,
            for_size: 0,
            unsettled: BTreeMap::new(),
            next_line: None,
            set_back: Throttle::every(LINE_PAUSE),
        }
    }
}

impl Removed {
    /// How long until there is a line to log.
    fn due(&self, now: Instant) -> Option<Duration> {
        let next = { self.next_line }.filter(|_| self.events > 0 || !self.unsettled.is_empty());
        next.map(|next| next.saturating_duration_since(now))
    }

    /// The lines that are due.
    fn lines(&mut self, now: Instant) -> Vec<(Level, String)> {
        let is_due = self.due(now).is_none_or(|due| due.is_zero());
        if !is_due {
            return Vec::new();
        }
        let unsettled = std::mem::take(&mut self.unsettled).into_iter();
        let unsettled = unsettled.map(|(name, count)| {
            let text = format!("retention: removed {count} events that {name} had not settled");
            (Level::Error, text)
        });
        let mut lines: Vec<_> = unsettled.collect();
        let count = std::mem::take(&mut self.events);
        let why = match std::mem::take(&mut self.for_size) {
            0 => "older than journal.retention".to_owned(),
            all if all == count => "because of journal.retention_size".to_owned(),
            some => format!("{some} of them because of journal.retention_size"),
        };
        if count > 0 {
            let text = format!("retention: removed {count} events, {why}");
            lines.push((Level::Info, text));
        }
        if !lines.is_empty() {
            self.next_line = Some(now + LINE_PAUSE);
        }
        lines
    }

    fn tell(&mut self, now: Instant) {
        for (level, line) in self.lines(now) {
            log::log!(level, "{line}");
        }
    }
}

/// Whether the time of day can be trusted. A clock set far ahead by mistake makes every event too old,
/// and removed events do not come back when the clock is corrected.
struct Trusted {
    seen: (Timestamp, Instant),
    /// Since when the time is in doubt.
    doubted_at: Option<Instant>,
}

impl Trusted {
    fn new(clock: &dyn Clock) -> Self {
        Self {
            seen: (clock.now(), clock.monotonic()),
            doubted_at: None,
        }
    }

    /// For how long no event should be removed because of its age.
    fn look(&mut self, clock: &dyn Clock) -> Option<Duration> {
        let seen = (clock.now(), clock.monotonic());
        let before = std::mem::replace(&mut self.seen, seen);
        let passed = seen.1.saturating_duration_since(before.1);
        let shown = Duration::try_from(seen.0.duration_since(before.0)).unwrap_or_default();
        if shown.saturating_sub(passed) > MAX_JUMP {
            let jump = shown.saturating_sub(passed);
            log::warn!(
                "retention: the clock jumped forward by {jump:.0?}; no event is removed by age for \
                 {DOUBT:?}, in case the clock is corrected"
            );
            self.doubted_at = Some(seen.1);
        }
        let doubted = seen.1.saturating_duration_since(self.doubted_at?);
        let left = DOUBT.saturating_sub(doubted);
        if left.is_zero() {
            self.doubted_at = None;
            return None;
        }
        Some(left)
    }
}

/// A machine that slept has jumped too; the pause does no harm then.
const MAX_JUMP: Duration = Duration::from_secs(3600);

/// How long the time is in doubt after a jump.
const DOUBT: Duration = Duration::from_secs(3600);

/// How long to wait between two lines about what was removed.
const LINE_PAUSE: Duration = Duration::from_secs(60);

/// Returns how many bytes the events may take of so many for all files: a quarter, and at most
/// [`FOR_LOG`], is for what is written before it is brought into the database.
fn for_events(limit: u64) -> u64 {
    limit - (limit / 4).min(FOR_LOG)
}

/// The most that a write-ahead log takes while no other program reads the journal.
const FOR_LOG: u64 = 32 * 1024 * 1024;

/// How long to wait between two checks of the size. What is stored meanwhile may be beyond the limit.
const SIZE_PAUSE: Duration = Duration::from_millis(250);

/// A clock that was set back by more than this is logged.
const MAX_AHEAD: SignedDuration = SignedDuration::from_hours(24);

/// A longer timer is interrupted once per day and set again.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::Received;
    use crate::journal::{DedupKey, Entry, EntryPart, Log as _, Memory};
    use crate::testing::FakeClock;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    #[test]
    fn removals_are_told_once_a_minute() {
        let mut removed = Removed::default();
        let start = FakeClock::new(Timestamp::UNIX_EPOCH).monotonic();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut told = Vec::new();
        for second in 0..=61 {
            removed.events += 10;
            removed.for_size += if second < 60 { 0 } else { 1 };
            *removed.unsettled.entry("handler:a".to_owned()).or_default() += 1;
            told.extend(removed.lines(at(second)));
        }
        let told: Vec<_> = told.iter().map(|(_, line)| line.as_str()).collect();
        let expected = [
            "retention: removed 1 events that handler:a had not settled",
            "retention: removed 10 events, older than journal.retention",
            "retention: removed 60 events that handler:a had not settled",
            "retention: removed 600 events, 1 of them because of journal.retention_size",
        ];
        assert_eq!(told, expected);
        // What is left is told when it is due, though nothing more is removed.
        assert_eq!(removed.due(at(61)), Some(Duration::from_secs(59)));
        assert_eq!(removed.lines(at(120)).len(), 2);
        assert_eq!(removed.due(at(200)), None);
    }

    #[tokio::test]
    async fn a_jumping_clock_removes_nothing_for_an_hour() {
        let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
        let journal = Arc::new(Memory::new(clock.clone(), 1));
        for number in 1..=3 {
            append(&journal, number).await;
        }
        let keeper = keeper(&journal, &clock);
        let (_stop, stopped) = watch::channel(false);
        let _task = tokio::spawn(keeper.run(stopped));
        let kept = async || {
            // Everything runs on this thread, so nothing is left to do after this many turns.
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            journal.read(0, 10).await.unwrap().len()
        };
        assert_eq!(kept().await, 3);
        // By mistake, and corrected within the hour.
        let right = clock.now();
        clock.set(right + 300 * DAY);
        clock.advance(DAY);
        assert_eq!(kept().await, 3);
        clock.set(right + DAY);
        clock.advance(DOUBT);
        assert_eq!(kept().await, 3);
        // On purpose.
        clock.set(right + 300 * DAY);
        clock.advance(DAY);
        assert_eq!(kept().await, 3);
        clock.advance(DOUBT);
        assert_eq!(kept().await, 1);
    }

    async fn append(journal: &Memory, number: u128) {
        let mut received = Received::new("gateway", "{}");
        received.id = Uuid::from_u128(number);
        let entry = Entry {
            received: Arc::new(received),
            events: Vec::new().into(),
            parts: vec![EntryPart {
                session: None,
                key: DedupKey {
                    hash: number,
                    window: Duration::ZERO,
                    state: None,
                    named: true,
                },
            }],
        };
        journal.append(entry).await.unwrap();
    }

    fn keeper(journal: &Arc<Memory>, clock: &Arc<FakeClock>) -> Keeper {
        let retention = Retention {
            age: 7 * DAY,
            bytes: None,
        };
        Keeper {
            next: watch::Sender::new(retention).subscribe(),
            retention,
            is_housekeeper: watch::Sender::new(true).subscribe(),
            shared: None,
            journal: journal.clone(),
            notes: Arc::new(()),
            consumers: Living::default(),
            metrics: Metrics::new(),
            clock: clock.clone(),
        }
    }

    /// It stays, because the next number is derived from it.
    #[tokio::test]
    async fn an_old_event_alone_waits_for_another() {
        let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
        let journal = Arc::new(Memory::new(clock.clone(), 1));
        append(&journal, 1).await;
        let keeper = keeper(&journal, &clock);
        let mut removed = Removed::default();
        let pause = keeper.trim(&mut removed).await.unwrap();
        assert_eq!(pause, Pause::of(DAY));
        clock.set(clock.now() + 8 * DAY);
        let pause = keeper.trim(&mut removed).await.unwrap();
        assert_eq!((pause.most, pause.or_grown), (MAX_PAUSE, true));
        append(&journal, 2).await;
        let pause = keeper.trim(&mut removed).await.unwrap();
        assert_eq!((removed.events, pause), (1, Pause::of(DAY)));
    }
}
