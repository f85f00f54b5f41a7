//! Tests of an instance that shares its journal with others.

use super::*;
use crate::dispatch::ReplayRequest;
use crate::journal::{Desks as _, FakeCluster, Grant, Hold, Memory, Position, share_of};
use crate::testing::FakeClock;

/// An instance that holds nothing yet.
struct Instance {
    world: World,
    cluster: Arc<FakeCluster>,
}

impl Instance {
    fn on(journal: &Memory, cluster: FakeCluster, clock: &Arc<dyn Clock>) -> Self {
        let cluster = Arc::new(cluster);
        let opened = Opened {
            cluster: Some(cluster.clone()),
            ..Opened::without_search(Arc::new(journal.clone()))
        };
        let world = World::over(opened, &Metrics::new(), clock, None);
        Self { world, cluster }
    }

    /// The first of several on a journal with two shares.
    fn first() -> (Memory, Self) {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let journal = Memory::new(Arc::clone(&clock), 2);
        let cluster = FakeCluster::new(&journal, &clock);
        let first = Self::on(&journal, cluster, &clock);
        (journal, first)
    }

    /// One that holds both shares.
    fn alone() -> Self {
        let (_, alone) = Self::first();
        alone.hold();
        alone
    }

    fn hold(&self) {
        self.cluster.grant(0, false);
        self.cluster.grant(1, false);
    }

    fn runs(&self, name: &str) -> usize {
        let living = self.world.pipeline.dispatch.runners.living().controls();
        living.iter().filter(|one| one.name() == name).count()
    }
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(20), waiting).await;
    assert!(waited.is_ok(), "not within 20 s: {what}");
}

/// A consumer that does one thing at a time.
async fn add_slow(world: &World, name: &str) -> Watched {
    let options = HandlerOptions::default().concurrency(1);
    let (watched, consumer) = world.consumer_with(name, options);
    world.pipeline.add(consumer).await.unwrap();
    watched
}

/// The shares go to another instance after the controls were made.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_reaches_the_next_holder() {
    let (journal, asked) = Instance::first();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let other = Instance::on(&journal, asked.cluster.beside(), &clock);
    let mut one = asked.world.add("handler:one").await;
    let mut there = other.world.add("handler:one").await;
    asked.hold();
    until("opened", || asked.runs("handler:one") == 2).await;
    asked.world.append(1).await;
    assert_eq!(one.next().await, (1, 1));
    one.settled(&asked.world, 1).await;
    let controls = asked.world.pipeline.consumers().remove(0);
    asked.cluster.grant(0, true);
    asked.cluster.grant(1, true);
    until("given back", || asked.runs("handler:one") == 0).await;
    other.hold();
    until("opened", || other.runs("handler:one") == 2).await;
    let replay = |id: u128, events: Vec<Seq>| {
        let (controls, journal) = (controls.clone(), journal.clone());
        async move {
            let asked = ReplayRequest {
                rate: Some(1),
                ..ReplayRequest::default()
            };
            let events = events.into_iter().map(Position::first).collect();
            let id = Uuid::from_u128(id);
            controls.replay(&journal, id, &asked, events).await
        }
    };
    assert_eq!(replay(1, vec![1]).await, Some(Ok(())));
    assert_eq!(there.next().await, (1, 1));
    assert_eq!(controls.pause(true).await, Some(Ok(())));
    asked.world.append(2).await;
    assert_eq!(asked.cluster.left(), []);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(there.all_left(), []);

    // One that is cancelled before anything has begun it.
    other.cluster.grant(0, true);
    other.cluster.grant(1, true);
    until("given back", || other.runs("handler:one") == 0).await;
    assert_eq!(replay(2, vec![1]).await, Some(Ok(())));
    let cancelled = controls.cancel_replay(Uuid::from_u128(2));
    let meanwhile = async {
        until("asked", || asked.cluster.left().len() == 3).await;
        asked.hold();
    };
    let (cancelled, ()) = futures_util::future::join(cancelled, meanwhile).await;
    assert_eq!(cancelled, Some(Ok(())));
    let unknown = controls.cancel_replay(Uuid::from_u128(3)).await;
    assert_eq!(unknown, None);
    asked.world.pipeline.stop().await;
    other.world.pipeline.stop().await;
    assert_eq!((one.all_left(), there.all_left()), (vec![], vec![]));
}

