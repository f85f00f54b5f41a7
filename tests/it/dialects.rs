//! The dialects of gateways: every case of `tests/gateways/dialects.jsonl` is read as it says.

use std::sync::Arc;

use offhook::dialect::{Codeskytz, Dialect, Evolution, Gowa, Meta, Telegram, Waha};
use offhook::signature::Secrets;
use offhook::testing::TestRequest;
use offhook::{Event, EventKind, Source};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::{KEY, recording, secret, signed};

/// The cases: a body, and what a handler gets of it, without its other fields.
fn cases() -> impl Iterator<Item = Value> {
    let lines = include_str!("../gateways/dialects.jsonl").lines();
    lines.map(|line| serde_json::from_str(line).unwrap())
}

pub fn all() -> [Arc<dyn Dialect>; 6] {
    [
        Arc::new(Codeskytz),
        Arc::new(Meta),
        Arc::new(Waha),
        Arc::new(Evolution),
        Arc::new(Gowa),
        Arc::new(Telegram),
    ]
}

pub fn named(name: &str) -> Arc<dyn Dialect> {
    let mut all = all().into_iter();
    all.find(|dialect| dialect.name() == name).unwrap()
}

fn dialect(case: &Value) -> Arc<dyn Dialect> {
    named(case["dialect"].as_str().unwrap())
}

fn body(case: &Value) -> &str {
    case["body"].as_str().unwrap()
}

/// The typed event as JSON, without its other fields and without what is null.
fn shown(event: &Event) -> Value {
    let mut shown = serde_json::to_value(event).unwrap();
    shown.as_object_mut().unwrap().remove("extra");
    shown
}

