//! `GET /api/stream`: who watches sees every event once and in order, and holds up nothing.

mod behind;
mod changes;
mod places;
pub mod viewer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use offhook::testing::{Recorder, TestEvent};
use offhook::{
    Delivery, Event, EventHandler, HandlerError, HandlerOptions, Offhook, Retry, Server,
    async_trait,
};
use serde_json::{Value, json};

use self::viewer::Viewer;
use crate::records::{api, get, keeping, post, until};
use crate::support::{DOCUMENTED, Folder, KEY, secret, signed, source, without_duplicates};

fn admin(server: &Server) -> SocketAddr {
    server.admin_address().unwrap()
}

async fn send(server: &Server, body: &str) {
    let answer = signed(body).send(server.public_address()).await;
    assert_eq!(answer.status, 200);
}

/// Sends messages with these numbers, some at the same time.
async fn send_many(to: SocketAddr, numbers: std::ops::Range<usize>) {
    let numbers: Vec<usize> = numbers.collect();
    for some in numbers.chunks(16) {
        let sent = some.iter().map(|number| {
            let event = TestEvent::message("+1", "Hello!").id(&number.to_string());
            let request = event.sign(&secret(KEY));
            async move { assert_eq!(request.send(to).await.status, 200) }
        });
        join_all(sent).await;
    }
}

async fn refused(server: &Server, query: &str, headers: &str) -> (String, Value) {
    let mut viewer = Viewer::try_open(admin(server), query, headers).await;
    let body = viewer.body().await;
    (viewer.head, body)
}

/// Fails for one sender.
struct Picky;

#[async_trait]
impl EventHandler for Picky {
    async fn handle(&self, event: &Event, _: &Delivery) -> Result<(), HandlerError> {
        match event {
            Event::Message(message) if message.from() == "+2" => Err("not from you".into()),
            _ => Ok(()),
        }
    }
}

#[actix_web::test]
async fn a_viewer_sees_events_and_their_states() {
    let folder = Folder::new("stream-states");
    let retry = Retry {
        first: Duration::from_millis(10),
        attempts: 2,
        ..Retry::default()
    };
    let options = HandlerOptions::default().retry(retry);
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("picky", Picky, options)
    })
    .await;
    send(&server, DOCUMENTED[0]).await;
    let mut viewer = Viewer::open(admin(&server), "", "").await;
    let head = viewer.head.to_ascii_lowercase();
    assert!(
        head.contains("content-type: text/event-stream\r\n"),
        "{head}"
    );
    assert!(head.contains("cache-control: no-store\r\n"), "{head}");
    for body in [DOCUMENTED[0], DOCUMENTED[1]] {
        send(&server, body).await;
    }
    // The first is a duplicate, and the message came before.
    let block = viewer.expect("event").await;
    assert_eq!(block.id.as_deref(), Some("2"));
    let list = get(&server, "/api/events?event=status").await;
    let listed = &list["events"][0];
    for field in [
        "id",
        "source",
        "session",
        "event",
        "name",
        "received_at",
        "bytes",
    ] {
        assert_eq!(block.data[field], listed[field], "{field}: {block:?}");
    }
    assert_eq!(block.data["seq"], 2);
    let state = viewer.expect("state").await;
    assert_eq!(
        state.data,
        json!({
            "id": listed["id"], "consumer": "handler:picky", "attempt": 1, "outcome": "done",
            "state": "done", "next_at": null,
        })
    );

    let event = TestEvent::message("+2", "Hello!").id("x");
    send(&server, &event.body()).await;
    viewer.expect("event").await;
    let failing = viewer.expect("consumer").await;
    assert_eq!(
        failing.data,
        json!({ "name": "handler:picky", "state": "failing", "reason": "not from you" })
    );
    let first = viewer.expect("state").await.data;
    assert_eq!(
        (&first["state"], &first["attempt"]),
        (&json!("retrying"), &json!(1))
    );
    assert!(first["next_at"].is_string(), "{first}");
    let last = viewer.expect("state").await.data;
    assert_eq!(
        (&last["state"], &last["attempt"]),
        (&json!("dead"), &json!(2))
    );
    assert_eq!(
        (&last["outcome"], &last["next_at"]),
        (&json!("not from you"), &Value::Null)
    );

    post(&server, "/api/consumers/handler:picky/pause", json!({})).await;
    assert_eq!(viewer.expect("consumer").await.data["state"], "paused");
    post(&server, "/api/consumers/handler:picky/resume", json!({})).await;
    assert_eq!(viewer.expect("consumer").await.data["state"], "failing");
    let id = listed["id"].as_str().unwrap();
    post(&server, &format!("/api/events/{id}/replay"), json!({})).await;
    let begun = viewer.expect("replay").await.data;
    assert_eq!(
        (&begun["state"], &begun["matched"]),
        (&json!("running"), &json!(1))
    );
    assert_eq!(viewer.expect("replay").await.data["state"], "done");
    assert_eq!(viewer.expect("state").await.data["state"], "done");
    assert_eq!(viewer.expect("consumer").await.data["state"], "running");
    server.stop().await;
    viewer.expect("bye").await;
    assert_eq!(viewer.next().await, None);
}

