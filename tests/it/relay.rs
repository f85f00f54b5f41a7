//! Subscribers: what they are sent, and what comes of each of their answers.

use std::time::Duration;

use offhook::dialect::{Codeskytz, Dialect};
use offhook::relay::{Relay, RelayOptions, Trace};
use offhook::signature::{Scheme as _, StandardWebhooks, XWebhookSignature};
use offhook::testing::{Recorder, TestEvent};
use offhook::{Event, EventKind, HandlerOptions, Offhook, Order, Retry, Server};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use standardwebhooks::Webhook;

use crate::records::{get, keeping, post, settled, until};
use crate::subscriber::{Answer, Asked, Subscriber};
use crate::support::{DOCUMENTED, Folder, KEY, secret, signed, without_duplicates};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

/// Loopback is where tests are.
fn options() -> RelayOptions {
    let mut options = RelayOptions::default();
    options.timeout = Duration::from_secs(30);
    options.allow_private = true;
    options.give_up_on = [404].into();
    options
}

pub fn relay(url: &str) -> Relay {
    Relay::new(url, Some(secret(SECRET)), &options()).unwrap()
}

/// Three attempts, at once after one another.
pub fn retries() -> HandlerOptions {
    HandlerOptions::default().retry(Retry {
        first: Duration::from_millis(5),
        factor: 1.0,
        attempts: 3,
        ..Retry::default()
    })
}

/// A server with this subscriber alone.
async fn serving(folder: &Folder, subscriber: &Subscriber) -> Server {
    keeping(folder, |offhook| {
        subscribed(offhook, "crm", &subscriber.url())
    })
    .await
}

pub fn subscribed(offhook: Offhook, name: &str, url: &str) -> Offhook {
    offhook.handler_with(name, relay(url), retries())
}

use End::{Dead, Delivered};

/// How a script ends.
enum End {
    /// Delivered, with the outcomes of the attempts before.
    Delivered(&'static [&'static str]),
    /// A dead letter, after so many attempts.
    Dead(u64, &'static str),
}

struct Case {
    name: &'static str,
    script: Vec<Answer>,
    /// How many requests there are.
    requests: usize,
    /// How long there is at least between the first two.
    pause: Duration,
    end: End,
}

fn case(name: &'static str, script: impl Into<Vec<Answer>>, requests: usize, end: End) -> Case {
    Case {
        name,
        script: script.into(),
        requests,
        pause: Duration::ZERO,
        end,
    }
}

/// Name, statuses answered, how many requests there are, and the end.
const STATUSES: [(&str, &[u16], usize, End); 8] = [
    ("ok", &[], 1, Delivered(&[])),
    ("created", &[201], 1, Delivered(&[])),
    ("no-content", &[204], 1, Delivered(&[])),
    (
        "failing",
        &[500, 502, 500],
        3,
        Dead(3, "500 Internal Server Error"),
    ),
    (
        "failing-once",
        &[500],
        2,
        Delivered(&["500 Internal Server Error"]),
    ),
    ("refusing", &[400, 401, 599], 3, Dead(3, "599")),
    ("gone", &[410], 1, Dead(1, "rejected: {}: 410 Gone")),
    (
        "given-up",
        &[404],
        1,
        Dead(1, "rejected: {}: 404 Not Found"),
    ),
];

/// Name, the status and the `Retry-After` of the first answer, the least pause in seconds, and how the
/// first attempt failed. The second one succeeds.
const RETRY_AFTER: [(&str, u16, &str, u64, &[&str]); 4] = [
    (
        "busy",
        429,
        "1",
        1,
        &["429 Too Many Requests, Retry-After 1 s"],
    ),
    (
        "unavailable",
        503,
        "1",
        1,
        &["503 Service Unavailable, Retry-After 1 s"],
    ),
    (
        "busy-for-some-time",
        503,
        "soon",
        0,
        &["503 Service Unavailable"],
    ),
    // If this were honoured, the test would not end.
    (
        "failing-for-an-hour",
        500,
        "3600",
        0,
        &["500 Internal Server Error"],
    ),
];

