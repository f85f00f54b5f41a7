//! Every row of the public listener's table, over a real socket, the odd ones with hand-made bytes.

use std::time::Duration;

use offhook::signature::Encoding;
use offhook::testing::{self, TempJournal, TestEvent, TestRequest};
use offhook::{EventKind, HandlerOptions, Offhook};

use crate::support::{
    DOCUMENTED, KEY, Raw, bounded, recording, secret, signed, source, until_metric,
};

const RECEIVED: &str = r#"{"status":"received"}"#;
const INVALID: &str = r#"{"error":"Invalid signature"}"#;
const TOO_LARGE: &str = r#"{"error":"Payload too large"}"#;

fn signature(body: &[u8]) -> String {
    let request = signed(body);
    request.headers.last().unwrap().1.clone()
}

#[actix_web::test]
async fn a_valid_signature_is_received_whatever_the_body() {
    let (server, recorder) = recording(|offhook| offhook).await;
    let bodies: [&[u8]; 8] = [
        DOCUMENTED[0].as_bytes(),
        DOCUMENTED[0].as_bytes(),
        b"",
        b"{",
        b"null",
        b"\xff\x00\xfe",
        b"{\"event\":\"presence\"}",
        b"{\"event\":\"message\",\"from\":{\"a\":1},\"timestamp\":\"soon\"}",
    ];
    for (count, body) in bodies.into_iter().enumerate() {
        let answer = signed(body).send(server.public_address()).await;
        assert_eq!((answer.status, answer.text().as_str()), (200, RECEIVED));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let deliveries = recorder.deliveries();
        assert_eq!(deliveries.len(), count + 1);
        assert_eq!(&deliveries[count].body()[..], body);
        assert_eq!(deliveries[count].attempt(), 1);
    }
    let kinds: Vec<_> = recorder.events().iter().map(|event| event.kind()).collect();
    assert_eq!(
        kinds[1..7],
        [&[EventKind::Message][..], &[EventKind::Unknown; 5]].concat()
    );
    assert_eq!(kinds[7], EventKind::Message);
    server.stop().await;
}

#[actix_web::test]
async fn every_wrong_signature_gets_the_same_answer() {
    let (server, recorder) = recording(|offhook| offhook).await;
    let body = DOCUMENTED[0];
    let right = signature(body.as_bytes());
    let base64 = Encoding::Base64.encode(&Encoding::Hex.decode(right.as_bytes()).unwrap());
    let other_secret = TestRequest::signed(body, &secret("other"));
    let wrong_digit = format!("{}0", &right[..63]);
    let table: Vec<Vec<(&str, &str)>> = vec![
        vec![],
        vec![("X-Webhook-Signature", "")],
        vec![("X-Webhook-Signature", "nonsense")],
        vec![("X-Webhook-Signature", &right[..62])],
        vec![("X-Webhook-Signature", &base64)],
        vec![("X-Webhook-Signature", "sha256=")],
        vec![("X-Webhook-Signature", "ünsichtbar")],
        vec![("X-Webhook-Signature", &wrong_digit)],
        vec![("X-Webhook-Signature", &other_secret.headers[1].1)],
        vec![
            ("X-Webhook-Signature", &right),
            ("X-Webhook-Signature", &right),
        ],
        vec![
            ("X-Webhook-Signature", &right),
            ("x-webhook-signature", "nonsense"),
        ],
        vec![("Authorization", &right)],
    ];
    let mut answers = Vec::new();
    for headers in table {
        let request = TestRequest::post(body);
        let request = headers.iter().fold(request, |request, (name, value)| {
            request.header(name, value)
        });
        let mut answer = request.send(server.public_address()).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (401, INVALID),
            "{headers:?}"
        );
        answer.headers.retain(|(name, _)| name != "date");
        answers.push(answer);
    }
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:#?}"
    );
    assert!(recorder.events().is_empty());

    // The forms that are right, for comparison.
    for form in [right.to_ascii_uppercase(), format!("sha256={right}")] {
        let request = TestRequest::post(body).header("x-webhook-SIGNATURE", &form);
        assert_eq!(request.send(server.public_address()).await.status, 200);
    }
    server.stop().await;
}

