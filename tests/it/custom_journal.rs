//! A server on a journal of the program's own: the one in memory, dispatched in three shares.

use std::sync::Arc;
use std::time::Duration;

use offhook::clock::SystemClock;
use offhook::journal::{DeadLetters as _, Memory};
use offhook::testing::{Recorder, TestEvent};
use offhook::{HandlerOptions, Offhook, Retry, testing};
use serde_json::json;

use crate::records::{api, get, post, settled};
use crate::support::{KEY, bounded, secret, source};

#[actix_web::test]
async fn a_custom_journal_works_without_search() {
    let recorder = Recorder::default();
    let journal = Memory::new(Arc::new(SystemClock), 3);
    let once = HandlerOptions::default().retry(Retry {
        attempts: 1,
        ..Retry::default()
    });
    let offhook = Offhook::builder()
        .source(source())
        .handler_with("recorder", recorder.clone(), once)
        .custom_journal(Arc::new(journal.clone()));
    let server = testing::start(offhook).await;
    assert_eq!(get(&server, "/health").await["engine"], "custom");

    let sessions: Vec<String> = (0..20).map(|number| format!("s{number}")).collect();
    // Each once more: a duplicate is acknowledged and not handed over.
    for session in sessions.iter().chain(&sessions) {
        let event = TestEvent::message("+1", "Hello!").session(session).id("7");
        let request = event.sign(&secret(KEY));
        assert_eq!(request.send(server.public_address()).await.status, 200);
    }
    settled(&server).await;
    let mut handled: Vec<_> = recorder.deliveries();
    handled.sort_by_key(|delivery| delivery.id());
    handled.dedup_by_key(|delivery| delivery.id());
    assert_eq!(handled.len(), sessions.len());
    assert_eq!(recorder.deliveries().len(), sessions.len());

    // A replay reaches each event in its share.
    recorder.fail_next(sessions.len());
    for session in &sessions {
        let event = TestEvent::message("+1", "Once more")
            .session(session)
            .id("8");
        let request = event.sign(&secret(KEY));
        assert_eq!(request.send(server.public_address()).await.status, 200);
    }
    let count = sessions.len();
    dead_letters(&journal, count).await;
    let replayed = post(&server, "/api/dead/replay", json!({})).await;
    assert_eq!(replayed, json!({ "matched": count, "replayed": count }));
    settled(&server).await;
    let deliveries = recorder.deliveries();
    let again = deliveries.iter().filter(|delivery| delivery.is_replay());
    assert_eq!(again.count(), count);
    dead_letters(&journal, 0).await;

    for path in ["/api/events", "/api/dead"] {
        let (status, answer) = api(&server, "GET", path, &json!({})).await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("no_search")),
            "{answer}"
        );
    }
    server.stop().await;
}

/// Waits until there are so many dead letters.
async fn dead_letters(journal: &Memory, count: usize) {
    bounded(async {
        while journal
            .dead_letters(None, None, usize::MAX)
            .await
            .unwrap()
            .len()
            != count
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
