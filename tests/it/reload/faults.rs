//! What has gone wrong with reloading in other servers, each with a test of its own.

use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::TestEvent;
use serde_json::json;

use super::{NEW, OLD, Reloaded};
use crate::served::{Served, until};
use crate::subscriber::{Answer, Subscriber};
use crate::support::{Folder, Program, Raw, secret};

/// Secrets were swapped before a later step failed. Here everything is prepared before anything changes.
#[actix_web::test]
async fn a_late_problem_keeps_the_old_secrets() {
    let it = Reloaded::start("reload-late", "").await;
    let text = it.text.replace(OLD, NEW);
    let block = "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"https://";
    for (old, new) in [
        ("/handled.jsonl\"", "/no/such/folder/x\""),
        (
            "[[handlers]]",
            &format!("{block}user:password@crm.example\"\n[[handlers]]"),
        ),
        (
            "[journal]",
            "[admin.tls]\ncertificate = \"/no\"\nkey = \"/no\"\n[journal]",
        ),
    ] {
        assert!(text.contains(old));
        std::fs::write(it.path("settings.toml"), text.replacen(old, new, 1)).unwrap();
        let (status, answer) = it.reload().await;
        assert!(matches!(status, 409 | 422), "{answer}");
        assert_eq!(it.send("/webhook", NEW, old).await, 401);
        assert_eq!(it.send("/webhook", OLD, old).await, 200);
    }
    it.stop().await;
}

