//! Attacks on identity: requests that claim to be from another sender or session, and what the holder of one
//! session's secret can send.

use std::time::Duration;

use fastrand::Rng;
use offhook::testing::{TestEvent, TestRequest};
use tokio::io::AsyncWriteExt as _;

use super::bodies::{dense_text, encoded, encodings, gzip, made_up_head, message, padded};
use super::kinds::{Target, somewhere};
use super::sockets::{connect, read_all, status};
use crate::support::{KEY, secret};

/// The session whose secret the attacker has.
pub const SESSION_OF_ATTACKER: &str = "odd";

const KEY_OF_ATTACKER: &str = "the-own-secret-of-odd-alone";

const PATH_OF_ATTACKER: &str = "/webhook/odd";

pub async fn unsigned_bombs(target: &Target, rng: &mut Rng) {
    let bomb = gzip(padded("A", "bomb", &"A".repeat(rng.usize(1..30) << 20)));
    let (body, encoding) = if rng.bool() {
        (gzip(bomb), "gzip, gzip")
    } else {
        (bomb, "gzip")
    };
    for signature in ["nonsense", &"0".repeat(64)] {
        let request = TestRequest::post(body.clone()).header("Content-Encoding", encoding);
        let request = request.header("X-Webhook-Signature", signature);
        let answer = status(somewhere(rng), target.public, &request.bytes()).await;
        target.expect("an unsigned bomb", &answer, &[401]);
    }
}

/// The attacker's own session may send them.
pub async fn bombs_of_one_session(target: &Target, rng: &mut Rng) {
    let id = format!("bomb-{}", rng.u64(..));
    let content = if rng.bool() {
        padded("odd", &id, &"A".repeat(rng.usize(1..30) << 20))
    } else {
        padded("odd", &id, &dense_text(rng.usize(1..8) << 20, rng))
    };
    let packed = gzip(content);
    let (body, encoding) = match rng.u8(..3) {
        0 => (gzip(packed), "gzip, gzip"),
        1 => (gzip(gzip(packed)), "gzip,gzip,gzip"),
        _ => (packed, "gzip"),
    };
    let request = encoded(body, encoding, KEY_OF_ATTACKER).path(PATH_OF_ATTACKER);
    for _ in 0..3 {
        let answer = status(somewhere(rng), target.public, &request.bytes()).await;
        target.expect("a bomb", &answer, &[200, 503]);
    }
}

pub async fn huge_names(target: &Target, rng: &mut Rng) {
    let long = "N".repeat(rng.usize(1000..2 << 20));
    let event = match rng.u8(..3) {
        0 => TestEvent::named(&long),
        1 => TestEvent::message("+1", "Hello!").id(&long),
        _ => TestEvent::message(&long, "Hello!"),
    };
    let request = event.session("odd").sign(&secret(KEY_OF_ATTACKER));
    let request = request.path(PATH_OF_ATTACKER);
    let answer = status(somewhere(rng), target.public, &request.bytes()).await;
    target.expect("a huge name", &answer, &[200, 503]);
    // Of a session with such a name.
    let request = TestEvent::named("x")
        .session(&long)
        .sign(&secret("another"));
    let answer = status(somewhere(rng), target.public, &request.bytes()).await;
    // Other attacks may have left no room for it.
    target.expect("a huge session", &answer, &[401, 503]);
}

/// In the same packet, a valid request follows one whose answer ends the connection.
pub async fn behind_a_closing_answer(target: &Target, rng: &mut Rng) {
    let wrong = made_up_head("Content-Length: 2\r\n") + "{}";
    let closing = [
        wrong.clone(),
        wrong.repeat(5),
        "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "PUT /webhook HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        "POST /webhook HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(),
        made_up_head("Content-Length: 99999999999\r\n"),
        made_up_head("Transfer-Encoding: chunked\r\n") + "0\r\n\r\n",
    ];
    for closing in closing {
        // If it were served, its session would show.
        let follows = message("behind", &format!("behind-{}", rng.u64(..))).bytes();
        let Ok(mut stream) = connect(somewhere(rng), target.public).await else {
            continue;
        };
        let _ = stream
            .write_all(&[closing.as_bytes(), &follows].concat())
            .await;
        let answers = read_all(&mut stream, Duration::from_millis(500)).await;
        let answers = String::from_utf8_lossy(&answers).into_owned();
        if answers.contains("HTTP/1.1 200") {
            target.expect("behind a closing answer", &(200, answers), &[]);
        }
    }
}

/// It is known there too: its body names its session.
pub async fn captured_under_other_paths(target: &Target, rng: &mut Rng) {
    let captured = String::from_utf8_lossy(&target.captured).into_owned();
    let paths = [
        "/webhook",
        "/webhook/",
        "/webhook/C",
        "/webhook/VICTIM",
        "/webhook/%41",
    ];
    for path in paths {
        let request = captured.replacen("POST /webhook ", &format!("POST {path} "), 1);
        let answer = status(somewhere(rng), target.public, request.as_bytes()).await;
        target.expect("a captured request", &answer, &[200]);
    }
    // The header is not signed. With it the body cannot be looked into.
    let encoding = ["gzip", "br", "gzip, gzip, gzip"][rng.usize(..3)];
    let request = captured.replacen(
        "Content-Length",
        &format!("Content-Encoding: {encoding}\r\nContent-Length"),
        1,
    );
    let request = request.replacen("POST /webhook ", "POST /webhook/VICTIM ", 1);
    let answer = status(somewhere(rng), target.public, request.as_bytes()).await;
    target.expect("a captured request with an encoding", &answer, &[401]);
    for path in ["/webhook/B", "/webhook/odd"] {
        // There only another secret counts, or the body's session.
        let request = captured.replacen("POST /webhook ", &format!("POST {path} "), 1);
        let answer = status(somewhere(rng), target.public, request.as_bytes()).await;
        target.expect("a captured request for B", &answer, &[401]);
    }
}

/// With the secret of the others, or of another session, in every encoding and with much inside.
pub async fn of_another_session(target: &Target, rng: &mut Rng) {
    let id = format!("forged-{}", rng.u64(..));
    let pad = "A".repeat([0, 1000, 500_000, 4 << 20][rng.usize(..4)]);
    let all = encodings(&padded("B", &id, &pad));
    let (encoding, body) = all[rng.usize(..all.len())].clone();
    let (key, paths) = if rng.bool() {
        (
            KEY,
            ["/webhook", "/webhook/A", "/webhook/B", "/webhook/VICTIM"],
        )
    } else {
        (
            KEY_OF_ATTACKER,
            ["/webhook", "/webhook/A", "/webhook/B", "/webhook/VICTIM"],
        )
    };
    for path in paths {
        let request = encoded(body.clone(), encoding, key).path(path);
        let answer = status(somewhere(rng), target.public, &request.bytes()).await;
        target.expect("an event of B with another's secret", &answer, &[401]);
    }
}

pub async fn repeated_headers(target: &Target, rng: &mut Rng) {
    let valid = message("repeated", &format!("repeated-{}", rng.u64(..)));
    let signature = valid.headers.last().unwrap().1.clone();
    let repeated = [
        valid.clone().header("X-Webhook-Signature", &signature),
        valid.clone().header("x-webhook-signature", "nonsense"),
        valid.clone().header("X-WEBHOOK-SIGNATURE", ""),
    ];
    for request in repeated {
        let answer = status(somewhere(rng), target.public, &request.bytes()).await;
        target.expect("a repeated header", &answer, &[401]);
    }
}
