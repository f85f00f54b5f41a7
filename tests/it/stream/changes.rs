//! What viewers are told of consumers, and of which events states are.

use std::sync::Arc;

use offhook::testing::TestEvent;
use offhook::{Delivery, Event, EventHandler, HandlerError, HandlerOptions, Retry, async_trait};
use serde_json::json;
use tokio::sync::Semaphore;

use super::viewer::Viewer;
use super::{Picky, admin, send};
use crate::records::{keeping, post, settled};
use crate::relay::source_of_lines;
use crate::support::{Folder, signed, without_duplicates};

/// One row when a consumer fails, and one when it works again, however often that changes.
#[actix_web::test]
async fn a_consumer_that_flaps_makes_few_rows() {
    let folder = Folder::new("stream-flaps");
    let retry = Retry {
        attempts: 1,
        ..Retry::default()
    };
    let options = HandlerOptions::default().retry(retry);
    let server = keeping(&folder, |offhook| {
        without_duplicates(offhook).handler_with("picky", Picky, options)
    })
    .await;
    let mut viewer = Viewer::open(admin(&server), "?kinds=consumer", "").await;
    for _ in 0..20 {
        for from in ["+2", "+1"] {
            send(&server, &TestEvent::message(from, "Hello!").body()).await;
            settled(&server).await;
        }
    }
    post(&server, "/api/consumers/handler:picky/pause", json!({})).await;
    for expected in ["failing", "running", "paused"] {
        assert_eq!(viewer.expect("consumer").await.data["state"], expected);
    }
    server.stop().await;
}

/// Succeeds when it may, but fails for one sender.
struct Held(Arc<Semaphore>);

#[async_trait]
impl EventHandler for Held {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        self.0.acquire().await?.forget();
        Picky.handle(event, delivery).await
    }
}

/// An attempt that ends while the consumer is paused does not say that it runs.
#[actix_web::test]
async fn a_paused_consumer_stays_paused() {
    let folder = Folder::new("stream-paused");
    let retry = Retry {
        attempts: 1,
        ..Retry::default()
    };
    let options = HandlerOptions::default().retry(retry);
    let may = Arc::new(Semaphore::new(1));
    let server = keeping(&folder, |offhook| {
        let held = Held(Arc::clone(&may));
        without_duplicates(offhook).handler_with("held", held, options)
    })
    .await;
    let mut viewer = Viewer::open(admin(&server), "?kinds=consumer,state", "").await;
    send(&server, &TestEvent::message("+2", "Hello!").body()).await;
    assert_eq!(viewer.expect("consumer").await.data["state"], "failing");
    viewer.expect("state").await;
    send(&server, &TestEvent::message("+1", "Hello!").body()).await;
    crate::records::until(&server, "/api/consumers", |answer| {
        answer["consumers"][0]["in_flight"] == 1
    })
    .await;
    post(&server, "/api/consumers/handler:held/pause", json!({})).await;
    assert_eq!(viewer.expect("consumer").await.data["state"], "paused");
    may.add_permits(1);
    assert_eq!(viewer.expect("state").await.data["state"], "done");
    post(&server, "/api/consumers/handler:held/resume", json!({})).await;
    assert_eq!(viewer.expect("consumer").await.data["state"], "running");
    server.stop().await;
}

/// Takes bodies.
struct Bodies;

#[async_trait]
impl EventHandler for Bodies {
    fn takes_bodies(&self) -> bool {
        true
    }

    async fn deliver(&self, _: &[&Event], _: &Delivery) -> Result<(), HandlerError> {
        Ok(())
    }
}

/// The events of a body that is handed over once may be of several sessions.
#[actix_web::test]
async fn each_state_is_of_the_session_of_its_event() {
    let folder = Folder::new("stream-sessions");
    let server = keeping(&folder, |offhook| {
        offhook.source(source_of_lines()).handler("bodies", Bodies)
    })
    .await;
    let mut viewer = Viewer::open(admin(&server), "?kinds=state&session=b", "").await;
    let message = |number: usize, session: &str| {
        json!({
            "event": "message", "messageId": format!("m{number}"), "from": "+1",
            "message": "Hello!", "sessionId": session,
        })
        .to_string()
    };
    let lines = [message(1, "a"), message(2, "b"), message(3, "a")].join("\n");
    let request = signed(lines).path("/lines");
    assert_eq!(request.send(server.public_address()).await.status, 200);
    let state = viewer.expect("state").await.data;
    assert!(state["id"].as_str().unwrap().ends_with(".2"), "{state}");
    settled(&server).await;
    viewer.none_is_ready().await;
    server.stop().await;
}
