use bytes::Bytes;
use proptest::prelude::*;

use super::super::cause::Cause;
use super::super::kept::Body;
use super::*;
use crate::signature::Finding;

fn kept(number: u128, cause: Cause, body: usize) -> Kept {
    Kept {
        id: Uuid::from_u128(number),
        at: Timestamp::UNIX_EPOCH,
        source: Some("s".into()),
        session: None,
        is_session_shown: true,
        target: String::new(),
        path: format!("/{number}"),
        method: "POST".to_owned(),
        peer: None,
        status: cause.status(),
        cause,
        headers: Vec::new(),
        bytes: Some(body as u64),
        body: match cause {
            Cause::Path => Body::Unread,
            _ => Body::Whole(Bytes::from(vec![7; body])),
        },
    }
}

fn done(reason: &'static str) -> Diagnosis {
    Diagnosis::OfBody(vec![Finding::new(reason, "why")])
}

fn pool(keep: usize, total: usize) -> Pool {
    let mut pool = Pool::default();
    pool.set_limits(RefusedSettings {
        keep,
        total,
        ..RefusedSettings::default()
    });
    pool
}

fn ids(pool: &Pool) -> Vec<u128> {
    pool.entries.keys().map(|id| id.as_u128()).collect()
}

#[test]
fn what_matters_least_goes_first() {
    let mut pool = pool(8, usize::MAX);
    let signature = |number| kept(number, Cause::Signature, 1);
    pool.add(Entry::new(signature(1), done("base64")));
    pool.add(Entry::new(signature(2), done("unexplained")));
    pool.add(Entry::new(signature(3), Diagnosis::Pending));
    pool.add(Entry::new(kept(4, Cause::Path, 0), done("path-unknown")));
    pool.add(Entry::new(kept(5, Cause::Path, 0), done("path-unknown")));
    pool.add(Entry::new(signature(6), done("base64")));
    pool.add(Entry::new(signature(7), done("unexplained")));
    pool.add(Entry::new(signature(8), Diagnosis::Pending));
    assert_eq!(ids(&pool), [1, 2, 3, 4, 5, 6, 7, 8]);
    let mut next = 9;
    let mut gone = |pool: &mut Pool| {
        let before = ids(pool);
        pool.add(Entry::new(signature(next), done("base64")));
        next += 1;
        let after = ids(pool);
        before.into_iter().find(|id| !after.contains(id)).unwrap()
    };
    // One of eight may be misdirected.
    let order: Vec<u128> = (0..6).map(|_| gone(&mut pool)).collect();
    // Two of eight may wait.
    assert_eq!(order, [4, 2, 7, 1, 6, 9]);
    assert!(ids(&pool).contains(&5));
    assert_eq!(pool.losses.total(), 6);
    pool.add(Entry::new(signature(20), Diagnosis::Pending));
    assert!(!ids(&pool).contains(&3));
}

/// Whoever sends nothing but heads takes few places from bodies that wait for their secret.
#[test]
fn requests_without_a_body_push_out_few_with_one() {
    let mut pool = pool(16, usize::MAX);
    let unexplained = |number| Entry::new(kept(number, Cause::Signature, 1), done("unexplained"));
    for number in 0..16 {
        pool.add(unexplained(number));
    }
    for number in 16..600 {
        let head = Kept {
            body: Body::Unread,
            ..kept(number, Cause::NoSignature, 0)
        };
        let missing = Diagnosis::OfHead(Finding::new("missing", "why"));
        pool.add(Entry::new(head, missing));
    }
    let left: Vec<u128> = (2..16).chain([598, 599]).collect();
    assert_eq!(ids(&pool), left);
    // Nor do bodies that wait take the last places of heads.
    for number in 600..700 {
        pool.add(unexplained(number));
    }
    assert!(ids(&pool).contains(&599), "{:?}", ids(&pool));
}

