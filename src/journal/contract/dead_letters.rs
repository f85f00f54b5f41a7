//! Cases about dead letters.

use std::sync::Arc;

use super::provider::Instances;
use super::samples::{HOSTILE, change, letter, letters, new, numbered, save};
use crate::clock::FakeClock;
use crate::journal::{Journal, NamedLetter, Position, ProgressChange, Seq};

/// Each consumer has its own dead letters, in the order of the events.
pub async fn dead_letters_are_kept_by_consumer(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    let desk = journal.desk(0).await.unwrap();
    let desk = desk.as_ref();
    assert_eq!(letters(journal, "a").await, []);
    save(desk, "a", b"", vec![letter(9, "late"), letter(3, HOSTILE)]).await;
    save(desk, "b", b"", vec![letter(3, "other consumer")]).await;
    save(desk, "a", b"", vec![letter(5, "")]).await;
    let expected = [letter(3, HOSTILE), letter(5, ""), letter(9, "late")];
    assert_eq!(letters(journal, "a").await, expected);
    assert_eq!(letters(journal, "b").await, [letter(3, "other consumer")]);
    // An event that fails again after a replay is one dead letter, the newer one.
    save(desk, "b", b"", vec![letter(3, "again")]).await;
    assert_eq!(letters(journal, "b").await, [letter(3, "again")]);
}

/// Dead letters are found newest first, page by page, and by event.
pub async fn dead_letters_are_found_newest_first(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    letters_of_two(journal).await;
    let of = |consumer: &str, seq| (consumer.to_owned(), letter(seq, consumer));
    let (a, b) = (|seq| of("a", seq), |seq| of("b", seq));
    // The consumer, the letter before the page, the page's size, the letters found.
    type Row<'a> = (
        Option<&'a str>,
        Option<(Seq, &'a str)>,
        usize,
        Vec<NamedLetter>,
    );
    let table: [Row<'_>; 11] = [
        (Some("a"), None, usize::MAX, vec![a(5), a(3), a(1)]),
        (Some("a"), Some((5, "")), 1, vec![a(3)]),
        (Some("a"), Some((1, "")), 10, vec![]),
        (Some("a"), Some((1 << 40, "")), 2, vec![a(5), a(3)]),
        (Some("c"), None, 10, vec![]),
        (Some("a"), None, 0, vec![]),
        (None, Some((5, "")), 1, vec![b(4)]),
        (None, Some((5, "b")), 1, vec![a(5)]),
        (None, Some((3, "b")), 10, vec![a(3), a(1)]),
        (None, Some((3, "a")), 10, vec![a(1)]),
        (Some("a"), Some((3, "b")), 1, vec![a(3)]),
    ];
    for (consumer, before, most, expected) in table {
        let place = before.map(|(seq, name)| (Position::first(seq), name));
        let found = journal.dead_letters(consumer, place, most).await;
        assert_eq!(found, Ok(expected), "{consumer:?} {before:?} {most}");
    }
    let all = [a(5), b(4), b(3), a(3), a(1)];
    // Pages of any size skip no letter and repeat none.
    for most in 1..=6 {
        let mut found: Vec<NamedLetter> = Vec::new();
        loop {
            let last = found.last();
            let before = last.map(|(name, letter)| (letter.position, name.as_str()));
            let page = journal.dead_letters(None, before, most).await.unwrap();
            if page.is_empty() {
                break;
            }
            found.extend(page);
        }
        assert_eq!(found, all, "{most} at a time");
    }

    let among = async |seqs: &[Seq]| {
        let events: Vec<_> = seqs.iter().map(|seq| Position::first(*seq)).collect();
        let mut among = journal.dead_letters_of(&events).await.unwrap();
        among.sort_by_key(|(name, letter)| (letter.position, name.clone()));
        among
    };
    assert_eq!(among(&[3, 5, 6]).await, [a(3), b(3), a(5)]);
    assert_eq!(among(&[]).await, []);
    assert_eq!(among(&[2, 1 << 40]).await, []);
}

/// Forgetting removes these dead letters and no others.
pub async fn forgotten_dead_letters_are_gone(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    letters_of_two(journal).await;
    let forget = async |consumer: &str, seqs: &[Seq]| {
        let events: Vec<_> = seqs.iter().map(|seq| Position::first(*seq)).collect();
        journal
            .forget_dead_letters(consumer, &events)
            .await
            .unwrap()
    };
    assert_eq!(forget("a", &[3, 4, 5, 99]).await, 2);
    assert_eq!(letters(journal, "a").await, [letter(1, "a")]);
    let others = [letter(3, "b"), letter(4, "b")];
    assert_eq!(letters(journal, "b").await, others);
    assert_eq!(forget("a", &[3]).await, 0);
    assert_eq!(forget("b", &[]).await, 0);
    assert_eq!(forget("c", &[3, 4]).await, 0);
    assert_eq!(letters(journal, "b").await, others);
}

/// A replay removes a dead letter, unless the event fails again.
pub async fn revived_dead_letters_are_gone(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    for number in 1..=3 {
        new(journal, numbered(number)).await;
    }
    let desk = journal.desk(0).await.unwrap();
    let all = [1, 2, 3].map(|seq| letter(seq, "first")).to_vec();
    save(desk.as_ref(), "a", b"", all.clone()).await;
    save(desk.as_ref(), "b", b"", all.clone()).await;
    let change = ProgressChange {
        revived: vec![Position::first(1), Position::first(2)],
        ..change("a", b"", vec![letter(2, "again")])
    };
    // A consumer saves a change again if the answer was lost.
    for _ in 0..2 {
        desk.save(change.clone()).await.unwrap();
        let left = [letter(2, "again"), letter(3, "first")];
        assert_eq!(letters(journal, "a").await, left);
        assert_eq!(letters(journal, "b").await, all);
    }
}

/// `a` has given up on 1, 3 and 5, `b` on 3 and 4.
async fn letters_of_two(journal: &dyn Journal) {
    let desk = journal.desk(0).await.unwrap();
    for (consumer, seqs) in [("a", vec![5, 1, 3]), ("b", vec![3, 4])] {
        let letters = seqs.into_iter().map(|seq| letter(seq, consumer)).collect();
        save(desk.as_ref(), consumer, b"", letters).await;
    }
}