#[actix_web::test]
async fn checks_go_from_length_to_signature_to_body() {
    let (server, recorder) =
        recording(|offhook| offhook.configure(|settings| settings.server.max_body = 1000)).await;
    let to = server.public_address();
    let right = signature(&[b'x'; 1001]);

    // Over the limit by its own word: 413, signed or not, before a byte of the body.
    for signature in [format!("X-Webhook-Signature: {right}\r\n"), String::new()] {
        let mut raw = Raw::connect(to).await;
        raw.send(format!(
            "POST /webhook HTTP/1.1\r\nHost: x\r\n{signature}Content-Length: 1001\r\n\r\n"
        ))
        .await;
        raw.expect(413, TOO_LARGE).await;
        raw.try_send(&[b'x'; 1001]).await;
    }
    // Not signed: 401 before a byte of the body.
    let mut raw = Raw::connect(to).await;
    raw.send("POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        .await;
    raw.expect(401, INVALID).await;

    // Over the limit only when it has arrived in chunks: 413 after the signature's header.
    let mut raw = Raw::connect(to).await;
    raw.send(format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: {right}\r\nTransfer-Encoding: chunked\r\n\r\n"
    ))
    .await;
    for _ in 0..4 {
        raw.try_send(format!("fa\r\n{}\r\n", "x".repeat(250)).as_bytes())
            .await;
    }
    raw.try_send(b"1\r\nx\r\n0\r\n\r\n").await;
    raw.expect(413, TOO_LARGE).await;

    // As long as the limit, in one piece and in chunks: received.
    let body = "x".repeat(1000);
    assert_eq!(signed(body.as_str()).send(to).await.status, 200);
    let mut raw = Raw::connect(to).await;
    raw.send(format!(
        "POST /webhook HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: {}\r\nTransfer-Encoding: chunked\r\n\r\n\
         1f4\r\n{}\r\n1F4;note=x\r\n{}\r\n0\r\n\r\n",
        signature(body.as_bytes()),
        &body[..500],
        &body[500..]
    ))
    .await;
    raw.expect(200, RECEIVED).await;
    let deliveries = recorder.deliveries();
    assert_eq!(deliveries.len(), 2);
    assert!(
        deliveries
            .iter()
            .all(|delivery| delivery.body() == body.as_bytes())
    );
    server.stop().await;
}

#[actix_web::test]
async fn expect_100_is_refused_before_the_body() {
    let (server, recorder) = recording(|offhook| offhook).await;
    let to = server.public_address();
    let head = |line: &str, more: &str| {
        format!("{line} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n{more}\r\n")
    };
    let right = signature(b"{}");
    let table = [
        (head("POST /webhook", "Content-Length: 2\r\n"), 401, INVALID),
        (
            head(
                "POST /webhook/s",
                "Content-Length: 2\r\nX-Webhook-Signature: 0\r\nX-Webhook-Signature: 0\r\n",
            ),
            401,
            INVALID,
        ),
        (
            head("POST /webhook", "Content-Length: 99999999999\r\n"),
            413,
            TOO_LARGE,
        ),
        (
            head("POST /other", "Content-Length: 2\r\n"),
            404,
            r#"{"error":"Not found"}"#,
        ),
        (
            head("PUT /webhook", "Content-Length: 2\r\n"),
            405,
            r#"{"error":"Method not allowed"}"#,
        ),
    ];
    for (head, status, body) in table {
        let mut raw = Raw::connect(to).await;
        raw.send(&head).await;
        raw.expect(status, body).await;
    }
    // Everything right so far: 100, then the body, then the answer.
    let mut raw = Raw::connect(to).await;
    let more = format!("Content-Length: 2\r\nX-Webhook-Signature: {right}\r\n");
    raw.send(head("POST /webhook", &more)).await;
    assert_eq!(raw.answer().await.status, 100);
    raw.send("{}").await;
    raw.expect(200, RECEIVED).await;
    assert_eq!(recorder.events().len(), 1);
    // A header that cannot be read is refused as a wrong one is: after the body, so that it can be explained.
    for signature in ["nonsense", &signature(b"[]")] {
        let mut raw = Raw::connect(to).await;
        let more = format!("Content-Length: 2\r\nX-Webhook-Signature: {signature}\r\n");
        raw.send(head("POST /webhook/s", &more)).await;
        assert_eq!(raw.answer().await.status, 100);
        raw.send("{}").await;
        raw.expect(401, INVALID).await;
    }
    server.stop().await;
}

