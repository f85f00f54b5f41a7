//! What is kept, over the admin API: timelines, dead letters, replays, pauses, retention.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use offhook::settings::{JournalSettings, SqliteSettings};
use offhook::testing::{Recorder, TestEvent, TestRequest};
use offhook::{
    Delivery, Event, EventHandler, HandlerError, HandlerOptions, MessageEvent, Offhook, Retry,
    Server, async_trait, testing,
};
use serde_json::{Value, json};

use crate::support::{DOCUMENTED, Folder, KEY, bounded, secret, signed, source};

fn journal(folder: &Folder) -> JournalSettings {
    JournalSettings::Sqlite(SqliteSettings::new(folder.0.join("journal")))
}

pub async fn keeping(folder: &Folder, change: impl FnOnce(Offhook) -> Offhook) -> Server {
    let offhook = Offhook::builder().source(source()).journal(journal(folder));
    testing::start(change(offhook)).await
}

pub async fn api(server: &Server, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let mut request = TestRequest::post(body.to_string()).path(path);
    request.method = method.to_owned();
    let answer = request.send(server.admin_address().unwrap()).await;
    let json = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    (answer.status, json)
}

pub async fn get(server: &Server, path: &str) -> Value {
    let (status, answer) = api(server, "GET", path, &json!({})).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

pub async fn post(server: &Server, path: &str, body: Value) -> Value {
    let (status, answer) = api(server, "POST", path, &body).await;
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

/// Asks until the answer is as wanted.
pub async fn until(server: &Server, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    bounded(async {
        loop {
            let answer = get(server, path).await;
            if wanted(&answer) {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

pub async fn settled(server: &Server) {
    let no_lag = |answer: &Value| {
        let consumers = answer["consumers"].as_array().unwrap();
        consumers.iter().all(|consumer| consumer["lag"] == 0)
    };
    until(server, "/api/consumers", no_lag).await;
}

#[actix_web::test]
async fn an_event_has_a_timeline_with_duplicates() {
    let folder = Folder::new("timeline");
    let recorder = Recorder::default();
    let server = keeping(&folder, |offhook| {
        offhook.handler("recorder", recorder.clone())
    })
    .await;
    let to = server.public_address();
    for body in DOCUMENTED {
        let answer = signed(body).send(to).await;
        assert_eq!(
            (answer.status, answer.header("offhook-duplicate")),
            (200, None)
        );
    }
    let again = signed(DOCUMENTED[0]).send(to).await;
    assert_eq!(
        (again.status, again.header("offhook-duplicate")),
        (200, Some("true"))
    );
    assert_eq!(again.text(), r#"{"status":"received"}"#);
    settled(&server).await;
    assert_eq!(recorder.events().len(), 3);

    let list = until(&server, "/api/events", |list| {
        list["events"].as_array().unwrap().len() == 4
    })
    .await;
    let events = list["events"].as_array().unwrap();
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["message", "connection", "status", "message"]);
    assert_eq!(events[0]["duplicate_of"], events[3]["id"]);
    assert!(events.iter().all(|event| event["state"] == "done"));
    assert_eq!(list["next"], Value::Null);

    check_timeline(&server, events[3]["id"].as_str().unwrap()).await;
    let ids = events.iter().map(|event| event["id"].as_str().unwrap());
    check_beginnings(&server, &ids.collect::<Vec<_>>()).await;
    let before = format!("?before={}", events[1]["id"].as_str().unwrap());
    for (query, count) in LISTED.iter().chain(&[(&*before, 2)]) {
        let list = get(&server, &format!("/api/events{query}")).await;
        assert_eq!(list["events"].as_array().unwrap().len(), *count, "{query}");
    }
    for (path, status) in REFUSED {
        let (answered, answer) = api(&server, "GET", path, &json!({})).await;
        assert_eq!(answered, status, "{path}");
        assert_eq!(answer["success"], false, "{path}");
    }
    server.stop().await;
}

/// The documented message was received, kept, and handled by the recorder.
async fn check_timeline(server: &Server, id: &str) {
    let path = format!("/api/events/{id}");
    let one = until(server, &path, |one| {
        one["timeline"].as_array().unwrap().len() == 3
    })
    .await;
    let steps: Vec<_> = one["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["what"])
        .collect();
    assert_eq!(steps, ["received", "durable", "attempt"]);
    assert_eq!(one["timeline"][2]["consumer"], "handler:recorder");
    assert_eq!(one["timeline"][2]["outcome"], "done");
    assert_eq!(
        one["body"],
        serde_json::from_str::<Value>(DOCUMENTED[0]).unwrap()
    );
}

/// The beginning of an id stands for its event, unless another begins so too.
async fn check_beginnings(server: &Server, ids: &[&str]) {
    for id in ids {
        let one = get(server, &format!("/api/events/{}", &id[..34])).await;
        assert_eq!(one["id"], *id);
        let beginning = &id[..8];
        let path = format!("/api/events/{beginning}");
        let (status, answer) = api(server, "GET", &path, &json!({})).await;
        let alike = ids.iter().filter(|other| other.starts_with(beginning));
        let is_only = alike.count() == 1;
        assert_eq!(status, if is_only { 200 } else { 400 }, "{answer}");
        assert!(is_only || answer["code"] == "ambiguous_id", "{answer}");
    }
}

/// A query of the documented events and one duplicate, and how many events it finds.
const LISTED: [(&str, usize); 6] = [
    ("?event=status", 1),
    ("?event=message&limit=1", 1),
    ("?session=nobody", 0),
    ("?state=done", 4),
    ("?state=duplicate", 1),
    ("?state=dead", 0),
];

/// A path that finds nothing, and the status.
const REFUSED: [(&str, u16); 8] = [
    ("/api/events/0198f9a", 400),
    ("/api/events/0198f9a2", 404),
    ("/api/events?limit=501", 400),
    ("/api/events?event=mesage", 400),
    ("/api/events?state=odd", 400),
    ("/api/events?surplus=1", 400),
    ("/api/events/not-an-id", 400),
    ("/api/events/00000000-0000-0000-0000-000000000000", 404),
];

/// Fails for a sender until it is told not to.
#[derive(Default)]
struct Moody {
    bad: Mutex<Vec<String>>,
    done: Mutex<Vec<(String, u32, bool)>>,
}

#[async_trait]
impl EventHandler for Moody {
    async fn message(&self, event: &MessageEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        if self
            .bad
            .lock()
            .unwrap()
            .iter()
            .any(|bad| bad == event.from())
        {
            return Err("a bad mood".into());
        }
        let done = (
            event.from().to_owned(),
            delivery.attempt(),
            delivery.is_replay(),
        );
        self.done.lock().unwrap().push(done);
        Ok(())
    }
}

fn impatient() -> HandlerOptions {
    let first = Duration::from_millis(1);
    HandlerOptions::default().retry(Retry {
        first,
        max: first,
        attempts: 3,
        ..Retry::default()
    })
}

#[actix_web::test]
async fn a_replay_removes_a_dead_letter() {
    let folder = Folder::new("dead");
    let moody = Arc::new(Moody::default());
    moody.bad.lock().unwrap().push("+bad".to_owned());
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("moody", Arc::clone(&moody), impatient())
    })
    .await;
    for from in ["+bad", "+good", "+bad"] {
        let event = TestEvent::message(from, "Hello!").field("n", rand());
        assert_eq!(
            event
                .sign(&secret(KEY))
                .send(server.public_address())
                .await
                .status,
            200
        );
    }
    let dead = until(&server, "/api/dead", |dead| {
        dead["dead"].as_array().unwrap().len() == 2
    })
    .await;
    let letter = &dead["dead"][0];
    assert_eq!(
        (&letter["consumer"], &letter["attempts"]),
        (&json!("handler:moody"), &json!(3))
    );
    assert_eq!(letter["reason"], "a bad mood");
    assert_eq!(
        *moody.done.lock().unwrap(),
        [("+good".to_owned(), 1, false)]
    );
    let list = get(&server, "/api/events?state=dead").await;
    assert_eq!(list["events"].as_array().unwrap().len(), 2);

    // One is replayed and works now, its attempts counted from 1; the other is deleted.
    moody.bad.lock().unwrap().clear();
    let answer = post(&server, "/api/dead/replay", json!({ "id": letter["id"] })).await;
    assert_eq!(answer, json!({ "matched": 1, "replayed": 1 }));
    settled(&server).await;
    assert_eq!(moody.done.lock().unwrap()[1], ("+bad".to_owned(), 1, true));
    let other = dead["dead"][1]["id"].as_str().unwrap();
    let (status, _) = api(&server, "DELETE", &format!("/api/dead/{other}"), &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(get(&server, "/api/dead").await["dead"], json!([]));
    let (status, _) = api(&server, "DELETE", &format!("/api/dead/{other}"), &json!({})).await;
    assert_eq!(status, 404);
    server.stop().await;
}

#[actix_web::test]
async fn dead_letters_of_one_event_cross_pages() {
    struct Rejects;

    #[async_trait]
    impl EventHandler for Rejects {
        async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
            Err(HandlerError::reject("never"))
        }
    }

    let folder = Folder::new("dead-pages");
    let server = keeping(&folder, |offhook| {
        offhook.handler("one", Rejects).handler("other", Rejects)
    })
    .await;
    for body in DOCUMENTED {
        assert_eq!(signed(body).send(server.public_address()).await.status, 200);
    }
    let letter = |letter: &Value| (letter["id"].to_string(), letter["consumer"].to_string());
    let letters = |page: &Value| -> Vec<_> {
        page["dead"]
            .as_array()
            .unwrap()
            .iter()
            .map(letter)
            .collect()
    };
    let all = until(&server, "/api/dead", |all| letters(all).len() == 6).await;
    assert_eq!(all["next"], Value::Null);
    for limit in 1..=5 {
        let mut found = Vec::new();
        let mut path = format!("/api/dead?limit={limit}");
        loop {
            let page = get(&server, &path).await;
            found.extend(letters(&page));
            let Some(next) = page["next"].as_str() else {
                break;
            };
            path = format!("/api/dead?limit={limit}&before={next}");
        }
        assert_eq!(found, letters(&all), "{limit} at a time");
    }
    // An event's id stands for all its letters.
    let second = all["dead"][1]["id"].as_str().unwrap();
    let older = get(&server, &format!("/api/dead?before={second}")).await;
    assert_eq!(letters(&older), letters(&all)[2..]);
    for odd in ["x", "MTI", "0198f9a2-6c1e-7d40-8f3b-2a5d9c0e4b17"] {
        let (status, _) = api(
            &server,
            "GET",
            &format!("/api/dead?before={odd}"),
            &json!({}),
        )
        .await;
        assert!(status == 400 || status == 404, "{odd}: {status}");
    }
    server.stop().await;
}

fn rand() -> u64 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed) as u64
}

#[actix_web::test]
async fn a_pause_survives_a_restart() {
    let folder = Folder::new("pause");
    let recorder = Recorder::default();
    let start = || {
        keeping(&folder, |offhook| {
            offhook.handler("recorder", recorder.clone())
        })
    };
    let server = start().await;
    let answer = post(&server, "/api/consumers/handler:recorder/pause", json!({})).await;
    assert_eq!(answer["state"], "paused");
    for body in DOCUMENTED {
        assert_eq!(signed(body).send(server.public_address()).await.status, 200);
    }
    server.stop().await;

    let server = start().await;
    let consumers = get(&server, "/api/consumers").await;
    let consumer = &consumers["consumers"][0];
    assert_eq!(
        (&consumer["state"], &consumer["lag"]),
        (&json!("paused"), &json!(3))
    );
    assert!(consumer["oldest_waiting"].is_string());
    assert!(recorder.events().is_empty());
    post(&server, "/api/consumers/handler:recorder/resume", json!({})).await;
    settled(&server).await;
    assert_eq!(recorder.events().len(), 3);
    let (status, _) = api(
        &server,
        "POST",
        "/api/consumers/handler:no/pause",
        &json!({}),
    )
    .await;
    assert_eq!(status, 404);
    server.stop().await;
}

#[actix_web::test]
async fn a_replay_repeats_what_was_asked_for() {
    let folder = Folder::new("replay");
    let (one, two) = (Recorder::default(), Recorder::default());
    let server = keeping(&folder, |offhook| {
        offhook
            .handler("one", one.clone())
            .handler("two", two.clone())
    })
    .await;
    for number in 0..20 {
        let event = TestEvent::message("+1", "Hello!")
            .id(&number.to_string())
            .session("s");
        event.sign(&secret(KEY)).send(server.public_address()).await;
    }
    signed(DOCUMENTED[1]).send(server.public_address()).await;
    settled(&server).await;
    until(&server, "/api/events", |list| {
        list["events"].as_array().unwrap().len() == 21
    })
    .await;

    let ask =
        json!({ "session": "s", "event": "message", "consumer": "handler:one", "dry_run": true });
    let dry = post(&server, "/api/replay", ask.clone()).await;
    assert_eq!((&dry["matched"], &dry["replayed"]), (&json!(20), &json!(0)));
    let mut ask = ask;
    ask["dry_run"] = json!(false);
    let done = post(&server, "/api/replay", ask).await;
    assert_eq!(done, json!({ "matched": 20, "replayed": 20 }));
    settled(&server).await;
    assert_eq!((one.events().len(), two.events().len()), (41, 21));
    // The status is of another conversation: it may have come before the last message.
    let deliveries = one.deliveries().into_iter();
    let deliveries = deliveries.filter(|delivery| delivery.session() == Some("s"));
    let (again, first): (Vec<_>, Vec<_>) = deliveries.partition(Delivery::is_replay);
    assert!(again.iter().all(|delivery| delivery.attempt() == 1));
    // The same ids, and in the order of their conversation.
    let ids = |deliveries: &[Delivery]| deliveries.iter().map(Delivery::id).collect::<Vec<_>>();
    assert_eq!(first.len(), 20);
    assert_eq!(ids(&first), ids(&again));

    for (ask, status) in [
        (json!({ "consumer": "handler:none" }), 404),
        (json!({ "from": "yesterday" }), 400),
        (json!({ "rate": 0 }), 400),
        (json!({ "surplus": 1 }), 400),
        (json!({ "from": "2100-01-01T00:00:00Z" }), 200),
    ] {
        assert_eq!(
            api(&server, "POST", "/api/replay", &ask).await.0,
            status,
            "{ask}"
        );
    }
    server.stop().await;
}

#[actix_web::test]
async fn without_a_journal_there_is_nothing_to_ask() {
    let server = testing::start(Offhook::builder().source(source())).await;
    let (status, answer) = api(&server, "GET", "/api/events", &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("nothing_kept")));
    server.stop().await;
}

/// Always fails for some senders; counts the others.
struct Picky {
    handled: Mutex<HashMap<String, usize>>,
}

#[async_trait]
impl EventHandler for Picky {
    async fn handle(&self, event: &Event, _: &Delivery) -> Result<(), HandlerError> {
        let Event::Message(event) = event else {
            return Ok(());
        };
        if event.from().starts_with("bad") {
            return Err("always".into());
        }
        *self
            .handled
            .lock()
            .unwrap()
            .entry(event.from().to_owned())
            .or_default() += 1;
        Ok(())
    }
}

#[actix_web::test]
async fn failing_lanes_hold_up_no_other() {
    const LANES: usize = 10_000;
    const BAD: usize = 100;
    let folder = Folder::new("lanes");
    let picky = Arc::new(Picky {
        handled: Mutex::default(),
    });
    let server = keeping(&folder, |offhook| {
        let retry = Retry {
            first: Duration::from_secs(3600),
            ..Retry::default()
        };
        offhook.handler_with(
            "picky",
            Arc::clone(&picky),
            HandlerOptions::default().retry(retry),
        )
    })
    .await;
    let to = server.public_address();
    let senders = (0..50).map(|part| async move {
        let mut raw = crate::support::Raw::connect(to).await;
        for lane in (part..LANES).step_by(50) {
            let name = if lane < BAD {
                format!("bad{lane}")
            } else {
                format!("good{lane}")
            };
            let event = TestEvent::message(&name, "Hello!").id(&lane.to_string());
            raw.send(event.sign(&secret(KEY)).bytes()).await;
            assert_eq!(raw.answer().await.status, 200);
        }
    });
    futures_util::future::join_all(senders).await;
    // All the others are handled while the bad ones wait an hour for their second attempt.
    let only_bad = |answer: &Value| answer["consumers"][0]["lag"] == BAD;
    until(&server, "/api/consumers", only_bad).await;
    let handled = picky.handled.lock().unwrap().clone();
    assert_eq!(handled.len(), LANES - BAD);
    assert!(handled.values().all(|count| *count == 1));
    server.stop().await;
}

#[actix_web::test]
async fn statuses_that_are_overtaken_are_left_out() {
    let folder = Folder::new("monotonic");
    let (all, forward) = (Recorder::default(), Recorder::default());
    let server = keeping(&folder, |offhook| {
        offhook.handler("all", all.clone()).handler_with(
            "forward",
            forward.clone(),
            HandlerOptions::default().monotonic_status(true),
        )
    })
    .await;
    post(&server, "/api/consumers/handler:forward/pause", json!({})).await;
    for status in ["sent", "delivered", "read", "failed"] {
        let event = TestEvent::status("1", status).session("s");
        event.sign(&secret(KEY)).send(server.public_address()).await;
    }
    post(&server, "/api/consumers/handler:forward/resume", json!({})).await;
    settled(&server).await;
    let late = TestEvent::status("1", "delivered")
        .session("s")
        .field("again", true);
    late.sign(&secret(KEY)).send(server.public_address()).await;
    settled(&server).await;
    let statuses = |recorder: &Recorder| {
        let events = recorder.events();
        let statuses = events.iter().map(|event| match event {
            Event::Status(event) => event.status().to_owned(),
            other => panic!("{other:?}"),
        });
        statuses.collect::<Vec<_>>()
    };
    let everything = ["sent", "delivered", "read", "failed", "delivered"];
    assert_eq!(statuses(&all), everything);
    assert_eq!(statuses(&forward), ["read", "failed"]);
    server.stop().await;
}

#[actix_web::test]
async fn retention_removes_the_oldest_and_reports_unsettled() {
    let folder = Folder::new("retention");
    let recorder = Recorder::default();
    let mut short = journal(&folder);
    if let JournalSettings::Sqlite(sqlite) = &mut short {
        sqlite.retention = Duration::from_millis(1);
        sqlite.dedup_window = Duration::from_millis(1);
    }
    let start = || {
        keeping(&folder, |offhook| {
            offhook
                .journal(short.clone())
                .handler("recorder", recorder.clone())
        })
    };
    let server = start().await;
    post(&server, "/api/consumers/handler:recorder/pause", json!({})).await;
    for number in 0..10 {
        let event = TestEvent::message("+1", "Hello!").id(&number.to_string());
        event.sign(&secret(KEY)).send(server.public_address()).await;
    }
    // The newest stays.
    until(&server, "/api/events", |list| {
        list["events"].as_array().unwrap().len() == 1
    })
    .await;
    let metrics = TestRequest::get("/metrics")
        .send(server.admin_address().unwrap())
        .await
        .text();
    let expired = metrics
        .lines()
        .find(|line| line.starts_with("offhook_expired_total"));
    assert_eq!(
        expired,
        Some(r#"offhook_expired_total{consumer="handler:recorder"} 9"#)
    );
    // What has left is not in memory either after a new start.
    server.stop().await;
    let server = start().await;
    post(&server, "/api/consumers/handler:recorder/resume", json!({})).await;
    settled(&server).await;
    assert_eq!(recorder.events().len(), 1);
    server.stop().await;
}
