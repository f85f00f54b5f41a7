use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::dialect::{Codeskytz, Evolution, Gowa, Hints, Meta, Raw, Telegram, Waha};

const WINDOWS: Windows = Windows {
    keyed: Duration::from_secs(3600),
    unkeyed: Duration::from_secs(60),
};

fn reader() -> BodyReader {
    BodyReader::new(Arc::new(Codeskytz), Hints::default(), 1 << 20).with_contents()
}

fn keys(reader: &BodyReader, received: &Received) -> Vec<DedupKey> {
    keys_late(reader, received, Duration::ZERO)
}

fn keys_late(reader: &BodyReader, received: &Received, late: Duration) -> Vec<DedupKey> {
    let reading = reader.read(&received.body, &received.headers);
    let read = (Some(reader), &reading.contents[..]);
    let parts = parts(received, &reading.events, read, (late, WINDOWS));
    parts.into_iter().map(|part| part.key).collect()
}

fn key(body: &str) -> DedupKey {
    let [key] = keys(&reader(), &Received::new("s", body.to_owned()))[..] else {
        panic!("{body}")
    };
    key
}

/// Keys are stored: these were made before pieces were gathered.
#[test]
fn keys_stay_as_they_are_stored() {
    let message = format!(
        r#"{{"event":"message","sessionId":"1","messageId":"m","message":"{}"}}"#,
        "x".repeat(700)
    );
    let status = r#"{"event":"status","sessionId":"1","messageId":"m","status":"read"}"#;
    assert_eq!(key(status).hash, 0x6f53_ed9c_9f62_4ca0_8ad1_c43f_6308_2413);
    assert_eq!(
        key(&message).hash,
        0x4629_086c_9aed_fb4d_4ba6_bf86_f772_0741
    );
}

/// What was refused and is taken later is compared by when it came.
#[test]
fn late_events_are_compared_by_their_receipt() {
    let late = |body: &str, came: i64, late: u64| {
        let mut received = Received::new("s", body.to_owned());
        received.received_at = crate::Timestamp::from_second(came).unwrap();
        keys_late(&reader(), &received, Duration::from_secs(late))[0].hash
    };
    let connection = r#"{"event":"connection","sessionId":"1","status":"connected"}"#;
    for body in [r#"{"alert":"disk full"}"#, connection] {
        let first = late(body, 6000, 7200);
        assert_eq!(first, late(body, 6059, 7100), "in one window: {body}");
        assert_ne!(first, late(body, 6060, 7100), "{body}");
        assert_ne!(first, late(body, 9600, 61), "{body}");
        // A sender that tries again now finds what came just before.
        assert_eq!(late(body, 13_200, 60), key(body).hash, "{body}");
        assert_ne!(first, key(body).hash, "{body}");
    }
    let named = r#"{"event":"status","sessionId":"1","messageId":"m","status":"read"}"#;
    assert_eq!(late(named, 6000, 7200), key(named).hash);
}

