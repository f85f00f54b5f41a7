//! Slow senders: they are told 408 in time, and disturb nobody while they last.

use std::time::Duration;

use offhook::Server;
use offhook::testing::Recorder;

use crate::support::{Raw, recording, signed};

const TIMEOUT: &str = r#"{"error":"Request timeout"}"#;

async fn impatient(request_timeout: u64, keep_alive: u64) -> (Server, Recorder) {
    recording(|offhook| {
        offhook.configure(|settings| {
            settings.server.request_timeout = Duration::from_millis(request_timeout);
            settings.server.keep_alive = Duration::from_millis(keep_alive);
        })
    })
    .await
}

#[actix_web::test]
async fn a_head_that_does_not_end_gets_408() {
    let (server, _) = impatient(300, 60_000).await;
    let to = server.public_address();
    let whole = signed("{}").bytes();

    let mut nothing = Raw::connect(to).await;
    let mut half = Raw::connect(to).await;
    half.send(&whole[..20]).await;
    nothing.expect(408, TIMEOUT).await;
    nothing.expect_end().await;
    half.expect(408, TIMEOUT).await;
    half.expect_end().await;

    // The second head on a connection that is kept open, too.
    let mut second = Raw::connect(to).await;
    second.send(&whole).await;
    assert_eq!(second.answer().await.status, 200);
    second.send(&whole[..20]).await;
    second.expect(408, TIMEOUT).await;
    second.expect_end().await;
    server.stop().await;
}

#[actix_web::test]
async fn a_trickling_head_gets_408() {
    let (server, recorder) = impatient(500, 60_000).await;
    let mut raw = Raw::connect(server.public_address()).await;
    let whole = signed("{}").bytes();
    let mut trickle = whole.chunks(1);
    let answer = loop {
        if let Some(byte) = trickle.next() {
            raw.try_send(byte).await;
        }
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(50), raw.answer()).await {
            break answer;
        }
    };
    assert_eq!(answer.status, 408);
    assert!(recorder.events().is_empty());
    server.stop().await;
}

#[actix_web::test]
async fn a_body_that_does_not_end_gets_408() {
    let (server, recorder) = impatient(300, 60_000).await;
    let mut raw = Raw::connect(server.public_address()).await;
    let whole = signed("{ \"event\": \"message\" }").bytes();
    raw.send(&whole[..whole.len() - 5]).await;
    let answer = raw.expect(408, TIMEOUT).await;
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(recorder.events().is_empty());
    server.stop().await;
}

/// A server that is as impatient, and wants bodies to come so fast.
async fn pacing(request_timeout: u64, min_body_rate: u64) -> (Server, Recorder) {
    recording(|offhook| {
        offhook.configure(|settings| {
            settings.server.request_timeout = Duration::from_millis(request_timeout);
            settings.server.min_body_rate = min_body_rate;
        })
    })
    .await
}

/// A signed body of 40 pieces, and how they are sent: with a length, in chunks, or after `100 Continue`.
struct Upload {
    head: Vec<u8>,
    pieces: Vec<Vec<u8>>,
    is_asked_for: bool,
}

fn uploads() -> [Upload; 3] {
    let body = vec![b'x'; 40 * 1000];
    let request = signed(body.clone());
    let whole = request.bytes();
    let head = String::from_utf8(whole[..whole.len() - body.len()].to_vec()).unwrap();
    let plain: Vec<Vec<u8>> = body.chunks(1000).map(<[u8]>::to_vec).collect();
    let mut chunks: Vec<Vec<u8>> = { plain.iter() }
        .map(|piece| [b"3e8\r\n", &piece[..], b"\r\n"].concat())
        .collect();
    chunks.push(b"0\r\n\r\n".to_vec());
    let upload = |head: String, pieces: &[Vec<u8>], is_asked_for| Upload {
        head: head.into_bytes(),
        pieces: pieces.to_vec(),
        is_asked_for,
    };
    let length = head
        .lines()
        .find(|line| line.to_ascii_lowercase().starts_with("content-length"));
    let chunked = head.replace(length.unwrap(), "Transfer-Encoding: chunked");
    let expecting = head.replacen("\r\n", "\r\nExpect: 100-continue\r\n", 1);
    [
        upload(head, &plain, false),
        upload(chunked, &chunks, false),
        upload(expecting, &plain, true),
    ]
}

