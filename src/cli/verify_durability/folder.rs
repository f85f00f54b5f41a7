//! [`Folder`]: holds the settings, the journal, and what the handler received in one run.

use std::path::{Path, PathBuf};

use offhook::signature::Secret;

use super::super::output::Failure;

/// A temporary folder. Dropping it removes it, unless it is to be kept.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    secret: Secret,
    kept: bool,
}

impl Folder {
    /// Creates it, with a settings file that uses relative paths.
    pub(super) fn new() -> Result<Self, Failure> {
        let id = uuid::Uuid::now_v7();
        let path = std::env::temp_dir().join(format!("offhook-durability-{id}"));
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        std::fs::create_dir(&path).map_err(failed)?;
        let secret = id.to_string();
        std::fs::write(path.join(SETTINGS), settings(&secret)).map_err(failed)?;
        let secret = Secret::new(secret).map_err(|error| Failure::failed(error.to_string()))?;
        let kept = false;
        Ok(Self { path, secret, kept })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn secret(&self) -> &Secret {
        &self.secret
    }

    /// The file of what the handler received.
    pub(super) fn handled(&self) -> PathBuf {
        self.path.join("handled.jsonl")
    }

    /// The server's log.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Keeps the folder, and returns its path.
    pub(super) fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // If this fails, the system cleans its temporary folder later.
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

fn settings(secret: &str) -> String {
    format!(
        r#"[server]
bind = "127.0.0.1:0"

[admin]
bind = "127.0.0.1:0"

[[sources]]
name = "verify"
secrets = ["{secret}"]

[journal]
engine = "sqlite"
path = "journal"

[[handlers]]
name = "verify"
use = "jsonl"
path = "handled.jsonl"
order = "conversation"
"#
    )
}

pub(super) const SETTINGS: &str = "settings.toml";
