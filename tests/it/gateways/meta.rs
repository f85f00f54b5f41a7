//! Meta's WhatsApp Cloud API, from its documentation (webhooks, `override_callback_uri`): the URL is asked for a challenge
//! while it is registered. Events come in batches of several phone numbers, `/` and all that is not ASCII escaped. What
//! is not answered 200 comes again later, batched with others.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix_web::rt;
use hmac::{Hmac, KeyInit as _, Mac as _};
use offhook::testing::TestRequest;
use serde_json::{Value, json};
use sha2::Sha256;

use super::bot::{API_KEY, Bot, registered};
use super::fake::{self, Answers, Asked, parts, post};
use super::{ANSWER_LOST, EACH, KILLS, over_kills, settings, text};
use crate::served::until;

const SECRET: &str = "the-secret-of-the-app-0123456789";
const VERIFY: &str = "a text of your own & more";
const ACCOUNT: &str = "900800700";
/// The ids of two numbers of the account; each is a session.
const PHONES: [&str; 2] = ["100200300", "100200301"];
const CUSTOMER: &str = "15550100002";

#[derive(Clone, Default)]
struct Meta {
    state: Arc<Mutex<State>>,
    answers: Answers,
}

#[derive(Default)]
struct State {
    /// The URL of the account, once it has given its challenge back.
    url: Option<String>,
    /// What the challenges were answered.
    challenges: Vec<u16>,
    /// Changes that were not answered 200.
    waiting: VecDeque<Value>,
    /// So many are on their way.
    under_way: usize,
    taken: usize,
    /// The sizes of all batches.
    batches: Vec<usize>,
    /// Batches that were not answered 200.
    failed: usize,
}

impl Meta {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn is_empty(&self) -> bool {
        let state = self.state();
        state.waiting.is_empty() && state.under_way == 0
    }

    async fn answer(self, asked: Asked) -> (u16, Value) {
        if asked.header("authorization") != format!("Bearer {API_KEY}") {
            return (
                401,
                json!({"error": {"code": 190, "type": "OAuthException"}}),
            );
        }
        let line = asked.line.as_str();
        if line == format!("POST /{ACCOUNT}/subscribed_apps") {
            return self.subscribe(&asked.body).await;
        }
        let phone = line
            .strip_prefix("POST /")
            .and_then(|rest| rest.strip_suffix("/messages"));
        let phone = phone.unwrap_or_else(|| panic!("{line}"));
        assert_eq!(asked.body["to"], CUSTOMER);
        self.answers.take(&asked, &asked.body["text"]["body"]);
        let id = format!("wamid.R{}", self.answers.count());
        for status in ["sent", "delivered"] {
            let status = json!({"id": id, "status": status, "timestamp": "1764064801", "recipient_id": CUSTOMER});
            let change = change(phone, "statuses", &status);
            self.state().waiting.push_back(change);
        }
        (
            200,
            json!({"messaging_product": "whatsapp", "messages": [{"id": id}]}),
        )
    }

    /// Asks the URL for its challenge before it answers.
    async fn subscribe(&self, body: &Value) -> (u16, Value) {
        let url = body["override_callback_uri"].as_str().unwrap();
        let (to, path) = parts(url);
        let token = body["verify_token"].as_str().unwrap();
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("hub.mode", "subscribe")
            .append_pair("hub.challenge", "1158201444")
            .append_pair("hub.verify_token", token)
            .finish();
        let answer = post(to, &TestRequest::get(&format!("{path}?{query}"))).await;
        let answer = answer.expect("the server listens before it registers");
        let mut state = self.state();
        state.challenges.push(answer.status);
        if (answer.status, answer.text().as_str()) != (200, "1158201444") {
            let text = "(#2200) Callback verification failed";
            return (400, json!({"error": {"message": text, "code": 2200}}));
        }
        state.url = Some(url.to_owned());
        (200, json!({"success": true}))
    }

