//! The log over several instances, dedup keys, and what instances tell each other.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::timeout;

use super::faults::until;
use super::{HANG, open, open_at, options, server};
use crate::Timestamp;
use crate::clock::{Clock, FakeClock};
use crate::journal::contract::{WINDOW, body, duplicate, entry, new, numbered, seqs};
use crate::journal::postgres::Postgres;
use crate::journal::postgres::reading::blocks;
use crate::journal::{Appended, DedupKey, Documents as _, Entry, Events, Log as _, Position};

/// Several instances may create the schema at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn instances_may_start_together() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let journals = join_all((0..4).map(|_| open(&options))).await;
    for (journal, number) in journals.iter().zip(1..) {
        assert_eq!(new(journal, numbered(number)).await, number as u64);
    }
    for journal in &journals {
        let mut head = journal.tail().watch();
        timeout(HANG, head.wait_for(|head| *head == 4))
            .await
            .unwrap()
            .unwrap();
    }
}

/// All that waits is appended in one call.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_one_call() {
    const EVENTS: u64 = 600;
    let Some(server) = server::Server::shared() else {
        return;
    };
    let journal = open(&options(server)).await;
    let appends = (0..EVENTS).map(|number| new(&journal, numbered(number.into())));
    let numbers = join_all(appends).await;
    assert_eq!(numbers, (1..=EVENTS).collect::<Vec<_>>());
    let calls = journal.counts().appends;
    assert!(calls < EVENTS / 10, "{calls} calls");
}

/// A state has one row, also after several of its events in one batch.
#[tokio::test(flavor = "multi_thread")]
async fn a_state_has_one_row() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let journal = open(&options(server)).await;
    let state = |value: u128| {
        let key = DedupKey {
            hash: value,
            window: WINDOW,
            state: Some(9),
            named: false,
        };
        Entry::one(Arc::new(body("state")), Events::Unread, key)
    };
    let all = join_all([5, 5, 6, 5, 5].map(|value| journal.append(state(value)))).await;
    let all: Vec<_> = all.into_iter().map(Result::unwrap).collect();
    let expected = [
        Appended::new(1),
        duplicate(1),
        Appended::new(2),
        Appended::new(3),
        duplicate(3),
    ];
    assert_eq!(all, expected);
    let sql = "SELECT count(*) FROM state";
    let rows = journal.shared.link.read(sql, &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 1);
    assert_eq!(journal.append(state(5)).await, Ok(duplicate(3)));
}

/// Duplicates within a batch are those of its first event, in whatever way the database answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_finds_its_own_duplicates() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let journal = open(&options(server)).await;
    assert_eq!(new(&journal, numbered(1)).await, 1);
    let all = [2, 1, 2, 3, 1, 3, 4].map(|number| journal.append(numbered(number)));
    let all: Vec<_> = join_all(all)
        .await
        .into_iter()
        .map(Result::unwrap)
        .collect();
    let expected = [
        Appended::new(2),
        duplicate(1),
        duplicate(2),
        Appended::new(3),
        duplicate(1),
        duplicate(3),
        Appended::new(4),
    ];
    assert_eq!(all, expected);
    assert_eq!(seqs(&journal, 0, 10).await, [1, 2, 3, 4]);
}

/// Makes and drops buckets, as the holder of the housekeeper's share does. Returns how many were dropped.
pub(super) async fn tend(journal: &Postgres, clock: &FakeClock) -> i32 {
    let now = Some(clock.now().as_millisecond());
    let mut dropped = 0;
    for work in [
        "SELECT make_claims_1($1)",
        "SELECT drop_claims_2($1)",
        "SELECT sweep_claims_2($1)::int",
    ] {
        let rows = journal.shared.link.call(work, &[&now]).await.unwrap();
        if work.contains("drop") {
            dropped = rows[0].get(0);
        }
    }
    dropped
}

/// Keys are in the bucket of the end of their window. A bucket is dropped as a whole, and not before.
#[tokio::test(flavor = "multi_thread")]
async fn old_buckets_of_keys_are_dropped() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    let clock = Arc::new(FakeClock::new(start));
    let times: Arc<dyn Clock> = clock.clone();
    let hour = Duration::from_secs(3600);
    let options = options(server).windows(8 * hour, hour / 60);
    let journal = open_at(options, &times).await;
    let tend = async || tend(&journal, clock.as_ref()).await;
    tend().await;
    let count = async |table: &str| {
        let sql = match table {
            "default" => "SELECT count(*) FROM claim_default",
            _ => "SELECT count(*) FROM claim",
        };
        journal.shared.link.read(sql, &[]).await.unwrap()[0].get::<_, i64>(0)
    };
    let keyed = |number| entry(body("keyed"), number, 8 * hour);
    for number in 1..=3 {
        new(&journal, keyed(number)).await;
        new(&journal, entry(body("short"), 100 + number, hour / 60)).await;
        // Longer than any bucket that is made.
        new(&journal, entry(body("long"), 200 + number, 100 * hour)).await;
    }
    assert_eq!((count("all").await, count("default").await), (9, 3));
    clock.advance(4 * hour);
    assert!(tend().await >= 1);
    assert_eq!(count("all").await, 6);
    assert_eq!(journal.append(keyed(1)).await, Ok(duplicate(1)));
    clock.advance(7 * hour);
    tend().await;
    assert_eq!((count("all").await, count("default").await), (3, 3));
    assert_eq!(new(&journal, keyed(1)).await, 10);
    // What was in the default partition moves into its bucket once that is made.
    clock.advance(85 * hour);
    tend().await;
    assert_eq!((count("all").await, count("default").await), (3, 0));
    let long = entry(body("long"), 201, 100 * hour);
    assert_eq!(
        journal.append(long).await,
        Ok(Appended::Duplicate(vec![Position::first(3)]))
    );
}

