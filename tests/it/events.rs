//! Every body of `tests/payloads/known.jsonl`: received, typed, and out of `jsonl` unchanged.

use offhook::EventKind::{self, Connection, Message, Status, Unknown};
use offhook::signature::{Scheme as _, XWebhookSignature};
use offhook::testing::{Recorder, TestRequest};
use offhook::{Event, JsonlHandler, Offhook, Timestamp, testing};

use crate::support::{Folder, KEY, secret, signed, source};

fn known() -> Vec<&'static str> {
    include_str!("../payloads/known.jsonl").lines().collect()
}

#[test]
fn every_known_body_has_its_known_signature() {
    let hmacs = include_str!("../payloads/known.hmac").lines();
    let secret = secret(KEY);
    assert_eq!(known().len(), hmacs.clone().count());
    for (body, hmac) in known().into_iter().zip(hmacs) {
        let signed = XWebhookSignature.sign(body.as_bytes(), &secret, Timestamp::UNIX_EPOCH);
        assert_eq!(signed[0].value, hmac);
    }
}

#[actix_web::test]
async fn every_known_body_arrives_unchanged() {
    let folder = Folder::new("events");
    let path = folder.0.join("events.jsonl");
    let recorder = Recorder::default();
    let offhook = Offhook::builder()
        .source(source())
        .handler("recorder", recorder.clone())
        .handler("jsonl", JsonlHandler::append(&path).unwrap())
        .without_admin();
    let server = testing::start(offhook).await;
    for body in known() {
        let answer = signed(body).send(server.public_address()).await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (200, r#"{"status":"received"}"#)
        );
    }
    server.stop().await;

    let written = std::fs::read_to_string(&path).unwrap();
    let mut lines = written.lines();
    let deliveries = recorder.deliveries();
    assert_eq!(deliveries.len(), known().len());
    for (body, delivery) in known().into_iter().zip(deliveries) {
        assert_eq!(delivery.body(), body.as_bytes());
        let line = lines.next().unwrap();
        assert!(line.starts_with(&format!(
            r#"{{"id":"{}","source":"codeskytz","#,
            delivery.id()
        )));
        assert!(
            line.ends_with(&format!(r#""body":{body}}}"#)),
            "{line:.300}"
        );
    }
    assert_eq!(lines.next(), None);
}

#[actix_web::test]
async fn every_known_body_is_typed() {
    let recorder = Recorder::default();
    let offhook = Offhook::builder()
        .source(source())
        .handler("recorder", recorder.clone());
    let server = testing::start(offhook.without_admin()).await;
    for body in known() {
        TestRequest::signed(body, &secret(KEY))
            .send(server.public_address())
            .await;
    }
    server.stop().await;
    for (line, (event, (kind, fields))) in recorder.events().iter().zip(TYPED).enumerate() {
        assert_eq!(
            (event.kind(), summary(event).as_str()),
            (kind, fields),
            "line {}",
            line + 1
        );
    }
}

/// One row a line of the file: its kind, and the fields that tell whether it was understood.
const TYPED: [(EventKind, &str); 48] = [
    (
        Message,
        "3EB0C767D0F2B64C7C5B|+1234567890|Hello!|text|2025-01-08T12:00:00Z",
    ),
    (Status, "3EB0C767D0F2B64C7C5B|read|2025-01-08T12:00:00Z"),
    (Connection, "connected|2025-01-08T12:00:00Z"),
    (
        Message,
        "3EB0C767D0F2B64C7C5B|+1234567890|Hello!|text|2025-01-08T12:00:00Z",
    ),
    (Message, "-|+1234567890|Hello!|-|2025-01-08T12:00:00Z"),
    (
        Message,
        "3EB0A1B2C3D4E5F60001|+1234567890|-|image|2025-01-08T12:00:00Z",
    ),
    (
        Message,
        "3EB0A1B2C3D4E5F60004|+1234567890|-|document|2025-01-08T12:00:00Z",
    ),
    (
        Message,
        "3EB0A1B2C3D4E5F60005|+1234567890|-|sticker|2025-01-08T12:00:00Z",
    ),
    (
        Message,
        "88760C69D1F35FEB239102699AE90001|+1234567890|-|reaction|2025-01-08T12:00:00Z",
    ),
    (Status, "3EB0C767D0F2B64C7C5B|sent|2025-01-08T12:00:00Z"),
    (
        Status,
        "3EB0C767D0F2B64C7C5B|delivered|2025-01-08T12:00:00Z",
    ),
    (Status, "3EB0C767D0F2B64C7C5B|failed|2025-01-08T12:00:00Z"),
    (Connection, "disconnected|2025-01-08T12:00:00Z"),
    (Connection, "qr|2025-01-08T12:00:00Z"),
    (
        Message,
        "3AD29D4DE76AEBCC0662|+255700000001|Habari|-|2025-10-07T10:40:00Z",
    ),
    (
        Message,
        "3AD29D4DE76AEBCC0662|+255700000001|Habari|-|2025-10-07T10:40:00Z",
    ),
    (
        Message,
        "3EB0EC71A60E85816001|+255700000001|-|-|2025-10-07T10:40:10Z",
    ),
    (
        Message,
        "ABCD|255123456789@s.whatsapp.net|Hello|-|2023-07-22T04:26:40Z",
    ),
    (Message, "-|-|-|-|2024-04-05T19:34:38.901Z"),
    (
        Message,
        "3EB00000000000000101|+1234567890|Family 👨‍👩‍👧‍👦, wave 👋🏽, flag 🇹🇿, heart ❤️, café, cafe\u{301}|text|2025-01-08T12:00:00Z",
    ),
    (
        Message,
        "3EB00000000000000103|+972500000001|مرحبا بالعالم \u{202e}abc\u{202c} שלום עולם \u{200f}!|text|2025-01-08T12:00:00Z",
    ),
    (Message, "3EB00000000000000104|-|-|-|-"),
    (Status, "3EB0C767D0F2B64C7C5B|read|2025-01-08T12:00:00Z"),
    (Status, "3EB0C767D0F2B64C7C5B|read|2025-01-08T12:00:00Z"),
    (Status, "3EB0C767D0F2B64C7C5B|read|2025-01-08T12:00:00Z"),
    (Status, "3EB0C767D0F2B64C7C5B|read|2025-01-08T12:00:00Z"),
    (Status, "3EB0C767D0F2B64C7C5B|read|-"),
    (Status, "3EB0C767D0F2B64C7C5B|played|2025-01-08T12:00:00Z"),
    (Status, "3EB0C767D0F2B64C7C5B|-|2025-01-08T12:00:00Z"),
    (
        Message,
        "3EB00000000000000118|+1234567890|65536 characters|text|2025-01-08T12:00:00Z",
    ),
    (
        Message,
        "3EB00000000000000119|+1234567890|-|image|2025-01-08T12:00:00Z",
    ),
    (
        Message,
        "3EB00000000000000121|120363025246125486@g.us|Hello!|text|2025-01-08T12:00:00Z",
    ),
    (
        Message,
        "3EB00000000000000125|+1234567890|Hello!|text|2025-01-08T12:00:00Z",
    ),
    (Status, "3EB0C767D0F2B64C7C5B|read|2025-01-08T12:00:00Z"),
    (
        Unknown,
        "presence: an event name that the dialect does not know",
    ),
    (
        Message,
        "m/1?x=%00|+1234567890|Hello!|text|2025-01-08T12:00:00Z",
    ),
    (
        Unknown,
        "-: no event name, and no fields that tell the kind",
    ),
    // Other gateways: their names are not this dialect's, or are and lead nowhere.
    (
        Message,
        "evt_01ka9a0x73vrx3aqra9rhjmfvy|-|-|-|2025-11-17T16:23:00.579Z",
    ),
    (
        Unknown,
        "message.ack: an event name that the dialect does not know",
    ),
    (
        Unknown,
        "session.status: an event name that the dialect does not know",
    ),
    (
        Unknown,
        "messages.upsert: an event name that the dialect does not know",
    ),
    (
        Unknown,
        "messages.update: an event name that the dialect does not know",
    ),
    (
        Unknown,
        "connection.update: an event name that the dialect does not know",
    ),
    (Message, "-|-|-|-|-"),
    (
        Unknown,
        "message.ack: an event name that the dialect does not know",
    ),
    (
        Unknown,
        "-: no event name, and no fields that tell the kind",
    ),
    (
        Unknown,
        "-: no event name, and no fields that tell the kind",
    ),
    (
        Unknown,
        "-: no event name, and no fields that tell the kind",
    ),
];

fn summary(event: &Event) -> String {
    let time = |time: Option<Timestamp>| time.map_or("-".to_owned(), |time| time.to_string());
    let text = |text: Option<&str>| text.unwrap_or("-").to_owned();
    match event {
        Event::Message(event) => {
            let message = match &event.message {
                Some(long) if long.len() > 1000 => format!("{} characters", long.chars().count()),
                message => text(message.as_deref()),
            };
            [
                text(event.message_id.as_deref()),
                text(event.from.as_deref()),
                message,
                text(event.kind.as_ref().map(|kind| kind.as_str())),
                time(event.timestamp),
            ]
            .join("|")
        }
        Event::Status(event) => [
            text(event.message_id.as_deref()),
            text(event.status.as_ref().map(|status| status.as_str())),
            time(event.timestamp),
        ]
        .join("|"),
        Event::Connection(event) => [
            text(event.status.as_ref().map(|status| status.as_str())),
            time(event.timestamp),
        ]
        .join("|"),
        Event::Unknown(event) => format!("{}: {}", text(event.name.as_deref()), event.reason),
        other => panic!("{other:?}"),
    }
}
