//! What happens when the database is away, does not answer, or has gone back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::proxy::{Flow, Proxy};
use super::{HANG, OwnClock, Times, open, options, server};
use crate::journal::contract::{change, duplicate, letter, new, numbered, only_head, save, seqs};
use crate::journal::postgres::{Postgres, PostgresOptions};
use crate::journal::{Appended, Cluster, Desks as _, Log as _, Unavailable};

/// Waits until a call of this function waits for a lock.
pub(super) async fn waits_for_lock(journal: &Postgres, function: &str) {
    let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity a JOIN pg_locks l ON l.pid = a.pid AND NOT l.granted \
                 WHERE a.query LIKE '%' || $1 || '(%' AND (EXISTS \
                 (SELECT FROM pg_locks o WHERE o.pid = a.pid AND o.relation = 'share'::regclass) \
                 OR l.classid::bigint = (hashtext(current_schema())::bigint & 4294967295)))";
    let waiting = async {
        loop {
            let rows = journal.shared.link.read(waits, &[&function]).await.unwrap();
            if rows[0].get(0) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, waiting).await.expect(function);
}

pub(super) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, waiting)
        .await
        .unwrap_or_else(|_| panic!("{what}"));
}

pub(super) async fn behind(
    proxy: &Proxy,
    server: &server::Server,
) -> (PostgresOptions, PostgresOptions) {
    let direct = options(server);
    let behind = PostgresOptions::new(&proxy.url()).unwrap();
    let behind = behind.schema(direct.schema.clone()).unwrap();
    (behind.append_timeout(Duration::from_secs(2)), direct)
}

/// Without an answer the append is unknown; here it is stored. A sender that comes again is told of the original.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_answer_is_unknown_and_found_later() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let (options, direct) = behind(&proxy, server).await;
    let journal = open(&options).await;
    let other = open(&direct).await;
    assert_eq!(new(&journal, numbered(1)).await, 1);
    proxy.set(Flow::NoAnswers);
    let unknown = journal.append(numbered(2)).await;
    assert!(
        matches!(unknown, Err(Unavailable::Unknown(_))),
        "{unknown:?}"
    );
    assert!(!journal.is_ready());
    // Another instance sees what is stored.
    let mut head = other.tail().watch();
    timeout(HANG, head.wait_for(|head| *head == 2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(other.append(numbered(2)).await, Ok(duplicate(2)));
    proxy.set(Flow::Through);
    until("it writes again", || journal.is_ready()).await;
    assert_eq!(journal.append(numbered(2)).await, Ok(duplicate(2)));
    until("it is found", || journal.counts().unknown_found == 1).await;
    assert_eq!(journal.counts().unknown_absent, 0);
    assert_eq!(new(&journal, numbered(3)).await, 3);
    let mut head = journal.tail().watch();
    timeout(HANG, head.wait_for(|head| *head == 3))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(seqs(&journal, 0, 10).await, [1, 2, 3]);
}

/// A connection that ends before the commit: nothing is stored, and the sender's retry is new.
#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_was_cut_off_is_not_stored() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let journal = Arc::new(open(&options).await);
    let other = open(&options).await;
    // As if another instance appended for a long time.
    let lock = other.shared.link.session().await.unwrap();
    lock.run("BEGIN; SELECT pg_advisory_xact_lock(hashtext(current_schema()), 1)")
        .await
        .unwrap();
    let append = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.append(numbered(1)).await }
    });
    cut_waiting_append(&journal).await;
    let unknown = append.await.unwrap();
    assert!(
        matches!(unknown, Err(Unavailable::Unknown(_))),
        "{unknown:?}"
    );
    lock.run("COMMIT").await.unwrap();
    until("it writes again", || journal.is_ready()).await;
    assert_eq!(new(journal.as_ref(), numbered(1)).await, 1);
    until("it is decided", || journal.counts().unknown_absent == 1).await;
}

