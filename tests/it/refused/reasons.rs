//! Why requests were refused, as the server finds it out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use offhook::Timestamp;
use offhook::settings::Settings;
use offhook::signature::{Encoding, Scheme as _, XWebhookSignature};
use offhook::testing::TestRequest;
use serde_json::{Value, json};

use super::{NEW, OLD, Refusing, message};
use crate::served::until;
use crate::stream::viewer::Viewer;
use crate::support::{Folder, secret};

const MORE: &str = r#"
sessions.own.secrets = ["the-secret-of-own"]
sessions.next.secrets = ["the-secret-of-next"]
[[sources]]
name = "other"
path = "/other"
secrets = ["the-secret-of-other"]
[[sources]]
name = "plain"
path = "/plain"
unsigned = true
path_token = "hidden-path-token"
"#;

fn signed(body: &str, key: &str) -> String {
    let signed = XWebhookSignature.sign(body.as_bytes(), &secret(key), Timestamp::UNIX_EPOCH);
    signed[0].value.clone()
}

fn base64(hex: &str) -> String {
    STANDARD.encode(Encoding::Hex.decode(hex.as_bytes()).unwrap())
}

fn with(body: &str, signature: &str) -> TestRequest {
    TestRequest::post(body).header("X-Webhook-Signature", signature)
}

/// Only what proves that its sender knows a secret: a stranger must not fill anybody's page.
#[actix_web::test]
async fn who_watches_is_told_of_explained_requests() {
    let it = Refusing::start("refused-watched", "").await;
    let admin = it.server.admin_address().unwrap();
    let mut viewer = Viewer::open(admin, "?kinds=refused&source=hub&session=a", "").await;
    for (key, session) in [(NEW, "a"), (OLD, "a"), (OLD, "b")] {
        let right = with("{}", &base64(&signed("{}", key)));
        it.send(&right.path(&format!("/webhook/{session}")), 401)
            .await;
        let pending = async || it.list("?explained=false").await["groups"].clone();
        until("it was looked into", async || {
            let groups = pending().await;
            let mut groups = groups.as_array().unwrap().iter();
            groups.all(|group| group["reason"].is_string())
        })
        .await;
    }
    let told = viewer.expect("refused").await.data;
    let found = ["source", "session", "status", "reason"].map(|field| told[field].clone());
    assert_eq!(json!(found), json!(["hub", "a", 401, "base64"]));
    let (_, details) = it
        .ask(
            "GET",
            &format!("/api/refused/{}", told["id"].as_str().unwrap()),
            &json!({}),
        )
        .await;
    assert_eq!(
        (&details["at"], &details["why"]),
        (&told["at"], &told["why"])
    );
    viewer.none_is_ready().await;
    it.0.server.stop().await;
}

#[actix_web::test]
async fn the_reason_is_found() {
    let it = Refusing::start("refused-reasons", MORE).await;
    let right = signed("{}", OLD);
    let spaced = signed("{ }", OLD);
    let timed = signed("1767873600.{}", OLD);
    let own = r#"{"event":"message","sessionId":"own","messageId":"1","from":"+1"}"#;
    let github = TestRequest::post("{}").header("X-Hub-Signature-256", &format!("sha256={right}"));
    let stripe = TestRequest::post("{}").header("Stripe-Signature", "t=1,v1=0");
    let discord = TestRequest::post("{}").header("X-Signature-Ed25519", "00");
    let table = [
        (with("{}", &base64(&right)), 401, "base64", true),
        (with("{}\n", &right), 401, "body-final-line-break", true),
        (
            with("{}", &spaced).header("X", "1"),
            401,
            "unexplained",
            false,
        ),
        (
            with("{}", &timed).header("X-Webhook-Timestamp", "1767873600"),
            401,
            "template",
            true,
        ),
        (with("{}", &format!("sha512={right}")), 401, "prefix", true),
        (with("{}", "no signature"), 401, "not-hex", false),
        (with("{}", &signed("{}", NEW)), 401, "unexplained", false),
        (
            with("{}", &signed("{}", "your-secret-key")),
            401,
            "documented-key",
            false,
        ),
        (
            with("{}", &signed("{}", "the-secret-of-next")).path("/webhook/own"),
            401,
            "other-session",
            true,
        ),
        (
            // The holder of the other secret may not pass for a sender of this session.
            with("{}", &base64(&signed("{}", "the-secret-of-next"))).path("/webhook/own"),
            401,
            "base64",
            false,
        ),
        (with(own, &signed(own, OLD)), 401, "own-secrets", true),
        (
            with("{}", &signed("{}", "the-secret-of-other")),
            401,
            "other-source",
            true,
        ),
        (github, 401, "other-scheme", false),
        (stripe, 401, "other-scheme", false),
        (discord, 401, "no-scheme", false),
        (TestRequest::post("{}"), 401, "missing", false),
        (
            with("{}", &right).header("X-Webhook-Signature", &right),
            401,
            "repeated",
            false,
        ),
        (
            TestRequest::post("{}").path("/plain/x"),
            401,
            "path-token",
            false,
        ),
        (
            TestRequest::post("{}").path("/plain"),
            404,
            "path-token-missing",
            false,
        ),
        (
            TestRequest::post("{}").path("/webhooks"),
            404,
            "path-near",
            false,
        ),
        (
            TestRequest::post("{}").path("/.env"),
            404,
            "path-unknown",
            false,
        ),
        (TestRequest::get("/webhook"), 405, "method", false),
    ];
    for (request, status, reason, explained) in table {
        it.send(&request, status).await;
        let one = it.newest().await;
        assert_eq!(
            (&one["reason"], &one["explained"]),
            (&json!(reason), &json!(explained)),
            "{one}"
        );
        for text in ["why", "advice"] {
            assert!(
                one[text].as_str().is_some_and(|text| text.len() > 10),
                "{one}"
            );
        }
        for hidden in [OLD, "the-secret-of", "hidden", &right] {
            let details = it.details(&one).await;
            let shown = [&details["findings"], &details["suggestion"]];
            assert!(
                shown.iter().all(|text| !text.to_string().contains(hidden)),
                "{details}"
            );
        }
    }
    let near = it.list("?reason=path-near").await;
    let why = near["refused"][0]["why"].as_str().unwrap();
    assert_eq!(
        why,
        "no source has the path /webhooks; did you mean /webhook?"
    );
    it.0.server.stop().await;
}

