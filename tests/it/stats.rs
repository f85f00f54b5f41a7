//! `/api/stats`, what `/api/consumers/{name}` has of failures and options, the filters of `/api/events`, and
//! `/api/events/{id}/body`.

use std::time::Duration;

use offhook::testing::{Recorder, TestEvent, TestRequest};
use offhook::{EventKind, HandlerOptions, Offhook, Order, Retry};
use serde_json::{Value, json};

use crate::records::{api, get, keeping, settled, until};
use crate::support::{DOCUMENTED, Folder, KEY, secret, signed, source};

/// The sum of what a series knows, and that it has so many steps, of which only the last is known.
fn last(series: &Value, steps: usize) -> u64 {
    let series = series.as_array().unwrap();
    assert_eq!(series.len(), steps);
    let (last, before) = series.split_last().unwrap();
    // The test may run over the end of a minute.
    assert!(before[..steps - 3].iter().all(Value::is_null), "{series:?}");
    let known = before.iter().chain([last]).filter_map(Value::as_u64);
    known.sum()
}

#[actix_web::test]
async fn numbers_are_counted_by_minute_and_hour() {
    let folder = Folder::new("stats");
    let recorder = Recorder::default();
    let retry = Retry {
        first: Duration::from_millis(10),
        attempts: 2,
        ..Retry::default()
    };
    let options = HandlerOptions::default().retry(retry);
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("recorder", recorder.clone(), options)
    })
    .await;
    let to = server.public_address();
    let idle = get(&server, "/api/stats").await;
    assert_eq!(
        (&idle["sources"], &idle["consumers"]),
        (&json!([]), &json!([]))
    );
    assert_eq!(idle["journal"]["events"], 0);
    recorder.fail_next(2);
    for body in [DOCUMENTED[0], DOCUMENTED[0], DOCUMENTED[1]] {
        signed(body).send(to).await;
    }
    assert_eq!(TestRequest::post("{}").send(to).await.status, 401);
    settled(&server).await;
    for (window, steps, step_s) in [
        ("?window=1h", 60, 60),
        ("?window=24h", 24, 3600),
        ("", 60, 60),
    ] {
        let stats = get(&server, &format!("/api/stats{window}")).await;
        assert_eq!(stats["step_s"], step_s);
        assert!(stats["since"].is_string(), "{stats}");
        let source = &stats["sources"][0];
        assert_eq!(source["name"], "codeskytz");
        for (name, count) in [
            ("received", 2),
            ("duplicates", 1),
            ("refused", 1),
            ("unavailable", 0),
        ] {
            assert_eq!(last(&source[name], steps), count, "{name}: {stats}");
        }
        let consumer = &stats["consumers"][0];
        assert_eq!(consumer["name"], "handler:recorder");
        let counts =
            ["delivered", "failed", "dead", "lag"].map(|name| last(&consumer[name], steps));
        // Two failures of one event, or of each.
        assert_eq!(
            (counts[0] + counts[2], counts[1], counts[3]),
            (2, 2, 0),
            "{stats}"
        );
        let journal = &stats["journal"];
        assert_eq!(journal["events"], 2, "{journal}");
        assert_eq!(journal["retention_s"], 7 * 24 * 3600, "{journal}");
        assert!(journal["bytes"].as_u64() > Some(4096), "{journal}");
        assert!(journal["disk_free"].as_u64() > Some(0), "{journal}");
        assert!(journal["oldest_at"].is_string() && journal["newest_at"].is_string());
    }
    for odd in ["?window=2h", "?window=", "?surplus=1"] {
        let (status, _) = api(&server, "GET", &format!("/api/stats{odd}"), &json!({})).await;
        assert_eq!(status, 400, "{odd}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn without_a_journal_sources_are_counted() {
    let server = offhook::testing::start(Offhook::builder().source(source())).await;
    signed(DOCUMENTED[0]).send(server.public_address()).await;
    let stats = get(&server, "/api/stats").await;
    assert_eq!(last(&stats["sources"][0]["received"], 60), 1);
    assert_eq!(stats["journal"], Value::Null);
    server.stop().await;
}

#[actix_web::test]
async fn a_consumer_has_failures_and_options() {
    let folder = Folder::new("stats-consumer");
    let recorder = Recorder::default();
    let retry = Retry {
        first: Duration::from_millis(5),
        factor: 1.0,
        attempts: 20,
        jitter: 0.0,
        ..Retry::default()
    };
    let options = HandlerOptions::default()
        .retry(retry)
        .events([EventKind::Message])
        .order(Order::Session)
        .timeout(Duration::from_millis(1500));
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("recorder", recorder.clone(), options)
    })
    .await;
    let path = "/api/consumers/handler:recorder";
    let one = get(&server, path).await;
    assert_eq!(one["failures"], json!([]));
    assert_eq!(
        one["options"],
        json!({
            "events": ["message"], "sessions": null, "order": "session", "timeout_s": 1.5,
            "concurrency": 64, "status": "all", "suspend_after_s": null,
            "retry": {
                "first_s": 0.005, "factor": 1.0, "max_s": 300.0, "attempts": 20, "jitter": 0.0,
            },
        })
    );
    recorder.fail_next(20);
    signed(DOCUMENTED[0]).send(server.public_address()).await;
    let dead = |one: &Value| one["failures"][0]["attempt"] == 20;
    let one = until(&server, path, dead).await;
    let failures = one["failures"].as_array().unwrap();
    assert_eq!(failures.len(), 16, "{one}");
    let list = get(&server, "/api/events").await;
    for (failure, attempt) in failures.iter().zip((5..=20).rev()) {
        assert_eq!(failure["attempt"], attempt);
        assert_eq!(failure["event"], list["events"][0]["id"]);
        assert!(
            failure["at"].is_string() && failure["outcome"].is_string(),
            "{failure}"
        );
        assert_eq!(failure["next_at"].is_null(), attempt == 20, "{failure}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn events_are_found_by_source_name_and_time() {
    let folder = Folder::new("stats-filters");
    let server = keeping(&folder, |offhook| offhook).await;
    let to = server.public_address();
    for body in DOCUMENTED {
        signed(body).send(to).await;
    }
    signed(TestEvent::named("groups.upsert").body())
        .send(to)
        .await;
    let all = until(&server, "/api/events", |list| {
        list["events"].as_array().unwrap().len() == 4
    })
    .await;
    assert_eq!(all["searched_to"], Value::Null);
    let at = all["events"][1]["received_at"].as_str().unwrap();
    for (query, count) in [
        ("?source=codeskytz".to_owned(), 4),
        ("?source=another".to_owned(), 0),
        ("?name=groups.upsert".to_owned(), 1),
        ("?name=message".to_owned(), 1),
        ("?name=nothing".to_owned(), 0),
        (format!("?from={at}"), 2),
        (format!("?to={at}"), 2),
        (format!("?from={at}&to={at}"), 0),
    ] {
        let list = get(&server, &format!("/api/events{query}")).await;
        assert_eq!(list["events"].as_array().unwrap().len(), count, "{query}");
        assert_eq!(
            (&list["next"], &list["searched_to"]),
            (&Value::Null, &Value::Null)
        );
    }
    let page = get(&server, "/api/events?limit=2").await;
    assert_eq!(
        (&page["next"], &page["searched_to"]),
        (&all["events"][1]["id"], &json!(at))
    );
    let (status, _) = api(&server, "GET", "/api/events?from=yesterday", &json!({})).await;
    assert_eq!(status, 400);
    server.stop().await;
}

#[actix_web::test]
async fn a_body_is_downloaded_as_it_came() {
    let folder = Folder::new("stats-body");
    let server = keeping(&folder, |offhook| offhook).await;
    let (to, admin) = (server.public_address(), server.admin_address().unwrap());
    let body = b"{\"a\": \"\xff\"}  ".to_vec();
    let mut request = TestRequest::signed(body.clone(), &secret(KEY));
    request.headers.retain(|(name, _)| name != "Content-Type");
    let request = request.header("Content-Type", "text/html; charset=x");
    assert_eq!(request.send(to).await.status, 200);
    let list = get(&server, "/api/events").await;
    let id = list["events"][0]["id"].as_str().unwrap();
    let path = format!("/api/events/{id}/body");
    let answer = TestRequest::get(&path).send(admin).await;
    assert_eq!((answer.status, &answer.body), (200, &body));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("offhook-content-type", "text/html; charset=x"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "default-src 'none'; sandbox"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    let disposition = answer.header("content-disposition").unwrap();
    assert_eq!(disposition, format!("attachment; filename=\"{id}\""));
    assert_eq!(request.send(to).await.status, 200);
    let list = get(&server, "/api/events?state=duplicate").await;
    let duplicate = format!(
        "/api/events/{}/body",
        list["events"][0]["id"].as_str().unwrap()
    );
    assert_eq!(api(&server, "GET", &duplicate, &json!({})).await.0, 404);
    assert_eq!(
        api(&server, "DELETE", &format!("/api/events/{id}"), &json!({}))
            .await
            .0,
        200
    );
    let (status, answer) = api(&server, "GET", &path, &json!({})).await;
    assert_eq!((status, &answer["code"]), (410, &json!("deleted")));
    server.stop().await;
}