#[test]
fn each_body_is_read_as_its_case_says() {
    let (mut read, mut wrong) = (0, Vec::new());
    for case in cases() {
        let events = dialect(&case).events(&body(&case).into());
        let found: Vec<Value> = events.iter().map(shown).collect();
        let mut expected = case["expect"].as_array().unwrap().clone();
        for event in &mut expected {
            event
                .as_object_mut()
                .unwrap()
                .retain(|_, value| !value.is_null());
        }
        if found != expected {
            wrong.push(format!(
                "{}: {}\n  {found:?}\n  {expected:?}",
                case["id"], case["what"]
            ));
        }
        read += 1;
    }
    assert!(
        wrong.is_empty(),
        "{} of {read}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(read >= 125);
}

/// Every path in a value to something that is no object and no list.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                leaves(value, &format!("{path}/{name}"), found);
            }
        }
        Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                leaves(value, &format!("{path}/{place}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

/// R11, R13: whatever the fields are, a kind that has its name in the body keeps it.
#[test]
fn a_field_of_another_type_keeps_the_kind() {
    let decides = ["event", "object", "type", "fromMe", "is_from_me", "field"];
    for case in cases() {
        let Ok(whole) = serde_json::from_str::<Value>(body(&case)) else {
            continue;
        };
        let mut paths = Vec::new();
        leaves(&whole, "", &mut paths);
        let kinds = |body: &Value| -> Vec<EventKind> {
            let events = dialect(&case).events(&body.to_string().into());
            events.iter().map(Event::kind).collect()
        };
        let before = kinds(&whole);
        for path in paths {
            if decides.iter().any(|name| path.ends_with(name)) {
                continue;
            }
            let mut other = whole.clone();
            *other.pointer_mut(&path).unwrap() = json!({ "another": ["type"] });
            assert_eq!(kinds(&other), before, "{} {path}", case["id"]);
        }
    }
}

/// What a gateway wraps around an event may change; the event itself may not.
#[test]
fn a_changed_field_changes_the_content() {
    let own = [
        "/payload",
        "/data",
        "/message",
        "/edited_message",
        "/channel_post",
        "/callback_query",
    ];
    let volatile = [
        "timestamp",
        "messageTimestamp",
        "date",
        "edit_date",
        "timestampMs",
        "/data/status",
        "/data/messageId",
    ];
    let mut changed = 0;
    for case in cases() {
        let Ok(whole) = serde_json::from_str::<Value>(body(&case)) else {
            continue;
        };
        let dialect = dialect(&case);
        let contents = |body: &Value| dialect.with_contents(&body.to_string().into());
        let before = contents(&whole);
        let [(event, Some(content))] = &before[..] else {
            continue;
        };
        if !matches!(
            event,
            Event::Message(_) | Event::Sent(_) | Event::Change(_) | Event::Status(_)
        ) {
            continue;
        }
        let mut paths = Vec::new();
        leaves(&whole, "", &mut paths);
        let is_own = |path: &String| {
            own.iter().any(|own| path.starts_with(own))
                || path.contains("/messages/")
                || path.contains("/statuses/")
        };
        for path in paths.iter().filter(|path| is_own(path)) {
            if volatile.iter().any(|name| path.ends_with(name)) && path != "/data/statusReason" {
                continue;
            }
            // What is beside the vote or the deleted message is not it.
            if case["dialect"] == "waha" && path.starts_with("/payload/poll") {
                continue;
            }
            let mut other = whole.clone();
            let text = format!("{}!", other.pointer(path).unwrap());
            *other.pointer_mut(path).unwrap() = text.into();
            if let [(_, Some(other))] = &contents(&other)[..] {
                assert_ne!(other, content, "{} {path}", case["id"]);
                changed += 1;
            }
        }
    }
    assert!(changed > 300, "{changed}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    /// Cut, doubled and broken bodies.
    #[test]
    fn no_altered_body_makes_a_dialect_panic(
        number in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        with in prop_oneof![Just(""), Just("null"), Just("[]"), Just("{}"), Just("\""), Just("9e999")],
    ) {
        let cases: Vec<Value> = cases().collect();
        let case = &cases[number.index(cases.len())];
        let text = body(case);
        let places: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
        let at = places[at.index(places.len())];
        let altered = [&text[..at], with, text[at..].get(1..).unwrap_or_default()].concat();
        for dialect in all() {
            prop_assert!(!dialect.events(&altered.as_str().into()).is_empty());
            prop_assert!(!dialect.with_contents(&altered.as_str().into()).is_empty());
        }
    }
}

/// A body, and the session that it is of if it comes on the path of another that has no secrets of its own.
const NAMED: [(&str, &str, &str); 6] = [
    (
        "codeskytz",
        r#"{"event":"status","sessionId":"body"}"#,
        "body",
    ),
    ("waha", r#"{"event":"message","session":"body"}"#, "body"),
    (
        "evolution",
        r#"{"event":"messages.upsert","instance":"body"}"#,
        "body",
    ),
    ("gowa", r#"{"event":"message","device_id":"body"}"#, "body"),
    (
        "meta",
        r#"{"object":"whatsapp_business_account","entry":[{"id":"body","changes":[{"field":"messages"}]}]}"#,
        "body",
    ),
    ("telegram", r#"{"update_id":1,"message":{}}"#, "path"),
];

/// A path whose session has secrets of its own wins over the body, any other does not, under every dialect.
#[actix_web::test]
async fn a_session_is_decided_alike_under_every_dialect() {
    for (name, body, session) in NAMED {
        let mut source = Source::new("gateway").path("/in").secret(secret(KEY));
        source.dialect = named(name);
        let own = secret("a key of its own");
        let source = source.session("own", Secrets::new(vec![own.clone()]));
        let (server, recorder) = recording(|offhook| offhook.source(source)).await;
        let requests = [
            signed(body).path("/in/path"),
            TestRequest::signed(body, &own).path("/in/own"),
        ];
        for request in requests {
            let answer = request.send(server.public_address()).await;
            assert_eq!(answer.status, 200, "{name}");
        }
        let forged = signed(body)
            .path("/in/own")
            .send(server.public_address())
            .await;
        assert_eq!(forged.status, 401, "{name}");
        let events = recorder.events();
        let sessions: Vec<_> = events.iter().map(Event::session_id).collect();
        assert_eq!(sessions, [Some(session), Some("own")], "{name}");
        server.stop().await;
    }
}