/// A few long bodies that were not looked into yet.
#[test]
fn a_flood_has_a_quarter_of_the_bytes() {
    let mut pool = pool(1000, 100_000);
    let size = kept(0, Cause::Signature, 1).size();
    for number in 0..20 {
        pool.add(Entry::new(
            kept(number, Cause::Signature, 1),
            done("base64"),
        ));
    }
    for number in 20..60 {
        let long = kept(number, Cause::Signature, 10_000);
        pool.add(Entry::new(long, Diagnosis::Pending));
    }
    assert!(20 * size < 75_000);
    let all = ids(&pool);
    assert!((0..20).all(|number| all.contains(&number)), "{all:?}");
    assert!(all.contains(&59));
}

/// `offhook refused verify --reason` right after a reload.
#[test]
fn what_waits_again_is_found_by_its_last_reason() {
    let mut pool = pool(4, usize::MAX);
    let id = Uuid::from_u128(1);
    pool.add(Entry::new(kept(1, Cause::Signature, 1), done("base64")));
    let of = |reason: &str| Selection {
        reason: Some(reason.to_owned()),
        ..Selection::default()
    };
    let found = |pool: &Pool, reason| pool.selected(&of(reason)).count();
    pool.diagnose_again();
    pool.diagnose_again();
    assert_eq!(found(&pool, "base64"), 1);
    assert_eq!(pool.get(id).unwrap().reason(), None);
    pool.diagnosed(id, done("hex"));
    assert_eq!((found(&pool, "base64"), found(&pool, "hex")), (0, 1));
    pool.diagnose_again();
    pool.diagnosed(id, done("accepted-now"));
    assert_eq!((found(&pool, "hex"), found(&pool, "accepted-now")), (1, 1));
}

/// What comes has a place until it is looked into, whatever else is there.
#[test]
fn explained_requests_of_one_source_leave_room_for_another() {
    let mut pool = pool(16, usize::MAX);
    let of = |number, source: &str| Kept {
        source: Some(source.into()),
        ..kept(number, Cause::Signature, 1)
    };
    for number in 0..16 {
        pool.add(Entry::new(of(number, "a"), done("base64")));
    }
    for number in 16..36 {
        pool.add(Entry::new(of(number, "b"), Diagnosis::Pending));
        if number % 2 == 0 {
            pool.diagnosed(Uuid::from_u128(number), done("base64"));
        }
    }
    let all = Selection::default();
    let count = |source: &str| {
        let of = |entry: &&Entry| entry.kept.source.as_deref() == Some(source);
        pool.selected(&all).filter(of).count()
    };
    assert!(count("a") >= 6 && count("b") >= 6, "{:?}", ids(&pool));
}

/// Whatever mistakes the sender makes, and however long what it sends is.
#[test]
fn one_source_cannot_take_the_places_of_another_by_many_reasons() {
    const REASONS: [&str; 5] = ["base64", "hex", "quoted", "prefix", "algorithm"];
    let mut pool = pool(1000, 1_000_000);
    for number in 0..100 {
        pool.add(Entry::new(
            kept(number, Cause::Signature, 1),
            done("base64"),
        ));
    }
    for (number, reason) in (100..600).zip(REASONS.iter().cycle()) {
        let long = Kept {
            source: Some("other".into()),
            ..kept(number, Cause::Signature, 10_000)
        };
        pool.add(Entry::new(long, done(reason)));
    }
    let left = ids(&pool);
    assert!((0..100).all(|number| left.contains(&number)), "{left:?}");
}

/// Who has the secret of one session cannot fill the places of another.
#[test]
fn what_is_signed_for_another_is_not_worth_more_than_a_stranger() {
    for reason in ["other-session", "other-source", "own-secrets"] {
        let mut pool = pool(4, usize::MAX);
        pool.add(Entry::new(kept(0, Cause::Signature, 1), Diagnosis::Pending));
        for number in 1..20 {
            pool.add(Entry::new(kept(number, Cause::Signature, 1), done(reason)));
        }
        assert!(ids(&pool).contains(&0), "{reason}");
    }
}

