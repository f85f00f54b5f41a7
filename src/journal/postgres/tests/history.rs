//! A database that has gone back, and has lost only saves, leases or documents, and no body.

use tokio::time::timeout;

use super::faults::until;
use super::leases::{holds_all, long, short};
use super::{HANG, logged, open, options, server};
use crate::journal::contract::{change, letter, letters, only_head, save};
use crate::journal::postgres::Postgres;
use crate::journal::{Desks as _, Documents as _, Expected, Unavailable};

/// Keeps what these tables hold now.
async fn keep(journal: &Postgres, tables: &[&str]) {
    for table in tables {
        let copy = format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}");
        run(journal, &copy).await;
    }
}

/// Gives the tables what they held then, as a restore does.
async fn restore(journal: &Postgres, tables: &[&str]) {
    let restore = tables.iter().map(|table| {
        format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table};")
    });
    run(journal, &restore.collect::<String>()).await;
}

async fn run(journal: &Postgres, sql: &str) {
    let session = journal.shared.link.session().await.unwrap();
    session.run(sql).await.unwrap();
}

/// A save fits only what it was made from. The consumers of the share begin again from what is stored.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_over_lost_progress_is_refused() {
    const TABLES: [&str; 3] = ["progress", "progress_row", "dead"];
    let Some(server) = server::Server::shared() else {
        return;
    };
    logged::listen();
    let journal = open(&long(options(server))).await;
    let mut held = journal.held();
    let grants = holds_all(&mut held, 4).await;
    journal.introduce("a", b"start").await.unwrap();
    let desk = journal.desk_of(grants[&1]).unwrap();
    assert_eq!(desk.saved("a").await, Ok(Some(only_head(*b"start"))));
    save(desk.as_ref(), "a", b"one", vec![letter(1, "dead")]).await;
    save(desk.as_ref(), "b", b"other", vec![]).await;
    keep(&journal, &TABLES).await;
    save(desk.as_ref(), "a", b"two", vec![letter(2, "lost")]).await;
    restore(&journal, &TABLES).await;
    // It has lost nothing of this one.
    save(desk.as_ref(), "b", b"further", vec![]).await;
    let refused = desk
        .save(change("a", b"three", vec![letter(3, "late")]))
        .await;
    assert_eq!(refused, Err(Unavailable::Fenced(1)));
    assert!(logged::was_told(
        "what a has saved in share 1 is not there any more"
    ));

    let is_again = |held: &std::collections::BTreeMap<_, crate::journal::Grant>| {
        { held.get(&1) }.is_some_and(|grant| grant.epoch > grants[&1].epoch)
    };
    let again = timeout(HANG, held.wait_for(is_again)).await.unwrap();
    let again = again.unwrap()[&1];
    let begun = journal.desk_of(again).unwrap();
    assert_eq!(begun.saved("a").await, Ok(Some(only_head(*b"one"))));
    assert_eq!(letters(&journal, "a").await, [letter(1, "dead")]);
    save(begun.as_ref(), "a", b"two again", vec![]).await;
    let late = desk.save(change("b", b"late", vec![])).await;
    assert_eq!(late, Err(Unavailable::Fenced(1)));
    assert_eq!(begun.saved("b").await, Ok(Some(only_head(*b"further"))));
}

/// An instance takes its shares again under another id, so that the same epoch is not the same right.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_noticed() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let journal = open(&long(options(server))).await;
    keep(&journal, &["share"]).await;
    let mut held = journal.held();
    let grants = holds_all(&mut held, 4).await;
    let desk = journal.desk_of(grants[&0]).unwrap();
    save(desk.as_ref(), "a", b"before", vec![]).await;
    restore(&journal, &["share"]).await;
    journal.shared.grants.look.notify_one();
    let is_other = |held: &std::collections::BTreeMap<_, crate::journal::Grant>| {
        { held.get(&0) }.is_some_and(|grant| grant.holder != grants[&0].holder)
    };
    let taken = timeout(HANG, held.wait_for(is_other)).await.unwrap();
    let taken = taken.unwrap()[&0];
    assert_eq!(taken.epoch, grants[&0].epoch);
    let late = desk.save(change("a", b"late", vec![])).await;
    assert_eq!(late, Err(Unavailable::Fenced(0)));
    let begun = journal.desk_of(taken).unwrap();
    assert_eq!(begun.saved("a").await, Ok(Some(only_head(*b"before"))));
    save(begun.as_ref(), "a", b"after", vec![]).await;
}

/// Without an answer nobody knows whether a change is saved. The next one is made from either.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_without_an_answer_is_made_again() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    logged::listen();
    let journal = open(&options(server)).await;
    let desk = journal.desk(0).await.unwrap();
    save(desk.as_ref(), "a", b"one", vec![]).await;
    let warn = "CREATE FUNCTION warn() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN RAISE WARNING 'as if a standby had not answered'; RETURN NULL; END $$; \
                CREATE TRIGGER warn AFTER UPDATE ON progress EXECUTE FUNCTION warn()";
    run(&journal, warn).await;
    let unknown = desk.save(change("a", b"two", vec![])).await;
    assert!(
        matches!(unknown, Err(Unavailable::Unknown(_))),
        "{unknown:?}"
    );
    run(&journal, "DROP TRIGGER warn ON progress").await;
    save(desk.as_ref(), "a", b"three", vec![letter(1, "dead")]).await;
    assert_eq!(desk.saved("a").await, Ok(Some(only_head(*b"three"))));
    // One that is forgotten is not saved again by a desk that has not heard of it.
    journal.forget_consumer("a").await.unwrap();
    let late = desk.save(change("a", b"late", vec![])).await;
    assert_eq!(late, Err(Unavailable::Fenced(0)));
    assert!(logged::was_told(
        "nothing is saved of a in share 0 any more"
    ));
    assert_eq!(desk.saved("a").await, Ok(None));
}

/// Changes of documents that were lost are noticed: whoever follows them looks again.
#[tokio::test(flavor = "multi_thread")]
async fn lost_documents_are_noticed() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let journal = open(&short(options(server)).instance("documents")).await;
    let mut versions = journal.watch_documents();
    for key in ["one", "two"] {
        let value = Some(key.into());
        journal
            .put_document(key, value, Expected::Absent)
            .await
            .unwrap();
    }
    timeout(HANG, versions.wait_for(|version| *version == 2))
        .await
        .unwrap()
        .unwrap();
    run(
        &journal,
        "UPDATE meta SET documents = 1; DELETE FROM document WHERE version > 1",
    )
    .await;
    let cut = "SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity \
               WHERE application_name = 'offhook documents' ORDER BY pid = pg_backend_pid()) a";
    let session = journal.shared.link.session().await.unwrap();
    session.run(cut).await.unwrap_err();
    timeout(HANG, versions.wait_for(|version| *version == 1))
        .await
        .unwrap()
        .unwrap();
    until("it is ready", || crate::journal::Log::is_ready(&journal)).await;
    let left = journal.documents("").await.unwrap();
    assert_eq!(left.len(), 1);
    // What was lost was being applied, and is done only now.
    journal.applied(2);
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let applied = "SELECT max(documents) FROM instance";
    let rows = journal.shared.link.read(applied, &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 0);
}
