//! What happens when the database is away, does not answer, or has gone back.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::proxy::{Flow, Proxy};
use super::{HANG, open, options, server};
use crate::journal::contract::{change, duplicate, letter, new, numbered, save, seqs};
use crate::journal::postgres::{Postgres, PostgresOptions};
use crate::journal::{Appended, Desks as _, Log as _, Unavailable};

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

async fn behind(proxy: &Proxy, server: &server::Server) -> (PostgresOptions, PostgresOptions) {
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
    let end = "SELECT count(pg_terminate_backend(l.pid)) FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid \
               WHERE l.locktype = 'advisory' AND NOT l.granted AND a.query LIKE '%append_1%' \
               AND l.classid::bigint = (hashtext(current_schema())::bigint & 4294967295)";
    loop {
        let rows = journal.shared.link.read(end, &[]).await.unwrap();
        if rows[0].get::<_, i64>(0) == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
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
    let session = journal.shared.link.session().await.unwrap();
    let gone = format!("DELETE FROM block WHERE last > {to}; DELETE FROM claim WHERE seq > {to}");
    session.run(&gone).await.unwrap();
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'offhook back'";
    assert!(
        session.run(cut).await.is_err(),
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