/// They are with the runner of another instance, and wait there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_events_start_nowhere() {
    let (journal, asked) = Instance::first();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let other = Instance::on(&journal, asked.cluster.beside(), &clock);
    let _unused = asked.world.add("handler:one").await;
    let mut one = add_slow(&other.world, "handler:one").await;
    other.hold();
    until("opened", || other.runs("handler:one") == 2).await;
    one.hold(true);
    for number in 1..=20 {
        other.world.append(number).await;
    }
    let mut running = vec![one.next().await.0];
    let controls = other.world.pipeline.consumers().remove(0);
    while controls.own_status().await.unwrap().in_memory < 2 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let bodies: Vec<Seq> = (2..=19).collect();
    assert_eq!(asked.world.pipeline.delete(&bodies).await, Ok(18));
    assert_eq!(asked.cluster.left(), []);
    one.hold(false);
    running.push(one.next().await.0);
    assert_eq!(running, [1, 20]);
    other.world.pipeline.stop().await;
    asked.world.pipeline.stop().await;
    assert_eq!(one.all_left(), []);
}

/// The controls were made before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_share_that_was_closed_counts_by_what_it_has_saved() {
    let instance = Instance::alone();
    let Instance { world, cluster } = &instance;
    let mut one = world.add("handler:one").await;
    until("opened", || instance.runs("handler:one") == 2).await;
    world.append(1).await;
    assert_eq!(one.next().await, (1, 1));
    one.settled(world, 1).await;
    let controls = world.pipeline.consumers().remove(0);
    assert_eq!(controls.events().await.len(), 2);
    cluster.grant(0, true);
    cluster.grant(1, true);
    until("given back", || instance.runs("handler:one") == 0).await;
    assert_eq!(controls.events().await.len(), 2);
    let status = controls.status().await.unwrap();
    assert_eq!((status.unsettled, status.floor), (0, 1));
    world.pipeline.stop().await;
}

/// Another instance has answered them, and this one has not read them yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_consumer_starts_after_what_others_have_answered() {
    let instance = Instance::alone();
    instance.cluster.unread.store(3, Ordering::SeqCst);
    let mut one = instance.world.add("handler:one").await;
    until("opened", || instance.runs("handler:one") == 2).await;
    for number in 1..=5 {
        instance.world.append(number).await;
    }
    let mut handed = [one.next().await.0, one.next().await.0];
    handed.sort_unstable();
    assert_eq!(handed, [4, 5]);
    instance.world.pipeline.stop().await;
    assert_eq!(one.all_left(), []);
}

/// As when the database has gone back behind its start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_was_forgotten_skips_nothing() {
    let (journal, instance) = Instance::first();
    let mut one = instance.world.add("handler:one").await;
    journal.forget_consumer("handler:one").await.unwrap();
    for number in 1..=2 {
        instance.world.append(number).await;
    }
    instance.hold();
    let mut handed = [one.next().await.0, one.next().await.0];
    handed.sort_unstable();
    assert_eq!(handed, [1, 2]);
    instance.world.pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_retired_beside_a_share_that_opens() {
    let (_, instance) = Instance::first();
    let _one = instance.world.add("handler:one").await;
    instance.cluster.answers(false);
    instance.cluster.grant(0, false);
    until("asked", || instance.cluster.asked() == 1).await;
    let retired = instance.world.pipeline.retire("handler:one");
    let answered = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        instance.cluster.answers(true);
    };
    futures_util::future::join(retired, answered).await;
    // The share is open, and one that is added runs in it.
    let _two = instance.world.add("handler:two").await;
    until("opened", || instance.runs("handler:two") == 1).await;
    assert_eq!(instance.runs("handler:one"), 0);
    instance.world.pipeline.stop().await;
}

