//! Subscriptions: the sessions API, `[[subscriptions]]`, and what subscribers then get.

mod addresses;
mod cli;
mod credentials;
mod suspension;

use offhook::testing::{TestRequest, TestResponse};
use serde_json::{Value, json};

use crate::served::{Served, settings, until};
use crate::subscriber::{Answer, Subscriber};
use crate::support::{Folder, run, signed};

/// What lets events go to this machine, tried again soon.
const RELAY: &str = "[relay]\nallow_private = true\n\
                     [dispatch]\nretry = { first = \"20ms\", factor = 1.0, attempts = 10000 }\n";

fn folder(name: &str, more: &str) -> Folder {
    let folder = Folder::new(name);
    settings(&folder, &format!("{RELAY}{more}"));
    folder
}

/// Where a subscriber is, with a token that must not be shown.
fn hook(subscriber: &Subscriber) -> String {
    format!("{}?token=t", subscriber.url())
}

impl Served {
    /// Asks the admin listener.
    async fn ask(&self, method: &str, path: &str, body: impl Into<Vec<u8>>) -> TestResponse {
        let mut request = TestRequest::get(path);
        method.clone_into(&mut request.method);
        request.body = body.into();
        let request = request.header("Content-Type", "application/json");
        request.send(self.admin).await
    }

