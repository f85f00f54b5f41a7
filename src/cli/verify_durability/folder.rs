//! [`Folder`]: where one run has its settings, its journal, and what its handler got.

use std::path::{Path, PathBuf};

use offhook::signature::Secret;

use super::super::output::Failure;

/// A temporary folder, removed with its owner unless it is to be kept.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    secret: Secret,
    kept: bool,
}

impl Folder {
    /// Makes it, with a settings file that names everything relative to it.
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

    /// What the handler got.
    pub(super) fn handled(&self) -> PathBuf {
        self.path.join("handled.jsonl")
    }

    /// What the server has said.
    pub(super) fn log(&self) -> PathBuf {
        self.path.join("server.log")
    }

    /// Leaves it where it is.
    pub(super) fn keep(mut self) -> PathBuf {
        self.kept = true;
        self.path.clone()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !self.kept {
            // It is in the folder for temporary files: the system removes it where this cannot.
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
