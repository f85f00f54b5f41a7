//! The same requests to three real receivers: `examples/server`, and the Flask and the Express app
//! of the gateway's documentation. Status, body and printed lines are compared; every difference
//! stands in the table with its reason, and one that is no longer there fails the test too.
//!
//! The peers are installed by `./test` (pinned in `tests/peers/`) and found through
//! `OFFHOOK_TEST_PEERS`. Without it this test has nothing to compare with and says so.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use offhook::testing::{TestEvent, TestRequest};

use crate::support::{
    DOCUMENTED, KEY, PRINTED, Program, address_in, example, peers, secret, signed,
};

/// What a receiver answers and prints.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    status: u16,
    /// The JSON text without surrounding white space; `"(html)"` for a page made for people.
    body: String,
    lines: Vec<String>,
}

struct Case {
    what: &'static str,
    request: TestRequest,
    ours: Seen,
    flask: Differs,
    express: Differs,
}

/// How a peer differs from us, and why that is so.
type Differs = Option<(Seen, &'static str)>;

const RECEIVED: &str = r#"{"status":"received"}"#;
const INVALID: &str = r#"{"error":"Invalid signature"}"#;

fn seen(status: u16, body: &str, lines: &[&str]) -> Seen {
    Seen {
        status,
        body: body.to_owned(),
        lines: lines.iter().map(|line| (*line).to_owned()).collect(),
    }
}

fn received(lines: &[&str]) -> Seen {
    seen(200, RECEIVED, lines)
}

fn page(status: u16) -> Seen {
    seen(status, "(html)", &[])
}

/// A case in which all three agree.
fn same(what: &'static str, request: TestRequest, ours: Seen) -> Case {
    Case {
        what,
        request,
        ours,
        flask: None,
        express: None,
    }
}

impl Case {
    fn flask(mut self, seen: Seen, why: &'static str) -> Self {
        self.flask = Some((seen, why));
        self
    }

    fn express(mut self, seen: Seen, why: &'static str) -> Self {
        self.express = Some((seen, why));
        self
    }
}

fn cases() -> Vec<Case> {
    let groups = [documented(), signatures(), fields(), bodies(), targets()];
    groups.into_iter().flatten().collect()
}

/// What the documentation shows, or allows for.
fn documented() -> Vec<Case> {
    let [message, status, connection] = DOCUMENTED;
    vec![
        same(
            "the documented message",
            signed(message),
            received(&[PRINTED[0]]),
        ),
        same(
            "the documented status",
            signed(status),
            received(&[PRINTED[1]]),
        ),
        same(
            "the documented connection",
            signed(connection),
            received(&[PRINTED[2]]),
        ),
        same(
            "the same message again",
            signed(message),
            received(&[PRINTED[0]]),
        ),
        same(
            "emoji",
            message_of("👨‍👩‍👧 café"),
            received(&["New message from +1: 👨‍👩‍👧 café"]),
        ),
        same(
            "an unknown event",
            signed(r#"{"event":"presence"}"#),
            received(&[]),
        ),
        same(
            "unknown fields",
            signed(r#"{"event":"connection","status":"x","new":[1]}"#),
            received(&["Connection status: x"]),
        ),
        same(
            "a repeated key",
            signed(r#"{"event":"connection","status":"a","status":"b"}"#),
            received(&["Connection status: b"]),
        ),
    ]
}

/// What the signature header says.
fn signatures() -> Vec<Case> {
    let message = DOCUMENTED[0];
    let right = signed(message).headers[1].1.clone();
    let with = |value: &str| TestRequest::post(message).header("X-Webhook-Signature", value);
    vec![
        same(
            "another secret",
            TestRequest::signed(message, &secret("other")),
            seen(401, INVALID, &[]),
        ),
        same(
            "upper-case hex",
            with(&right.to_ascii_uppercase()),
            received(&[PRINTED[0]]),
        )
        .flask(seen(401, INVALID, &[]), AS_TEXT)
        .express(seen(401, INVALID, &[]), AS_TEXT),
        same(
            "the prefix sha256=",
            with(&format!("sha256={right}")),
            received(&[PRINTED[0]]),
        )
        .flask(
            seen(401, INVALID, &[]),
            "the prefix is no part of the documentation; many senders add it",
        )
        .express(page(500), TIMING_SAFE),
        same(
            "a signature that is too short",
            with("75b621"),
            seen(401, INVALID, &[]),
        )
        .express(page(500), TIMING_SAFE),
        same(
            "no signature",
            TestRequest::post(message),
            seen(401, INVALID, &[]),
        )
        .flask(page(500), NO_CHECK)
        .express(page(500), NO_CHECK),
        same(
            "a repeated signature",
            signed(message).header("X-Webhook-Signature", &right),
            seen(401, INVALID, &[]),
        )
        .express(page(500), TIMING_SAFE),
    ]
}

/// Events whose fields are not what a handler expects.
fn fields() -> Vec<Case> {
    vec![
        same(
            "an event without its fields",
            signed(r#"{"event":"message"}"#),
            received(&["New message from : "]),
        )
        .flask(page(500), "data['from'] is a KeyError; the event is lost")
        .express(
            received(&["New message from undefined: undefined"]),
            "JavaScript's word for what is not there",
        ),
        same(
            "null fields",
            signed(r#"{"event":"message","from":null,"message":null}"#),
            received(&["New message from : "]),
        )
        .flask(received(&["New message from None: None"]), PYTHON_WORD)
        .express(received(&["New message from null: null"]), JS_WORD),
        same(
            "a number for a text",
            message_of(1.5),
            received(&["New message from +1: "]),
        )
        .flask(received(&["New message from +1: 1.5"]), WRONG_TYPE)
        .express(received(&["New message from +1: 1.5"]), WRONG_TYPE),
        same(
            "a line break in a text",
            message_of("a\nb"),
            received(&[r"New message from +1: a\nb"]),
        )
        .flask(received(&["New message from +1: a", "b"]), FORGED_LINE)
        .express(received(&["New message from +1: a", "b"]), FORGED_LINE),
        same(
            "a lone surrogate",
            signed(r#"{"event":"message","from":"+1","message":"\ud83d"}"#),
            received(&["New message from +1: \u{fffd}"]),
        )
        .flask(page(500), "print cannot encode it; the event is lost"),
    ]
}

/// Bodies that are no event, are said to be no JSON, or are large.
fn bodies() -> Vec<Case> {
    let message = DOCUMENTED[0];
    vec![
        same("an empty object", signed("{}"), received(&[])),
        same("not JSON", signed("hello"), received(&[]))
            .flask(page(400), NOT_JSON)
            .express(page(400), NOT_JSON),
        same("an empty body", signed(""), received(&[])).flask(page(400), NOT_JSON),
        same("an array", signed("[1]"), received(&[]))
            .flask(page(500), "a list has no .get; the event is lost"),
        same(
            "another content type",
            {
                let mut request = signed(message);
                request.headers[0].1 = "text/plain".to_owned();
                request
            },
            received(&[PRINTED[0]]),
        )
        .flask(page(415), "Flask reads JSON by its content type only")
        .express(
            page(500),
            "express.json() skips it, so there is no raw body to verify",
        ),
        same(
            "a text of 150 kB",
            message_of("x".repeat(150_000)),
            received(&[&format!("New message from +1: {}", "x".repeat(150_000))]),
        )
        .express(
            page(413),
            "express.json() takes 100 kB by default; we take 32 MiB",
        ),
    ]
}

/// Other paths and methods.
fn targets() -> Vec<Case> {
    let message = DOCUMENTED[0];
    vec![
        same(
            "a session in the path",
            signed(message).path("/webhook/408f"),
            received(&[PRINTED[0]]),
        )
        .flask(page(404), NO_SESSION_PATH)
        .express(page(404), NO_SESSION_PATH),
        same(
            "another method",
            {
                let mut request = signed(message);
                request.method = "PUT".to_owned();
                request
            },
            seen(405, r#"{"error":"Method not allowed"}"#, &[]),
        )
        .flask(page(405), JSON_ERRORS)
        .express(page(404), PEERS_405),
        same(
            "another path",
            signed(message).path("/other"),
            seen(404, r#"{"error":"Not found"}"#, &[]),
        )
        .flask(page(404), JSON_ERRORS)
        .express(page(404), JSON_ERRORS),
    ]
}

/// A signed message with this text, or what stands in its place.
fn message_of(value: impl Into<serde_json::Value>) -> TestRequest {
    TestEvent::named("message")
        .field("from", "+1")
        .field("message", value)
        .sign(&secret(KEY))
}

// Why the others differ.
const NO_CHECK: &str = "the documentation's verifier does not think of a missing header";
const TIMING_SAFE: &str = "crypto.timingSafeEqual throws on another length";
const AS_TEXT: &str = "compared as text; we compare the bytes it stands for";
const NOT_JSON: &str = "the app parses before it does anything; we keep what is authentic";
const PYTHON_WORD: &str = "Python's word for null";
const JS_WORD: &str = "JavaScript's word for null";
const WRONG_TYPE: &str = "a field of the wrong type is kept beside the typed event";
const FORGED_LINE: &str = "the line break is printed as it is: a sender can forge a line";
const NO_SESSION_PATH: &str = "the path with a session is ours";
const JSON_ERRORS: &str = "our error bodies are JSON";
const PEERS_405: &str = "Express knows no 405 unless the app says so";

struct Receiver {
    name: &'static str,
    program: Program,
    address: SocketAddr,
    asked: usize,
}

impl Receiver {
    fn peer(name: &'static str, command: &mut Command) -> Self {
        let program = Program::start(command);
        let address = address_in(program.line().trim_start_matches("listening on "));
        Self::new(name, program, address)
    }

    fn ours() -> Self {
        let mut command = example("server");
        command.env("OFFHOOK__SERVER__BIND", "127.0.0.1:0");
        let program = Program::start(command.env("OFFHOOK__ADMIN__BIND", "127.0.0.1:0"));
        let address = address_in(&program.logged("receiving webhooks on "));
        Self::new("offhook", program, address)
    }

    fn new(name: &'static str, program: Program, address: SocketAddr) -> Self {
        Self {
            name,
            program,
            address,
            asked: 0,
        }
    }

    async fn ask(&mut self, request: &TestRequest) -> Seen {
        let answer = request.send(self.address).await;
        let html = answer
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("text/html"));
        let body = match html {
            true => "(html)".to_owned(),
            false => answer.text().trim().to_owned(),
        };
        // What it printed is known when an event that was sent afterwards is printed.
        self.asked += 1;
        let mark = format!("mark-{}", self.asked);
        let request = TestEvent::connection(&mark).sign(&secret(KEY));
        assert_eq!(request.send(self.address).await.status, 200);
        let mark = format!("Connection status: {mark}");
        let mut lines = Vec::new();
        loop {
            let line = self.program.line();
            if line == mark {
                break;
            }
            lines.push(line);
        }
        Seen {
            status: answer.status,
            body,
            lines,
        }
    }
}

#[actix_web::test]
async fn flask_express_and_offhook_answer_the_same() {
    let Some(peers) = peers() else { return };
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let mut flask = Receiver::peer(
        "Flask",
        Command::new(peers.join("python/bin/python"))
            .arg(apps.join("flask_app.py"))
            .arg("0"),
    );
    let mut express = Receiver::peer(
        "Express",
        Command::new("node")
            .env("NODE_PATH", peers.join("node/node_modules"))
            .arg(apps.join("express_app.js"))
            .arg("0"),
    );
    let mut ours = Receiver::ours();

    let mut wrong = Vec::new();
    for case in cases() {
        let expected = [
            (&mut ours, case.ours.clone()),
            (
                &mut flask,
                case.flask.map_or(case.ours.clone(), |(seen, _)| seen),
            ),
            (
                &mut express,
                case.express.map_or(case.ours, |(seen, _)| seen),
            ),
        ];
        for (receiver, expected) in expected {
            let seen = receiver.ask(&case.request).await;
            if seen != expected {
                let what = case.what;
                wrong.push(format!(
                    "{}: {what}: {seen:.300?} instead of {expected:.300?}",
                    receiver.name
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
