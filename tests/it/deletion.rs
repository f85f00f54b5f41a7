//! Deleting one event, or those of a session or a person, over the admin API.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use offhook::testing::{Recorder, TestEvent, TestRequest};
use offhook::{Delivery, Event, EventHandler, HandlerError, Server, async_trait};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Notify;

use crate::records::{api, get, keeping, post, settled, until};
use crate::replays::patient;
use crate::served::{self, JSONL, Served, handled, settings};
use crate::support::{Folder, KEY, ask, bounded, secret, until_metric};

/// Is in everything that a deletion must remove.
const MARKER: &str = "MARKER-3f9ac2e1";

fn message(session: &str, from: &str, id: &str) -> TestRequest {
    let text = format!("{MARKER} of {from}");
    TestEvent::message(from, &text)
        .session(session)
        .id(id)
        .sign(&secret(KEY))
}

async fn send(server: &Server, request: TestRequest) -> bool {
    let answer = request.send(server.public_address()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("offhook-duplicate") == Some("true")
}

/// The ids of all listed events, oldest first.
async fn listed(server: &Server) -> Vec<String> {
    let list = get(server, "/api/events?limit=500").await;
    let events = list["events"].as_array().unwrap().iter().rev();
    events
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The files below a folder that hold the marker.
fn marked(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(marked(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            let has = { bytes.windows(MARKER.len()) }.any(|bytes| bytes == MARKER.as_bytes());
            found.extend(has.then(|| path.display().to_string()));
        }
    }
    found
}

/// Quotes what it rejects.
struct Quotes;

#[async_trait]
impl EventHandler for Quotes {
    async fn handle(&self, event: &Event, _: &Delivery) -> Result<(), HandlerError> {
        match event {
            Event::Message(message) => Err(HandlerError::reject(message.message().to_owned())),
            _ => Ok(()),
        }
    }
}

/// The id and the times stay; the body, the session, the dead letter and what attempts have said are gone from
/// every answer, and after a stop from every file. The same event again is a duplicate.
#[actix_web::test]
async fn a_deleted_event_leaves_its_id_and_times() {
    let folder = Folder::new("deletion-one");
    let recorder = Recorder::default();
    let start = || {
        keeping(&folder, |offhook| {
            let offhook = offhook.handler("quotes", Quotes);
            offhook.handler("recorder", recorder.clone())
        })
    };
    let server = start().await;
    let (session, first) = (format!("s-{MARKER}"), || {
        message(&format!("s-{MARKER}"), "+1", "1")
    });
    assert!(!send(&server, first()).await);
    assert!(send(&server, first()).await);
    assert!(!send(&server, TestEvent::status("2", "read").sign(&secret(KEY))).await);
    settled(&server).await;
    // It is saved a little after it has happened.
    until(&server, "/api/dead", |dead| {
        dead.to_string().contains(MARKER)
    })
    .await;
    let before = listed(&server).await;
    let [id, again, other] = before.as_slice() else {
        panic!("{before:?}");
    };
    let path = format!("/api/events/{id}");
    let shown = get(&server, &path).await;
    assert!(shown.to_string().contains(MARKER), "{shown}");

    let answer = api(&server, "DELETE", &path, &Value::Null).await;
    assert_eq!(answer, (200, json!({ "deleted": 1 })));
    let check = async |server: &Server| {
        assert_eq!(listed(server).await, [other.as_str()]);
        for id in [id, again] {
            let left = get(server, &format!("/api/events/{id}")).await;
            let mut names: Vec<&String> = left.as_object().unwrap().keys().collect();
            names.sort_unstable();
            assert_eq!(
                names,
                ["deleted_at", "id", "received_at", "timeline"],
                "{left}"
            );
            assert_eq!(left["id"].as_str(), Some(id.as_str()));
            assert!(!left.to_string().contains(MARKER), "{left}");
        }
        let left = get(server, &path).await;
        assert_eq!(left["received_at"], shown["received_at"]);
        let steps = left["timeline"].as_array().unwrap().iter();
        let mut steps: Vec<_> = steps.map(|step| step["what"].as_str().unwrap()).collect();
        steps.sort_unstable();
        let all = ["attempt", "attempt", "deleted", "durable", "received"];
        assert_eq!(steps, all, "{left}");
        assert_eq!(get(server, "/api/dead").await["dead"], json!([]));
        let (status, refused) = api(server, "POST", &format!("{path}/replay"), &json!({})).await;
        assert_eq!(
            (status, &refused["code"]),
            (410, &json!("deleted")),
            "{refused}"
        );
        // What is asked is wrong whatever has become of the event.
        let odd = json!({ "rate": 0 });
        let (status, _) = api(server, "POST", &format!("{path}/replay"), &odd).await;
        assert_eq!(status, 400);
        let dry = json!({ "session": session, "dry_run": true });
        assert_eq!(post(server, "/api/replay", dry).await["matched"], 0);
        let again = api(server, "DELETE", &path, &Value::Null).await;
        assert_eq!(again, (200, json!({ "deleted": 0 })));
    };
    check(&server).await;
    assert!(send(&server, first()).await, "a new event");
    server.stop().await;
    assert_eq!(marked(&folder.0), [""; 0]);

    // Also after the index was lost.
    for lost in [false, true] {
        if lost {
            std::fs::remove_file(folder.0.join("journal/index.db")).unwrap();
        }
        let server = start().await;
        if lost {
            let left = get(&server, &path).await;
            assert!(
                left["deleted_at"].is_string() && left["session"].is_null(),
                "{left}"
            );
        } else {
            check(&server).await;
        }
        assert!(send(&server, first()).await, "a new event");
        server.stop().await;
        assert_eq!(marked(&folder.0), [""; 0]);
    }
    assert_eq!(recorder.deliveries().len(), 2);
}

/// A beginning of an id would name another event once the first is deleted.
#[actix_web::test]
async fn only_a_complete_id_deletes() {
    let folder = Folder::new("deletion-complete");
    let server = keeping(&folder, |offhook| offhook.handler("quotes", Quotes)).await;
    for number in 0..2 {
        send(&server, message("a", "+1", &number.to_string())).await;
    }
    settled(&server).await;
    until(&server, "/api/dead", |dead| {
        dead["dead"].as_array().unwrap().len() == 2
    })
    .await;
    let ids = listed(&server).await;
    let alike = ids[0].bytes().zip(ids[1].bytes());
    let alike = alike.take_while(|(one, other)| one == other).count();
    // All but its last digit belongs to one event, and the others' part to both.
    for beginning in [&ids[0][..35], &ids[0][..alike]] {
        for path in ["/api/events/", "/api/dead/"] {
            let path = format!("{path}{beginning}");
            let (status, refused) = api(&server, "DELETE", &path, &Value::Null).await;
            assert_eq!(
                (status, &refused["code"]),
                (400, &json!("incomplete_id")),
                "{refused}"
            );
            let text = refused["error"].as_str().unwrap();
            assert!(text.contains("complete id"), "{text}");
        }
    }
    assert_eq!(listed(&server).await, ids);
    let path = format!("/api/events/{}", ids[0]);
    let answer = api(&server, "DELETE", &path, &Value::Null).await;
    assert_eq!(answer, (200, json!({ "deleted": 1 })));
    // Where it was deleted, the beginning still names it, and is still that of both.
    let shown = get(&server, &format!("/api/events/{}", &ids[0][..35])).await;
    assert_eq!(shown["id"], ids[0].as_str());
    assert!(shown["deleted_at"].is_string(), "{shown}");
    let both = format!("/api/events/{}", &ids[0][..alike]);
    for (method, path) in [("GET", both.clone()), ("POST", format!("{both}/replay"))] {
        let (status, refused) = api(&server, method, &path, &json!({})).await;
        assert_eq!(
            (status, &refused["code"]),
            (400, &json!("ambiguous_id")),
            "{refused}"
        );
    }
    server.stop().await;
}

/// Session and sender are compared exactly.
#[actix_web::test]
async fn only_a_persons_events_are_deleted() {
    let folder = Folder::new("deletion-person");
    let server = keeping(&folder, |offhook| {
        offhook.handler("recorder", Recorder::default())
    })
    .await;
    for session in ["a", "b"] {
        for (number, from) in ["+1", "+2", "+1", "+12"].into_iter().enumerate() {
            send(
                &server,
                message(session, from, &format!("{session}{number}")),
            )
            .await;
        }
    }
    let status = TestEvent::status("a0", "read").field("from", "+1");
    send(&server, status.session("a").sign(&secret(KEY))).await;
    settled(&server).await;
    let all = listed(&server).await;
    let delete = async |body: Value| api(&server, "DELETE", "/api/events", &body).await;
    let count = |count: usize| (200, json!({ "deleted": count }));

    let person = json!({ "session": "a", "sender": "+1", "dry_run": true });
    assert_eq!(delete(person).await, count(3));
    assert_eq!(listed(&server).await, all);
    assert_eq!(
        delete(json!({ "session": "a", "sender": "+" })).await,
        count(0)
    );
    assert_eq!(
        delete(json!({ "session": "A", "sender": "+1" })).await,
        count(0)
    );
    assert_eq!(
        delete(json!({ "session": "a", "sender": "+1" })).await,
        count(3)
    );
    let left = [1, 3, 4, 5, 6, 7].map(|index| all[index].clone());
    assert_eq!(listed(&server).await, left);
    // A client that sends no body with a DELETE.
    let (status, answer) = ask(
        server.admin_address().unwrap(),
        "DELETE",
        "/api/events?session=b&sender=%2B2",
        "",
    )
    .await;
    assert_eq!((status, answer), count(1));
    assert_eq!(delete(json!({ "session": "b" })).await, count(3));
    let left = [1, 3].map(|index| all[index].clone());
    assert_eq!(listed(&server).await, left);

    for (path, body) in [
        ("/api/events", json!({})),
        ("/api/events", json!({ "sender": "+1" })),
        ("/api/events", json!({ "session": "*" })),
        ("/api/events", json!({ "session": "" })),
        ("/api/events", json!({ "session": "a", "sender": "" })),
        ("/api/events", json!({ "session": "a", "from": "+1" })),
        ("/api/events?session=a", json!({ "session": "a" })),
        ("/api/events?session=a&form=x", Value::Null),
        ("/api/events/1234", Value::Null),
        ("/api/events/0198f9a2", Value::Null),
    ] {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let (status, refused) = ask(server.admin_address().unwrap(), "DELETE", path, body).await;
        assert_eq!(status, 400, "{path}: {refused}");
    }
    assert_eq!(listed(&server).await, left);
    server.stop().await;
}

/// A consumer that has not handled an event yet skips it, and that is counted.
#[actix_web::test]
async fn a_waiting_consumer_skips_deleted_events() {
    let folder = Folder::new("deletion-waiting");
    let recorder = Recorder::default();
    let server = keeping(&folder, |offhook| {
        offhook.handler("recorder", recorder.clone())
    })
    .await;
    let consumer = "/api/consumers/handler:recorder";
    post(&server, &format!("{consumer}/pause"), json!({})).await;
    for (number, from) in ["+1", "+2", "+1", "+3"].into_iter().enumerate() {
        send(&server, message("a", from, &number.to_string())).await;
    }
    let person = json!({ "session": "a", "sender": "+1" });
    let answer = api(&server, "DELETE", "/api/events", &person).await;
    assert_eq!(answer, (200, json!({ "deleted": 2 })));
    until_metric(
        &server,
        r#"offhook_deleted_total{consumer="handler:recorder"} 2"#,
    )
    .await;
    assert_eq!(get(&server, consumer).await["lag"], 2);
    post(&server, &format!("{consumer}/resume"), json!({})).await;
    settled(&server).await;
    server.stop().await;
    let senders = recorder.events().into_iter().map(|event| match event {
        Event::Message(message) => message.from().to_owned(),
        other => panic!("{other:?}"),
    });
    let mut senders: Vec<_> = senders.collect();
    senders.sort_unstable();
    assert_eq!(senders, ["+2", "+3"]);
}

/// Fails when it is told to.
struct FailsLater {
    begun: AtomicUsize,
    fail: Notify,
}

#[async_trait]
impl EventHandler for FailsLater {
    async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.fail.notified().await;
        Err(MARKER.into())
    }
}

/// An attempt that runs is the last one: it is not interrupted, and leaves neither retry nor dead letter.
#[actix_web::test]
async fn a_running_attempt_is_not_interrupted() {
    let folder = Folder::new("deletion-running");
    let handler = Arc::new(FailsLater {
        begun: AtomicUsize::new(0),
        fail: Notify::new(),
    });
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("late", Arc::clone(&handler), patient())
    })
    .await;
    send(&server, message("a", "+1", "1")).await;
    served::until("begun", async || handler.begun.load(Ordering::Relaxed) == 1).await;
    let [id] = listed(&server).await.try_into().unwrap();
    let path = format!("/api/events/{id}");
    let answer = api(&server, "DELETE", &path, &Value::Null).await;
    assert_eq!(answer, (200, json!({ "deleted": 1 })));
    let in_flight = |answer: &Value, count| answer["consumers"][0]["in_flight"] == count;
    assert!(in_flight(&get(&server, "/api/consumers").await, 1));
    handler.fail.notify_one();
    until(&server, "/api/consumers", |answer| in_flight(answer, 0)).await;
    let left = until(&server, &path, |left| {
        left["timeline"].as_array().unwrap().len() == 4
    })
    .await;
    assert!(!left.to_string().contains(MARKER), "{left}");
    assert_eq!(get(&server, "/api/dead").await["dead"], json!([]));
    settled(&server).await;
    bounded(server.stop()).await;
    assert_eq!(handler.begun.load(Ordering::Relaxed), 1);
    assert_eq!(marked(&folder.0), [""; 0]);
}