/// Answers that are no whole HTTP answers.
fn broken() -> [Case; 9] {
    use Answer::{Cut, Drip, Endless, EndlessHead, LongHead, Stuck};
    [
        case(
            "cut",
            [Cut("HTTP/1.1 200 OK\r\nContent-Le"), Cut("HTTP"), Cut("")],
            3,
            Dead(3, "{}: "),
        ),
        case(
            "not-http",
            [Cut("SSH-2.0-OpenSSH_9.2\r\n")],
            2,
            Delivered(&["the answer is no HTTP: invalid HTTP version parsed"]),
        ),
        case(
            "endless-head",
            [EndlessHead(200)],
            2,
            Delivered(&["the answer's head has more than 1024 headers or 400 KiB"]),
        ),
        case("long-head", [LongHead(200, 1000)], 1, Delivered(&[])),
        // The status decides, whatever happens to the body.
        case(
            "cut-body",
            [Cut("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{")],
            1,
            Delivered(&[]),
        ),
        case("endless", [Endless(200)], 1, Delivered(&[])),
        case("stuck", [Stuck(200)], 1, Delivered(&[])),
        case("dripping", [Drip(200)], 1, Delivered(&[])),
        case(
            "endless-failure",
            [Endless(500), Drip(500)],
            3,
            Delivered(&["500 Internal Server Error"]),
        ),
    ]
}

fn cases(elsewhere: &Subscriber) -> Vec<Case> {
    let with = |status, name, value: &str| Answer::Status(status, Some((name, value.to_owned())));
    let statuses = STATUSES.into_iter().map(|(name, statuses, requests, end)| {
        let script: Vec<_> = statuses.iter().copied().map(Answer::from).collect();
        case(name, script, requests, end)
    });
    let retry_after = RETRY_AFTER.into_iter();
    let retry_after = retry_after.map(|(name, status, value, seconds, before)| Case {
        pause: Duration::from_secs(seconds),
        ..case(
            name,
            [with(status, "Retry-After", value)],
            2,
            Delivered(before),
        )
    });
    // The date has whole seconds, so what is left of the first one does not count.
    let until_a_date = Case {
        pause: Duration::from_secs(1),
        ..case(
            "busy-until",
            [Answer::RetryAfterDate(429, 2)],
            2,
            Delivered(&["429 Too Many Requests"]),
        )
    };
    let moved = case(
        "moved",
        [301, 307, 302].map(|code| with(code, "Location", &elsewhere.url())),
        3,
        Dead(3, "302 Found to http://127.0.0.1:"),
    );
    let all = statuses.chain(retry_after).chain([until_a_date, moved]);
    all.chain(broken()).collect()
}

#[actix_web::test]
async fn each_answer_has_its_end() {
    let folder = Folder::new("relay-answers");
    let elsewhere = Subscriber::start([]).await;
    let cases = cases(&elsewhere);
    let mut subscribers = Vec::new();
    for case in &cases {
        subscribers.push(Subscriber::start(case.script.clone()).await);
    }
    let server = keeping(&folder, |offhook| {
        let named = cases.iter().zip(&subscribers);
        named.fold(offhook, |offhook, (case, subscriber)| {
            subscribed(offhook, case.name, &subscriber.url())
        })
    })
    .await;
    let answer = signed(DOCUMENTED[0]).send(server.public_address()).await;
    assert_eq!(answer.status, 200);
    settled(&server).await;

    let events = get(&server, "/api/events").await;
    let path = format!(
        "/api/events/{}",
        events["events"][0]["id"].as_str().unwrap()
    );
    let ends = |case: &Case| usize::from(matches!(case.end, End::Dead(..)));
    let steps: usize = cases.iter().map(|case| case.requests + ends(case)).sum();
    let event = until(&server, &path, |event| {
        event["timeline"].as_array().unwrap().len() == steps + 2
    })
    .await;
    for (case, subscriber) in cases.iter().zip(&subscribers) {
        let name = case.name;
        let requests = subscriber.requests();
        assert_eq!(requests.len(), case.requests, "{name}");
        check_attempts(&requests);
        if let [first, second, ..] = &requests[..] {
            let pause = second.at - first.at;
            assert!(pause >= case.pause, "{name}: {pause:?}");
        }
        check_end(&server, &event, case, subscriber).await;
    }
    assert_eq!(elsewhere.requests().len(), 0);
    server.stop().await;
}