/// As when the database answers so late that another instance has the share. The lease is a new one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_starts_in_a_share_that_is_not_held() {
    let (_, instance) = Instance::first();
    let Instance { world, cluster } = &instance;
    let mut one = world.add("handler:one").await;
    let share = share_of("gateway", None, 2);
    let grant = Grant {
        share,
        epoch: 1,
        is_ending: false,
        holder: Uuid::nil(),
    };
    let held = watch::Sender::new(BTreeMap::new());
    let all: Arc<dyn Cluster> = cluster.clone();
    let open = OpenShare {
        desk: cluster.desk_of(grant).unwrap(),
        hold: Some(Hold::new(&all, &held.subscribe(), grant)),
    };
    let dispatch = &world.pipeline.dispatch;
    // It was lost while it opened.
    dispatch.open_share(&open).await;
    assert_eq!(instance.runs("handler:one"), 0);
    held.send_replace(BTreeMap::from([(share, grant)]));
    // It is tried again by itself.
    until("started", || instance.runs("handler:one") == 1).await;
    // It was lost, and nothing has told the runner yet.
    held.send_replace(BTreeMap::new());
    world.append(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(one.all_left(), []);
    held.send_replace(BTreeMap::from([(share, grant)]));
    assert_eq!(one.next().await, (1, 1));
    world.pipeline.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_share_is_given_back_after_ends_with_the_lease() {
    let instance = Instance::alone();
    let mut one = instance.world.add("handler:one").await;
    until("opened", || instance.runs("handler:one") == 2).await;
    one.hold(true);
    instance.world.append(1).await;
    one.next().await;
    let share = share_of("gateway", None, 2);
    instance.cluster.grant(share, true);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(one.dropped.load(Ordering::SeqCst), 0);
    instance.cluster.ends_at(SystemClock.monotonic());
    // Long before the share is given back without it.
    let started = SystemClock.monotonic();
    until("broken off", || one.dropped.load(Ordering::SeqCst) == 1).await;
    assert!(SystemClock.monotonic() - started < Duration::from_secs(5));
    instance.world.pipeline.stop().await;
}

/// A start that is refused after the pipeline has begun, because the port is in use, drops it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_goes_on_when_nobody_has_it_any_more() {
    let Instance { world, cluster } = Instance::alone();
    let mut one = world.add("handler:one").await;
    one.hold(true);
    world.append(1).await;
    one.next().await;
    drop(world);
    until("broken off", || one.dropped.load(Ordering::SeqCst) == 1).await;
    until("all tasks have ended", || Arc::strong_count(&cluster) == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_opens_during_a_stop() {
    let (_, instance) = Instance::first();
    instance.cluster.grant(0, false);
    instance.cluster.grant(1, false);
    let mut one = instance.world.add("handler:one").await;
    until("opened", || instance.runs("handler:one") == 2).await;
    let opened = || instance.cluster.opened.load(Ordering::SeqCst);
    assert_eq!(opened(), 2);
    one.hold(true);
    instance.world.append(1).await;
    one.next().await;
    let meanwhile = async {
        until("stopping", || instance.world.pipeline.has_stopped()).await;
        let other = 1 - share_of("gateway", None, 2);
        instance.cluster.grant(other, true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        instance.cluster.grant(other, false);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(opened(), 2);
        one.hold(false);
    };
    futures_util::future::join(instance.world.pipeline.stop(), meanwhile).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_start_holds_up_no_other() {
    let (_, instance) = Instance::first();
    let Instance { world, cluster } = &instance;
    let mut bad = world.add("handler:bad").await;
    let mut good = world.add("handler:good").await;
    cluster.is_readable("handler:bad", false);
    instance.hold();
    world.append(1).await;
    assert_eq!(good.next().await, (1, 1));
    // What is asked of it waits; what is asked of others does not.
    let pause = async |name: &str| {
        let consumers = world.pipeline.consumers().into_iter();
        let mut named = consumers.filter(|one| one.name() == name);
        named.next().unwrap().pause(false).await
    };
    let resumed = async { assert_eq!(pause("handler:bad").await, Some(Ok(()))) };
    let others = async {
        until("asked", || cluster.left().len() == 2).await;
        world.append(2).await;
        good.settled(world, 2).await;
        assert_eq!(world.pipeline.delete(&[2]).await, Ok(1));
        assert_eq!(cluster.left().len(), 2);
        cluster.is_readable("handler:bad", true);
    };
    futures_util::future::join(resumed, others).await;
    assert_eq!(bad.next().await, (1, 1));
    until("carried out", || cluster.left().is_empty()).await;
    world.pipeline.stop().await;
    assert_eq!(bad.all_left(), []);
}

/// As a subscription that is changed while the database does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_replaced_starts_when_it_can() {
    let Instance { world, cluster } = &Instance::alone();
    let runs = |name: &str| {
        let living = world.pipeline.dispatch.runners.living().controls();
        living.iter().filter(|one| one.name() == name).count()
    };
    let mut before = world.add("handler:one").await;
    until("opened", || runs("handler:one") == 2).await;
    cluster.is_readable("handler:one", false);
    let (mut one, consumer) = world.consumer("handler:one");
    world.pipeline.replace(consumer).await.unwrap();
    assert_eq!(runs("handler:one"), 0);
    world.append(1).await;
    // What is asked of it waits as well.
    let controls = world.pipeline.consumers().remove(0);
    let paused = controls.pause(true);
    let readable = async {
        until("asked", || cluster.left().len() == 2).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(cluster.left().len(), 2);
        cluster.is_readable("handler:one", true);
    };
    let both = futures_util::future::join(paused, readable);
    let both = tokio::time::timeout(Duration::from_secs(20), both).await;
    let (paused, ()) = both.expect("it starts within 20 s");
    assert_eq!(paused, Some(Ok(())));
    let controls = world.pipeline.consumers().remove(0);
    assert_eq!(controls.pause(false).await, Some(Ok(())));
    assert_eq!(one.next().await, (1, 1));
    world.pipeline.stop().await;
    assert_eq!(before.all_left(), []);
}

/// A reload starts it again while the database does not answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_waits_for_a_consumer_that_is_renewed() {
    let (journal, instance) = Instance::first();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let other = Instance::on(&journal, instance.cluster.beside(), &clock);
    let _there = other.world.add("handler:one").await;
    let Instance { world, cluster } = &instance;
    let _one = world.add("handler:one").await;
    instance.hold();
    until("opened", || instance.runs("handler:one") == 2).await;
    cluster.is_readable("handler:one", false);
    let renewed = world.pipeline.renew(|| world.consumer("handler:one").1);
    let paused = async {
        until("retired", || instance.runs("handler:one") == 0).await;
        let consumers = other.world.pipeline.consumers();
        let paused = consumers[0].pause(true);
        let waits = async {
            until("asked", || cluster.left().len() == 2).await;
            // It is looked at, and left where it is.
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(cluster.left().len(), 2);
            cluster.is_readable("handler:one", true);
        };
        let (paused, ()) = futures_util::future::join(paused, waits).await;
        assert_eq!(paused, Some(Ok(())));
    };
    futures_util::future::join(renewed, paused).await;
    let status = world.pipeline.consumers()[0].status().await;
    assert!(status.unwrap().paused);
    world.pipeline.stop().await;
    other.world.pipeline.stop().await;
}

/// The clock of the instance is far ahead.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_grow_old_by_the_clock_of_the_journal() {
    const DAY: Duration = Duration::from_secs(24 * 3600);
    let database = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
    let ahead = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH + 300 * DAY));
    let own: Arc<dyn Clock> = ahead.clone();
    let clock: Arc<dyn Clock> = database.clone();
    let journal = Memory::new(Arc::clone(&clock), 2);
    let cluster = FakeCluster::new(&journal, &clock);
    let instance = Instance::on(&journal, cluster, &own);
    for number in 1..=3 {
        instance.world.append(number).await;
    }
    let asked = || instance.cluster.asked_for_time.load(Ordering::SeqCst);
    let retained = async || {
        instance
            .world
            .pipeline
            .journal()
            .read(0, 9)
            .await
            .unwrap()
            .len()
    };
    instance.cluster.grant(2, false);
    until("looked", || asked() == 1).await;
    ahead.advance(DAY);
    until("looked again", || asked() == 2).await;
    assert_eq!(retained().await, 3);
    database.set(Timestamp::UNIX_EPOCH + DAY);
    ahead.advance(DAY);
    until("looked again", || asked() == 3).await;
    while retained().await != 1 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    instance.world.pipeline.stop().await;
}

