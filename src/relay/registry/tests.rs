//! Changes at the same time: a 410 during a registration, and a resume after a failed start. A registration beside
//! damage.

use std::pin::pin;
use std::sync::atomic::Ordering;

use futures_util::poll;

use super::*;
use crate::clock::SystemClock;
use crate::dialect::{Codeskytz, Decoder, Dialect as _};
use crate::dispatch::LargeBodies;
use crate::engine::{Opened, Retention, Windows};
use crate::journal::contract::numbered;
use crate::journal::{DedupKey, Entry, EntryPart, TestFolder};
use crate::relay::SubscriptionSettings;
use crate::{Received, Source};

/// A registry on a journal of its own, with one subscription.
struct World {
    pipeline: Arc<Pipeline>,
    registry: Arc<Registry>,
    key: SubscriptionKey,
    folder: TestFolder,
}

impl World {
    async fn with_one() -> Self {
        Self::changed(|opened| opened).await
    }

    async fn changed(change: impl FnOnce(Opened) -> Opened) -> Self {
        let folder = TestFolder::new();
        let (metrics, clock) = (Metrics::new(), Arc::new(SystemClock) as Arc<dyn Clock>);
        let decoder = Decoder::new([Source::new("s").named_reader(1024)], 1024);
        let minute = Duration::from_secs(60);
        let windows = Windows {
            keyed: minute,
            unkeyed: minute,
        };
        let opened = Opened::sqlite(folder.path(), &metrics, &clock, &decoder, windows).unwrap();
        let opened = change(opened);
        let reading = (decoder, LargeBodies::new(1 << 20));
        let retention = Retention {
            age: Duration::from_secs(3600),
            bytes: None,
        };
        let pipeline = Pipeline::start(opened, Vec::new(), reading, retention, &metrics, &clock);
        let pipeline = Arc::new(pipeline.unwrap());
        let mut relay = RelaySettings::default();
        relay.options.allow_private = true;
        let dispatch = HandlerOptions::default();
        let registry = Registry::open(&pipeline, &relay, Vec::new(), &dispatch, &metrics, &clock);
        let world = Self {
            pipeline,
            registry: registry.unwrap(),
            key: SubscriptionKey::new("a", "default").unwrap(),
            folder,
        };
        let (_, new) = world.registry.set(world.wanted(), false).await.unwrap();
        assert!(new && world.runs());
        world
    }

    fn wanted(&self) -> Subscription {
        Subscription::new(self.key.clone(), "http://127.0.0.1:9/".parse().unwrap())
    }

    fn entry(&self) -> RegisteredSubscription {
        self.registry.get(&self.key).unwrap()
    }

