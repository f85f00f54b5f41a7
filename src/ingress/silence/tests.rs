//! Tests the watch, on a clock that moves only when the test moves it.

use std::sync::atomic::AtomicI64;
use std::sync::{Barrier, Mutex};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use tokio::runtime::Handle;

use super::*;
use crate::engine::{Envelope, NotAccepted};
use crate::journal::{DedupKey, Entry, Events, Log as _, Memory, Parts, Record, Seq, Tail};
use crate::testing::FakeClock;
use crate::{Received, SourceChange, SourceEvent};

/// A clock whose time of day can be set, as an administrator can.
#[derive(Debug)]
struct TestClock {
    fake: FakeClock,
    set_by: AtomicI64,
}

impl TestClock {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            fake: FakeClock::new("2026-01-08T12:00:00Z".parse().unwrap()),
            set_by: AtomicI64::new(0),
        })
    }

    fn set(&self, hours: i64) {
        self.set_by.store(hours * 3600, Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        let set_by = jiff::SignedDuration::from_secs(self.set_by.load(Ordering::SeqCst));
        self.fake.now().saturating_add(set_by).unwrap()
    }

    fn monotonic(&self) -> Instant {
        self.fake.monotonic()
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        self.fake.sleep(pause)
    }
}

/// A running watch, and what it has reported.
struct Watched {
    clock: Arc<TestClock>,
    silence: Arc<Silence>,
    told: Arc<Mutex<Vec<SourceEvent>>>,
    refuse: Arc<AtomicI64>,
    watchdog: Option<Watchdog>,
    metrics: Arc<Metrics>,
}

impl Watched {
    fn of(source: Source) -> Self {
        let clock = TestClock::new();
        Self::by(source, clock)
    }

    fn by(source: Source, clock: Arc<TestClock>) -> Self {
        let dynamic: Arc<dyn Clock> = Arc::clone(&clock) as _;
        let metrics = Metrics::new();
        let silence = Silence::of(&[source], &metrics, dynamic);
        Self {
            metrics,
            clock,
            silence: Arc::new(silence),
            told: Arc::default(),
            refuse: Arc::default(),
            watchdog: None,
        }
    }

    async fn start(mut self) -> Self {
        let (told, refuse) = (Arc::clone(&self.told), Arc::clone(&self.refuse));
        let tell: Tell = Arc::new(move |event| {
            let refused = refuse.load(Ordering::SeqCst) > 0;
            if refused {
                refuse.fetch_sub(1, Ordering::SeqCst);
            } else {
                told.lock().unwrap().push(event);
            }
            async move {
                if refused {
                    Err(NotAccepted::Unavailable)
                } else {
                    Ok(())
                }
            }
            .boxed()
        });
        self.watchdog = Some(Watchdog::start(&self.silence, tell, &Handle::current()));
        self.settle().await;
        self
    }

    /// Lets the watches run; there is one thread, so afterwards they have nothing left to do.
    async fn settle(&self) {
        for _ in 0..30 {
            tokio::task::yield_now().await;
        }
    }

    async fn replace(&mut self, sources: &[Source]) {
        self.silence.replace(self.silence.next(sources));
        self.watchdog.as_mut().unwrap().watch_new(&self.silence);
        self.settle().await;
    }

    async fn pass(&self, seconds: u64) {
        self.clock.fake.advance(Duration::from_secs(seconds));
        self.settle().await;
    }

    async fn mark(&self, session: Option<&str>) {
        let (at, now) = (self.clock.monotonic(), self.clock.now());
        self.silence.source(0).mark(at, now, session);
        self.settle().await;
    }

    /// The reports since the last call: the change, and the session.
    fn told(&self) -> Vec<(SourceChange, Option<String>)> {
        let told = std::mem::take(&mut *self.told.lock().unwrap());
        let told = told.into_iter();
        told.map(|event| (event.change, event.session_id)).collect()
    }
}

const QUIET: (SourceChange, Option<String>) = (SourceChange::Quiet, None);
const RESUMED: (SourceChange, Option<String>) = (SourceChange::Resumed, None);

fn other() -> Source {
    Source::new("other").quiet_after(Duration::from_secs(60))
}

fn minute() -> Source {
    Source::new("s").quiet_after(Duration::from_secs(60))
}

