//! Cases about bodies that hold several events.

use std::sync::Arc;
use std::time::Duration;

use super::provider::Instances;
use super::samples::{WINDOW, body, change, divided, duplicate, entry, part, spread};
use crate::clock::FakeClock;
use crate::journal::{Appended, DeadLetter, KeptPart, Position, ProgressChange};

/// Each event of a body has its own dedup key.
pub async fn each_part_has_its_own_key(instances: Instances, clock: Arc<FakeClock>) {
    let journal = instances.first();
    let short = Duration::from_secs(60);
    let parts = vec![part(None, spread(1), WINDOW), part(None, spread(2), short)];
    let appended = journal.append(divided(body("both"), parts)).await;
    assert_eq!(appended, Ok(Appended::new(1)));
    let second = || entry(body("second"), spread(2), short);
    let of_part = |number| Appended::Duplicate(vec![Position::new(1, number)]);
    assert_eq!(journal.append(second()).await, Ok(of_part(2)));
    let first = entry(body("first"), spread(1), WINDOW);
    assert_eq!(journal.append(first).await, Ok(of_part(1)));
    clock.advance(short);
    assert_eq!(journal.append(second()).await, Ok(Appended::new(2)));
    assert_eq!(journal.append(second()).await, Ok(duplicate(2)));
}

/// A body without parts is stored as one event and is never a duplicate.
pub async fn a_body_without_parts_is_kept(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    for number in 1..=2 {
        let appended = journal.append(divided(body("empty"), Vec::new())).await;
        assert_eq!(appended, Ok(Appended::new(number)));
    }
    let read = journal.read(0, 10).await.unwrap();
    assert!(read.iter().all(|record| record.parts.count() == 1) && read.len() == 2);
}

/// A body with some duplicates is stored; its duplicate parts are marked, with their originals.
pub async fn a_partly_duplicate_body_is_kept(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    let of = |keys: &[(u128, Option<&str>)]| {
        let parts = keys.iter();
        let parts = parts.map(|(key, session)| part(*session, spread(*key), WINDOW));
        divided(body("several"), parts.collect())
    };
    let one = of(&[(1, None), (2, Some("other")), (3, None)]);
    assert_eq!(journal.append(one.clone()).await, Ok(Appended::new(1)));
    let next = of(&[(4, None), (2, Some("other")), (1, None)]);
    let originals = vec![(2, Position::new(1, 2)), (3, Position::new(1, 1))];
    let appended = journal.append(next).await;
    let expected = Appended::New {
        seq: 2,
        duplicates: originals,
    };
    assert_eq!(appended, Ok(expected));
    let all = [1, 2, 3].map(|part| Position::new(1, part)).to_vec();
    assert_eq!(journal.append(one).await, Ok(Appended::Duplicate(all)));

    let kept = |session: Option<&str>, duplicate| KeptPart {
        session: session.map(str::to_owned),
        duplicate,
    };
    let expected = [
        vec![
            kept(None, false),
            kept(Some("other"), false),
            kept(None, false),
        ],
        vec![
            kept(None, false),
            kept(Some("other"), true),
            kept(None, true),
        ],
    ];
    let read = journal.read(0, 10).await.unwrap();
    assert_eq!(read.len(), 2);
    for (record, expected) in read.iter().zip(&expected) {
        let told = journal.tail().get(record.seq).unwrap();
        for parts in [&record.parts, &told.parts] {
            assert_eq!(parts.kept().cloned().collect::<Vec<_>>(), *expected);
        }
    }
}

/// Each event of a body can be a dead letter of its own.
pub async fn dead_letters_are_kept_by_part(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    let desk = journal.desk(0).await.unwrap();
    let positions = [
        Position::new(1, 1),
        Position::new(1, 2),
        Position::new(2, 1),
    ];
    let letters = positions.map(|position| DeadLetter {
        position,
        ..super::samples::letter(1, "why")
    });
    desk.save(change("a", b"", letters.to_vec())).await.unwrap();
    let named = |number: usize| ("a".to_owned(), letters[number].clone());
    let newest_first = vec![named(2), named(1), named(0)];
    let found = journal.dead_letters(None, None, 10).await;
    assert_eq!(found, Ok(newest_first));
    let before = Some((positions[1], ""));
    let found = journal.dead_letters(None, before, 10).await;
    assert_eq!(found, Ok(vec![named(0)]));
    let found = journal.dead_letters_of(&positions[1..2]).await;
    assert_eq!(found, Ok(vec![named(1)]));
    let revived = ProgressChange {
        revived: vec![positions[0]],
        ..change("a", b"", vec![])
    };
    desk.save(revived).await.unwrap();
    let forgotten = journal.forget_dead_letters("a", &positions[..2]).await;
    assert_eq!(forgotten, Ok(1));
    let found = journal.dead_letters(None, None, 10).await;
    assert_eq!(found, Ok(vec![named(2)]));
}
