//! How instances come to share a journal: with other settings, again, under any name, and by which host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::timeout;

use super::leases::{LONG, gives_back, holds_all};
use super::logs::tend;
use super::proxy::Proxy;
use super::{HANG, OwnClock, Times, open, open_at, options, server};
use crate::Timestamp;
use crate::clock::{Clock, FakeClock, SystemClock};
use crate::journal::contract::{body, duplicate, entry, new, numbered};
use crate::journal::postgres::connect::{Connector, Role};
use crate::journal::postgres::{Postgres, PostgresOptions};
use crate::journal::{Desks as _, Documents as _, Expected, Log as _};

pub(super) async fn run(journal: &Postgres, sql: &str) {
    let session = journal.shared.link.session().await.unwrap();
    session.run(sql).await.unwrap();
}

pub(super) async fn asks(journal: &Postgres, sql: &'static str) -> i64 {
    let rows = journal.shared.link.read(sql, &[]).await.unwrap();
    rows[0].get(0)
}

/// During a change of the lease, one instance after the other, nobody healthy is taken for dead.
#[tokio::test(flavor = "multi_thread")]
async fn a_shorter_lease_buries_no_instance_with_a_longer_one() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).shares(4);
    let first = open(&options.clone().lease(LONG)).await;
    holds_all(&mut first.held(), 4).await;
    let short = Duration::from_millis(300);
    let second = open(&options.lease(short)).await;
    assert!(second.held().borrow().is_empty());
    tokio::time::sleep(3 * short).await;
    assert_eq!(asks(&second, "SELECT count(*) FROM instance").await, 2);
    assert_eq!(second.counts().taken, 0);
    assert_eq!(second.shared.longest_lease(), LONG);
}

/// A machine that was suspended has not renewed its leases meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_suspension_ends_the_lease() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let clock = Arc::new(OwnClock::default());
    let options = options(server).shares(4).lease(LONG);
    let opened = Postgres::open(options, clock.clone(), Times::default()).await;
    let journal = opened.unwrap();
    let mut held = journal.held();
    let before = holds_all(&mut held, 4).await;
    let is_valid = || journal.lease_until() > clock.monotonic();
    assert!(is_valid() && journal.is_ready());
    clock.suspend(2 * LONG.as_secs());
    assert!(!is_valid() && !journal.is_ready());
    // It gives everything up by itself, and takes it again.
    let is_later = |held: &std::collections::BTreeMap<_, crate::journal::Grant>| {
        held.len() == 5
            && held
                .iter()
                .all(|(no, grant)| grant.epoch > before[no].epoch)
    };
    timeout(HANG, held.wait_for(is_later))
        .await
        .unwrap()
        .unwrap();
    assert!(is_valid() && journal.is_ready());
}

/// It takes shares only when it knows the subscriptions, and others wait for it until then.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_begins_again_knows_no_more_than_before() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).shares(4).lease(LONG);
    let first = open(&options).await;
    let mut held = first.held();
    holds_all(&mut held, 4).await;
    let second = open(&options).await;
    let put = second.put_document("one", Some(vec![1]), Expected::Absent);
    let version = put.await.unwrap();
    second.applied(version);
    run(&second, "DELETE FROM instance WHERE documents = 0").await;
    first.shared.grants.look.notify_one();
    timeout(HANG, held.wait_for(|held| held.is_empty()))
        .await
        .unwrap()
        .unwrap();
    let again = async {
        while asks(&second, "SELECT count(*) FROM instance").await < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, again).await.expect("it joins again");
    let behind = asks(&second, "SELECT count(*) FROM instance WHERE documents = 0").await;
    assert_eq!((behind, first.counts().taken), (1, 5));
    second.close().await;
    // It looks again, and takes nothing.
    first.shared.grants.look.notify_one();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(first.counts().taken, 5);
    first.applied(version);
    holds_all(&mut held, 4).await;
}

/// An instance that is not let in says once that it has left, and goes on when it is.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_that_is_refused_wakes_nobody() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).shares(4).lease(Duration::from_millis(1500));
    let journal = open(&options).await;
    let mut held = journal.held();
    holds_all(&mut held, 4).await;
    let messages = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&messages);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let connector = Connector::new(&options, tokio::runtime::Handle::current(), clock).unwrap();
    let listener = Role::Listener(Arc::new(move |message: &str| {
        counting.fetch_add(u64::from(message == "s"), Ordering::SeqCst);
    }));
    let listening = Arc::new(connector).connect(&listener).await.unwrap();
    let other = "UPDATE meta SET dedup_window = dedup_window + 1; DELETE FROM instance; INSERT INTO instance \
                 VALUES (gen_random_uuid(), 'other', '', 1, gen_random_uuid(), 3600000, 0)";
    run(&journal, other).await;
    journal.shared.grants.look.notify_one();
    timeout(HANG, held.wait_for(|held| held.is_empty()))
        .await
        .unwrap()
        .unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let count = messages.load(Ordering::SeqCst);
    assert_eq!(count, 1);
    run(
        &journal,
        "UPDATE meta SET dedup_window = dedup_window - 1; DELETE FROM instance",
    )
    .await;
    holds_all(&mut held, 4).await;
    listening.end();
}