/// Sends the head and, with pauses, the pieces, until there is an answer.
async fn upload(raw: &mut Raw, upload: &Upload, pause: u64) -> u16 {
    raw.send(&upload.head).await;
    if upload.is_asked_for {
        raw.expect(100, "").await;
    }
    for piece in &upload.pieces {
        let pause = Duration::from_millis(pause);
        if let Ok(answer) = tokio::time::timeout(pause, raw.answer()).await {
            return answer.status;
        }
        raw.try_send(piece).await;
    }
    raw.answer().await.status
}

#[actix_web::test]
async fn a_steady_body_may_take_longer() {
    // Each takes 3.2 s.
    let (server, recorder) = pacing(1500, 1000).await;
    let each = uploads().map(async |one| {
        let mut raw = Raw::connect(server.public_address()).await;
        assert_eq!(upload(&mut raw, &one, 80).await, 200);
        // The connection can be used again.
        raw.send(signed("{}").bytes()).await;
        assert_eq!(raw.answer().await.status, 200);
    });
    futures_util::future::join_all(each).await;
    assert_eq!(recorder.events().len(), 6);
    server.stop().await;
}

#[actix_web::test]
async fn a_body_that_is_too_slow_gets_408() {
    let (server, recorder) = pacing(1500, 100_000).await;
    let each = uploads().map(async |one| {
        let mut raw = Raw::connect(server.public_address()).await;
        assert_eq!(upload(&mut raw, &one, 80).await, 408);
        raw.expect_end().await;
    });
    futures_util::future::join_all(each).await;
    assert!(recorder.events().is_empty());
    server.stop().await;
}

#[actix_web::test]
async fn a_body_that_falls_silent_gets_408() {
    let (server, recorder) = pacing(1000, 1).await;
    let each = uploads().map(async |mut one| {
        // It was fast before.
        one.pieces.truncate(30);
        let mut raw = Raw::connect(server.public_address()).await;
        assert_eq!(upload(&mut raw, &one, 50).await, 408);
        raw.expect_end().await;
    });
    futures_util::future::join_all(each).await;
    assert!(recorder.events().is_empty());
    server.stop().await;
}

#[actix_web::test]
async fn endless_chunks_do_not_last_forever() {
    let (server, _) = recording(|offhook| {
        offhook.configure(|settings| {
            settings.server.request_timeout = Duration::from_millis(500);
            settings.server.min_body_rate = 1000;
            settings.server.max_body = 1000;
        })
    })
    .await;
    let mut raw = Raw::connect(server.public_address()).await;
    raw.send(&uploads()[1].head).await;
    // What is behind the semicolon is no part of the body. It comes faster than the rate.
    raw.send("1;").await;
    while !raw.is_answered_within(Duration::from_millis(50)).await {
        raw.try_send(&[b'a'; 500]).await;
    }
    assert_eq!(raw.answer().await.status, 408);
    server.stop().await;
}

#[actix_web::test]
async fn an_idle_connection_is_closed_without_a_word() {
    let (server, _) = impatient(10_000, 300).await;
    let mut raw = Raw::connect(server.public_address()).await;
    raw.send(signed("{}").bytes()).await;
    assert_eq!(raw.answer().await.status, 200);
    raw.expect_end().await;
    server.stop().await;
}

