//! Headers of a subscription, and several secrets of it.

use offhook::Timestamp;
use offhook::signature::{Scheme as _, StandardWebhooks, XWebhookSignature};
use serde_json::{Value, json};

use super::{folder, hook, restarted};
use crate::served::{Served, command, until};
use crate::subscriber::{Answer, Asked, Subscriber};
use crate::support::{Folder, Program, address_in, offhook, run, secret};

/// Everything that a user can see of subscriptions and deliveries.
async fn all_shown(server: &Served) -> String {
    let mut shown = String::new();
    for path in [
        "/sessions/*/webhook",
        "/api/subscriptions",
        "/api/consumers",
        "/api/events",
        "/api/dead",
        "/health",
        "/metrics",
    ] {
        shown += &server.ask("GET", path, "").await.text();
    }
    let events = server.expect(200, "GET", "/api/events", &Value::Null).await;
    for event in events["events"].as_array().unwrap() {
        let path = format!("/api/events/{}", event["id"].as_str().unwrap());
        shown += &server.ask("GET", &path, "").await.text();
    }
    shown
}

#[actix_web::test]
async fn headers_are_sent_and_never_shown() {
    let subscriber = Subscriber::start([Answer::from(500)]).await;
    let more = format!(
        "[[subscriptions]]\nname = \"crm\"\nwebhook_url = \"{}\"\n\
         headers = {{ Authorization = \"Bearer env:CRM_AUTH\", X-Api-Key = \"hidden-key\" }}\n",
        hook(&subscriber)
    );
    let folder = folder("subs-headers", &more);
    let mut command = command(&folder);
    command
        .env("CRM_AUTH", "hidden-auth")
        .env("RUST_LOG", "debug");
    let server = Served::try_start(&mut command).unwrap();
    server.message("a", "1").await;
    // With each attempt.
    for asked in subscriber.expect(2).await {
        assert_eq!(asked.header("authorization"), "Bearer hidden-auth");
        assert_eq!(asked.header("x-api-key"), "hidden-key");
    }
    let listed = server
        .expect(200, "GET", "/sessions/*/webhook", &Value::Null)
        .await;
    let names = &listed["webhooks"][0]["headerNames"];
    assert_eq!(*names, json!(["authorization", "x-api-key"]));
    let shown = all_shown(&server).await + &server.program.kill();
    assert!(
        shown.contains("crm") && !shown.contains("hidden"),
        "{shown}"
    );

    let file = folder.0.join("settings.toml");
    for more in [&[][..], &["--json"]] {
        let mut check = offhook(&["check", "--settings", file.to_str().unwrap()]);
        let checked = check
            .args(more)
            .env("CRM_AUTH", "hidden-auth")
            .output()
            .unwrap();
        let printed = String::from_utf8(checked.stdout).unwrap();
        assert!(
            printed.contains("x-api-key") && !printed.contains("hidden"),
            "{printed}"
        );
    }
    let check = run(&["check", "--settings", file.to_str().unwrap()]);
    assert!(
        check.status == 1 && check.said.contains("CRM_AUTH is not set"),
        "{check:?}"
    );
}

