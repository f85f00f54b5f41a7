//! What every [`Journal`] must do, as one suite that runs on each engine, and what only an engine
//! that outlives its process must do.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use uuid::Uuid;

use super::folder::TestFolder;
use super::memory::Memory;
use super::sqlite::OpenError;
use super::{Appended, Change, Claim, DeadLetter, Entry, Journal, Record, Sqlite};
use crate::clock::Clock;
use crate::dialect::{Dialect as _, Raw};
use crate::dispatch::{Saved, Waiting};
use crate::journal::Seq;
use crate::telemetry::JournalMetrics;
use crate::testing::FakeClock;
use crate::{Received, Timestamp};

macro_rules! contract {
    ($($behaviour:ident),* $(,)?) => {
        mod memory {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $behaviour() {
                    let clock = clock();
                    super::$behaviour(Arc::new(Memory::new(clock.clone())), clock).await;
                }
            )*
        }
        mod sqlite {
            use super::*;
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $behaviour() {
                    let (folder, clock) = (TestFolder::new(), clock());
                    super::$behaviour(open(&folder, &clock), clock).await;
                }
            )*
        }
    };
}

contract! {
    numbers_follow_each_other,
    reading_is_in_order_without_gaps_and_within_its_limit,
    everything_that_was_received_comes_back,
    a_key_is_claimed_for_its_window,
    a_window_of_nothing_claims_nothing,
    after_the_clock_was_set_back_no_event_is_taken_for_another_one,
    no_event_is_kept_before_the_one_ahead_of_it,
    of_events_at_the_same_time_each_key_is_claimed_once,
    the_tail_shows_what_is_durable_in_order,
    progress_comes_back_as_it_was_saved,
    a_forgotten_consumer_is_new_again_and_its_dead_letters_stay,
    documents_are_found_by_the_beginning_of_their_keys,
    dead_letters_are_kept_by_consumer_in_order,
    dead_letters_are_found_newest_first_and_by_event,
    forgotten_dead_letters_are_gone_and_no_others,
    saves_and_appends_at_the_same_time_all_count,
    a_dead_letter_that_is_revived_is_gone_unless_it_dies_again,
    what_is_trimmed_is_gone_and_everything_else_stays,
    the_newest_event_is_never_trimmed,
}

async fn numbers_follow_each_other(journal: Arc<dyn Journal>, _: Arc<FakeClock>) {
    assert!(journal.is_ready());
    assert_eq!(journal.tail().head(), 0);
    for seq in 1..=20u64 {
        let appended = journal.append(numbered(seq.into())).await;
        assert_eq!(appended, Ok(Appended::New(seq)));
    }
    assert_eq!(journal.tail().head(), 20);
    assert!(journal.is_ready());
}

async fn reading_is_in_order_without_gaps_and_within_its_limit(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    assert_eq!(seqs(&*journal, 0, 10).await, [0; 0]);
    for number in 1..=10 {
        new(&*journal, numbered(number)).await;
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
        let read = seqs(&*journal, after, most).await;
        assert_eq!(read, expected, "{most} after {after}");
    }
}

async fn everything_that_was_received_comes_back(journal: Arc<dyn Journal>, _: Arc<FakeClock>) {
    let all = remarkable();
    for (number, received) in all.iter().enumerate() {
        let entry = entry(received.clone(), number as u128, WINDOW);
        let seq = new(&*journal, entry).await;
        // From memory and from where it is kept.
        let tail = journal.tail().get(seq);
        if let Some(tail) = tail {
            assert_same(&tail, seq, received);
        }
        let read = journal.read(seq - 1, 1).await.unwrap();
        assert_same(&read[0], seq, received);
    }
    assert_all_there(&*journal, &all).await;
}

async fn a_key_is_claimed_for_its_window(journal: Arc<dyn Journal>, clock: Arc<FakeClock>) {
    let long = || entry(body("long"), 1, Duration::from_secs(3600));
    let short = || entry(body("short"), 2, Duration::from_secs(60));
    assert_eq!(journal.append(long()).await, Ok(Appended::New(1)));
    assert_eq!(journal.append(short()).await, Ok(Appended::New(2)));
    assert_eq!(journal.append(long()).await, Ok(Appended::Duplicate(1)));

    clock.advance(Duration::from_millis(59_999));
    assert_eq!(journal.append(short()).await, Ok(Appended::Duplicate(2)));
    clock.advance(Duration::from_millis(1));
    assert_eq!(journal.append(short()).await, Ok(Appended::New(3)));
    // A duplicate does not prolong the window; a new event has one of its own.
    clock.advance(Duration::from_millis(59_999));
    assert_eq!(journal.append(short()).await, Ok(Appended::Duplicate(3)));
    assert_eq!(journal.append(long()).await, Ok(Appended::Duplicate(1)));

    clock.advance(Duration::from_secs(3600));
    assert_eq!(journal.append(long()).await, Ok(Appended::New(4)));
    assert_eq!(seqs(&*journal, 0, 10).await, [1, 2, 3, 4]);
}

async fn a_window_of_nothing_claims_nothing(journal: Arc<dyn Journal>, _: Arc<FakeClock>) {
    for seq in 1..=3 {
        let entry = entry(body("same"), 1, Duration::ZERO);
        assert_eq!(journal.append(entry).await, Ok(Appended::New(seq)));
    }
    // The longest window there can be is no overflow.
    let endless = || entry(body("same"), 2, Duration::MAX);
    assert_eq!(journal.append(endless()).await, Ok(Appended::New(4)));
    assert_eq!(journal.append(endless()).await, Ok(Appended::Duplicate(4)));
}