/// What is stored is answered while the next append has not ended.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_does_not_wait_for_the_next_append() {
    // The wait is not for the lock of appends: then it would be known that others append first.
    const LOCK: &str = "BEGIN; LOCK TABLE block IN SHARE MODE";
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let journal = Arc::new(open(&options).await);
    let (before, behind) = (open(&options).await, open(&options).await);
    let append = |number| {
        let journal = Arc::clone(&journal);
        tokio::spawn(async move { journal.append(numbered(number)).await })
    };
    let waiting = async |count: i64| {
        let sql =
            "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'block'::regclass";
        let waits = async {
            while journal.shared.link.read(sql, &[]).await.unwrap()[0].get::<_, i64>(0) < count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(HANG, waits).await.expect("it waits");
    };
    let lock = before.shared.link.session().await.unwrap();
    lock.run(LOCK).await.unwrap();
    let first = append(1);
    waiting(1).await;
    let other = behind.shared.link.session().await.unwrap();
    let locking = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.run(LOCK).await }
    });
    waiting(2).await;
    let second = append(2);
    lock.run("COMMIT").await.unwrap();
    locking.await.unwrap().unwrap();
    let answered = timeout(HANG, first).await.expect("it is answered");
    assert_eq!(answered.unwrap(), Ok(Appended::new(1)));
    waiting(1).await;
    assert!(!second.is_finished());
    other.run("COMMIT").await.unwrap();
    assert_eq!(second.await.unwrap(), Ok(Appended::new(2)));
}

/// An instance that had to wait for the appends of others twice answers, and sends what comes then with what waits already.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_while_others_append_goes_together() {
    const ROUNDS: u64 = 20;
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let (journal, others) = (Arc::new(open(&options).await), open(&options).await);
    let others = others.shared.link.session().await.unwrap();
    let mut number = 0;
    let mut append = || {
        number += 1;
        let (journal, entry) = (Arc::clone(&journal), numbered(number));
        tokio::spawn(async move { journal.append(entry).await.unwrap() })
    };
    let others_append = async || {
        others
            .run("BEGIN; SELECT pg_advisory_xact_lock(hashtext(current_schema()), 1)")
            .await
    };
    // Longer than twice the longest pause.
    let others_end = async || {
        tokio::time::sleep(Duration::from_millis(12)).await;
        others.run("COMMIT").await
    };
    let mut together = 0;
    for _ in 0..ROUNDS {
        others_append().await.unwrap();
        let first = append();
        waits_for_lock(&journal, "append_1").await;
        others_end().await.unwrap();
        first.await.unwrap();
        others_append().await.unwrap();
        let calls = journal.counts().appends;
        let second = append();
        waits_for_lock(&journal, "append_1").await;
        let waits = append();
        others_end().await.unwrap();
        second.await.unwrap();
        let comes = append();
        waits.await.unwrap();
        comes.await.unwrap();
        together += u64::from(journal.counts().appends == calls + 2);
    }
    // A busy machine may take longer than the pause between an answer and what comes next.
    assert!(together > ROUNDS / 4, "{together} of {ROUNDS}");
}

/// Ends the connection of an append that waits for the others.
pub(super) async fn cut_waiting_append(journal: &Postgres) {
    let end = "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
               WHERE l.locktype = 'advisory' AND NOT l.granted AND a.query LIKE '%append_1%' \
               AND l.classid::bigint = (hashtext(current_schema())::bigint & 4294967295)";
    let cutting = async {
        loop {
            let rows = journal.shared.link.read(end, &[]).await.unwrap();
            if rows[0].get::<_, i64>(0) == 1 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(HANG, cutting).await.expect("it waits");
}

/// While another transaction holds the lock for too long, nothing is stored, and that is known.
#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_is_held_stores_nothing() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).append_timeout(Duration::from_millis(500));
    let (journal, other) = (open(&options).await, open(&options).await);
    let lock = other.shared.link.session().await.unwrap();
    lock.run("BEGIN; SELECT pg_advisory_xact_lock(hashtext(current_schema()), 1)")
        .await
        .unwrap();
    let away = journal.append(numbered(1)).await;
    assert!(matches!(away, Err(Unavailable::Away(_))), "{away:?}");
    lock.run("COMMIT").await.unwrap();
    assert_eq!(new(&journal, numbered(1)).await, 1);
    assert_eq!(journal.counts().unknown_absent, 0);
}

/// A database that is away stores nothing, and is used again when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_database_loses_nothing() {
    let Some(server) = server::Server::start() else {
        return;
    };
    let options = options(&server);
    let journal = open(&options).await;
    let desk = journal.desk(0).await.unwrap();
    for number in 1..=20 {
        assert_eq!(new(&journal, numbered(number)).await, number as u64);
    }
    save(desk.as_ref(), "a", b"saved", vec![letter(1, "dead")]).await;
    server.kill();
    let away = journal.append(numbered(21)).await;
    assert!(
        matches!(away, Err(Unavailable::Away(_) | Unavailable::Unknown(_))),
        "{away:?}"
    );
    assert!(!journal.is_ready());
    assert!(desk.save(change("a", b"lost", vec![])).await.is_err());
    server.run();
    until("it writes again", || journal.is_ready()).await;
    assert_eq!(new(&journal, numbered(21)).await, 21);
    assert_eq!(journal.append(numbered(1)).await, Ok(duplicate(1)));
    assert_eq!(seqs(&journal, 0, 100).await, (1..=21).collect::<Vec<_>>());
    save(desk.as_ref(), "a", b"again", vec![]).await;
    let mut head = journal.tail().watch();
    timeout(HANG, head.wait_for(|head| *head == 21))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(journal.counts().lost, 0);
}

