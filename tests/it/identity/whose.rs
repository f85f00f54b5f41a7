//! Whose an event is: the session that its key, its body or its path proves.

use offhook::signature::Secrets;
use offhook::testing::{Recorder, TestEvent, TestRequest};
use offhook::{Source, testing};

use super::{DUPLICATE, NEW, chunked, deflate, event, events, gzip, sent, zlib};
use crate::records::{keeping, settled};
use crate::support::{Folder, KEY, Raw, recording, run, secret, signed, source};

fn with_own() -> Source {
    source().session("B", Secrets::new(vec![secret("the key of B")]))
}

fn of_b(id: &str, padding: usize) -> String {
    let event = TestEvent::message("+1", "forged").session("B").id(id);
    event.field("pad", "A".repeat(padding)).body()
}

/// What a holder of the shared secret signs to speak for B: the body and its `Content-Encoding`.
fn forgeries() -> Vec<(Vec<u8>, Option<&'static str>)> {
    let cut = |mut body: Vec<u8>| {
        body.truncate(body.len() - 9);
        body
    };
    vec![
        (of_b("0", 0).into(), None),
        (gzip(of_b("1", 0)), Some("gzip")),
        (gzip(of_b("2", 500_000)), Some("gzip")),
        (gzip(of_b("3", 20_000_000)), Some("x-gzip")),
        (zlib(of_b("4", 0)), Some("deflate")),
        (zlib(of_b("5", 500_000)), Some("Deflate")),
        (deflate(of_b("6", 500_000)), Some("deflate")),
        (gzip(gzip(of_b("7", 0))), Some("gzip, gzip")),
        (zlib(gzip(of_b("8", 500_000))), Some("gzip, deflate")),
        (gzip(gzip(gzip(of_b("9", 0)))), Some("gzip,gzip,gzip")),
        // It breaks off behind what names the session.
        (cut(gzip(of_b("10", 0))), Some("gzip")),
        (cut(zlib(of_b("11", 0))), Some("deflate")),
        (of_b("12", 0).into(), Some("gzip")),
        (of_b("13", 0).into(), Some("br")),
        (of_b("14", 0).into(), Some("identity")),
        (format!("\u{feff}{}", of_b("15", 0)).into(), None),
        // Two members, of which the second one has the rest.
        (
            [gzip(&of_b("16", 0)[..20]), gzip(&of_b("16", 0)[20..])].concat(),
            Some("gzip"),
        ),
    ]
}

/// Sends a request in one piece, or in chunks. Returns the status.
async fn status(request: &TestRequest, chunks: Option<usize>, to: std::net::SocketAddr) -> u16 {
    let mut raw = Raw::connect(to).await;
    match chunks {
        None => raw.try_send(&request.bytes()).await,
        Some(size) => raw.try_send(&chunked(request, size)).await,
    }
    raw.answer().await.status
}

#[actix_web::test]
async fn no_encoding_lets_one_session_speak_for_another() {
    let folder = Folder::new("identity-own");
    let recorder = Recorder::default();
    let server = {
        let (own, recorder) = (with_own(), recorder.clone());
        keeping(&folder, |offhook| {
            offhook
                .configure(|settings| settings.sources = vec![own])
                .handler("recorder", recorder)
        })
        .await
    };
    let to = server.public_address();
    let forged = forgeries();
    for (number, (body, encoding)) in forged.iter().enumerate() {
        for (path, chunks) in [
            ("/webhook", None),
            ("/webhook/A", Some(1000)),
            ("/webhook/B", None),
        ] {
            let mut request = signed(body.clone()).path(path);
            if let Some(encoding) = encoding {
                request = request.header("Content-Encoding", encoding);
            }
            assert_eq!(
                status(&request, chunks, to).await,
                401,
                "{number} {encoding:?} {path}"
            );
        }
    }
    // None of its ids is taken.
    for number in 0..forged.len() {
        let event = TestEvent::message("+1", "real")
            .session("B")
            .id(&number.to_string());
        assert_eq!(
            sent(&event.sign(&secret("the key of B")), to).await,
            NEW,
            "{number}"
        );
    }
    settled(&server).await;
    let listed = events(&server, forged.len()).await;
    assert!(
        listed.iter().all(|event| event["session"] == "B"),
        "{listed:?}"
    );
    assert_eq!(recorder.events().len(), forged.len());
    server.stop().await;
}

/// B's own key proves B under B's path, whatever the body is; and proves nothing for others.
#[actix_web::test]
async fn an_own_key_proves_its_path_in_any_encoding() {
    let recorder = Recorder::default();
    let offhook = offhook::Offhook::builder()
        .source(with_own())
        .handler("recorder", recorder.clone());
    let server = testing::start(offhook.without_admin()).await;
    let to = server.public_address();
    let of_a = r#"{"event":"status","sessionId":"A","messageId":"1"}"#;
    for (body, encoding) in [
        (gzip(of_a), "gzip"),
        (gzip(of_a.to_owned() + &" ".repeat(500_000)), "gzip"),
        (zlib(gzip(of_a)), "gzip, deflate"),
        (of_a.into(), "br"),
    ] {
        let request = TestRequest::signed(body, &secret("the key of B"));
        let request = request.header("Content-Encoding", encoding);
        for (path, expected) in [("/webhook/B", 200), ("/webhook", 401), ("/webhook/A", 401)] {
            let request = request.clone().path(path);
            assert_eq!(sent(&request, to).await, expected, "{encoding} {path}");
        }
    }
    let deliveries = recorder.deliveries();
    assert_eq!(deliveries.len(), 4);
    for (event, delivery) in recorder.events().iter().zip(&deliveries) {
        assert_eq!(
            (event.session_id(), delivery.session()),
            (Some("B"), Some("B"))
        );
    }
    server.stop().await;
}

