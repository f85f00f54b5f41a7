//! Test events and test POSTs: signed, marked, and through the same checks as all others.

use offhook::dialect::Raw;
use offhook::relay::{Relay, RelayOptions};
use offhook::signature::{Generic, Secret, StandardWebhooks};
use offhook::testing::{Recorder, TestRequest};
use offhook::{HandlerOptions, Offhook, Source};
use serde_json::{Value, json};

use crate::records::{api, get, keeping, post, settled};
use crate::subscriber::{Answer, Subscriber};
use crate::support::{Folder, KEY, secret, signed};

#[actix_web::test]
async fn a_test_event_is_signed_marked_and_handed_over() {
    let folder = Folder::new("trial-source");
    let subscriber = Subscriber::start([]).await;
    let (all, statuses) = (Recorder::default(), Recorder::default());
    let mut options = RelayOptions::default();
    options.allow_private = true;
    let relay = Relay::new(&subscriber.url(), None, &options).unwrap();
    let server = keeping(&folder, |offhook| {
        let only = HandlerOptions::default().events([offhook::EventKind::Status]);
        offhook
            .handler("all", all.clone())
            .handler("crm", relay)
            .handler_with("statuses", statuses.clone(), only)
    })
    .await;
    let reaches = json!(["handler:all", "handler:crm"]);
    let dry = post(&server, "/api/test", json!({ "dry_run": true })).await;
    assert_eq!((&dry["reaches"], &dry["event"]), (&reaches, &Value::Null));
    assert_eq!(get(&server, "/api/events").await["events"], json!([]));

    let answer = post(&server, "/api/test", json!({})).await;
    assert_eq!(
        (&answer["reaches"], &answer["duplicate"]),
        (&reaches, &json!(false))
    );
    settled(&server).await;
    let handed = all.deliveries();
    assert_eq!(handed.len(), 1);
    assert_eq!(handed[0].session(), Some("offhook-test"));
    assert_eq!(handed[0].header("offhook-test"), Some(&b"true"[..]));
    assert_eq!(
        handed[0].id().to_string(),
        answer["event"].as_str().unwrap()
    );
    assert_eq!(subscriber.asked(1).await[0].header("offhook-test"), "true");
    assert!(statuses.deliveries().is_empty());

    let status = json!({ "event": "status", "session": "408f" });
    assert_eq!(post(&server, "/api/test", status).await["session"], "408f");
    let own =
        json!({ "body": { "event": "message", "messageId": "1", "from": "+1", "message": "x" } });
    assert_eq!(
        post(&server, "/api/test", own.clone()).await["duplicate"],
        false
    );
    assert_eq!(post(&server, "/api/test", own).await["duplicate"], true);
    settled(&server).await;
    assert_eq!(statuses.deliveries().len(), 1);
    // No sender can send the mark.
    let request = signed(r#"{"event":"message","messageId":"2"}"#).header("offhook-test", "true");
    assert_eq!(request.send(server.public_address()).await.status, 200);
    settled(&server).await;
    assert_eq!(
        all.deliveries().last().unwrap().header("offhook-test"),
        None
    );
    for (body, status) in [
        (json!({ "source": "unknown" }), 404),
        (json!({ "event": "source.quiet" }), 400),
        (json!({ "event": "none" }), 400),
        (json!({ "sesion": "a" }), 400),
    ] {
        assert_eq!(
            api(&server, "POST", "/api/test", &body).await.0,
            status,
            "{body}"
        );
    }
    server.stop().await;
}

/// The test does not say that the source is alive.
#[actix_web::test]
async fn each_kind_of_source_accepts_its_own_test() {
    let own = Secret::new("the key of one session").unwrap();
    let standard = Secret::new("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let of_sender = Generic::new("x-signature")
        .template("{header:x-nonce}.{body}")
        .unwrap();
    let sources = [
        Source::new("raw")
            .path("/r")
            .secret(secret(KEY))
            .dialect(Raw::default()),
        Source::new("standard")
            .path("/w")
            .secret(standard)
            .scheme(StandardWebhooks::default()),
        Source::new("nonce")
            .path("/h")
            .secret(secret(KEY))
            .scheme(of_sender),
        Source::new("unsigned")
            .path("/u")
            .dangerous_unsigned(secret("a-token-of-the-path")),
        Source::new("sessions")
            .path("/s")
            .secret(secret(KEY))
            .session("408f", own.into()),
        Source::new("none")
            .path("/n")
            .session("only", secret("another key").into()),
    ];
    let folder = Folder::new("trial-sources");
    let server = keeping(&folder, |offhook: Offhook| {
        let messages = HandlerOptions::default().events([offhook::EventKind::Message]);
        let recorded = offhook
            .handler("recorder", Recorder::default())
            .handler_with("messages", Recorder::default(), messages);
        sources.into_iter().fold(recorded, Offhook::source)
    })
    .await;
    for body in [
        json!({ "source": "unsigned" }),
        json!({ "source": "sessions" }),
        json!({ "source": "sessions", "session": "408f" }),
        json!({ "source": "none", "session": "only" }),
    ] {
        let answer = post(&server, "/api/test", body).await;
        let path = format!("/api/events/{}", answer["event"].as_str().unwrap());
        assert_eq!(get(&server, &path).await["session"], answer["session"]);
    }
    // A dry run is refused as the test would be.
    for (source, code) in [("none", "no_secret"), ("nonce", "refused")] {
        for dry_run in [true, false] {
            let asked = json!({ "source": source, "dry_run": dry_run });
            let (status, answer) = api(&server, "POST", "/api/test", &asked).await;
            assert_eq!((status, &answer["code"]), (409, &json!(code)), "{answer}");
        }
    }
    // What it reaches is asked of the events that its source reads in it.
    let all = json!(["handler:recorder", "handler:messages"]);
    for (body, reaches, session) in [
        (
            json!({ "source": "raw" }),
            json!(["handler:recorder"]),
            "offhook-test",
        ),
        (json!({ "source": "standard" }), all, "offhook-test"),
        (
            json!({ "source": "standard", "body": { "event": "status", "sessionId": "s" } }),
            json!(["handler:recorder"]),
            "s",
        ),
    ] {
        let mut asked = body.clone();
        asked["dry_run"] = true.into();
        let dry = post(&server, "/api/test", asked).await;
        let done = post(&server, "/api/test", body).await;
        for answer in [dry, done] {
            assert_eq!(answer["reaches"], reaches, "{answer}");
            assert_eq!(answer["session"], session, "{answer}");
        }
    }
    let health = get(&server, "/health").await.to_string();
    assert!(!health.contains("last_event_at\":\"2"), "{health}");
    server.stop().await;
}

#[actix_web::test]
async fn a_test_post_shows_what_the_subscriber_says() {
    let folder = Folder::new("trial-post");
    let echo = |request: &crate::subscriber::Asked| {
        let signature = request.header("x-webhook-signature").to_owned();
        Answer::Text(500, format!("no customer, {signature}, the-hidden-secret"))
    };
    let subscriber = Subscriber::deciding(echo).await;
    let server = keeping(&folder, |offhook| {
        offhook.configure(|settings| settings.relay.options.allow_private = true)
    })
    .await;
    let subscribe =
        json!({ "webhookUrl": subscriber.url(), "secret": "the-hidden-secret", "name": "crm" });
    let (status, _) = api(&server, "POST", "/sessions/408f/webhook", &subscribe).await;
    assert_eq!(status, 201);
    let answer = post(&server, "/api/subscriptions/408f/crm/test", json!({})).await;
    assert_eq!(
        (&answer["status"], &answer["delivered"]),
        (&json!(500), &json!(false))
    );
    assert_eq!(answer["resolved"], json!(["127.0.0.1"]));
    assert_eq!(answer["meaning"], "an event would be tried again");
    let said = answer["body_excerpt"].as_str().unwrap();
    assert!(
        said.starts_with("no customer, ****") && !said.contains("hidden"),
        "{said}"
    );
    assert!(
        answer["verdict"]
            .as_str()
            .unwrap()
            .contains("500 Internal Server Error"),
        "{answer}"
    );
    let asked = subscriber.asked(1).await.remove(0);
    assert_eq!(
        (
            asked.header("offhook-test"),
            asked.header("offhook-session")
        ),
        ("true", "408f")
    );
    let request = TestRequest::signed(asked.body.clone(), &secret("the-hidden-secret"));
    assert_eq!(
        Some(asked.header("x-webhook-signature")),
        request.value("x-webhook-signature")
    );
    assert_eq!(get(&server, "/api/events").await["events"], json!([]));
    let consumer = get(&server, "/api/consumers/subscription:408f:crm").await;
    assert_eq!(
        (&consumer["state"], &consumer["lag"]),
        (&json!("running"), &json!(0))
    );
    for unknown in [
        "/api/subscriptions/408f/other/test",
        "/api/subscriptions/other/crm/test",
    ] {
        assert_eq!(
            api(&server, "POST", unknown, &json!({})).await.0,
            404,
            "{unknown}"
        );
    }
    server.stop().await;
}

/// The settings may close an address that was open when the subscription was made.
#[actix_web::test]
async fn a_test_post_passes_the_guard() {
    let folder = Folder::new("trial-guard");
    let subscriber = Subscriber::start([]).await;
    let open = keeping(&folder, |offhook| {
        offhook.configure(|settings| settings.relay.options.allow_private = true)
    })
    .await;
    let subscribe = json!({ "webhookUrl": subscriber.url(), "name": "crm" });
    let (status, _) = api(&open, "POST", "/sessions/%2A/webhook", &subscribe).await;
    assert_eq!(status, 201);
    open.stop().await;
    let server = keeping(&folder, |offhook| offhook).await;
    let answer = post(&server, "/api/subscriptions/%2A/crm/test", json!({})).await;
    assert_eq!(
        (&answer["status"], &answer["resolved"]),
        (&Value::Null, &json!([]))
    );
    let verdict = answer["verdict"].as_str().unwrap();
    assert!(verdict.contains("loopback address"), "{answer}");
    assert_eq!(subscriber.count(), 0);
    server.stop().await;
}
