//! Cases about shares and the instances that hold them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::provider::Instances;
use super::samples::{
    WINDOW, body, change, divided, letter, letters, new, numbered, only_head, part, save, seqs,
    spread,
};
use crate::clock::FakeClock;
use crate::journal::{Share, Unavailable, share_of};

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
