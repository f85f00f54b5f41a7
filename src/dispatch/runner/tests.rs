//! The runner's loop, with a handler that does what a test wants, on a clock that stands still until
//! it is told to move.

use std::task::Poll;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::*;
use crate::dialect::{Codeskytz, Dialect as _};
use crate::dispatch::{HandlerOptions, Order};
use crate::journal::{Claim, Entry, Memory, Sqlite, TestFolder};
use crate::telemetry::{JournalMetrics, Metrics};
use crate::testing::FakeClock;
use crate::{Delivery, Event, EventHandler, EventKind, HandlerError, Received, Source};

#[tokio::test]
async fn fresh_events_are_delivered_while_ten_thousand_retries_wait() {
    let options = HandlerOptions::default().order(Order::None).concurrency(8);
    let mut world = World::new(options, |attempt| match attempt {
        1 => Then::Fail,
        _ => Then::Hang,
    });
    let (mut runner, _controls) = world.runner().await;
    runner.read_ahead = 16_384;
    let _life = Life::of(runner);
    for _ in 0..10_000 {
        world.append(EventKind::Message).await;
    }
    for seq in 1..=10_000 {
        assert_eq!(world.begun().await, (seq, 1));
    }
    world.clock.advance(Duration::from_secs(2));
    // Six of eight, and they never end.
    for _ in 0..6 {
        assert_eq!(world.begun().await.1, 2);
    }
    for fresh in 10_001..=10_100 {
        world.append(EventKind::Message).await;
        assert_eq!(world.begun().await, (fresh, 1));
    }
    world.nothing_begins().await;
}

#[tokio::test]
async fn passing_by_the_events_of_others_is_saved_much_later_or_with_the_next_that_is_not() {
    let options = HandlerOptions::default().events([EventKind::Message]);
    let mut world = World::new(options, |_| Then::Succeed);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    let seconds = Duration::from_secs;
    for _ in 0..1_000 {
        world.append(EventKind::Connection).await;
    }
    world.nothing_begins().await;
    world.clock.advance(seconds(4));
    world.nothing_begins().await;
    assert_eq!(world.saved_floor().await, 0);
    world.clock.advance(seconds(1));
    world.nothing_begins().await;
    assert_eq!(world.saved_floor().await, 1_000);

    // With one that is for it, both are saved soon.
    world.append(EventKind::Connection).await;
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1_002, 1));
    world.nothing_begins().await;
    world.clock.advance(Duration::from_millis(100));
    world.nothing_begins().await;
    assert_eq!(world.saved_floor().await, 1_002);

    // What is killed passes them by again; what is stopped has saved it.
    world.append(EventKind::Connection).await;
    world.nothing_begins().await;
    life.kill().await;
    assert_eq!(world.saved_floor().await, 1_002);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    world.nothing_begins().await;
    life.stop().await;
    assert_eq!(world.saved_floor().await, 1_003);
}

#[tokio::test]
async fn all_statuses_of_a_backlog_are_known_before_the_first_is_handed_over() {
    let options = HandlerOptions::default().monotonic_status(true);
    let mut world = World::new(options, |_| Then::Succeed);
    let (mut runner, _controls) = world.runner().await;
    runner.read_ahead = 16_384;
    for status in ["sent", "read"] {
        for number in 1..=100 {
            let body =
                format!(r#"{{"event":"status","messageId":"{number}","status":"{status}"}}"#);
            world.append_body(body).await;
        }
    }
    let _life = Life::of(runner);
    for number in 1..=100 {
        assert_eq!(world.begun().await, (number, 1));
    }
    world.nothing_begins().await;
}

#[tokio::test]
async fn a_handler_that_is_always_done_at_once_leaves_others_their_turn() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::Succeed);
    let (mut runner, controls) = world.runner().await;
    runner.read_ahead = 16_384;
    for _ in 0..1_000 {
        world.append(EventKind::Message).await;
    }
    let _life = Life::of(runner);
    // Asked in the middle of it, it answers.
    let status = controls.status().await.unwrap();
    assert!(status.floor < 500, "{}", status.floor);
    for seq in 1..=1_000 {
        assert_eq!(world.begun().await, (seq, 1));
    }
    world.nothing_begins().await;
}