/// What was explained before a reload is not lost while it is looked into again.
#[test]
fn a_reload_does_not_make_explained_requests_worth_less() {
    let mut pool = pool(4, usize::MAX);
    pool.add(Entry::new(kept(0, Cause::Signature, 1), done("base64")));
    pool.diagnose_again();
    for number in 1..20 {
        pool.add(Entry::new(
            kept(number, Cause::Signature, 1),
            Diagnosis::Pending,
        ));
    }
    assert!(ids(&pool).contains(&0));
}

#[test]
fn a_path_is_one_entry() {
    let mut pool = pool(8, usize::MAX);
    for _ in 0..100 {
        let again = kept(1, Cause::Path, 0);
        if !pool.count_again(&again) {
            pool.add(Entry::new(again, done("path-unknown")));
        }
    }
    assert_eq!(ids(&pool), [1]);
    assert_eq!(pool.get(Uuid::from_u128(1)).unwrap().count, 100);
}

#[test]
fn nothing_is_kept_without_room() {
    let mut pool = pool(0, usize::MAX);
    pool.add(Entry::new(kept(1, Cause::Signature, 1), Diagnosis::Pending));
    assert_eq!((ids(&pool).len(), pool.bytes()), (0, 0));
    pool.set_limits(RefusedSettings {
        total: 100,
        ..RefusedSettings::default()
    });
    pool.add(Entry::new(
        kept(1, Cause::Signature, 1000),
        Diagnosis::Pending,
    ));
    assert_eq!((ids(&pool).len(), pool.bytes()), (0, 0));
}

#[test]
fn a_diagnosis_is_told_once() {
    let mut pool = pool(8, usize::MAX);
    let id = Uuid::from_u128(1);
    pool.add(Entry::new(kept(1, Cause::Signature, 1), Diagnosis::Pending));
    assert_eq!(pool.newest_pending().unwrap().id, id);
    assert!(pool.diagnosed(id, done("base64")));
    pool.diagnose_again();
    assert!(pool.newest_pending().is_some());
    assert!(!pool.diagnosed(id, done("base64")));
    assert!(!pool.diagnosed(Uuid::from_u128(2), done("base64")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever comes, goes and is set, what is held is counted and within the limits.
    #[test]
    fn what_is_held_is_within_the_limits(
        steps in prop::collection::vec((0..10_u8, 0..40_u128, 0..5000_usize), 1..200),
    ) {
        let mut pool = pool(8, 20_000);
        let mut limits = (8, 20_000);
        for (step, number, size) in steps {
            let id = Uuid::from_u128(number);
            match step {
                0 => {
                    let path = kept(1000 + number, Cause::Path, 0);
                    if !pool.count_again(&path) {
                        pool.add(Entry::new(path, done("path-unknown")));
                    }
                }
                1 => drop(pool.remove(id)),
                6 => pool.diagnose_again(),
                2 => drop(pool.diagnosed(id, done("base64"))),
                7 => drop(pool.diagnosed(id, done("unexplained"))),
                8 if pool.get(id).is_none() => {
                    let head = Kept { body: Body::Unread, ..kept(number, Cause::NoSignature, 0) };
                    let missing = Diagnosis::OfHead(Finding::new("missing", "why"));
                    pool.add(Entry::new(head, missing));
                }
                3 => {
                    limits = (size % 16, size * 10);
                    let (keep, total) = limits;
                    pool.set_limits(RefusedSettings { keep, total, ..RefusedSettings::default() });
                }
                _ if pool.get(id).is_none() => {
                    pool.add(Entry::new(kept(number, Cause::Signature, size), Diagnosis::Pending));
                }
                _ => {}
            }
            let held: usize = pool.entries.values().map(|entry| entry.kept.size()).sum();
            prop_assert_eq!(pool.bytes(), held);
            let ranked: usize = pool.ranks.values().map(|one| one.ids.len()).sum();
            prop_assert_eq!(ranked, pool.entries.len());
            let bytes: usize = pool.ranks.values().map(|one| one.bytes).sum();
            prop_assert_eq!(bytes, held);
            for (id, entry) in &pool.entries {
                prop_assert!(pool.ranks[&entry.rank].ids.contains(id));
            }
            prop_assert!(pool.entries.len() <= limits.0 && held <= limits.1);
        }
    }
}