/// What is to be pasted into the settings is valid there, and takes the request.
#[actix_web::test]
async fn a_suggestion_can_be_pasted() {
    let it = Refusing::start("refused-suggestion", "").await;
    let right = signed("{}", OLD);
    let path = it.folder.0.join("pasted.toml");
    let github = TestRequest::post("{}").header("X-Hub-Signature-256", &format!("sha256={right}"));
    let slack = TestRequest::post("{}").header("X-Slack-Signature", "v0=1");
    let prefixed = with("{}", &format!("v9={}", base64(&right)));
    for request in [github, slack, prefixed.clone()] {
        it.send(&request, 401).await;
        let details = it.details(&it.newest().await).await;
        let suggestion = details["suggestion"].as_str().unwrap();
        let text = suggestion.replace("env:THE_SECRET_OF_THE_SENDER", OLD);
        std::fs::write(&path, &text).unwrap();
        let settings = Settings::load(&path).unwrap();
        let source = &settings.sources[0];
        assert_eq!(
            (source.name.as_str(), source.path.as_str()),
            ("hub", "/webhook"),
            "{text}"
        );
    }
    // The last of them.
    let text = std::fs::read_to_string(&path).unwrap();
    let own = it.text.find("[[sources]]").unwrap();
    it.change(&it.text[own..], &text).await;
    it.send(&prefixed, 200).await;
    let (_, answer) = it
        .ask(
            "POST",
            "/api/refused/verify",
            &json!({"reason": "accepted-now"}),
        )
        .await;
    assert!(answer["looked_at"].as_u64().unwrap() <= 1, "{answer}");
    let (_, answer) = it.ask("POST", "/api/refused/verify", &json!({})).await;
    assert!(answer["valid"].as_u64().unwrap() <= 1, "{answer}");
    it.0.server.stop().await;
}

/// Groups tell what to do first; the metric and the log name the reason once.
#[actix_web::test]
async fn explained_requests_are_grouped_and_counted() {
    let it = Refusing::start("refused-groups", "").await;
    for _ in 0..3 {
        it.send(&with("{}", &base64(&signed("{}", OLD))), 401).await;
    }
    it.send(&message("1", "a stranger"), 401).await;
    let line = r#"offhook_refused_explained_total{source="hub",reason="base64"} 3"#;
    until("the metric", async || {
        it.metrics().await.lines().any(|found| found == line)
    })
    .await;
    until("all are explained", async || {
        let list = it.list("").await;
        list["refused"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["diagnosis"] == "done")
    })
    .await;
    let list = it.list("").await;
    let groups: Vec<Value> = list["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            json!([
                group["source"],
                group["reason"],
                group["count"],
                group["explained"]
            ])
        })
        .collect();
    assert_eq!(
        groups,
        [
            json!(["hub", "base64", 3, true]),
            json!(["hub", "unexplained", 1, false])
        ]
    );
    assert_eq!(list["groups"][0]["why"], "it is base64, not hexadecimal");

    // After a reload everything is looked into again, and not counted twice.
    it.change(OLD, "a-third-secret").await;
    until("nothing is explained", async || {
        let list = it.list("").await;
        let mut refused = list["refused"].as_array().unwrap().iter();
        refused.all(|one| one["diagnosis"] == "done" && one["explained"] == false)
    })
    .await;
    assert!(it.metrics().await.lines().any(|found| found == line));
    it.0.server.stop().await;
}

/// The log names the request, once a second, and never a secret or a long part of a path.
#[actix_web::test]
async fn the_log_leads_to_the_request() {
    let folder = Folder::new("refused-log");
    crate::served::settings(&folder, "");
    let mut command = crate::served::command(&folder);
    let served = crate::served::Served::try_start(command.env("RUST_LOG", "info")).unwrap();
    let forged = TestRequest::post("{}").header(
        "X-Webhook-Signature",
        &base64(&signed("{}", crate::support::KEY)),
    );
    assert_eq!(forged.send(served.public).await.status, 401);
    let lost = TestRequest::post("{}").path("/hidden-0123456789-token/x");
    assert_eq!(lost.send(served.public).await.status, 404);
    let mut odd = crate::support::Raw::connect(served.public).await;
    odd.send("POST /hidden-odd HTTP/1.1\r\nContent-Length: x\r\n\r\n")
        .await;
    odd.rest().await;
    let told = served
        .program
        .logged("although their sender knows a secret");
    assert!(
        told.contains("requests to codeskytz are refused") && told.contains("base64"),
        "{told}"
    );
    served.program.signal("TERM");
    let logged = served.program.all_logged();
    assert!(
        !logged.contains("hidden") && !logged.contains("actix"),
        "{logged}"
    );
}
