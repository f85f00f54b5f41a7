//! The sender's own id decides what is a duplicate, wherever the scheme or the source has it.

use std::time::Duration;

use offhook::Source;
use offhook::clock::{Clock as _, SystemClock};
use offhook::dialect::Raw;
use offhook::settings::{JournalSettings, SqliteSettings};
use offhook::signature::{Generic, StandardWebhooks};
use offhook::testing::{Recorder, TestEvent, TestRequest};
use offhook::{Offhook, Server, testing};
use serde_json::{Value, json};

use super::{DUPLICATE, NEW, event, events, gzip, sent};
use crate::records::settled;
use crate::served::Served;
use crate::support::{Folder, KEY, bounded, secret};

/// `offhook serve` with this source, on short windows for what has no id.
fn settings(folder: &Folder, source: &str) {
    let text = format!(
        "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
         [journal]\npath = \"journal\"\ndedup_window = \"1h\"\ndedup_window_unkeyed = \"1ms\"\n\
         [[sources]]\nname = \"s\"\nsecrets = [\"{KEY}\"]\n{source}\n\
         [[handlers]]\nname = \"kept\"\nuse = \"jsonl\"\npath = \"handled.jsonl\"\n"
    );
    std::fs::write(folder.0.join("settings.toml"), text).unwrap();
}

/// A request as Standard Webhooks signs it now.
fn standard(id: &str, body: &[u8]) -> TestRequest {
    let scheme = StandardWebhooks::default();
    let signed = scheme.sign_as(id, body, &secret(KEY), SystemClock.now());
    signed
        .into_iter()
        .fold(TestRequest::post(body), |request, header| {
            request.header(&header.name, &header.value)
        })
}

/// Sends what has no id until its window has passed.
async fn until_unkeyed_is_over(served: &Served, unkeyed: &TestRequest) {
    let again = async || sent(unkeyed, served.public).await;
    bounded(async { while again().await != NEW {} }).await;
}

#[actix_web::test]
async fn a_webhook_id_decides_over_time_and_kills() {
    let folder = Folder::new("identity-webhook-id");
    settings(
        &folder,
        "scheme = \"standard-webhooks\"\ndialect = \"raw\"\nsession_pointer = \"/tenant\"",
    );
    let body = br#"{"type":"invoice.paid","data":{"id":1}}"#;
    let other = br#"{"data":{"id":1},"type":"invoice.paid"}"#;
    let of_tenant = br#"{"type":"invoice.paid","tenant":"t"}"#;
    let packed = |body: &[u8]| standard("msg_3", &gzip(body)).header("Content-Encoding", "gzip");
    let mut served = Served::start(&folder);
    assert_eq!(sent(&standard("msg_1", body), served.public).await, NEW);
    assert_eq!(sent(&standard("msg_2", body), served.public).await, NEW);
    assert_eq!(sent(&packed(body), served.public).await, NEW);
    assert_eq!(
        sent(&standard("msg_1", of_tenant), served.public).await,
        NEW
    );
    for _ in 0..2 {
        for request in [
            standard("msg_1", body),
            standard("msg_1", other),
            standard("msg_1", b"no JSON"),
            standard("msg_2", other),
            packed(other),
            standard("msg_1", of_tenant),
        ] {
            assert_eq!(
                sent(&request, served.public).await,
                DUPLICATE,
                "{request:?}"
            );
        }
        // With SIGKILL.
        drop(served.program.kill());
        served = Served::start(&folder);
    }
    served.program.stop();
}

/// A header of the sender's choice must not push the id out of what is kept: the id is signed, and a
/// captured request comes with any other header.
#[actix_web::test]
async fn other_headers_do_not_hide_the_id() {
    let folder = Folder::new("identity-headers");
    settings(&folder, "scheme = \"standard-webhooks\"\ndialect = \"raw\"");
    let served = Served::start(&folder);
    let plain = standard("msg_1", b"{}");
    assert_eq!(sent(&plain, served.public).await, NEW);
    let mut table = Vec::new();
    let mut long_type = plain.clone();
    long_type.headers[0].1 = format!("application/json; x={}", "x".repeat(8 * 1024 - 22));
    table.push(long_type);
    table.push(plain.clone().header("X-Long", &"x".repeat(9 * 1024)));
    table.push((0..80).fold(plain.clone(), |request, n| {
        request.header(&format!("X-N{n}"), "x")
    }));
    table.push((0..80).fold(plain.clone(), |request, _| {
        request.header("Content-Encoding", "identity")
    }));
    for (number, request) in table.iter().enumerate() {
        until_unkeyed_is_over_for(&served, &number.to_string()).await;
        assert_eq!(sent(request, served.public).await, DUPLICATE, "{number}");
    }
    served.program.stop();
}

async fn until_unkeyed_is_over_for(served: &Served, id: &str) {
    assert_eq!(sent(&standard(id, b"[]"), served.public).await, NEW);
    tokio::time::sleep(Duration::from_millis(2)).await;
}