#[test]
fn the_same_event_sent_again_is_a_duplicate() {
    let status = |more: &str| {
        format!(r#"{{"event":"status","sessionId":"1","messageId":"m","status":"read"{more}}}"#)
    };
    let same = [
        (status(""), status(r#","timestamp":"2026-01-01T00:00:00Z""#)),
        (
            status(r#","p":"1","t":2"#),
            status(r#", "t" : 2, "p":"\u0031""#),
        ),
        // Without a name it is inferred.
        (
            r#"{"from":"+1","messageId":"m"}"#.to_owned(),
            r#"{"messageId":"m","from":"+1","timestamp":7}"#.to_owned(),
        ),
    ];
    for (one, other) in same {
        assert_eq!(key(&one), key(&other), "{one} {other}");
    }
    let different = [
        // An empty id is none, so the time counts.
        (
            r#"{"from":"+1","messageId":"","timestamp":1}"#.to_owned(),
            r#"{"from":"+1","messageId":"","timestamp":2}"#.to_owned(),
        ),
        (status(""), status(r#","participant":"1""#)),
        (
            status(r#","participant":"1""#),
            status(r#","participant":"2""#),
        ),
        (status(""), status("").replace("read", "sent")),
        (status(""), status("").replace("\"m\"", "\"n\"")),
        (status(""), status("").replace("\"1\"", "\"2\"")),
        (
            status(""),
            status("").replace("status\",\"s", "message\",\"s"),
        ),
        // A key is repeated: readers disagree about what is meant.
        (status(r#","x":1,"x":2"#), status(r#","x":2,"x":2"#)),
        ("{}".to_owned(), "{ }".to_owned()),
    ];
    for (one, other) in different {
        assert_ne!(key(&one).hash, key(&other).hash, "{one} {other}");
    }
}

#[test]
fn what_a_key_is_made_of_gives_its_window() {
    let message = key(r#"{"event":"message","messageId":"1"}"#);
    assert_eq!((message.window, message.named), (WINDOWS.keyed, true));
    for body in [
        r#"{"event":"message"}"#,
        r#"{"event":"presence","messageId":"1"}"#,
        "x",
    ] {
        let key = key(body);
        assert_eq!((key.window, key.named), (WINDOWS.unkeyed, false), "{body}");
        assert_eq!(key.state, None);
    }
    let connection = |session: &str, status: &str| {
        key(&format!(
            r#"{{"event":"connection","sessionId":"{session}","status":"{status}"}}"#
        ))
    };
    let (up, down) = (
        connection("1", "connected"),
        connection("1", "disconnected"),
    );
    assert_ne!(up.hash, down.hash);
    assert!(up.state.is_some() && up.state == down.state);
    assert_ne!(up.state, connection("2", "connected").state);
    assert_eq!(up.window, WINDOWS.unkeyed);
}

#[test]
fn the_senders_own_id_alone_decides() {
    let hints = Hints {
        id_header: Some("webhook-id".to_owned()),
        ..Hints::default()
    };
    let reader = BodyReader::new(Arc::new(Raw::default()), hints, 1 << 20);
    let key = |id: &'static str, session: Option<&str>, body: &'static str| {
        let mut received = Received::new("s", body);
        received.session = session.map(str::to_owned);
        received.headers = vec![("webhook-id".into(), Bytes::from_static(id.as_bytes()))];
        keys(&reader, &received)[0]
    };
    let one = key("1", None, "{}");
    assert_eq!((one.window, one.named), (WINDOWS.keyed, true));
    assert_eq!(one, key("1", None, r#"{"event":"other"}"#));
    assert_ne!(one.hash, key("2", None, "{}").hash);
    assert_ne!(one.hash, key("1", Some("a"), "{}").hash);
    assert_eq!(key("", None, "{}").window, WINDOWS.unkeyed);
}

/// A body that says nothing of what happened is another event under another name.
#[test]
fn the_name_in_a_header_counts() {
    let hints = Hints {
        event_header: Some("x-event".to_owned()),
        ..Hints::default()
    };
    let reader = BodyReader::new(Arc::new(Raw::default()), hints, 1 << 20);
    let key = |name: &'static str| {
        let mut received = Received::new("s", r#"{"id":1}"#);
        received.headers = vec![("x-event".into(), Bytes::from_static(name.as_bytes()))];
        keys(&reader, &received)[0]
    };
    assert_eq!(key("created"), key("created"));
    assert_ne!(key("created").hash, key("deleted").hash);
}

fn of(dialect: impl crate::dialect::Dialect, body: &str) -> Vec<DedupKey> {
    let reader = BodyReader::new(Arc::new(dialect), Hints::default(), 1 << 20).with_contents();
    keys(&reader, &Received::new("s", body.to_owned()))
}

#[test]
fn what_a_gateway_wraps_around_an_event_does_not_count() {
    let waha = |id: &str, event: &str, payload: &str| {
        let text =
            format!(r#"{{"id":"{id}","event":"{event}","session":"s","payload":{payload}}}"#);
        of(Waha, &text)[0]
    };
    let message = r#"{"id":"m","from":"1@c.us","body":"hi","timestamp":1}"#;
    let one = waha("evt_1", "message", message);
    assert_eq!(
        one,
        waha("evt_2", "message.any", &message.replace(":1}", ":2}"))
    );
    assert_ne!(one, waha("evt_1", "message", &message.replace("hi", "ho")));
    assert_eq!((one.named, one.window), (true, WINDOWS.keyed));
    let ack = |who: &str| {
        waha(
            "e",
            "message.ack",
            &format!(r#"{{"id":"m","ack":3,"participant":"{who}"}}"#),
        )
    };
    assert_ne!(ack("1@lid"), ack("2@lid"));
    let odd = |id: &str, text: &str| waha(id, "presence.update", text);
    assert_eq!(odd("evt_1", "1"), odd("evt_1", "2"));
    assert_ne!(odd("evt_1", "1"), odd("evt_2", "1"));

    let evolution = |event: &str, status: &str, id: &str| {
        let data = format!(
            r#"{{"key":{{"fromMe":true,"id":"{id}"}},"status":"{status}","message":{{}}}}"#
        );
        of(
            Evolution,
            &format!(r#"{{"event":"{event}","data":{data}}}"#),
        )[0]
    };
    let sent = evolution("send.message", "PENDING", "m");
    assert_eq!(sent, evolution("messages.upsert", "SERVER_ACK", "m"));
    assert_ne!(sent, evolution("messages.upsert", "SERVER_ACK", "n"));
    let edited = |text: &str| {
        let data = format!(r#"{{"key":{{"id":"m"}},"editedMessage":{{"conversation":"{text}"}}}}"#);
        of(
            Evolution,
            &format!(r#"{{"event":"messages.edited","data":{data}}}"#),
        )[0]
    };
    assert_ne!(edited("a"), edited("b"));
    assert!(edited("a").named);

    let gowa = |ids: &str| {
        let text =
            format!(r#"{{"event":"message.ack","payload":{{"ids":{ids},"receipt_type":"read"}}}}"#);
        of(Gowa, &text)
    };
    let batch = gowa(r#"["1","2"]"#);
    assert_eq!(gowa(r#"["2","3"]"#)[0], batch[1]);
    assert_ne!(batch[0], batch[1]);

    let update = |id: u8| of(Telegram, &format!(r#"{{"update_id":{id},"poll":{{}}}}"#))[0];
    assert_eq!(update(1), update(1));
    assert_ne!(update(1), update(2));
}

/// What is changed back is another event, and sent once more it is not.
#[test]
fn a_change_that_comes_again_later_is_new() {
    type KeysOf = fn(&str, u32) -> Vec<DedupKey>;
    let dialects: [(&str, KeysOf); 6] = [
        ("telegram", |text, at| {
            let edited = format!(
                r#"{{"message_id":1,"chat":{{"id":2}},"date":1,"edit_date":{at},"text":"{text}"}}"#
            );
            of(
                Telegram,
                &format!(r#"{{"update_id":{at},"edited_message":{edited}}}"#),
            )
        }),
        ("evolution", |text, at| {
            let data = format!(
                r#"{{"key":{{"id":"m"}},"editedMessage":{{"conversation":"{text}"}},"timestampMs":"{at}"}}"#
            );
            of(
                Evolution,
                &format!(r#"{{"event":"messages.edited","data":{data}}}"#),
            )
        }),
        ("waha edit", |text, at| {
            let payload = format!(r#"{{"id":"m","body":"{text}","timestamp":{at}}}"#);
            of(
                Waha,
                &format!(r#"{{"event":"message.edited","payload":{payload}}}"#),
            )
        }),
        ("waha vote", |text, at| {
            let vote = format!(r#"{{"id":"m","selectedOptions":["{text}"],"timestamp":{at}}}"#);
            of(
                Waha,
                &format!(r#"{{"event":"poll.vote","payload":{{"vote":{vote}}}}}"#),
            )
        }),
        ("gowa", |text, at| {
            let payload = format!(r#"{{"id":"m","body":"{text}","timestamp":{at}}}"#);
            of(
                Gowa,
                &format!(r#"{{"event":"message.edited","payload":{payload}}}"#),
            )
        }),
        ("meta", |text, at| {
            let message = format!(
                r#"{{"id":"m","type":"edit","edit":{{"message":{{"text":{{"body":"{text}"}}}}}},"timestamp":"{at}"}}"#
            );
            of(
                Meta,
                &format!(
                    r#"{{"object":"whatsapp_business_account","entry":[{{"changes":[{{"field":"messages","value":{{"messages":[{message}]}}}}]}}]}}"#
                ),
            )
        }),
    ];
    // Within a second.
    let edited = |update: u32, text: &str| {
        let edited = format!(
            r#"{{"message_id":1,"chat":{{"id":2}},"date":1,"edit_date":7,"text":"{text}"}}"#
        );
        of(
            Telegram,
            &format!(r#"{{"update_id":{update},"edited_message":{edited}}}"#),
        )
    };
    assert_ne!(edited(1, "A"), edited(3, "A"));
    assert_eq!(edited(1, "A"), edited(1, "A"));
    for (name, of) in dialects {
        let changes = [("A", 1), ("B", 2), ("A", 3), ("B", 4)];
        let keys = changes.map(|(text, at)| of(text, at));
        assert!(keys.iter().all(|keys| keys[0].named), "{name}");
        for (place, one) in keys.iter().enumerate() {
            assert!(!keys[..place].contains(one), "{name} {place}");
        }
        assert_eq!(keys, changes.map(|(text, at)| of(text, at)), "{name}");
    }
}

/// Meta batches anew when it sends again.
#[test]
fn an_event_has_its_key_in_every_batch() {
    let body = |messages: &[&str], statuses: &str| {
        let value = format!(
            r#"{{"messages":[{}],"statuses":[{statuses}]}}"#,
            messages.join(",")
        );
        of(
            Meta,
            &format!(
                r#"{{"object":"whatsapp_business_account","entry":[{{"id":"1","changes":[{{"field":"messages","value":{value}}}]}}]}}"#
            ),
        )
    };
    let (one, two) = (r#"{"id":"1","type":"x"}"#, r#"{"type":"x","id":"2"}"#);
    let status = r#"{"id":"1","status":"read","recipient_id":"3"}"#;
    let (first, again) = (body(&[one, two], status), body(&[two], status));
    assert_eq!(first[1..], again[..]);
    assert_ne!(first[0], first[1]);
}

#[test]
fn events_of_a_list_have_ids_of_their_own() {
    let hints = Hints {
        id_pointer: Some("/webhookEventId".to_owned()),
        ..Hints::default()
    };
    let line = Raw::default().each("/events").session("/destination");
    let reader = BodyReader::new(Arc::new(line), hints, 1 << 20);
    let body = |ids: &[&str]| {
        let each = ids
            .iter()
            .map(|id| format!(r#"{{"webhookEventId":"{id}"}}"#));
        let each = each.collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"destination":"U","events":[{each}]}}"#);
        keys(&reader, &Received::new("s", text))
    };
    let (one, other) = (body(&["a", "b"]), body(&["b", "c"]));
    assert_eq!(one[1], other[0]);
    assert_ne!(one[0], other[1]);
    assert_eq!(body(&[]).len(), 1);
}

/// A body of few fields with few values, so that many are nearly the same.
fn body() -> impl Strategy<Value = (String, bool)> {
    let value = prop_oneof![
        Just("1"),
        Just("1.0"),
        Just("\"1\""),
        Just("null"),
        Just("\"read\""),
        Just("[1]"),
        Just("[ 1 ]"),
        Just("{\"a\":1}"),
        Just("{\"a\":1,\"a\":2}"),
        Just("\"\\ud800\""),
        Just("\"\\u0031\""),
    ];
    let field = (
        prop_oneof![
            Just("event"),
            Just("sessionId"),
            Just("messageId"),
            Just("status"),
            Just("from"),
            Just("participant"),
            Just("timestamp"),
            Just("message"),
        ],
        prop_oneof![
            3 => value.prop_map(str::to_owned),
            1 => Just("\"message\"".to_owned()),
            1 => Just("\"status\"".to_owned()),
        ],
    );
    let fields = proptest::collection::vec(field, 0..5);
    (fields, any::<bool>()).prop_map(|(fields, spaced)| {
        let space = if spaced { " " } else { "" };
        let write = |(name, value): &(&str, String)| format!("\"{name}\":{space}{value}");
        let names: std::collections::BTreeSet<&str> =
            fields.iter().map(|(name, _)| *name).collect();
        let repeats = names.len() < fields.len()
            || fields.iter().any(|(_, value)| value == "{\"a\":1,\"a\":2}");
        let fields: Vec<String> = fields.iter().map(write).collect();
        (format!("{{{space}{}{space}}}", fields.join(",")), repeats)
    })
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn two_events_that_differ_are_never_duplicates(one in body(), other in body()) {
        let ((one, repeats), (other, _)) = (one, other);
        let is_same = key(&one).hash == key(&other).hash;
        // serde_json does not read lone surrogates; for it they are texts like others.
        let value = |body: &str| {
            let mut value: Value = serde_json::from_str(&body.replace("\\ud800", "*")).unwrap();
            value.as_object_mut().unwrap().remove("timestamp");
            value
        };
        if is_same && one != other {
            prop_assert_eq!(value(&one), value(&other));
            prop_assert!(!repeats, "{}", one);
        }
        if one == other {
            prop_assert!(is_same);
        }
    }
}