/// Each instance may ask twice a second, and each question would be a transaction for each consumer in each share.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn progress_is_saved_seldom_for_questions() {
    let fake = Arc::new(FakeClock::new(Timestamp::UNIX_EPOCH));
    let clock: Arc<dyn Clock> = fake.clone();
    let journal = Memory::new(Arc::clone(&clock), 1);
    let instance = Instance::on(&journal, FakeCluster::new(&journal, &clock), &clock);
    let (world, cluster) = (&instance.world, &instance.cluster);
    let one = world.add("handler:one").await;
    cluster.grant(0, false);
    until("opened", || instance.runs("handler:one") == 1).await;
    let mut expected = cluster.saves() + 1;
    let settle = async |seq: Seq| {
        world.append(seq).await;
        one.settled(world, seq).await;
    };
    let asked = async |answered: usize| {
        cluster.is_asked();
        until("answered", || cluster.answered() == answered).await;
    };
    settle(1).await;
    asked(1).await;
    assert_eq!(cluster.saves(), expected);
    settle(2).await;
    asked(2).await;
    assert_eq!(cluster.saves(), expected);
    // It is saved now as without a question.
    fake.advance(Duration::from_secs(2));
    expected += 1;
    until("saved", || cluster.saves() == expected).await;
    settle(3).await;
    asked(3).await;
    assert_eq!(cluster.saves(), expected + 1);
    world.pipeline.stop().await;
}
