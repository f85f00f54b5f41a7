//! Bodies of gateways that hold several events, of several sessions: each event has its own session, dedup key and
//! progress, and a relay sends the body once.

use offhook::testing::Recorder;
use offhook::{Event, EventKind, HandlerOptions, Offhook, Server, Source};
use serde_json::{Value, json};

use crate::dialects::named;
use crate::records::{get, keeping, settled};
use crate::relay::{retries, subscribed};
use crate::served::{self, Served};
use crate::subscriber::Subscriber;
use crate::support::{Folder, KEY, secret, signed};

/// A source `meta` in a settings file.
pub const META: &str = "[[sources]]\nname = \"meta\"\npath = \"/meta\"\ndialect = \"meta\"\nsecrets = [\"your-secret-key\"]\n";

/// The session and the id of each event in such a body, in order.
pub fn parts_of(body: &Value) -> Vec<(String, String)> {
    let changes = body["entry"][0]["changes"].as_array().unwrap();
    let part = |change: &Value| {
        let value = &change["value"];
        let event = value.get("messages").unwrap_or(&value["statuses"]);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let session = &value["metadata"]["phone_number_id"];
        (text(session), text(&event[0]["id"]))
    };
    changes.iter().map(part).collect()
}

fn source(dialect: &str) -> Source {
    let mut source = Source::new(dialect)
        .path(format!("/{dialect}"))
        .secret(secret(KEY));
    source.dialect = named(dialect);
    source
}

/// What Meta sends about these messages: the phone number of ours, the id, and whether it is a status.
pub fn meta(events: &[(&str, &str, bool)]) -> String {
    let change = |(phone, id, is_status): &(&str, &str, bool)| {
        let event = if *is_status {
            json!({ "statuses": [{ "id": id, "status": "read", "recipient_id": "1555" }] })
        } else {
            json!({ "messages": [{ "id": id, "from": "1555", "type": "text", "text": { "body": "hi" } }] })
        };
        let mut value = json!({ "metadata": { "phone_number_id": phone } });
        value
            .as_object_mut()
            .unwrap()
            .extend(event.as_object().unwrap().clone());
        json!({ "field": "messages", "value": value })
    };
    let changes: Vec<Value> = events.iter().map(change).collect();
    json!({ "object": "whatsapp_business_account", "entry": [{ "id": "9", "changes": changes }] })
        .to_string()
}

