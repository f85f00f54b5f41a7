//! As whom a request to the admin listener asks: the administrator, the viewer, or somebody who guesses.

use std::net::SocketAddr;

use offhook::settings::ShowBodies;
use offhook::testing::{Recorder, TempJournal, TestEvent, TestRequest, TestResponse};
use offhook::{Delivery, Event, EventHandler, HandlerError, Offhook, Server, async_trait, testing};
use serde_json::Value;

use crate::served::until;
use crate::subscriber::{Answer, Subscriber};
use crate::support::{KEY, secret, source};

const ADMIN: &str = "token-of-the-administrator";
const VIEWER: &str = "token-of-the-viewer";

fn builder(journal: &TempJournal, show_bodies: ShowBodies) -> Offhook {
    Offhook::builder()
        .journal(journal.settings())
        .source(source())
        .handler("recorder", Recorder::default())
        .admin_token(secret(ADMIN))
        .configure(|settings| {
            let admin = settings.admin.as_mut().unwrap();
            admin.viewer_token = Some(secret(VIEWER));
            admin.show_bodies = show_bodies;
            settings.relay.options.allow_private = true;
        })
}

async fn server(journal: &TempJournal, show_bodies: ShowBodies) -> Server {
    testing::start(builder(journal, show_bodies)).await
}

async fn ask(to: SocketAddr, method: &str, path: &str, token: &str) -> TestResponse {
    let mut request = TestRequest::get(path).header("Authorization", &format!("Bearer {token}"));
    request.method = method.to_owned();
    request.send(to).await
}

fn json(answer: &TestResponse) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

async fn send_one(server: &Server) {
    let event = TestEvent::message("+1", "a private text");
    let request = event.sign(&secret(KEY));
    let answer = request.send(server.public_address()).await;
    assert_eq!(answer.status, 200);
}

/// What a viewer is shown is what a log may hold.
#[actix_web::test]
async fn the_viewer_sees_no_token_of_a_subscribers_url() {
    let journal = TempJournal::new();
    let server = server(&journal, ShowBodies::Admin).await;
    let to = server.admin_address().unwrap();
    let body =
        r#"{"name":"crm","webhookUrl":"https://93.184.216.34/hooks/0123456789abcdef?key=hidden"}"#;
    let mut request = TestRequest::post(body).path("/sessions/a/webhook");
    request.headers.clear();
    let request = request
        .header("Authorization", &format!("Bearer {ADMIN}"))
        .header("Content-Type", "application/json");
    let request = request.header("If-None-Match", "*");
    let answer = request.clone().send(to).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    // The form of the dashboard asks before it replaces one.
    let answer = request.send(to).await;
    assert_eq!(
        (answer.status, &json(&answer)["code"]),
        (412, &"exists".into())
    );
    for path in [
        "/api/subscriptions",
        "/sessions/a/webhook",
        #[cfg(feature = "dashboard")]
        "/ui/consumers/subscription:a:crm",
    ] {
        let shown = ask(to, "GET", path, VIEWER).await.text();
        let masked = "https://93.184.216.34/hooks/…?…";
        assert!(shown.contains(masked), "{path}: {shown}");
        for token in ["0123456789abcdef", "hidden"] {
            assert!(!shown.contains(token), "{path}: {shown}");
        }
    }
    for path in ["/api/subscriptions", "/sessions/a/webhook"] {
        let shown = ask(to, "GET", path, ADMIN).await.text();
        assert!(
            shown.contains("0123456789abcdef?key=hidden"),
            "{path}: {shown}"
        );
    }
    server.stop().await;
}

/// The newest event, as `token` sees it.
async fn newest(to: SocketAddr, token: &str) -> Value {
    let list = json(&ask(to, "GET", "/api/events", token).await);
    let id = list["events"][0]["id"].as_str().unwrap();
    json(&ask(to, "GET", &format!("/api/events/{id}"), token).await)
}

