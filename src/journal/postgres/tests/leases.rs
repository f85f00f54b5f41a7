//! Leases: who holds which share, and what becomes of those of an instance that vanishes.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use uuid::Uuid;

use super::{HANG, open, options, server};
use crate::journal::contract::{change, letter, letters, new, numbered, only_head, save};
use crate::journal::postgres::{Postgres, PostgresOptions};
use crate::journal::{Cluster as _, Desks as _, Grant, Log as _, Share, Unavailable};

/// Where a lease is to end.
const LEASE: Duration = Duration::from_secs(2);

/// So long that none ends while a test runs.
pub(super) const LONG: Duration = Duration::from_secs(3600);

pub(super) type Held = watch::Receiver<BTreeMap<Share, Grant>>;

pub(super) fn short(options: PostgresOptions) -> PostgresOptions {
    options.shares(4).lease(LEASE)
}

pub(super) fn long(options: PostgresOptions) -> PostgresOptions {
    options.shares(4).lease(LONG)
}

/// Waits until the instance holds so many shares, without the housekeeper's.
async fn holds(held: &mut Held, shares: Share, count: usize) -> BTreeMap<Share, Grant> {
    let is_so = |held: &BTreeMap<Share, Grant>| held.range(..shares).count() == count;
    let found = timeout(HANG, held.wait_for(is_so)).await;
    found.expect("it holds its shares in time").unwrap().clone()
}

/// Waits until the instance holds every share, and the housekeeper's, which may be the last that it takes.
pub(super) async fn holds_all(held: &mut Held, shares: Share) -> BTreeMap<Share, Grant> {
    let is_all = |held: &BTreeMap<Share, Grant>| held.len() == usize::from(shares) + 1;
    let found = timeout(HANG, held.wait_for(is_all)).await;
    found.expect("it holds all shares in time").unwrap().clone()
}

/// Gives back what it is to give back, as the dispatcher does.
pub(super) fn gives_back(journal: std::sync::Arc<Postgres>) {
    tokio::spawn(async move {
        let mut held = journal.held();
        while held.changed().await.is_ok() {
            let ending: Vec<Grant> = held
                .borrow_and_update()
                .values()
                .copied()
                .filter(|one| one.is_ending)
                .collect();
            for grant in ending {
                journal.give_back(grant).await.unwrap();
            }
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_instance_has_stored_counts_immediately() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = long(options(server));
    let (first, second) = (open(&options).await, open(&options).await);
    assert_eq!(second.head().await, Ok(0));
    for number in 1..=20 {
        let stored = new(&first, numbered(number)).await;
        assert_eq!(second.head().await, Ok(stored));
    }
}

/// Instances hold about as many shares as each other, and each share has one holder.
#[tokio::test(flavor = "multi_thread")]
async fn shares_are_divided_fairly() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = long(options(server));
    let first = std::sync::Arc::new(open(&options).await);
    let mut held = first.held();
    holds_all(&mut held, 4).await;
    gives_back(std::sync::Arc::clone(&first));
    let second = open(&options).await;
    let mut others = second.held();
    first.shared.grants.look.notify_one();
    let others = holds(&mut others, 4, 2).await;
    let own = holds(&mut held, 4, 2).await;
    assert!(
        own.keys().all(|share| !others.contains_key(share)),
        "{own:?} {others:?}"
    );
}

/// The former one may have carried it out after the next one took the share.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_a_share_removes_its_commands() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = long(options(server));
    let first = open(&options).await;
    let grant = holds_all(&mut first.held(), 4).await[&1];
    let asked = [(1, b"pause".to_vec()), (2, b"pause".to_vec())];
    let asked = first.command("handler:x", &asked).await.unwrap();
    let left = async || first.commands(1).await.unwrap().len();
    let others = [
        Grant {
            epoch: grant.epoch - 1,
            ..grant
        },
        Grant {
            epoch: grant.epoch + 1,
            ..grant
        },
        Grant {
            holder: Uuid::nil(),
            ..grant
        },
    ];
    for other in others {
        first.remove_command(other, asked[0]).await.unwrap();
        assert_eq!(left().await, 1);
    }
    first.remove_command(grant, asked[0]).await.unwrap();
    assert_eq!(left().await, 0);
    assert_eq!(first.commands(2).await.unwrap().len(), 1);
}

/// A graceful stop gives the shares back at once; another instance takes them without waiting for a lease.
#[tokio::test(flavor = "multi_thread")]
async fn a_stop_gives_shares_back() {
    use crate::journal::Log as _;

    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = long(options(server));
    let first = open(&options).await;
    holds_all(&mut first.held(), 4).await;
    let second = open(&options).await;
    let mut held = second.held();
    first.close().await;
    let grants = holds_all(&mut held, 4).await;
    assert!(grants.values().all(|grant| grant.epoch == 2), "{grants:?}");
}

/// The shares of an instance that was killed are taken within two leases. What it saves afterwards is refused.
#[tokio::test(flavor = "multi_thread")]
async fn shares_of_a_killed_instance_are_taken() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = short(options(server));
    let first = open(&options).await;
    let grants = holds(&mut first.held(), 4, 4).await;
    let desk = first.desk_of(grants[&2]).unwrap();
    save(desk.as_ref(), "a", b"before", vec![letter(1, "before")]).await;
    let second = open(&options).await;
    let mut held = second.held();
    first.kill();
    let taken = holds(&mut held, 4, 4).await;
    assert!(taken[&2].epoch > grants[&2].epoch);
    let later = second.desk_of(taken[&2]).unwrap();
    assert_eq!(later.saved("a").await, Ok(Some(only_head(*b"before"))));

    // As if the first one had only been paused.
    let paused = second.desk_of(grants[&2]).unwrap();
    let late = paused
        .save(change("a", b"late", vec![letter(2, "late")]))
        .await;
    assert_eq!(late, Err(Unavailable::Fenced(2)));
    assert_eq!(later.saved("a").await, Ok(Some(only_head(*b"before"))));
    assert_eq!(letters(&second, "a").await, [letter(1, "before")]);
    assert_eq!(second.counts().fenced, 1);
}

