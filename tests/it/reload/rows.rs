//! The keys that change while the server runs, as far as other tests do not show it: each does what it says from then
//! on.

use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::{Scheme as _, StandardWebhooks};
use offhook::testing::{TestEvent, TestRequest};
use serde_json::json;

use super::{NEW, OLD, Reloaded};
use crate::served::until;
use crate::subscriber::{Answer, Subscriber};
use crate::support::secret;

/// The status of `text` for a session, in the gateway's own scheme.
async fn of_session(it: &Reloaded, session: &str, key: &str, id: &str) -> u16 {
    let event = TestEvent::message("+1", "hello").session(session).id(id);
    let request = event.sign(&secret(key)).path("/webhook");
    request.send(it.server.public_address()).await.status
}

#[actix_web::test]
async fn sessions_get_and_lose_their_own_secrets() {
    let it = Reloaded::start("rows-sessions", "").await;
    assert_eq!(of_session(&it, "a", OLD, "1").await, 200);
    let own = format!("\"{OLD}\"]\nsessions.a.secrets = [\"{NEW}\"]");
    let changed = [r#"source "hub": sessions changed"#];
    it.change(&format!("\"{OLD}\"]"), &own, &changed).await;
    assert_eq!(of_session(&it, "a", OLD, "2").await, 401);
    assert_eq!(of_session(&it, "a", NEW, "3").await, 200);
    assert_eq!(of_session(&it, "b", OLD, "4").await, 200);
    it.change("[server]", "[server]", &changed).await;
    assert_eq!(of_session(&it, "a", NEW, "5").await, 401);
    assert_eq!(of_session(&it, "a", OLD, "6").await, 200);
    it.stop().await;
}

#[actix_web::test]
async fn scheme_and_dialect_change() {
    let it = Reloaded::start("rows-scheme", "").await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    let new = format!("\"{OLD}\"]\nscheme = \"standard-webhooks\"\ndialect = \"raw\"");
    let changed = [r#"source "hub": scheme, dialect changed"#];
    it.change(&format!("\"{OLD}\"]"), &new, &changed).await;
    assert_eq!(it.send("/webhook", OLD, "2").await, 401);
    let body = "{\"any\":\"thing\"}";
    let mut request = TestRequest::post(body).path("/webhook");
    let now = SystemClock.now();
    for header in StandardWebhooks::default().sign(body.as_bytes(), &secret(OLD), now) {
        request = request.header(&header.name, &header.value);
    }
    let answer = request.send(it.server.public_address()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let (_, events) = it.ask("GET", "/api/events", &json!({})).await;
    assert_eq!(events["events"][0]["event"], "unknown", "{events}");
    it.stop().await;
}

#[actix_web::test]
async fn silence_is_watched_from_then_on() {
    let it = Reloaded::start("rows-quiet", "").await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    let is_quiet = async || {
        let (_, health) = it.ask("GET", "/health", &json!({})).await;
        health["sources"][0]["quiet_since"].is_string()
    };
    assert!(!is_quiet().await);
    let new = format!("\"{OLD}\"]\nquiet_after = \"1s\"");
    let changed = [r#"source "hub": quiet_after changed"#];
    it.change(&format!("\"{OLD}\"]"), &new, &changed).await;
    until("the source is quiet", is_quiet).await;
    it.change("[server]", "[server]", &changed).await;
    assert!(!is_quiet().await);
    it.stop().await;
}

#[actix_web::test]
async fn retention_changes() {
    let it = Reloaded::start("rows-retention", "").await;
    for id in ["1", "2", "3"] {
        assert_eq!(it.send("/webhook", OLD, id).await, 200);
    }
    it.handled("handled.jsonl", &["1", "2", "3"]).await;
    let count = async || {
        let (_, events) = it.ask("GET", "/api/events", &json!({})).await;
        events["events"].as_array().unwrap().len()
    };
    assert_eq!(count().await, 3);
    let changed = ["[journal]: retention changed"];
    it.change("[relay]", "retention = \"1s\"\n[relay]", &changed)
        .await;
    // The newest event stays.
    until("the events are removed", async || count().await == 1).await;
    it.stop().await;
}

/// With the relay's default of 15 s this test would take longer than it is given.
#[actix_web::test]
async fn the_relays_timeout_changes() {
    let crm = Subscriber::start([Answer::Hang, Answer::Hang, Answer::Hang]).await;
    let more = format!(
        "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"{}\"\nretry = {{ first = \"10ms\", max = \"10ms\" }}\n",
        crm.url()
    );
    let it = Reloaded::start("rows-relay", &more).await;
    let changed = [
        "[relay]: timeout changed",
        r#"subscription "crm" to session "*": timeout changed"#,
    ];
    it.change("[relay]", "[relay]\ntimeout = \"300ms\"", &changed)
        .await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    crm.expect(4).await;
    it.stop().await;
}

/// The default of all consumers is one of each that has none of its own.
#[actix_web::test]
async fn the_defaults_of_consumers_change() {
    let folder = crate::support::Folder::new("rows-dispatch-marks");
    let marks = folder.0.join("marks");
    let more = format!(
        "[[handlers]]\nname = \"slow\"\nuse = \"exec\"\ncommand = [\"sh\", \"-c\", \"echo x >> '{}'; exec sleep 60\"]\n\
         retry = {{ first = \"10ms\", max = \"10ms\" }}\n",
        marks.display()
    );
    let it = Reloaded::start("rows-dispatch", &more).await;
    let changed = [
        "[dispatch]: timeout changed",
        r#"handler "kept": timeout changed"#,
        r#"handler "slow": timeout changed"#,
    ];
    it.change(
        "[relay]",
        "[dispatch]\ntimeout = \"300ms\"\n[relay]",
        &changed,
    )
    .await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    until("the program has run three times", async || {
        let text = std::fs::read_to_string(&marks).unwrap_or_default();
        text.lines().count() >= 3
    })
    .await;
    it.stop().await;
}

/// A gateway that has changed is told again, and one that has not is left alone.
#[actix_web::test]
async fn changed_gateways_register_again() {
    let gateway = Subscriber::start([]).await;
    let more = |name: &str, path: &str| {
        format!(
            "[[gateways]]\nname = \"{name}\"\nurl = \"http://{}/{name}\"\nsessions = [\"s\"]\n\
             webhook_url = \"https://me.example/{path}\"\n",
            gateway.address
        )
    };
    let text = format!("{}{}", more("one", "webhook"), more("two", "webhook"));
    let it = Reloaded::start("rows-gateways", &text).await;
    gateway.expect(2).await;
    let new = format!(
        "{}{}{}",
        more("one", "other"),
        more("two", "webhook"),
        more("three", "webhook")
    );
    let changed = [
        r#"gateway "one": webhook_url, events, secret or verify_token changed"#,
        r#"gateway "three": added"#,
    ];
    it.change(&text, &new, &changed).await;
    let asked = gateway.expect(4).await;
    let mut later: Vec<_> = asked[2..].iter().map(|asked| asked.line.clone()).collect();
    later.sort();
    assert!(later[0].contains("/one/sessions/s/webhook"), "{later:?}");
    assert!(later[1].contains("/three/sessions/s/webhook"), "{later:?}");
    it.stop().await;
}