    fn runs(&self) -> bool {
        self.registry.controls(&self.key.consumer()).is_some()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registration_wins_over_an_earlier_410() {
    let world = World::with_one().await;
    let gone = world.entry().gone;
    let other_change = world.registry.changes.lock().await;
    let mut set = pin!(world.registry.set(world.wanted(), false));
    assert!(poll!(&mut set).is_pending());
    // The answer 410 has been read, and the end waits behind the registration.
    gone.store(true, Ordering::SeqCst);
    let mut end = pin!(world.registry.end(&world.key, &gone, "410 Gone".to_owned()));
    assert!(poll!(&mut end).is_pending());
    drop(other_change);
    assert!(set.await.unwrap().0.subscription.active);
    end.await;
    let now = world.entry().subscription;
    assert!(now.active && now.ended.is_none());
    assert!(world.runs());

    // A 410 to the new consumer counts.
    let gone = world.entry().gone;
    world
        .registry
        .end(&world.key, &gone, "410 Gone".to_owned())
        .await;
    assert!(!world.entry().subscription.active && !world.runs());
    world.pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn resuming_starts_a_consumer_that_does_not_run() {
    let world = World::with_one().await;
    let consumer = world.key.consumer();
    // As when the journal could not be read at the start.
    world.pipeline.stop_consumer(&consumer).await;
    assert!(world.entry().subscription.active && !world.runs());
    world.registry.resume(&consumer).await.unwrap();
    assert!(world.runs());
    world.pipeline.stop().await;
}

/// Between the end of the old consumer and the start of the new one, events reached neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_subscription_begins_before_its_end() {
    let world = World::with_one().await;
    let registry = &world.registry;
    let mut relay = RelaySettings::default();
    relay.options.allow_private = true;
    let dispatch = HandlerOptions::default();
    let begin = async |name: &str| {
        let defined = SubscriptionSettings::new(name, "http://127.0.0.1:9/");
        let next = registry.prepare(&relay, &[defined], &dispatch).unwrap();
        registry.begin(next).await.unwrap()
    };
    let runs = |name: &str| {
        let key = SubscriptionKey::new("*", name).unwrap();
        registry.controls(&key.consumer()).is_some()
    };
    let first = begin("old").await;
    registry.finish(first).await;
    assert!(runs("old") && world.runs());
    let second = begin("new").await;
    assert!(runs("old") && runs("new"));
    registry.finish(second).await;
    assert!(!runs("old") && runs("new") && world.runs());
    world.pipeline.stop().await;
}

/// The API was blocked while changed subscriptions finished their attempts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_removed_while_it_is_renewed_stays_away() {
    let world = World::with_one().await;
    let registry = &world.registry;
    let mut relay = RelaySettings::default();
    relay.options.allow_private = true;
    relay.suspend_after += Duration::from_secs(1);
    let next = registry.prepare(&relay, &[], &HandlerOptions::default());
    let begun = registry.begin(next.unwrap()).await.unwrap();
    let renewed = registry.change_known(begun).await.unwrap();
    assert_eq!(renewed, [(world.key.clone(), false)]);
    world.registry.remove(&world.key).await.unwrap();
    for (key, is_altered) in renewed {
        registry.renew(&key, is_altered).await;
    }
    assert!(!world.runs());
    world.pipeline.stop().await;
}

/// A damaged row may be that of any consumer that was there before, and of no later one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_subscription_starts_from_now_beside_damage() {
    let world = World::with_one().await;
    let journal = world.pipeline.journal();
    for number in 1..=3 {
        journal.append(numbered(number)).await.unwrap();
    }
    let database = rusqlite::Connection::open(world.folder.path().join("journal.db")).unwrap();
    let damaged = "INSERT INTO consumers VALUES ('garbled', x'00', 0)";
    database.execute_batch(damaged).unwrap();
    let key = SubscriptionKey::new("b", "default").unwrap();
    let wanted = Subscription::new(key.clone(), "http://127.0.0.1:9/".parse().unwrap());
    let (_, is_new) = world.registry.set(wanted, false).await.unwrap();
    assert!(is_new);
    let consumer = world.registry.controls(&key.consumer()).unwrap();
    assert_eq!(consumer.status().await.unwrap().floor, 3);
    world.pipeline.stop().await;
}

/// Of two that ask for a new one at the same time, one gets it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_one_of_two_is_new() {
    let world = World::with_one().await;
    let key = SubscriptionKey::new("b", "default").unwrap();
    let wanted = |port: u16| {
        let url = format!("http://127.0.0.1:{port}/");
        Subscription::new(key.clone(), url.parse().unwrap())
    };
    let (first, second) = (wanted(1), wanted(2));
    let other_change = world.registry.changes.lock().await;
    let mut first = pin!(world.registry.set(first, true));
    let mut second = pin!(world.registry.set(second, true));
    assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
    drop(other_change);
    let (first, second) = futures_util::future::join(first, second).await;
    assert!(first.unwrap().1);
    assert!(matches!(second, Err(ChangeError::Exists(exists)) if exists == key));
    let url = world.registry.get(&key).unwrap().subscription.url;
    assert_eq!(url.port(), Some(1));
    world.pipeline.stop().await;
}

/// The wait is for all of them, and not for each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_backlogs_wait_once_for_the_index() {
    let world = World::changed(Opened::with_a_still_index).await;
    for number in 0..50 {
        let key = SubscriptionKey::new(format!("s{number}"), "default").unwrap();
        let wanted = Subscription {
            active: false,
            ..Subscription::new(key, "http://127.0.0.1:9/".parse().unwrap())
        };
        world.registry.set(wanted, false).await.unwrap();
    }
    let entry = Entry {
        received: Arc::new(Received::new("s", "{}")),
        events: Codeskytz.events(&"{}".into()).into(),
        parts: vec![EntryPart {
            session: None,
            key: DedupKey {
                hash: 1,
                window: Duration::MAX,
                state: None,
                named: true,
            },
        }],
    };
    world.pipeline.journal().append(entry).await.unwrap();
    let mut idle = world.registry.list(None);
    idle.retain(|entry| !entry.has_consumer());
    assert_eq!(idle.len(), 50);
    // Each would have waited a second.
    let found = tokio::time::timeout(Duration::from_secs(30), world.registry.backlogs(&idle));
    let found = found.await.unwrap().unwrap();
    assert_eq!(found.len(), 50);
    assert!(found.iter().all(Option::is_none));
    world.pipeline.stop().await;
}
