use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::dialect::collector::MAX_EVENTS;
use crate::dialect::{Codeskytz, Evolution, Gowa, Meta, Telegram, Waha};

fn reader(dialect: impl Dialect) -> BodyReader {
    with_hints(dialect, Hints::default())
}

fn with_hints(dialect: impl Dialect, hints: Hints) -> BodyReader {
    BodyReader::new(Arc::new(dialect), hints, 1 << 20)
}

fn readers() -> [BodyReader; 8] {
    let raw = Raw::default().event("/event").session("/data/0/session");
    let list = raw.clone().each("/entry").event_field("a");
    [
        reader(Codeskytz),
        reader(raw),
        reader(list),
        reader(Meta),
        reader(Waha),
        reader(Evolution),
        reader(Gowa),
        reader(Telegram),
    ]
}

#[test]
fn credentials_are_not_shown() {
    let body = Bytes::from_static(br#"{"event":"x","apikey":"A"}"#);
    let expected = br#"{"event":"x","apikey":"***"}"#;
    let packed = gzip(str::from_utf8(&body).unwrap());
    let evolution = reader(Evolution);
    assert_eq!(evolution.shown(&body), &expected[..]);
    for is_proven in [false, true] {
        let shown = |body, encoding| evolution.shown_as_sent(body, encoding, is_proven);
        let (plain, is_decoded) = shown(&body, None).unwrap();
        assert_eq!((&plain[..], is_decoded), (&expected[..], false));
        let (unpacked, is_decoded) = shown(&packed, Some(b"gzip")).unwrap();
        assert_eq!((&unpacked[..], is_decoded), (&expected[..], true));
        assert!(shown(&packed, Some(b"br")).is_none());
    }
    // Also where the dialect does not know them.
    for reader in readers() {
        assert_eq!(reader.shown(&body), &expected[..]);
        let (plain, _) = reader.shown_as_sent(&body, None, false).unwrap();
        assert_eq!(plain, &expected[..]);
    }
    let other = reader(Codeskytz).shown_as_sent(&packed, Some(b"br"), false);
    assert_eq!(other, Some((packed, false)));
}

#[test]
fn each_event_of_a_list_has_its_id() {
    let hints = Hints {
        id_pointer: Some("/id".to_owned()),
        ..Hints::default()
    };
    let reader = with_hints(Raw::default().each("/events"), hints);
    let body = Bytes::from_static(br#"{"id":"all","events":[{"id":"1"},{},{"id":1}]}"#);
    let ids = reader.event_ids(&body, &[]);
    let id = |text: &str| Some(text.as_bytes().to_vec());
    assert_eq!(ids.of_events, [id("1"), None, Some(b"\xff1".to_vec())]);
    assert_eq!(ids.of_body, id("all"));
}

/// Such a body costs no more than its events: one stands for all that follow.
#[test]
fn the_events_of_a_body_are_bounded() {
    let many = vec!["{}"; 40_000].join(",");
    let ids = vec!["\"1\""; 40_000].join(",");
    let meta = format!(
        r#"{{"object":"whatsapp_business_account","entry":[{{"changes":[{{"value":{{"messages":[{many}]}}}}]}}]}}"#
    );
    let gowa = format!(r#"{{"event":"message.ack","payload":{{"ids":[{ids}]}}}}"#);
    let evolution = format!(r#"{{"event":"messages.upsert","data":[{many}]}}"#);
    let raw = format!("{{\"entry\":[{many}]}}");
    let table = [
        (reader(Meta), meta),
        (reader(Gowa), gowa),
        (reader(Evolution), evolution),
        (reader(Raw::default().each("/entry")), raw),
    ];
    for (reader, body) in table {
        let reading = reader.with_contents().read(&body.into(), &[]);
        assert_eq!(reading.events.len(), MAX_EVENTS);
        assert_eq!(
            reading.events.last(),
            Some(&unknown(UnknownReason::TooManyEvents))
        );
        assert_eq!(reading.odd, [Odd::NoKind(UnknownReason::TooManyEvents)]);
    }
}

/// A name of a megabyte is not copied into each of 10,000 events.
#[test]
fn texts_that_events_share_are_bounded() {
    let long = "x".repeat(1 << 20);
    let (many, ids) = (
        vec!["{}"; 10_000].join(","),
        vec!["\"1\""; 10_000].join(","),
    );
    let own = vec![r#"{"from":"1"}"#; 10_000].join(",");
    let list = |event: &str, field: &str| {
        format!(r#"{{"event":"{event}","{field}":"{long}","payload":[{many}],"data":[{many}]}}"#)
    };
    let meta = |id: &str, contacts: &str, messages: &str| {
        format!(
            r#"{{"object":"whatsapp_business_account","entry":[{{"id":"{id}","changes":[{{"value":{{"contacts":[{contacts}],"messages":[{messages}]}}}}]}}]}}"#
        )
    };
    let person = format!(r#"{{"wa_id":"1","profile":{{"name":"{long}"}}}}"#);
    let gowa =
        format!(r#"{{"event":"message.ack","payload":{{"ids":[{ids}],"chat_id":"{long}"}}}}"#);
    let raw = Raw::default()
        .each("/data")
        .session("/session")
        .event("/session");
    let table = [
        (reader(Meta), meta(&long, "", &many)),
        (reader(Meta), meta("1", &person, &own)),
        (reader(Waha), list("message", "session")),
        (reader(Evolution), list("messages.upsert", "instance")),
        (reader(Gowa), gowa),
        (reader(raw), list("x", "session")),
    ];
    for (reader, body) in table {
        let reading = reader.read(&body.into(), &[]);
        let dialect = reader.0.dialect.name();
        assert!(
            reading.events.len() < 10,
            "{dialect} {}",
            reading.events.len()
        );
        let rest = unknown(UnknownReason::TooManyEvents);
        assert_eq!(reading.events.last(), Some(&rest), "{dialect}");
    }
}

fn gzip(text: &str) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap().into()
}

fn headers(pairs: &[(&'static str, &'static str)]) -> Vec<(Cow<'static, str>, Bytes)> {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| (Cow::Borrowed(*name), Bytes::from_static(value.as_bytes())))
        .collect()
}

/// A dialect with a fault.
#[derive(Debug)]
struct Faulty;

impl Dialect for Faulty {
    fn name(&self) -> &'static str {
        "faulty"
    }

    fn events(&self, body: &ByteString) -> Vec<Event> {
        std::panic::resume_unwind(Box::new(body.len()))
    }
}

#[test]
fn a_dialect_that_panics_makes_an_unknown_event() {
    let body = Bytes::from_static(b"{}");
    let reading = reader(Faulty).read(&body, &[]);
    assert_eq!(reading.events, [unknown(UnknownReason::Panicked)]);
    assert_eq!(reading.content, body);
    // It may name any session.
    let hidden = reader(Faulty).peek(&body, &[]);
    assert_eq!(hidden.unwrap_err(), "the dialect panicked");
}

#[test]
fn a_byte_order_mark_is_ignored() {
    let read = |body: &'static [u8]| reader(Codeskytz).read(&Bytes::from_static(body), &[]);
    let marked = read(b"\xef\xbb\xbf{\"event\":\"status\"}");
    assert!(matches!(marked.events[..], [Event::Status(_)]));
    let reading = read(b"{\"event\":\"status\xff\"}");
    let reason = UnknownReason::NotJson("no UTF-8 at byte 16".into());
    assert_eq!(reading.odd, [Odd::NoKind(reason)]);
}

#[test]
fn a_body_that_expands_far_hides_its_session() {
    let body = |spaces| format!(r#"{{"sessionId":"A"{}}}"#, " ".repeat(spaces));
    let encoded = headers(&[("content-encoding", "gzip")]);
    let session = |reading: &Reading| reading.events[0].session_id().map(str::to_owned);
    let near = reader(Codeskytz).peek(&gzip(&body(1000)), &encoded);
    assert_eq!(session(&near.unwrap()).as_deref(), Some("A"));
    let far = gzip(&body(500_000));
    assert!(reader(Codeskytz).peek(&far, &encoded).is_err());
    let later = reader(Codeskytz).read(&far, &encoded);
    assert_eq!(session(&later).as_deref(), Some("A"));
}

/// It has no kinds that an event could lack.
#[test]
fn what_raw_reads_is_not_odd() {
    for body in [r#"{"event":"opened"}"#, "{}", "[]", "a=1"] {
        let body = Bytes::from(body);
        assert_eq!(reader(Raw::default()).read(&body, &[]).odd, [], "{body:?}");
        assert_eq!(reader(Codeskytz).read(&body, &[]).odd.len(), 1, "{body:?}");
    }
    let encoded = headers(&[("content-encoding", "br")]);
    let reading = reader(Raw::default()).read(&Bytes::from_static(b"{}"), &encoded);
    assert_eq!(reading.odd.len(), 1);
}

#[test]
fn long_names_are_cut_and_odd() {
    let long = "x".repeat(2000);
    let body = format!(r#"{{"event":"{long}","sessionId":"{long}y"}}"#);
    let reading = reader(Codeskytz).read(&body.into(), &[]);
    let event = &reading.events[0];
    assert_eq!(event.name(), Some(&*cut(&long)));
    assert_eq!(event.session_id(), Some(&*cut(&format!("{long}y"))));
    let texts: Vec<String> = reading.odd.iter().map(Odd::to_string).collect();
    let expected = [
        "an event name that the dialect does not know",
        "the session has 2001 bytes and was cut to 1024",
        "the event's name has 2000 bytes and was cut to 1024",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn hints_give_name_and_id() {
    let hints = Hints {
        id_header: Some("x-id".to_owned()),
        id_pointer: Some("/data/id".to_owned()),
        event_header: Some("x-event".to_owned()),
    };
    let reader = with_hints(Raw::default().event("/event"), hints);
    let body = |text: &'static str| Bytes::from_static(text.as_bytes());
    let name = |text, pairs| {
        let reading = reader.read(&body(text), &headers(pairs));
        reading.events[0].name().map(str::to_owned)
    };
    assert_eq!(name("{}", &[("x-event", "push")]).as_deref(), Some("push"));
    let own = name(r#"{"event":"own"}"#, &[("x-event", "push")]);
    assert_eq!(own.as_deref(), Some("own"));
    assert_eq!(name("{}", &[("x-event", "a"), ("x-event", "b")]), None);
    let id = |text, pairs: &[_]| reader.event_ids(&body(text), &headers(pairs)).of_body;
    let in_body = r#"{"data":{"id":"evt_1"}}"#;
    let table: [(_, &[_], Option<&[u8]>); 6] = [
        (in_body, &[("x-id", "7")], Some(b"7")),
        (in_body, &[], Some(b"evt_1")),
        (in_body, &[("x-id", "7"), ("x-id", "8")], Some(b"evt_1")),
        (r#"{"data":{"id":7.0}}"#, &[], Some(b"\xff7.0")),
        (r#"{"data":{"id":[7]}}"#, &[], None),
        ("{}", &[("x-id", "")], None),
    ];
    for (text, pairs, expected) in table {
        assert_eq!(id(text, pairs).as_deref(), expected, "{text} {pairs:?}");
    }
}

/// A body of the words that dialects look for.
fn shaped() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "event",
        "message",
        "message.ack",
        "messages.upsert",
        "messages.edited",
        "messages.update",
        "message.revoked",
        "poll.vote",
        "session.status",
        "payload",
        "data",
        "key",
        "id",
        "ids",
        "object",
        "whatsapp_business_account",
        "entry",
        "changes",
        "value",
        "messages",
        "statuses",
        "type",
        "text",
        "image",
        "interactive",
        "from",
        "chat",
        "callback_query",
        "update_id",
        "location",
        "media",
        "errors",
    ];
    let word = proptest::sample::select(words.to_vec());
    let leaf = prop_oneof![
        4 => word.clone().prop_map(|word| format!("\"{word}\"")),
        1 => proptest::sample::select(vec!["1", "-1", "true", "null", "1.5e3", "\"\\ud800\""])
            .prop_map(str::to_owned),
    ];
    let value = leaf.prop_recursive(6, 40, 6, move |inner| {
        let field = (word.clone(), inner.clone());
        let field = field.prop_map(|(name, value)| format!("\"{name}\":{value}"));
        prop_oneof![
            3 => proptest::collection::vec(field, 0..6)
                .prop_map(|fields| format!("{{{}}}", fields.join(","))),
            1 => proptest::collection::vec(inner, 0..4)
                .prop_map(|items| format!("[{}]", items.join(","))),
        ]
    });
    value.prop_map(String::into_bytes)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_a_dialect_panic_or_refuse(
        body in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "[\\[\\]{}\",:0-9a-z\\\\u ]{0,80}".prop_map(String::into_bytes),
            shaped(),
        ],
        encoding in proptest::option::of(proptest::sample::select(vec!["gzip", "deflate", "br", ""])),
    ) {
        let body = Bytes::from(body);
        let encoding = encoding.map(|encoding| ("content-encoding", encoding));
        let headers = headers(encoding.as_slice());
        for reader in readers() {
            let reading = reader.read(&body, &headers);
            prop_assert!(!reading.events.is_empty());
            let hashed = reader.with_contents().read(&body, &headers);
            prop_assert_eq!(&hashed.events, &reading.events);
            match reader.peek(&body, &headers) {
                Ok(peeked) => prop_assert_eq!(peeked.events, reading.events),
                Err(_) => prop_assert!(encoding.is_some()),
            }
        }
    }
}
