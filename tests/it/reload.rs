//! Other settings while the server runs.

mod faults;
mod load;
mod process;
mod rows;
mod waiting;

use std::ops::Deref;

use offhook::testing::{TestEvent, TestRequest};
use offhook::{Offhook, testing};
use serde_json::{Value, json};

use crate::from_file::FromFile;
use crate::served::until;
use crate::subscriber::Subscriber;
use crate::support::{Folder, ask, secret};

/// A server whose settings change while it runs.
struct Reloaded(FromFile);

impl Deref for Reloaded {
    type Target = FromFile;

    fn deref(&self) -> &FromFile {
        &self.0
    }
}

const OLD: &str = "a-secret-of-the-old-settings";
const NEW: &str = "a-secret-of-the-new-settings";

/// What each test changes something of.
fn settings(folder: &Folder, more: &str) -> String {
    let folder = folder.0.display();
    format!(
        "[server]\n[admin]\n[journal]\npath = \"{folder}/journal\"\n[relay]\nallow_private = true\n\
         [[sources]]\nname = \"hub\"\nsecrets = [\"{OLD}\"]\n\
         [[handlers]]\nname = \"kept\"\nuse = \"jsonl\"\npath = \"{folder}/handled.jsonl\"\n{more}"
    )
}

impl Reloaded {
    async fn start(name: &str, more: &str) -> Self {
        let folder = Folder::new(name);
        let text = settings(&folder, more);
        Self(FromFile::start(folder, text).await)
    }

    /// Has the file loaded again.
    async fn reload(&self) -> (u16, Value) {
        self.ask("POST", "/api/reload", &json!({})).await
    }

    /// Writes and reloads, and expects these changes.
    async fn change(&self, old: &str, new: &str, changes: &[&str]) {
        self.write(old, new);
        let (status, answer) = self.reload().await;
        assert_eq!(status, 200, "{answer}");
        // The watch may have been faster.
        if answer["outcome"] != "unchanged" {
            assert_eq!(answer["changes"], json!(changes), "{answer}");
            assert_eq!(
                (&answer["outcome"], &answer["finished"]),
                (&json!("reloaded"), &json!(true))
            );
        }
    }

    /// The status of a message that is signed with this secret.
    async fn send(&self, path: &str, key: &str, id: &str) -> u16 {
        let request = TestEvent::message("+1", "hello").id(id).sign(&secret(key));
        let request = request.path(path);
        request.send(self.server.public_address()).await.status
    }

    /// Waits until this file of a jsonl handler has exactly these messages.
    async fn handled(&self, file: &str, ids: &[&str]) {
        assert_eq!(self.ids(file, ids.len()).await, ids);
    }

    async fn stop(self) {
        self.0.server.stop().await;
    }
}