/// Takes the newest bodies out of the database, as a fail-over to a standby does that did not have them.
async fn go_back(journal: &Postgres, to: i64) {
    let name = &journal.shared.options.instance;
    let session = journal.shared.link.session().await.unwrap();
    let gone = format!("DELETE FROM block WHERE last > {to}; DELETE FROM claim WHERE seq > {to}");
    session.run(&gone).await.unwrap();
    // Its own connection last: the others would stay.
    let cut = format!(
        "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity \
         WHERE application_name = 'offhook {name}' ORDER BY pid = pg_backend_pid()) a"
    );
    assert!(
        session.run(&cut).await.is_err(),
        "its own connection ends too"
    );
}

/// A log that has gone back is noticed, also when its numbers were given again. What is gone is counted, desks are
/// fenced, and the tail begins again after the last common body.
#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_has_gone_back_is_noticed() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).instance("back");
    let journal = open(&options).await;
    for number in 1..=6 {
        new(&journal, numbered(number)).await;
    }
    let desk = journal.desk(0).await.unwrap();
    save(desk.as_ref(), "a", b"six", vec![]).await;
    go_back(&journal, 4).await;
    // Numbers are given again before this instance looks.
    let other = open(&options.clone().instance("other")).await;
    for number in 11..=13 {
        new(&other, numbered(number)).await;
    }
    until("it has noticed", || journal.counts().lost == 2).await;
    assert_eq!(journal.tail().reset_since(0), Some(4));
    let fenced = desk.save(change("a", b"late", vec![])).await;
    assert_eq!(fenced, Err(Unavailable::Fenced(0)));
    let mut head = journal.tail().watch();
    timeout(HANG, head.wait_for(|head| *head == 7))
        .await
        .unwrap()
        .unwrap();
    let newest = journal.tail().get(7).unwrap();
    assert_eq!(newest.received.id, uuid::Uuid::from_u128(13));
    // What is gone is new again.
    assert_eq!(journal.append(numbered(6)).await, Ok(Appended::new(8)));
    assert_eq!(journal.append(numbered(4)).await, Ok(duplicate(4)));
}

/// A save that waits while the log goes back was made from what is gone. It does not go over the new connection, also
/// where share and progress are what they were.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_that_waits_is_refused_when_the_log_goes_back() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).instance("waits");
    let journal = open(&options).await;
    for number in 1..=6 {
        new(&journal, numbered(number)).await;
    }
    let desk = journal.desk(0).await.unwrap();
    for consumer in ["a", "b"] {
        save(desk.as_ref(), consumer, b"before", vec![]).await;
    }
    let other = open(&options.clone().instance("other")).await;
    let lock = other.shared.link.session().await.unwrap();
    lock.run("BEGIN; SELECT FROM share FOR UPDATE")
        .await
        .unwrap();
    let first = tokio::spawn({
        let desk = std::sync::Arc::clone(&desk);
        async move { desk.save(change("a", b"after", vec![])).await }
    });
    waits_for_lock(&journal, "save_1").await;
    let mut late = std::pin::pin!(desk.save(change("b", b"after", vec![])));
    assert!(futures_util::poll!(&mut late).is_pending());
    go_back(&journal, 4).await;
    lock.run("COMMIT").await.unwrap();
    // It may still go to the connection that has ended.
    assert_ne!(late.await, Ok(()));
    drop(first.await);
    let left = Cluster::saved(&other, "b").await.unwrap();
    assert_eq!(left[&0], only_head(*b"before"));
}