#[actix_web::test]
async fn other_methods_and_paths() {
    let (server, _) = recording(|offhook| offhook).await;
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
        for path in ["/webhook", "/webhook/408f"] {
            let mut request = signed("{}").path(path);
            request.method = method.to_owned();
            let answer = request.send(server.public_address()).await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (405, Some("POST")),
                "{method}"
            );
            assert_eq!(answer.text(), r#"{"error":"Method not allowed"}"#);
        }
    }
    for path in [
        "/",
        "/webhook//",
        "/webhook/a/b",
        "/Webhook",
        "/webhooks",
        "//webhook",
        "/..",
    ] {
        let answer = signed("{}").path(path).send(server.public_address()).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, r#"{"error":"Not found"}"#),
            "{path}"
        );
    }
    server.stop().await;
}

#[actix_web::test]
async fn a_failing_handler_is_told_to_the_sender() {
    let (server, recorder) = recording(|offhook| offhook).await;
    recorder.fail_next(1);
    let answer = signed("{}").send(server.public_address()).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (500, r#"{"error":"Handler failed"}"#)
    );
    let answer = signed("{}").send(server.public_address()).await;
    assert_eq!(answer.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn pipelined_requests_are_answered_in_order() {
    let (server, recorder) = recording(|offhook| offhook).await;
    let mut raw = Raw::connect(server.public_address()).await;
    let two = [signed(DOCUMENTED[0]).bytes(), signed(DOCUMENTED[1]).bytes()].concat();
    raw.send(&two).await;
    raw.expect(200, RECEIVED).await;
    raw.expect(200, RECEIVED).await;
    // And once more on the same connection, cut in the middle of the second head.
    raw.send(&two[..two.len() - 300]).await;
    raw.expect(200, RECEIVED).await;
    raw.send(&two[two.len() - 300..]).await;
    raw.expect(200, RECEIVED).await;
    let kinds: Vec<_> = recorder.events().iter().map(|event| event.kind()).collect();
    let pair = [EventKind::Message, EventKind::Status];
    assert_eq!(kinds, [pair, pair].concat());
    server.stop().await;
}

#[actix_web::test]
async fn ambiguous_requests_are_refused() {
    let (server, recorder) = recording(|offhook| offhook).await;
    let right = signature(b"{}");
    let odd = [
        "Content-Length: 2\r\nContent-Length: 3\r\n",
        "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked, identity\r\n",
        "Content-Length: +2\r\n",
        "Content-Length: 2 \r\nHost: y\r\n",
    ];
    for headers in odd {
        let mut raw = Raw::connect(server.public_address()).await;
        let head = format!("POST /webhook HTTP/1.1\r\nHost: x\r\nX-Webhook-Signature: {right}\r\n");
        raw.send(format!("{head}{headers}\r\n{{}}")).await;
        assert_eq!(raw.answer().await.status, 400, "{headers}");
        raw.expect_end().await;
    }
    assert!(recorder.events().is_empty());
    server.stop().await;
}

#[actix_web::test]
async fn a_full_byte_budget_answers_503() {
    let (server, recorder) = recording(|offhook| {
        offhook
            .admin_bind(([127, 0, 0, 1], 0))
            .configure(|settings| {
                settings.server.max_body = 1000;
                settings.server.max_in_flight = 1500;
            })
    })
    .await;
    let to = server.public_address();
    let body = "x".repeat(1000);
    let whole = signed(body.as_str()).bytes();
    let held = whole.len() - 100;

    // Room is held for the length that the head declares, at most twice what has arrived. Two such bodies do
    // not fit; of two that are as large the second one is refused.
    let mut first = Raw::connect(to).await;
    first.send(&whole[..held]).await;
    until_metric(&server, "offhook_in_flight_bytes 1000").await;
    let mut second = Raw::connect(to).await;
    second.send(&whole).await;
    let answer = second
        .expect(503, r#"{"error":"Temporarily unavailable"}"#)
        .await;
    assert_eq!(answer.header("retry-after"), Some("1"));

    // Small ones still fit, and when the large one is done so do large ones.
    assert_eq!(signed("{}").send(to).await.status, 200);
    first.send(&whole[held..]).await;
    first.expect(200, RECEIVED).await;
    assert_eq!(signed(body.as_str()).send(to).await.status, 200);
    assert_eq!(recorder.events().len(), 3);
    server.stop().await;
}

#[actix_web::test]
async fn over_the_limit_the_oldest_idle_connection_ends() {
    let (server, _) = recording(|offhook| {
        offhook.configure(|settings| {
            settings.server.workers = 1;
            settings.server.max_connections = 2;
        })
    })
    .await;
    let to = server.public_address();
    let request = signed("{}").bytes();
    let mut open = vec![Raw::connect(to).await, Raw::connect(to).await];
    for raw in &mut open {
        raw.send(&request).await;
        raw.expect(200, RECEIVED).await;
    }
    // Both have proven who they are.
    let mut third = Raw::connect(to).await;
    third.send(&request).await;
    third.expect(200, RECEIVED).await;
    open.remove(0).expect_end().await;
    // A stranger ends before them, however new it is.
    let mut stranger = Raw::connect(to).await;
    stranger.send("POST /webhook HTTP/1.1\r\n").await;
    open.remove(0).expect_end().await;
    let mut fourth = Raw::connect(to).await;
    fourth.send(&request).await;
    fourth.expect(200, RECEIVED).await;
    stranger.expect_end().await;
    third.send(&request).await;
    third.expect(200, RECEIVED).await;
    server.stop().await;
}

#[actix_web::test]
async fn a_content_encoding_is_decoded_only_for_events() {
    use std::io::Write as _;
    let pack = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let (server, recorder) =
        recording(|offhook| offhook.configure(|settings| settings.server.max_body = 100_000)).await;
    let bomb = pack(&format!(
        "{{\"event\":\"message\",\"x\":\"{}\"}}",
        "0".repeat(200_000)
    ));
    let table = [
        (pack(DOCUMENTED[0]), "gzip", EventKind::Message),
        (b"no gzip".to_vec(), "gzip", EventKind::Unknown),
        (bomb, "gzip", EventKind::Unknown),
        (DOCUMENTED[0].as_bytes().to_vec(), "br", EventKind::Unknown),
        (
            DOCUMENTED[0].as_bytes().to_vec(),
            "identity",
            EventKind::Message,
        ),
    ];
    for (index, (body, encoding, kind)) in table.into_iter().enumerate() {
        let request = signed(body.clone()).header("Content-Encoding", encoding);
        assert_eq!(request.send(server.public_address()).await.status, 200);
        let delivery = &recorder.deliveries()[index];
        assert_eq!(recorder.events()[index].kind(), kind, "{encoding}");
        assert_eq!(&delivery.body()[..], body);
        assert_eq!(
            delivery.header("Content-Encoding"),
            Some(encoding.as_bytes())
        );
    }
    assert_eq!(
        &recorder.deliveries()[0].content()[..],
        DOCUMENTED[0].as_bytes()
    );
    server.stop().await;
}

#[actix_web::test]
async fn a_handler_sees_only_what_it_wants() {
    let all = offhook::testing::Recorder::default();
    let (server, some) = {
        let all = all.clone();
        let some = offhook::testing::Recorder::default();
        let options = HandlerOptions::default()
            .events([EventKind::Status])
            .sessions(["408f7372-f7c9-4299-a8db-326bc5548a73"]);
        let (server, _) = recording(|offhook| {
            offhook
                .handler("all", all)
                .handler_with("some", some.clone(), options)
        })
        .await;
        (server, some)
    };
    let to = server.public_address();
    for body in DOCUMENTED {
        signed(body).send(to).await;
    }
    let other = TestEvent::status("2", "read").session("other");
    other.sign(&secret(KEY)).send(to).await;
    assert_eq!(all.events().len(), 4);
    assert_eq!(some.events().len(), 1);
    assert_eq!(some.events()[0].kind(), EventKind::Status);
    server.stop().await;
}

/// As when a program that embeds it fails, and tries again.
#[actix_web::test]
async fn a_server_that_is_dropped_serves_nothing() {
    let journal = TempJournal::new();
    let offhook = || {
        Offhook::builder()
            .source(source())
            .journal(journal.settings())
    };
    let server = testing::start(offhook()).await;
    let addresses = [server.public_address(), server.admin_address().unwrap()];
    drop(server);
    let nothing_listens = async {
        for address in addresses {
            while tokio::net::TcpStream::connect(address).await.is_ok() {
                actix_rt::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    bounded(nothing_listens).await;
    // What it had is free again.
    let started = async {
        loop {
            let again = offhook().bind(addresses[0]).without_admin().start().await;
            match again {
                Ok(server) => return server,
                Err(error) => {
                    println!("not yet: {error}");
                    actix_rt::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    };
    bounded(started).await.stop().await;
}
