//! What has happened to an event is shown by every instance, wherever it happened.

use std::collections::BTreeSet;
use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use serde_json::Value;

use super::administration::{expect, subscribe};
use super::{Cluster, message};
use crate::served::{Served, until};
use crate::stream::viewer::Viewer;
use crate::subscriber::Subscriber;

const CONVERSATIONS: usize = 8;

async fn listed(instance: &Served, query: &str) -> Vec<Value> {
    let path = format!("/api/events?limit=100{query}");
    let listed = expect(instance, 200, "GET", &path, Value::Null).await;
    listed["events"].as_array().unwrap().clone()
}

/// Nothing is waited for: who asks has the others tell what they know.
#[actix_web::test]
async fn every_instance_shows_attempts_and_duplicates_of_all() {
    let Some(cluster) = Cluster::new("timelines", "lease = \"6s\"\nshares = 4\n") else {
        return;
    };
    let pair = [cluster.start("a"), cluster.start("b")];
    let [a, b] = &pair;
    let subscriber = Subscriber::start([]).await;
    subscribe(a, &subscriber).await;
    for conversation in 0..CONVERSATIONS {
        let answer = a.try_send(&message(conversation, 0)).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    subscriber.expect(CONVERSATIONS).await;
    // Each instance has handed over a part of them.
    for instance in &pair {
        until("done", async || {
            let events = listed(instance, "").await;
            events.len() == CONVERSATIONS && events.iter().all(|event| event["state"] == "done")
        })
        .await;
    }
    // What a share has only passed by is saved each half minute, or when somebody asks.
    let began = SystemClock.monotonic();
    for instance in &pair {
        until("settled", async || {
            let path = "/api/consumers/subscription:*:default";
            let shown = expect(instance, 200, "GET", path, Value::Null).await;
            shown["lag"] == 0
        })
        .await;
    }
    assert!(SystemClock.monotonic() - began < Duration::from_secs(10));
    let events = listed(b, "").await;
    for event in &events {
        let path = format!("/api/events/{}", event["id"].as_str().unwrap());
        let mut shown = Vec::new();
        for instance in &pair {
            let event = expect(instance, 200, "GET", &path, Value::Null).await;
            let timeline = event["timeline"].clone();
            let text = timeline.to_string();
            assert_eq!(text.matches("subscription:*:default").count(), 1, "{event}");
            shown.push(timeline);
        }
        assert_eq!(shown[0], shown[1]);
    }

    // They come again, to the other instance.
    for conversation in 0..CONVERSATIONS {
        let answer = b.try_send(&message(conversation, 0)).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    let by_other = listed(a, "&state=duplicate").await;
    let by_own = listed(b, "&state=duplicate").await;
    assert_eq!(by_own.len(), CONVERSATIONS, "{by_own:?}");
    assert_eq!(by_other, by_own);
    for duplicate in &by_other {
        let of = duplicate["duplicate_of"].as_str().unwrap();
        let original = events.iter().find(|event| event["id"] == of).unwrap();
        for key in ["source", "session", "event", "name", "bytes"] {
            assert_eq!(duplicate[key], original[key], "{key}");
        }
    }
    let session = events[0]["session"].as_str().unwrap();
    let of_session = listed(a, &format!("&session={session}")).await;
    assert_eq!(of_session.len(), 2, "{of_session:?}");

    // What was deleted is not told again by its duplicates.
    let path = format!("/api/events/{}", events[0]["id"].as_str().unwrap());
    expect(a, 200, "DELETE", &path, Value::Null).await;
    for instance in &pair {
        until("erased", async || {
            listed(instance, &format!("&session={session}"))
                .await
                .is_empty()
        })
        .await;
    }
    let again = |events: &[Value]| events.iter().position(|event| event["session"] == session);
    for conversation in 0..CONVERSATIONS {
        let answer = b.try_send(&message(conversation, 0)).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    for instance in &pair {
        let events = listed(instance, "").await;
        assert_eq!(again(&events), None, "{events:?}");
        // The deleted one and its duplicates are not listed.
        assert_eq!(events.len(), 3 * (CONVERSATIONS - 1), "{events:?}");
    }
    for instance in pair {
        instance.program.stop();
    }
}

/// An instance that is killed is waited for only once.
#[actix_web::test]
async fn an_instance_that_does_not_answer_holds_up_no_list() {
    let Some(cluster) = Cluster::new("silent", "lease = \"60s\"\nshares = 4\n") else {
        return;
    };
    let (a, b) = (cluster.start("a"), cluster.start("b"));
    let answer = a.try_send(&message(0, 0)).await;
    assert_eq!(answer.unwrap().status, 200);
    until("both live", async || {
        listed(&a, "").await.len() == 1 && listed(&b, "").await.len() == 1
    })
    .await;
    b.program.kill();
    let began = SystemClock.monotonic();
    for _ in 0..8 {
        assert_eq!(listed(&a, "").await.len(), 1);
    }
    assert!(SystemClock.monotonic() - began < Duration::from_secs(7));
    a.program.stop();
}

/// Who watches one instance sees how the attempts of the others end.
#[actix_web::test]
async fn the_stream_of_one_instance_has_the_states_of_all() {
    let Some(cluster) = Cluster::new("stream", "lease = \"6s\"\nshares = 4\n") else {
        return;
    };
    let pair = [cluster.start("a"), cluster.start("b")];
    let [a, b] = &pair;
    let subscriber = Subscriber::start([]).await;
    subscribe(a, &subscriber).await;
    let mut viewer = Viewer::open(a.admin, "?kinds=state", "").await;
    // The other one learns that somebody watches a moment later.
    let sending = async {
        for number in 0.. {
            for conversation in 0..CONVERSATIONS {
                let answer = b.try_send(&message(conversation, number)).await;
                assert_eq!(answer.unwrap().status, 200);
            }
            actix_web::rt::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let hearing = async {
        let (mut sessions, mut ids) = (BTreeSet::new(), BTreeSet::new());
        while sessions.len() < CONVERSATIONS {
            let state = viewer.expect("state").await.data;
            assert_eq!(state["state"], "done", "{state}");
            let id = state["id"].as_str().unwrap().to_owned();
            assert!(ids.insert(id.clone()), "{state} came twice");
            let path = format!("/api/events/{id}");
            let event = expect(a, 200, "GET", &path, Value::Null).await;
            sessions.insert(event["session"].to_string());
        }
    };
    tokio::select! {
        () = sending => {}
        () = hearing => {}
    }
    drop(viewer);
    for instance in pair {
        instance.program.stop();
    }
}
