//! Cases about duplicates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::provider::Instances;
use super::samples::{body, duplicate, entry, numbered, seqs};
use crate::clock::Clock;
use crate::clock::FakeClock;
use crate::journal::{Appended, Seq};

/// A key makes later events duplicates for its window and no longer.
pub async fn a_key_holds_for_its_window(instances: Instances, clock: Arc<FakeClock>) {
    let journal = instances.first();
    let long = || entry(body("long"), 1, Duration::from_secs(3600));
    let short = || entry(body("short"), 2, Duration::from_secs(60));
    assert_eq!(journal.append(long()).await, Ok(Appended::new(1)));
    assert_eq!(journal.append(short()).await, Ok(Appended::new(2)));
    assert_eq!(journal.append(long()).await, Ok(duplicate(1)));

    clock.advance(Duration::from_millis(59_999));
    assert_eq!(journal.append(short()).await, Ok(duplicate(2)));
    clock.advance(Duration::from_millis(1));
    assert_eq!(journal.append(short()).await, Ok(Appended::new(3)));
    // A duplicate does not extend the window; a new event starts its own.
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(journal.append(short()).await, Ok(duplicate(3)));
    assert_eq!(journal.append(long()).await, Ok(duplicate(1)));

    clock.advance(Duration::from_secs(3600));
    assert_eq!(journal.append(long()).await, Ok(Appended::new(4)));
    assert_eq!(seqs(journal.as_ref(), 0, 10).await, [1, 2, 3, 4]);
}

/// A window of length zero makes no event a duplicate.
pub async fn an_empty_window_holds_nothing(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    for seq in 1..=3 {
        let entry = entry(body("same"), 1, Duration::ZERO);
        assert_eq!(journal.append(entry).await, Ok(Appended::new(seq)));
    }
    // The longest possible window does not overflow.
    let endless = || entry(body("same"), 2, Duration::MAX);
    assert_eq!(journal.append(endless()).await, Ok(Appended::new(4)));
    assert_eq!(journal.append(endless()).await, Ok(duplicate(4)));
}

/// After the clock was set back, an equal body without an id is not taken for a duplicate.
pub async fn a_clock_set_back_makes_no_duplicates(instances: Instances, clock: Arc<FakeClock>) {
    let journal = instances.first();
    // Two different events may have equal bytes, so the window is short.
    let same = || entry(body("same"), 1, Duration::from_secs(60));
    let right = Clock::now(clock.as_ref());
    clock.set(right + Duration::from_secs(3600));
    assert_eq!(journal.append(same()).await, Ok(Appended::new(1)));
    clock.set(right);
    assert_eq!(journal.append(same()).await, Ok(Appended::new(2)));
    assert_eq!(journal.append(same()).await, Ok(duplicate(2)));
    // A step of half a second does not count as set back.
    clock.set(right - Duration::from_millis(500));
    assert_eq!(journal.append(same()).await, Ok(duplicate(2)));
}

/// An event with a state is a duplicate only of the newest event with that state, whichever instance stored that.
pub async fn only_the_newest_of_a_state_is_an_original(
    instances: Instances,
    clock: Arc<FakeClock>,
) {
    let value = |value: u128, state| {
        let mut entry = entry(body("state"), value, Duration::from_secs(60));
        entry.parts[0].key.state = Some(state);
        entry
    };
    let table = [
        (1, Appended::new(1)),
        (1, duplicate(1)),
        (2, Appended::new(2)),
        (2, duplicate(2)),
        (1, Appended::new(3)),
        (2, Appended::new(4)),
        (2, duplicate(4)),
    ];
    for (turn, (hash, expected)) in (0..).zip(table) {
        assert_eq!(
            instances.of(turn).append(value(hash, 100)).await,
            Ok(expected),
            "{turn}"
        );
    }
    // Another session has a state of its own, and so have its hashes.
    let other = instances.first().append(value(3, 101)).await;
    assert_eq!(other, Ok(Appended::new(5)));
    assert_eq!(
        instances.second().append(value(2, 100)).await,
        Ok(duplicate(4))
    );
    clock.advance(Duration::from_secs(60));
    assert_eq!(
        instances.second().append(value(2, 100)).await,
        Ok(Appended::new(6))
    );
}

/// Of concurrent events with the same key, through any instance, exactly one is new.
pub async fn each_key_is_new_once(instances: Instances, _: Arc<FakeClock>) {
    const KEYS: u128 = 8;
    let tasks = (0..64).map(|task: u64| {
        let journal = instances.of(task);
        tokio::spawn(async move {
            let mut appended = Vec::new();
            for turn in 0..KEYS {
                let shared = (u128::from(task) + turn) % KEYS;
                appended.push((shared, journal.append(numbered(shared)).await.unwrap()));
                let own = KEYS + u128::from(task) * KEYS + turn;
                appended.push((own, journal.append(numbered(own)).await.unwrap()));
            }
            appended
        })
    });
    let mut of_key: BTreeMap<u128, Vec<Appended>> = BTreeMap::new();
    for appended in join_all(tasks).await {
        for (key, appended) in appended.unwrap() {
            of_key.entry(key).or_default().push(appended);
        }
    }
    let mut numbers = BTreeSet::new();
    for (key, appended) in &of_key {
        let (new, others): (Vec<_>, Vec<_>) =
            { appended.iter() }.partition(|appended| matches!(appended, Appended::New { .. }));
        let [Appended::New { seq, .. }] = new[..] else {
            panic!("key {key} was new {} times", new.len());
        };
        numbers.insert(*seq);
        for other in others {
            assert_eq!(*other, duplicate(*seq), "key {key}");
        }
    }
    let dense: Vec<Seq> = (1..=(KEYS + 64 * KEYS) as Seq).collect();
    assert_eq!(numbers.into_iter().collect::<Vec<_>>(), dense);
    let kept = seqs(instances.first().as_ref(), 0, usize::MAX).await;
    assert_eq!(kept, dense);
}
