//! The dashboard: the shell is open, its fragments are not; what senders write stays text.

use std::net::SocketAddr;

use offhook::settings::{JournalSettings, ShowBodies};
use offhook::testing::{Recorder, TempJournal, TestEvent, TestRequest, TestResponse};
use offhook::{Delivery, Event, EventHandler, HandlerError, Offhook, Server};
use offhook::{async_trait, testing};

use crate::support::{KEY, bounded, secret, signed, source};

const ADMIN: &str = "token-of-the-administrator";
const VIEWER: &str = "token-of-the-viewer";

/// Rejects everything.
struct Rejecting;

#[async_trait]
impl EventHandler for Rejecting {
    async fn handle(&self, _: &Event, _: &Delivery) -> Result<(), HandlerError> {
        Err(HandlerError::reject("no such <b>customer</b>"))
    }
}

async fn server(journal: JournalSettings) -> Server {
    let offhook = Offhook::builder()
        .journal(journal)
        .source(source())
        .handler("recorder", Recorder::default())
        .handler("rejecting", Rejecting)
        .admin_token(secret(ADMIN))
        .configure(|settings| {
            let admin = settings.admin.as_mut().unwrap();
            admin.viewer_token = Some(secret(VIEWER));
            admin.show_bodies = ShowBodies::Admin;
            admin.path_prefix = Some("/offhook".to_owned());
        });
    testing::start(offhook).await
}

async fn get(to: SocketAddr, path: &str, token: &str) -> TestResponse {
    let request = TestRequest::get(path);
    let request = match token {
        "" => request,
        token => request.header("Authorization", &format!("Bearer {token}")),
    };
    request.send(to).await
}

/// A fragment, which must be there, short, and a whole article.
async fn fragment(to: SocketAddr, path: &str, token: &str) -> String {
    let answer = get(to, path, token).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert!(
        answer.body.len() <= 256 * 1024,
        "{path}: {}",
        answer.body.len()
    );
    answer.text()
}

const PAGES: [&str; 7] = [
    "",
    "events",
    "conversations",
    "consumers",
    "dead",
    "refused",
    "settings",
];

#[actix_web::test]
async fn the_shell_is_open_and_holds_no_data() {
    let journal = TempJournal::new();
    let server = server(journal.settings()).await;
    let to = server.admin_address().unwrap();
    assert_eq!(
        signed(HOSTILE).send(server.public_address()).await.status,
        200
    );
    let first = get(to, "/", "").await;
    let paths = ["/events/0198", "/consumers/subscription%3A%2A%3Acrm"].map(str::to_owned);
    for path in PAGES
        .map(|page| format!("/{page}"))
        .into_iter()
        .chain(paths)
    {
        let linked = TestRequest::get(&path).header("Sec-Fetch-Site", "cross-site");
        let answer = linked.send(to).await;
        assert_eq!(
            (answer.status, answer.text()),
            (200, first.text()),
            "{path}"
        );
    }
    let policy = first.header("content-security-policy").unwrap();
    for directive in [
        "default-src 'none'",
        "script-src 'self'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    ] {
        assert!(policy.contains(directive), "{policy}");
    }
    let text = first.text();
    // Read out it is "Dead 3 letters".
    let dead = "Dead <b></b><span class=\"unseen\"> letters</span>";
    assert!(text.contains(dead), "{text}");
    assert!(text.contains("<base href=\"/offhook/\">"), "{text}");
    assert!(
        !text.contains("style=") && !text.contains("onclick"),
        "{text}"
    );
    let assets: Vec<&str> = text
        .split('"')
        .filter(|part| part.starts_with("assets/"))
        .collect();
    assert_eq!(assets.len(), 3, "{assets:?}");
    for asset in assets {
        let answer = get(to, &format!("/{asset}"), "").await;
        assert_eq!(answer.status, 200, "{asset}");
        let kept = answer.header("cache-control").unwrap();
        assert!(kept.contains("immutable"), "{kept}");
    }
    assert_eq!(get(to, "/assets/app.js", "").await.status, 404);
    server.stop().await;
}

#[actix_web::test]
async fn fragments_want_the_token_and_this_site() {
    let journal = TempJournal::new();
    let server = server(journal.settings()).await;
    let to = server.admin_address().unwrap();
    for page in [
        "now",
        "events",
        "conversations",
        "consumers",
        "dead",
        "settings",
        "replay?session=a",
    ] {
        let path = format!("/ui/{page}");
        assert_eq!(get(to, &path, "").await.status, 401, "{path}");
        let foreign = TestRequest::get(&path)
            .header("Authorization", &format!("Bearer {ADMIN}"))
            .header("Sec-Fetch-Site", "same-site");
        assert_eq!(foreign.send(to).await.status, 403, "{path}");
        let answer = get(to, &path, ADMIN).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let policy = answer.header("content-security-policy");
        assert_eq!(policy, Some("default-src 'none'; sandbox"));
    }
    server.stop().await;
}

