//! A server in this process that was started from a settings file in a folder of its own, which a test changes.

use std::path::PathBuf;

use offhook::testing::TestRequest;
use offhook::{Offhook, Server, testing};
use serde_json::Value;

use crate::served::until;
use crate::support::{Folder, ask};

pub struct FromFile {
    pub folder: Folder,
    /// The settings of the start.
    pub text: String,
    pub server: Server,
}

impl FromFile {
    pub async fn start(folder: Folder, text: String) -> Self {
        let file = folder.0.join("settings.toml");
        std::fs::write(&file, &text).unwrap();
        let server = testing::start(Offhook::from_settings(file).unwrap()).await;
        Self {
            folder,
            text,
            server,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.0.join(name)
    }

    /// Writes the text of the start with `old` replaced by `new`, in one step.
    pub fn write(&self, old: &str, new: &str) {
        assert!(self.text.contains(old), "{old}");
        let other = self.path("settings.toml.new");
        std::fs::write(&other, self.text.replacen(old, new, 1)).unwrap();
        std::fs::rename(other, self.path("settings.toml")).unwrap();
    }

    pub async fn ask(&self, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let admin = self.server.admin_address().unwrap();
        let body = match method {
            "POST" => body.to_string(),
            _ => String::new(),
        };
        ask(admin, method, path, body).await
    }

    pub async fn metrics(&self) -> String {
        let admin = self.server.admin_address().unwrap();
        TestRequest::get("/metrics").send(admin).await.text()
    }

    /// The ids of the messages in `file` of a `jsonl` handler, when there are so many.
    pub async fn ids(&self, file: &str, count: usize) -> Vec<String> {
        let found = || {
            let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
            let ids = text.lines().map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["body"]["messageId"].as_str().unwrap_or("?").to_owned()
            });
            ids.collect::<Vec<_>>()
        };
        until(&format!("{count} ids in {file}"), async || {
            found().len() >= count
        })
        .await;
        found()
    }
}