/// Whenever the server is killed, each event is there as a whole or deleted as a whole, and asking again deletes
/// the rest.
#[actix_web::test]
async fn a_deletion_survives_a_kill_at_any_moment() {
    for round in 0..6 {
        let folder = Folder::new(&format!("deletion-kill-{round}"));
        settings(&folder, JSONL);
        let before = Served::start(&folder);
        let pause = "/api/consumers/handler:kept/pause";
        assert_eq!(ask(before.admin, "POST", pause, "").await.0, 200);
        for number in 0..PERSONS {
            let (goes, stays) = (format!("goes{number}"), format!("stays{number}"));
            assert_eq!(
                message("a", "+1", &goes).send(before.public).await.status,
                200
            );
            let other = TestEvent::message("+2", "Hello!").session("a").id(&stays);
            let sent = other.sign(&secret(KEY)).send(before.public).await;
            assert_eq!(sent.status, 200);
        }
        let ids = listed_by(&before).await;
        assert_eq!(ids.len(), 2 * PERSONS);
        let person = json!({ "session": "a", "sender": "+1" }).to_string();
        let request = {
            let mut request = TestRequest::post(person.clone()).path("/api/events");
            request.method = "DELETE".to_owned();
            request
        };
        let Served { program, admin, .. } = before;
        // The last one is killed after the answer.
        let answered = if round < 5 {
            let asked = tokio::spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(admin).await?;
                stream.write_all(&request.bytes()).await?;
                // Until the server is killed.
                stream.read_to_end(&mut Vec::new()).await
            });
            tokio::time::sleep(Duration::from_millis([0, 2, 5, 10, 20][round])).await;
            program.kill();
            let _ = asked.await;
            false
        } else {
            assert_eq!(request.send(admin).await.status, 200);
            program.kill();
            true
        };

        let after = Served::start(&folder);
        for id in &ids {
            let (status, event) = ask(after.admin, "GET", &format!("/api/events/{id}"), "").await;
            assert_eq!(status, 200, "{event}");
            let is_marked = event.to_string().contains(MARKER);
            if event["deleted_at"].is_string() {
                assert!(!is_marked && event["body"].is_null(), "{event}");
            } else {
                assert_eq!(is_marked, event["body"]["from"] == "+1", "{event}");
                assert!(!answered || !is_marked, "{event}");
            }
        }
        let (status, rest) = ask(after.admin, "DELETE", "/api/events", person).await;
        assert_eq!(status, 200, "{rest}");
        assert!(!answered || rest["deleted"] == 0, "{rest}");
        assert_eq!(listed_by(&after).await.len(), PERSONS);
        let resume = "/api/consumers/handler:kept/resume";
        assert_eq!(ask(after.admin, "POST", resume, "").await.0, 200);
        served::until("handled", async || handled(&folder).len() == PERSONS).await;
        let again = message("a", "+1", "goes0").send(after.public).await;
        assert_eq!(again.header("offhook-duplicate"), Some("true"));
        after.program.stop();
        assert!(handled(&folder).iter().all(|id| id.starts_with("stays")));
        assert_eq!(marked(&folder.0), [""; 0]);
    }
}

/// How many events of the person there are.
const PERSONS: usize = 30;

async fn listed_by(served: &Served) -> Vec<String> {
    let (status, list) = ask(served.admin, "GET", "/api/events?limit=500", "").await;
    assert_eq!(status, 200);
    let events = list["events"].as_array().unwrap().iter();
    events
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}
