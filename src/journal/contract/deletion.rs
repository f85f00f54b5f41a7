//! Cases about deleted bodies.

use std::sync::Arc;

use super::provider::Instances;
use super::samples::{
    WINDOW, body, divided, duplicate, letter, letters, new, numbered, part, same, save, seqs,
    spread, trim_all,
};
use crate::Received;
use crate::clock::{Clock, FakeClock};
use crate::journal::{Appended, Deletion, Journal, Missing, Record, Seq};

/// A deleted body keeps its number, its id, its times and its dedup key; its dead letters are gone. The other
/// bodies of the same commit stay.
pub async fn a_deleted_body_is_gone_and_its_number_stays(
    instances: Instances,
    clock: Arc<FakeClock>,
) {
    let journal = instances.first().as_ref();
    for number in 1..=5 {
        new(journal, numbered(number)).await;
    }
    let desk = journal.desk(0).await.unwrap();
    let given_up = [2, 3, 4].map(|seq| letter(seq, "a")).to_vec();
    save(desk.as_ref(), "a", b"", given_up).await;
    let before = journal.read(0, 10).await.unwrap();
    clock.advance(std::time::Duration::from_secs(5));
    assert_eq!(journal.delete(&[4, 2]).await, Ok(2));

    let tail = [2, 4].map(|seq| journal.tail().get(seq));
    for record in tail.iter().flatten() {
        is_deleted(record, &before[record.seq as usize - 1], clock.as_ref());
    }
    let after = journal.read(0, 10).await.unwrap();
    assert_eq!(after.len(), 5);
    for (before, after) in before.iter().zip(&after) {
        if [2, 4].contains(&after.seq) {
            is_deleted(after, before, clock.as_ref());
        } else {
            assert_eq!(after.missing, None);
            same(after, before.seq, &before.received);
        }
    }
    assert_eq!(letters(journal, "a").await, [letter(3, "a")]);
    // It came once, so it is not new.
    assert_eq!(journal.append(numbered(2)).await, Ok(duplicate(2)));
    assert_eq!(new(journal, numbered(6)).await, 6);
}

fn is_deleted(record: &Record, before: &Record, clock: &dyn Clock) {
    assert_eq!(record.missing, Some(Missing::Deleted(clock.now())));
    assert_eq!((record.seq, record.kept_at), (before.seq, before.kept_at));
    let left = &record.received;
    assert_eq!(left.id, before.received.id);
    assert_eq!(left.received_at, before.received.received_at);
    assert_eq!((left.session.as_deref(), &*left.source), (None, ""));
    assert!(left.body.is_empty() && left.headers.is_empty() && left.odd.is_none());
    assert!(record.events.known().is_none());
}

/// An attempt may have been running while its body was deleted: it leaves no dead letter.
pub async fn a_deleted_body_gets_no_dead_letter(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    for number in 1..=3 {
        new(journal, numbered(number)).await;
    }
    let desk = journal.desk(0).await.unwrap();
    journal.delete(&[2]).await.unwrap();
    let late = [1, 2, 3].map(|seq| letter(seq, "late")).to_vec();
    save(desk.as_ref(), "a", b"progress", late).await;
    let left = [letter(1, "late"), letter(3, "late")];
    assert_eq!(letters(journal, "a").await, left);
}

/// The newest body can be deleted: the next number follows it all the same.
pub async fn the_newest_body_can_be_deleted(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    assert_eq!(journal.delete(&[]).await, Ok(0));
    assert_eq!(journal.delete(&[1]).await, Ok(0));
    for number in 1..=3 {
        new(journal, numbered(number)).await;
    }
    assert_eq!(journal.delete(&[3]).await, Ok(1));
    assert_eq!(journal.tail().head(), 3);
    assert_eq!(new(journal, numbered(4)).await, 4);
    assert_eq!(journal.append(numbered(3)).await, Ok(duplicate(3)));
    assert_eq!(seqs(journal, 0, 10).await, [1, 2, 3, 4]);
    assert!(journal.is_ready());
}

/// What is deleted already, or is not there, does not count. Of a body each event counts that is not a
/// duplicate.
pub async fn deleting_again_changes_nothing(instances: Instances, clock: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    new(journal, numbered(1)).await;
    let three = [1, 2, 3].map(|number| part(Some("other"), spread(number), WINDOW));
    let appended = journal
        .append(divided(three_events(), three.to_vec()))
        .await;
    assert!(
        matches!(appended, Ok(Appended::New { seq: 2, .. })),
        "{appended:?}"
    );
    assert_eq!(journal.delete(&[1, 2, 2, 7]).await, Ok(3));
    let first = deleted_at(journal).await;
    clock.advance(std::time::Duration::from_secs(5));
    for _ in 0..2 {
        assert_eq!(journal.delete(&[2, 1]).await, Ok(0));
        assert_eq!(deleted_at(journal).await, first);
    }
    for number in 1..=3 {
        let again = journal.append(numbered(number)).await;
        assert!(matches!(again, Ok(Appended::Duplicate(_))), "{again:?}");
    }
}

fn three_events() -> Received {
    let mut received = body("three events");
    received.session = Some("session".to_owned());
    received
}

async fn deleted_at(journal: &dyn Journal) -> Vec<Option<Missing>> {
    let all = journal.read(0, 10).await.unwrap();
    all.iter().map(|record| record.missing).collect()
}

/// Retention removes deleted bodies like others.
pub async fn retention_passes_deleted_bodies(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    for number in 1..=10 {
        new(journal, numbered(number)).await;
    }
    assert_eq!(journal.delete(&[2, 4, 5, 9]).await, Ok(4));
    assert_eq!(trim_all(journal, 4).await, 4);
    assert_eq!(seqs(journal, 0, 100).await, [5, 6, 7, 8, 9, 10]);
    assert_eq!(journal.delete(&[2, 6]).await, Ok(1));
    assert_eq!(deleted(journal, 0).await, [5, 9, 6]);
    assert_eq!(trim_all(journal, Seq::MAX).await, 5);
    assert_eq!(seqs(journal, 0, 100).await, [10]);
    assert_eq!(deleted(journal, 0).await, [0; 0]);
    assert_eq!(new(journal, numbered(11)).await, 11);
}

async fn deleted(journal: &dyn Journal, after: u64) -> Vec<Seq> {
    let all = journal.deletions(after, 100).await.unwrap();
    all.iter().map(|deletion| deletion.seq).collect()
}

/// Deletions have numbers, and those after one can be read.
pub async fn deletions_are_numbered(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    for number in 1..=6 {
        new(journal, numbered(number)).await;
    }
    for seqs in [vec![3], vec![1, 5], vec![5, 6]] {
        journal.delete(&seqs).await.unwrap();
    }
    let all: Vec<Deletion> = journal.deletions(0, 100).await.unwrap();
    let numbers: Vec<u64> = all.iter().map(|one| one.number).collect();
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!(numbers[0] > 0);
    assert_eq!(deleted(journal, 0).await, [3, 1, 5, 6]);
    assert_eq!(deleted(journal, numbers[1]).await, [5, 6]);
    assert_eq!(deleted(journal, numbers[3]).await, [0; 0]);
    let two = journal.deletions(0, 2).await.unwrap();
    assert_eq!(two, all[..2]);
    // A number is not given again when its body has left the log.
    trim_all(journal, Seq::MAX).await;
    new(journal, numbered(7)).await;
    journal.delete(&[7]).await.unwrap();
    let last = journal.deletions(numbers[3], 10).await.unwrap();
    assert_eq!(last.iter().map(|one| one.seq).collect::<Vec<_>>(), [7]);
}
