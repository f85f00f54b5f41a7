//! How soon appends are answered while the database is not, and when they go on.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::faults::{behind, cut_waiting_append, until};
use super::proxy::{Flow, Proxy};
use super::{open, options, server};
use crate::clock::{Clock as _, SystemClock};
use crate::journal::contract::{new, numbered};
use crate::journal::{Log as _, Unavailable};

/// Also one that waits behind others, and while the connection is made again.
#[tokio::test(flavor = "multi_thread")]
async fn each_append_is_answered_in_time() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let proxy = Proxy::to(server.port()).await;
    let (options, _) = behind(&proxy, server).await;
    let options = options.append_timeout(Duration::from_millis(500));
    let journal = open(&options).await;
    assert_eq!(new(&journal, numbered(1)).await, 1);
    proxy.set(Flow::NoAnswers);
    let appends = (2..40).map(async |number| {
        tokio::time::sleep(Duration::from_millis(20) * number).await;
        let began = SystemClock.monotonic();
        let answer = journal.append(numbered(number.into())).await;
        (answer, SystemClock.monotonic() - began)
    });
    for (answer, took) in join_all(appends).await {
        answer.unwrap_err();
        assert!(took < Duration::from_secs(5), "answered after {took:?}");
    }
    proxy.set(Flow::Through);
    until("it writes again", || journal.is_ready()).await;
    journal.append(numbered(41)).await.unwrap();
}

/// The backend of an append that was broken off may still be at work, so nothing is taken before it is over.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_on_before_a_broken_append_is_decided() {
    let Some(server) = server::Server::shared() else {
        return;
    };
    let options = options(server).append_timeout(Duration::from_secs(2));
    let (journal, other) = (Arc::new(open(&options).await), open(&options).await);
    let lock = other.shared.link.session().await.unwrap();
    lock.run("BEGIN; SELECT lock_1(1)").await.unwrap();
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
    // Longer than a statement waits for the lock.
    for _ in 0..50 {
        assert!(!journal.is_ready());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lock.run("COMMIT").await.unwrap();
    until("it writes again", || journal.is_ready()).await;
    assert_eq!(new(journal.as_ref(), numbered(1)).await, 1);
}
