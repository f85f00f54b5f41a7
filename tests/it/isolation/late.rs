//! What is not handed over any more: events that retention has removed, and statuses that come too late.

use std::sync::Arc;
use std::time::Duration;

use offhook::settings::{JournalSettings, SqliteSettings};
use offhook::testing::{FakeClock, Recorder, TestEvent, TestRequest};
use offhook::{HandlerOptions, Offhook, Retry, Server, Timestamp, testing};
use serde_json::{Value, json};

use crate::records::{api, get, settled, until};
use crate::served::{self, Served, settings};
use crate::support::{Folder, KEY, secret, source};

const MINUTE: Duration = Duration::from_secs(60);

const HOUR: Duration = Duration::from_secs(3600);

/// Five events wait for a retry in an hour, and five behind them; after two minutes all are removed.
#[actix_web::test]
async fn what_retention_removed_is_not_delivered() {
    let folder = Folder::new("isolation-removed");
    let start: Timestamp = "2026-01-08T12:00:00Z".parse().unwrap();
    let clock = Arc::new(FakeClock::new(start));
    let recorder = Recorder::default();
    let server = server(&folder, &clock, &recorder).await;
    recorder.fail_next(5);
    for number in 0..10 {
        send(&server, number % 5, number).await;
    }
    let waits = |list: &Value| list["consumers"][0]["retrying"] == 5;
    until(&server, "/api/consumers", waits).await;
    let all = |list: &Value| list["events"].as_array().unwrap().len() == 10;
    let listed = until(&server, "/api/events", all).await;
    // The newest event stays. It is there before the others are too old, so that these are removed together.
    send(&server, 10, 10).await;
    clock.advance(2 * MINUTE);
    for event in listed["events"].as_array().unwrap() {
        let path = format!("/api/events/{}", event["id"].as_str().unwrap());
        served::until("removed", async || {
            // Retention looks once a second.
            clock.advance(Duration::from_secs(1));
            api(&server, "GET", &path, &json!({})).await.0 == 404
        })
        .await;
    }
    assert_eq!(expired(&server).await, 10);

    served::until("the new one handled", async || recorder.events().len() == 6).await;
    // The retries are due, and the server goes on: it hands over what is new.
    for number in 11..14 {
        clock.advance(2 * HOUR);
        send(&server, number, number).await;
        settled(&server).await;
    }
    assert_eq!(recorder.events().len(), 5 + 4);
    assert_eq!(expired(&server).await, 10);
    assert_eq!(get(&server, "/api/dead").await["dead"], json!([]));
    server.stop().await;
    let server = self::server(&folder, &clock, &recorder).await;
    send(&server, 14, 14).await;
    settled(&server).await;
    assert_eq!(recorder.events().len(), 5 + 5);
    server.stop().await;
}

/// A journal that keeps events for a minute, and a handler that tries again in an hour.
async fn server(folder: &Folder, clock: &Arc<FakeClock>, recorder: &Recorder) -> Server {
    let mut sqlite = SqliteSettings::new(folder.0.join("journal"));
    sqlite.retention = MINUTE;
    sqlite.dedup_window = MINUTE;
    sqlite.dedup_window_unkeyed = MINUTE;
    let options = HandlerOptions::default().retry(Retry {
        first: HOUR,
        max: HOUR,
        jitter: 0.0,
        ..Retry::default()
    });
    let offhook = Offhook::builder()
        .source(source())
        .journal(JournalSettings::Sqlite(sqlite))
        .clock(Arc::clone(clock) as _)
        .handler_with("recorder", recorder.clone(), options);
    testing::start(offhook).await
}

async fn send(server: &Server, from: usize, number: usize) {
    let event = TestEvent::message(&from.to_string(), "Hello!").id(&number.to_string());
    let answer = event.sign(&secret(KEY)).send(server.public_address()).await;
    assert_eq!(answer.status, 200);
}

/// How many events the metrics count as removed before they were settled.
async fn expired(server: &Server) -> u64 {
    let admin = server.admin_address().unwrap();
    let metrics = TestRequest::get("/metrics").send(admin).await.text();
    let name = r#"offhook_expired_total{consumer="handler:recorder"} "#;
    let count = metrics.lines().find_map(|line| line.strip_prefix(name));
    count.unwrap().parse().unwrap()
}

#[actix_web::test]
async fn late_statuses_are_left_out_after_restarts() {
    for how in ["TERM", "KILL"] {
        let folder = Folder::new(&format!("isolation-late-{how}"));
        settings(
            &folder,
            &format!("{}status = \"monotonic\"\n", served::JSONL),
        );
        let mut expected = Vec::new();
        let before = Served::start(&folder);
        for (message, (status, _)) in LATE.iter().enumerate() {
            send_status(&before, message, status).await;
            expected.push((message.to_string(), (*status).to_owned()));
        }
        handled(&folder, &expected).await;
        before.program.signal(how);
        before.program.wait();

        let after = Served::start(&folder);
        for (message, (_, late)) in LATE.iter().enumerate() {
            send_status(&after, message, late).await;
        }
        // Each conversation goes on behind the late one.
        for message in 0..LATE.len() {
            send_status(&after, message, "read-self").await;
            expected.push((message.to_string(), "read-self".to_owned()));
        }
        handled(&folder, &expected).await;
        after.program.stop();
        handled(&folder, &expected).await;
    }
}

/// A status, and one that is late after it.
const LATE: [(&str, &str); 6] = [
    ("read", "sent"),
    ("read", "delivered"),
    ("delivered", "sent"),
    ("failed", "sent"),
    ("failed", "delivered"),
    ("failed", "read"),
];

async fn send_status(served: &Served, message: usize, status: &str) {
    let event = TestEvent::status(&message.to_string(), status).session("s");
    let answer = event.sign(&secret(KEY)).send(served.public).await;
    assert_eq!(answer.status, 200);
}

/// Waits until these messages have these statuses, and checks that there are no others. A kill may bring
/// one again.
async fn handled(folder: &Folder, expected: &[(String, String)]) {
    let handled = || {
        let text = std::fs::read_to_string(folder.0.join("handled.jsonl")).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| line["body"][name].as_str().unwrap().to_owned();
            (text("messageId"), text("status"))
        });
        let mut lines: Vec<_> = lines.collect();
        lines.sort_unstable();
        lines.dedup();
        lines
    };
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    served::until("handled", async || handled().len() >= expected.len()).await;
    assert_eq!(handled(), expected);
}