#[tokio::test]
async fn one_that_fails_for_long_is_suspended_until_it_is_resumed_and_nothing_is_lost() {
    let mut options = HandlerOptions::default().order(Order::None).retry(Retry {
        jitter: 0.0,
        ..Retry::default()
    });
    options.suspend_after = Some(Duration::from_secs(7));
    let mut world = World::new(options, |attempt| match attempt {
        1..=5 => Then::Fail,
        _ => Then::Succeed,
    });
    let (runner, controls) = world.runner().await;
    let life = Life::of(runner);
    world.append(EventKind::Message).await;
    // It fails at 0 s, 1 s, 3 s and 7 s.
    for (attempt, wait) in [(1, 0), (2, 1), (3, 2), (4, 4)] {
        assert_eq!(controls.status().await.unwrap().suspended, None);
        world.clock.advance(Duration::from_secs(wait));
        assert_eq!(world.begun().await, (1, attempt));
    }
    world.nothing_begins().await;
    let suspended = controls.status().await.unwrap().suspended.unwrap();
    assert_eq!(suspended.since, Timestamp::from_second(7).unwrap());
    assert_eq!(suspended.reason, "failed");
    world.append(EventKind::Message).await;
    world.clock.advance(Duration::from_secs(3600));
    world.nothing_begins().await;

    // That outlives the process.
    life.kill().await;
    let (runner, controls) = world.runner().await;
    let life = Life::of(runner);
    world.nothing_begins().await;
    let status = controls.status().await.unwrap();
    assert_eq!(status.suspended, Some(suspended));
    assert_eq!(status.lag, 2);
    controls.pause(false).await.unwrap().unwrap();
    let mut begun = [world.begun().await, world.begun().await];
    begun.sort_unstable();
    assert_eq!(begun, [(1, 5), (2, 1)]);
    world.nothing_begins().await;
    // Having been resumed it has all the time again that it had at first.
    let status = controls.status().await.unwrap();
    assert_eq!(status.suspended, None);
    assert_eq!(status.failing_since, Some(world.clock.now()));
    life.stop().await;
    let saved = world.journal.saved(NAME).await.unwrap().unwrap();
    assert_eq!(saved.suspended, None);
    assert_eq!(saved.waiting.len(), 2);
}

#[tokio::test]
async fn a_clock_that_is_set_back_holds_up_no_retry() {
    let options = HandlerOptions::default().retry(Retry {
        jitter: 0.0,
        ..Retry::default()
    });
    let mut world = World::new(options, |attempt| match attempt {
        1..=3 => Then::Fail,
        _ => Then::Succeed,
    });
    let (right, wrong) = (1_700_000_000, 1_900_000_000);
    let second = |second| Timestamp::from_second(second).unwrap();
    world.clock.set(second(wrong));
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    world.clock.set(second(right));
    world.nothing_begins().await;
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(world.begun().await, (1, 2));

    // Neither where the process does not see it: in the journal are the times of another clock.
    world.clock.set(second(wrong));
    world.clock.advance(Duration::from_secs(2));
    assert_eq!(world.begun().await, (1, 3));
    life.stop().await;
    world.clock.set(second(right));
    let (runner, _controls) = world.runner().await;
    let _life = Life::of(runner);
    world.nothing_begins().await;
    world.clock.advance(Duration::from_secs(4));
    assert_eq!(world.begun().await, (1, 4));
}

