//! Whose secrets: sessions with their own, several sources, sources that cannot sign.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use offhook::dialect::Raw;
use offhook::signature::{Generic, Secrets};
use offhook::testing::{Recorder, TestEvent, TestRequest};
use offhook::{Offhook, Source, testing};

use crate::support::{KEY, secret, source};

#[actix_web::test]
async fn one_sessions_key_cannot_speak_for_another() {
    let recorder = Recorder::default();
    let source = source().session(
        "A",
        Secrets::new(vec![secret("key of A"), secret("new key of A")]),
    );
    let offhook = Offhook::builder()
        .source(source)
        .handler("recorder", recorder.clone());
    let server = testing::start(offhook.without_admin()).await;
    let table = [
        // key, path, body's session, status, kept under
        ("key of A", "/webhook", "A", 200, "A"),
        ("new key of A", "/webhook/A", "A", 200, "A"),
        (KEY, "/webhook", "A", 401, ""),
        (KEY, "/webhook/A", "A", 401, ""),
        ("key of A", "/webhook", "B", 401, ""),
        // The body is signed, the path is not.
        ("key of A", "/webhook/B", "A", 200, "A"),
        (KEY, "/webhook", "B", 200, "B"),
        // A session with own secrets is proven by path and key, whatever the body says.
        ("key of A", "/webhook/A", "B", 200, "A"),
        (KEY, "/webhook/B", "A", 401, ""),
        (KEY, "/webhook/B", "C", 200, "C"),
        // The path's session may be written in any way an address can be.
        ("key of A", "/webhook/%41", "B", 200, "A"),
    ];
    let mut kept = 0;
    for (key, path, session, status, under) in table {
        let event = TestEvent::message("+1", "Hello!").session(session);
        let answer = event
            .sign(&secret(key))
            .path(path)
            .send(server.public_address())
            .await;
        assert_eq!(answer.status, status, "{key} {path} {session}");
        if status == 200 {
            assert_eq!(recorder.deliveries()[kept].session(), Some(under));
            assert_eq!(recorder.events()[kept].session_id(), Some(under));
            kept += 1;
        }
    }
    // A body that expands far is decoded only once it is verified, and could name any session.
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    let spaces = " ".repeat(500_000);
    write!(packer, r#"{{"event":"status","sessionId":"A"{spaces}}}"#).unwrap();
    let hidden = TestRequest::signed(packer.finish().unwrap(), &secret(KEY));
    let hidden = hidden.header("Content-Encoding", "gzip");
    assert_eq!(hidden.send(server.public_address()).await.status, 401);
    assert_eq!(recorder.events().len(), kept);
    server.stop().await;
}

#[actix_web::test]
async fn exact_paths_of_other_sources_win_over_sessions() {
    let recorder = Recorder::default();
    let github = Source::new("github")
        .path("/webhook/github")
        .scheme(Generic::new("X-Hub-Signature-256").prefix("sha256="))
        .dialect(Raw::default().event("/action"))
        .secret(secret("hub"));
    let offhook = Offhook::builder()
        .source(source())
        .source(github)
        .handler("recorder", recorder.clone());
    let server = testing::start(offhook.without_admin()).await;

    let body = r#"{"action":"opened"}"#;
    let signature = TestRequest::signed(body, &secret("hub")).headers[1]
        .1
        .clone();
    let request = TestRequest::post(body)
        .path("/webhook/github")
        .header("X-Hub-Signature-256", &format!("sha256={signature}"));
    assert_eq!(request.send(server.public_address()).await.status, 200);
    assert_eq!(recorder.deliveries()[0].source(), "github");
    assert_eq!(recorder.events()[0].name(), Some("opened"));

    // The other source's key is no key here.
    let request = TestRequest::signed(body, &secret(KEY)).path("/webhook/github");
    assert_eq!(request.send(server.public_address()).await.status, 401);
    server.stop().await;
}

#[actix_web::test]
async fn an_unsigned_source_needs_its_path_token() {
    let recorder = Recorder::default();
    let token = "0123456789abcdef-._~";
    let offhook = Offhook::builder()
        .source(Source::new("impl").dangerous_unsigned(secret(token)))
        .handler("recorder", recorder.clone());
    let server = testing::start(offhook.without_admin()).await;
    let body = r#"{"id":"ABCD","from":"255@s.whatsapp.net","isGroup":false,"text":"Hello"}"#;
    let table = [
        (format!("/webhook/{token}"), 200),
        (format!("/webhook/{token}/my-session"), 200),
        (format!("/webhook/{}", &token[1..]), 401),
        ("/webhook/my-session".to_owned(), 401),
        (format!("/webhook/wrong/{token}"), 401),
        ("/webhook".to_owned(), 404),
        (format!("/webhook/{token}/a/b"), 404),
    ];
    for (path, status) in table {
        let answer = TestRequest::post(body)
            .path(&path)
            .send(server.public_address())
            .await;
        assert_eq!(answer.status, status, "{path}");
    }
    let sessions: Vec<_> = recorder
        .deliveries()
        .iter()
        .map(|delivery| delivery.session().map(str::to_owned))
        .collect();
    assert_eq!(sessions, [None, Some("my-session".to_owned())]);
    server.stop().await;
}