#[actix_web::test]
async fn a_silent_subscriber_holds_up_no_other() {
    let folder = Folder::new("relay-hang");
    let hanging = Subscriber::start(vec![Answer::Hang; 2]).await;
    let other = Subscriber::start([]).await;
    let mut impatient = options();
    impatient.timeout = Duration::from_secs(2);
    let relay = Relay::new(&hanging.url(), None, &impatient).unwrap();
    let often = retries().retry(Retry {
        first: Duration::from_millis(5),
        factor: 1.0,
        attempts: 100,
        ..Retry::default()
    });
    let server = keeping(&folder, |offhook| {
        let offhook = offhook.handler_with("hanging", relay, often);
        subscribed(offhook, "other", &other.url())
    })
    .await;
    signed(DOCUMENTED[0]).send(server.public_address()).await;
    hanging.asked(1).await;
    // While that one hangs.
    for number in 1..=20 {
        other.asked(number).await;
        let event = TestEvent::message("+1", "Hello!").id(&number.to_string());
        event.sign(&secret(KEY)).send(server.public_address()).await;
    }
    settled(&server).await;
    assert_eq!(other.requests().len(), 21);
    let path = format!("/api/events/{}", hanging.requests()[0].header("webhook-id"));
    let event = until(&server, &path, |event| event["state"] == "done").await;
    let words = format!("POST {}: no answer within 2s", hanging.url());
    assert!(event["timeline"].to_string().contains(&words), "{event}");
    server.stop().await;
}

/// An answer may repeat what it was sent, and end anywhere.
#[actix_web::test]
async fn a_refusal_shows_what_was_answered() {
    let folder = Folder::new("relay-refusal");
    let subscriber = Subscriber::deciding(|asked| {
        let own = asked.header("x-webhook-signature").to_owned();
        let standard = asked.header("webhook-signature").replace('/', "\\/");
        let text = format!("no\u{7}\n{own} {standard} {SECRET} {}", "é".repeat(600));
        Answer::Text(422, text)
    })
    .await;
    let server = serving(&folder, &subscriber).await;
    signed(DOCUMENTED[0]).send(server.public_address()).await;
    settled(&server).await;
    let path = format!(
        "/api/events/{}",
        subscriber.requests()[0].header("webhook-id")
    );
    let event = until(&server, &path, |event| event["state"] == "dead").await;
    let steps = event["timeline"].as_array().unwrap().iter();
    let attempts: Vec<_> = steps.filter(|step| step["what"] == "attempt").collect();
    assert_eq!(attempts.len(), 3, "{event}");
    let standard = subscriber.requests().remove(0);
    let slashes = standard.header("webhook-signature").matches('/').count();
    for (number, attempt) in attempts.iter().enumerate() {
        assert!(attempt["took_ms"].is_u64(), "{attempt}");
        let answer = attempt["answer"].as_str().unwrap();
        assert!(answer.starts_with("no\\u{0007}\\n****"), "{answer}");
        assert!(answer.ends_with("éé") && answer.len() <= 520, "{answer}");
        let stars = answer.matches('*').count();
        if number == 0 {
            assert_eq!(stars, 64 + 47 + slashes + SECRET.len(), "{answer}");
        }
    }
    let dead = get(&server, "/api/dead").await.to_string();
    assert!(
        dead.contains("422 Unprocessable") && !dead.contains("****"),
        "{dead}"
    );
    server.stop().await;
}

/// That each attempt says which it is, of the same event, and is signed.
fn check_attempts(requests: &[Asked]) {
    for (number, asked) in requests.iter().enumerate() {
        assert_eq!(asked.header("offhook-attempt"), (number + 1).to_string());
        assert_eq!(asked.header("webhook-id"), requests[0].header("webhook-id"));
        assert_eq!(asked.header("offhook-replay"), "");
        check_signatures(asked, SECRET);
    }
}

async fn check_end(server: &Server, event: &Value, case: &Case, subscriber: &Subscriber) {
    let name = case.name;
    let post = format!("POST {}", subscriber.url());
    let steps = event["timeline"].as_array().unwrap().iter();
    let consumer = format!("handler:{name}");
    let steps = steps.filter(|step| step["consumer"] == *consumer);
    let outcomes: Vec<&str> = steps
        .map(|step| step["outcome"].as_str().unwrap())
        .collect();
    let list = get(server, &format!("/api/dead?consumer={consumer}")).await;
    let dead = list["dead"].as_array().unwrap();
    match case.end {
        End::Delivered(before) => {
            assert_eq!(outcomes.last(), Some(&"done"), "{name}: {outcomes:?}");
            for (outcome, words) in outcomes.iter().zip(before) {
                let words = format!("{post}: {words}");
                assert!(outcome.starts_with(&words), "{name}: {outcome}");
            }
            assert_eq!(dead.len(), 0, "{name}");
        }
        End::Dead(attempts, words) => {
            assert_eq!(dead[0]["attempts"], attempts, "{name}");
            let reason = dead[0]["reason"].as_str().unwrap();
            let words = words.replace("{}", &post);
            assert!(reason.contains(&words), "{name}: {reason}");
            assert!(reason.contains(&post), "{name}: {reason}");
        }
    }
}

