//! A bot: a program of one's own that answers every message at the gateway it came from. The tests start, kill and
//! start it again. It is this test binary, asked for one test.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use offhook::testing::TestRequest;
use offhook::{
    Delivery, EventHandler, HandlerError, HandlerOptions, MessageEvent, Offhook, async_trait,
};
use serde_json::{Value, json};

use super::fake::post;
use crate::support::Program;

/// How a bot is started.
#[derive(Clone)]
pub struct Bot {
    pub settings: PathBuf,
    /// The gateway's kind.
    pub kind: &'static str,
    /// The gateway's API.
    pub api: SocketAddr,
}

/// What authorizes the bot, and offhook, at every fake.
pub const API_KEY: &str = "hidden-api-key";

/// So many events are with the handler at the same time at most.
pub const AT_ONCE: usize = 4;

impl Bot {
    /// Starts it, while everything else goes on.
    pub async fn start(&self) -> Program {
        let bot = self.clone();
        let start = move || {
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.args([
                "--exact",
                "gateways::bot::program",
                "--ignored",
                "--nocapture",
            ]);
            for (name, _) in std::env::vars_os() {
                if name.to_string_lossy().starts_with("OFFHOOK_") {
                    command.env_remove(name);
                }
            }
            command.env(SETTINGS, &bot.settings);
            command.env(API, bot.api.to_string()).env(KIND, bot.kind);
            let program = Program::start(&mut command);
            program.logged("webhooks on ");
            program
        };
        tokio::task::spawn_blocking(start).await.unwrap()
    }
}

/// Waits until the gateway is told where to send; the line that says so.
pub async fn registered(program: Program) -> (Program, String) {
    let wait = move || {
        let line = program.logged(" for http://127.0.0.1:");
        (program, line)
    };
    tokio::task::spawn_blocking(wait).await.unwrap()
}

const SETTINGS: &str = "OFFHOOK_TEST_BOT";
const API: &str = "OFFHOOK_TEST_BOT_API";
const KIND: &str = "OFFHOOK_TEST_BOT_KIND";

#[test]
#[ignore = "the tests of the gateways start it"]
fn program() {
    let Ok(settings) = std::env::var(SETTINGS) else {
        return;
    };
    let answered = PathBuf::from(&settings).with_file_name("answered");
    fs::create_dir_all(&answered).unwrap();
    let bot = Answering {
        kind: std::env::var(KIND).unwrap(),
        api: std::env::var(API).unwrap().parse().unwrap(),
        answered,
    };
    let run = async {
        let options = HandlerOptions::default().concurrency(AT_ONCE);
        let offhook = Offhook::from_settings(settings)?.handler_with("bot", bot, options);
        offhook.run().await
    };
    actix_web::rt::System::new().block_on(run).unwrap();
}

struct Answering {
    kind: String,
    api: SocketAddr,
    /// A file for each event that it has answered, by `Delivery::id`.
    answered: PathBuf,
}

#[async_trait]
impl EventHandler for Answering {
    async fn message(&self, event: &MessageEvent, delivery: &Delivery) -> Result<(), HandlerError> {
        let mark = self.answered.join(delivery.id().to_string());
        if mark.exists() {
            return Ok(());
        }
        let text = format!("re: {}", event.message());
        let request = self.send(event.session_id(), event.chat(), &text);
        let request = request.header("Idempotency-Key", &delivery.id().to_string());
        let answer = post(self.api, &request).await.ok_or("no answer")?;
        if !(200..300).contains(&answer.status) {
            return Err(format!("answered {}", answer.status).into());
        }
        Ok(fs::write(mark, "")?)
    }
}

impl Answering {
    /// What each gateway takes to send a text.
    fn send(&self, session: &str, chat: &str, text: &str) -> TestRequest {
        let post = |path: &str, body: Value| TestRequest::post(body.to_string()).path(path);
        match &*self.kind {
            "waha" => post(
                "/api/sendText",
                json!({"session": session, "chatId": chat, "text": text}),
            )
            .header("X-Api-Key", API_KEY),
            "evolution" => post(
                &format!("/message/sendText/{session}"),
                json!({"number": chat, "text": text}),
            )
            .header("apikey", API_KEY),
            _ => post(
                &format!("/{session}/messages"),
                json!({"messaging_product": "whatsapp", "to": chat, "type": "text", "text": {"body": text}}),
            )
            .header("Authorization", &format!("Bearer {API_KEY}")),
        }
    }
}
