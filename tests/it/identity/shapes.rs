//! Two events that differ are never duplicates; the same one again is.

use offhook::Event;
use offhook::testing::{Recorder, TestEvent, TestRequest};

use super::{DUPLICATE, NEW, deflate, events, gzip, sent, zlib};
use crate::records::{keeping, settled};
use crate::support::{Folder, signed};

/// Different events, each of which could be taken for the one before it.
const DIFFERENT: [&str; 21] = [
    r#"{"event":"status","sessionId":"s","messageId":"G","status":"read","participant":"+1","timestamp":"1"}"#,
    r#"{"event":"status","sessionId":"s","messageId":"G","status":"read","participant":"+2","timestamp":"1"}"#,
    r#"{"event":"status","sessionId":"s","messageId":"G","status":"read","participant":"+3","timestamp":"1"}"#,
    r#"{"event":"status","sessionId":"s","messageId":"G","status":"played","participant":"+3","timestamp":"1"}"#,
    r#"{"event":"status","sessionId":"t","messageId":"G","status":"read","participant":"+3","timestamp":"1"}"#,
    // A message, its edit, its edits again, a reaction, the reaction taken back.
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","message":"Hello"}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","message":"Hello!"}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","message":"Hello!","edited":true}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","message":"Hello!","edited":1}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","message":"Hello!","edited":"1"}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","type":"reaction","message":"x"}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","type":"reaction","message":""}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","type":"reaction"}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","type":"reaction","message":null}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","media":{"at":{"x":[1,2]}}}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","media":{"at":{"x":[2,1]}}}"#,
    // A time within the content is content.
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","media":{"timestamp":1}}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","media":{"timestamp":2}}"#,
    // Numbers count by their text, and beyond what a float holds.
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","n":9007199254740993}"#,
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","n":9007199254740992}"#,
    // A key is repeated: readers disagree about what is meant.
    r#"{"event":"message","sessionId":"s","messageId":"M","from":"+1","n":9007199254740992,"n":1}"#,
];

#[actix_web::test]
async fn events_that_differ_are_all_new() {
    let folder = Folder::new("identity-differ");
    let recorder = Recorder::default();
    let server = keeping(&folder, |offhook| {
        offhook.handler("recorder", recorder.clone())
    })
    .await;
    let to = server.public_address();
    let mut count = 0;
    for body in DIFFERENT {
        // With an encoding they are other sessions' events, for the sake of this test.
        let packed = body
            .replace("\"s\"", "\"packed\"")
            .replace("\"t\"", "\"packed t\"");
        let zipped = packed.replace("packed", "zipped");
        for request in [
            signed(body),
            signed(gzip(packed)).header("Content-Encoding", "gzip"),
            signed(zlib(zipped)).header("Content-Encoding", "deflate"),
        ] {
            assert_eq!(sent(&request, to).await, NEW, "{body}");
            count += 1;
        }
    }
    settled(&server).await;
    assert_eq!(recorder.events().len(), count);
    // And all of them again.
    for body in DIFFERENT {
        assert_eq!(sent(&signed(body), to).await, DUPLICATE, "{body}");
    }
    server.stop().await;
}

/// Another time of sending, another order of fields, other spaces and escapes, another encoding.
#[actix_web::test]
async fn the_same_event_again_is_a_duplicate() {
    let folder = Folder::new("identity-same");
    let server = keeping(&folder, |offhook| offhook).await;
    let to = server.public_address();
    let event = |more: &str| {
        format!(
            r#"{{"event":"message","sessionId":"s","messageId":"1","from":"+1","media":{{"a":1,"b":[{{"c":2,"d":3}}]}}{more}}}"#
        )
    };
    let first = event(r#","timestamp":"2026-01-08T12:00:00Z""#);
    assert_eq!(sent(&signed(first.as_str()), to).await, NEW);
    let other_order = r#" { "messageId" : "1" , "from":"+1","media":{"b":[{"d":3, "c":2}],"a":1},
        "timestamp":1767870000, "sessionId":"\u0073","event":"message" } "#;
    let again = [
        event(""),
        event(r#","timestamp":null"#),
        event(r#","timestamp":{"at":1}"#),
        other_order.to_owned(),
        format!("\u{feff}{first}"),
    ];
    for body in again {
        for (body, encoding) in [
            (body.clone().into_bytes(), "identity"),
            (gzip(&body), "gzip"),
            (zlib(&body), "deflate"),
            (deflate(gzip(&body)), "gzip, deflate"),
        ] {
            let request = signed(body).header("Content-Encoding", encoding);
            assert_eq!(sent(&request, to).await, DUPLICATE, "{encoding}");
        }
    }
    let listed = events(&server, 21).await;
    let original = &listed[0]["id"];
    assert!(
        listed[1..]
            .iter()
            .all(|event| event["duplicate_of"] == *original)
    );
    server.stop().await;
}

/// Connection events are states: what came in between makes the same one new.
#[actix_web::test]
async fn a_session_that_flaps_loses_no_state() {
    let folder = Folder::new("identity-flaps");
    let recorder = Recorder::default();
    let server = keeping(&folder, |offhook| {
        offhook.handler("recorder", recorder.clone())
    })
    .await;
    let to = server.public_address();
    let request = |status: &str, session: &str, packed: bool| -> TestRequest {
        // All within one second of the gateway's time.
        let event = TestEvent::connection(status).session(session);
        let body = event.field("timestamp", "2026-01-08T12:00:00Z").body();
        if packed {
            signed(gzip(body)).header("Content-Encoding", "gzip")
        } else {
            signed(body)
        }
    };
    for packed in [false, true] {
        let (one, other) = if packed { ("1", "2") } else { ("3", "4") };
        let table = [
            ("connected", one, NEW),
            ("connected", one, DUPLICATE),
            ("disconnected", one, NEW),
            ("connected", one, NEW),
            ("connected", other, NEW),
            ("connected", one, DUPLICATE),
            ("disconnected", one, NEW),
            ("disconnected", one, DUPLICATE),
            ("connecting", one, NEW),
            ("connected", one, NEW),
            ("connected", other, DUPLICATE),
        ];
        for (number, (status, session, expected)) in table.into_iter().enumerate() {
            let found = sent(&request(status, session, packed), to).await;
            assert_eq!(found, expected, "{number}: {status} {session} {packed}");
        }
    }
    settled(&server).await;
    for session in ["1", "3"] {
        let events = recorder.events().into_iter();
        let states = events.filter(|event| event.session_id() == Some(session));
        let states: Vec<_> = states
            .map(|event| match event {
                Event::Connection(event) => event.status().to_string(),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected = [
            "connected",
            "disconnected",
            "connected",
            "disconnected",
            "connecting",
            "connected",
        ];
        assert_eq!(states, expected);
    }
    server.stop().await;
}

/// The newest state of each session is known after a restart too.
#[actix_web::test]
async fn states_are_compared_over_a_restart() {
    let folder = Folder::new("identity-states");
    let server = keeping(&folder, |offhook| offhook).await;
    for status in ["connected", "disconnected"] {
        let request = signed(TestEvent::connection(status).session("s").body());
        assert_eq!(sent(&request, server.public_address()).await, NEW);
    }
    server.stop().await;
    let server = keeping(&folder, |offhook| offhook).await;
    for (status, expected) in [
        ("disconnected", DUPLICATE),
        ("connected", NEW),
        ("disconnected", NEW),
    ] {
        let request = signed(TestEvent::connection(status).session("s").body());
        assert_eq!(
            sent(&request, server.public_address()).await,
            expected,
            "{status}"
        );
    }
    server.stop().await;
}
