//! Evolution API, from its `webhook.controller.ts`, `webhook.schema.ts` and `whatsapp.baileys.service.ts`: each instance has
//! one webhook, a token proves its requests, and some answers end an event for good. What is sent by the API comes as
//! two events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_web::rt;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::TestRequest;
use serde_json::{Value, json};
use sha2::Sha256;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::bot::{API_KEY, Bot, registered};
use super::fake::{self, After, Answers, Asked, deliver, parts};
use super::{ANSWER_LOST, EACH, KILLS, over_kills, settings, text};
use crate::served::until;

const KEY: &str = "a-key-for-evolution-0123456789";
const INSTANCE: &str = "shop";
const CUSTOMER: &str = "491700000002@s.whatsapp.net";

#[derive(Clone)]
struct Evolution {
    state: Arc<Mutex<State>>,
    answers: Answers,
    events: UnboundedSender<Value>,
}

#[derive(Default)]
struct State {
    /// The webhook of each instance, `Null` without one.
    instances: BTreeMap<String, Value>,
    /// So often was a webhook set.
    set: usize,
    sent: usize,
    taken: usize,
    /// Tries without an answer.
    unanswered: usize,
    /// What was given up, with the number of tries.
    lost: Vec<(Value, u32)>,
}

impl Evolution {
    fn new() -> (Self, UnboundedReceiver<Value>) {
        let (events, received) = unbounded_channel();
        let evolution = Self {
            state: Arc::default(),
            answers: Answers::default(),
            events,
        };
        let instance = (INSTANCE.to_owned(), Value::Null);
        evolution.state().instances.extend([instance]);
        (evolution, received)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Whether everything that it wanted to send was taken or given up.
    fn is_empty(&self) -> bool {
        let state = self.state();
        state.taken + state.lost.len() == state.sent
    }

    async fn answer(self, asked: Asked) -> (u16, Value) {
        if asked.header("apikey") != API_KEY {
            return (401, json!({"status": 401, "error": "Unauthorized"}));
        }
        let mut state = self.state();
        let (what, instance) = asked.line.rsplit_once('/').unwrap();
        let Some(webhook) = state.instances.get_mut(instance) else {
            return (404, json!({"status": 404, "error": "Not Found"}));
        };
        match what {
            "GET /webhook/find" => (200, webhook.clone()),
            "POST /webhook/set" => {
                let new = &asked.body["webhook"];
                if !new["enabled"].is_boolean() || !new["url"].is_string() {
                    return (400, json!({"status": 400, "error": "Bad Request"}));
                }
                *webhook = new.clone();
                state.set += 1;
                (201, asked.body["webhook"].clone())
            }
            "POST /message/sendText" => {
                let text = &asked.body["text"];
                self.answers.take(&asked, text);
                assert_eq!(asked.body["number"], CUSTOMER);
                let id = format!("BAE5{}", self.answers.count());
                let sent = data(&id, true, text.as_str().unwrap());
                for name in ["send.message", "messages.upsert"] {
                    self.events.send(event(name, &sent)).unwrap();
                }
                let update = json!({"keyId": id, "remoteJid": CUSTOMER, "fromMe": true, "status": "DELIVERY_ACK",
                    "instanceId": "1", "messageId": "cm0"});
                self.events.send(event("messages.update", &update)).unwrap();
                (201, sent)
            }
            other => panic!("{other}"),
        }
    }

    async fn emit(self, event: Value) {
        let webhook = self.state().instances[INSTANCE].clone();
        let name = event["event"].as_str().unwrap();
        let name = name.replace(['.', '-'], "_").to_uppercase();
        let wants = |one: &Value| *one == *name;
        let is_wanted = webhook["events"]
            .as_array()
            .is_some_and(|all| all.iter().any(wants));
        if webhook["enabled"] != true || !is_wanted {
            return;
        }
        assert_eq!(webhook["byEvents"], false);
        let is_lost = {
            let mut state = self.state();
            state.sent += 1;
            state.sent.is_multiple_of(ANSWER_LOST)
        };
        let (to, path) = parts(webhook["url"].as_str().unwrap());
        // One token for all tries.
        let token = token(webhook["headers"]["jwt_key"].as_str().unwrap());
        let request = || {
            let request = TestRequest::post(event.to_string()).path(&path);
            request.header("Authorization", &format!("Bearer {token}"))
        };
        let (taken, tries) = deliver(to, is_lost, request, |tries, answer| {
            match answer.map(|answer| answer.status) {
                Some(200..300) => return After::Taken,
                Some(400 | 401 | 403 | 404 | 422) => return After::Lost,
                Some(_) => {}
                None => self.state().unanswered += 1,
            }
            if tries == 10 {
                return After::Lost;
            }
            // 5 s, doubled to 300 s; a second of its own is 10 ms here.
            let pause = (50_u64 << (tries - 1)).min(3000);
            After::Again(Duration::from_millis(pause))
        })
        .await;
        let mut state = self.state();
        if taken {
            state.taken += 1;
        } else {
            state.lost.push((event, tries));
        }
    }
}

/// A JSON Web Token as `jsonwebtoken` makes it.
fn token(key: &str) -> String {
    let now = SystemClock.now().as_second();
    let claims = json!({"iat": now, "exp": now + 600, "app": "evolution", "action": "webhook"});
    let encode = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let head = encode(br#"{"alg":"HS256","typ":"JWT"}"#);
    let signed = format!("{head}.{}", encode(claims.to_string().as_bytes()));
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).unwrap();
    mac.update(signed.as_bytes());
    format!("{signed}.{}", encode(&mac.finalize().into_bytes()))
}

fn data(id: &str, from_me: bool, text: &str) -> Value {
    let name = if from_me { "Você" } else { "Ann" };
    json!({"key": {"remoteJid": CUSTOMER, "fromMe": from_me, "id": id}, "pushName": name, "status": "DELIVERY_ACK",
        "message": {"conversation": text}, "messageType": "conversation", "messageTimestamp": 1_764_064_800,
        "instanceId": "11111111-1111-4111-8111-111111111111", "source": "android"})
}

fn event(name: &str, data: &Value) -> Value {
    json!({"event": name, "instance": INSTANCE, "data": data, "destination": "http://me", "date_time": "2025-11-25T07:00:00.000Z",
        "sender": "491700000001@s.whatsapp.net", "server_url": "https://evo.example", "apikey": "hidden-key-of-the-instance"})
}

#[actix_web::test]
async fn evolution_gets_every_answer_once() {
    let (evolution, mut events) = Evolution::new();
    let api = {
        let evolution = evolution.clone();
        fake::api(move |asked| evolution.clone().answer(asked))
    };
    let port = fake::port();
    let more = format!(
        "[[sources]]\nname = \"evolution\"\npath = \"/evolution\"\nscheme = \"evolution-jwt\"\n\
         secrets = [\"another-key-0123456789\"]\n\
         [[gateways]]\nkind = \"evolution\"\nurl = \"http://{api}\"\napi_key = \"{API_KEY}\"\n\
         sessions = [\"{INSTANCE}\"]\nwebhook_url = \"http://127.0.0.1:{port}/evolution\"\nsecret = \"{KEY}\"\n"
    );
    let (_folder, path) = settings("gateways-evolution", port, &more);
    let own = evolution.clone();
    rt::spawn(async move {
        while let Some(event) = events.recv().await {
            rt::spawn(own.clone().emit(event));
        }
    });
    let bot = Bot {
        settings: path.clone(),
        kind: "evolution",
        api,
    };

    // What is refused is never sent again, which is an error in the log.
    let (program, line) = registered(bot.start().await).await;
    assert!(line.contains("session shop is registered for "), "{line}");
    let early = event("messages.upsert", &data("3EB0", false, "early"));
    evolution.events.send(early).unwrap();
    until("it is given up", async || {
        !evolution.state().lost.is_empty()
    })
    .await;
    assert_eq!(evolution.state().lost[0].1, 1, "it was tried again");
    let said = program.kill();
    assert!(said.contains("never sends again"), "{said}");
    assert!(!said.contains("hidden"), "{said}");
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, written.replace("another-key-0123456789", KEY)).unwrap();

    let send = |number, late| {
        let events = evolution.events.clone();
        rt::spawn(async move {
            rt::time::sleep(late).await;
            let id = format!("3EB0{number}");
            let message = event("messages.upsert", &data(&id, false, &text(number)));
            events.send(message).unwrap();
        });
    };
    over_kills(&bot, &evolution.answers, send, || evolution.is_empty()).await;
    evolution.answers.check((KILLS + 1) * EACH);
    let state = evolution.state();
    assert_eq!(state.set, KILLS + 2, "once for each start");
    assert_eq!(state.lost.len(), 1, "{:?}", state.lost);
    assert!(state.unanswered > state.taken / ANSWER_LOST);
    assert!(state.taken >= 4 * (KILLS + 1) * EACH, "{}", state.taken);
}