#[actix_web::test]
async fn the_viewer_reads_and_changes_nothing() {
    let journal = TempJournal::new();
    let server = server(&journal, ShowBodies::Admin).await;
    let to = server.admin_address().unwrap();
    send_one(&server).await;
    for path in [
        "/api/events",
        "/api/consumers",
        "/api/dead",
        "/api/settings",
        "/api/subscriptions",
        "/metrics",
        "/sessions/a/webhook",
    ] {
        assert_eq!(ask(to, "GET", path, VIEWER).await.status, 200, "{path}");
    }
    let health = json(&ask(to, "GET", "/health", VIEWER).await);
    assert!(health["sources"].is_array(), "{health}");
    for (method, path) in [
        ("POST", "/api/replay"),
        ("POST", "/api/consumers/handler:recorder/pause"),
        ("POST", "/api/reload"),
        ("DELETE", "/api/events?session=a"),
        ("POST", "/sessions/a/webhook"),
        ("PATCH", "/sessions/a/webhook"),
        ("DELETE", "/sessions/a/webhook"),
        ("POST", "/none"),
    ] {
        let answer = ask(to, method, path, VIEWER).await;
        assert_eq!(
            (answer.status, &json(&answer)["code"]),
            (403, &"forbidden_role".into())
        );
    }
    let paused = ask(to, "POST", "/api/consumers/handler:recorder/pause", ADMIN).await;
    assert_eq!(paused.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn the_viewer_sees_bodies_where_the_settings_say_so() {
    let journal = TempJournal::new();
    let closed = server(&journal, ShowBodies::Admin).await;
    send_one(&closed).await;
    let to = closed.admin_address().unwrap();
    let seen = newest(to, VIEWER).await;
    assert_eq!(seen["body_hidden"], true);
    assert!(!seen.to_string().contains("a private text"), "{seen}");
    let seen = newest(to, ADMIN).await;
    assert_eq!(seen["body"]["message"], "a private text");
    assert_eq!(seen["body_hidden"], Value::Null);
    closed.stop().await;

    let open = server(&journal, ShowBodies::Viewer).await;
    let seen = newest(open.admin_address().unwrap(), VIEWER).await;
    assert_eq!(seen["body"]["message"], "a private text");
    open.stop().await;
}

/// Fails, so that the conversation of the event is held up.
struct Failing;

#[async_trait]
impl EventHandler for Failing {
    async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
        Err("not today".into())
    }
}

/// Whatever holds text of a body holds it for the administrator only.
#[actix_web::test]
async fn no_page_shows_text_of_a_body_to_the_viewer() {
    let journal = TempJournal::new();
    let open = builder(&journal, ShowBodies::Admin).handler("failing", Failing);
    let server = testing::start(open).await;
    let to = server.admin_address().unwrap();
    let subscriber = Subscriber::start([Answer::Text(500, "no a private text".to_owned())]).await;
    let registration = serde_json::json!({ "name": "crm", "webhookUrl": subscriber.url() });
    let mut request = TestRequest::post(registration.to_string()).path("/sessions/s/webhook");
    request.headers.clear();
    let request = request
        .header("Authorization", &format!("Bearer {ADMIN}"))
        .header("Content-Type", "application/json");
    assert_eq!(request.send(to).await.status, 201);
    // Its sender names the conversation, which waits for the first one.
    let event = |id| {
        let event = TestEvent::message("a private text", "a private text").session("s");
        event.id(id)
    };
    for id in ["1", "2"] {
        let request = event(id).sign(&secret(KEY));
        assert_eq!(request.send(server.public_address()).await.status, 200);
    }
    let event = event("3");
    let forged = event.sign(&secret("not-the-key-of-the-source"));
    assert_eq!(forged.send(server.public_address()).await.status, 401);

    let oldest = async |path: &str, list: &str| {
        let answer = json(&ask(to, "GET", path, ADMIN).await);
        let oldest = answer[list].as_array().unwrap().last();
        oldest.unwrap()["id"].as_str().unwrap().to_owned()
    };
    let id = oldest("/api/events", "events").await;
    let refused = oldest("/api/refused", "refused").await;
    for path in [
        format!("/api/events/{id}"),
        format!("/api/events/{id}/body"),
        format!("/api/refused/{refused}"),
        "/api/consumers/handler:failing".to_owned(),
        #[cfg(feature = "dashboard")]
        format!("/ui/events/{id}"),
        #[cfg(feature = "dashboard")]
        format!("/ui/refused/{refused}"),
    ] {
        let shown = async |token| ask(to, "GET", &path, token).await.text();
        until(&format!("{path} has the text"), async || {
            shown(ADMIN).await.contains("a private text")
        })
        .await;
        let seen = shown(VIEWER).await;
        assert!(!seen.contains("a private text"), "{path}: {seen}");
    }
    // The answer of a subscriber may repeat what it was sent.
    let path = format!("/api/events/{id}");
    until("the attempt is shown", async || {
        let seen = ask(to, "GET", &path, ADMIN).await.text();
        seen.contains("no a private text")
    })
    .await;
    let seen = ask(to, "GET", &path, VIEWER).await.text();
    assert!(!seen.contains("a private text"), "{seen}");
    server.stop().await;
}

#[actix_web::test]
async fn wrong_tokens_are_limited_and_the_right_one_passes() {
    let journal = TempJournal::new();
    let server = server(&journal, ShowBodies::Admin).await;
    let to = server.admin_address().unwrap();
    // A missing one is no guess.
    for _ in 0..20 {
        assert_eq!(TestRequest::get("/metrics").send(to).await.status, 401);
    }
    for guess in 0..16 {
        let answer = ask(to, "GET", "/metrics", &format!("guess-{guess}")).await;
        assert_eq!(answer.status, 401, "{guess}");
    }
    let answer = ask(to, "GET", "/metrics", "guess-16").await;
    assert_eq!(
        (answer.status, &json(&answer)["code"]),
        (429, &"rate_limited".into())
    );
    let seconds: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=60).contains(&seconds), "{seconds}");
    assert_eq!(ask(to, "GET", "/metrics", ADMIN).await.status, 200);
    assert_eq!(ask(to, "GET", "/metrics", VIEWER).await.status, 200);
    // A probe or a page with a stale token is still answered.
    for path in [
        "/health",
        "/ready",
        #[cfg(feature = "dashboard")]
        "/",
    ] {
        assert_eq!(ask(to, "GET", path, "stale").await.status, 200, "{path}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_change_is_json_or_has_no_body() {
    let journal = TempJournal::new();
    let server = server(&journal, ShowBodies::Admin).await;
    let to = server.admin_address().unwrap();
    let replay = |kind: Option<&str>, body: &str| {
        let mut request = TestRequest::post(body).path("/api/refused/verify");
        request.headers.clear();
        let request = request.header("Authorization", &format!("Bearer {ADMIN}"));
        match kind {
            Some(kind) => request.header("Content-Type", kind),
            None => request,
        }
    };
    let form = "application/x-www-form-urlencoded";
    for (kind, body, status) in [
        (Some("application/json"), "{}", 200),
        (Some("Application/JSON; charset=utf-8"), "{}", 200),
        (None, "", 200),
        (Some("text/plain"), "", 200),
        (None, "{}", 415),
        (Some("text/plain"), "{}", 415),
        (Some(form), "{}", 415),
        (Some("application/json-seq"), "{}", 415),
    ] {
        let answer = replay(kind, body).send(to).await;
        assert_eq!(answer.status, status, "{kind:?} {body}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn every_answer_has_the_headers_of_safety() {
    let journal = TempJournal::new();
    let server = server(&journal, ShowBodies::Admin).await;
    let to = server.admin_address().unwrap();
    for (method, path, token, status) in [
        ("GET", "/health", "", 200),
        ("GET", "/api/events", ADMIN, 200),
        ("GET", "/metrics", "wrong", 401),
        ("POST", "/api/replay", VIEWER, 403),
        ("GET", "/none", ADMIN, 404),
        ("POST", "/health", ADMIN, 405),
        ("GET", "/api/events?limit=0", ADMIN, 400),
        ("GET", "/api/events?none=0", ADMIN, 400),
    ] {
        let answer = ask(to, method, path, token).await;
        assert_eq!(answer.status, status, "{path}");
        for (name, value) in [
            ("content-security-policy", "default-src 'none'; sandbox"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
            ("cache-control", "no-store"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
    }
    server.stop().await;
}
