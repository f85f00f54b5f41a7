//! The page Events: what its rows say, and where what is newer begins.

use offhook::testing::{Recorder, TestEvent, TestRequest};
use offhook::{EventKind, HandlerOptions, Offhook, Server};
use serde_json::json;

use crate::records::{api, get, keeping, post, until};
use crate::support::{Folder, KEY, secret};

async fn page(server: &Server, path: &str) -> String {
    let admin = server.admin_address().unwrap();
    let answer = TestRequest::get(path).send(admin).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.text()
}

async fn send(server: &Server, text: &str) {
    let event = TestEvent::message("+1", text).session("s");
    let answer = event.sign(&secret(KEY)).send(server.public_address()).await;
    assert_eq!(answer.status, 200);
}

fn two(offhook: Offhook) -> Offhook {
    let quick = offhook.handler("quick", Recorder::default());
    quick.handler("paused", Recorder::default())
}

#[actix_web::test]
async fn rows_have_the_state_for_each_consumer() {
    let folder = Folder::new("events-rows");
    let server = keeping(&folder, two).await;
    post(&server, "/api/consumers/handler:paused/pause", json!({})).await;
    send(&server, "one").await;
    send(&server, "two").await;
    until(&server, "/api/consumers/handler:quick", |one| {
        one["lag"] == 0
    })
    .await;
    // Its limit is that of the page, whatever the address says.
    let shown = page(&server, "/ui/events?limit=1").await;
    let states = "quick: done\npaused: pending";
    assert_eq!(shown.matches(states).count(), 2, "{shown}");
    let shown = page(&server, "/ui/events?state=done").await;
    assert!(shown.contains("Nothing matches."), "{shown}");
    server.stop().await;
}

#[actix_web::test]
async fn what_is_newer_begins_behind_what_is_shown() {
    let folder = Folder::new("events-newer");
    let server = keeping(&folder, two).await;
    let pages = ["now", "events", "conversations?session=s", "consumers"];
    for sent in 0..2 {
        for path in pages {
            let shown = page(&server, &format!("/ui/{path}")).await;
            let after = format!("data-after=\"{sent}\"");
            assert!(shown.contains(&after), "{path}: {shown}");
        }
        send(&server, "text").await;
    }
    // The stream has fewer filters than the page: then it does not know how many newer ones match.
    for (query, is_counted) in [
        ("session=s", true),
        ("name=message", false),
        ("session=s&state=done", false),
    ] {
        let shown = page(&server, &format!("/ui/events?{query}")).await;
        let is_said = shown.contains("data-say=\"newer\"");
        assert_eq!(!is_said, is_counted, "{query}: {shown}");
    }
    server.stop().await;
}

/// It is read on another thread.
#[actix_web::test]
async fn a_long_message_is_read_too() {
    let folder = Folder::new("events-long");
    let server = keeping(&folder, two).await;
    send(&server, &format!("long {}", "x".repeat(40_000))).await;
    let chat = get(&server, "/api/conversations/s/%2B1").await;
    let text = chat["messages"][0]["text"].as_str().unwrap();
    assert!(text.len() == 2000 && text.starts_with("long x"), "{text}");
    assert!(page(&server, "/ui/events").await.contains("+1: long x"));
    server.stop().await;
}

/// One that did not want it, or came later, has not got it.
#[actix_web::test]
async fn a_consumer_that_never_got_an_event_has_no_state() {
    let folder = Folder::new("events-younger");
    let server = keeping(&folder, |offhook| {
        let statuses = HandlerOptions::default().events([EventKind::Status]);
        offhook
            .handler("quick", Recorder::default())
            .handler_with("statuses", Recorder::default(), statuses)
            .configure(|settings| settings.relay.options.allow_private = true)
    })
    .await;
    send(&server, "one").await;
    until(&server, "/api/consumers/handler:quick", |one| {
        one["lag"] == 0
    })
    .await;
    let younger = json!({ "webhookUrl": "http://127.0.0.1:9/", "name": "younger" });
    let (status, answer) = api(&server, "POST", "/sessions/%2A/webhook", &younger).await;
    assert_eq!(status, 201, "{answer}");
    let shown = page(&server, "/ui/events").await;
    assert!(shown.contains("title=\"quick: done\""), "{shown}");
    server.stop().await;
}

#[actix_web::test]
async fn a_time_may_be_short_and_a_wrong_one_keeps_the_form() {
    let folder = Folder::new("events-times");
    let server = keeping(&folder, two).await;
    send(&server, "one").await;
    for (query, is_found) in [
        ("from=1h", true),
        ("to=1h", false),
        ("from=2020-01-01", true),
        ("to=2020-01-01%2012:00", false),
    ] {
        let shown = page(&server, &format!("/ui/events?{query}")).await;
        assert_eq!(
            !shown.contains("Nothing matches."),
            is_found,
            "{query}: {shown}"
        );
    }
    let shown = page(&server, "/ui/events?session=s&from=yesterday").await;
    for text in [
        "From: found &quot;yesterday&quot;, expected",
        "value=\"yesterday\"",
        "value=\"s\"",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let shown = page(&server, "/ui/events?source=nope").await;
    assert!(
        shown.contains("there is no source &quot;nope&quot;; there are: "),
        "{shown}"
    );
    let (status, answer) = api(&server, "GET", "/api/events?limit=abc", &json!({})).await;
    let error = answer["error"].as_str().unwrap();
    assert!(
        status == 400 && error.starts_with("limit: found \"abc\""),
        "{answer}"
    );
    server.stop().await;
}