/// That both signatures are good, in our eyes and in those of the official library.
pub fn check_signatures(asked: &Asked, key: &str) {
    let now = offhook::Timestamp::from_second(asked.header("webhook-timestamp").parse().unwrap());
    let now = now.unwrap();
    let headers = asked.headers.iter();
    let headers: Vec<_> = headers
        .map(|(name, value)| (name.as_str(), value.to_str().unwrap()))
        .collect();
    let headers = &headers[..];
    let claim = XWebhookSignature.claim(&headers, now).unwrap();
    assert!(XWebhookSignature.matches(&claim, &asked.body, &secret(key)));
    let scheme = StandardWebhooks::default();
    let claim = scheme.claim(&headers, now).unwrap();
    assert!(scheme.matches(&claim, &asked.body, &secret(key)));
    // It takes nothing but text.
    if str::from_utf8(&asked.body).is_ok() {
        let official = Webhook::new(key).unwrap();
        official.verify(&asked.body, &asked.headers).unwrap();
    }
}

#[actix_web::test]
async fn every_known_body_arrives_as_it_was_sent() {
    let folder = Folder::new("relay-known");
    let subscriber = Subscriber::start([]).await;
    let server = keeping(&folder, |offhook| {
        without_duplicates(subscribed(offhook, "crm", &subscriber.url()))
    });
    let server = server.await;
    let known = std::fs::read(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/payloads/known.jsonl"
    ));
    let known = known.unwrap();
    let lines = known.strip_suffix(b"\n").unwrap_or(&known);
    let mut sent = Vec::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let answer = signed(line).send(server.public_address()).await;
        assert_eq!(answer.status, 200);
        sent.push(Sha256::digest(line));
    }
    assert!(sent.len() > 40);
    let asked = subscriber.asked(sent.len()).await;
    assert_eq!(asked.len(), sent.len());
    let mut arrived = Vec::new();
    for asked in &asked {
        assert_eq!(asked.line, "POST /hook HTTP/1.1");
        assert_eq!(asked.header("content-type"), "application/json");
        assert!(asked.header("user-agent").starts_with("offhook/"));
        check_signatures(asked, SECRET);
        arrived.push(Sha256::digest(&asked.body));
    }
    sent.sort_unstable();
    arrived.sort_unstable();
    assert_eq!(arrived, sent);
    server.stop().await;
}

#[actix_web::test]
async fn only_type_and_encoding_are_relayed() {
    use std::io::Write as _;
    let folder = Folder::new("relay-gzip");
    let subscriber = Subscriber::start([]).await;
    let server = serving(&folder, &subscriber).await;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    // It names no session, so the path does.
    encoder
        .write_all(br#"{"event":"message","messageId":"1"}"#)
        .unwrap();
    let packed = encoder.finish().unwrap();
    let mut request = signed(packed.clone()).path("/webhook/%C3%BC%20%25");
    request.headers[0].1 = "application/json; charset=utf-8".to_owned();
    let request = request
        .header("Content-Encoding", "gzip")
        .header("X-Forwarded-For", "10.0.0.1")
        .header("X-Own", "1");
    assert_eq!(request.send(server.public_address()).await.status, 200);
    let mut bare = signed("no type").path("/webhook/bare");
    bare.headers.remove(0);
    assert_eq!(bare.send(server.public_address()).await.status, 200);

    let asked = subscriber.asked(2).await;
    let named = |session| {
        let mut asked = asked.iter();
        asked
            .find(|asked| asked.header("offhook-session") == session)
            .unwrap()
    };
    let packed_request = named("%C3%BC%20%25");
    assert_eq!(packed_request.body, packed);
    assert_eq!(packed_request.header("content-encoding"), "gzip");
    assert_eq!(
        packed_request.header("content-type"),
        "application/json; charset=utf-8"
    );
    let bare = named("bare");
    assert_eq!(bare.body, b"no type");
    let mut names: Vec<&str> = bare.headers.keys().map(|name| name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "accept",
            "content-length",
            "host",
            "offhook-attempt",
            "offhook-session",
            "user-agent",
            "webhook-id",
            "webhook-signature",
            "webhook-timestamp",
            "x-webhook-signature",
        ]
    );
    server.stop().await;
}