async fn send(server: &Server, path: &str, body: &str) -> bool {
    let answer = signed(body).path(path).send(server.public_address()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("offhook-duplicate").is_some()
}

fn recording(offhook: Offhook, recorder: &Recorder) -> Offhook {
    offhook
        .source(source("meta"))
        .handler("recorder", recorder.clone())
}

#[actix_web::test]
async fn only_what_is_new_is_handed_over() {
    let folder = Folder::new("batches-new");
    let recorder = Recorder::default();
    let subscriber = Subscriber::start([]).await;
    let server = keeping(&folder, |offhook| {
        subscribed(recording(offhook, &recorder), "crm", &subscriber.url())
    })
    .await;
    let first = meta(&[("A", "m1", false), ("B", "m2", false)]);
    assert!(!send(&server, "/meta", &first).await);
    assert!(send(&server, "/meta", &first).await);
    // Batched anew, with one more.
    let second = meta(&[("B", "m2", false), ("A", "m1", true), ("A", "m3", false)]);
    assert!(!send(&server, "/meta", &second).await);
    assert!(send(&server, "/meta", &meta(&[("A", "m3", false)])).await);
    settled(&server).await;

    let mut handed: Vec<_> = recorder.events().iter().map(shown).collect();
    handed.sort();
    let expected = [
        "A message m1",
        "A message m3",
        "A status m1",
        "B message m2",
    ];
    assert_eq!(handed, expected);
    let asked = subscriber.requests();
    let parts: Vec<&str> = asked
        .iter()
        .map(|asked| asked.header("offhook-parts"))
        .collect();
    assert_eq!(parts, ["", "2,3"]);
    let bodies: Vec<&[u8]> = asked.iter().map(|asked| &asked.body[..]).collect();
    assert_eq!(bodies, [first.as_bytes(), second.as_bytes()]);
    server.stop().await;
}

fn shown(event: &Event) -> String {
    let id = match event {
        Event::Status(status) => status.message_id(),
        other => other.as_message().unwrap().message_id(),
    };
    format!("{} {} {id}", event.session_id().unwrap(), event.kind())
}

#[actix_web::test]
async fn unwanted_parts_are_named_by_their_absence() {
    let folder = Folder::new("batches-wanted");
    let subscriber = Subscriber::start([]).await;
    let server = keeping(&folder, |offhook| {
        let relay = crate::relay::relay(&subscriber.url());
        let wanted = retries().events([EventKind::Message]).sessions(["A"]);
        offhook
            .source(source("meta"))
            .handler_with("crm", relay, wanted)
    })
    .await;
    let events = [("A", "m1", true), ("B", "m2", false), ("A", "m3", false)];
    send(&server, "/meta", &meta(&events)).await;
    send(&server, "/meta", &meta(&events[..2])).await;
    send(&server, "/meta", &meta(&[("A", "m4", false)])).await;
    settled(&server).await;
    let asked = subscriber.requests();
    let parts: Vec<&str> = asked
        .iter()
        .map(|asked| asked.header("offhook-parts"))
        .collect();
    assert_eq!(parts, ["3", ""]);
    server.stop().await;
}

/// R2 and R3: who wants messages does not answer its own, or an edit.
#[actix_web::test]
async fn a_filter_for_messages_lets_nothing_else_pass() {
    let folder = Folder::new("batches-filter");
    let (messages, everything) = (Recorder::default(), Recorder::default());
    let server = keeping(&folder, |offhook| {
        let only = HandlerOptions::default().events([EventKind::Message]);
        let offhook = offhook.source(source("waha"));
        let offhook = offhook.handler_with("messages", messages.clone(), only);
        offhook.handler("everything", everything.clone())
    })
    .await;
    for (event, id, is_own) in [
        ("message", "1", false),
        ("message.any", "2", true),
        ("message.edited", "3", false),
    ] {
        let payload = json!({ "id": id, "from": "1@c.us", "fromMe": is_own, "body": "hi" });
        let body = json!({ "event": event, "session": "s", "payload": payload });
        send(&server, "/waha", &body.to_string()).await;
    }
    settled(&server).await;
    let kinds = |recorder: &Recorder| -> Vec<EventKind> {
        let mut kinds: Vec<_> = recorder.events().iter().map(Event::kind).collect();
        kinds.sort();
        kinds
    };
    assert_eq!(kinds(&messages), [EventKind::Message]);
    let all = [EventKind::Message, EventKind::Sent, EventKind::Change];
    assert_eq!(kinds(&everything), all);
    server.stop().await;
}

#[actix_web::test]
async fn the_api_shows_typed_events() {
    let folder = Folder::new("batches-typed");
    let recorder = Recorder::default();
    let server = keeping(&folder, |offhook| {
        recording(offhook, &recorder).source(source("evolution"))
    })
    .await;
    send(
        &server,
        "/meta",
        &meta(&[("A", "m1", false), ("B", "m2", true)]),
    )
    .await;
    let secret = r#"{"event":"call","instance":"s","data":{"id":"1"},"apikey":"hidden"}"#;
    send(&server, "/evolution", secret).await;
    settled(&server).await;
    let list = get(&server, "/api/events").await;
    let mut shown = Vec::new();
    for event in list["events"].as_array().unwrap() {
        let id = event["id"].as_str().unwrap();
        shown.push(get(&server, &format!("/api/events/{id}")).await);
    }
    let [call, status, message] = &shown[..] else {
        panic!("{list}")
    };
    assert_eq!(message["typed"][0]["from"], "+1555");
    assert_eq!(message["typed"][0]["message"], "hi");
    assert_eq!(message["typed"].as_array().unwrap().len(), 1);
    assert_eq!(status["typed"][0]["session"], "B");
    assert_eq!(status["typed"][0]["status"], "read");
    assert!(!call.to_string().contains("hidden"), "{call}");
    assert_eq!(call["body"]["apikey"], "***");
    assert_eq!(call["typed"][0]["kind"], "unknown");
    assert_eq!(call["odd"], Value::Null);
    server.stop().await;
}

/// A source of lists: each event has an id of its own, and LINE's console sends an empty list.
#[actix_web::test]
async fn lists_are_read_by_settings_alone() {
    let folder = Folder::new("batches-line");
    let line = "[[sources]]\nname = \"line\"\npath = \"/line\"\nscheme = \"hmac\"\nheader = \"X-Webhook-Signature\"\n\
        id_pointer = \"/webhookEventId\"\ndialect = \"raw\"\nevents_pointer = \"/events\"\nevent_pointer = \"/type\"\n\
        session_pointer = \"/source/userId\"\nsecrets = [\"your-secret-key\"]\n\
        [[sources]]\nname = \"forms\"\npath = \"/forms\"\ndialect = \"raw\"\nevent_field = \"SmsStatus\"\nsession_field = \"To\"\n\
        id_fields = [\"MessageSid\", \"SmsStatus\"]\nsecrets = [\"your-secret-key\"]\n";
    served::settings(&folder, &format!("{}{line}", served::JSONL));
    let served = Served::start(&folder);
    let send = async |path: &str, body: String| {
        let answer = served.try_send(&signed(body).path(path)).await.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.header("offhook-duplicate").is_some()
    };
    let list = |ids: &[&str]| {
        let event = |id: &&str| json!({ "type": "follow", "webhookEventId": id, "source": { "userId": format!("U{id}") } });
        let events: Vec<Value> = ids.iter().map(event).collect();
        json!({ "destination": "D", "events": events }).to_string()
    };
    assert!(!send("/line", list(&["a", "b"])).await);
    assert!(!send("/line", list(&["b", "c"])).await);
    assert!(send("/line", list(&["c", "a"])).await);
    assert!(!send("/line", list(&[])).await);
    // One that names no session is not of its neighbour's, nor of the path's, which is not signed.
    let mixed = r#"{"events":[{"type":"join","source":{"userId":"Ua"}},{"type":"leave"}]}"#;
    assert!(!send("/line/path", mixed.to_owned()).await);
    let form = |status: &str| format!("MessageSid=SM1&SmsStatus={status}&To=%2B491&Body=a+b");
    assert!(!send("/forms", form("received")).await);
    assert!(!send("/forms", form("read")).await);
    assert!(send("/forms", form("read") + "&More=1").await);
    let lines = || -> Vec<Value> {
        let text = std::fs::read_to_string(folder.0.join("handled.jsonl")).unwrap_or_default();
        let lines = text.lines().map(serde_json::from_str);
        lines.filter_map(Result::ok).collect()
    };
    served::until("all handled", async || lines().len() >= 8).await;
    served.program.stop();
    let mut handled: Vec<String> = lines()
        .iter()
        .map(|line| format!("{} {} {}", line["source"], line["session"], line["name"]))
        .collect();
    handled.sort();
    let expected = [
        r#""forms" "+491" "read""#,
        r#""forms" "+491" "received""#,
        r#""line" "Ua" "follow""#,
        r#""line" "Ua" "join""#,
        r#""line" "Ub" "follow""#,
        r#""line" "Uc" "follow""#,
        r#""line" null "leave""#,
        r#""line" null null"#,
    ];
    assert_eq!(handled, expected);
}