/// A request read its route and its secrets at two moments, and ran without being verified.
#[actix_web::test]
async fn a_request_is_judged_by_the_secrets_it_began_with() {
    let it = Reloaded::start("reload-begun", "").await;
    let begin = async |key: &str, id: &str| {
        let request = TestEvent::message("+1", "hello").id(id).sign(&secret(key));
        let bytes = request.path("/webhook").bytes();
        let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        let mut raw = Raw::connect(it.server.public_address()).await;
        raw.send(&bytes[..head + 5]).await;
        (raw, bytes[head + 5..].to_vec())
    };
    let in_flight = async || {
        let text = it.metrics().await;
        let line = text
            .lines()
            .find(|line| line.starts_with("offhook_in_flight_bytes "));
        line.is_some_and(|line| !line.ends_with(" 0"))
    };
    let (mut old, old_rest) = begin(OLD, "1").await;
    let (mut new, new_rest) = begin(NEW, "2").await;
    until("the requests have begun", in_flight).await;
    it.change(OLD, NEW, &[r#"source "hub": secrets changed"#])
        .await;
    old.send(old_rest).await;
    new.send(new_rest).await;
    // The second may have begun after the first was counted, but not after the reload.
    assert_eq!(old.answer().await.status, 200);
    assert_eq!(new.answer().await.status, 401);
    it.handled("handled.jsonl", &["1"]).await;
    it.stop().await;
}

/// Caches, counters and pauses began again. Here they belong to a name, and stay with it.
#[actix_web::test]
async fn what_belongs_to_a_name_stays() {
    let it = Reloaded::start("reload-stays", "").await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    assert_eq!(it.send("/webhook", NEW, "x").await, 401);
    it.handled("handled.jsonl", &["1"]).await;
    let (status, _) = it
        .ask("POST", "/api/consumers/handler:kept/pause", &json!({}))
        .await;
    assert_eq!(status, 200);
    let (_, before) = it.ask("GET", "/health", &json!({})).await;
    assert!(
        before["sources"][0]["last_event_at"].is_string(),
        "{before}"
    );

    let new = format!("\"{OLD}\", \"{NEW}\"]\nquiet_after = \"1h\"");
    it.change(
        &format!("\"{OLD}\"]"),
        &new,
        &[r#"source "hub": secrets, quiet_after changed"#],
    )
    .await;
    let more = format!("\"{OLD}\", \"{NEW}\"]\nquiet_after = \"1h\"\n[dispatch]\ntimeout = \"9s\"");
    it.write(&format!("\"{OLD}\"]"), &more);
    assert_eq!(it.reload().await.0, 200);

    let (_, after) = it.ask("GET", "/health", &json!({})).await;
    assert_eq!(
        before["sources"][0]["last_event_at"],
        after["sources"][0]["last_event_at"]
    );
    let (_, kept) = it
        .ask("GET", "/api/consumers/handler:kept", &json!({}))
        .await;
    assert_eq!(kept["state"], "paused", "{kept}");
    // It is a duplicate, also when it is signed with the other secret.
    assert_eq!(it.send("/webhook", NEW, "1").await, 200);
    let metrics = it.metrics().await;
    for line in [
        r#"offhook_requests_total{source="hub",outcome="invalid_signature"} 1"#,
        r#"offhook_requests_total{source="hub",outcome="duplicate"} 1"#,
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }
    it.ask("POST", "/api/consumers/handler:kept/resume", &json!({}))
        .await;
    assert_eq!(it.send("/webhook", NEW, "2").await, 200);
    it.handled("handled.jsonl", &["1", "2"]).await;
    it.stop().await;
}

/// A signal during the start left a second dispatcher running. Here it is remembered until the start is over.
#[actix_web::test]
async fn a_signal_during_the_start_starts_nothing_twice() {
    let folder = Folder::new("reload-early");
    crate::served::settings(&folder, crate::served::JSONL);
    for round in 0..5 {
        let program = Program::start(&mut crate::served::command(&folder));
        // Not before the program listens to signals, which is the first thing it does.
        while !std::fs::read_to_string(format!("/proc/{}/status", program.id()))
            .unwrap()
            .lines()
            .any(|line| line.starts_with("SigCgt:") && line.ends_with('1'))
        {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        program.signal("HUP");
        let public = crate::support::address_in(&program.logged("/webhook"));
        let admin = crate::support::address_in(&program.logged("/ready"));
        let served = Served {
            program,
            public,
            admin,
        };
        let id = round.to_string();
        let request = TestEvent::message("+1", "hello").id(&id);
        let request = request.sign(&secret(crate::support::KEY));
        assert_eq!(served.try_send(&request).await.unwrap().status, 200);
        until("it is handled", async || {
            crate::served::handled(&folder).contains(&id)
        })
        .await;
        served.program.stop();
        let ids = crate::served::handled(&folder);
        assert_eq!(ids.len(), round + 1, "{ids:?}");
    }
}

/// Reloads hung on a subscriber that did not answer. Here a changed consumer ends its attempts within their
/// timeout, and nothing else waits for it.
#[actix_web::test]
async fn a_hanging_subscriber_holds_up_no_reload() {
    let crm = Subscriber::start([Answer::Hang]).await;
    let block = |secret: &str| {
        format!(
            "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"{}\"\nsecret = \"{secret}\"\ntimeout = \"2s\"\n\
             retry = {{ first = \"50ms\" }}\n[[handlers]]",
            crm.url()
        )
    };
    let it = Reloaded::start("reload-hang", "").await;
    let name = r#"subscription "crm" to session "*""#;
    it.change("[[handlers]]", &block("one"), &[&format!("{name}: added")])
        .await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    crm.asked(1).await;
    let with_new = block("other");
    it.write("[[handlers]]", &with_new);
    let (answer, ()) = tokio::join!(it.reload(), async {
        // Meanwhile requests are taken, and other consumers go on.
        assert_eq!(it.send("/webhook", OLD, "2").await, 200);
        it.handled("handled.jsonl", &["1", "2"]).await;
    });
    assert_eq!(answer.0, 200, "{}", answer.1);
    crm.asked(3).await;
    let ids = crm.ids();
    assert_eq!(ids[0], "1");
    assert!(
        ids[1..].contains(&"1".to_owned()) && ids.contains(&"2".to_owned()),
        "{ids:?}"
    );
    it.stop().await;
}

/// Open connections were closed. Here they go on, by the new limits from their next request on.
#[actix_web::test]
async fn open_connections_go_on_with_the_new_limits() {
    let it = Reloaded::start("reload-open", "").await;
    let mut open = Raw::connect(it.server.public_address()).await;
    let asked = |key: &str, id: &str| {
        let request = TestEvent::message("+1", "hello").id(id).sign(&secret(key));
        request.path("/webhook").bytes()
    };
    open.send(asked(OLD, "1")).await;
    assert_eq!(open.answer().await.status, 200);
    let new = format!("\"{NEW}\"]\n[dispatch]\nconcurrency = 3");
    it.write(&format!("\"{OLD}\"]"), &new);
    let text = std::fs::read_to_string(it.path("settings.toml")).unwrap();
    let text = text.replacen("[server]", "[server]\nkeep_alive = \"200ms\"", 1);
    std::fs::write(it.path("settings.toml"), text).unwrap();
    assert_eq!(it.reload().await.0, 200);
    open.send(asked(NEW, "2")).await;
    assert_eq!(open.answer().await.status, 200);
    let since = SystemClock.monotonic();
    open.expect_end().await;
    // The old value is 75 s.
    assert!(SystemClock.monotonic() - since < Duration::from_secs(60));
    it.handled("handled.jsonl", &["1", "2"]).await;
    it.stop().await;
}

/// A reload that found the journal unable to store was refused for good. Here it is done when the journal can.
#[actix_web::test]
async fn a_reload_waits_for_the_journal() {
    let it = Reloaded::start("reload-journal", "").await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    let (file, away) = (it.path("journal/journal.db"), it.path("away.db"));
    std::fs::rename(&file, &away).unwrap();
    assert_eq!(it.send("/webhook", OLD, "2").await, 503);
    it.write("[[handlers]]", "[[handlers]]\ntimeout = \"9s\"");
    let (status, answer) = it.reload().await;
    assert_eq!(
        (status, &answer["code"]),
        (503, &json!("unavailable")),
        "{answer}"
    );
    let told = answer["problems"][0].as_str().unwrap();
    assert!(
        told.ends_with(
            "so handlers and subscriptions cannot change now; the settings are loaded again when it can"
        ),
        "{told}"
    );
    std::fs::rename(&away, &file).unwrap();
    until("the settings are loaded", async || {
        let (_, health) = it.ask("GET", "/health", &json!({})).await;
        health["settings"]["last_reload"]["outcome"] == "reloaded"
    })
    .await;
    assert_eq!(it.send("/webhook", OLD, "3").await, 200);
    // The one that was answered 503 may be stored too.
    until("the others are handled", async || {
        let text = std::fs::read_to_string(it.path("handled.jsonl")).unwrap_or_default();
        ["\"1\"", "\"3\""].iter().all(|id| text.contains(id))
    })
    .await;
    it.stop().await;
}
