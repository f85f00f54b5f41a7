//! WAHA, from devlikeapro/waha-docs (sessions, events) and its `WebhookSender.ts`: a session's webhooks are part of its
//! configuration, whose change restarts it. Whatever fails is tried again as the webhook's `retries` say, with the
//! same bytes and a signature over them. Own messages come too (`message.any`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_web::rt;
use hmac::{Hmac, KeyInit as _, Mac as _};
use offhook::testing::TestRequest;
use serde_json::{Value, json};
use sha2::Sha512;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::bot::{API_KEY, Bot};
use super::fake::{self, After, Answers, Asked, deliver, parts};
use super::{ANSWER_LOST, EACH, KILLS, over_kills, settings, text};
use crate::served::until;

const KEY: &str = "a-key-for-waha-0123456789";
const SESSION: &str = "sales";
const ME: &str = "491700000001@c.us";

#[derive(Clone)]
struct Waha {
    state: Arc<Mutex<State>>,
    answers: Answers,
    /// What the bot sends comes as an event, as everything does in `message.any`.
    events: UnboundedSender<Value>,
}

#[derive(Default)]
struct State {
    /// The configuration of each session.
    sessions: BTreeMap<String, Value>,
    restarts: usize,
    sent: usize,
    taken: usize,
    /// Tries that were answered 401.
    refused: usize,
    /// Tries without an answer.
    unanswered: usize,
    lost: Vec<Value>,
}