    /// Sends what waits, some at a time, for ever.
    async fn send(self, most: usize) {
        let mut pause = PAUSE;
        loop {
            let (batch, url) = {
                let mut state = self.state();
                let count = state.waiting.len().min(most);
                let batch: Vec<Value> = state.waiting.drain(..count).collect();
                state.under_way += batch.len();
                (batch, state.url.clone())
            };
            let Some(url) = url.filter(|_| !batch.is_empty()) else {
                assert!(batch.is_empty(), "nothing comes before the challenge");
                rt::time::sleep(PAUSE).await;
                continue;
            };
            let (to, path) = parts(&url);
            let answer = post(to, &signed(&batch).path(&path)).await;
            let mut is_taken = answer.is_some_and(|answer| answer.status == 200);
            {
                let mut state = self.state();
                state.under_way -= batch.len();
                state.batches.push(batch.len());
                is_taken &= !state.batches.len().is_multiple_of(ANSWER_LOST);
                if is_taken {
                    state.taken += batch.len();
                } else {
                    state.failed += 1;
                    // Behind what is new: it comes again in another batch.
                    state.waiting.extend(batch);
                }
            }
            if is_taken {
                pause = PAUSE;
            } else {
                // With falling frequency.
                rt::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE * 32);
            }
        }
    }
}

const PAUSE: Duration = Duration::from_millis(10);

/// One change of a batch.
fn change(phone: &str, what: &str, event: &Value) -> Value {
    let mut value = json!({
        "messaging_product": "whatsapp",
        "metadata": {"display_phone_number": "15550100001", "phone_number_id": phone},
    });
    if what == "messages" {
        value["contacts"] = json!([{"profile": {"name": "Ann"}, "wa_id": CUSTOMER}]);
    }
    value[what] = json!([event]);
    json!({"field": "messages", "value": value})
}

/// A batch as it comes.
fn signed(changes: &[Value]) -> TestRequest {
    let body = json!({"object": "whatsapp_business_account", "entry": [{"id": ACCOUNT, "changes": changes}]});
    let escaped = body.to_string().replace('/', "\\/");
    let escaped = escaped.chars().map(|letter| match letter {
        ' '..='~' => letter.to_string(),
        other => format!("\\u{:04x}", u32::from(other)),
    });
    let body: String = escaped.collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    let signature = const_hex::encode(mac.finalize().into_bytes());
    let request = TestRequest::post(body);
    request.header("X-Hub-Signature-256", &format!("sha256={signature}"))
}

#[actix_web::test]
async fn meta_gets_every_answer_once() {
    let meta = Meta::default();
    let api = {
        let meta = meta.clone();
        fake::api(move |asked| meta.clone().answer(asked))
    };
    let port = fake::port();
    let more = format!(
        "[[sources]]\nname = \"meta\"\npath = \"/meta\"\nscheme = \"meta\"\nsecrets = [\"{SECRET}\"]\n\
         verify_token = \"another text\"\n\
         [[gateways]]\nkind = \"meta\"\nurl = \"http://{api}\"\napi_key = \"{API_KEY}\"\n\
         sessions = [\"{ACCOUNT}\"]\nwebhook_url = \"http://127.0.0.1:{port}/meta\"\nverify_token = \"{VERIFY}\"\n"
    );
    let (_folder, path) = settings("gateways-meta", port, &more);
    let bot = Bot {
        settings: path.clone(),
        kind: "meta",
        api,
    };

    // With another token the challenge is refused, and nothing is registered.
    let program = bot.start().await;
    until("it is challenged", async || {
        !meta.state().challenges.is_empty()
    })
    .await;
    let said = program.kill();
    assert!(!said.contains("hidden") && !said.contains(VERIFY), "{said}");
    assert_eq!(meta.state().challenges[0], 403);
    assert_eq!(meta.state().url, None);
    let written = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, written.replace("another text", VERIFY)).unwrap();

    let (program, line) = registered(bot.start().await).await;
    assert!(
        line.contains("session 900800700 is registered for "),
        "{line}"
    );
    program.stop();
    for most in [2, 5] {
        rt::spawn(meta.clone().send(most));
    }
    let send = |number: usize, late| {
        let meta = meta.clone();
        rt::spawn(async move {
            rt::time::sleep(late).await;
            let message = json!({"from": CUSTOMER, "id": format!("wamid.A{number}="), "timestamp": "1764064800",
                "type": "text", "text": {"body": text(number)}});
            let change = change(PHONES[number % 2], "messages", &message);
            meta.state().waiting.push_back(change);
        });
    };
    over_kills(&bot, &meta.answers, send, || meta.is_empty()).await;
    meta.answers.check((KILLS + 1) * EACH);
    let state = meta.state();
    assert!(state.taken >= 3 * (KILLS + 1) * EACH, "{}", state.taken);
    assert!(state.failed > state.batches.len() / ANSWER_LOST);
    assert!(state.batches.iter().any(|size| *size > 1));
}
