//! Nothing behind a closing answer is answered or stored; and requests that ask to upgrade.

use std::net::SocketAddr;
use std::time::Duration;

use offhook::Server;
use offhook::testing::{Recorder, TestEvent, TestRequest};

use super::chunked;
use crate::support::{KEY, Raw, recording, secret, signed};

const RECEIVED: &str = r#"{"status":"received"}"#;

async fn serving() -> (Server, Recorder) {
    recording(|offhook| {
        offhook.configure(|settings| {
            settings.server.max_body = 1000;
            settings.server.health_path = Some("/healthz".to_owned());
            // Only so that a connection which stays open ends the test soon.
            settings.server.keep_alive = Duration::from_millis(300);
        })
    })
    .await
}

fn message(text: &str) -> TestRequest {
    TestEvent::message("+1", text).sign(&secret(KEY))
}

/// Writes one line into a request's head, behind the first one.
fn with_line(request: &[u8], line: &str) -> Vec<u8> {
    let end = request.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
    [&request[..end], line.as_bytes(), b"\r\n", &request[end..]].concat()
}

fn as_http_10(request: &TestRequest) -> Vec<u8> {
    let text = String::from_utf8(request.bytes()).unwrap();
    text.replacen("HTTP/1.1", "HTTP/1.0", 1).into_bytes()
}

/// Requests whose answer closes the connection, and its status.
fn closing() -> Vec<(&'static str, Vec<u8>, u16)> {
    let wrong = TestRequest::signed("{}", &secret("wrong"));
    let mut get = signed("{}");
    get.method = "GET".to_owned();
    let large = signed(vec![b'x'; 1001]);
    let head = "POST /webhook HTTP/1.1\r\nHost: x\r\n";
    let text = |more: &str| format!("{head}{more}\r\n").into_bytes();
    let expect = "Expect: 100-continue";
    vec![
        ("wrong", wrong.bytes(), 401),
        ("wrong, chunked", chunked(&wrong, 1), 401),
        (
            "wrong, expects",
            with_line(
                &wrong.bytes(),
                "X-Webhook-Signature: 0\r\nExpect: 100-continue",
            ),
            401,
        ),
        (
            "malformed",
            TestRequest::post("{}")
                .header("X-Webhook-Signature", "zz")
                .bytes(),
            401,
        ),
        ("unsigned", TestRequest::post("{}").bytes(), 401),
        ("unsigned without a body", text(""), 401),
        (
            "unsigned, chunked",
            text("Transfer-Encoding: chunked\r\n\r\n0\r\n"),
            401,
        ),
        ("other path", signed("{}").path("/other").bytes(), 404),
        (
            "other path, expects",
            with_line(&signed("{}").path("/other").bytes(), expect),
            404,
        ),
        ("other method", get.bytes(), 405),
        (
            "other method, expects",
            with_line(&get.bytes(), expect),
            405,
        ),
        ("health by POST", signed("{}").path("/healthz").bytes(), 405),
        ("too large", text("Content-Length: 99999999999\r\n"), 413),
        ("too large in chunks", chunked(&large, 100), 413),
        (
            "asks for the end",
            with_line(&message("first").bytes(), "Connection: close"),
            200,
        ),
        ("HTTP/1.0", as_http_10(&message("first")), 200),
        (
            "health, asks for the end",
            with_line(&TestRequest::get("/healthz").bytes(), "Connection: close"),
            200,
        ),
        (
            "websocket without a length",
            text(&upgrade_without_length()),
            400,
        ),
        (
            "two lengths",
            with_line(&signed("{}").bytes(), "Content-Length: 3"),
            400,
        ),
        ("no HTTP", b"HELLO\r\n\r\n".to_vec(), 400),
    ]
}

fn upgrade_without_length() -> String {
    let request = signed("");
    let signature = &request.headers.last().unwrap().1;
    format!("X-Webhook-Signature: {signature}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n")
}

/// Right requests that follow, in several forms.
fn following() -> [Vec<u8>; 4] {
    let next = message("behind");
    let expecting = with_line(&next.bytes(), "Expect: 100-continue");
    let mut both = next.bytes();
    both.extend(chunked(&next, 7));
    [next.bytes(), chunked(&next, 7), expecting, both]
}

#[actix_web::test]
async fn nothing_behind_a_closing_answer_is_served() {
    let (server, recorder) = serving().await;
    let to = server.public_address();
    let (following, mut conversations, mut expected) = (following(), Vec::new(), 0);
    for (name, request, status) in closing() {
        for (form, next) in following.iter().enumerate() {
            let (end, whole) = (request.len(), [&request[..], next].concat());
            for cuts in [
                vec![],
                vec![end],
                vec![end + 20],
                vec![end - 1, whole.len() - 1],
            ] {
                let what = format!("{name}, {form}, {cuts:?}");
                conversations.push(one_answer(to, whole.clone(), cuts, status, what));
                expected += usize::from(status == 200 && !name.contains("health"));
            }
        }
    }
    // At the same time, since the rest of a refused body is waited for.
    futures_util::future::join_all(conversations).await;
    let handled = recorder.deliveries();
    let mut bodies = handled.iter().map(|delivery| delivery.body());
    assert!(bodies.all(|body| !body.windows(6).any(|text| text == b"behind")));
    assert_eq!(handled.len(), expected);
    server.stop().await;
}