async fn after_the_clock_was_set_back_no_event_is_taken_for_another_one(
    journal: Arc<dyn Journal>,
    clock: Arc<FakeClock>,
) {
    // Two real ones may look the same, so the window is short.
    let same = || entry(body("same"), 1, Duration::from_secs(60));
    let right = Clock::now(&*clock);
    clock.set(right + Duration::from_secs(3600));
    assert_eq!(journal.append(same()).await, Ok(Appended::New(1)));
    clock.set(right);
    assert_eq!(journal.append(same()).await, Ok(Appended::New(2)));
    assert_eq!(journal.append(same()).await, Ok(Appended::Duplicate(2)));
    // A step back of a moment is none.
    clock.set(right - Duration::from_millis(500));
    assert_eq!(journal.append(same()).await, Ok(Appended::Duplicate(2)));
}

async fn no_event_is_kept_before_the_one_ahead_of_it(
    journal: Arc<dyn Journal>,
    clock: Arc<FakeClock>,
) {
    let start = Clock::now(&*clock);
    for (number, seconds) in [(1, 100), (2, 0), (3, 99), (4, 101)] {
        clock.set(start + Duration::from_secs(seconds));
        let seq = new(&*journal, numbered(number)).await;
        let told = journal.tail().get(seq).unwrap().kept_at;
        let kept = journal.read(seq - 1, 1).await.unwrap()[0].kept_at;
        let seconds = seconds.max(100);
        assert_eq!(kept, start + Duration::from_secs(seconds), "{seq}");
        assert_eq!(told, kept);
    }
}

async fn of_events_at_the_same_time_each_key_is_claimed_once(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    const KEYS: u128 = 8;
    let tasks = (0..64).map(|task: u128| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            let mut appended = Vec::new();
            for turn in 0..KEYS {
                let shared = (task + turn) % KEYS;
                appended.push((shared, journal.append(numbered(shared)).await.unwrap()));
                let own = KEYS + task * KEYS + turn;
                appended.push((own, journal.append(numbered(own)).await.unwrap()));
            }
            appended
        })
    });
    let mut seqs_of: BTreeMap<u128, Vec<Appended>> = BTreeMap::new();
    for appended in join_all(tasks).await {
        for (key, appended) in appended.unwrap() {
            seqs_of.entry(key).or_default().push(appended);
        }
    }
    let mut claimed = BTreeSet::new();
    for (key, appended) in &seqs_of {
        let new = |appended: &&Appended| matches!(appended, Appended::New(_));
        let news: Vec<_> = appended.iter().filter(new).collect();
        let [Appended::New(seq)] = news[..] else {
            panic!("key {key} was claimed {} times", news.len());
        };
        claimed.insert(*seq);
        let duplicates = appended.iter().filter(|appended| !new(appended));
        for duplicate in duplicates {
            assert_eq!(*duplicate, Appended::Duplicate(*seq), "key {key}");
        }
    }
    let dense: Vec<Seq> = (1..=(KEYS + 64 * KEYS) as Seq).collect();
    assert_eq!(claimed.into_iter().collect::<Vec<_>>(), dense);
    assert_eq!(seqs(&*journal, 0, usize::MAX).await, dense);
}

