//! Standbys: what an asynchronous one loses is told, and a synchronous one is demanded where it is wanted.

use std::time::Duration;

use tokio::time::timeout;

use super::faults::until;
use super::server::Server;
use super::{HANG, logged, open, options, try_open};
use crate::journal::contract::{change, duplicate, new, numbered, only_head, save, seqs};
use crate::journal::postgres::{Postgres, PostgresError, PostgresOptions};
use crate::journal::{Appended, Desks as _, Log as _, Unavailable};

async fn run(journal: &Postgres, sql: &str) {
    let session = journal.shared.link.session().await.unwrap();
    session.run(sql).await.unwrap();
}

/// Waits until the question is answered with yes.
async fn asks(journal: &Postgres, sql: &'static str) {
    let waiting = async {
        loop {
            let rows = journal.shared.link.read(sql, &[]).await.unwrap();
            if rows[0].get::<_, Option<bool>>(0) == Some(true) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANG, waiting).await.expect(sql);
}

/// The standby lacks the newest bodies and saves when it takes over. The instance goes on there by itself: the loss is
/// counted, followers begin again, and nothing is saved over it.
#[tokio::test(flavor = "multi_thread")]
async fn what_an_asynchronous_standby_lacks_is_told() {
    let Some(primary) = Server::start() else {
        return;
    };
    logged::listen();
    let standby = primary.standby();
    let url = format!(
        "postgresql://offhook@127.0.0.1:{},127.0.0.1:{}/postgres",
        primary.port(),
        standby.port()
    );
    let options = PostgresOptions::new(&url)
        .unwrap()
        .lease(Duration::from_secs(2));
    let journal = open(&options).await;
    let desk = journal.desk(0).await.unwrap();
    for number in 1..=3 {
        new(&journal, numbered(number)).await;
    }
    save(desk.as_ref(), "a", b"three", vec![]).await;
    asks(
        &journal,
        "SELECT bool_and(replay_lsn >= pg_current_wal_lsn()) FROM pg_stat_replication",
    )
    .await;
    standby.kill();
    for number in 4..=6 {
        new(&journal, numbered(number)).await;
    }
    save(desk.as_ref(), "a", b"six", vec![]).await;
    primary.kill();
    standby.run();
    standby.promote();

    until("it has noticed", || journal.counts().lost == 3).await;
    until("it writes again", || journal.is_ready()).await;
    assert!(logged::was_told(
        "the events 4 to 6 that were acknowledged are not there any more"
    ));
    assert_eq!(journal.tail().reset_since(0), Some(3));
    let late = desk.save(change("a", b"seven", vec![])).await;
    assert_eq!(late, Err(Unavailable::Fenced(0)));
    assert_eq!(journal.append(numbered(3)).await, Ok(duplicate(3)));
    // What is gone is new.
    assert_eq!(journal.append(numbered(6)).await, Ok(Appended::new(4)));
    let desk = journal.desk(0).await.unwrap();
    assert_eq!(desk.saved("a").await, Ok(Some(only_head(*b"three"))));
    save(desk.as_ref(), "a", b"four", vec![]).await;
    assert_eq!(seqs(&journal, 0, 10).await, [1, 2, 3, 4]);
}

/// What makes a commit durable may change while the database runs, for connections that are there and for new ones.
#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stops_to_keep_what_it_answers_is_noticed() {
    let Some(server) = Server::start() else {
        return;
    };
    let options = options(&server).lease(Duration::from_secs(1));
    let journal = open(&options.clone().instance("looks")).await;
    let setup = open(&options).await;
    assert_eq!(new(&journal, numbered(1)).await, 1);
    for setting in ["full_page_writes", "synchronous_commit"] {
        run(&setup, &format!("ALTER SYSTEM SET {setting} = off")).await;
        run(&setup, "SELECT pg_reload_conf()").await;
        until("it has noticed", || !journal.is_ready()).await;
        let away = journal.append(numbered(2)).await;
        assert!(
            matches!(&away, Err(Unavailable::Away(why)) if why.contains(setting)),
            "{away:?}"
        );
        run(&setup, &format!("ALTER SYSTEM RESET {setting}")).await;
        run(&setup, "SELECT pg_reload_conf()").await;
        until("it is ready again", || journal.is_ready()).await;
    }
    let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'offhook looks'";
    run(&setup, "ALTER ROLE offhook SET synchronous_commit = off").await;
    run(&setup, cut).await;
    let away = async {
        while !matches!(&journal.append(numbered(2)).await,
            Err(Unavailable::Away(why)) if why.contains("synchronous_commit is off"))
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(HANG, away).await.expect("it has noticed");
    assert!(!journal.is_ready());
    run(&setup, "ALTER ROLE offhook RESET synchronous_commit").await;
    until("it is ready again", || journal.is_ready()).await;
    assert_eq!(new(&journal, numbered(2)).await, 2);
}

/// Where two copies are demanded, nothing is acknowledged while there is one.
#[tokio::test(flavor = "multi_thread")]
async fn a_missing_synchronous_standby_stops_appends() {
    let Some(primary) = Server::start() else {
        return;
    };
    let options = options(&primary).lease(Duration::from_secs(1));
    let setup = open(&options).await;
    let replicated = options.clone().replicated(true);
    let refused = try_open(&replicated).await;
    assert!(
        matches!(refused, Err(PostgresError::Unfit(_))),
        "{refused:?}"
    );
    let standby = primary.standby();
    run(&setup, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    run(&setup, "SELECT pg_reload_conf()").await;
    asks(
        &setup,
        "SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication",
    )
    .await;

    let journal = open(&replicated).await;
    assert_eq!(new(&journal, numbered(1)).await, 1);
    // An administrator who turns replication off does not weaken what a 200 means.
    run(&setup, "ALTER SYSTEM RESET synchronous_standby_names").await;
    run(&setup, "SELECT pg_reload_conf()").await;
    until("it has noticed", || !journal.is_ready()).await;
    let away = journal.append(numbered(2)).await;
    assert!(matches!(away, Err(Unavailable::Away(_))), "{away:?}");
    assert_eq!(setup.append(numbered(1)).await, Ok(duplicate(1)));
    run(&setup, "ALTER SYSTEM SET synchronous_standby_names = '*'").await;
    run(&setup, "SELECT pg_reload_conf()").await;
    until("it is ready again", || journal.is_ready()).await;
    assert_eq!(new(&journal, numbered(2)).await, 2);
    drop(standby);
    until("it has noticed that", || !journal.is_ready()).await;
}
