//! Refused requests: what is kept of them, why they were refused, and how they become events after all.

mod again;
mod command;
mod kept;
mod reasons;

use std::net::SocketAddr;

use offhook::testing::{TestEvent, TestRequest};
use offhook::{Offhook, Server, testing};
use serde_json::{Value, json};

use crate::served::until;
use crate::support::{Folder, ask, secret};

/// A server with a settings file in a folder of its own.
struct Refusing {
    folder: Folder,
    text: String,
    server: Server,
}

const OLD: &str = "the-secret-of-the-settings";
const NEW: &str = "the-secret-of-the-gateway";

impl Refusing {
    /// `more` follows the source `hub`, which has the path /webhook.
    async fn start(name: &str, more: &str) -> Self {
        let folder = Folder::new(name);
        let path = folder.0.display();
        let text = format!(
            "[server]\n[admin]\n[journal]\npath = \"{path}/journal\"\n[refused]\n\
             [[handlers]]\nname = \"kept\"\nuse = \"jsonl\"\npath = \"{path}/handled.jsonl\"\n\
             order = \"session\"\n[[sources]]\nname = \"hub\"\nsecrets = [\"{OLD}\"]\n{more}"
        );
        std::fs::write(folder.0.join("settings.toml"), &text).unwrap();
        let offhook = Offhook::from_settings(folder.0.join("settings.toml")).unwrap();
        let server = testing::start(offhook).await;
        Self {
            folder,
            text,
            server,
        }
    }

    fn public(&self) -> SocketAddr {
        self.server.public_address()
    }

    /// Writes the text of the start with `old` replaced by `new`, and has it loaded.
    async fn change(&self, old: &str, new: &str) {
        assert!(self.text.contains(old), "{old}");
        let text = self.text.replacen(old, new, 1);
        let (file, other) = (
            self.folder.0.join("settings.toml"),
            self.folder.0.join("new"),
        );
        std::fs::write(&other, text).unwrap();
        std::fs::rename(other, file).unwrap();
        let (status, answer) = self.ask("POST", "/api/reload", json!({})).await;
        assert_eq!(status, 200, "{answer}");
    }

    async fn ask(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let admin = self.server.admin_address().unwrap();
        let body = match method {
            "POST" => body.to_string(),
            _ => String::new(),
        };
        ask(admin, method, path, body).await
    }

    /// What `/api/refused` says, with this query.
    async fn list(&self, query: &str) -> Value {
        let (status, answer) = self
            .ask("GET", &format!("/api/refused{query}"), json!({}))
            .await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// The newest request that is kept, when it is explained.
    async fn newest(&self) -> Value {
        let newest = async || self.list("?limit=1").await["refused"][0].take();
        until("a diagnosis", async || {
            let newest = newest().await;
            newest != Value::Null && newest["diagnosis"] != "pending"
        })
        .await;
        newest().await
    }

    async fn details(&self, one: &Value) -> Value {
        let id = one["id"].as_str().unwrap();
        let (status, details) = self
            .ask("GET", &format!("/api/refused/{id}"), json!({}))
            .await;
        assert_eq!(status, 200, "{details}");
        details
    }

    /// Sends it, and expects this status.
    async fn send(&self, request: &TestRequest, status: u16) {
        let answer = request.send(self.public()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }

    async fn metrics(&self) -> String {
        let admin = self.server.admin_address().unwrap();
        TestRequest::get("/metrics").send(admin).await.text()
    }

    /// The ids of the messages that were handled, when there are so many.
    async fn handled(&self, count: usize) -> Vec<String> {
        let file = self.folder.0.join("handled.jsonl");
        let found = || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            let ids = text.lines().map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["body"]["messageId"].as_str().unwrap_or("?").to_owned()
            });
            ids.collect::<Vec<_>>()
        };
        until("the handler", async || found().len() >= count).await;
        found()
    }
}

/// A message signed with this key.
fn message(id: &str, key: &str) -> TestRequest {
    TestEvent::message("+1", "hello")
        .id(id)
        .session("s")
        .sign(&secret(key))
}