#[actix_web::test]
async fn a_replay_is_marked_and_keeps_its_id() {
    let folder = Folder::new("relay-replay");
    let subscriber = Subscriber::start([]).await;
    let server = serving(&folder, &subscriber).await;
    signed(DOCUMENTED[0]).send(server.public_address()).await;
    let first = subscriber.asked(1).await.remove(0);
    settled(&server).await;
    let id = first.header("webhook-id");
    let replayed = post(&server, &format!("/api/events/{id}/replay"), json!({})).await;
    assert_eq!(replayed["replayed"], 1);
    let again = subscriber.asked(2).await.remove(1);
    let headers = ["webhook-id", "offhook-attempt", "offhook-replay"];
    assert_eq!(headers.map(|name| again.header(name)), [id, "1", "true"]);
    assert_eq!(again.body, first.body);
    server.stop().await;
}

#[actix_web::test]
async fn the_trace_is_the_same_over_attempts_and_replays() {
    let folder = Folder::new("relay-trace");
    let subscriber = Subscriber::start([Answer::Status(503, None)]).await;
    let mut options = options();
    options.trace = Trace::Sampled;
    let traced = Relay::new(&subscriber.url(), Some(secret(SECRET)), &options).unwrap();
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("crm", traced, retries())
    })
    .await;
    // The sender's own trace is not continued.
    let sent = signed(DOCUMENTED[0]).header("traceparent", &format!("00-{:032x}-{:016x}-01", 1, 1));
    sent.send(server.public_address()).await;
    let asked = subscriber.asked(2).await;
    settled(&server).await;
    let id = asked[0].header("webhook-id");
    post(&server, &format!("/api/events/{id}/replay"), json!({})).await;
    let asked = subscriber.asked(3).await;
    let traces: Vec<Vec<&str>> = asked
        .iter()
        .map(|one| one.header("traceparent").split('-').collect())
        .collect();
    let trace = id.replace('-', "");
    for parts in &traces {
        let [version, of, parent, flags] = parts[..] else {
            panic!("{traces:?}")
        };
        assert_eq!((version, of, flags), ("00", &*trace, "01"));
        assert_eq!(parent.len(), 16);
    }
    assert_ne!(traces[0][2], traces[1][2]);
    server.stop().await;
}

#[actix_web::test]
async fn without_a_secret_nothing_is_signed() {
    let folder = Folder::new("relay-unsigned");
    let subscriber = Subscriber::start([]).await;
    let unsigned = Relay::new(&subscriber.url(), None, &options()).unwrap();
    let server = keeping(&folder, |offhook| offhook.handler("crm", unsigned)).await;
    signed(DOCUMENTED[0]).send(server.public_address()).await;
    let asked = subscriber.asked(1).await.remove(0);
    for absent in ["x-webhook-signature", "webhook-signature"] {
        assert_eq!(asked.header(absent), "");
    }
    assert_ne!(asked.header("webhook-id"), "");
    assert_ne!(asked.header("webhook-timestamp"), "");
    server.stop().await;
}

/// Runs the test above with a proxy in its environment that nobody listens at.
#[test]
fn a_proxy_of_the_environment_is_not_asked() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    again.args(["--exact", "relay::without_a_secret_nothing_is_signed"]);
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"] {
        again.env(name, format!("http://127.0.0.1:{port}"));
    }
    let ran = again.env_remove("NO_PROXY").env_remove("no_proxy").output();
    let ran = ran.unwrap();
    let printed = String::from_utf8_lossy(&ran.stdout);
    assert!(
        ran.status.success() && printed.contains("1 passed"),
        "{printed}"
    );
}

/// Every line of a body is an event of its own.
#[derive(Debug)]
pub struct Lines;

impl Dialect for Lines {
    fn name(&self) -> &'static str {
        "lines"
    }

    fn events(&self, body: &bytestring::ByteString) -> Vec<Event> {
        let lines = body.lines();
        lines
            .flat_map(|line| Codeskytz.events(&line.into()))
            .collect()
    }
}