#[tokio::test]
async fn silence_and_its_end_are_reported_once() {
    let watched = Watched::of(minute()).start().await;
    watched.pass(59).await;
    assert_eq!(watched.told(), []);
    watched.pass(1).await;
    assert_eq!(watched.told(), [QUIET]);
    watched.pass(3600).await;
    assert_eq!(watched.told(), []);
    watched.mark(None).await;
    assert_eq!(watched.told(), [RESUMED]);
    watched.mark(None).await;
    watched.pass(30).await;
    watched.mark(Some("any")).await;
    watched.pass(59).await;
    assert_eq!(watched.told(), []);
    watched.pass(1).await;
    assert_eq!(watched.told(), [QUIET]);
}

#[tokio::test]
async fn what_is_told_says_when() {
    let watched = Watched::of(minute()).start().await;
    watched.pass(60).await;
    let never = watched.told.lock().unwrap().pop().unwrap();
    assert_eq!(never.last_event_at, None);
    assert_eq!(never.quiet_after, Duration::from_secs(60));
    assert_eq!(never.timestamp.to_string(), "2026-01-08T12:01:00Z");
    watched.pass(10).await;
    watched.mark(None).await;
    let resumed = watched.told.lock().unwrap().pop().unwrap();
    assert_eq!(resumed.last_event_at, Some(resumed.timestamp));
    watched.pass(90).await;
    let quiet = watched.told.lock().unwrap().pop().unwrap();
    assert_eq!(quiet.last_event_at, Some(resumed.timestamp));
    let report = watched.silence.report();
    let expected = SeenReport {
        source: "s".to_owned(),
        session: None,
        last_event_at: Some(resumed.timestamp),
        since_last: Some(Duration::from_secs(90)),
        quiet_since: Some(quiet.timestamp),
    };
    assert_eq!(report, [expected]);
}

#[tokio::test]
async fn setting_the_clock_changes_no_alarm() {
    for hours in [-24, 24] {
        let watched = Watched::of(minute()).start().await;
        watched.mark(None).await;
        watched.clock.set(hours);
        watched.pass(59).await;
        assert_eq!(watched.told(), [], "{hours}");
        watched.pass(1).await;
        assert_eq!(watched.told(), [QUIET], "{hours}");
    }
}

#[tokio::test]
async fn a_session_is_quiet_by_itself() {
    let source = minute().session_quiet_after("a", Duration::from_secs(10));
    let watched = Watched::of(source).start().await;
    watched.mark(Some("a")).await;
    watched.pass(9).await;
    watched.mark(Some("b")).await;
    watched.pass(1).await;
    let session = |change| (change, Some("a".to_owned()));
    assert_eq!(watched.told(), [session(SourceChange::Quiet)]);
    watched.pass(59).await;
    assert_eq!(watched.told(), [QUIET]);
    watched.mark(Some("a")).await;
    let told = watched.told();
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.contains(&RESUMED) && told.contains(&session(SourceChange::Resumed)));
    let sessions: Vec<_> = watched
        .silence
        .report()
        .iter()
        .map(|of| of.session.is_some())
        .collect();
    assert_eq!(sessions, [false, true]);
}

#[tokio::test]
async fn unstored_reports_come_later_in_order() {
    let watched = Watched::of(minute()).start().await;
    watched.refuse.store(2, Ordering::SeqCst);
    watched.pass(60).await;
    watched.mark(None).await;
    assert_eq!(watched.told(), []);
    watched.pass(1).await;
    assert_eq!(watched.told(), []);
    watched.pass(2).await;
    assert_eq!(watched.told(), [QUIET, RESUMED]);
}

/// What another instance has received counts. Each knows what is quiet, and one announces it.
#[tokio::test]
async fn others_are_heard_and_one_announces() {
    let watched = Watched::of(minute()).start().await;
    let tail = Arc::new(Tail::new(0));
    let (_stop, stopped) = watch::channel(false);
    tokio::spawn(Arc::clone(&watched.silence).hear(Arc::clone(&tail), stopped));
    let (housekeeper, is_so) = watch::channel(false);
    watched.silence.announce_while(is_so);
    watched.pass(30).await;
    tail.publish([record(1)]);
    watched.settle().await;
    let is_quiet = || watched.silence.report()[0].quiet_since.is_some();
    watched.pass(59).await;
    assert!(!is_quiet());
    watched.pass(1).await;
    assert!(is_quiet());
    assert_eq!(watched.told(), []);
    housekeeper.send_replace(true);
    tail.publish([record(2)]);
    watched.settle().await;
    assert!(!is_quiet());
    assert_eq!(watched.told(), [RESUMED]);
}