/// The server says in its own language how bad something is.
#[tokio::test(flavor = "multi_thread")]
async fn the_language_of_the_server_does_not_matter() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let (options, direct) = behind(&proxy, server).await;
    let options = options.append_timeout(Duration::from_millis(500));
    let (journal, other) = (open(&options).await, open(&direct).await);
    proxy.set(Flow::German);
    let lock = other.shared.link.session().await.unwrap();
    lock.run("BEGIN; SELECT lock_1(1)").await.unwrap();
    let away = journal.append(numbered(1)).await;
    let told = "FEHLER";
    assert!(
        matches!(&away, Err(Unavailable::Away(why)) if why.contains(told)),
        "{away:?}"
    );
    lock.run("COMMIT").await.unwrap();
    let warn = "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RAISE WARNING 'as if a standby had not answered'; RETURN NULL; END $$; \
                CREATE TRIGGER warn AFTER INSERT ON block EXECUTE FUNCTION warn()";
    lock.run(warn).await.unwrap();
    let unknown = journal.append(numbered(1)).await;
    assert!(
        matches!(unknown, Err(Unavailable::Unknown(_))),
        "{unknown:?}"
    );
}

/// While the database is away for longer than a lease, nothing turns without a pause.
#[tokio::test(flavor = "multi_thread")]
async fn an_instance_rests_while_the_database_is_away() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let (options, _) = behind(&proxy, server).await;
    let clock = Arc::new(OwnClock::default());
    let options = options.lease(Duration::from_millis(500));
    let opened = Postgres::open(options, clock.clone(), Times::default()).await;
    let journal = opened.unwrap();
    let mut held = journal.held();
    super::leases::holds_all(&mut held, 16).await;
    proxy.set(Flow::Cut);
    until("the lease has passed", || {
        journal.shared.lease_left().is_zero()
    })
    .await;
    let before = clock.looks();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let looks = clock.looks() - before;
    assert!(looks < 2000, "the time was asked for {looks} times");
    proxy.set(Flow::Through);
    super::leases::holds_all(&mut held, 16).await;
}

/// A warning of the server during an append makes its outcome unknown.
#[tokio::test(flavor = "multi_thread")]
async fn a_warning_makes_an_append_unknown() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let journal = open(&options).await;
    let session = journal.shared.link.session().await.unwrap();
    let warn = "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RAISE WARNING 'as if a standby had not answered'; RETURN NULL; END $$; \
                CREATE TRIGGER warn AFTER INSERT ON block EXECUTE FUNCTION warn()";
    session.run(warn).await.unwrap();
    let unknown = journal.append(numbered(1)).await;
    assert!(
        matches!(unknown, Err(Unavailable::Unknown(_))),
        "{unknown:?}"
    );
    session.run("DROP TRIGGER warn ON block").await.unwrap();
    until("it writes again", || journal.is_ready()).await;
    assert_eq!(journal.append(numbered(1)).await, Ok(duplicate(1)));
}

/// Of two statements over one connection it is not known which one the server warns about.
#[tokio::test(flavor = "multi_thread")]
async fn a_warning_makes_all_that_is_under_way_unknown() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let journal = open(&options(server)).await;
    // It depends on how the answers arrive who sees the warning first.
    for _ in 0..10 {
        let session = journal.shared.link.session().await.unwrap();
        let warns = session.call("DO $$ BEGIN RAISE WARNING 'of one'; END $$", &[]);
        let other = session.call("SELECT pg_notify('nowhere', '')", &[]);
        // The one that warns goes first.
        let (warns, other) = tokio::join!(biased; warns, other);
        for unknown in [warns, other] {
            assert!(
                matches!(unknown, Err(Unavailable::Unknown(_))),
                "{unknown:?}"
            );
        }
        assert!(session.is_closed());
    }
    // The next statement has a connection of its own.
    assert_eq!(new(&journal, numbered(1)).await, 1);
    assert_eq!(seqs(&journal, 0, 10).await, [1]);
}

/// A database that warns at each new connection can be used: the client drops what is said before it has asked whether the
/// server takes writes.
#[tokio::test(flavor = "multi_thread")]
async fn a_warning_at_the_start_of_a_connection_concerns_no_append() {
    let Some(server) = server::Server::start() else {
        return;
    };
    let options = options(&server);
    let journal = open(&options).await;
    let session = journal.shared.link.session().await.unwrap();
    // As if the libraries of its machine had sorted differently when it was made.
    let other =
        "UPDATE pg_database SET datcollversion = 'of old' WHERE datname = current_database()";
    session.run(other).await.unwrap();
    journal.close().await;
    let journal = open(&options).await;
    assert_eq!(new(&journal, numbered(1)).await, 1);
    let desk = journal.desk(0).await.unwrap();
    save(desk.as_ref(), "a", b"saved", vec![]).await;
}