impl Waha {
    fn new() -> (Self, UnboundedReceiver<Value>) {
        let (events, received) = unbounded_channel();
        let waha = Self {
            state: Arc::default(),
            answers: Answers::default(),
            events,
        };
        (waha, received)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Whether everything that it wanted to send was taken.
    fn is_empty(&self) -> bool {
        let state = self.state();
        state.taken == state.sent
    }

    async fn answer(self, asked: Asked) -> (u16, Value) {
        if asked.header("x-api-key") != API_KEY {
            return (401, json!({"statusCode": 401, "message": "Unauthorized"}));
        }
        let mut state = self.state();
        let body = &asked.body;
        let of = |name: &str, config: &Value| json!({"name": name, "status": "WORKING", "config": config, "me": {"id": ME}, "engine": {"engine": "NOWEB"}});
        match asked.line.split_once(" /api/").unwrap() {
            ("POST", "sessions") => {
                let name = body["name"].as_str().unwrap().to_owned();
                let made = of(&name, &body["config"]);
                state.sessions.insert(name, body["config"].clone());
                (201, made)
            }
            ("POST", "sendText") => {
                self.answers.take(&asked, &body["text"]);
                let number = self.answers.count();
                let event = message(
                    &format!("true_{number}_3EB0"),
                    true,
                    body["text"].as_str().unwrap(),
                );
                self.events.send(event).unwrap();
                (201, json!({"id": format!("true_{number}_3EB0")}))
            }
            (method, path) => {
                let name = path.strip_prefix("sessions/").unwrap();
                let Some(config) = state.sessions.get(name).cloned() else {
                    return (
                        404,
                        json!({"statusCode": 404, "message": "Session not found"}),
                    );
                };
                if method == "PUT" {
                    state
                        .sessions
                        .insert(name.to_owned(), body["config"].clone());
                    state.restarts += 1;
                    return (200, of(name, &body["config"]));
                }
                (200, of(name, &config))
            }
        }
    }

    /// Sends an event to each webhook that wants it.
    async fn emit(self, event: Value) {
        let config = self
            .state()
            .sessions
            .get(SESSION)
            .cloned()
            .unwrap_or_default();
        let webhooks = config["webhooks"].as_array().cloned().unwrap_or_default();
        for webhook in webhooks {
            let wants = |name: &Value| *name == event["event"] || name == "*";
            if webhook["events"].as_array().unwrap().iter().any(wants) {
                self.send(&webhook, &event).await;
            }
        }
    }

    async fn send(&self, webhook: &Value, event: &Value) {
        let is_lost = {
            let mut state = self.state();
            state.sent += 1;
            state.sent.is_multiple_of(ANSWER_LOST)
        };
        let (to, path) = parts(webhook["url"].as_str().unwrap());
        let body = event.to_string();
        let key = webhook["hmac"]["key"].as_str().unwrap();
        let mut mac = Hmac::<Sha512>::new_from_slice(key.as_bytes()).unwrap();
        mac.update(body.as_bytes());
        let signature = const_hex::encode(mac.finalize().into_bytes());
        let request = || {
            TestRequest::post(&*body)
                .path(&path)
                .header("X-Webhook-Request-Id", &event["id"].as_str().unwrap()[4..])
                .header("X-Webhook-Timestamp", &event["timestamp"].to_string())
                .header("X-Webhook-Hmac", &signature)
                .header("X-Webhook-Hmac-Algorithm", "sha512")
        };
        let retries = &webhook["retries"];
        let attempts = retries["attempts"].as_u64().unwrap_or(15);
        let is_exponential = retries["policy"] == "exponential";
        let (taken, _) = deliver(to, is_lost, request, |tries, answer| {
            match answer.map(|answer| answer.status) {
                Some(200..300) => return After::Taken,
                Some(401) => self.state().refused += 1,
                Some(_) => {}
                None => self.state().unanswered += 1,
            }
            if u64::from(tries) > attempts {
                return After::Lost;
            }
            // A second of its own is 5 ms here.
            let delay = retries["delaySeconds"].as_u64().unwrap_or(2) * 5;
            let factor = if is_exponential { 1 << (tries - 1) } else { 1 };
            After::Again(Duration::from_millis(delay * factor))
        })
        .await;
        let mut state = self.state();
        if taken {
            state.taken += 1;
        } else {
            state.lost.push(event.clone());
        }
    }
}

/// A message of someone, or one of ours.
fn message(id: &str, from_me: bool, text: &str) -> Value {
    let (from, to) = ("491700000002@c.us", ME);
    let (from, to) = if from_me { (to, from) } else { (from, to) };
    let payload = json!({"id": id, "timestamp": 1_764_064_800, "from": from, "to": to, "fromMe": from_me, "source": "app",
        "body": text, "hasMedia": false, "media": null, "ack": 1, "ackName": "SERVER", "replyTo": null});
    event("message.any", &payload)
}

fn event(name: &str, payload: &Value) -> Value {
    json!({"id": format!("evt_{}", uuid::Uuid::now_v7().simple()), "timestamp": 1_764_064_800_123_u64, "event": name,
        "session": SESSION, "me": {"id": ME}, "payload": payload, "engine": "NOWEB",
        "environment": {"version": "2026.7.1", "tier": "PLUS"}})
}

#[actix_web::test]
async fn waha_gets_every_answer_once() {
    let (waha, mut events) = Waha::new();
    let api = {
        let waha = waha.clone();
        fake::api(move |asked| waha.clone().answer(asked))
    };
    let port = fake::port();
    let more = |secret: &str| {
        format!(
            "[[sources]]\nname = \"waha\"\npath = \"/waha\"\nscheme = \"waha\"\nsecrets = [\"{secret}\"]\n\
             [[gateways]]\nkind = \"waha\"\nurl = \"http://{api}\"\napi_key = \"{API_KEY}\"\n\
             sessions = [\"{SESSION}\"]\nwebhook_url = \"http://127.0.0.1:{port}/waha\"\nsecret = \"{KEY}\"\n\
             events = [\"message.any\", \"message.ack\", \"session.status\"]\n"
        )
    };
    let (_folder, path) = settings("gateways-waha", port, &more("another-key-0123456789"));
    let own = waha.clone();
    rt::spawn(async move {
        while let Some(event) = events.recv().await {
            rt::spawn(own.clone().emit(event));
        }
    });
    let bot = Bot {
        settings: path.clone(),
        kind: "waha",
        api,
    };

    // What is refused is tried again, so a wrong key loses nothing.
    let (program, line) = super::bot::registered(bot.start().await).await;
    assert!(line.contains("session sales is registered for "), "{line}");
    let early =
        json!({"id": "true_1_3EB0", "from": ME, "fromMe": true, "ack": 2, "ackName": "DEVICE"});
    waha.events.send(event("message.ack", &early)).unwrap();
    until("it is tried again", async || waha.state().refused > 2).await;
    program.kill();
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, written.replace("another-key-0123456789", KEY)).unwrap();

    let send = |number, late| {
        let events = waha.events.clone();
        rt::spawn(async move {
            rt::time::sleep(late).await;
            let id = format!("false_491700000002@c.us_{number}");
            events.send(message(&id, false, &text(number))).unwrap();
        });
    };
    let lines = over_kills(&bot, &waha.answers, send, || waha.is_empty()).await;
    for line in lines {
        assert!(
            line.contains("session sales is registered already for "),
            "{line}"
        );
    }
    waha.answers.check((KILLS + 1) * EACH);
    let state = waha.state();
    assert_eq!(state.restarts, 0, "the session was restarted");
    assert_eq!(state.lost, [Value::Null; 0]);
    // Also its own messages, which the bot does not answer, and what was refused.
    assert!(state.unanswered > state.taken / ANSWER_LOST);
    assert!(state.taken > 2 * (KILLS + 1) * EACH, "{}", state.taken);
}