fn record(seq: Seq) -> Record {
    let received = Received::new("s", "{}");
    Record {
        seq,
        kept_at: Timestamp::UNIX_EPOCH,
        parts: Parts::one(&received, 1),
        received: Arc::new(received),
        events: Events::Unread,
        missing: None,
    }
}

#[tokio::test]
async fn nobody_watches_what_has_no_limit() {
    let watched = Watched::of(Source::new("s")).start().await;
    assert!(!watched.silence.is_watched());
    watched.mark(None).await;
    watched.pass(7).await;
    assert_eq!(
        watched.silence.report()[0].since_last,
        Some(Duration::from_secs(7))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Compared with a model of three lines.
    #[test]
    fn every_silence_is_told_once(steps in proptest::collection::vec(
        prop_oneof![3 => (1..70u64).prop_map(Some), 2 => Just(None)], 1..40,
    )) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (told, expected) = runtime.block_on(async {
            let watched = Watched::of(minute()).start().await;
            let (mut expected, mut silent, mut quiet) = (Vec::new(), 0, false);
            for step in steps {
                match step {
                    Some(seconds) => {
                        watched.pass(seconds).await;
                        silent += seconds;
                        if silent >= 60 && !quiet {
                            expected.push(QUIET);
                            quiet = true;
                        }
                    }
                    None => {
                        watched.mark(None).await;
                        silent = 0;
                        if quiet {
                            expected.push(RESUMED);
                            quiet = false;
                        }
                    }
                }
            }
            (watched.told(), expected)
        });
        prop_assert_eq!(told, expected);
    }
}

/// A source that is seen at the moment when it falls quiet is either not quiet, or the watchdog is
/// notified.
#[test]
fn an_event_at_the_same_moment_counts() {
    let clock = TestClock::new();
    for _ in 0..2000 {
        let watched = Watched::by(minute(), Arc::clone(&clock));
        clock.fake.advance(Duration::from_secs(60));
        let seen = Arc::clone(&watched.silence.source(0).whole);
        let barrier = Barrier::new(2);
        let mark = std::thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                let (at, now) = (clock.monotonic(), clock.now());
                watched.silence.source(0).mark(at, now, None);
            });
            barrier.wait();
            seen.fall_quiet(&watched.silence, Duration::from_secs(60))
        });
        if let Some(mark) = mark {
            assert!(seen.last() > mark);
            assert_eq!(seen.again.notified().now_or_never(), Some(()));
        }
    }
}

#[tokio::test]
async fn replaced_sources_keep_what_is_known() {
    let mut watched = Watched::of(minute()).start().await;
    watched.mark(None).await;
    watched.pass(30).await;
    watched.replace(&[minute(), other()]).await;
    watched.pass(29).await;
    assert_eq!(watched.told(), []);
    watched.pass(1).await;
    assert_eq!(
        watched.told(),
        [QUIET],
        "the other one is known for 30 s only"
    );
    watched.replace(&[minute(), other()]).await;
    assert!(watched.silence.report()[0].quiet_since.is_some());
    watched.pass(30).await;
    assert_eq!(watched.told(), [QUIET], "the other one");
    watched.mark(None).await;
    assert_eq!(watched.told(), [RESUMED]);
}

#[tokio::test]
async fn another_limit_counts_immediately() {
    let mut watched = Watched::of(minute()).start().await;
    watched.mark(None).await;
    watched.pass(30).await;
    let after = |seconds| Source::new("s").quiet_after(Duration::from_secs(seconds));
    watched.replace(&[after(40)]).await;
    watched.pass(9).await;
    assert_eq!(watched.told(), []);
    watched.pass(1).await;
    assert_eq!(watched.told(), [QUIET]);
    // Without a limit it is not quiet, and nothing is told.
    watched.replace(&[Source::new("s")]).await;
    assert_eq!(watched.silence.report()[0].quiet_since, None);
    let shown = || watched.metrics.render();
    assert!(!shown().contains("offhook_source_quiet{"));
    assert!(shown().contains("offhook_source_last_event_age_seconds{source=\"s\"}"));
    watched.pass(3600).await;
    assert_eq!(watched.told(), []);
    watched.replace(&[after(7200)]).await;
    watched.pass(7200 - 3600 - 10).await;
    assert_eq!(watched.told(), [QUIET]);
    assert!(
        watched
            .metrics
            .render()
            .contains("offhook_source_quiet{source=\"s\"} 1")
    );
    watched.replace(&[other()]).await;
    assert!(!watched.metrics.render().contains("source=\"s\""));
}

