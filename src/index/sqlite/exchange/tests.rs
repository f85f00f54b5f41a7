//! Tests of what instances tell each other.

use std::sync::atomic::Ordering;

use tokio::task::JoinHandle;

use super::super::Index;
use super::super::indexer::tests::{World, entry, journal, made};
use super::*;
use crate::clock::{Clock, SystemClock};
use crate::dialect::Decoder;
use crate::dispatch::Outcome;
use crate::index::EventFilter;
use crate::journal::{FakeCluster, Log as _, Memory, TestFolder};
use crate::{Event, HandlerError, Received, UnknownEvent, UnknownReason};

fn cluster(journal: &Memory) -> FakeCluster {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    FakeCluster::new(journal, &clock)
}

fn exchange(
    index: &Index,
    folder: &TestFolder,
    cluster: &Arc<FakeCluster>,
) -> (watch::Sender<bool>, JoinHandle<()>) {
    let cluster: Arc<dyn Cluster> = cluster.clone();
    let (stop, stopped) = watch::channel(false);
    let exchange = index.exchange(folder.path(), cluster);
    (stop, tokio::spawn(exchange.run(stopped)))
}

/// The first event arrives again.
fn arrives_again(index: &Index, id: u128) {
    let mut received = Received::new("source", "{}");
    received.id = Uuid::from_u128(id);
    let event = Event::Unknown(UnknownEvent::new(UnknownReason::NoName));
    let notes = index.notes();
    notes.duplicate(&received, &[event], 1, Position::first(1));
}

/// How many duplicates are listed.
async fn listed(index: &Index) -> usize {
    let found = index.newest(EventFilter::default(), 10_000).await.unwrap();
    found.iter().filter(|entry| entry.is_duplicate).count()
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !is_so().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = timeout(Duration::from_secs(20), waiting).await;
    assert!(waited.is_ok(), "not within 20 s: {what}");
}

/// An instance did not learn whether its notes were stored, so it stores them again, and the first ones come as if from another
/// one; and it reads all of them again after a start.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_heard_again_is_shown_once() {
    let (folder, journal) = (TestFolder::new(), journal());
    let cluster = Arc::new(cluster(&journal));
    cluster.loses_answers.store(true, Ordering::SeqCst);
    let (first, again) = (Position::first(1), Uuid::from_u128(2));
    for is_new in [true, false] {
        let world = World::start(&folder, &journal);
        let (stop, exchange) = exchange(&world.index, &folder, &cluster);
        if is_new {
            world.append(1).await;
            let refused = HandlerError::retry("refused").answered("no");
            let refused = made(Outcome::Failed(refused));
            let consumer = world.index.notes().consumer("handler:a");
            consumer.attempted(first, 1, &refused, Timestamp::UNIX_EPOCH);
            arrives_again(&world.index, again.as_u128());
        }
        let file = folder.path().join("notes");
        until("heard", async || {
            std::fs::read_to_string(&file).is_ok_and(|heard| heard == "4")
        })
        .await;
        let attempts = world.index.attempts(first).await.unwrap();
        assert_eq!(attempts.len(), 1, "{attempts:?}");
        assert_eq!(attempts[0].answer.as_deref(), Some("no"));
        assert_eq!(listed(&world.index).await, 1);
        let found = world.index.between(again.into(), again.into(), 1).await;
        assert_eq!(found.unwrap().unwrap().len(), 1);
        stop.send_replace(true);
        exchange.await.unwrap();
        world.stop().await;
        std::fs::remove_file(file).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_many_duplicates_are_listed() {
    const MANY: usize = 5000;
    let (folder, journal) = (TestFolder::new(), journal());
    let world = World::start(&folder, &journal);
    world.append(1).await;
    let cluster = Arc::new(cluster(&journal));
    // They are in the outbox of the other one, whose own index takes nothing.
    let folder_there = TestFolder::new();
    let (there, _indexer) = Index::open(folder_there.path()).unwrap();
    let telling = there.exchange(folder_there.path(), Arc::new(cluster.beside()));
    for number in 0..MANY {
        arrives_again(&there, 2 + number as u128);
    }
    let (_stop, stopped) = watch::channel(true);
    telling.run(stopped).await;

    let (stop, exchange) = exchange(&world.index, &folder, &cluster);
    until("all", async || listed(&world.index).await == MANY).await;
    stop.send_replace(true);
    exchange.await.unwrap();
    world.stop().await;
}

/// Lists do not wait for duplicates whose originals are not indexed, and neither do attempts.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_waits_for_an_index_that_is_behind() {
    let (folder, journal) = (TestFolder::new(), journal());
    let (index, indexer) = Index::open(folder.path()).unwrap();
    index.inbox.set_away(true);
    let cluster = Arc::new(cluster(&journal));
    let duplicates = Duplicates {
        duplicates: vec![(Uuid::from_u128(2), 1, 1, 1, 0, 2)],
    };
    let attempts: Vec<Told> = vec![(1, 1, 0, "handler:a".to_owned(), 1, 5, None)];
    let notes = [
        serde_json::to_vec(&duplicates),
        serde_json::to_vec(&attempts),
    ];
    for note in notes {
        cluster.add_note(&note.unwrap()).await.unwrap();
    }
    let (stop, exchange) = exchange(&index, &folder, &cluster);
    let mut fastest = Duration::MAX;
    for _ in 0..3 {
        let began = SystemClock.monotonic();
        assert_eq!(listed(&index).await, 0);
        fastest = fastest.min(SystemClock.monotonic() - began);
    }
    assert!(fastest < LONGEST / 2, "{fastest:?}");
    assert_eq!(index.inbox.take().attempts.len(), 1);

    // The duplicate comes when its original is indexed.
    journal.append(entry(1)).await.unwrap();
    index.inbox.set_away(false);
    let decoder = Arc::new(Decoder::new([], 1024));
    let indexing = tokio::spawn(indexer.run(journal, decoder, stop.subscribe()));
    until("listed", async || listed(&index).await == 1).await;
    stop.send_replace(true);
    exchange.await.unwrap();
    indexing.await.unwrap();
}

/// An instance that gathers for its own note does not make lists wait for the notes of others.
#[tokio::test(flavor = "multi_thread")]
async fn others_are_heard_while_a_note_is_gathered() {
    let (folder, journal) = (TestFolder::new(), journal());
    let (index, _indexer) = Index::open(folder.path()).unwrap();
    let cluster = Arc::new(cluster(&journal));
    let (stop, exchange) = exchange(&index, &folder, &cluster);
    let attempts: Vec<Told> = vec![(1, 1, 0, "handler:a".to_owned(), 1, 5, None)];
    let note = serde_json::to_vec(&attempts).unwrap();
    let mut fastest = Duration::MAX;
    for number in 1..=3 {
        arrives_again(&index, number);
        // It gathers now.
        sleep(GATHER / 10).await;
        let began = SystemClock.monotonic();
        cluster.add_note(&note).await.unwrap();
        until("heard", async || !index.inbox.take().attempts.is_empty()).await;
        fastest = fastest.min(SystemClock.monotonic() - began);
        let told = 2 * number as usize;
        until("told", async || {
            cluster.notes(0, 100).await.unwrap().len() == told
        })
        .await;
    }
    assert!(fastest < GATHER / 2, "{fastest:?}");
    stop.send_replace(true);
    exchange.await.unwrap();
}