    /// Asks, and expects this status.
    async fn expect(&self, status: u16, method: &str, path: &str, body: &Value) -> Value {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let answer = self.ask(method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Asks, and expects a refusal with this status and code.
    async fn refuses(
        &self,
        method: &str,
        path: &str,
        body: &str,
        status: u16,
        code: &str,
    ) -> TestResponse {
        let answer = self.ask(method, path, body).await;
        let (text, shown) = (answer.text(), body.get(..200).unwrap_or(body));
        assert_eq!(answer.status, status, "{method} {path} {shown}: {text}");
        let error: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(
            (&error["code"], &error["success"]),
            (&json!(code), &json!(false)),
            "{method} {path} {shown}: {error}"
        );
        answer
    }

    async fn subscribe(&self, session: &str, url: &str) -> Value {
        let path = format!("/sessions/{session}/webhook");
        let body = json!({ "webhookUrl": url });
        self.expect(201, "POST", &path, &body).await["webhook"].take()
    }

    /// A message to the receiver.
    async fn message(&self, session: &str, id: &str) {
        let body = json!({
            "event": "message", "sessionId": session, "messageId": id, "from": "+1", "message": "Hello!",
        });
        let answer = signed(body.to_string()).send(self.public).await;
        assert_eq!(answer.status, 200);
    }

    /// Waits until the default subscription to `a` has settled everything: what a change breaks off is
    /// sent once more.
    async fn settled(&self) {
        until("settled", async || {
            self.consumer("subscription:a:default").await.unwrap()["lag"] == 0
        })
        .await;
    }

    async fn consumer(&self, name: &str) -> Option<Value> {
        let all = self
            .expect(200, "GET", "/api/consumers", &Value::Null)
            .await;
        let mut consumers = all["consumers"].as_array().unwrap().iter();
        consumers.find(|one| one["name"] == name).cloned()
    }
}

#[actix_web::test]
async fn the_shapes_of_the_answers() {
    let (folder, subscriber) = (folder("subs-shapes", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    let path = "/sessions/408f/webhook";
    let url = hook(&subscriber);
    let body = json!({ "webhookUrl": url, "events": ["status", "message"], "secret": "hidden" });
    let new = server.expect(201, "POST", path, &body).await;
    let (created, updated) = (&new["webhook"]["createdAt"], &new["webhook"]["updatedAt"]);
    let webhook = json!({
        "name": "default", "webhookUrl": url, "events": ["message", "status"], "hasSecret": true, "secretCount": 1,
        "active": true, "createdAt": created, "updatedAt": updated,
    });
    assert_eq!(
        new,
        json!({ "success": true, "sessionId": "408f", "webhook": webhook })
    );
    assert!(created.as_str().unwrap().ends_with('Z'), "{created}");
    assert_eq!(created, updated);

    let listed = server.expect(200, "GET", path, &Value::Null).await;
    assert_eq!(
        listed,
        json!({ "success": true, "sessionId": "408f", "webhooks": [webhook] })
    );
    let all = server
        .expect(200, "GET", "/api/subscriptions", &Value::Null)
        .await;
    assert_eq!(all["subscriptions"][0]["sessionId"], "408f");
    assert_eq!(all["subscriptions"][0]["webhookUrl"], url);

    // Set whole: what is not said is as it is for a new one.
    let body = json!({ "url": url, "name": "default" });
    let replaced = server.expect(200, "POST", path, &body).await;
    let webhook = &replaced["webhook"];
    assert_eq!(webhook["events"], json!(["*"]));
    assert_eq!(
        (&webhook["hasSecret"], &webhook["createdAt"]),
        (&json!(false), created)
    );
    assert_ne!(&webhook["updatedAt"], updated);

    // Changed: only what is said.
    let body = json!({ "secret": "hidden", "events": ["unknown"] });
    server.expect(200, "PATCH", path, &body).await;
    let changed = server
        .expect(200, "PATCH", path, &json!({ "active": false }))
        .await;
    let webhook = &changed["webhook"];
    assert_eq!(
        (&webhook["active"], &webhook["hasSecret"]),
        (&json!(false), &json!(true))
    );
    assert_eq!(webhook["events"], json!(["unknown"]));
    let changed = server
        .expect(200, "PATCH", path, &json!({ "secret": null }))
        .await;
    assert_eq!(changed["webhook"]["hasSecret"], false);

    for _ in 0..2 {
        let removed = server.expect(200, "DELETE", path, &Value::Null).await;
        assert_eq!(removed, json!({ "success": true, "sessionId": "408f" }));
    }
    let listed = server.expect(200, "GET", path, &Value::Null).await;
    assert_eq!(listed["webhooks"], json!([]));
    assert!(!server.program.kill().contains("hidden"));
}

/// A body posted to the session `a`, and its refusal: status and code.
const REFUSED_BODIES: [(&str, u16, &str); 18] = [
    ("{}", 400, "bad_request"),
    ("[]", 400, "bad_request"),
    ("", 400, "bad_request"),
    (r#"{"webhookUrl":"#, 400, "bad_request"),
    (r#"{"webhookUrl":7}"#, 400, "bad_request"),
    (
        r#"{"webhookUrl":"http://127.0.0.1:9/","url":"http://127.0.0.1:8/"}"#,
        400,
        "bad_request",
    ),
    (r#"{"webhookUrl":"crm.example"}"#, 400, "bad_url"),
    (
        r#"{"webhookUrl":"http://127.0.0.1:9/","heders":{"X-A":"hidden"}}"#,
        400,
        "unknown_field",
    ),
    (
        r#"{"webhookUrl":"http://127.0.0.1:9/","secret":"hidden","secrets":["hidden"]}"#,
        400,
        "bad_request",
    ),
    (
        r#"{"webhookUrl":"http://127.0.0.1:9/","headers":{"Offhook-Attempt":"hidden"}}"#,
        400,
        "bad_request",
    ),
    (
        r#"{"webhookUrl":"http://127.0.0.1:9/","headers":{"X-A":"hidden\r\nX-B: 1"}}"#,
        400,
        "bad_request",
    ),
    (r#"{"webhookUrl":"ftp://crm.example/"}"#, 400, "bad_url"),
    (
        r#"{"webhookUrl":"http://u:p@crm.example/"}"#,
        400,
        "bad_url",
    ),
    (
        r#"{"webhookUrl":"http://169.254.169.254/"}"#,
        400,
        "refused_address",
    ),
    (
        r#"{"webhookUrl":"http://[fe80::1]/"}"#,
        400,
        "refused_address",
    ),
    (
        r#"{"webhookUrl":"http://127.0.0.1:9/","events":"message"}"#,
        400,
        "bad_request",
    ),
    (
        r#"{"webhookUrl":"http://127.0.0.1:9/","secret":""}"#,
        400,
        "bad_request",
    ),
    (
        r#"{"webhookUrl":"http://127.0.0.1:9/","name":"a:b"}"#,
        400,
        "bad_name",
    ),
];

/// Method, path and body of a request, and its refusal: status and code.
const REFUSED_REQUESTS: [(&str, &str, &str, u16, &str); 16] = [
    (
        "POST",
        "/sessions/a%0Ab/webhook",
        r#"{"url":"http://127.0.0.1:9/"}"#,
        400,
        "bad_session",
    ),
    ("PATCH", "/sessions/a/webhook", "{}", 404, "not_found"),
    (
        "PATCH",
        "/sessions/a/webhook",
        r#"{"activ":false}"#,
        400,
        "unknown_field",
    ),
    ("POST", "/api/replay", r#"{"rte":1}"#, 400, "unknown_field"),
    (
        "POST",
        "/api/events/01a20d96-e697-7185-adf3-1935a5622f2b/replay",
        r#"{"rte":1}"#,
        400,
        "unknown_field",
    ),
    (
        "POST",
        "/api/dead/replay",
        r#"{"idz":[]}"#,
        400,
        "unknown_field",
    ),
    (
        "PATCH",
        "/sessions/s/webhook",
        r#"{"name":"crm","active":true}"#,
        409,
        "defined_in_settings",
    ),
    (
        "POST",
        "/sessions/s/webhook",
        r#"{"name":"crm","url":"http://127.0.0.1:9/"}"#,
        409,
        "defined_in_settings",
    ),
    (
        "DELETE",
        "/sessions/s/webhook?name=crm",
        "",
        409,
        "defined_in_settings",
    ),
    (
        "DELETE",
        "/sessions/s/webhook?all=true",
        "",
        409,
        "defined_in_settings",
    ),
    (
        "DELETE",
        "/sessions/s/webhook?all=true&name=x",
        "",
        400,
        "bad_request",
    ),
    (
        "DELETE",
        "/sessions/s/webhook?nmae=x",
        "",
        400,
        "bad_request",
    ),
    ("GET", "/sessions//webhook", "", 404, "not_found"),
    ("POST", "/api/subscriptions", "", 405, "method_not_allowed"),
    (
        "POST",
        "/sessions/a/webhook?name=x",
        r#"{"webhookUrl":"http://127.0.0.1:9/","name":"y"}"#,
        400,
        "bad_request",
    ),
    (
        "PATCH",
        "/sessions/a/webhook?name=x",
        "{}",
        404,
        "not_found",
    ),
];

/// A server whose settings define the subscription `crm` of the session `s`.
fn with_one_defined(name: &str) -> (Folder, Served) {
    let defined = "[[subscriptions]]\nname = \"crm\"\nsession = \"s\"\n\
                   webhook_url = \"http://127.0.0.1:9/?t=hidden\"\n";
    let folder = folder(name, defined);
    let server = Served::start(&folder);
    (folder, server)
}

#[actix_web::test]
async fn what_is_refused_and_how() {
    let (_folder, server) = with_one_defined("subs-refused");
    let (to_a, url) = ("/sessions/a/webhook", "http://127.0.0.1:9/");
    for (body, status, code) in REFUSED_BODIES {
        server.refuses("POST", to_a, body, status, code).await;
    }
    for (method, path, body, status, code) in REFUSED_REQUESTS {
        server.refuses(method, path, body, status, code).await;
    }

    let of_length = |length| json!({ "webhookUrl": url, "name": "n".repeat(length) }).to_string();
    let (name, body) = (of_length(65), of_length(70_000));
    server.refuses("POST", to_a, &name, 400, "bad_name").await;
    server.refuses("POST", to_a, &body, 413, "too_large").await;
    let long = format!("{url}{}", "x".repeat(2048));
    let body = json!({ "webhookUrl": long }).to_string();
    server.refuses("POST", to_a, &body, 400, "bad_url").await;

    let body = json!({ "webhookUrl": url, "events": ["call"] }).to_string();
    let unknown = server.refuses("POST", to_a, &body, 400, "unknown_event");
    let text = unknown.await.text();
    assert!(
        text.contains("allowed: message, sent, change, status, connection, unknown, *"),
        "{text}"
    );
    let put = server.refuses("PUT", to_a, "", 405, "method_not_allowed");
    let allowed = "GET, POST, PATCH, DELETE";
    assert_eq!(put.await.header("allow"), Some(allowed));

    // Nothing of it has changed anything.
    let all = server
        .expect(200, "GET", "/api/subscriptions", &Value::Null)
        .await;
    let all = all["subscriptions"].as_array().unwrap();
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!(
        (&all[0]["name"], &all[0]["definedInSettings"]),
        (&json!("crm"), &json!(true))
    );
    assert!(!server.program.kill().contains("hidden"));
}

#[actix_web::test]
async fn what_is_accepted_with_a_warning() {
    let (_folder, server) = with_one_defined("subs-warned");
    let path = "/sessions/a/webhook";
    // A host that does not resolve may do so later.
    let body = json!({ "webhookUrl": "http://nobody.invalid/" });
    let answer = server.expect(201, "POST", path, &body).await;
    let warning = answer["warning"].as_str().unwrap();
    assert!(
        warning.contains("nobody.invalid does not resolve"),
        "{warning}"
    );
    // Nor is it refused that the other side cannot have meant the key so.
    let body = json!({ "secret": "whsec_not hidden base64" });
    let answer = server.expect(200, "PATCH", path, &body).await;
    let warning = answer["warning"].as_str().unwrap();
    assert!(warning.contains("no base64"), "{warning}");
    assert!(!server.program.kill().contains("hidden"));
}

#[actix_web::test]
async fn who_may_subscribe() {
    let folder = Folder::new("subs-token");
    settings(&folder, "");
    let text = std::fs::read_to_string(folder.0.join("settings.toml")).unwrap();
    let text = text.replace("[admin]\n", "[admin]\ntoken = \"t0\"\n");
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
    let server = Served::start(&folder);
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        let answer = server.ask(method, "/sessions/a/webhook", "").await;
        assert_eq!(answer.status, 401, "{method}");
    }
    let with = TestRequest::get("/sessions/a/webhook").header("Authorization", "Bearer t0");
    assert_eq!(with.send(server.admin).await.status, 200);
    // Private addresses are refused by default.
    let body = json!({ "webhookUrl": "http://10.0.0.1/" }).to_string();
    let post = TestRequest::post(body).path("/sessions/a/webhook");
    let answer = post
        .header("Authorization", "Bearer t0")
        .send(server.admin)
        .await;
    assert_eq!(answer.status, 400);
    assert!(
        answer.text().contains("refused_address"),
        "{}",
        answer.text()
    );
}

#[actix_web::test]
async fn web_pages_and_engine_none_get_nothing() {
    let folder = Folder::new("subs-none");
    settings(&folder, "");
    let file = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("path = \"journal\"", "engine = \"none\"");
    std::fs::write(&file, text).unwrap();
    let server = Served::start(&folder);
    let body = json!({ "webhookUrl": "https://crm.example/" }).to_string();
    let post = TestRequest::post(body).path("/sessions/a/webhook");
    let answer = post.send(server.admin).await;
    assert_eq!(answer.status, 409);
    assert!(answer.text().contains("nothing_kept"), "{}", answer.text());
    let foreign = post
        .header("Origin", "http://evil.example")
        .send(server.admin)
        .await;
    assert_eq!(foreign.status, 403);
}

#[actix_web::test]
async fn a_new_subscription_starts_from_now() {
    let (folder, subscriber) = (folder("subs-now", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    server.message("a", "before").await;
    server.subscribe("a", &hook(&subscriber)).await;
    server.message("b", "other session").await;
    server.message("a", "1").await;
    let got = subscriber.expect(1).await;
    server.settled().await;
    assert_eq!(got[0].message_id(), "1");
    assert_eq!(got[0].line, "POST /hook?token=t HTTP/1.1");
    assert_eq!(got[0].header("x-webhook-signature"), "");
    // With a secret from the next one on.
    let secret = json!({ "secret": "key" });
    server
        .expect(200, "PATCH", "/sessions/a/webhook", &secret)
        .await;
    server.message("a", "2").await;
    let got = subscriber.expect(2).await;
    server.settled().await;
    assert!(!got[1].header("x-webhook-signature").is_empty(), "{got:?}");
    // Only what it wants.
    let events = json!({ "events": ["status"] });
    server
        .expect(200, "PATCH", "/sessions/a/webhook", &events)
        .await;
    server.message("a", "3").await;
    let status = json!({ "event": "status", "sessionId": "a", "messageId": "4", "status": "read" });
    assert_eq!(
        signed(status.to_string()).send(server.public).await.status,
        200
    );
    subscriber.expect(3).await;
    assert_eq!(subscriber.ids(), ["1", "2", "4"]);
}

#[actix_web::test]
async fn any_session_name_works_and_star_is_all() {
    let (folder, all, one) = (
        folder("subs-odd", ""),
        Subscriber::start([]).await,
        Subscriber::start([]).await,
    );
    let server = Served::start(&folder);
    let odd = "a/b:c é%*";
    let path = "a%2Fb%3Ac%20%C3%A9%25%2A";
    server.subscribe("*", &hook(&all)).await;
    let new = server
        .expect(
            201,
            "POST",
            &format!("/sessions/{path}/webhook"),
            &json!({ "url": hook(&one) }),
        )
        .await;
    assert_eq!(new["sessionId"], odd);
    server.message(odd, "1").await;
    server.message("x", "2").await;
    all.expect(2).await;
    assert_eq!(one.expect(1).await[0].message_id(), "1");

    // As consumers they are known by the same names.
    let name = format!("subscription:{odd}:default");
    let consumer = server.consumer(&name).await.unwrap();
    assert_eq!(
        (&consumer["kind"], &consumer["state"]),
        (&json!("subscription"), &json!("running"))
    );
    let in_path = format!("/api/consumers/subscription%3A{path}%3Adefault");
    let paused = server
        .expect(200, "POST", &format!("{in_path}/pause"), &Value::Null)
        .await;
    assert_eq!(paused["state"], "paused");
    server.message(odd, "3").await;
    all.expect(3).await;
    server
        .expect(
            200,
            "POST",
            "/api/consumers/subscription:*:default/pause",
            &Value::Null,
        )
        .await;
    server
        .expect(200, "POST", &format!("{in_path}/resume"), &Value::Null)
        .await;
    one.expect(2).await;
    let body = json!({ "consumer": name, "session": odd });
    let replayed = server.expect(200, "POST", "/api/replay", &body).await;
    assert_eq!(replayed, json!({ "matched": 2, "replayed": 2 }));
    let got = one.expect(4).await;
    assert_eq!(got[3].header("offhook-replay"), "true");
    assert_eq!(all.requests().len(), 3);
}

#[actix_web::test]
async fn dead_letters_of_a_subscriber() {
    let (folder, subscriber) = (folder("subs-dead", ""), Subscriber::start([]).await);
    let text = std::fs::read_to_string(folder.0.join("settings.toml")).unwrap();
    let text = text.replace(
        "allow_private = true",
        "allow_private = true\ngive_up_on = [404]",
    );
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
    let server = Served::start(&folder);
    server.subscribe("*", &hook(&subscriber)).await;
    subscriber.answer(404);
    server.message("a", "1").await;
    let query = "/api/dead?consumer=subscription%3A%2A%3Adefault";
    let dead = async || server.expect(200, "GET", query, &Value::Null).await["dead"].take();
    until("dead", async || dead().await.as_array().unwrap().len() == 1).await;
    let letter = &dead().await[0];
    assert_eq!(
        (&letter["attempts"], &letter["session"]),
        (&json!(1), &json!("a"))
    );
    let reason = letter["reason"].as_str().unwrap();
    assert!(
        reason.contains("404") && !reason.contains("token"),
        "{reason}"
    );
    subscriber.answer(200);
    let body = json!({ "consumer": "subscription:*:default" });
    server.expect(200, "POST", "/api/dead/replay", &body).await;
    subscriber.expect(2).await;
    until("alive", async || dead().await == json!([])).await;
}

#[actix_web::test]
async fn replaced_and_inactive_subscriptions_keep_progress() {
    let folder = folder("subs-progress", "");
    let (old, new) = (Subscriber::start([]).await, Subscriber::start([]).await);
    let server = Served::start(&folder);
    let path = "/sessions/a/webhook";
    old.answer(500);
    server.subscribe("a", &hook(&old)).await;
    server.message("a", "1").await;
    until("tried", async || !old.requests().is_empty()).await;
    server
        .expect(200, "POST", path, &json!({ "url": hook(&new) }))
        .await;
    let tried = old.requests().len();
    new.expect(1).await;

    let stopped = server
        .expect(200, "PATCH", path, &json!({ "active": false }))
        .await;
    assert_eq!(stopped["webhook"]["active"], false);
    let inactive = server.consumer("subscription:a:default").await.unwrap();
    assert_eq!(inactive["state"], "inactive");
    server.message("a", "2").await;
    let server = restarted(server, &folder);
    server.message("a", "3").await;
    server
        .expect(200, "PATCH", path, &json!({ "active": true }))
        .await;
    new.expect(3).await;
    assert_eq!(new.ids(), ["1", "2", "3"]);
    assert_eq!(old.requests().len(), tried);
}

/// Killed, and started on what is left.
fn restarted(server: Served, folder: &Folder) -> Served {
    server.program.kill();
    Served::start(folder)
}

#[actix_web::test]
async fn all_of_it_survives_a_kill() {
    let (folder, subscriber) = (folder("subs-kill", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    let path = "/sessions/a/webhook";
    let body =
        json!({ "url": hook(&subscriber), "events": ["message"], "secret": "s", "name": "kept" });
    server.expect(201, "POST", path, &body).await;
    server.subscribe("a", &hook(&subscriber)).await;
    server.expect(200, "DELETE", path, &Value::Null).await;
    subscriber.answer(503);
    server.message("a", "1").await;
    until("tried", async || !subscriber.requests().is_empty()).await;
    // Whether it fails is told by its attempts.
    let listed = async |server: &Served| {
        let mut listed = server.expect(200, "GET", path, &Value::Null).await;
        let webhook = listed["webhooks"][0].as_object_mut().unwrap();
        webhook.retain(|field, _| !field.starts_with("failing"));
        listed
    };
    let before = listed(&server).await;
    let server = restarted(server, &folder);
    assert_eq!(listed(&server).await, before);
    subscriber.answer(200);
    server.message("a", "2").await;
    until("delivered", async || {
        subscriber.ids().contains(&"2".to_owned())
    })
    .await;
    let got = subscriber.requests();
    let first = got.iter().filter(|got| got.message_id() == "1");
    let ids: std::collections::BTreeSet<_> = first.map(|got| got.header("webhook-id")).collect();
    assert_eq!(ids.len(), 1, "the id is the same over all attempts");
    assert!(
        got.iter()
            .all(|got| !got.header("x-webhook-signature").is_empty())
    );

    // Removed and made again, it starts from now.
    server
        .expect(200, "DELETE", "/sessions/a/webhook?all=true", &Value::Null)
        .await;
    server.message("a", "between").await;
    let server = restarted(server, &folder);
    let before = subscriber.requests().len();
    server.expect(201, "POST", path, &body).await;
    server.message("a", "3").await;
    let got = subscriber.expect(before + 1).await;
    assert_eq!(got[before].message_id(), "3");
}

#[actix_web::test]
async fn nothing_is_sent_after_a_removal() {
    let (folder, subscriber) = (folder("subs-remove", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    server.subscribe("a", &hook(&subscriber)).await;
    subscriber.answer(Answer::Hang);
    for id in ["1", "2", "3"] {
        let body = json!({ "event": "message", "sessionId": "a", "messageId": id, "from": id });
        assert_eq!(
            signed(body.to_string()).send(server.public).await.status,
            200
        );
    }
    subscriber.expect(3).await;
    subscriber.answer(500);
    for id in 4..50 {
        server.message("a", &id.to_string()).await;
    }
    server
        .expect(200, "DELETE", "/sessions/a/webhook", &Value::Null)
        .await;
    assert!(server.consumer("subscription:a:default").await.is_none());
    // What comes later reaches another one, which shows that time has passed. Of what was sent
    // before the answer the last may have been read after it.
    let other = Subscriber::start([]).await;
    server.subscribe("b", &hook(&other)).await;
    server.message("b", "first").await;
    other.expect(1).await;
    let sent = subscriber.requests().len();
    for id in 0..20 {
        server.message("a", &format!("later {id}")).await;
        server.message("b", &id.to_string()).await;
    }
    other.expect(21).await;
    let ids = subscriber.ids();
    assert_eq!(ids.len(), sent);
    assert!(!ids.iter().any(|id| id.starts_with("later")), "{ids:?}");
}

#[actix_web::test]
async fn a_subscriber_that_is_gone_ends_its_subscription() {
    let (subscriber, defined) = (Subscriber::start([]).await, Subscriber::start([]).await);
    let more = format!(
        "[[subscriptions]]\nname = \"crm\"\nsession = \"d\"\nwebhook_url = \"{}\"\n",
        hook(&defined)
    );
    let folder = folder("subs-gone", &more);
    let server = Served::start(&folder);
    let path = "/sessions/a/webhook";
    server.subscribe("a", &hook(&subscriber)).await;
    subscriber.answer(410);
    defined.answer(410);
    server.message("a", "1").await;
    server.message("d", "1").await;
    let ended = async |server: &Served, path: &str| {
        let listed = server.expect(200, "GET", path, &Value::Null).await;
        let webhook = &listed["webhooks"][0];
        let ended = webhook["active"] == false;
        assert_eq!(webhook["endedReason"].is_string(), ended, "{webhook}");
        assert_eq!(webhook["endedAt"].is_string(), ended, "{webhook}");
        ended
    };
    until("ended", async || ended(&server, path).await).await;
    until("ended", async || {
        ended(&server, "/sessions/d/webhook").await
    })
    .await;
    // What is shown as ended may not have been kept yet.
    let gone = async |name| server.consumer(name).await.unwrap()["state"] == "ended";
    until("stopped", async || gone("subscription:a:default").await).await;
    server
        .expect(200, "PATCH", path, &json!({ "events": ["*"] }))
        .await;
    server.message("a", "2").await;
    server.program.signal("TERM");
    server.program.wait();
    let server = Served::start(&folder);
    assert!(ended(&server, path).await && ended(&server, "/sessions/d/webhook").await);
    subscriber.expect(1).await;

    subscriber.answer(200);
    let revived = server
        .expect(200, "PATCH", path, &json!({ "active": true }))
        .await;
    assert_eq!(revived["webhook"]["active"], true);
    assert!(revived["webhook"]["endedReason"].is_null());
    subscriber.expect(2).await;
    assert_eq!(subscriber.ids(), ["1", "2"]);

    // One of the settings is resumed as a consumer, which the answer to a change says.
    let path = "/sessions/d/webhook";
    let active = json!({ "name": "crm", "active": true });
    let refused = server.expect(409, "PATCH", path, &active).await;
    let again = "offhook consumers resume 'subscription:d:crm'";
    assert!(
        refused["error"].as_str().unwrap().ends_with(again),
        "{refused}"
    );
    defined.answer(200);
    server.message("d", "2").await;
    let resume = "/api/consumers/subscription:d:crm/resume";
    server.expect(200, "POST", resume, &Value::Null).await;
    assert!(!ended(&server, "/sessions/d/webhook").await);
    defined.expect(2).await;
}

#[actix_web::test]
async fn a_failing_subscription_is_suspended_without_loss() {
    let (folder, subscriber) = (folder("subs-suspended", ""), Subscriber::start([]).await);
    let file = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("[relay]", "[relay]\nsuspend_after = \"100ms\"");
    std::fs::write(&file, text).unwrap();
    let server = Served::start(&folder);
    let path = "/sessions/a/webhook";
    server.subscribe("a", &hook(&subscriber)).await;
    subscriber.answer(500);
    for revive in ["PATCH", "POST"] {
        let id = revive;
        server.message("a", id).await;
        let webhook = async || {
            let listed = server.expect(200, "GET", path, &Value::Null).await;
            listed["webhooks"][0].clone()
        };
        until("suspended", async || {
            webhook().await["suspendedAt"].is_string()
        })
        .await;
        let shown = webhook().await;
        assert_eq!(shown["active"], true);
        let reason = shown["suspendedReason"].as_str().unwrap();
        assert!(
            reason.contains("500") && !reason.contains("token"),
            "{reason}"
        );
        let consumer = server.consumer("subscription:a:default").await.unwrap();
        assert_eq!(consumer["state"], "suspended");
        let body = json!({ "events": ["message"] });
        let still = server.expect(200, "PATCH", path, &body).await;
        assert!(still["webhook"]["suspendedAt"].is_string(), "{still}");

        subscriber.answer(200);
        let body = json!({ "url": hook(&subscriber), "active": true });
        let revived = server.expect(200, revive, path, &body).await;
        assert!(revived["webhook"]["suspendedAt"].is_null(), "{revived}");
        until("delivered", async || {
            server.consumer("subscription:a:default").await.unwrap()["lag"] == 0
        })
        .await;
        assert_eq!(subscriber.ids().last().unwrap(), id);
        subscriber.answer(500);
    }
}

#[actix_web::test]
async fn another_url_resumes_a_suspended_subscription() {
    let subscriber = Subscriber::start([]).await;
    subscriber.answer(500);
    let url = hook(&subscriber);
    let more = format!("[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"{url}\"\n");
    let folder = folder("subs-altered", &more);
    let file = folder.0.join("settings.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text = text.replace("[relay]", "[relay]\nsuspend_after = \"100ms\"");
    std::fs::write(&file, &text).unwrap();
    let server = Served::start(&folder);
    server.message("a", "1").await;
    // So that it has saved how it is.
    let stopped_and_started = |server: Served| {
        server.program.signal("TERM");
        server.program.wait();
        Served::start(&folder)
    };
    let state = async |server: &Served| {
        let consumer = server.consumer("subscription:*:crm").await.unwrap();
        consumer["state"].as_str().unwrap().to_owned()
    };
    until("suspended", async || state(&server).await == "suspended").await;
    let server = stopped_and_started(server);
    assert_eq!(state(&server).await, "suspended");
    let tried = subscriber.requests().len();

    subscriber.answer(200);
    std::fs::write(&file, text.replace(&url, &format!("{url}2"))).unwrap();
    let server = stopped_and_started(server);
    until("delivered", async || state(&server).await == "running").await;
    let last = subscriber.expect(tried + 1).await.pop().unwrap();
    assert_eq!(last.message_id(), "1");
    assert_eq!(last.line, "POST /hook?token=t2 HTTP/1.1");
}

#[cfg(unix)]
#[actix_web::test]
async fn only_the_owner_can_read_secrets() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = folder("subs-private", "");
    let server = Served::start(&folder);
    let body = json!({ "url": "https://crm.example/", "secret": "hidden-secret" });
    server
        .expect(201, "POST", "/sessions/a/webhook", &body)
        .await;
    let mut holding = 0;
    for file in std::fs::read_dir(folder.0.join("journal")).unwrap() {
        let file = file.unwrap();
        if !file.metadata().unwrap().is_file() {
            continue;
        }
        let bytes = std::fs::read(file.path()).unwrap();
        if bytes.windows(13).any(|part| part == b"hidden-secret") {
            holding += 1;
            let mode = file.metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?}: {mode:o}", file.path());
        }
    }
    assert!(holding > 0, "it was looked for in the wrong place");
}

#[actix_web::test]
async fn subscriptions_of_the_settings_cannot_be_changed() {
    let subscriber = Subscriber::start([]).await;
    let more = format!(
        "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"{}\"\nevents = [\"message\"]\nsecret = \"s\"\n",
        hook(&subscriber)
    );
    let folder = folder("subs-settings", &more);
    let server = Served::start(&folder);
    server.message("a", "1").await;
    let got = subscriber.expect(1).await;
    assert!(!got[0].header("webhook-signature").is_empty());
    let listed = server
        .expect(200, "GET", "/sessions/%2A/webhook", &Value::Null)
        .await;
    let webhook = &listed["webhooks"][0];
    assert_eq!(
        (&webhook["name"], &webhook["hasSecret"]),
        (&json!("crm"), &json!(true))
    );
    let server = restarted(server, &folder);
    let again = server
        .expect(200, "GET", "/sessions/*/webhook", &Value::Null)
        .await;
    assert_eq!(
        again, listed,
        "since when there is one is known over a restart"
    );
    server.message("a", "2").await;
    until("delivered", async || {
        subscriber.ids().contains(&"2".to_owned())
    })
    .await;

    let file = folder.0.join("settings.toml");
    let check = run(&["check", "--settings", file.to_str().unwrap()]);
    for text in [
        "subscriptions  1",
        "  crm          webhook_url http://127.0.0.1:",
        "/hook?…\n",
        "signed yes",
        "events message",
    ] {
        assert!(check.printed.contains(text), "{text}: {}", check.printed);
    }

    // Taken out, it may be made over the API, and then starts from now.
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace(&more, "")).unwrap();
    let server = restarted(server, &folder);
    server.message("a", "between").await;
    let before = subscriber.requests().len();
    let body = json!({ "url": hook(&subscriber), "name": "crm" });
    server
        .expect(201, "POST", "/sessions/*/webhook", &body)
        .await;
    server.message("a", "3").await;
    let got = subscriber.expect(before + 1).await;
    assert_eq!(got[before].message_id(), "3");
    // Put in again, the settings count.
    std::fs::write(&file, text).unwrap();
    let server = restarted(server, &folder);
    let listed = server
        .expect(200, "GET", "/sessions/*/webhook", &Value::Null)
        .await;
    assert_eq!(listed["webhooks"][0]["definedInSettings"], true);
    assert_eq!(listed["webhooks"].as_array().unwrap().len(), 1);
}

#[actix_web::test]
async fn registering_the_same_again_breaks_nothing_off() {
    let (folder, subscriber) = (folder("subs-same", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    server.subscribe("a", &hook(&subscriber)).await;
    subscriber.answer(Answer::Hang);
    server.message("a", "1").await;
    subscriber.expect(1).await;
    subscriber.answer(200);
    let same = json!({ "url": hook(&subscriber) });
    for _ in 0..3 {
        server
            .expect(200, "POST", "/sessions/a/webhook", &same)
            .await;
        // Were it another consumer, this would follow what was broken off.
        let body = json!({ "event": "message", "sessionId": "a", "messageId": "2", "from": "b" });
        signed(body.to_string()).send(server.public).await;
        subscriber.expect(2).await;
    }
    assert_eq!(subscriber.ids(), ["1", "2"]);
}
