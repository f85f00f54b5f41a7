//! Tests that add, replace, stop and remove consumers while the pipeline runs.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::*;
use crate::clock::SystemClock;
use crate::dialect::{Codeskytz, Dialect as _};
use crate::dispatch::HandlerOptions;
use crate::engine::Windows;
use crate::journal::{Appended, DedupKey, Entry, EntryPart, Seq, TestFolder};
use crate::{Delivery, Event, EventHandler, HandlerError, Received, Source};

mod shared;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_consumer_starts_from_now() {
    let world = World::open();
    world.append(1).await;
    let mut one = world.add("subscription:one").await;
    world.append(2).await;
    assert_eq!(one.next().await, (2, 1));
    one.settled(&world, 2).await;

    world.pipeline.stop_consumer("subscription:one").await;
    assert!(world.pipeline.consumers().is_empty());
    world.append(3).await;
    let mut again = world.add("subscription:one").await;
    assert_eq!(again.next().await, (3, 1));
    let mut other = world.add("subscription:other").await;
    world.append(4).await;
    assert_eq!(again.next().await, (4, 1));
    assert_eq!(other.next().await, (4, 1));
    world.pipeline.stop().await;
    assert_eq!(one.all_left(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removing_a_consumer_drops_its_attempts() {
    let world = World::open();
    let mut removed = world.add("subscription:removed").await;
    let mut other = world.add("subscription:other").await;
    removed.hold(true);
    for number in 1..=3 {
        world.append(number).await;
    }
    // Three attempts run, and none of them ends.
    assert_eq!(removed.first_attempts(3).await, [1, 2, 3]);
    world.pipeline.measure().await;
    world.assert_metric("offhook_consumer_in_flight{consumer=\"subscription:removed\"} 3");
    world.pipeline.remove("subscription:removed").await.unwrap();
    assert_eq!(removed.dropped.load(Ordering::SeqCst), 3);
    world.pipeline.measure().await;
    world.metrics.expired("subscription:removed", 1);
    let text = world.metrics.render();
    assert!(text.contains("consumer=\"subscription:other\"}"), "{text}");
    assert!(!text.contains("subscription:removed"), "{text}");
    assert_eq!(
        world.pipeline.saved("subscription:removed").await,
        Ok(vec![])
    );
    world.append(4).await;
    assert_eq!(other.first_attempts(4).await, [1, 2, 3, 4]);

    // A new consumer of the same name starts from now.
    let mut new = world.add("subscription:removed").await;
    world.append(5).await;
    assert_eq!(new.next().await, (5, 1));
    // Removing an unknown consumer is not an error.
    world.pipeline.remove("subscription:unknown").await.unwrap();
    world.pipeline.stop().await;
    assert_eq!(removed.all_left(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replacement_continues_where_the_old_one_was() {
    let world = World::open();
    let mut old = world.add("subscription:one").await;
    world.append(1).await;
    assert_eq!(old.next().await, (1, 1));
    old.settled(&world, 1).await;
    old.hold(true);
    world.append(2).await;
    assert_eq!(old.next().await, (2, 1));

    let (new, consumer) = world.consumer("subscription:one");
    world.pipeline.replace(consumer).await.unwrap();
    let mut new = new;
    assert_eq!(old.dropped.load(Ordering::SeqCst), 1);
    // The first attempt was dropped, so it does not count: this one has the number 1 again.
    assert_eq!(new.next().await, (2, 1));
    world.append(3).await;
    assert_eq!(new.next().await, (3, 1));
    world.pipeline.stop().await;
    assert_eq!(old.all_left(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewed_consumer_finishes_its_attempts_first() {
    let world = World::open();
    let mut old = world.add("handler:one").await;
    old.hold(true);
    world.append(1).await;
    assert_eq!(old.next().await, (1, 1));
    let (made, mut new) = mpsc::unbounded_channel();
    let renewed = world.pipeline.renew(|| {
        let (watched, consumer) = world.consumer("handler:one");
        let _ = made.send(watched);
        consumer
    });
    let meanwhile = async {
        world.append(2).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(old.dropped.load(Ordering::SeqCst), 0);
        old.hold(false);
    };
    futures_util::future::join(renewed, meanwhile).await;
    let mut all = std::iter::from_fn(|| new.try_recv().ok());
    // The first was only asked for its name.
    let mut new = all.nth(1).unwrap();
    assert_eq!(new.next().await, (2, 1));
    world.pipeline.stop().await;
    assert_eq!((old.all_left(), new.all_left()), (vec![], vec![]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_consumer_runs_per_name() {
    let world = World::open();
    let _one = world.add("subscription:one").await;
    let (_, second) = world.consumer("subscription:one");
    world.pipeline.add(second).await.unwrap_err();
    assert_eq!(world.pipeline.consumers().len(), 1);
    world.pipeline.stop().await;
    for name in ["subscription:one", "subscription:late"] {
        let (_, late) = world.consumer(name);
        world.pipeline.add(late).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_stop_does_not_block_the_name() {
    let world = World::open();
    let mut old = world.add("subscription:one").await;
    old.hold(true);
    world.append(1).await;
    assert_eq!(old.next().await, (1, 1));
    // The stop begins, and is cancelled while it waits for the consumer to end.
    let mut stop = Box::pin(world.pipeline.stop_consumer("subscription:one"));
    // The consumer may already have ended and left the list.
    let _ = futures_util::FutureExt::now_or_never(stop.as_mut());
    drop(stop);
    let one = || world.pipeline.consumers().into_iter().next();
    while let Some(consumer) = one()
        && consumer.status().await.is_some()
    {
        tokio::task::yield_now().await;
    }
    let mut new = world.add("subscription:one").await;
    assert_eq!(new.next().await, (1, 1));
    assert_eq!(world.pipeline.consumers().len(), 1);
    world.pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_finishes_its_attempts_still_answers() {
    let world = World::open();
    let mut one = world.add("subscription:one").await;
    one.hold(true);
    world.append(1).await;
    assert_eq!(one.next().await, (1, 1));
    let consumers = world.pipeline.consumers();
    let asked = async {
        // It may answer the first before it hears that it is to end.
        for _ in 0..3 {
            let status = tokio::time::timeout(Duration::from_secs(20), consumers[0].status());
            assert_eq!(status.await.unwrap().unwrap().in_flight, 1);
        }
        one.hold(false);
    };
    futures_util::future::join(world.pipeline.retire("subscription:one"), asked).await;
    world.pipeline.stop().await;
}

/// In a task that blocks its thread while the threads end, tokio panics at the next timer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_start_ends_its_tasks_before_its_threads() {
    let world = World::open();
    let (release, released) = std::sync::mpsc::channel::<()>();
    let (ends, ended) = tokio::sync::oneshot::channel();
    let opened = Opened {
        follower: Some(Box::new(|_, _, mut stop| {
            Box::pin(async move {
                tokio::task::block_in_place(|| released.recv().unwrap());
                tokio::time::sleep(Duration::from_millis(1)).await;
                let _ = stop.wait_for(|stop| *stop).await;
                let _ = ends.send(());
            })
        })),
        ..Opened::without_search(Arc::clone(world.pipeline.journal()))
    };
    let twice = [(); 2].map(|()| world.consumer("handler:twice").1);
    let refused = World::start(
        opened,
        twice.into(),
        &world.metrics,
        &world.pipeline.dispatch.clock,
    );
    assert!(refused.unwrap_err().to_string().contains("runs already"));
    // Threads that are ended now would have time to.
    tokio::time::sleep(Duration::from_millis(50)).await;
    release.send(()).unwrap();
    ended.await.expect("it has ended by itself");
    world.pipeline.stop().await;
}

fn decoder() -> Decoder {
    Decoder::new([Source::new("gateway").named_reader(1 << 20)], 1 << 20)
}

struct World {
    pipeline: Pipeline,
    metrics: Arc<Metrics>,
    _folder: Option<TestFolder>,
}

impl World {
    fn open() -> Self {
        let (folder, metrics) = (TestFolder::new(), Metrics::new());
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let decoder = decoder();
        let minute = Duration::from_secs(60);
        let windows = Windows {
            keyed: minute,
            unkeyed: minute,
        };
        let opened = Opened::sqlite(folder.path(), &metrics, &clock, &decoder, windows).unwrap();
        Self::over(opened, &metrics, &clock, Some(folder))
    }

    fn over(
        opened: Opened,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
        folder: Option<TestFolder>,
    ) -> Self {
        let pipeline = Self::start(opened, Vec::new(), metrics, clock).unwrap();
        pipeline.obey();
        Self {
            pipeline,
            metrics: Arc::clone(metrics),
            _folder: folder,
        }
    }

    fn start(
        opened: Opened,
        consumers: Vec<Consumer>,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Pipeline, Error> {
        let retention = Retention {
            age: Duration::from_secs(3600),
            bytes: None,
        };
        let reading = (decoder(), LargeBodies::new(1 << 20));
        Pipeline::start(opened, consumers, reading, retention, metrics, clock)
    }

    async fn append(&self, number: Seq) {
        let body = format!(r#"{{"event":"message","from":"{number}","messageId":"{number}"}}"#);
        let mut received = Received::new("gateway", body.clone());
        received.id = Uuid::from_u128(number.into());
        let entry = Entry {
            received: Arc::new(received),
            events: Codeskytz.events(&body.into()).into(),
            parts: vec![EntryPart {
                session: None,
                key: DedupKey {
                    hash: number.into(),
                    window: Duration::MAX,
                    state: None,
                    named: true,
                },
            }],
        };
        let appended = self.pipeline.journal().append(entry).await;
        assert_eq!(appended, Ok(Appended::new(number)));
    }

    fn consumer(&self, name: &str) -> (Watched, Consumer) {
        self.consumer_with(name, HandlerOptions::default())
    }

    fn consumer_with(&self, name: &str, options: HandlerOptions) -> (Watched, Consumer) {
        let (started, seen) = mpsc::unbounded_channel();
        let held = Arc::new(AtomicBool::new(false));
        let dropped = Arc::new(AtomicUsize::new(0));
        let handler = Watching {
            started,
            held: Arc::clone(&held),
            dropped: Arc::clone(&dropped),
        };
        let watched = Watched {
            name: name.to_owned(),
            seen,
            held,
            dropped,
        };
        let (handler, clock) = (Arc::new(handler), Arc::new(SystemClock));
        let consumer = Consumer::new(name.to_owned(), handler, options, &self.metrics, clock);
        (watched, consumer)
    }

    async fn add(&self, name: &str) -> Watched {
        let (watched, consumer) = self.consumer(name);
        self.pipeline.add(consumer).await.unwrap();
        watched
    }

    fn assert_metric(&self, line: &str) {
        let metrics = self.metrics.render();
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
}

/// What a test sees of a consumer.
struct Watched {
    name: String,
    seen: mpsc::UnboundedReceiver<(Seq, u32)>,
    held: Arc<AtomicBool>,
    dropped: Arc<AtomicUsize>,
}

impl Watched {
    /// Waits for the next attempt. Returns the number of the event and of the attempt.
    async fn next(&mut self) -> (Seq, u32) {
        let next = tokio::time::timeout(Duration::from_secs(20), self.seen.recv());
        next.await
            .expect("no attempt within 20 s")
            .expect("the consumer runs")
    }

    /// Waits for so many first attempts. Their order is not known: each is a task, of its own conversation.
    async fn first_attempts(&mut self, count: usize) -> Vec<Seq> {
        let mut numbers = Vec::new();
        for _ in 0..count {
            let (number, attempt) = self.next().await;
            assert_eq!(attempt, 1, "event {number}");
            numbers.push(number);
        }
        numbers.sort_unstable();
        numbers
    }

    /// Returns the attempts that [`Watched::next`] has not returned.
    fn all_left(&mut self) -> Vec<(Seq, u32)> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }

    /// Sets whether attempts that begin from now on hang. Those that hang go on when that ends.
    fn hold(&self, held: bool) {
        self.held.store(held, Ordering::SeqCst);
    }

    /// Waits until everything up to `seq` is settled.
    async fn settled(&self, world: &World, seq: Seq) {
        let floor = async || {
            // In the shares that are open now: of others it is known only what was saved.
            let consumers = world.pipeline.consumers();
            let mut named = consumers.iter().filter(|one| one.name() == self.name);
            let status = named.next().expect("the consumer runs").status().await;
            status.expect("the consumer runs").floor
        };
        while floor().await < seq {
            tokio::task::yield_now().await;
        }
    }
}

struct Watching {
    started: mpsc::UnboundedSender<(Seq, u32)>,
    held: Arc<AtomicBool>,
    dropped: Arc<AtomicUsize>,
}

#[async_trait]
impl EventHandler for Watching {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let Event::Message(message) = event else {
            return Ok(());
        };
        let number = message.message_id.as_deref().unwrap().parse().unwrap();
        let _ = self.started.send((number, delivery.attempt()));
        if self.held.load(Ordering::SeqCst) {
            let counted = CountedWhenDropped(&self.dropped);
            while self.held.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            std::mem::forget(counted);
        }
        Ok(())
    }
}

struct CountedWhenDropped<'a>(&'a AtomicUsize);

impl Drop for CountedWhenDropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}