/// A journal with these events: `None` for an event from the session's sender, otherwise a report. Each
/// is ten seconds after the one before it, the last one ten seconds ago.
async fn journal(
    clock: &Arc<TestClock>,
    records: &[(Option<SourceChange>, Option<&str>)],
) -> Arc<Memory> {
    let journal = Arc::new(Memory::new(Arc::clone(clock) as _, 1));
    for (index, (said, session)) in records.iter().enumerate() {
        let ago = 10 * (records.len() - index) as i64;
        let at = clock
            .now()
            .saturating_sub(jiff::SignedDuration::from_secs(ago))
            .unwrap();
        let session = session.map(str::to_owned);
        let (received, events) = match said {
            None => {
                let mut received = Received::new("s", "{}");
                (received.session, received.received_at) = (session, at);
                (Arc::new(received), Vec::new())
            }
            Some(change) => {
                let mut event = SourceEvent::new(*change, "s", Duration::from_secs(60));
                (event.session_id, event.timestamp) = (session, at);
                let (envelope, events) = Envelope::of_source(event);
                (Arc::clone(envelope.received()), events)
            }
        };
        let key = DedupKey {
            hash: index as u128,
            window: Duration::ZERO,
            state: None,
            named: true,
        };
        let entry = Entry::one(received, events.into(), key);
        journal.append(entry).await.unwrap();
    }
    journal
}

#[tokio::test]
async fn a_restart_goes_on_with_the_silence() {
    use SourceChange::{Quiet, Resumed};
    type Told<'a> = &'a [(Option<SourceChange>, Option<&'a str>)];
    // What the journal holds; what is reported immediately; seconds until it is reported quiet.
    let table: [(Told<'_>, &[_], Option<u64>); 8] = [
        (&[], &[], Some(60)),
        (&[(None, None)], &[], Some(50)),
        (&[(None, None), (None, Some("a"))], &[], Some(50)),
        (&[(None, None), (Some(Quiet), None)], &[], None),
        (&[(Some(Quiet), None)], &[], None),
        (&[(Some(Quiet), None), (None, None)], &[RESUMED], Some(50)),
        (
            &[(Some(Quiet), None), (None, None), (Some(Resumed), None)],
            &[],
            Some(40),
        ),
        (&[(None, None), (Some(Quiet), Some("a"))], &[], Some(40)),
    ];
    for (records, at_once, left) in table {
        let watched = Watched::of(minute());
        let journal = journal(&watched.clock, records).await;
        watched.silence.recall(journal.as_ref()).await.unwrap();
        let watched = watched.start().await;
        assert_eq!(watched.told(), at_once, "{records:?}");
        match left {
            Some(left) => {
                watched.pass(left - 1).await;
                assert_eq!(watched.told(), [], "{records:?}");
                watched.pass(1).await;
                assert_eq!(watched.told(), [QUIET], "{records:?}");
            }
            None => {
                assert!(watched.silence.report()[0].quiet_since.is_some());
                watched.pass(3600).await;
                assert_eq!(watched.told(), [], "{records:?}");
                watched.mark(None).await;
                assert_eq!(watched.told(), [RESUMED], "{records:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_restart_tells_sessions_from_each_other() {
    let source = Source::new("s").session_quiet_after("a", Duration::from_secs(60));
    let watched = Watched::of(source);
    let records = [(None, Some("a")), (None, Some("b")), (None, None)];
    let journal = journal(&watched.clock, &records).await;
    watched.silence.recall(journal.as_ref()).await.unwrap();
    let ages: Vec<_> = watched
        .silence
        .report()
        .iter()
        .map(|of| of.since_last)
        .collect();
    assert_eq!(ages, [10, 30].map(|age| Some(Duration::from_secs(age))));
}

#[tokio::test]
async fn old_records_are_not_searched() {
    let watched = Watched::of(minute());
    let mut records = vec![(None, None)];
    records.resize(5000, (Some(SourceChange::Quiet), Some("other")));
    let journal = journal(&watched.clock, &records).await;
    watched.silence.recall(journal.as_ref()).await.unwrap();
    assert_eq!(watched.silence.report()[0].last_event_at, None);
}

#[tokio::test]
async fn a_clock_set_back_makes_no_negative_age() {
    let watched = Watched::of(minute());
    let journal = journal(&watched.clock, &[(None, None)]).await;
    watched.clock.set(-24);
    watched.silence.recall(journal.as_ref()).await.unwrap();
    assert_eq!(watched.silence.report()[0].since_last, Some(Duration::ZERO));
}