/// A message whose every text tries to become markup.
const HOSTILE: &str = r#"{"event":"message","sessionId":"\"><img src=x onerror=alert(1)>","messageId":"<script>1</script>","from":"</td><script>2</script>","message":"<svg onload=alert(3)>","type":"<b>type</b>"}"#;

#[actix_web::test]
async fn what_senders_write_stays_text() {
    let journal = TempJournal::new();
    let server = server(journal.settings()).await;
    let to = server.admin_address().unwrap();
    let request = signed(HOSTILE).header("User-Agent", "<script>4</script>");
    assert_eq!(request.send(server.public_address()).await.status, 200);
    let name = r#"{"event":"<script>5</script>","sessionId":"<i>"}"#;
    assert_eq!(signed(name).send(server.public_address()).await.status, 200);
    let dead = async || fragment(to, "/ui/dead", ADMIN).await.contains("no such");
    bounded(async { while !dead().await {} }).await;
    let list: serde_json::Value =
        serde_json::from_slice(&get(to, "/api/events", ADMIN).await.body).unwrap();
    let ids = list["events"].as_array().unwrap().iter();
    let ids = ids.map(|event| format!("/ui/events/{}", event["id"].as_str().unwrap()));
    let session = "%22%3E%3Cimg%20src=x%20onerror=alert(1)%3E";
    let peer = "%3C/td%3E%3Cscript%3E2%3C/script%3E";
    let paths = [
        "/ui/now".to_owned(),
        "/ui/events".to_owned(),
        format!("/ui/events?session={session}"),
        "/ui/conversations".to_owned(),
        format!("/ui/conversations?session={session}"),
        format!("/ui/conversations?session={session}&peer={peer}"),
        "/ui/consumers".to_owned(),
        "/ui/consumers/handler:rejecting".to_owned(),
        "/ui/dead".to_owned(),
        "/ui/settings".to_owned(),
        format!("/ui/replay?session={session}"),
    ];
    let mut shown = String::new();
    for path in paths.into_iter().chain(ids) {
        let text = fragment(to, &path, ADMIN).await;
        for markup in [
            "<script",
            "<img",
            "<svg onload",
            "<b>",
            "<i>",
            "href=\"javascript",
        ] {
            assert!(!text.contains(markup), "{path}: {markup} in {text}");
        }
        shown += &text;
    }
    for text in [
        "&lt;svg onload=alert(3)&gt;",
        "&lt;script&gt;2&lt;/script&gt;",
        "&lt;b&gt;customer",
    ] {
        assert!(shown.contains(text), "{text}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn the_viewer_gets_no_bodies_and_no_buttons() {
    let journal = TempJournal::new();
    let server = server(journal.settings()).await;
    let to = server.admin_address().unwrap();
    let body = r#"{"event":"message","sessionId":"a","messageId":"1","from":"+44 private","message":"a private text"}"#;
    assert_eq!(signed(body).send(server.public_address()).await.status, 200);
    let list: serde_json::Value =
        serde_json::from_slice(&get(to, "/api/events", ADMIN).await.body).unwrap();
    let id = list["events"][0]["id"].as_str().unwrap();
    let one = format!("/ui/events/{id}");
    for path in [
        "/ui/now",
        "/ui/events",
        &one,
        "/ui/consumers",
        "/ui/consumers/handler:rejecting",
        "/ui/dead",
        "/ui/settings",
    ] {
        let text = fragment(to, path, VIEWER).await;
        for private in ["a private text", "+44 private"] {
            assert!(!text.contains(private), "{path}: {text}");
        }
        for button in ["data-call", "data-replay", "data-panel"] {
            assert!(!text.contains(button), "{path}: {button} in {text}");
        }
    }
    for path in [
        "/ui/conversations?session=a",
        "/api/conversations?session=a",
        "/api/conversations/a/%2B44%20private",
        "/ui/replay?session=a",
        "/ui/subscription",
    ] {
        let answer = get(to, path, VIEWER).await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("forbidden_role"), "{path}");
    }
    let text = fragment(to, &one, ADMIN).await;
    assert!(
        text.contains("a private text") && text.contains("data-replay"),
        "{text}"
    );
    server.stop().await;
}

#[actix_web::test]
async fn a_conversation_has_its_messages_and_their_statuses() {
    let journal = TempJournal::new();
    let server = server(journal.settings()).await;
    let to = server.admin_address().unwrap();
    for (id, from) in [("1", "+1"), ("2", "+2"), ("3", "+1")] {
        let body = format!(
            r#"{{"event":"message","sessionId":"s","messageId":"{id}","from":"{from}","message":"text {id}"}}"#
        );
        assert_eq!(signed(body).send(server.public_address()).await.status, 200);
    }
    for body in [
        r#"{"event":"status","sessionId":"s","messageId":"3","status":"delivered"}"#,
        r#"{"event":"status","sessionId":"s","messageId":"3","status":"read"}"#,
        r#"{"event":"connection","sessionId":"s","status":"connected"}"#,
        r#"{"event":"message","sessionId":"other","messageId":"9","from":"+1","message":"elsewhere"}"#,
    ] {
        assert_eq!(signed(body).send(server.public_address()).await.status, 200);
    }
    let json = async |path: &str| -> serde_json::Value {
        let answer = get(to, path, ADMIN).await;
        assert_eq!(answer.status, 200, "{path}");
        serde_json::from_slice(&answer.body).unwrap()
    };
    let peers = json("/api/conversations?session=s").await;
    let found = peers["conversations"].as_array().unwrap();
    let shown: Vec<_> = found
        .iter()
        .map(|one| {
            (
                one["peer"].as_str().unwrap(),
                one["messages"].as_u64().unwrap(),
            )
        })
        .collect();
    assert_eq!(shown, [("+1", 2), ("+2", 1)]);
    assert_eq!(found[0]["newest"]["text"], "text 3");
    let chat = json("/api/conversations/s/%2B1").await;
    let messages = chat["messages"].as_array().unwrap();
    let texts: Vec<_> = messages
        .iter()
        .map(|one| one["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts, ["text 3", "text 1"]);
    let statuses = messages[0]["statuses"].as_array().unwrap();
    let statuses: Vec<_> = statuses
        .iter()
        .map(|one| one["status"].as_str().unwrap())
        .collect();
    assert_eq!(statuses, ["delivered", "read"]);
    assert_eq!(chat["connections"][0]["status"], "connected");
    assert_eq!(chat["next"], serde_json::Value::Null);
    // A page that is full says where the next begins.
    let first = json("/api/conversations/s/%2B1?limit=1").await;
    let next = first["next"].as_str().unwrap();
    let second = json(&format!("/api/conversations/s/%2B1?limit=1&before={next}")).await;
    assert_eq!(second["messages"][0]["text"], "text 1");
    // From each message on the session can be replayed.
    let page = fragment(to, "/ui/conversations?session=s&peer=%2B1", ADMIN).await;
    let mut links = page.split("data-panel href=\"").skip(1);
    let last = links.nth(1).unwrap().split('"').next().unwrap();
    let replay = format!("/{}", last.replace("&amp;", "&"));
    let replay = fragment(to, &replay, ADMIN).await;
    assert!(
        replay.contains("Every event of session s, from"),
        "{replay}"
    );
    server.stop().await;
}

#[actix_web::test]
async fn without_a_journal_the_pages_say_so() {
    let server = testing::start(Offhook::builder().source(source())).await;
    let to = server.admin_address().unwrap();
    let now = fragment(to, "/ui/now", "").await;
    assert!(now.contains("The engine is none"), "{now}");
    assert_eq!(get(to, "/ui/events", "").await.status, 409);
    assert_eq!(get(to, "/ui/settings", "").await.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn now_tells_what_is_not_well() {
    let journal = TempJournal::new();
    let offhook = Offhook::builder()
        .journal(journal.settings())
        .source(source());
    let server = testing::start(offhook).await;
    let to = server.admin_address().unwrap();
    let now = fragment(to, "/ui/now", "").await;
    assert!(now.contains("nobody gets the events"), "{now}");
    assert!(now.contains("data-refused=\"0\""), "{now}");
    let request = TestEvent::message("+1", "text").sign(&secret("of-somebody-else"));
    assert_eq!(request.send(server.public_address()).await.status, 401);
    let refused = async || fragment(to, "/ui/now", "").await;
    bounded(async { while !refused().await.contains("data-refused=\"1\"") {} }).await;
    let now = refused().await;
    assert!(now.contains("1 request refused and 0 accepted"), "{now}");
    assert!(!now.contains("All is well"), "{now}");
    let page = fragment(to, "/ui/refused", "").await;
    assert!(page.contains("sender unknown"), "{page}");
    server.stop().await;

    let with_dead = server_with_a_dead_letter(&journal).await;
    let to = with_dead.admin_address().unwrap();
    let now = async || fragment(to, "/ui/now", ADMIN).await;
    bounded(async { while !now().await.contains("Dead letters: 1") {} }).await;
    with_dead.stop().await;
}

async fn server_with_a_dead_letter(journal: &TempJournal) -> Server {
    let server = server(journal.settings()).await;
    let request = TestEvent::message("+1", "text").sign(&secret(KEY));
    assert_eq!(request.send(server.public_address()).await.status, 200);
    server
}

/// Where there is nothing, a page says so, and what to do.
#[actix_web::test]
async fn empty_pages_say_what_to_do() {
    let journal = TempJournal::new();
    let offhook = Offhook::builder()
        .journal(journal.settings())
        .source(source());
    let server = testing::start(offhook.handler("recorder", Recorder::default())).await;
    let to = server.admin_address().unwrap();
    for (path, text) in [
        ("/ui/now", "Nothing was received yet"),
        ("/ui/events", "Nothing matches."),
        ("/ui/dead", "No dead letters."),
        ("/ui/conversations", "No event names a session yet."),
        (
            "/ui/conversations?session=a",
            "This session has no messages within 20,000 events.",
        ),
    ] {
        let found = fragment(to, path, "").await;
        assert!(found.contains(text), "{path}: {found}");
    }
    server.stop().await;
}
