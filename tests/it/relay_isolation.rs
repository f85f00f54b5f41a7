//! Subscribers beside one another: one that hangs or fails holds up no other, and nothing fresh.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::future::{join, join_all};
use offhook::relay::{Relay, RelayOptions};
use offhook::testing::{TestEvent, TestRequest};
use offhook::{HandlerOptions, Retry, Server};
use serde_json::json;
use tokio::sync::watch;

use crate::records::{api, keeping, post, settled, until};
use crate::subscriber::{Answer, Asked, Subscriber};
use crate::support::{Folder, KEY, Raw, bounded, secret};

/// Longer than any test: a test that waits for it has failed.
const FOREVER: Duration = Duration::from_secs(3600);

fn relay(subscriber: &Subscriber) -> Relay {
    let mut options = RelayOptions::default();
    options.timeout = FOREVER;
    options.allow_private = true;
    Relay::new(&subscriber.url(), None, &options).unwrap()
}

/// No attempt ends by itself, and none is made again.
fn patient() -> HandlerOptions {
    HandlerOptions::default().timeout(FOREVER).retry(Retry {
        first: FOREVER,
        max: FOREVER,
        ..Retry::default()
    })
}

/// A message of a conversation.
fn message(session: &str, from: usize, id: usize) -> TestRequest {
    TestEvent::message(&from.to_string(), "Hello!")
        .session(session)
        .id(&id.to_string())
        .sign(&secret(KEY))
}

/// Sends them over several connections, those with the same `index % SENDERS` in their order.
async fn send(to: SocketAddr, requests: &[TestRequest]) {
    let senders = (0..SENDERS).map(|part| async move {
        let mut raw = Raw::connect(to).await;
        for request in requests.iter().skip(part).step_by(SENDERS) {
            raw.send(request.bytes()).await;
            assert_eq!(raw.answer().await.status, 200);
        }
    });
    join_all(senders).await;
}

const SENDERS: usize = 20;

const CONVERSATIONS: usize = 40;
const EACH: usize = 5;
const EVENTS: usize = CONVERSATIONS * EACH;

#[actix_web::test]
async fn one_hanging_subscriber_delays_none_of_99() {
    const AT_ONCE: usize = 4;
    /// One session leaves a quarter of the slots for others.
    const OF_A_SESSION: usize = 3;
    let folder = Folder::new("relay-100");
    let (release, released) = watch::channel(false);
    let hanging = Subscriber::deciding(move |_| Answer::Held(released.clone())).await;
    let others = join_all((1..100).map(|_| Subscriber::start([]))).await;
    let server = keeping(&folder, |offhook| {
        let subscribers = [&hanging].into_iter().chain(&others).enumerate();
        subscribers.fold(offhook, |offhook, (number, subscriber)| {
            let options = patient().concurrency(AT_ONCE);
            offhook.handler_with(format!("s{number}"), relay(subscriber), options)
        })
    })
    .await;
    // Of one conversation all are sent over one connection.
    let conversations = (0..EVENTS).map(|id| message("s", id % CONVERSATIONS, id));
    send(server.public_address(), &conversations.collect::<Vec<_>>()).await;

    // The one is released only after this, so nobody can have waited for it.
    for other in &others {
        let asked = other.asked(EVENTS).await;
        check_each_once_and_in_order(&asked);
    }
    // Of 40 conversations that could start, no more than its own slots hang.
    assert_eq!(hanging.asked(OF_A_SESSION).await.len(), OF_A_SESSION);
    assert_eq!(hanging.open(), OF_A_SESSION);

    release.send_replace(true);
    settled(&server).await;
    check_each_once_and_in_order(&hanging.requests());
    assert_eq!(hanging.most_open(), OF_A_SESSION);
    server.stop().await;
}

/// That all events came once, those of each conversation in the order they were sent.
fn check_each_once_and_in_order(asked: &[Asked]) {
    assert_eq!(asked.len(), EVENTS);
    let mut conversations: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for asked in asked {
        assert_eq!(asked.header("offhook-attempt"), "1");
        let ids = conversations.entry(asked.field("from")).or_default();
        ids.push(asked.field("messageId").parse().unwrap());
    }
    assert_eq!(conversations.len(), CONVERSATIONS);
    for (from, ids) in conversations {
        let first: usize = from.parse().unwrap();
        let sent: Vec<_> = (first..EVENTS).step_by(CONVERSATIONS).collect();
        assert_eq!(ids, sent, "conversation {from}");
    }
}

#[actix_web::test]
async fn fresh_events_pass_10_000_retries() {
    const RETRIES: usize = 10_000;
    const FRESH: usize = 100;
    /// Of the 64 slots that there are by default, one session may hold 48. A quarter of those is for first
    /// attempts.
    const SLOTS_FOR_RETRIES: usize = 36;
    let folder = Folder::new("relay-10000");
    let (release, released) = watch::channel(false);
    let mut failed = 0;
    let subscriber = Subscriber::deciding(move |asked| {
        if asked.header("offhook-session") == "fresh" {
            return Answer::from(200);
        }
        failed += 1;
        match failed > RETRIES {
            false => Answer::from(500),
            true => Answer::Held(released.clone()),
        }
    })
    .await;
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("crm", relay(&subscriber), patient())
    })
    .await;
    let to = server.public_address();
    let failing = (0..RETRIES).map(|number| message("failing", number, number));
    send(to, &failing.collect::<Vec<_>>()).await;
    // Each has its own conversation, so none waits behind another.
    subscriber.asked(RETRIES).await;
    waits(&server, RETRIES, 0).await;

    let fresh = |from| (0..FRESH).map(move |number| message("fresh", number, from + number));
    send(to, &fresh(0).collect::<Vec<_>>()).await;
    subscriber.asked(RETRIES + FRESH).await;
    waits(&server, RETRIES, 0).await;
    // None of them has been tried once more.
    assert_eq!(subscriber.count(), RETRIES + FRESH);

    // Now all of them are due, and hang.
    let ask = json!({ "session": "failing" });
    let dry = json!({ "session": "failing", "dry_run": true });
    bounded(async {
        while post(&server, "/api/replay", dry.clone()).await["matched"] != RETRIES {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let (status, answer) = api(&server, "POST", "/api/replay", &ask).await;
    assert_eq!((status, &answer["matched"]), (202, &json!(RETRIES)));
    let before = RETRIES + FRESH + SLOTS_FOR_RETRIES;
    subscriber.asked(before).await;
    send(to, &fresh(FRESH).collect::<Vec<_>>()).await;
    let asked = subscriber.asked(before + FRESH).await;
    waits(&server, RETRIES, SLOTS_FOR_RETRIES).await;
    assert_eq!(subscriber.count(), before + FRESH);
    assert_eq!(subscriber.open(), SLOTS_FOR_RETRIES);
    for asked in &asked[before..] {
        let headers = ["offhook-session", "offhook-attempt"];
        assert_eq!(headers.map(|name| asked.header(name)), ["fresh", "1"]);
    }
    // What runs is finished, which these do now.
    let finish = async { release.send_replace(true) };
    join(server.stop(), finish).await;
}

/// Waits until so many events are not settled, and so many attempts run.
async fn waits(server: &Server, lag: usize, in_flight: usize) {
    until(server, "/api/consumers", |answer| {
        let consumer = &answer["consumers"][0];
        consumer["lag"] == lag && consumer["in_flight"] == in_flight
    })
    .await;
}