async fn the_tail_shows_what_is_durable_in_order(journal: Arc<dyn Journal>, _: Arc<FakeClock>) {
    const EVENTS: Seq = 200;
    let mut head = journal.tail().watch();
    let follower = Arc::clone(&journal);
    let follower = tokio::spawn(async move {
        let mut seen = 0;
        while seen < EVENTS {
            head.changed().await.unwrap();
            let newest = *head.borrow_and_update();
            assert!(newest >= seen, "{newest} after {seen}");
            // Everything up to the head can be read, and from the tail it is the same.
            let read = follower.read(seen, usize::MAX).await.unwrap();
            assert!(read.len() as Seq >= newest - seen, "up to {newest}");
            for record in &read[..(newest - seen) as usize] {
                seen += 1;
                assert_eq!(record.seq, seen);
                let tail = follower.tail().get(seen).expect("few and small");
                assert_same(&tail, seen, &record.received);
            }
        }
    });
    let tasks = (0..8).map(|task| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            for number in 0..EVENTS / 8 {
                let entry = numbered(u128::from(task * EVENTS + number));
                let id = entry.received.id;
                let seq = new(&*journal, entry).await;
                // Whoever is answered finds it in the tail.
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

async fn progress_comes_back_as_it_was_saved(journal: Arc<dyn Journal>, _: Arc<FakeClock>) {
    assert_eq!(journal.saved("a").await, Ok(None));
    let (one, other) = (saved(&[1, 2, 3, 7, 900]), saved(&[2]));
    save(&*journal, "a", &one, vec![]).await;
    save(&*journal, HOSTILE, &other, vec![]).await;
    assert_eq!(journal.saved("a").await, Ok(Some(one)));
    assert_eq!(journal.saved(HOSTILE).await, Ok(Some(other.clone())));
    assert_eq!(journal.saved("b").await, Ok(None));
    // The last one counts.
    save(&*journal, "a", &Saved::default(), vec![]).await;
    assert_eq!(journal.saved("a").await, Ok(Some(Saved::default())));
    assert_eq!(journal.saved(HOSTILE).await, Ok(Some(other)));
}

async fn a_forgotten_consumer_is_new_again_and_its_dead_letters_stay(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    for name in ["a", "b", HOSTILE] {
        save(&*journal, name, &saved(&[1, 2]), vec![letter(1, name)]).await;
    }
    for name in ["a", HOSTILE, "nobody", "a"] {
        assert_eq!(journal.forget_consumer(name).await, Ok(()));
        assert_eq!(journal.saved(name).await, Ok(None));
    }
    assert_eq!(journal.saved("b").await, Ok(Some(saved(&[1, 2]))));
    assert_eq!(journal.dead("a").await, Ok(vec![letter(1, "a")]));
    // Under the same name there may be another one.
    save(&*journal, "a", &saved(&[9]), vec![]).await;
    assert_eq!(journal.saved("a").await, Ok(Some(saved(&[9]))));
}

async fn documents_are_found_by_the_beginning_of_their_keys(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    assert_eq!(journal.documents("").await, Ok(vec![]));
    let hostile = format!("hostile/{HOSTILE}");
    let kept: [(&str, &[u8]); 6] = [
        ("a", b""),
        ("a/1", b"{}"),
        ("a/\u{10ffff}", b"\0\xff"),
        ("aa", b"beside"),
        ("b/1", b"other"),
        (&hostile, b"odd"),
    ];
    for (key, value) in kept.iter().rev() {
        put(&*journal, key, Some(value)).await;
    }
    let of = |keys: &[&str]| -> Vec<(String, Vec<u8>)> {
        let found = kept.iter().filter(|(key, _)| keys.contains(key));
        found
            .map(|(key, value)| ((*key).to_owned(), value.to_vec()))
            .collect()
    };
    let table: [(&str, &[&str]); 7] = [
        ("a/", &["a/1", "a/\u{10ffff}"]),
        ("a", &["a", "a/1", "a/\u{10ffff}", "aa"]),
        ("b/1", &["b/1"]),
        ("b/10", &[]),
        ("c", &[]),
        (&hostile, &[&hostile]),
        ("%", &[]),
    ];
    for (prefix, keys) in table {
        assert_eq!(journal.documents(prefix).await, Ok(of(keys)), "{prefix:?}");
    }
    assert_eq!(journal.documents("").await.unwrap().len(), kept.len());
    // The last one counts, and what is removed is gone.
    put(&*journal, "a/1", Some(b"newer")).await;
    put(&*journal, "b/1", None).await;
    put(&*journal, "nothing", None).await;
    let newer = vec![("a/1".to_owned(), b"newer".to_vec())];
    assert_eq!(journal.documents("a/1").await, Ok(newer));
    assert_eq!(journal.documents("b").await, Ok(vec![]));
}

async fn dead_letters_are_kept_by_consumer_in_order(journal: Arc<dyn Journal>, _: Arc<FakeClock>) {
    assert_eq!(journal.dead("a").await, Ok(vec![]));
    save(
        &*journal,
        "a",
        &Saved::default(),
        vec![letter(9, "late"), letter(3, HOSTILE)],
    )
    .await;
    save(
        &*journal,
        "b",
        &Saved::default(),
        vec![letter(3, "other consumer")],
    )
    .await;
    save(&*journal, "a", &Saved::default(), vec![letter(5, "")]).await;
    let expected = vec![letter(3, HOSTILE), letter(5, ""), letter(9, "late")];
    assert_eq!(journal.dead("a").await, Ok(expected));
    let other = vec![letter(3, "other consumer")];
    assert_eq!(journal.dead("b").await, Ok(other));
    // An event that died again after a replay is one dead letter, the newer one.
    save(&*journal, "b", &Saved::default(), vec![letter(3, "again")]).await;
    assert_eq!(journal.dead("b").await, Ok(vec![letter(3, "again")]));
}

async fn dead_letters_are_found_newest_first_and_by_event(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    letters_of_two(&*journal).await;
    let of = |consumer: &str, seq| (consumer.to_owned(), letter(seq, consumer));
    let table = [
        (
            Some("a"),
            None,
            usize::MAX,
            vec![of("a", 5), of("a", 3), of("a", 1)],
        ),
        (Some("a"), Some((5, "")), 1, vec![of("a", 3)]),
        (Some("a"), Some((1, "")), 10, vec![]),
        (
            Some("a"),
            Some((Seq::MAX, "")),
            2,
            vec![of("a", 5), of("a", 3)],
        ),
        (Some("c"), None, 10, vec![]),
        (Some("a"), None, 0, vec![]),
        (None, Some((5, "")), 1, vec![of("b", 4)]),
        (None, Some((5, "b")), 1, vec![of("a", 5)]),
        (None, Some((3, "b")), 10, vec![of("a", 3), of("a", 1)]),
        (None, Some((3, "a")), 10, vec![of("a", 1)]),
        (Some("a"), Some((3, "b")), 1, vec![of("a", 3)]),
    ];
    for (consumer, before, most, expected) in table {
        let found = journal.all_dead(consumer, before, most).await;
        assert_eq!(found, Ok(expected), "{consumer:?} {before:?} {most}");
    }
    let (a, b) = (|seq| of("a", seq), |seq| of("b", seq));
    let all = [a(5), b(4), b(3), a(3), a(1)];
    // Page by page, whatever the size, none is skipped and none comes twice.
    for most in 1..=6 {
        let mut found: Vec<(String, DeadLetter)> = Vec::new();
        loop {
            let last = found.last();
            let before = last.map(|(name, letter)| (letter.seq, name.as_str()));
            let page = journal.all_dead(None, before, most).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, all, "{most} at a time");
    }

    let mut among = journal.dead_among(&[3, 5, 6]).await.unwrap();
    among.sort_by_key(|(name, letter)| (letter.seq, name.clone()));
    assert_eq!(among, [a(3), b(3), a(5)]);
    assert_eq!(journal.dead_among(&[]).await, Ok(vec![]));
    assert_eq!(journal.dead_among(&[2, Seq::MAX]).await, Ok(vec![]));
}

async fn forgotten_dead_letters_are_gone_and_no_others(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    letters_of_two(&*journal).await;
    assert_eq!(journal.forget_dead("a", &[3, 4, 5, 99]).await, Ok(2));
    assert_eq!(journal.dead("a").await, Ok(vec![letter(1, "a")]));
    let others = vec![letter(3, "b"), letter(4, "b")];
    assert_eq!(journal.dead("b").await, Ok(others.clone()));
    assert_eq!(journal.forget_dead("a", &[3]).await, Ok(0));
    assert_eq!(journal.forget_dead("b", &[]).await, Ok(0));
    assert_eq!(journal.forget_dead("c", &[3, 4]).await, Ok(0));
    assert_eq!(journal.dead("b").await, Ok(others));
}

/// `a` has given up on 1, 3 and 5, `b` on 3 and 4.
async fn letters_of_two(journal: &dyn Journal) {
    for (consumer, seqs) in [("a", vec![5, 1, 3]), ("b", vec![3, 4])] {
        let letters = seqs.into_iter().map(|seq| letter(seq, consumer)).collect();
        save(journal, consumer, &Saved::default(), letters).await;
    }
}

async fn saves_and_appends_at_the_same_time_all_count(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    let tasks = (0..32).map(|task: u64| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move {
            let name = format!("handler:{task}");
            for turn in 1..=5 {
                new(&*journal, numbered(u128::from(task * 5 + turn))).await;
                let saved = saved(&[task + turn]);
                save(&*journal, &name, &saved, vec![letter(turn, &name)]).await;
                assert_eq!(journal.saved(&name).await, Ok(Some(saved)));
            }
        })
    });
    for task in join_all(tasks).await {
        task.unwrap();
    }
    for task in 0..32 {
        let name = format!("handler:{task}");
        assert_eq!(journal.saved(&name).await, Ok(Some(saved(&[task + 5]))));
        let letters = (1..=5).map(|seq| letter(seq, &name)).collect();
        assert_eq!(journal.dead(&name).await, Ok(letters));
    }
    assert_eq!(journal.tail().head(), 32 * 5);
}

async fn a_dead_letter_that_is_revived_is_gone_unless_it_dies_again(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    for number in 1..=3 {
        new(&*journal, numbered(number)).await;
    }
    let letters = [1, 2, 3].map(|seq| letter(seq, "first")).to_vec();
    save(&*journal, "a", &saved(&[]), letters.clone()).await;
    save(&*journal, "b", &saved(&[]), letters.clone()).await;
    let change = Change {
        consumer: "a".to_owned(),
        saved: saved(&[]),
        revived: vec![1, 2],
        dead: vec![letter(2, "again")],
    };
    journal.save(change).await.unwrap();
    let left = vec![letter(2, "again"), letter(3, "first")];
    assert_eq!(journal.dead("a").await, Ok(left));
    assert_eq!(journal.dead("b").await, Ok(letters));
}

async fn what_is_trimmed_is_gone_and_everything_else_stays(
    journal: Arc<dyn Journal>,
    _: Arc<FakeClock>,
) {
    for number in 1..=10 {
        new(&*journal, numbered(number)).await;
    }
    let letters = [2, 4, 5].map(|seq| letter(seq, "a")).to_vec();
    save(&*journal, "a", &saved(&[1, 2, 3]), letters).await;
    let before = journal.bytes().await.unwrap();
    assert_eq!(journal.trim(0).await, Ok(0));
    assert_eq!(trim_all(&*journal, 4).await, 4);
    assert_eq!(trim_all(&*journal, 4).await, 0);
    assert!(journal.bytes().await.unwrap() <= before);

    assert_eq!(seqs(&*journal, 0, 100).await, [5, 6, 7, 8, 9, 10]);
    assert_eq!(seqs(&*journal, 0, 1).await, [5]);
    assert_eq!(seqs(&*journal, 7, 2).await, [8, 9]);
    assert_eq!(journal.dead("a").await, Ok(vec![letter(5, "a")]));
    assert_eq!(journal.saved("a").await, Ok(Some(saved(&[1, 2, 3]))));
    // It is no more, and what is the same as it is a duplicate all the same.
    let again = journal.append(numbered(1)).await;
    assert_eq!(again, Ok(Appended::Duplicate(1)));
    assert_eq!(new(&*journal, numbered(11)).await, 11);
}

async fn the_newest_event_is_never_trimmed(journal: Arc<dyn Journal>, _: Arc<FakeClock>) {
    assert_eq!(trim_all(&*journal, Seq::MAX).await, 0);
    for number in 1..=3 {
        new(&*journal, numbered(number)).await;
    }
    assert_eq!(trim_all(&*journal, Seq::MAX).await, 2);
    assert_eq!(seqs(&*journal, 0, 100).await, [3]);
    assert_eq!(journal.tail().head(), 3);
    assert_eq!(new(&*journal, numbered(4)).await, 4);
    assert!(journal.is_ready());
}

async fn trim_all(journal: &dyn Journal, up_to: Seq) -> usize {
    let mut all = 0;
    loop {
        match journal.trim(up_to).await.unwrap() {
            0 => return all,
            trimmed => all += trimmed,
        }
    }
}

/// What outlives the process, and what must not be touched.
mod reopened {
    use std::path::Path;

    use rusqlite::Connection;

    use super::*;

    #[tokio::test]
    async fn long_bodies_are_read_a_few_at_a_time() {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        for number in 0..5 {
            let mut received = body(&"x".repeat(6 * 1024 * 1024));
            received.id = Uuid::from_u128(number);
            new(&*journal, entry(received, number, WINDOW)).await;
        }
        let mut read = Vec::new();
        while read.len() < 5 {
            let part = seqs(&*journal, read.len() as Seq, 100).await;
            assert!((1..=2).contains(&part.len()), "{part:?}");
            read.extend(part);
        }
        assert_eq!(read, [1, 2, 3, 4, 5]);
    }

    #[tokio::test]
    async fn everything_is_there() {
        let (folder, clock) = (TestFolder::new(), clock());
        let all = remarkable();
        let (progress, letters) = (saved(&[1, 5]), vec![letter(1, "a"), letter(2, "b")]);
        {
            let journal = open(&folder, &clock);
            for (number, received) in all.iter().enumerate() {
                new(&*journal, entry(received.clone(), number as u128, WINDOW)).await;
            }
            save(&*journal, "a", &progress, letters.clone()).await;
            save(&*journal, "forgotten", &progress, vec![]).await;
            journal.forget_consumer("forgotten").await.unwrap();
            put(&*journal, "kept", Some(b"document")).await;
            put(&*journal, "removed", Some(b"document")).await;
            put(&*journal, "removed", None).await;
        }
        for _ in 0..2 {
            let journal = open(&folder, &clock);
            assert!(journal.is_ready());
            assert_eq!(journal.tail().head(), all.len() as Seq);
            assert_all_there(&*journal, &all).await;
            assert_eq!(journal.saved("a").await, Ok(Some(progress.clone())));
            assert_eq!(journal.dead("a").await, Ok(letters.clone()));
            assert_eq!(journal.saved("forgotten").await, Ok(None));
            let documents = vec![("kept".to_owned(), b"document".to_vec())];
            assert_eq!(journal.documents("").await, Ok(documents));
        }
        let journal = open(&folder, &clock);
        let next = new(&*journal, numbered(1000)).await;
        assert_eq!(next, all.len() as Seq + 1);
        assert!(journal.tail().get(next).is_some());
    }

    #[tokio::test]
    async fn claims_hold_for_the_rest_of_their_windows() {
        let (folder, clock) = (TestFolder::new(), clock());
        let short = || entry(body("short"), 1, Duration::from_secs(60));
        let long = || entry(body("long"), 2, Duration::from_secs(3600));
        {
            let journal = open(&folder, &clock);
            new(&*journal, short()).await;
            new(&*journal, long()).await;
        }
        clock.advance(Duration::from_millis(59_999));
        {
            let journal = open(&folder, &clock);
            assert_eq!(journal.append(short()).await, Ok(Appended::Duplicate(1)));
            assert_eq!(journal.append(long()).await, Ok(Appended::Duplicate(2)));
        }
        clock.advance(Duration::from_millis(1));
        let journal = open(&folder, &clock);
        assert_eq!(journal.append(short()).await, Ok(Appended::New(3)));
        assert_eq!(journal.append(long()).await, Ok(Appended::Duplicate(2)));
    }

    #[tokio::test]
    async fn claims_of_another_database_make_nothing_a_duplicate() {
        let (folder, clock) = (TestFolder::new(), clock());
        let claims = folder.path().join("claims");
        drop(open(&folder, &clock));
        // As it is after a restored backup: the runs know events that the database does not have.
        let made = numbered(7).claim.made(5, clock_millis(&clock));
        super::super::claims::seal(&claims, &[made]).unwrap();
        let journal = open(&folder, &clock);
        assert_eq!(journal.append(numbered(7)).await, Ok(Appended::New(1)));
    }

    #[tokio::test]
    async fn after_a_trim_numbers_go_on_where_they_were() {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        for number in 1..=3 {
            new(&*journal, numbered(number)).await;
        }
        trim_all(&*journal, Seq::MAX).await;
        drop(journal);
        let journal = open(&folder, &clock);
        assert_eq!(journal.tail().head(), 3);
        assert_eq!(seqs(&*journal, 0, 100).await, [3]);
        assert_eq!(new(&*journal, numbered(4)).await, 4);
        // Claims outlive their events.
        for number in 1..=3 {
            let again = journal.append(numbered(number.into())).await;
            assert_eq!(again, Ok(Appended::Duplicate(number)));
        }
    }

    #[tokio::test]
    async fn a_closed_one_takes_nothing_and_another_may_open_it() {
        let (folder, clock) = (TestFolder::new(), clock());
        let first = open(&folder, &clock);
        new(&*first, numbered(1)).await;
        first.close().await;
        assert!(first.append(numbered(2)).await.is_err());
        let second = open(&folder, &clock);
        assert_eq!(new(&*second, numbered(2)).await, 2);
        first.close().await;
        drop(first);
        assert_eq!(new(&*second, numbered(3)).await, 3);
    }

    #[tokio::test]
    async fn a_second_one_is_refused_while_the_first_is_open() {
        let (folder, clock) = (TestFolder::new(), clock());
        let first = open(&folder, &clock);
        for _ in 0..2 {
            let second = try_open(&folder, &clock);
            assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
        }
        assert_eq!(first.append(numbered(1)).await, Ok(Appended::New(1)));
        drop(first);
        assert_eq!(open(&folder, &clock).tail().head(), 1);
    }

    #[tokio::test]
    async fn what_was_asked_for_before_the_end_is_done_before_another_opens() {
        let clock = clock();
        for _ in 0..20 {
            let folder = TestFolder::new();
            let journal = open(&folder, &clock);
            // One turn of a task sends so much and no more; this begins another.
            tokio::task::yield_now().await;
            // Sent and not waited for, as by a sender that hangs up.
            let asked: Vec<_> = (0..50)
                .map(|number| {
                    let journal = Arc::clone(&journal);
                    let mut append =
                        Box::pin(async move { journal.append(numbered(number)).await });
                    let _ = futures_util::FutureExt::now_or_never(append.as_mut());
                    append
                })
                .collect();
            drop(asked);
            drop(journal);
            let journal = open(&folder, &clock);
            assert_eq!(journal.tail().head(), 50);
            assert_eq!(
                journal.append(numbered(0)).await,
                Ok(Appended::Duplicate(1))
            );
        }
    }

    #[tokio::test]
    async fn a_newer_version_is_refused_and_left_alone() {
        let (folder, clock) = (TestFolder::new(), clock());
        drop(open(&folder, &clock));
        database(folder.path())
            .pragma_update(None, "user_version", 99)
            .unwrap();
        let error = refused(&folder, &clock);
        assert!(
            matches!(error, OpenError::Newer { found: 99, known } if known < 99),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn another_programs_database_is_refused_and_left_alone() {
        let strangers = [
            "CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('Hello');",
            "PRAGMA application_id = 7; CREATE TABLE events (seq INTEGER PRIMARY KEY);",
            "PRAGMA application_id = 7;",
            "PRAGMA user_version = 1;",
        ];
        for stranger in strangers {
            let (folder, clock) = (TestFolder::new(), clock());
            database(folder.path()).execute_batch(stranger).unwrap();
            let error = refused(&folder, &clock);
            assert!(matches!(error, OpenError::NotOurs), "{stranger}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused_and_left_alone() {
        type Damage = fn(&mut Vec<u8>);
        let damages: [(&str, Damage); 5] = [
            ("garbage", |bytes| *bytes = garbage(20_000)),
            ("short garbage", |bytes| *bytes = garbage(30)),
            ("first page", |bytes| {
                bytes[..4096].copy_from_slice(&garbage(4096));
            }),
            ("zeros", |bytes| bytes[..4096].fill(0)),
            ("schema", |bytes| {
                bytes[100..4096].copy_from_slice(&garbage(3996));
            }),
        ];
        for (name, damage) in damages {
            let (folder, clock) = (TestFolder::new(), clock());
            let journal = open(&folder, &clock);
            new(&*journal, numbered(1)).await;
            drop(journal);
            let path = folder.path().join("journal.db");
            let mut bytes = std::fs::read(&path).unwrap();
            damage(&mut bytes);
            std::fs::write(&path, bytes).unwrap();
            let error = refused(&folder, &clock);
            assert!(matches!(error, OpenError::Damaged(_)), "{name}: {error:?}");
        }
    }

    #[tokio::test]
    async fn a_journal_that_is_gone_is_not_begun_anew_without_a_word() {
        type Left = fn(&Path);
        let table: [(&str, Left); 3] = [
            ("index.db", |folder| {
                std::fs::write(folder.join("index.db"), "an index").unwrap();
            }),
            ("claims/5.run", |folder| {
                let made = numbered(7).claim.made(5, 0);
                super::super::claims::seal(&folder.join("claims"), &[made]).unwrap();
            }),
            ("journal.db-wal", |folder| {
                std::fs::write(folder.join("journal.db-wal"), "events").unwrap();
            }),
        ];
        for (left, leave) in table {
            for empty in [true, false] {
                let (folder, clock) = (TestFolder::new(), clock());
                drop(open(&folder, &clock));
                let path = folder.path().join("journal.db");
                std::fs::remove_file(&path).unwrap();
                for suffix in ["-wal", "-shm"] {
                    let _ = std::fs::remove_file(folder.path().join(format!("journal.db{suffix}")));
                }
                leave(folder.path());
                if empty {
                    std::fs::write(&path, "").unwrap();
                }
                let error = try_open(&folder, &clock).unwrap_err();
                let text = error.to_string();
                assert!(matches!(error, OpenError::Missing { .. }), "{text}");
                assert!(text.contains(left) && text.contains("backup"), "{text}");
                // Nothing was made that would let it pass the next time, and nothing removed.
                assert!(std::fs::metadata(&path).map_or(0, |file| file.len()) == 0);
                assert!(folder.path().join(left).exists());
                try_open(&folder, &clock).unwrap_err();
            }
        }
        // A process that died before it had written anything has left nothing to lose.
        let (folder, clock) = (TestFolder::new(), clock());
        std::fs::create_dir(folder.path().join("claims")).unwrap();
        std::fs::write(folder.path().join("journal.db"), "").unwrap();
        assert_eq!(new(&*open(&folder, &clock), numbered(1)).await, 1);
    }

    #[tokio::test]
    async fn folders_are_made_where_there_are_none() {
        let (folder, clock) = (TestFolder::new(), clock());
        let deep = folder.path().join("a/b/c");
        for head in [0, 1] {
            let journal = Sqlite::open(&deep, JournalMetrics::unrecorded(), clock.clone()).unwrap();
            assert_eq!(journal.tail().head(), head);
            new(&journal, numbered(head.into())).await;
        }
    }

    #[tokio::test]
    async fn a_journal_that_goes_while_it_is_open_is_not_begun_anew() {
        for replaced in [false, true] {
            let (folder, clock) = (TestFolder::new(), clock());
            let journal = open(&folder, &clock);
            for number in 1..=3 {
                new(&*journal, numbered(number)).await;
            }
            rename(folder.path(), "blocks", "hidden");
            assert!(journal.append(numbered(4)).await.is_err());
            for suffix in ["", "-wal", "-shm"] {
                let file = folder.path().join(format!("journal.db{suffix}"));
                // A WAL is there only while somebody has it open.
                let _ = std::fs::rename(&file, folder.path().join(format!("away{suffix}")));
            }
            if replaced {
                let other = TestFolder::new();
                let another = open(&other, &clock);
                new(&*another, numbered(1)).await;
                another.close().await;
                let (from, to) = (other.path(), folder.path());
                std::fs::copy(from.join("journal.db"), to.join("journal.db")).unwrap();
            }
            clock.advance(Duration::from_secs(1));
            let refused = journal.append(numbered(4)).await;
            assert!(refused.is_err(), "{refused:?}");
            assert!(!journal.is_ready());
            assert_eq!(folder.path().join("journal.db").exists(), replaced);
        }
    }

    #[tokio::test]
    async fn a_trim_that_is_not_possible_refuses_nothing_else() {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        for number in 1..=3 {
            new(&*journal, numbered(number)).await;
        }
        let claims = folder.path().join("claims");
        std::fs::remove_dir(&claims).unwrap();
        let trimmed = journal.trim(2).await;
        assert!(trimmed.is_err(), "{trimmed:?}");
        assert!(journal.is_ready());
        assert_eq!(new(&*journal, numbered(4)).await, 4);
        assert_eq!(seqs(&*journal, 0, 10).await, [1, 2, 3, 4]);
        std::fs::create_dir(&claims).unwrap();
        assert_eq!(trim_all(&*journal, 2).await, 2);
        assert_eq!(seqs(&*journal, 0, 10).await, [3, 4]);
    }

    #[tokio::test]
    async fn long_bodies_are_trimmed_a_few_at_a_time() {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        for number in 0..6 {
            let received = body(&"x".repeat(12 * 1024 * 1024));
            new(&*journal, entry(received, number, Duration::ZERO)).await;
        }
        assert_eq!(journal.trim(Seq::MAX).await, Ok(3));
        assert_eq!(journal.trim(Seq::MAX).await, Ok(2));
        assert_eq!(journal.trim(Seq::MAX).await, Ok(0));
        assert_eq!(seqs(&*journal, 0, 10).await, [6]);
    }

    #[tokio::test]
    async fn who_has_closed_is_not_ready() {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        journal.close().await;
        assert!(!journal.is_ready());
    }

    #[tokio::test]
    async fn progress_that_cannot_be_read_is_an_error_and_not_a_new_consumer() {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        save(&*journal, "a", &saved(&[1]), vec![]).await;
        let damage = "UPDATE consumers SET saved = x'00'";
        database(folder.path()).execute(damage, []).unwrap();
        assert!(journal.saved("a").await.is_err());
        assert_eq!(journal.saved("b").await, Ok(None));
    }

    #[tokio::test]
    async fn after_a_failed_write_nothing_is_acknowledged_until_one_succeeds() {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        new(&*journal, numbered(1)).await;

        rename(folder.path(), "blocks", "hidden");
        let refused = journal.append(numbered(2)).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(!journal.is_ready());
        assert_eq!(journal.tail().head(), 1);

        // Repaired, and not tried yet.
        rename(folder.path(), "hidden", "blocks");
        assert!(journal.append(numbered(2)).await.is_err());
        assert!(!journal.is_ready());

        clock.advance(Duration::from_secs(1));
        // What was refused has claimed nothing.
        assert_eq!(journal.append(numbered(2)).await, Ok(Appended::New(2)));
        assert!(journal.is_ready());
        assert_eq!(
            journal.append(numbered(1)).await,
            Ok(Appended::Duplicate(1))
        );
        assert_eq!(seqs(&*journal, 0, 10).await, [1, 2]);
    }

    #[tokio::test]
    async fn while_the_damage_lasts_it_keeps_trying() {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        rename(folder.path(), "blocks", "hidden");
        for _ in 0..3 {
            assert!(journal.append(numbered(1)).await.is_err());
            assert!(!journal.is_ready());
            clock.advance(Duration::from_secs(1));
        }
        rename(folder.path(), "hidden", "blocks");
        // It may have tried by itself just before the repair, and wait for the next second.
        let mut appended = journal.append(numbered(1)).await;
        for _ in 0..2 {
            if appended.is_err() {
                clock.advance(Duration::from_secs(1));
                appended = journal.append(numbered(1)).await;
            }
        }
        assert_eq!(appended, Ok(Appended::New(1)));
        assert!(journal.is_ready());
    }

    fn database(folder: &Path) -> Connection {
        Connection::open(folder.join("journal.db")).unwrap()
    }

    fn rename(folder: &Path, from: &str, to: &str) {
        let rename = format!("ALTER TABLE {from} RENAME TO {to}");
        database(folder).execute_batch(&rename).unwrap();
    }

    /// Why it does not open; the file must be what it was, to the byte.
    fn refused(folder: &TestFolder, clock: &Arc<FakeClock>) -> OpenError {
        let path = folder.path().join("journal.db");
        let before = std::fs::read(&path).unwrap();
        let error = try_open(folder, clock).unwrap_err();
        assert!(std::fs::read(&path).unwrap() == before, "the file changed");
        // And again: nothing that the first try left behind makes it pass.
        try_open(folder, clock).unwrap_err();
        assert!(std::fs::read(&path).unwrap() == before, "the file changed");
        error
    }

    fn garbage(length: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        std::iter::repeat_with(|| random.u8(..))
            .take(length)
            .collect()
    }
}

fn clock() -> Arc<FakeClock> {
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    Arc::new(FakeClock::new(start))
}

fn clock_millis(clock: &FakeClock) -> i64 {
    Clock::now(clock).as_millisecond()
}

fn open(folder: &TestFolder, clock: &Arc<FakeClock>) -> Arc<dyn Journal> {
    Arc::new(try_open(folder, clock).unwrap())
}

fn try_open(folder: &TestFolder, clock: &Arc<FakeClock>) -> Result<Sqlite, OpenError> {
    Sqlite::open(folder.path(), JournalMetrics::unrecorded(), clock.clone())
}

fn entry(received: Received, key: u128, window: Duration) -> Entry {
    Entry {
        events: Raw::default().events(&"{}".into()).into(),
        received: Arc::new(received),
        claim: Claim {
            key,
            window,
            named: false,
        },
    }
}

/// An event that is like no other but those of this number.
fn numbered(number: u128) -> Entry {
    let mut received = body(&number.to_string());
    received.id = Uuid::from_u128(number);
    // Spread, as hashes are.
    let key = number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    entry(received, key, WINDOW)
}

fn body(text: &str) -> Received {
    Received::new("gateway", text.to_owned())
}

async fn new(journal: &dyn Journal, entry: Entry) -> Seq {
    match journal.append(entry).await {
        Ok(Appended::New(seq)) => seq,
        other => panic!("{other:?}"),
    }
}

async fn seqs(journal: &dyn Journal, after: Seq, most: usize) -> Vec<Seq> {
    let records = journal.read(after, most).await.unwrap();
    records.iter().map(|record| record.seq).collect()
}

/// Events with everything that could get lost on the way.
fn remarkable() -> Vec<Received> {
    let mut all = vec![
        body(""),
        body("{}"),
        Received::new(HOSTILE, Bytes::from_static(b"\0\xff\xfe\0")),
        Received::new("", vec![0; 1024 * 1024]),
        Received::new(
            "gateway",
            (0..=255).cycle().take(1 << 20).collect::<Vec<u8>>(),
        ),
    ];
    let sessions = [
        Some(""),
        Some("408f"),
        Some(HOSTILE),
        Some("\u{10ffff}é\u{1}"),
    ];
    all.extend(sessions.map(|session| {
        let mut received = body("a body");
        received.session = session.map(str::to_owned);
        received
    }));
    let times = [
        0,
        1,
        -1,
        1_700_000_000_123_456_789,
        1_999_999_999_999_999_999,
    ];
    all.extend(times.map(|nanoseconds| {
        let mut received = body("at a time");
        received.received_at = Timestamp::from_nanosecond(nanoseconds).unwrap();
        received
    }));
    let every_byte: Vec<u8> = (0..=255).collect();
    let headers: [Vec<(&'static str, Bytes)>; 3] = [
        vec![("content-type", "application/json".into())],
        vec![
            ("x-bytes", every_byte.into()),
            ("x-empty", Bytes::new()),
            ("x-twice", "1".into()),
            ("x-twice", "2".into()),
        ],
        vec![("", "no name".into()), (HOSTILE, HOSTILE.into())],
    ];
    all.extend(headers.map(|headers| {
        let mut received = body("with headers");
        let pairs = headers.into_iter();
        received.headers = pairs.map(|(name, value)| (name.into(), value)).collect();
        received
    }));
    for (number, received) in all.iter_mut().enumerate() {
        received.id = Uuid::from_u128(u128::MAX - number as u128);
    }
    all
}

async fn assert_all_there(journal: &dyn Journal, all: &[Received]) {
    let read = journal.read(0, all.len() + 1).await.unwrap();
    assert_eq!(read.len(), all.len());
    for (index, (record, received)) in read.iter().zip(all).enumerate() {
        assert_same(record, index as Seq + 1, received);
    }
    let ids: HashSet<_> = read.iter().map(|record| record.received.id).collect();
    assert_eq!(ids.len(), all.len());
}

/// Large bodies are not printed when they differ.
fn assert_same(record: &Record, seq: Seq, received: &Received) {
    let kept = &record.received;
    assert_eq!(record.seq, seq);
    assert_eq!(kept.id, received.id);
    assert_eq!(kept.source, received.source);
    assert_eq!(kept.session, received.session);
    assert_eq!(kept.received_at, received.received_at);
    assert_eq!(kept.headers, received.headers);
    assert!(kept.body == received.body, "the body of {seq} differs");
}

fn saved(settled: &[Seq]) -> Saved {
    let mut saved = Saved::default();
    for seq in settled {
        saved.progress.settle(*seq);
        saved.waiting.push(Waiting {
            seq: seq * 1000,
            attempts: u32::MAX,
            due: i64::MIN + 1,
        });
    }
    saved
}

async fn save(journal: &dyn Journal, consumer: &str, saved: &Saved, dead: Vec<DeadLetter>) {
    let change = Change {
        revived: Vec::new(),
        consumer: consumer.to_owned(),
        saved: saved.clone(),
        dead,
    };
    journal.save(change).await.unwrap();
}

async fn put(journal: &dyn Journal, key: &str, value: Option<&[u8]>) {
    let value = value.map(<[u8]>::to_vec);
    assert_eq!(journal.put_document(key, value).await, Ok(()));
}

fn letter(seq: Seq, reason: &str) -> DeadLetter {
    DeadLetter {
        seq,
        attempts: 12,
        reason: reason.to_owned(),
        at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
    }
}

const WINDOW: Duration = Duration::from_secs(3600);

/// A name that is anything but.
const HOSTILE: &str = "'; DROP TABLE events; --\0\n%_\"\u{202e}\u{fffd}";