/// Windows change while no instance runs. Buckets to come have another length; those that are there stay until their
/// windows have ended, also where a longer one has the same number.
#[tokio::test(flavor = "multi_thread")]
async fn buckets_follow_the_windows() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let hour = Duration::from_secs(3600);
    let start = Timestamp::from_second(1_700_000_000 / (640 * 3600) * (640 * 3600)).unwrap();
    let clock = Arc::new(FakeClock::new(start));
    let times: Arc<dyn Clock> = clock.clone();
    let options = options(server);
    let with = |hours| options.clone().windows(hours * hour, hour / 60);
    let tend = async |journal: &Postgres| tend(journal, clock.as_ref()).await;
    let keyed = |number, hours| entry(body("keyed"), number, hours * hour);
    // Buckets of 4, of 40 and of 4 hours.
    let journal = open_at(with(8), &times).await;
    tend(&journal).await;
    new(&journal, keyed(1, 8)).await;
    assert_eq!(
        asks(&journal, "SELECT claim_span FROM meta").await,
        14_400_000
    );
    journal.close().await;
    let journal = open_at(with(80), &times).await;
    assert_eq!(
        asks(&journal, "SELECT claim_span FROM meta").await,
        144_000_000
    );
    tend(&journal).await;
    // In the bucket whose number the earlier ones had, too.
    new(&journal, entry(body("keyed"), 2, 9 * hour)).await;
    new(&journal, keyed(3, 80)).await;
    let unkept = "SELECT count(*) FROM claim_default";
    assert_eq!(asks(&journal, unkept).await, 0);
    for (number, hours) in [(1, 8), (2, 9), (3, 80)] {
        let again = journal.append(keyed(number, hours)).await;
        assert_eq!(again, Ok(duplicate(number as u64)));
    }
    clock.advance(hour * 17 / 2);
    tend(&journal).await;
    assert_eq!(journal.append(keyed(2, 9)).await, Ok(duplicate(2)));
    journal.close().await;
    let journal = open_at(with(8), &times).await;
    tend(&journal).await;
    assert_eq!(
        asks(&journal, "SELECT claim_span FROM meta").await,
        14_400_000
    );
    assert_eq!(journal.append(keyed(2, 9)).await, Ok(duplicate(2)));
    new(&journal, keyed(1, 8)).await;
    clock.advance(75 * hour);
    tend(&journal).await;
    assert_eq!(asks(&journal, "SELECT count(*) FROM claim").await, 1);
    clock.advance(100 * hour);
    tend(&journal).await;
    assert_eq!(asks(&journal, "SELECT count(*) FROM claim").await, 0);
    let buckets = asks(&journal, "SELECT count(*) FROM buckets_1()").await;
    assert!(buckets < 8, "{buckets}");
}

/// The schema is that of an older version, which did not have all functions. They are made, and none is replaced.
#[tokio::test(flavor = "multi_thread")]
async fn functions_that_are_missing_are_made() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let first = open(&options).await;
    let older = "DROP FUNCTION introduce_1; DROP FUNCTION drop_claims_1; \
                 COMMENT ON FUNCTION lock_1 IS 'the older one'";
    run(&first, older).await;
    let second = open(&options).await;
    second.introduce("a", b"head").await.unwrap();
    assert_eq!(asks(&second, "SELECT drop_claims_1(0)::bigint").await, 0);
    let kept = "SELECT count(*) FROM pg_proc WHERE obj_description(oid, 'pg_proc') = 'the older one' \
                AND pronamespace = current_schema()::text::regnamespace";
    assert_eq!(asks(&first, kept).await, 1);
}

/// A newer version has changed the journal while this one runs: it gives its shares back, takes no event, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_gives_way_to_a_newer_version() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).shares(4).lease(LONG);
    let journal = Arc::new(open(&options).await);
    let mut held = journal.held();
    holds_all(&mut held, 4).await;
    gives_back(Arc::clone(&journal));
    run(&journal, "UPDATE meta SET oldest_reader = 2").await;
    journal.shared.grants.look.notify_one();
    timeout(HANG, held.wait_for(|held| held.is_empty()))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        asks(
            &journal,
            "SELECT count(*) FROM share WHERE holder IS NOT NULL"
        )
        .await,
        0
    );
    let away = journal.append(numbered(1)).await.unwrap_err().to_string();
    assert!(away.contains("a newer version"), "{away}");
    assert!(!journal.is_ready());
    run(&journal, "UPDATE meta SET oldest_reader = 1").await;
    journal.shared.grants.look.notify_one();
    holds_all(&mut held, 4).await;
    assert_eq!(new(journal.as_ref(), numbered(1)).await, 1);
}

