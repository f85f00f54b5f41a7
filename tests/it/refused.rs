//! Refused requests: what is kept of them, why they were refused, and how they become events after all.

mod again;
mod command;
mod kept;
mod reasons;

use std::net::SocketAddr;
use std::ops::Deref;

use offhook::testing::{TestEvent, TestRequest};
use serde_json::{Value, json};

use crate::from_file::FromFile;
use crate::served::until;
use crate::support::{Folder, secret};

/// A server that refuses requests, and whose settings may be mended.
struct Refusing(FromFile);

impl Deref for Refusing {
    type Target = FromFile;

    fn deref(&self) -> &FromFile {
        &self.0
    }
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
        Self(FromFile::start(folder, text).await)
    }

    fn public(&self) -> SocketAddr {
        self.server.public_address()
    }

    /// Writes the text of the start with `old` replaced by `new`, and has it loaded.
    async fn change(&self, old: &str, new: &str) {
        self.write(old, new);
        let (status, answer) = self.ask("POST", "/api/reload", &json!({})).await;
        assert_eq!(status, 200, "{answer}");
    }

    /// What `/api/refused` says, with this query.
    async fn list(&self, query: &str) -> Value {
        let (status, answer) = self
            .ask("GET", &format!("/api/refused{query}"), &json!({}))
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
            .ask("GET", &format!("/api/refused/{id}"), &json!({}))
            .await;
        assert_eq!(status, 200, "{details}");
        details
    }

    /// Sends it, and expects this status.
    async fn send(&self, request: &TestRequest, status: u16) {
        let answer = request.send(self.public()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }

    /// The ids of the messages that were handled, when there are so many.
    async fn handled(&self, count: usize) -> Vec<String> {
        self.ids("handled.jsonl", count).await
    }
}

/// A message signed with this key.
fn message(id: &str, key: &str) -> TestRequest {
    TestEvent::message("+1", "hello")
        .id(id)
        .session("s")
        .sign(&secret(key))
}