#[actix_web::test]
async fn secrets_and_paths_count_from_the_next_request() {
    let it = Reloaded::start("reload-secrets", "").await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    assert_eq!(it.send("/webhook", NEW, "2").await, 401);
    let changed = [r#"source "hub": path, secrets changed"#];
    let other = format!("\"{NEW}\"]\npath = \"/other\"");
    it.change(&format!("\"{OLD}\"]"), &other, &changed).await;
    assert_eq!(it.send("/webhook", NEW, "3").await, 404);
    assert_eq!(it.send("/other", OLD, "4").await, 401);
    assert_eq!(it.send("/other", NEW, "5").await, 200);
    it.handled("handled.jsonl", &["1", "5"]).await;
    it.stop().await;
}

#[actix_web::test]
async fn a_source_comes_and_goes() {
    let it = Reloaded::start("reload-sources", "").await;
    let with = format!(
        "[[sources]]\nname = \"second\"\npath = \"/second\"\nsecrets = [\"{NEW}\"]\n[[handlers]]"
    );
    it.change("[[handlers]]", &with, &[r#"source "second": added"#])
        .await;
    assert_eq!(it.send("/second", NEW, "1").await, 200);
    assert!(it.metrics().await.contains("source=\"second\""));
    it.change("[server]", "[server]", &[r#"source "second": removed"#])
        .await;
    let metrics = it.metrics().await;
    assert!(!metrics.contains("source=\"second\""), "{metrics}");
    assert!(metrics.contains("source=\"hub\""), "{metrics}");
    assert_eq!(it.send("/second", NEW, "2").await, 404);
    assert_eq!(it.send("/webhook", OLD, "3").await, 200);
    it.handled("handled.jsonl", &["1", "3"]).await;
    it.stop().await;
}

#[actix_web::test]
async fn limits_and_the_health_path_change() {
    let it = Reloaded::start("reload-limits", "").await;
    let new = "[server]\nmax_body = \"100 B\"\nhealth_path = \"/up\"\nmax_in_flight = \"1 MiB\"\n\
               request_timeout = \"3s\"\nkeep_alive = \"4s\"";
    let keys = "max_body, max_in_flight, request_timeout, keep_alive, health_path";
    let get = async |path: &str| {
        TestRequest::get(path)
            .send(it.server.public_address())
            .await
            .status
    };
    assert_eq!(get("/up").await, 404);
    it.change("[server]", new, &[&format!("[server]: {keys} changed")])
        .await;
    assert_eq!(get("/up").await, 200);
    let long = TestEvent::message("+1", &"x".repeat(200)).sign(&secret(OLD));
    assert_eq!(long.send(it.server.public_address()).await.status, 413);
    it.stop().await;
}

#[actix_web::test]
async fn the_admin_token_changes() {
    let it = Reloaded::start("reload-token", "").await;
    it.change(
        "[admin]",
        "[admin]\ntoken = \"first\"",
        &["[admin]: token changed"],
    )
    .await;
    let admin = it.server.admin_address().unwrap();
    let status = async |method: &str, path: &str, token: &str| {
        let mut request = TestRequest::post("{}").path(path);
        request.method = method.to_owned();
        let request = request.header("authorization", &format!("Bearer {token}"));
        request.send(admin).await.status
    };
    assert_eq!(status("GET", "/api/settings", "other").await, 401);
    it.write("[admin]", "[admin]\ntoken = \"second\"");
    // The watch may be faster.
    let asked = status("POST", "/api/reload", "first").await;
    assert!(matches!(asked, 200 | 401));
    let is_taken = async || status("GET", "/api/settings", "second").await == 200;
    until("the second token is taken", is_taken).await;
    assert_eq!(status("GET", "/api/settings", "first").await, 401);
    it.stop().await;
}

#[actix_web::test]
async fn handlers_come_change_and_go() {
    let it = Reloaded::start("reload-handlers", "").await;
    let folder = it.folder.0.display().to_string();
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    it.handled("handled.jsonl", &["1"]).await;
    // A new one gets what comes from now on.
    let second = format!(
        "[[handlers]]\nname = \"second\"\nuse = \"jsonl\"\npath = \"{folder}/second.jsonl\"\n[[handlers]]"
    );
    it.change("[[handlers]]", &second, &[r#"handler "second": added"#])
        .await;
    assert_eq!(it.send("/webhook", OLD, "2").await, 200);
    it.handled("second.jsonl", &["2"]).await;
    it.handled("handled.jsonl", &["1", "2"]).await;
    // A changed one goes on where it was.
    let changes = [
        r#"handler "kept": use changed"#,
        r#"handler "second": removed"#,
    ];
    it.change("handled.jsonl", "moved.jsonl", &changes).await;
    let metrics = it.metrics().await;
    assert!(!metrics.contains("handler:second"), "{metrics}");
    assert!(metrics.contains("handler:kept"), "{metrics}");
    assert_eq!(it.send("/webhook", OLD, "3").await, 200);
    it.handled("moved.jsonl", &["3"]).await;
    // One that comes back gets what it has missed.
    it.change(
        "[[handlers]]",
        &second,
        &[
            r#"handler "kept": use changed"#,
            r#"handler "second": added"#,
        ],
    )
    .await;
    it.handled("second.jsonl", &["2", "3"]).await;
    let (_, consumers) = it.ask("GET", "/api/consumers", &json!({})).await;
    assert_eq!(
        consumers["consumers"].as_array().unwrap().len(),
        2,
        "{consumers}"
    );
    it.handled("handled.jsonl", &["1", "2"]).await;
    it.stop().await;
}

#[actix_web::test]
async fn subscriptions_come_change_and_go() {
    let crm = Subscriber::start([]).await;
    let block = |secret: &str| {
        let url = crm.url();
        format!(
            "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"{url}\"\nsecret = \"{secret}\"\n[[handlers]]"
        )
    };
    let it = Reloaded::start("reload-subscriptions", "").await;
    let name = r#"subscription "crm" to session "*""#;
    it.change("[[handlers]]", &block("one"), &[&format!("{name}: added")])
        .await;
    assert_eq!(it.send("/webhook", OLD, "1").await, 200);
    let first = crm.expect(1).await.remove(0);
    it.change(
        "[[handlers]]",
        &block("other"),
        &[&format!("{name}: secrets changed")],
    )
    .await;
    assert_eq!(it.send("/webhook", OLD, "2").await, 200);
    let second = crm.expect(2).await.remove(1);
    let sign = |asked: &crate::subscriber::Asked, key: &str| {
        let signed = TestRequest::signed(asked.body.clone(), &secret(key));
        let header = signed
            .headers
            .iter()
            .find(|(name, _)| name.eq_ignore_ascii_case("x-webhook-signature"));
        header.unwrap().1.clone()
    };
    assert_eq!(first.header("x-webhook-signature"), sign(&first, "one"));
    assert_eq!(second.header("x-webhook-signature"), sign(&second, "other"));
    // The API cannot change it, and after its removal nothing is left of it.
    let (status, _) = it
        .ask("DELETE", "/sessions/*/webhook?name=crm", &json!({}))
        .await;
    assert_eq!(status, 409);
    it.change("[server]", "[server]", &[&format!("{name}: removed")])
        .await;
    let (_, list) = it.ask("GET", "/api/subscriptions", &json!({})).await;
    assert_eq!(
        list["webhooks"]
            .as_array()
            .or(list["subscriptions"].as_array())
            .unwrap()
            .len(),
        0
    );
    assert_eq!(it.send("/webhook", OLD, "3").await, 200);
    it.handled("handled.jsonl", &["1", "2", "3"]).await;
    assert_eq!(crm.ids(), ["1", "2"]);
    it.stop().await;
}

#[actix_web::test]
async fn a_key_that_needs_a_restart_refuses_all() {
    let it = Reloaded::start("reload-restart", "").await;
    let (_, before) = it.ask("GET", "/health", &json!({})).await;
    for (old, new, keys) in [
        (
            "[server]",
            "[server]\nworkers = 3\nmax_connections = 9",
            &["server.workers", "server.max_connections"][..],
        ),
        (
            "[journal]",
            "[journal]\ndedup_window = \"1h\"",
            &["journal.dedup_window"],
        ),
        ("/journal\"", "/elsewhere\"", &["journal.path"]),
    ] {
        let with_secret = it.text.replace(OLD, NEW).replacen(old, new, 1);
        std::fs::write(it.path("settings.toml"), with_secret).unwrap();
        let (status, answer) = it.reload().await;
        assert_eq!(
            (status, &answer["code"]),
            (409, &json!("restart_needed")),
            "{answer}"
        );
        assert_eq!(answer["keys"], json!(keys), "{answer}");
        assert!(
            answer["problems"][0]
                .as_str()
                .unwrap()
                .contains("put the line `"),
            "{answer}"
        );
        assert_eq!(it.send("/webhook", NEW, "1").await, 401);
        assert_eq!(it.send("/webhook", OLD, keys[0]).await, 200);
    }
    let (_, after) = it.ask("GET", "/health", &json!({})).await;
    let (before, after) = (&before["settings"], &after["settings"]);
    assert_eq!(before["fingerprint"], after["fingerprint"]);
    assert_eq!(before["loaded_at"], after["loaded_at"]);
    assert_ne!(after["file_fingerprint"], after["fingerprint"]);
    assert_eq!(after["last_reload"]["outcome"], "restart_needed");
    it.stop().await;
}

#[actix_web::test]
async fn an_invalid_file_changes_nothing() {
    let it = Reloaded::start("reload-invalid", "").await;
    let table = [
        ("[server]", "[server\nno TOML", "not TOML"),
        ("[server]", "[server]\nmax_bdy = 5", "did you mean max_body"),
        ("[[sources]]", "[nothing]\n[[sources]]", "unknown key"),
        ("\"jsonl\"", "\"exec\"", "command"),
        (
            "/handled.jsonl\"",
            "/no/such/folder/x\"",
            "there is no folder",
        ),
        (OLD, "file:/no/such/secret", "/no/such/secret"),
    ];
    for (old, new, problem) in table {
        it.write(old, new);
        let (status, answer) = it.reload().await;
        assert_eq!(
            (status, &answer["code"]),
            (422, &json!("invalid_settings")),
            "{answer}"
        );
        assert!(
            answer["problems"].to_string().contains(problem),
            "{problem}: {answer}"
        );
        assert_eq!(it.send("/webhook", OLD, problem).await, 200);
    }
    let metrics = TestRequest::get("/metrics")
        .send(it.server.admin_address().unwrap())
        .await
        .text();
    assert!(
        metrics.contains("\noffhook_settings_stale 1\n"),
        "{metrics}"
    );
    it.write("[server]", "[server]");
    let (status, answer) = it.reload().await;
    assert_eq!((status, &answer["outcome"]), (200, &json!("unchanged")));
    let metrics = TestRequest::get("/metrics")
        .send(it.server.admin_address().unwrap())
        .await
        .text();
    assert!(
        metrics.contains("\noffhook_settings_stale 0\n"),
        "{metrics}"
    );
    it.stop().await;
}

#[actix_web::test]
async fn a_dry_run_only_tells() {
    let it = Reloaded::start("reload-dry", "").await;
    std::fs::write(it.path("secret"), NEW).unwrap();
    // Not what is watched: the file of the secret is not known yet.
    let (status, nothing) = it
        .ask("POST", "/api/reload", &json!({ "dry_run": true }))
        .await;
    assert_eq!((status, &nothing["outcome"]), (200, &json!("unchanged")));
    it.write("[server]", "[server]\nmax_body = \"1 MiB\"");
    let (status, answer) = it
        .ask("POST", "/api/reload", &json!({ "dry_run": true }))
        .await;
    // The watch may have been faster.
    if answer["outcome"] != "unchanged" {
        assert_eq!(
            (status, &answer["outcome"]),
            (200, &json!("would_reload")),
            "{answer}"
        );
        assert_eq!(answer["changes"], json!(["[server]: max_body changed"]));
    }
    let (status, _) = it
        .ask("POST", "/api/reload", &json!({ "dryrun": true }))
        .await;
    assert_eq!(status, 400);
    // The query can say it, too, and what is not understood is never a reload.
    it.write("[server]", "[server]\nmax_body = \"2 MiB\"");
    for (query, body, expected) in [
        ("?dry_run=true", "", 200),
        ("?dry_run=yes", "", 400),
        ("?dryrun=true", "", 400),
        ("?dry_run=true", "{\"dry_run\":true}", 400),
        ("", "[]", 400),
        ("", "[true]", 400),
        ("", "null", 400),
    ] {
        let admin = it.server.admin_address().unwrap();
        let (status, answer) = ask(admin, "POST", &format!("/api/reload{query}"), body).await;
        assert_eq!(status, expected, "{query} {body}: {answer}");
        assert_ne!(answer["outcome"], "reloaded", "{query} {body}");
    }
    it.stop().await;
}

#[actix_web::test]
async fn the_shown_settings_hold_no_secret() {
    let it = Reloaded::start("reload-shown", "").await;
    let (status, shown) = it.ask("GET", "/api/settings", &json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(shown["settings"]["sources"][0]["name"], "hub");
    assert!(!shown.to_string().contains(OLD), "{shown}");
    it.stop().await;
}

#[actix_web::test]
async fn settings_made_in_code_have_no_file() {
    let (server, _) =
        crate::support::recording(|offhook| offhook.admin_bind(([127, 0, 0, 1], 0))).await;
    let (status, answer) = ask(server.admin_address().unwrap(), "POST", "/api/reload", "").await;
    assert_eq!((status, &answer["code"]), (409, &json!("no_file")));
    server.stop().await;
}

/// What a program adds in code stays, and so do the handlers that it has added.
#[actix_web::test]
async fn what_is_made_in_code_stays() {
    let folder = Folder::new("reload-code");
    let text = settings(&folder, "");
    let path = folder.0.join("settings.toml");
    std::fs::write(&path, &text).unwrap();
    let recorder = testing::Recorder::default();
    let own = offhook::Source::new("own").path("/own").secret(secret(OLD));
    let offhook = Offhook::from_settings(&path).unwrap();
    let offhook = offhook.source(own).handler("own", recorder.clone());
    let server = testing::start(offhook).await;
    let it = Reloaded(FromFile {
        folder,
        text,
        server,
    });
    it.change(OLD, NEW, &[r#"source "hub": secrets changed"#])
        .await;
    assert_eq!(it.send("/own", OLD, "1").await, 200);
    assert_eq!(it.send("/webhook", NEW, "2").await, 200);
    // The order of two sources is not promised.
    let mut found = it.ids("handled.jsonl", 2).await;
    found.sort();
    assert_eq!(found, ["1", "2"]);
    until("both are recorded", async || recorder.events().len() == 2).await;
    it.stop().await;
}
