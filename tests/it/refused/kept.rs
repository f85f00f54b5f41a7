//! What is kept of each kind of refused request, and what is shown of it.

use offhook::testing::TestRequest;
use serde_json::{Value, json};

use super::{NEW, OLD, Refusing, message};
use crate::support::Raw;

const MORE: &str = r#"
[[sources]]
name = "plain"
path = "/plain"
unsigned = true
path_token = "hidden-path-token"
"#;

fn fields(one: &Value, names: &[&str]) -> Value {
    names.iter().map(|name| one[*name].clone()).collect()
}

/// One request of each kind.
#[actix_web::test]
async fn each_kind_is_kept_in_its_own_way() {
    let it = Refusing::start("refused-kinds", MORE).await;
    it.change("[server]", "[server]\nmax_body = \"1 MiB\"")
        .await;
    let large = format!("{{\"x\":\"{}\"}}", "x".repeat(100_000));
    let too_large = vec![b'x'; (1 << 20) + 1];
    let twice = message("1", NEW).header("X-Webhook-Signature", "0");
    let malformed = TestRequest::post("{}").header("X-Webhook-Signature", "no signature");
    let table = [
        (message("1", NEW), json!([401, "signature", "whole"])),
        (malformed, json!([401, "malformed", "whole"])),
        (
            TestRequest::signed(large, &crate::support::secret(NEW)),
            json!([401, "signature", "hash"]),
        ),
        (
            TestRequest::post("{}"),
            json!([401, "no_signature", "unread"]),
        ),
        (twice, json!([401, "malformed", "unread"])),
        (
            TestRequest::post("{}").path("/plain/hidden-wrong-token"),
            json!([401, "no_signature", "unread"]),
        ),
        (
            TestRequest::post(too_large),
            json!([413, "too_large", "unread"]),
        ),
        (
            TestRequest::post("{}").path("/webhooks"),
            json!([404, "path", "unread"]),
        ),
        (
            TestRequest::get("/webhook"),
            json!([405, "method", "unread"]),
        ),
    ];
    for (request, expected) in &table {
        it.send(
            request,
            u16::try_from(expected[0].as_u64().unwrap()).unwrap(),
        )
        .await;
        let list = it.list("?limit=1").await;
        let found = fields(&list["refused"][0], &["status", "cause", "body"]);
        assert_eq!(found, *expected, "{list}");
    }
    let list = it.list("").await;
    assert_eq!(list["refused"].as_array().unwrap().len(), table.len());
    assert_eq!((&list["dropped"], &list["next"]), (&json!(0), &Value::Null));
    assert!(!list.to_string().contains("hidden"), "{list}");

    let page = it.list("?limit=4").await;
    let next = page["next"].as_str().unwrap();
    assert_eq!(page["refused"][3]["id"], next);
    let rest = it.list(&format!("?limit=100&before={next}")).await;
    assert_eq!(rest["refused"].as_array().unwrap().len(), table.len() - 4);
    let count = async |query: &str| it.list(query).await["refused"].as_array().unwrap().len();
    assert_eq!(count("?source=plain").await, 1);
    assert_eq!(count("?status=404").await, 1);
    assert_eq!(count("?reason=missing").await, 1);

    // The same path again is counted.
    it.send(&TestRequest::post("{}").path("/webhooks"), 404)
        .await;
    assert_eq!(it.list("?status=404").await["refused"][0]["count"], 2);

    let (_, forgotten) = it
        .ask("DELETE", "/api/refused?source=hub", &json!({}))
        .await;
    assert_eq!(forgotten["forgotten"], 7);
    let (_, forgotten) = it.ask("DELETE", "/api/refused", &json!({})).await;
    assert_eq!(forgotten["forgotten"], 2);
    it.0.server.stop().await;
}