#[actix_web::test]
async fn a_filter_leaves_out_the_rest() {
    let folder = Folder::new("stream-filter");
    let recorder = Recorder::default();
    let server = keeping(&folder, |offhook| {
        offhook.handler("recorder", recorder.clone())
    })
    .await;
    let queries = [
        ("?session=other", 1, 1),
        ("?event=status", 1, 1),
        ("?event=message&kinds=event", 2, 0),
        ("?source=codeskytz&kinds=state", 0, 3),
        ("?source=another", 0, 0),
        ("?kinds=source,replay", 0, 0),
        ("?from=2125-01-08T12:00:00Z&kinds=event", 0, 0),
    ];
    let mut viewers = Vec::new();
    for (query, events, states) in queries {
        let viewer = Viewer::open(admin(&server), query, "").await;
        viewers.push((query, viewer, events, states));
    }
    send(&server, DOCUMENTED[0]).await;
    send(&server, DOCUMENTED[1]).await;
    let other = TestEvent::message("+1", "Hello!").session("other");
    send(&server, &other.body()).await;
    until(&server, "/api/consumers", |answer| {
        answer["consumers"][0]["lag"] == 0
    })
    .await;
    let mut seen = vec![(0, 0); viewers.len()];
    for ((query, viewer, events, states), seen) in viewers.iter_mut().zip(&mut seen) {
        while *seen != (*events, *states) {
            let block = viewer.next().await.unwrap();
            seen.0 += usize::from(block.event == "event");
            seen.1 += usize::from(block.event == "state");
            assert_ne!(block.event, "bye", "{query}: {seen:?}");
        }
    }
    server.stop().await;
    for (query, mut viewer, ..) in viewers {
        // More than was expected would be ahead of the farewell.
        while let Some(block) = viewer.next().await {
            let is_other = matches!(&*block.event, "bye" | "consumer");
            assert!(is_other, "{query}: {block:?}");
        }
        assert!(viewer.has_ended(), "{query}");
    }
}

/// Every number comes once and in order, however often the connection is cut.
#[actix_web::test]
async fn a_hundred_reconnects_lose_nothing() {
    let folder = Folder::new("stream-reconnects");
    let server = keeping(&folder, without_duplicates).await;
    let (to, admin) = (server.public_address(), admin(&server));
    let enough = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicUsize::new(0));
    let sender = {
        let (enough, sent) = (Arc::clone(&enough), Arc::clone(&sent));
        actix_web::rt::spawn(async move {
            while !enough.load(Ordering::Relaxed) {
                let first = sent.load(Ordering::Relaxed);
                send_many(to, first..first + 16).await;
                sent.store(first + 16, Ordering::Relaxed);
            }
        })
    };
    let (mut seen, mut id) = (Vec::new(), "0".to_owned());
    for round in 0..100 {
        let resume = if round % 2 == 0 {
            (
                "?complete=true&strict=true&kinds=event".to_owned(),
                format!("Last-Event-ID: {id}\r\n"),
            )
        } else {
            (
                format!("?complete=true&kinds=event&after={id}"),
                String::new(),
            )
        };
        let mut viewer = Viewer::open(admin, &resume.0, &resume.1).await;
        for _ in 0..=round % 7 {
            let block = viewer.expect("event").await;
            seen.push(block.data["seq"].as_u64().unwrap());
            id = block.id.unwrap();
        }
    }
    enough.store(true, Ordering::Relaxed);
    sender.await.unwrap();
    let all = sent.load(Ordering::Relaxed) as u64;
    let query = format!("?complete=true&kinds=event&after={id}");
    let mut viewer = Viewer::open(admin, &query, "").await;
    while *seen.last().unwrap() < all {
        seen.push(viewer.expect("event").await.data["seq"].as_u64().unwrap());
    }
    assert!(
        seen.iter().copied().eq(1..=all),
        "{} of {all}: {seen:?}",
        seen.len()
    );
    server.stop().await;
}

#[actix_web::test]
async fn deleted_events_are_not_shown() {
    let folder = Folder::new("stream-deleted");
    let server = keeping(&folder, |offhook| offhook).await;
    for body in DOCUMENTED {
        send(&server, body).await;
    }
    let list = get(&server, "/api/events?event=status").await;
    let path = format!("/api/events/{}", list["events"][0]["id"].as_str().unwrap());
    assert_eq!(api(&server, "DELETE", &path, &json!({})).await.0, 200);
    let mut viewer = Viewer::open(admin(&server), "?after=0", "").await;
    for number in [1, 3] {
        assert_eq!(viewer.expect("event").await.data["seq"], number);
    }
    server.stop().await;
}

#[actix_web::test]
async fn what_cannot_be_streamed_is_refused() {
    let folder = Folder::new("stream-refused");
    let server = keeping(&folder, |offhook| offhook).await;
    for (query, headers, status) in [
        ("?kinds=event,stat", "", 400),
        ("?kinds=", "", 400),
        ("?after=x", "", 400),
        ("?after=-1", "", 400),
        ("?event=mesage", "", 400),
        ("?surplus=1", "", 400),
        ("?complete=yes", "", 400),
        ("?from=yesterday", "", 400),
        ("", "Last-Event-ID: 1.0\r\n", 400),
        ("", "Last-Event-ID: \u{e9}\r\n", 400),
        ("", "Last-Event-ID: 1\r\nLast-Event-ID: 1\r\n", 400),
        ("", "Accept: application/json\r\n", 406),
        ("", "Sec-Fetch-Site: cross-site\r\n", 403),
    ] {
        let (head, body) = refused(&server, query, headers).await;
        assert!(
            head.starts_with(&format!("HTTP/1.1 {status} ")),
            "{query}: {head}"
        );
        assert_eq!(body["success"], false, "{query}");
    }
    for accept in ["*/*", "text/html, text/event-stream;q=0.9", "text/*"] {
        Viewer::open(admin(&server), "", &format!("Accept: {accept}\r\n")).await;
    }
    server.stop().await;
    let nothing = Offhook::builder().source(source());
    let server = offhook::testing::start(nothing).await;
    let (head, body) = refused(&server, "", "").await;
    assert!(head.starts_with("HTTP/1.1 409 "), "{head}");
    assert_eq!(body["code"], "nothing_kept");
    server.stop().await;
}
