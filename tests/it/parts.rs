//! Bodies that hold several events, each a line of the body.

use std::sync::{Arc, Mutex};

use offhook::testing::Recorder;
use offhook::{
    Delivery, Event, EventHandler, EventKind, HandlerError, HandlerOptions, Server, async_trait,
};
use serde_json::{Value, json};

use crate::records::{get, keeping, post, settled, until};
use crate::relay::{source_of_lines, subscribed};
use crate::subscriber::{Answer, Subscriber};
use crate::support::{Folder, recording, signed};

/// A server with a source whose bodies are lines, and this handler.
async fn recording_lines(folder: &Folder, recorder: &Recorder) -> Server {
    keeping(folder, |offhook| {
        let offhook = offhook.source(source_of_lines());
        offhook.handler("recorder", recorder.clone())
    })
    .await
}

/// Sends these lines as one body; whether it was a duplicate.
async fn send(server: &Server, lines: &[String]) -> bool {
    let request = signed(lines.join("\n")).path("/lines");
    let answer = request.send(server.public_address()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("offhook-duplicate").is_some()
}

fn status(number: usize, session: &str) -> String {
    json!({ "event": "status", "messageId": format!("m{number}"), "status": "read", "sessionId": session })
        .to_string()
}

fn of_two_sessions() -> [String; 3] {
    [status(1, "a"), status(2, "b"), status(3, "a")]
}

#[actix_web::test]
async fn sessions_are_the_same_from_the_disk() {
    let folder = Folder::new("parts-sessions");
    let recorder = Recorder::default();
    let server = recording_lines(&folder, &recorder).await;
    post(&server, "/api/consumers/handler:recorder/pause", json!({})).await;
    send(&server, &of_two_sessions()).await;
    server.stop().await;

    let server = recording_lines(&folder, &recorder).await;
    post(&server, "/api/consumers/handler:recorder/resume", json!({})).await;
    settled(&server).await;
    let mut handled: Vec<_> = recorder
        .events()
        .into_iter()
        .zip(recorder.deliveries())
        .collect();
    handled.sort_by_key(|(_, delivery)| delivery.id());
    let of_events: Vec<_> = handled
        .iter()
        .map(|(event, _)| event.session_id())
        .collect();
    assert_eq!(of_events, [Some("a"), Some("b"), Some("a")]);
    let of_deliveries: Vec<_> = handled.iter().map(|(_, one)| one.session()).collect();
    assert_eq!(of_deliveries, of_events);
    server.stop().await;
}

#[actix_web::test]
async fn a_rejected_body_is_one_letter_per_event() {
    let folder = Folder::new("parts-dead");
    let subscriber = Subscriber::start([500, 500, 500].map(Answer::from)).await;
    let server = keeping(&folder, |offhook| {
        let offhook = offhook.source(source_of_lines());
        subscribed(offhook, "crm", &subscriber.url())
    })
    .await;
    send(&server, &of_two_sessions()).await;
    settled(&server).await;
    let three = |dead: &Value| dead["dead"].as_array().unwrap().len() == 3;
    until(&server, "/api/dead", three).await;
    let all = get(&server, "/api/events").await;
    for event in all["events"].as_array().unwrap() {
        assert_eq!(event["state"], "dead", "{all}");
        let one = get(
            &server,
            &format!("/api/events/{}", event["id"].as_str().unwrap()),
        )
        .await;
        let attempted = |entry: &Value| entry["what"] == "attempt";
        assert!(
            one["timeline"].as_array().unwrap().iter().any(attempted),
            "{one}"
        );
    }

    // All of them are one request again.
    let replayed = post(&server, "/api/dead/replay", json!({})).await;
    assert_eq!(replayed, json!({ "matched": 3, "replayed": 3 }));
    settled(&server).await;
    let requests = subscriber.requests();
    let replays: Vec<&str> = requests
        .iter()
        .skip(3)
        .map(|one| one.header("offhook-replay"))
        .collect();
    assert_eq!(replays, ["true"]);
    until(&server, "/api/dead", |dead| dead["dead"] == json!([])).await;
    server.stop().await;
}

#[actix_web::test]
async fn a_body_without_events_is_one_unknown_event() {
    let folder = Folder::new("parts-none");
    let recorder = Recorder::default();
    let server = recording_lines(&folder, &recorder).await;
    assert!(!send(&server, &[]).await);
    settled(&server).await;
    assert_eq!(recorder.events().len(), 1);
    assert_eq!(recorder.events()[0].kind(), EventKind::Unknown);
    server.stop().await;
}

/// A body has 1,024 parts at most, and the last one has all events that are left.
#[actix_web::test]
async fn one_more_event_than_parts_makes_no_duplicate() {
    let folder = Folder::new("parts-many");
    let recorder = Recorder::default();
    let server = recording_lines(&folder, &recorder).await;
    let mut lines: Vec<String> = (1..=1024).map(|number| status(number, "a")).collect();
    assert!(!send(&server, &lines).await);
    assert!(send(&server, &lines).await);
    lines.push(status(1025, "a"));
    assert!(!send(&server, &lines).await);
    settled(&server).await;
    let last = |event: &Event| matches!(event, Event::Status(status) if status.message_id.as_deref() == Some("m1025"));
    assert_eq!(
        recorder.events().iter().filter(|event| last(event)).count(),
        1
    );
    server.stop().await;
}

/// Takes bodies, and remembers how many events each had.
#[derive(Debug, Clone, Default)]
struct Bodies(Arc<Mutex<Vec<Body>>>);

/// How many events a delivery had, and its session.
type Body = (usize, Option<String>);

#[async_trait]
impl EventHandler for Bodies {
    fn takes_bodies(&self) -> bool {
        true
    }

    async fn deliver(&self, events: &[&Event], delivery: &Delivery) -> Result<(), HandlerError> {
        let session = delivery.session().map(str::to_owned);
        self.0.lock().unwrap().push((events.len(), session));
        Ok(())
    }
}

#[actix_web::test]
async fn without_a_journal_only_wanted_sessions_are_handled() {
    let bodies = Bodies::default();
    let only = |session: &str| HandlerOptions::default().sessions([session]);
    let (server, recorder) = recording(|offhook| {
        let offhook = offhook.source(source_of_lines());
        let offhook = offhook.handler_with("a", bodies.clone(), only("a"));
        let offhook = offhook.handler_with("b", bodies.clone(), only("b"));
        offhook.handler_with("c", bodies.clone(), only("c"))
    })
    .await;
    send(&server, &of_two_sessions()).await;
    let mut had = bodies.0.lock().unwrap().clone();
    had.sort();
    assert_eq!(had, [(1, Some("b".to_owned())), (2, Some("a".to_owned()))]);
    assert_eq!(recorder.events().len(), 3);
    server.stop().await;
}