/// A word of SQL may be the name of a schema.
#[tokio::test(flavor = "multi_thread")]
async fn a_schema_may_be_named_like_a_word_of_sql() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    for name in ["user", "order", "table"] {
        let options = PostgresOptions::new(&server.url()).unwrap().lease(LONG);
        let options = options.schema(name).unwrap();
        let (first, second) = (open(&options).await, open(&options).await);
        let mut heard = second.watch_documents();
        let put = first.put_document("one", Some(vec![1]), Expected::Absent);
        let version = put.await.unwrap();
        let told = heard.wait_for(|known| *known == version);
        timeout(HANG, told).await.unwrap().unwrap();
    }
}

/// A host that takes connections and never answers holds up neither the start nor a connection that is made again.
#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_hangs_is_passed_by() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let hanging = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = hanging.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&count);
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok((connection, _)) = hanging.accept().await {
            open.push(connection);
            counting.fetch_add(1, Ordering::SeqCst);
        }
    });
    let hosts = format!("127.0.0.1:{port},127.0.0.1:{}", server.port());
    let url = format!("postgresql://offhook@{hosts}/postgres?connect_timeout=1");
    let options = PostgresOptions::new(&url).unwrap();
    let journal = open(&options.schema("hangs").unwrap()).await;
    assert_eq!(new(&journal, numbered(1)).await, 1);
    // Once, and then the one that has answered is asked first.
    assert_eq!(count.load(Ordering::SeqCst), 1);
}

/// While a version is replaced by the next one, one instance after the other, what is written stays readable for all; the last
/// one that is upgraded changes it.
#[tokio::test(flavor = "multi_thread")]
async fn the_last_instance_that_is_upgraded_raises_the_format() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).shares(4).lease(LONG);
    let newer = options.clone().of_format(2);
    let formats = "SELECT format * 10::bigint + oldest_reader FROM meta";
    let (old, other) = (open(&options).await, open(&options).await);
    other.close().await;
    let new_one = open(&newer).await;
    assert_eq!(asks(&new_one, formats).await, 11);
    assert_eq!(new(&old, numbered(1)).await, 1);
    let second = open(&newer).await;
    assert_eq!(asks(&new_one, formats).await, 11);
    old.close().await;
    second.shared.grants.look.notify_one();
    let raised = async {
        while asks(&second, formats).await != 22 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(HANG, raised).await.expect("it is raised in time");
    assert_eq!(new(&new_one, numbered(2)).await, 2);
    // The older version cannot read that.
    let refused = super::try_open(&options).await.unwrap_err().to_string();
    assert!(refused.contains("a newer version of offhook"), "{refused}");
    assert!(refused.contains("(format 2)"), "{refused}");
}

/// One that has looked before the format was raised, and joins after it, uses nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_older_instance_that_joins_late_uses_nothing() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).shares(4).lease(LONG);
    let old = open(&options).await;
    let mut held = old.held();
    holds_all(&mut held, 4).await;
    // Its row was removed, as if it had stood still.
    run(&old, "DELETE FROM instance").await;
    let newer = open(&options.clone().of_format(2)).await;
    assert_eq!(asks(&newer, "SELECT format::bigint FROM meta").await, 2);
    old.shared.grants.look.notify_one();
    let away = async {
        while old.is_ready() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(HANG, away).await.expect("it notices in time");
    let away = old.append(numbered(1)).await.unwrap_err().to_string();
    assert!(away.contains("a newer version"), "{away}");
}

/// Who has nothing to do asks the database once for each renewal, and for nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_is_one_request() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let own = options(server).shares(4).lease(LONG);
    let watching = open(&own).await;
    let through = PostgresOptions::new(&proxy.url())
        .unwrap()
        .lease(LONG)
        .shares(4);
    let through = through.schema(own.schema.clone()).unwrap().instance("idle");
    let idle = open(&through).await;
    assert_eq!(new(&idle, numbered(1)).await, 1);
    let beat = async || {
        let sql = "SELECT beat FROM instance WHERE name = 'idle'";
        let rows = watching.shared.link.read(sql, &[]).await.unwrap();
        rows[0].get::<_, uuid::Uuid>(0)
    };
    // Until what the append has brought about is over.
    let mut before = usize::MAX;
    while before != proxy.answered() {
        before = proxy.answered();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for _ in 0..10 {
        let last = beat().await;
        idle.shared.grants.look.notify_one();
        let beaten = async {
            while beat().await == last {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(HANG, beaten).await.expect("it beats in time");
    }
    // The last answer may be on its way.
    let asked = proxy.answered() - before;
    assert!(
        (9..=11).contains(&asked),
        "{asked} requests for 10 renewals"
    );
}