#[tokio::test]
async fn a_status_is_replayed_though_a_further_one_was_handed_over_since() {
    let options = HandlerOptions::default().monotonic_status(true);
    let mut world = World::new(options, |_| Then::Succeed);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    for (seq, status) in [(1, "sent"), (2, "read")] {
        let body = format!(r#"{{"event":"status","messageId":"1","status":"{status}"}}"#);
        world.append_body(body).await;
        assert_eq!(world.begun().await, (1, 1), "{seq}");
    }
    let replayed = controls.replay(vec![1], Duration::ZERO).await;
    replayed.unwrap().unwrap();
    assert_eq!(world.begun().await, (1, 1));
    world.nothing_begins().await;
}

#[tokio::test]
async fn a_panic_while_a_late_attempt_is_dropped_ends_the_attempt_and_nothing_else() {
    let options = HandlerOptions::default()
        .order(Order::None)
        .timeout(Duration::from_millis(10));
    let mut world = World::new(options, |_| Then::PanicWhenDropped);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    let waits = async {
        while !controls
            .status()
            .await
            .expect("it runs")
            .retrying
            .contains(1)
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waits = tokio::time::timeout(Duration::from_secs(20), waits);
    waits.await.expect("in time");
}

#[tokio::test]
async fn what_ends_in_a_stop_is_saved_though_another_hangs() {
    let options = HandlerOptions::default().order(Order::None);
    let mut world = World::new(options, |_| Then::Hang);
    let (runner, _controls) = world.runner().await;
    let life = Life::of(runner);
    world.append(EventKind::Message).await;
    assert_eq!(world.begun().await, (1, 1));
    world.append(EventKind::Connection).await;
    world.nothing_begins().await;
    life.ending.send_replace(Ending::Finish);
    world.nothing_begins().await;
    world.clock.advance(Duration::from_millis(100));
    world.nothing_begins().await;
    let saved = world.journal.saved(NAME).await.unwrap().unwrap();
    assert!(saved.progress.is_settled(2) && !saved.progress.is_settled(1));
    life.kill().await;
}

#[tokio::test]
async fn what_cannot_be_saved_is_not_promised() {
    let mut world = World::new(HandlerOptions::default(), |_| Then::Succeed);
    let folder = TestFolder::new();
    let clock = world.clock.clone();
    let journal = Sqlite::open(folder.path(), JournalMetrics::unrecorded(), clock).unwrap();
    world.journal = Arc::new(journal);
    let (runner, controls) = world.runner().await;
    let _life = Life::of(runner);
    controls.pause(true).await.unwrap().unwrap();
    world.append(EventKind::Message).await;
    world.journal.close().await;
    assert!(controls.pause(false).await.unwrap().is_err());
    let replayed = controls.replay(vec![1], Duration::ZERO).await;
    assert!(replayed.unwrap().is_err());
}

/// What a test needs to go from one moment to the next.
impl Runner {
    /// Goes on until nothing more happens by itself: all that may start has started, and what runs
    /// is in the test's hands, as many as `held` says.
    pub(crate) async fn settle_down(&mut self, held: impl Fn() -> usize) {
        loop {
            if self.step().await {
                continue;
            }
            if self.running.len() <= held() {
                return;
            }
            let ended = std::future::poll_fn(|context| {
                let ended = self.running.poll_next_unpin(context);
                match ended.is_pending() && self.running.len() <= held() {
                    true => Poll::Ready(None),
                    false => ended,
                }
            });
            if let Some(ended) = ended.await {
                self.ended(ended);
            }
        }
    }

    /// Does what was asked for.
    pub(crate) async fn obey_all(&mut self) {
        while let Ok(command) = self.commands.try_recv() {
            self.obey(command).await;
        }
    }
}

struct World {
    clock: Arc<FakeClock>,
    journal: Arc<dyn Journal>,
    consumer: Arc<Consumer>,
    begun: mpsc::UnboundedReceiver<(Seq, u32)>,
    appended: Seq,
}

/// What the handler does with an attempt.
#[derive(Debug, Clone, Copy)]
enum Then {
    Succeed,
    Fail,
    Hang,
    PanicWhenDropped,
}

struct PanicWhenDropped;

impl Drop for PanicWhenDropped {
    fn drop(&mut self) {
        std::panic::resume_unwind(Box::new("dropped"));
    }
}

impl World {
    fn new(options: HandlerOptions, then: impl Fn(u32) -> Then + Send + Sync + 'static) -> Self {
        let clock = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
        let (told, begun) = mpsc::unbounded_channel();
        let handler = Arc::new(Scripted { then, told });
        let metrics = Metrics::new();
        let consumer = Consumer::new(NAME.to_owned(), handler, options, &metrics, clock.clone());
        Self {
            journal: Arc::new(Memory::new(clock.clone())),
            consumer: Arc::new(consumer),
            clock,
            begun,
            appended: 0,
        }
    }

    async fn runner(&self) -> (Runner, Controls) {
        let runner = Runner::new(
            Arc::clone(&self.consumer),
            Arc::clone(&self.journal),
            Arc::new(Decoder::new([Source::new("gateway").dialect_of()], 1 << 20)),
            self.clock.clone(),
            Box::new(()),
        );
        runner.await.unwrap()
    }

    async fn append(&mut self, kind: EventKind) {
        let (kind, number) = (kind.as_str(), self.appended + 1);
        self.append_body(format!(r#"{{"event":"{kind}","messageId":"{number}"}}"#))
            .await;
    }

    async fn append_body(&mut self, body: String) {
        self.appended += 1;
        let mut received = Received::new("gateway", body.clone());
        received.id = Uuid::from_u128(self.appended.into());
        let entry = Entry {
            received: Arc::new(received),
            events: Codeskytz.events(&body.into()).into(),
            claim: Claim {
                key: self.appended.into(),
                window: Duration::MAX,
                named: true,
            },
        };
        self.journal.append(entry).await.unwrap();
    }

    /// The next attempt that begins: the event, and which attempt it is.
    async fn begun(&mut self) -> (Seq, u32) {
        let next = tokio::time::timeout(Duration::from_secs(20), self.begun.recv());
        next.await.expect("in time").expect("the handler lives")
    }

    async fn saved_floor(&self) -> Seq {
        let saved = self.journal.saved(NAME).await.unwrap();
        saved.expect("it was saved").progress.floor()
    }

    /// All is on this thread: after so many turns nothing is left to do.
    async fn nothing_begins(&mut self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(self.begun.try_recv().ok(), None);
    }
}

/// A runner that runs.
struct Life {
    ending: watch::Sender<Ending>,
    task: JoinHandle<()>,
}

impl Life {
    fn of(runner: Runner) -> Self {
        let (ending, told) = watch::channel(Ending::GoOn);
        let task = tokio::spawn(runner.run(told));
        Self { ending, task }
    }

    /// Ends it as the end of the process would.
    async fn kill(self) {
        self.task.abort();
        let _ = self.task.await;
    }

    async fn stop(self) {
        self.ending.send_replace(Ending::Finish);
        self.task.await.unwrap();
    }
}

struct Scripted<F> {
    then: F,
    told: mpsc::UnboundedSender<(Seq, u32)>,
}

#[async_trait]
impl<F: Fn(u32) -> Then + Send + Sync + 'static> EventHandler for Scripted<F> {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let number = match event {
            Event::Message(message) => message.message_id.as_deref(),
            Event::Status(status) => status.message_id.as_deref(),
            _ => return Ok(()),
        };
        let seq = number.unwrap().parse().unwrap();
        let _ = self.told.send((seq, delivery.attempt()));
        match (self.then)(delivery.attempt()) {
            Then::Succeed => Ok(()),
            Then::Fail => Err("failed".into()),
            Then::Hang => std::future::pending().await,
            Then::PanicWhenDropped => {
                let _panics = PanicWhenDropped;
                std::future::pending().await
            }
        }
    }
}

const NAME: &str = "subscription:scripted";