/// Sends the bytes in packets that end at `cuts`. One answer comes back, and the connection ends.
async fn one_answer(to: SocketAddr, bytes: Vec<u8>, cuts: Vec<usize>, status: u16, what: String) {
    let mut raw = Raw::connect(to).await;
    let mut from = 0;
    for cut in cuts.into_iter().chain([bytes.len()]) {
        raw.try_send(&bytes[from..cut]).await;
        // A packet of its own.
        tokio::time::sleep(Duration::from_millis(2)).await;
        from = cut;
    }
    assert_eq!(raw.answer().await.status, status, "{what}");
    raw.expect_end().await;
}

/// Many wrong ones in one packet get one answer.
#[actix_web::test]
async fn five_wrong_requests_get_one_answer() {
    let (server, recorder) = serving().await;
    let wrong = TestRequest::signed("{}", &secret("wrong")).bytes();
    let mut raw = Raw::connect(server.public_address()).await;
    raw.send([wrong.repeat(5), message("behind").bytes()].concat())
        .await;
    assert_eq!(raw.answer().await.status, 401);
    raw.expect_end().await;
    assert!(recorder.events().is_empty());
    server.stop().await;
}

#[actix_web::test]
async fn the_admin_listener_serves_nothing_behind_an_end() {
    let (server, _) = recording(|offhook| offhook.admin_bind(([127, 0, 0, 1], 0))).await;
    let health = TestRequest::get("/health").bytes();
    let mut raw = Raw::connect(server.admin_address().unwrap()).await;
    let last = with_line(&health, "Connection: close");
    raw.send([&health[..], &last, &health].concat()).await;
    assert_eq!(raw.answer().await.status, 200);
    assert_eq!(raw.answer().await.status, 200);
    raw.expect_end().await;
    server.stop().await;
}

const UPGRADES: [&str; 5] = [
    "Upgrade: websocket",
    "Upgrade: websocket\r\nConnection: Upgrade",
    "Connection: Upgrade\r\nUpgrade: WebSocket\r\nSec-WebSocket-Version: 13",
    "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk",
    "Upgrade: websocket, h2c\r\nConnection: upgrade",
];

/// A proxy may add such headers: the request is what its length says.
#[actix_web::test]
async fn a_request_to_upgrade_is_taken_by_its_length() {
    let (server, recorder) = serving().await;
    let to = server.public_address();
    for (count, upgrade) in UPGRADES.into_iter().enumerate() {
        let body = format!("{{\"event\":\"message\",\"n\":{count}}}");
        let request = with_line(&signed(body.as_str()).bytes(), upgrade);
        let mut raw = Raw::connect(to).await;
        // In pieces, of which the last one has one byte.
        raw.send(&request[..request.len() - 9]).await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        raw.send(&request[request.len() - 9..request.len() - 1])
            .await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        raw.send(&request[request.len() - 1..]).await;
        raw.expect(200, RECEIVED).await;
        let deliveries = recorder.deliveries();
        assert_eq!(deliveries.len(), count + 1, "{upgrade}");
        assert_eq!(&deliveries[count].body()[..], body.as_bytes());
    }
    // One that is not signed is refused as any other.
    let wrong = with_line(
        &TestRequest::signed("{}", &secret("wrong")).bytes(),
        UPGRADES[1],
    );
    let mut raw = Raw::connect(to).await;
    raw.send(wrong).await;
    assert_eq!(raw.answer().await.status, 401);
    raw.expect_end().await;
    server.stop().await;
}

/// What follows is no part of the body. It is served where the connection stays open, and not where the
/// answer says that it ends; in no case is it swallowed.
#[actix_web::test]
async fn what_follows_a_request_to_upgrade_is_not_swallowed() {
    let (server, recorder) = serving().await;
    let to = server.public_address();
    for upgrade in UPGRADES {
        for pipelined in [true, false] {
            let before = recorder.deliveries().len();
            let first = with_line(&message("first").bytes(), upgrade);
            let next = message("behind").bytes();
            let mut raw = Raw::connect(to).await;
            if pipelined {
                raw.send([first, next.clone()].concat()).await;
            } else {
                raw.send(first).await;
            }
            let answer = raw.answer().await;
            assert_eq!(
                (answer.status, answer.text().as_str()),
                (200, RECEIVED),
                "{upgrade}"
            );
            let ends = answer.header("connection") == Some("close");
            if !pipelined && !ends {
                raw.send(next).await;
            }
            if !ends {
                raw.expect(200, RECEIVED).await;
            }
            raw.expect_end().await;
            let now = recorder.deliveries().len();
            assert_eq!(
                now - before,
                1 + usize::from(!ends),
                "{upgrade} {pipelined}"
            );
            assert!(recorder.deliveries()[before].body().ends_with(b"\"text\"}"));
        }
    }
    server.stop().await;
}