/// Where a body names its session twice, offhook and the readers behind it mean the same one.
#[actix_web::test]
async fn a_session_named_twice_is_the_last_one() {
    let (server, recorder) =
        recording(|offhook| offhook.configure(|settings| settings.sources = vec![with_own()]))
            .await;
    let to = server.public_address();
    for (body, key, expected) in [
        (
            r#"{"event":"status","sessionId":"A","sessionId":"B"}"#,
            KEY,
            401,
        ),
        (
            r#"{"event":"status","sessionId":"A","session\u0049d":"B"}"#,
            KEY,
            401,
        ),
        (
            r#"{"event":"status","sessionId":"B","sessionId":"A"}"#,
            "the key of B",
            401,
        ),
        (
            r#"{"event":"status","sessionId":"B","sessionId":"A"}"#,
            KEY,
            200,
        ),
    ] {
        let request = TestRequest::signed(body, &secret(key));
        assert_eq!(sent(&request, to).await, expected, "{body}");
    }
    assert_eq!(recorder.events()[0].session_id(), Some("A"));
    server.stop().await;
}

/// The address is not signed: a captured request is worth nothing elsewhere.
#[actix_web::test]
async fn a_captured_request_is_a_duplicate_under_other_paths() {
    let folder = Folder::new("identity-captured");
    let server = keeping(&folder, |offhook| offhook).await;
    let to = server.public_address();
    let text = TestEvent::message("+1", "transfer 100")
        .session("A")
        .id("1")
        .body();
    for (body, encoding) in [
        (text.clone().into_bytes(), "identity"),
        (gzip(text.replace("100", "200")), "gzip"),
        (gzip(gzip(text.replace("100", "300"))), "gzip, gzip"),
        // Without an id.
        (
            TestEvent::named("presence")
                .session("A")
                .body()
                .into_bytes(),
            "identity",
        ),
        (
            TestEvent::connection("connected")
                .session("A")
                .body()
                .into_bytes(),
            "identity",
        ),
    ] {
        let request = signed(body).header("Content-Encoding", encoding);
        assert_eq!(sent(&request, to).await, NEW, "{encoding}");
        for path in [
            "/webhook",
            "/webhook/A",
            "/webhook/VICTIM",
            "/webhook/B/",
            "/webhook/%41",
        ] {
            let again = request.clone().path(path);
            assert_eq!(sent(&again, to).await, DUPLICATE, "{path} {encoding}");
        }
    }
    server.stop().await;
}

/// The body's session counts before the path's, and the API and the command line say what is odd.
#[actix_web::test]
async fn another_session_in_the_path_is_odd() {
    let folder = Folder::new("identity-odd");
    let recorder = Recorder::default();
    let server = keeping(&folder, |offhook| {
        offhook.handler("recorder", recorder.clone())
    })
    .await;
    let to = server.public_address();
    let named = TestEvent::message("+1", "Hello!")
        .session("A")
        .id("1")
        .sign(&secret(KEY));
    let unnamed = TestEvent::message("+1", "Hello!")
        .id("2")
        .sign(&secret(KEY));
    for (request, path) in [
        (&named, "/webhook/VICTIM"),
        (&unnamed, "/webhook/P"),
        (&unnamed, "/webhook/Q/"),
        (&unnamed, "/webhook"),
    ] {
        assert_eq!(sent(&request.clone().path(path), to).await, NEW, "{path}");
    }
    settled(&server).await;
    let why = "the path names the session \"VICTIM\", the body \"A\"";
    let expected = [
        (Some("A"), Some(why)),
        (Some("P"), None),
        (Some("Q"), None),
        (None, None),
    ];
    let listed = events(&server, expected.len()).await;
    for (listed, (session, odd)) in listed.iter().zip(expected) {
        let one = event(&server, listed).await;
        for shown in [listed, &one] {
            assert_eq!(
                (shown["session"].as_str(), shown["odd"].as_str()),
                (session, odd)
            );
        }
    }
    let handled = recorder.deliveries();
    assert!(
        handled
            .iter()
            .all(|delivery| delivery.session() != Some("VICTIM"))
    );

    let admin = format!("http://{}", server.admin_address().unwrap());
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        [
            run(&["events", &id, "--admin", &admin]),
            run(&["events", "--admin", &admin]),
        ]
    });
    for ran in ran.await.unwrap() {
        assert_eq!(ran.status, 0, "{ran:?}");
        assert!(ran.printed.contains(why), "{ran:?}");
    }
    server.stop().await;
}

/// A long name is cut; two long names stay two sessions, and neither borrows the other's secrets.
#[actix_web::test]
async fn long_sessions_keep_their_own_secrets() {
    let long = "x".repeat(5000);
    let own = source().session(format!("{long}1"), Secrets::new(vec![secret("own")]));
    let (server, _) =
        recording(|offhook| offhook.configure(|settings| settings.sources = vec![own])).await;
    let to = server.public_address();
    for (end, key, expected) in [
        ("1", "own", 200),
        ("1", KEY, 401),
        ("2", KEY, 200),
        ("2", "own", 401),
    ] {
        let event = TestEvent::connection("connected").session(&format!("{long}{end}"));
        assert_eq!(
            sent(&event.sign(&secret(key)), to).await,
            expected,
            "{end} {key}"
        );
    }
    server.stop().await;
}
