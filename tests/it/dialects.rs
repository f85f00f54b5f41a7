//! The dialects of gateways: every case of `tests/gateways/dialects.jsonl` is read as it says.

mod sessions;

use std::sync::Arc;

use offhook::dialect::{Codeskytz, Dialect, Evolution, Gowa, Meta, Telegram, Waha};
use offhook::{Event, EventKind};
use proptest::prelude::*;
use serde_json::{Value, json};

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
    // Of a message and a status only: a change may be taken back, and then only its time differs.
    let volatile = [
        "timestamp",
        "messageTimestamp",
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
        let ([event], [Some(content)]) = (&before.0[..], &before.1[..]) else {
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
            let is_volatile = volatile.iter().any(|name| path.ends_with(name));
            if is_volatile && !matches!(event, Event::Change(_)) {
                continue;
            }
            // What is beside the vote or the deleted message is not it.
            if case["dialect"] == "waha" && path.starts_with("/payload/poll") {
                continue;
            }
            let mut other = whole.clone();
            let text = format!("{}!", other.pointer(path).unwrap());
            *other.pointer_mut(path).unwrap() = text.into();
            if let [Some(other)] = &contents(&other).1[..] {
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
            prop_assert!(!dialect.with_contents(&altered.as_str().into()).0.is_empty());
        }
    }
}

/// R11: the names of each gateway, with their kinds. Everything else is unknown.
const NAMES: [(&str, &str, &str); 24] = [
    ("waha", "message", "message"),
    ("waha", "message.any", "message"),
    ("waha", "message.reaction", "message"),
    ("waha", "poll.vote", "message"),
    ("waha", "message.edited", "change"),
    ("waha", "message.revoked", "change"),
    ("waha", "message.ack", "status"),
    ("waha", "message.ack.group", "status"),
    ("waha", "session.status", "connection"),
    ("evolution", "messages.upsert", "message"),
    ("evolution", "send.message", "message"),
    ("evolution", "messages.edited", "change"),
    ("evolution", "send.message.update", "change"),
    ("evolution", "messages.delete", "change"),
    ("evolution", "messages.update", "status"),
    ("evolution", "connection.update", "connection"),
    ("evolution", "status.instance", "connection"),
    ("evolution", "logout.instance", "connection"),
    ("evolution", "qrcode.updated", "connection"),
    ("gowa", "message", "message"),
    ("gowa", "message.reaction", "message"),
    ("gowa", "message.edited", "change"),
    ("gowa", "message.revoked", "change"),
    ("gowa", "message.ack", "status"),
];

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!(1)),
        Just(json!(true)),
        Just(json!("text")),
        Just(json!("1@c.us"))
    ];
    let names = "id|from|to|body|key|message|vote|poll|payload|data|ids|ack|media|reaction|status|location|after";
    leaf.prop_recursive(4, 30, 5, move |inner| {
        let fields = prop::collection::btree_map(names, inner.clone(), 0..5);
        prop_oneof![
            3 => fields.prop_map(|fields| Value::Object(fields.into_iter().collect())),
            1 => prop::collection::vec(inner, 0..3).prop_map(Value::Array),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_name_alone_decides_the_kind(
        own in any::<bool>(),
        place in 0..NAMES.len(),
        other in "[a-z.]{1,20}",
        payload in json_value(),
    ) {
        let (dialect, name, kind) = NAMES[place];
        let (name, kind) = if own { (name, kind) } else { (&*other, "unknown") };
        let is_known = NAMES.iter().any(|one| one.0 == dialect && one.1 == name);
        let field = if dialect == "evolution" { "data" } else { "payload" };
        let body = json!({ "event": name, field: payload }).to_string();
        for event in named(dialect).events(&body.into()) {
            // Of what the protocol itself says, only edits and deletions are changes.
            let is_protocol = matches!(name, "messages.edited" | "send.message.update");
            let found = event.kind().as_str();
            let is_right = found == kind || is_protocol && dialect == "evolution" && found == "unknown";
            prop_assert!(is_right || (!own && is_known), "{} {} {}", dialect, name, found);
            prop_assert_eq!(event.name(), Some(name));
        }
    }
}
