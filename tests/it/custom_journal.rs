//! A server on a journal of the program's own: the one in memory, dispatched in three shares.

use std::sync::Arc;

use offhook::clock::SystemClock;
use offhook::journal::Memory;
use offhook::testing::{Recorder, TestEvent};
use offhook::{Offhook, testing};
use serde_json::json;

use crate::records::{api, get, settled};
use crate::support::{KEY, secret, source};

#[actix_web::test]
async fn a_journal_of_ones_own_is_used_without_search() {
    let recorder = Recorder::default();
    let journal = Memory::new(Arc::new(SystemClock), 3);
    let offhook = Offhook::builder()
        .source(source())
        .handler("recorder", recorder.clone())
        .custom_journal(Arc::new(journal));
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