/// What is read of the log is what was asked for, and nothing else waits behind it.
#[tokio::test(flavor = "multi_thread")]
async fn a_read_takes_no_more_than_it_needs() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let (journal, other) = (Arc::new(open(&options).await), open(&options).await);
    for number in 1..=10 {
        new(journal.as_ref(), numbered(number)).await;
    }
    let blocks = async |after, most| {
        let read = blocks(&journal.shared.link, after, most, journal.shared.shares());
        read.await.unwrap().len()
    };
    assert_eq!((blocks(0, 1).await, blocks(0, 4).await), (1, 4));
    assert_eq!((blocks(7, 100).await, blocks(u64::MAX, 4).await), (3, 0));
    assert_eq!(journal.trim(5).await, Ok(5));
    assert_eq!((blocks(0, 2).await, blocks(0, usize::MAX).await), (2, 5));

    let lock = other.shared.link.session().await.unwrap();
    lock.run("BEGIN; LOCK TABLE block").await.unwrap();
    let reading = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.read(5, 2).await }
    });
    let waits =
        "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = 'block'::regclass AND NOT granted)";
    let waiting = async {
        while !lock.read(waits, &[]).await.unwrap()[0].get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, waiting).await.expect("it waits");
    assert_eq!(journal.documents("").await, Ok(vec![]));
    assert!(!reading.is_finished());
    lock.run("COMMIT").await.unwrap();
    assert_eq!(reading.await.unwrap().unwrap().len(), 2);
}

/// Another instance hands a deleted or trimmed body over no more.
#[tokio::test(flavor = "multi_thread")]
async fn others_hear_of_deletions() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).lease(Duration::from_secs(1));
    let (first, second) = (open(&options).await, open(&options).await);
    for number in 1..=4 {
        new(&first, numbered(number)).await;
    }
    let mut head = second.tail().watch();
    timeout(HANG, head.wait_for(|head| *head == 4))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(first.delete(&[3]).await, Ok(1));
    assert_eq!(first.trim(1).await, Ok(1));
    let told = async {
        let is_told = || {
            let is_deleted = second
                .tail()
                .get(3)
                .is_some_and(|record| record.missing.is_some());
            is_deleted && second.tail().get(1).is_none() && second.tail().removed() == 1
        };
        while !is_told() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, told).await.expect("it is told");

    // Of a body that is trimmed before the others look, there is no deletion to read.
    let trimmed = "UPDATE meta SET deletions = 9";
    let session = first.shared.link.session().await.unwrap();
    session.run(trimmed).await.unwrap();
    let following = &second.shared.following;
    until("it knows all", || {
        following.applied_deletions.load(Ordering::SeqCst) == 9
    })
    .await;
    assert!(!following.is_behind_deletions());
}

/// Notes and commands are there for every instance.
#[tokio::test(flavor = "multi_thread")]
async fn instances_leave_each_other_messages() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let (first, second) = (open(&options).await, open(&options).await);
    let (mut notes, mut commands) = (second.watch_notes(), second.watch_commands());
    let one = first.add_note(b"one").await.unwrap();
    let two = second.add_note(b"two").await.unwrap();
    timeout(HANG, notes.wait_for(|note| *note == two))
        .await
        .unwrap()
        .unwrap();
    let found = second.notes(0, 10).await.unwrap();
    let bodies: Vec<_> = found.iter().map(|note| (note.id, &note.body[..])).collect();
    assert_eq!(bodies, [(one, &b"one"[..]), (two, b"two")]);
    assert_eq!(second.notes(one, 10).await.unwrap(), found[1..]);

    let asked = [
        (1, b"pause".to_vec()),
        (2, b"pause".to_vec()),
        (1, b"go on".to_vec()),
    ];
    first.command("handler:x\0", &asked).await.unwrap();
    timeout(HANG, commands.wait_for(|command| *command >= 3))
        .await
        .unwrap()
        .unwrap();
    let found = second.commands(1).await.unwrap();
    let bodies: Vec<_> = found
        .iter()
        .map(|command| (&*command.consumer, &command.body[..]))
        .collect();
    assert_eq!(
        bodies,
        [("handler:x\0", &b"pause"[..]), ("handler:x\0", b"go on")]
    );
}
