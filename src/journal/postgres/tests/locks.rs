//! What waits for what, where two connections change the same.

use std::sync::Arc;

use super::faults::waits_for_lock;
use super::{open, options, server};
use crate::journal::contract::{change, letter, letters, save};
use crate::journal::{Desks as _, Position, ProgressChange};

/// A consumer that is forgotten while a save of it is under way leaves nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_save_under_way_leaves_nothing_of_a_forgotten_consumer() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let (journal, other) = (Arc::new(open(&options).await), open(&options).await);
    let desk = journal.desk(0).await.unwrap();
    save(desk.as_ref(), "a", b"before", vec![]).await;
    // The save waits after it has changed the head.
    let lock = other.shared.link.session().await.unwrap();
    let wait = "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS \
                $$ BEGIN PERFORM lock_1(77); RETURN NULL; END $$; \
                CREATE TRIGGER wait AFTER INSERT ON progress_row EXECUTE FUNCTION wait()";
    lock.run(wait).await.unwrap();
    lock.run("BEGIN; SELECT lock_1(77)").await.unwrap();
    let with_row = ProgressChange {
        rows: vec![(b"key".to_vec(), Some(b"value".to_vec()))],
        ..change("a", b"after", vec![])
    };
    let saving = tokio::spawn(async move { desk.save(with_row).await });
    waits_for_lock(&journal, "save_1").await;
    let forgetting = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { journal.forget_consumer("a").await }
    });
    let third = open(&options).await;
    waits_for_lock(&third, "forget_consumer_1").await;
    lock.run("COMMIT").await.unwrap();
    assert_eq!(saving.await.unwrap(), Ok(()));
    assert_eq!(forgetting.await.unwrap(), Ok(()));
    let left = "SELECT (SELECT count(*) FROM progress) + (SELECT count(*) FROM progress_row)";
    let rows = journal.shared.link.read(left, &[]).await.unwrap();
    assert_eq!(rows[0].get::<_, i64>(0), 0);
}

/// A deletion, and a save that revives one letter and adds another, do not wait for each other.
#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_and_a_save_follow_each_other() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server);
    let (journal, other) = (open(&options).await, open(&options).await);
    let desk = journal.desk(0).await.unwrap();
    let dead = vec![letter(1, "dead"), letter(2, "dead")];
    save(desk.as_ref(), "a", b"before", dead).await;
    // As a deletion begins.
    let deletion = other.shared.link.session().await.unwrap();
    deletion.run("BEGIN; SELECT lock_1(3)").await.unwrap();
    let revives = ProgressChange {
        revived: vec![Position::first(1)],
        ..change("a", b"after", vec![letter(3, "dead")])
    };
    let saving = tokio::spawn(async move { desk.save(revives).await });
    waits_for_lock(&journal, "save_1").await;
    let deleted = deletion.run("DELETE FROM dead WHERE seq IN (1, 2); COMMIT");
    assert_eq!(deleted.await, Ok(()));
    assert_eq!(saving.await.unwrap(), Ok(()));
    assert_eq!(letters(&journal, "a").await, [letter(3, "dead")]);
}