#[actix_web::test]
async fn the_api_takes_headers_as_text() {
    let (folder, subscriber) = (folder("subs-headers-api", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    let path = "/sessions/a/webhook";
    let body = json!({ "url": hook(&subscriber), "headers": { "X-Api-Key": "hidden", "X-Path": "env:PATH" } });
    let new = server.expect(201, "POST", path, &body).await;
    let mut names: Vec<_> = new["webhook"]["headerNames"].as_array().unwrap().clone();
    names.sort_by_key(ToString::to_string);
    assert_eq!(names, [json!("x-api-key"), json!("x-path")]);
    server.message("a", "1").await;
    let sent = |asked: &Asked| ["x-api-key", "x-path"].map(|name| asked.header(name).to_owned());
    assert_eq!(sent(&subscriber.expect(1).await[0]), ["hidden", "env:PATH"]);
    server.settled().await;
    // They are stored, and other changes leave them as they are.
    server
        .expect(200, "PATCH", path, &json!({ "events": ["message"] }))
        .await;
    let server = restarted(server, &folder);
    server.message("a", "2").await;
    assert_eq!(sent(&subscriber.expect(2).await[1]), ["hidden", "env:PATH"]);
    server.settled().await;
    server
        .expect(200, "PATCH", path, &json!({ "headers": { "X-Path": "p" } }))
        .await;
    server.message("a", "3").await;
    assert_eq!(sent(&subscriber.expect(3).await[2]), ["", "p"]);
    server.settled().await;
    let none = server
        .expect(200, "PATCH", path, &json!({ "headers": null }))
        .await;
    assert_eq!(none["webhook"].get("headerNames"), None);
    server.message("a", "4").await;
    assert_eq!(sent(&subscriber.expect(4).await[3]), ["", ""]);
    let shown = all_shown(&server).await + &server.program.kill();
    assert!(!shown.contains("hidden"), "{shown}");
}

/// Whether `webhook-signature` has exactly the signatures of these secrets, and `X-Webhook-Signature` is of the
/// first.
fn is_signed_with(asked: &Asked, secrets: &[&str]) -> bool {
    let seconds = asked.header("webhook-timestamp").parse().unwrap();
    let at = Timestamp::from_second(seconds).unwrap();
    let scheme = StandardWebhooks::default();
    let signature = |text: &&str| {
        let id = asked.header("webhook-id");
        let signed = scheme.sign_as(id, &asked.body, &secret(text), at);
        signed[2].value.clone()
    };
    let expected: Vec<String> = secrets.iter().map(signature).collect();
    let own = XWebhookSignature.sign(&asked.body, &secret(secrets[0]), at);
    asked.header("webhook-signature") == expected.join(" ")
        && asked.header("x-webhook-signature") == own[0].value
}

#[actix_web::test]
async fn every_secret_signs_while_one_is_exchanged() {
    let subscriber = Subscriber::start([]).await;
    let more = format!(
        "[[subscriptions]]\nname = \"crm\"\nsession = \"b\"\nwebhook_url = \"{}\"\n\
         secrets = [\"hidden-new\", \"whsec_aGlkZGVu\"]\n",
        hook(&subscriber)
    );
    let folder = folder("subs-secrets", &more);
    let server = Served::start(&folder);
    server.message("b", "1").await;
    let asked = subscriber.expect(1).await;
    assert!(is_signed_with(&asked[0], &["hidden-new", "whsec_aGlkZGVu"]));
    until("settled", async || {
        server.consumer("subscription:b:crm").await.unwrap()["lag"] == 0
    })
    .await;

    let path = "/sessions/a/webhook";
    let body = json!({ "url": hook(&subscriber), "secret": "hidden-old" });
    server.expect(201, "POST", path, &body).await;
    let exchange = json!({ "secrets": ["hidden-new", "hidden-old"] });
    let changed = server.expect(200, "PATCH", path, &exchange).await;
    assert_eq!(changed["webhook"]["hasSecret"], true);
    server.program.stop();
    let server = Served::start(&folder);
    server.message("a", "2").await;
    let asked = subscriber.expect(2).await;
    assert!(is_signed_with(&asked[1], &["hidden-new", "hidden-old"]));
    server.settled().await;
    server
        .expect(200, "PATCH", path, &json!({ "secret": "hidden-new" }))
        .await;
    server.message("a", "3").await;
    let asked = subscriber.expect(3).await;
    assert!(is_signed_with(&asked[2], &["hidden-new"]));
    let shown = all_shown(&server).await + &server.program.kill();
    assert!(
        !shown.contains("hidden") && !shown.contains("whsec"),
        "{shown}"
    );
}

#[actix_web::test]
async fn the_command_line_reads_headers_and_secrets() {
    let (folder, subscriber) = (folder("subs-cli-headers", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    let own = Folder::new("subs-cli-headers-file");
    let file = own.0.join("key");
    std::fs::write(&file, "hidden-key\n").unwrap();
    let key = format!("X-Api-Key=file:{}", file.display());
    let admin = format!("http://{}", server.admin);
    let (url, to) = (hook(&subscriber), ["--admin", &admin]);
    let add = ["subscriptions", "add", "--session", "a", "--url", &url];
    let more = [
        "--header",
        &key,
        "--header",
        "X-Equals=a=b",
        "--header",
        "Authorization: Bearer a:b",
        "--secret",
        "hidden-new",
        "--secret",
        "hidden-old",
    ];
    let added = run(&[&add[..], &more, &to].concat());
    assert_eq!((added.status, added.said.as_str()), (0, ""), "{added:?}");
    assert!(!added.printed.contains("hidden"), "{added:?}");
    server.message("a", "1").await;
    let asked = &subscriber.expect(1).await[0];
    assert_eq!(asked.header("x-api-key"), "hidden-key");
    assert_eq!(asked.header("x-equals"), "a=b");
    assert_eq!(asked.header("authorization"), "Bearer a:b");
    assert!(is_signed_with(asked, &["hidden-new", "hidden-old"]));

    for (wrong, words) in [
        ("hidden", "expected NAME=VALUE"),
        ("Host=hidden", "offhook sets it itself"),
        ("Webhook-Id=hidden", "offhook sets it itself"),
        (
            "X-A=env:OFFHOOK_TEST_NO_SUCH",
            "OFFHOOK_TEST_NO_SUCH is not set",
        ),
    ] {
        let misused = run(&[&add[..], &["--header", wrong], &to].concat());
        assert_eq!(misused.status, 2, "{misused:?}");
        assert!(
            misused.said.contains(words) && !misused.said.contains("hidden"),
            "{misused:?}"
        );
    }
}

#[actix_web::test]
async fn a_rejected_subscription_waits_and_is_told_once() {
    let (folder, subscriber) = (folder("subs-rejected", ""), Subscriber::start([]).await);
    let server = Served::start(&folder);
    server.subscribe("a", &hook(&subscriber)).await;
    let (path, body) = (
        "/sessions/b/webhook",
        json!({ "url": "http://nobody.invalid/" }),
    );
    server.expect(201, "POST", path, &body).await;
    server.program.kill();
    let file = folder.0.join("settings.toml");
    let open = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        open.replace("allow_private = true", "allow_private = false"),
    )
    .unwrap();

    let program = Program::start(&mut command(&folder));
    program.logged(
        "\"default\" to session \"a\": nothing is sent, its events wait: 127.0.0.1 is a loopback",
    );
    let public = address_in(&program.logged("/webhook"));
    let admin = address_in(&program.logged("/ready"));
    let [rejected, other] = ["to default, session a (API)", "to default, session b (API)"]
        .map(|text| program.logged(text));
    assert!(rejected.contains("/hook?…  to default"), "{rejected}");
    assert!(
        rejected.ends_with("; its address is refused, so nothing is sent (see the log)"),
        "{rejected}"
    );
    assert!(
        other.ends_with("http://nobody.invalid/  to default, session b (API)"),
        "{other}"
    );
    let server = Served {
        program,
        public,
        admin,
    };
    for id in 0..20 {
        server.message("a", &id.to_string()).await;
    }
    let list = server
        .expect(200, "GET", "/sessions/a/webhook", &Value::Null)
        .await;
    let shown = &list["webhooks"][0];
    assert_eq!(shown["active"], true);
    let reason = shown["suspendedReason"].as_str().unwrap();
    assert!(
        reason.contains("127.0.0.1 is a loopback address"),
        "{reason}"
    );
    // It can be resumed only when its address is allowed.
    let resume = "/api/consumers/subscription:a:default/resume";
    server
        .refuses("POST", resume, "", 400, "refused_address")
        .await;
    server
        .expect(
            200,
            "PATCH",
            "/sessions/a/webhook",
            &json!({ "active": true }),
        )
        .await;
    // Once more, for the PATCH. The log is written behind the answer.
    let told = server.program.logged("127.0.0.1 is a loopback address");
    let said = told + &server.program.kill();
    assert_eq!(
        said.matches("127.0.0.1 is a loopback address").count(),
        1,
        "{said}"
    );
    assert!(!said.contains("token=t"), "{said}");
    assert_eq!(subscriber.connections(), 0);

    std::fs::write(&file, open).unwrap();
    let server = Served::start(&folder);
    let ids: Vec<String> = (0..20).map(|id| id.to_string()).collect();
    subscriber.expect(20).await;
    assert_eq!(subscriber.ids(), ids);
    server.program.stop();
}
