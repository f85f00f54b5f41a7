//! Cases about the log: numbers, order, what can be read, what is trimmed.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::provider::Instances;
use super::samples::{
    WINDOW, all_there, duplicate, entry, letter, letters, new, numbered, only_head, remarkable,
    same, save, seqs, trim_all,
};
use crate::clock::Clock;
use crate::clock::FakeClock;
use crate::journal::{Appended, Seq};

/// Bodies are numbered from 1, without gaps.
pub async fn numbers_follow_each_other(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    assert!(journal.is_ready());
    assert_eq!(journal.tail().head(), 0);
    for seq in 1..=20u64 {
        let appended = journal.append(numbered(seq.into())).await;
        assert_eq!(appended, Ok(Appended::new(seq)));
    }
    assert_eq!(journal.tail().head(), 20);
    assert!(journal.is_ready());
}

/// Records are read in order, without gaps, and at most as many as requested.
pub async fn reading_is_in_order(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    assert_eq!(seqs(journal, 0, 10).await, [0; 0]);
    for number in 1..=10 {
        new(journal, numbered(number)).await;
    }
    let table: [(Seq, usize, Vec<Seq>); 9] = [
        (0, 10, (1..=10).collect()),
        (0, 1, vec![1]),
        (3, 4, vec![4, 5, 6, 7]),
        (8, 100, vec![9, 10]),
        (0, usize::MAX, (1..=10).collect()),
        (9, usize::MAX, vec![10]),
        (5, 0, vec![]),
        (10, 10, vec![]),
        (Seq::MAX, usize::MAX, vec![]),
    ];
    for (after, most, expected) in table {
        let read = seqs(journal, after, most).await;
        assert_eq!(read, expected, "{most} after {after}");
    }
}

/// Ids, sources, sessions, times, headers and bodies are read as they were written, to the byte.
pub async fn everything_received_comes_back(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    let all = remarkable();
    for (number, received) in all.iter().enumerate() {
        let seq = new(journal, entry(received.clone(), number as u128, WINDOW)).await;
        // Both from memory and from storage.
        if let Some(tail) = journal.tail().get(seq) {
            same(&tail, seq, received);
        }
        let read = journal.read(seq - 1, 1).await.unwrap();
        same(&read[0], seq, received);
    }
    all_there(journal, &all).await;
}

/// The time at which a body was stored never goes back, whatever the clock shows.
pub async fn kept_times_never_go_back(instances: Instances, clock: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    let start = Clock::now(clock.as_ref());
    for (number, seconds) in [(1, 100), (2, 0), (3, 99), (4, 101)] {
        clock.set(start + Duration::from_secs(seconds));
        let seq = new(journal, numbered(number)).await;
        let told = journal.tail().get(seq).unwrap().kept_at;
        let kept = journal.read(seq - 1, 1).await.unwrap()[0].kept_at;
        let seconds = seconds.max(100);
        assert_eq!(kept, start + Duration::from_secs(seconds), "{seq}");
        assert_eq!(told, kept);
    }
}

/// Everything up to the head can be read, and the tail shows it in order.
pub async fn the_tail_shows_what_is_durable(instances: Instances, _: Arc<FakeClock>) {
    const EVENTS: Seq = 200;
    let journal = instances.first();
    let mut head = journal.tail().watch();
    let follower = Arc::clone(journal);
    let follower = tokio::spawn(async move {
        let mut seen = 0;
        while seen < EVENTS {
            head.changed().await.unwrap();
            let newest = *head.borrow_and_update();
            assert!(newest >= seen, "{newest} after {seen}");
            let read = follower.read(seen, usize::MAX).await.unwrap();
            assert!(read.len() as Seq >= newest - seen, "up to {newest}");
            for record in &read[..(newest - seen) as usize] {
                seen += 1;
                assert_eq!(record.seq, seen);
                let tail = follower.tail().get(seen).expect("few and small");
                same(&tail, seen, &record.received);
            }
        }
    });
    let tasks = (0..8).map(|task| {
        let journal = Arc::clone(journal);
        tokio::spawn(async move {
            for number in 0..EVENTS / 8 {
                let entry = numbered(u128::from(task * EVENTS + number));
                let id = entry.received.id;
                let seq = new(journal.as_ref(), entry).await;
                // The tail has the body by the time the append is answered.
                assert!(journal.tail().head() >= seq);
                assert_eq!(journal.tail().get(seq).unwrap().received.id, id);
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    follower.await.unwrap();
    assert!(journal.tail().get(0).is_none());
    assert!(journal.tail().get(EVENTS + 1).is_none());
}

/// Trimmed bodies are gone with their dead letters; progress and dedup keys stay.
pub async fn trimmed_bodies_are_gone(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    for number in 1..=10 {
        new(journal, numbered(number)).await;
    }
    let desk = journal.desk(0).await.unwrap();
    let given_up = [2, 4, 5].map(|seq| letter(seq, "a")).to_vec();
    save(desk.as_ref(), "a", b"progress", given_up).await;
    let before = journal.bytes().await.unwrap();
    assert_eq!(journal.trim(0).await, Ok(0));
    assert_eq!(trim_all(journal, 4).await, 4);
    assert_eq!(trim_all(journal, 4).await, 0);
    assert!(journal.bytes().await.unwrap() <= before);

    assert_eq!(seqs(journal, 0, 100).await, [5, 6, 7, 8, 9, 10]);
    assert_eq!(seqs(journal, 0, 1).await, [5]);
    assert_eq!(seqs(journal, 7, 2).await, [8, 9]);
    assert_eq!(letters(journal, "a").await, [letter(5, "a")]);
    assert_eq!(
        desk.saved("a").await,
        Ok(Some(only_head(b"progress".to_vec())))
    );
    assert_eq!(journal.append(numbered(1)).await, Ok(duplicate(1)));
    assert_eq!(new(journal, numbered(11)).await, 11);
}

/// The newest body is never trimmed, because the next number is derived from it.
pub async fn the_newest_body_is_never_trimmed(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    assert_eq!(trim_all(journal, Seq::MAX).await, 0);
    for number in 1..=3 {
        new(journal, numbered(number)).await;
    }
    assert_eq!(trim_all(journal, Seq::MAX).await, 2);
    assert_eq!(seqs(journal, 0, 100).await, [3]);
    assert_eq!(journal.tail().head(), 3);
    assert_eq!(new(journal, numbered(4)).await, 4);
    assert!(journal.is_ready());
}
