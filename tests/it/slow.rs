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