/// A body that is too slow.
#[actix_web::test]
async fn a_slow_body_is_kept_without_it() {
    let it = Refusing::start("refused-slow", "").await;
    it.change("[server]", "[server]\nrequest_timeout = \"50ms\"")
        .await;
    let mut slow = Raw::connect(it.public()).await;
    slow.send(
        "POST /webhook HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\nX-Webhook-Signature: 0\r\n\r\n{",
    )
    .await;
    slow.expect(408, r#"{"error":"Request timeout"}"#).await;
    let one = it.newest().await;
    let expected = json!([408, "too_slow", "unread", "too-slow", 100]);
    assert_eq!(
        fields(&one, &["status", "cause", "body", "reason", "bytes"]),
        expected
    );
    it.0.server.stop().await;
}

#[actix_web::test]
async fn no_credential_and_no_token_is_shown() {
    let more = format!(
        "sessions.own.secrets = [\"hidden-secret-of-own\"]\n\
         sessions.short.secrets = ['hidden\"x']\n{MORE}"
    );
    let it = Refusing::start("refused-hidden", &more).await;
    let request = message("1", NEW)
        .path("/webhook/408f7372")
        .header("Authorization", "Bearer hidden-1")
        .header("Cookie", "a=hidden-2")
        .header("X-Api-Key", "hidden-3")
        .header("X-Session-Id", "hidden-4")
        .header("X-Own", "shown-1")
        .header("User-Agent", "shown-2");
    it.send(&request, 401).await;
    let details = it.details(&it.newest().await).await;
    let text = details.to_string();
    assert!(!text.contains("hidden"), "{text}");
    for shown in ["shown-1", "shown-2"] {
        assert!(text.contains(shown), "{text}");
    }
    assert_eq!(
        fields(&details, &["session", "path", "user_agent"]),
        json!(["408f7372", "/webhook/408f7372", "shown-2"])
    );
    let headers = details["headers"].as_array().unwrap();
    for name in ["authorization", "cookie", "x-api-key", "x-session-id"] {
        assert!(headers.contains(&json!([name, "…"])), "{name}: {text}");
    }
    assert_eq!(details["body"]["messageId"], "1");

    // A sender that sends the secret itself, and tokens at other places.
    let secret_sent = TestRequest::post("not json").header("X-Webhook-Signature", OLD);
    it.send(&secret_sent, 401).await;
    let details = it.details(&it.newest().await).await;
    assert!(!details.to_string().contains(OLD), "{details}");
    assert_eq!(details["body_base64"], "bm90IGpzb24=");
    // The secret of a session that only the body names.
    let own = TestRequest::post(r#"{"sessionId":"own"}"#);
    it.send(
        &own.header("X-Webhook-Signature", "hidden-secret-of-own"),
        401,
    )
    .await;
    let details = it.details(&it.newest().await).await;
    assert!(!details.to_string().contains("hidden"), "{details}");
    assert_eq!(details["body"]["sessionId"], "own");
    // One in front of a signature, with what is escaped in a text.
    let prefixed = format!("hidden\"x={}", "0".repeat(64));
    let prefixed = TestRequest::post("{}").header("X-Webhook-Signature", &prefixed);
    it.send(&prefixed, 401).await;
    let details = it.details(&it.newest().await).await;
    assert_eq!(details["reason"], "prefix");
    assert!(!details.to_string().contains("hidden"), "{details}");
    for path in [
        "/webhook/hidden-path-token",
        "/plain/hidden-path-toke",
        "/plain/x",
        "/hidden-path-token",
        "/x/hidden-path-token/y?token=hidden",
    ] {
        let status = TestRequest::post("{}")
            .path(path)
            .send(it.public())
            .await
            .status;
        assert!(matches!(status, 401 | 404), "{path}: {status}");
    }
    let list = it.list("").await;
    assert!(!list.to_string().contains("hidden"), "{list}");
    it.0.server.stop().await;
}

/// The limits of the settings hold from the reload on.
#[actix_web::test]
async fn limits_can_change() {
    let it = Refusing::start("refused-limits", "").await;
    for id in ["1", "2", "3"] {
        it.send(&message(id, NEW), 401).await;
    }
    assert_eq!(it.list("").await["refused"].as_array().unwrap().len(), 3);
    it.change("[refused]", "[refused]\nkeep = 1\nbody = \"10 B\"")
        .await;
    let list = it.list("").await;
    assert_eq!(
        (list["refused"].as_array().unwrap().len(), &list["dropped"]),
        (1, &json!(2))
    );
    it.ask("DELETE", "/api/refused", &json!({})).await;
    it.send(&message("4", NEW), 401).await;
    assert_eq!(it.list("").await["refused"][0]["body"], "hash");
    it.change("[refused]", "[refused]\nkeep = 0").await;
    it.send(&message("5", NEW), 401).await;
    assert_eq!(it.list("").await["refused"], json!([]));
    it.0.server.stop().await;
}

/// All 401 are the same, whether the request is kept or not, and whatever is wrong.
#[actix_web::test]
async fn the_answer_does_not_tell_what_is_kept() {
    let it = Refusing::start("refused-answers", "").await;
    let requests = [
        message("1", NEW),
        TestRequest::post("{}"),
        TestRequest::post("{}").header("X-Webhook-Signature", "x"),
        TestRequest::post("{}")
            .header("X-Webhook-Signature", "x")
            .header("X-Webhook-Signature", "x"),
        TestRequest::signed(vec![b'x'; 100_000], &crate::support::secret(NEW)),
    ];
    let mut answers = Vec::new();
    for keep in [1, 0] {
        it.change("[refused]", &format!("[refused]\nkeep = {keep}"))
            .await;
        for request in &requests {
            let mut answer = request.send(it.public()).await;
            answer.headers.retain(|(name, _)| name != "date");
            answers.push(answer);
        }
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
    assert_eq!(answers[0].text(), r#"{"error":"Invalid signature"}"#);
    it.0.server.stop().await;
}

/// 200 a second of each source are taken; the rest is counted.
#[actix_web::test]
async fn a_flood_is_counted() {
    let it = Refusing::start("refused-flood", "").await;
    let forged = message("1", NEW).bytes();
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (forged, public) = (forged.clone(), it.public());
        tasks.push(actix_rt::spawn(async move {
            for _ in 0..200 {
                let mut raw = Raw::connect(public).await;
                raw.send(&forged).await;
                assert_eq!(raw.answer().await.status, 401);
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let list = it.list("?limit=500").await;
    let kept = list["refused"].as_array().unwrap().len() as u64;
    assert!(kept <= 256, "{kept}");
    assert_eq!(kept + list["dropped"].as_u64().unwrap(), 800);
    it.0.server.stop().await;
}
