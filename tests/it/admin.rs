//! The admin listener: health, readiness, metrics, and who may ask.

use offhook::testing::{TestRequest, TestResponse};
use offhook::{Offhook, Server, testing};

use crate::support::{DOCUMENTED, secret, signed, source};

async fn server(change: impl FnOnce(Offhook) -> Offhook) -> Server {
    testing::start(change(Offhook::builder().source(source()))).await
}

async fn get(server: &Server, path: &str) -> TestResponse {
    TestRequest::get(path)
        .send(server.admin_address().unwrap())
        .await
}

#[actix_web::test]
async fn health_shows_the_fingerprint_of_the_settings() {
    let health = |answer: TestResponse| -> serde_json::Value {
        assert_eq!(answer.status, 200);
        let mut health: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        // It says when they were loaded.
        let settings = health.as_object_mut().unwrap().remove("settings").unwrap();
        assert_eq!(settings["fingerprint"], health["fingerprint"]);
        health
    };
    let one = server(|offhook| offhook).await;
    let same = server(|offhook| offhook).await;
    let other = server(|offhook| offhook.configure(|settings| settings.server.max_body = 7)).await;
    let rotated = server(|offhook| {
        offhook.configure(|settings| {
            settings.sources[0] = offhook::Source::new("codeskytz").secret(secret("another"));
        })
    })
    .await;
    let first = health(get(&one, "/health").await);
    assert_eq!(first["status"], "ok");
    assert_eq!(first["engine"], "none");
    assert_eq!(first["fingerprint"].as_str().unwrap().len(), 16);
    assert_eq!(health(get(&same, "/health").await), first);
    assert_ne!(
        health(get(&other, "/health").await)["fingerprint"],
        first["fingerprint"]
    );
    // A secret is no part of it: it could be guessed from the hash.
    assert_eq!(health(get(&rotated, "/health").await), first);
    assert_eq!(get(&one, "/ready").await.status, 200);
    for server in [one, same, other, rotated] {
        server.stop().await;
    }
}

#[actix_web::test]
async fn metrics_count_requests_and_attempts() {
    let server = server(|offhook| offhook.handler("recorder", testing::Recorder::default())).await;
    let to = server.public_address();
    for body in DOCUMENTED {
        assert_eq!(signed(body).send(to).await.status, 200);
    }
    assert_eq!(TestRequest::post("{}").send(to).await.status, 401);
    let answer = get(&server, "/metrics").await;
    assert_eq!(
        answer.header("content-type"),
        Some("text/plain; version=0.0.4; charset=utf-8")
    );
    let text = answer.text();
    let bytes: usize = DOCUMENTED.iter().map(|body| body.len()).sum();
    let lines = [
        r#"offhook_requests_total{source="codeskytz",outcome="received"} 3"#.to_owned(),
        r#"offhook_requests_total{source="codeskytz",outcome="invalid_signature"} 1"#.to_owned(),
        r#"offhook_requests_total{source="codeskytz",outcome="timeout"} 0"#.to_owned(),
        format!(r#"offhook_request_body_bytes_total{{source="codeskytz"}} {bytes}"#),
        r#"offhook_request_seconds_count{source="codeskytz"} 4"#.to_owned(),
        r#"offhook_attempts_total{consumer="handler:recorder",outcome="done"} 3"#.to_owned(),
        r#"offhook_attempt_seconds_count{consumer="handler:recorder"} 3"#.to_owned(),
        "offhook_in_flight_bytes 0".to_owned(),
    ];
    for line in lines {
        assert!(
            text.lines().any(|found| found == line),
            "{line} is not in\n{text}"
        );
    }
    assert!(!text.contains("your-secret-key"));
    server.stop().await;
}

#[actix_web::test]
async fn a_token_guards_all_but_health_and_readiness() {
    let server = server(|offhook| offhook.admin_token(secret("the admin's token"))).await;
    let to = server.admin_address().unwrap();
    for path in ["/health", "/ready"] {
        assert_eq!(get(&server, path).await.status, 200);
    }
    let health = TestRequest::get("/health").header("Authorization", "Bearer the admin's token");
    assert!(!get(&server, "/health").await.text().contains("sources"));
    assert!(health.send(to).await.text().contains("sources"));
    for path in ["/metrics", "/nothing", "/api/events"] {
        let answer = get(&server, path).await;
        assert_eq!(
            (answer.status, answer.header("www-authenticate")),
            (401, Some("Bearer"))
        );
        let text = answer.text();
        assert!(text.contains(r#""success":false"#) && text.contains(r#""code":"unauthorized""#));
    }
    let with = |value: &str| TestRequest::get("/metrics").header("Authorization", value);
    assert_eq!(with("Bearer the admin's token").send(to).await.status, 200);
    assert_eq!(with("Bearer the admin's tokem").send(to).await.status, 401);
    assert_eq!(with("the admin's token").send(to).await.status, 401);
    server.stop().await;
}

#[actix_web::test]
async fn without_a_token_no_web_page_can_ask() {
    let server = server(|offhook| offhook).await;
    let to = server.admin_address().unwrap();
    let foreign = TestRequest::get("/metrics").header("Origin", "http://evil.example");
    let answer = foreign.send(to).await;
    assert_eq!(answer.status, 403);
    assert!(answer.text().contains(r#""code":"forbidden""#));
    let own = TestRequest::get("/metrics").header("Origin", "http://127.0.0.1");
    assert_eq!(own.send(to).await.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn other_paths_and_methods() {
    let server = server(|offhook| offhook).await;
    let answer = get(&server, "/nothing").await;
    assert_eq!(answer.status, 404);
    let expected = r#"{"code":"not_found","error":"there is no such path","success":false}"#;
    assert_eq!(answer.text(), expected);
    let answer = TestRequest::post("{}")
        .path("/health")
        .send(server.admin_address().unwrap())
        .await;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")));
    server.stop().await;
}