#[actix_web::test]
async fn a_header_or_a_pointer_decides_for_hmac() {
    let folder = Folder::new("identity-hmac");
    settings(
        &folder,
        "scheme = \"hmac\"\nheader = \"X-Sig\"\ndialect = \"raw\"\n\
         id_header = \"X-GitHub-Delivery\"\nid_pointer = \"/data/id\"\n",
    );
    let hmac = |body: &str, id: Option<&str>| {
        let scheme = Generic::new("X-Sig");
        let header = offhook::signature::Scheme::sign(
            &scheme,
            body.as_bytes(),
            &secret(KEY),
            SystemClock.now(),
        )
        .remove(0);
        let request = TestRequest::post(body).header(&header.name, &header.value);
        match id {
            Some(id) => request.header("x-github-delivery", id),
            None => request,
        }
    };
    let mut served = Served::start(&folder);
    let first = [
        hmac(r#"{"n":1}"#, Some("a")),
        hmac(r#"{"n":1}"#, Some("b")),
        hmac(r#"{"data":{"id":"evt_1"}}"#, None),
        hmac(r#"{"data":{"id":7}}"#, None),
        hmac(r#"{"data":{"id":7.0}}"#, None),
    ];
    for request in &first {
        assert_eq!(sent(request, served.public).await, NEW, "{request:?}");
    }
    let unkeyed = hmac(r#"{"data":{"id":null}}"#, None);
    assert_eq!(sent(&unkeyed, served.public).await, NEW);
    for _ in 0..2 {
        until_unkeyed_is_over(&served, &unkeyed).await;
        for request in [
            hmac(r#"{"other":true}"#, Some("a")),
            // The header goes before the body.
            hmac(r#"{"data":{"id":"evt_2"}}"#, Some("b")),
            hmac(r#"{"data":{"id":"\u0065vt_1"},"attempt":2}"#, None),
            hmac(r#"{"attempt":2,"data":{"id":7}}"#, None),
        ] {
            assert_eq!(
                sent(&request, served.public).await,
                DUPLICATE,
                "{request:?}"
            );
        }
        drop(served.program.kill());
        served = Served::start(&folder);
    }
    served.program.stop();
}

/// The header names an event whose body does not, also when it is read from the journal again.
#[actix_web::test]
async fn a_header_names_events_over_a_restart() {
    let folder = Folder::new("identity-event-header");
    let recorder = Recorder::default();
    let scheme = Generic::new("X-Sig").event_header("X-GitHub-Event");
    let start = async |recorder: Option<Recorder>| -> Server {
        let source = Source::new("s").scheme(scheme.clone()).secret(secret(KEY));
        let offhook = Offhook::builder()
            .source(source.dialect(Raw::default().event("/name")))
            .journal(SqliteSettings::new(folder.0.join("journal")).into_settings());
        let offhook = offhook.handler("recorder", recorder.unwrap_or_default());
        testing::start(offhook).await
    };
    let signature = |body: &[u8]| {
        let signed =
            offhook::signature::Scheme::sign(&scheme, body, &secret(KEY), SystemClock.now());
        signed[0].value.clone()
    };
    let request = |body: &[u8]| {
        let request = TestRequest::post(body).header("X-Sig", &signature(body));
        request.header("X-GitHub-Event", "push")
    };
    let server = start(None).await;
    crate::records::post(&server, "/api/consumers/handler:recorder/pause", json!({})).await;
    let to = server.public_address();
    let packed = gzip(r#"{"n":2}"#);
    for request in [
        request(br#"{"n":1}"#),
        request(br#"{"name":"own"}"#),
        request(&packed).header("Content-Encoding", "gzip"),
        request(b"no JSON"),
    ] {
        assert_eq!(sent(&request, to).await, NEW);
    }
    let names =
        |events: &[Value]| -> Vec<_> { events.iter().map(|event| event["name"].clone()).collect() };
    let expected = ["push", "own", "push", "push"];
    assert_eq!(names(&events(&server, 4).await), expected);
    server.stop().await;

    // Without the index, which holds names too.
    for entry in std::fs::read_dir(folder.0.join("journal")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name.starts_with("index.db") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let server = start(Some(recorder.clone())).await;
    let listed = events(&server, 4).await;
    assert_eq!(names(&listed), expected);
    for (listed, name) in listed.iter().zip(expected) {
        assert_eq!(event(&server, listed).await["name"], name);
    }
    crate::records::post(&server, "/api/consumers/handler:recorder/resume", json!({})).await;
    settled(&server).await;
    let mut handled: Vec<_> = recorder
        .events()
        .iter()
        .map(|event| event.name().map(str::to_owned))
        .collect();
    handled.sort();
    assert_eq!(
        handled,
        ["own", "push", "push", "push"].map(|name| Some(name.to_owned()))
    );
    server.stop().await;
}

trait IntoSettings {
    fn into_settings(self) -> JournalSettings;
}

impl IntoSettings for SqliteSettings {
    fn into_settings(self) -> JournalSettings {
        JournalSettings::Sqlite(self)
    }
}

#[actix_web::test]
async fn a_window_of_zero_finds_no_duplicate() {
    for (window, unkeyed, expected) in [
        ("0s", "0s", [NEW, NEW, NEW]),
        ("0s", "60s", [NEW, DUPLICATE, DUPLICATE]),
        ("1h", "0s", [DUPLICATE, NEW, NEW]),
    ] {
        let folder = Folder::new("identity-zero");
        let text = format!(
            "[server]\nbind = \"127.0.0.1:0\"\n[admin]\nbind = \"127.0.0.1:0\"\n\
             [journal]\npath = \"journal\"\ndedup_window = \"{window}\"\n\
             dedup_window_unkeyed = \"{unkeyed}\"\n\
             [[sources]]\nname = \"s\"\nsecrets = [\"{KEY}\"]\n"
        );
        std::fs::write(folder.0.join("settings.toml"), text).unwrap();
        let served = Served::start(&folder);
        let events = [
            TestEvent::message("+1", "Hello!").id("1"),
            TestEvent::named("presence"),
            TestEvent::connection("connected"),
        ];
        for (event, expected) in events.iter().zip(expected) {
            let request = event.sign(&secret(KEY));
            assert_eq!(sent(&request, served.public).await, NEW, "{event:?}");
            assert_eq!(
                sent(&request, served.public).await,
                expected,
                "{window} {event:?}"
            );
        }
        served.program.stop();
    }
}
