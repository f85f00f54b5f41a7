//! Cases about shares and the instances that hold them.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;

use super::provider::Instances;
use super::samples::{
    WINDOW, body, change, divided, letter, letters, new, numbered, only_head, part, same, save,
    seqs, spread,
};
use crate::clock::FakeClock;
use crate::journal::{Position, ProgressChange, Share, Unavailable, share_of};

/// Each event is in the share of its session, and each share of a journal has a desk.
pub async fn parts_are_divided_into_shares(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first().as_ref();
    let shares = journal.shares();
    assert!(shares >= 1);
    assert_eq!(instances.second().shares(), shares);
    let sessions: Vec<String> = (0..64).map(|number| format!("session {number}")).collect();
    let keys = sessions.iter().zip(1u128..);
    let parts = keys.map(|(session, key)| part(Some(session), spread(key), WINDOW));
    let mut received = body("of all sessions");
    received.session = Some(sessions[0].clone());
    new(journal, divided(received, parts.collect())).await;
    let record = journal.read(0, 1).await.unwrap().remove(0);
    let mut found = BTreeSet::new();
    for (view, session) in record.parts.views(&record.received).zip(&sessions) {
        assert_eq!(view.session, Some(session.as_str()));
        assert_eq!(view.share, share_of("gateway", Some(session), shares));
        found.insert(view.share);
    }
    assert_eq!(
        found,
        (0..shares).collect(),
        "64 sessions reach every share"
    );
}

/// A consumer has its own progress in each share; introducing and forgetting apply to all shares.
pub async fn a_share_has_progress_of_its_own(instances: Instances, _: Arc<FakeClock>) {
    let journal = instances.first();
    journal.introduce("a", b"start").await.unwrap();
    let mut desks = Vec::new();
    for share in 0..journal.shares() {
        let desk = instances.of(share.into()).desk(share).await.unwrap();
        assert_eq!(desk.share(), share);
        assert_eq!(
            desk.saved("a").await,
            Ok(Some(only_head(b"start".to_vec())))
        );
        save(desk.as_ref(), "a", &share.to_le_bytes(), vec![]).await;
        desks.push(desk);
    }
    for desk in &desks {
        let own: Share = desk.share();
        let saved = desk.saved("a").await;
        assert_eq!(saved, Ok(Some(only_head(own.to_le_bytes()))));
    }
    instances.second().forget_consumer("a").await.unwrap();
    for desk in &desks {
        assert_eq!(desk.saved("a").await, Ok(None));
    }
}

/// The next owner of a share finds what the earlier one saved; the earlier one can save nothing
/// more.
pub async fn a_later_desk_fences_an_earlier_one(instances: Instances, _: Arc<FakeClock>) {
    let (first, second) = (instances.first(), instances.second());
    for share in 0..first.shares() {
        let earlier = first.desk(share).await.unwrap();
        save(earlier.as_ref(), "a", b"earlier", vec![letter(1, "kept")]).await;
        let later = second.desk(share).await.unwrap();
        assert_eq!(
            later.saved("a").await,
            Ok(Some(only_head(b"earlier".to_vec())))
        );
        let fenced = earlier
            .save(change("a", b"late", vec![letter(2, "late")]))
            .await;
        assert_eq!(fenced, Err(Unavailable::Fenced(share)));
        assert_eq!(
            later.saved("a").await,
            Ok(Some(only_head(b"earlier".to_vec())))
        );
        assert_eq!(letters(first.as_ref(), "a").await, [letter(1, "kept")]);
        save(later.as_ref(), "a", b"later", vec![]).await;
        // The earlier owner may take the share back.
        let again = first.desk(share).await.unwrap();
        assert_eq!(
            again.saved("a").await,
            Ok(Some(only_head(b"later".to_vec())))
        );
        let fenced = later.save(change("a", b"late", vec![])).await;
        assert_eq!(fenced, Err(Unavailable::Fenced(share)));
    }
}

/// A save of an earlier desk changes nothing of what the later one finds: neither head nor rows, nor dead letters.
pub async fn a_fenced_save_changes_nothing(instances: Instances, _: Arc<FakeClock>) {
    let (first, second) = (instances.first(), instances.second());
    let row = |key: &[u8], value: Option<&[u8]>| (key.to_vec(), value.map(<[u8]>::to_vec));
    let earlier = first.desk(0).await.unwrap();
    let before = ProgressChange {
        rows: vec![row(b"stays", Some(b"1")), row(b"changes", Some(b"2"))],
        ..change("a", b"head", vec![letter(1, "one"), letter(2, "two")])
    };
    earlier.save(before).await.unwrap();
    let later = second.desk(0).await.unwrap();
    let saved = later.saved("a").await;
    let late = ProgressChange {
        rows: vec![
            row(b"stays", None),
            row(b"changes", Some(b"x")),
            row(b"new", Some(b"y")),
        ],
        revived: vec![Position::first(1)],
        ..change("a", b"late", vec![letter(2, "late"), letter(3, "late")])
    };
    for _ in 0..2 {
        assert_eq!(
            earlier.save(late.clone()).await,
            Err(Unavailable::Fenced(0))
        );
        let unknown = change("unknown", b"late", vec![letter(4, "late")]);
        assert_eq!(earlier.save(unknown).await, Err(Unavailable::Fenced(0)));
    }
    assert_eq!(later.saved("a").await, saved);
    assert_eq!(later.saved("unknown").await, Ok(None));
    for journal in [first, second] {
        let left = [letter(1, "one"), letter(2, "two")];
        assert_eq!(letters(journal.as_ref(), "a").await, left);
        assert_eq!(letters(journal.as_ref(), "unknown").await, []);
    }
}

/// The tails of all instances show the same bodies under the same numbers, without gaps, also those that others
/// append at the same time.
pub async fn tails_of_all_instances_are_equal(instances: Instances, _: Arc<FakeClock>) {
    const EVENTS: u64 = 200;
    let tasks = (0..EVENTS).map(|number| {
        let journal = instances.of(number);
        tokio::spawn(async move { new(journal.as_ref(), numbered(number.into())).await })
    });
    let numbers = join_all(tasks).await.into_iter().map(Result::unwrap);
    assert_eq!(numbers.collect::<BTreeSet<_>>(), (1..=EVENTS).collect());
    for journal in [instances.first(), instances.second()] {
        let mut head = journal.tail().watch();
        head.wait_for(|head| *head == EVENTS).await.unwrap();
    }
    let read = instances.first().read(0, usize::MAX).await.unwrap();
    assert_eq!(read.len() as u64, EVENTS);
    for record in read {
        for journal in [instances.first(), instances.second()] {
            let told = journal.tail().get(record.seq).expect("few and small");
            same(&told, record.seq, &record.received);
            assert_eq!(told.kept_at, record.kept_at);
        }
    }
}

/// All instances see one log, whichever of them appends.
pub async fn two_owners_share_one_log(instances: Instances, _: Arc<FakeClock>) {
    for number in 1..=10u64 {
        let journal = instances.of(number);
        assert_eq!(new(journal.as_ref(), numbered(number.into())).await, number);
    }
    for journal in [instances.first(), instances.second()] {
        let mut head = journal.tail().watch();
        head.wait_for(|head| *head == 10).await.unwrap();
        let all: Vec<_> = (1..=10).collect();
        assert_eq!(seqs(journal.as_ref(), 0, 100).await, all);
    }
}