#[actix_web::test]
async fn several_events_are_sent_once_handled_each() {
    let folder = Folder::new("relay-batch");
    let subscriber = Subscriber::start([Answer::from(500)]).await;
    let recorder = Recorder::default();
    let server = keeping(&folder, |offhook| {
        let lines = source_of_lines();
        let offhook = subscribed(offhook.source(lines), "crm", &subscriber.url());
        let statuses = retries()
            .order(Order::Session)
            .events([EventKind::Status, EventKind::Connection]);
        offhook.handler_with("statuses", recorder.clone(), statuses)
    })
    .await;
    recorder.fail_next(1);
    let batch = DOCUMENTED.join("\n");
    signed(batch.clone())
        .path("/lines")
        .send(server.public_address())
        .await;
    settled(&server).await;
    let asked = subscriber.requests();
    let attempts: Vec<&str> = asked
        .iter()
        .map(|asked| asked.header("offhook-attempt"))
        .collect();
    assert_eq!(attempts, ["1", "2"]);
    assert!(asked.iter().all(|asked| asked.body == batch.as_bytes()));
    // The one that failed came again, and what follows it in its session waited.
    let kinds: Vec<EventKind> = recorder.events().iter().map(Event::kind).collect();
    let (status, connection) = (EventKind::Status, EventKind::Connection);
    assert_eq!(kinds, [status, status, connection]);
    server.stop().await;
}

pub fn source_of_lines() -> offhook::Source {
    offhook::Source::new("lines")
        .path("/lines")
        .dialect(Lines)
        .secret(secret(KEY))
}

#[actix_web::test]
async fn connections_are_used_again() {
    let folder = Folder::new("relay-reuse");
    let subscriber = Subscriber::start([]).await;
    let in_line = HandlerOptions::default().order(Order::Session);
    let relay = relay(&subscriber.url());
    let server = keeping(&folder, |offhook| {
        offhook.handler_with("crm", relay, in_line)
    })
    .await;
    for number in 0..MANY {
        let event = TestEvent::message("+1", "Hello!").id(&number.to_string());
        event.sign(&secret(KEY)).send(server.public_address()).await;
    }
    subscriber.asked(MANY).await;
    // A connection may be missed that has only just become free.
    let made = subscriber.connections();
    assert!(made <= MANY / 2, "{made} connections for {MANY} requests");
    server.stop().await;
}

const MANY: usize = 40;

#[actix_web::test]
async fn an_absent_subscriber_is_a_failed_attempt() {
    let folder = Folder::new("relay-nobody");
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let server = keeping(&folder, |offhook| {
        let refused = format!("http://127.0.0.1:{port}/x?token=hidden");
        let offhook = subscribed(offhook, "refused", &refused);
        subscribed(offhook, "nowhere", "http://no-such-host.invalid/x")
    })
    .await;
    signed(DOCUMENTED[0]).send(server.public_address()).await;
    settled(&server).await;
    let list = until(&server, "/api/dead", |list| {
        list["dead"].as_array().unwrap().len() == 2
    });
    let list = list.await;
    let reason = |name: &str| {
        let mut letters = list["dead"].as_array().unwrap().iter();
        let letter = letters.find(|letter| letter["consumer"] == name).unwrap();
        letter["reason"].as_str().unwrap().to_owned()
    };
    let post = format!("POST http://127.0.0.1:{port}/x?…: connection refused");
    assert_eq!(reason("handler:refused"), post);
    let nowhere = reason("handler:nowhere");
    let words =
        "POST http://no-such-host.invalid/x: the host no-such-host.invalid does not resolve";
    assert!(nowhere.starts_with(words), "{nowhere}");
    server.stop().await;
}

#[test]
fn a_relay_into_a_private_network_is_refused() {
    for url in [
        "http://127.0.0.1/",
        "http://localhost/",
        "http://10.1.2.3/",
        "ftp://crm.example/",
    ] {
        let relay = Relay::new(url, Some(secret(SECRET)), &RelayOptions::default());
        assert!(relay.is_err(), "{url}");
    }
    let relay = Relay::new(
        "https://crm.example/x?t=hidden",
        Some(secret("hidden")),
        &options(),
    );
    let shown = format!("{:?}", relay.unwrap());
    assert!(
        shown.contains("https://crm.example/x") && !shown.contains("hidden"),
        "{shown}"
    );
}