/// One transaction saves changes of several shares; the one that is fenced changes nothing, the others are saved.
#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_save_stops_no_other() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = long(options(server));
    let (first, second) = (open(&options).await, open(&options).await);
    let mut desks = Vec::new();
    for share in 0..4 {
        desks.push(first.desk(share).await.unwrap());
    }
    second.desk(1).await.unwrap();
    let saves = desks.iter().map(|desk| {
        let dead = letter(1 + u64::from(desk.share()), "dead");
        desk.save(change("a", b"head", vec![dead]))
    });
    let saved = futures_util::future::join_all(saves).await;
    assert_eq!(saved, [Ok(()), Err(Unavailable::Fenced(1)), Ok(()), Ok(())]);
    let found = second.desk(1).await.unwrap().saved("a").await;
    assert_eq!(found, Ok(None));
    let seqs: Vec<_> = letters(&second, "a")
        .await
        .iter()
        .map(|letter| letter.position.seq())
        .collect();
    assert_eq!(seqs, [1, 3, 4]);
}

/// An instance that was declared dead goes on under another id.
#[tokio::test(flavor = "multi_thread")]
async fn a_buried_instance_begins_again() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = long(options(server));
    let first = open(&options).await;
    let mut held = first.held();
    let before = holds_all(&mut held, 4).await;
    first
        .shared
        .link
        .call("DELETE FROM instance", &[])
        .await
        .unwrap();
    first.shared.grants.look.notify_one();
    let is_later = |held: &BTreeMap<Share, Grant>| {
        held.len() == 5
            && held
                .values()
                .all(|grant| grant.epoch > before[&grant.share].epoch)
    };
    timeout(HANG, held.wait_for(is_later))
        .await
        .expect("it takes its shares again")
        .unwrap();
}

/// Instances that differ in their windows do not run at the same time.
#[tokio::test(flavor = "multi_thread")]
async fn windows_must_agree() {
    use crate::journal::postgres::PostgresError;

    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = short(options(server)).instance("one");
    let first = open(&options).await;
    let minute = Duration::from_secs(60);
    let other = options.clone().windows(minute, minute);
    let refused = super::try_open(&other).await;
    assert!(
        matches!(&refused, Err(PostgresError::Windows(name)) if name == "one"),
        "{refused:?}"
    );
    // One that was killed is seen dead.
    first.kill();
    super::try_open(&other).await.unwrap();
    let shares = super::try_open(&options.shares(5)).await;
    assert!(matches!(shares, Err(PostgresError::Unfit(_))), "{shares:?}");
}

/// One that is alone sends no notifications. From the moment that another one has joined it does, long before the next renewal.
#[tokio::test(flavor = "multi_thread")]
async fn who_joins_is_told_of_new_bodies() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = long(options(server));
    let first = open(&options).await;
    assert_eq!(new(&first, numbered(1)).await, 1);
    assert!(first.shared.peers.is_alone());
    let second = open(&options).await;
    assert_eq!(new(&first, numbered(2)).await, 2);
    let hears = async {
        while second.tail().head() < 2 || first.shared.peers.is_alone() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(HANG, hears).await.expect("both hear of it");
}