#[actix_web::test]
async fn slow_senders_do_not_block_an_honest_one() {
    let (server, recorder) = impatient(20_000, 60_000).await;
    let to = server.public_address();
    let large = signed(vec![b'x'; 1024 * 1024]).bytes();
    let mut slow = Vec::new();
    for count in 0..200 {
        let mut raw = Raw::connect(to).await;
        // Half of them hang in the head, half in a body that declares a MiB.
        let sent = if count % 2 == 0 { 30 } else { 400 };
        raw.send(&large[..sent]).await;
        slow.push(raw);
    }
    for _ in 0..20 {
        assert_eq!(signed("{}").send(to).await.status, 200);
    }
    assert_eq!(recorder.events().len(), 20);
    drop(slow);
    server.stop().await;
}

#[actix_web::test]
async fn a_slow_handler_is_not_a_slow_sender() {
    struct Slow;
    #[offhook::async_trait]
    impl offhook::EventHandler for Slow {
        async fn unknown(
            &self,
            _: &offhook::UnknownEvent,
            _: &offhook::Delivery,
        ) -> Result<(), offhook::HandlerError> {
            tokio::time::sleep(Duration::from_millis(900)).await;
            Ok(())
        }
    }
    let (server, _) = recording(|offhook| {
        offhook.handler("slow", Slow).configure(|settings| {
            settings.server.request_timeout = Duration::from_millis(300);
        })
    })
    .await;
    let mut raw = Raw::connect(server.public_address()).await;
    let whole = signed("{}").bytes();
    raw.send(&whole).await;
    // The next request's head begins while the first is handled, and ends after it.
    raw.send(&whole[..20]).await;
    assert_eq!(raw.answer().await.status, 200);
    raw.send(&whole[20..]).await;
    assert_eq!(raw.answer().await.status, 200);
    server.stop().await;
}

#[actix_web::test]
async fn a_refused_endless_body_loses_its_connection() {
    let (server, _) = impatient(60_000, 60_000).await;
    let to = server.public_address();
    let chunked =
        |line: &str| format!("{line} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    let length = "POST /other HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
    let cases = [
        (chunked("POST /webhook"), 401),
        (chunked("POST /other"), 404),
        (chunked("PUT /webhook"), 405),
        (length.to_owned(), 404),
    ];
    // Side by side: each takes as long as a connection lingers.
    let all = cases.map(async |(head, status)| {
        let mut raw = Raw::connect(to).await;
        raw.send(&head).await;
        let answer = raw.answer().await;
        assert_eq!(
            (answer.status, answer.header("connection")),
            (status, Some("close"))
        );
        // Far sooner than keep-alive or request timeout would end it, and without another word.
        raw.expect_end().await;
    });
    futures_util::future::join_all(all).await;
    server.stop().await;
}

#[actix_web::test]
async fn a_slow_pipelined_body_gets_408() {
    let (server, recorder) = impatient(300, 60_000).await;
    let mut raw = Raw::connect(server.public_address()).await;
    let whole = signed("{ \"event\": \"message\" }").bytes();
    raw.send([&whole[..], &whole[..whole.len() - 5]].concat())
        .await;
    assert_eq!(raw.answer().await.status, 200);
    raw.expect(408, TIMEOUT).await;
    assert_eq!(recorder.events().len(), 1);
    server.stop().await;
}

#[actix_web::test]
async fn a_refusal_ends_a_slow_request() {
    let (server, _) = impatient(200, 200).await;
    let mut raw = Raw::connect(server.public_address()).await;
    raw.send("POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
        .await;
    assert_eq!(raw.answer().await.status, 401);
    for _ in 0..10 {
        raw.try_send(b"a piece of the body").await;
        let more = tokio::time::timeout(Duration::from_millis(50), raw.answer()).await;
        assert!(more.is_err(), "{more:?}");
    }
    server.stop().await;
}

#[actix_web::test]
async fn an_unread_answer_ends_the_connection() {
    let (server, _) = impatient(300, 60_000).await;
    let mut raw = Raw::connect(server.public_address()).await;
    let many = b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n".repeat(1000);
    // Until the buffers on both sides are full, and then until the server has had enough.
    crate::support::bounded(async { while raw.tried_to_send(&many).await {} }).await;
    server.stop().await;
}
