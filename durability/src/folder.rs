//! [`Folder`]: the temporary folder in which the server of a run works.

use std::fs;
use std::path::PathBuf;

use uuid::Uuid;

use crate::error::{Error, io};

/// The settings, the journal, and what the handler received in one run. Dropping it removes the folder.
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// The secret of the source.
    pub(crate) secret: String,
    /// The file of what the handler received.
    pub(crate) handled: PathBuf,
}

impl Folder {
    /// Creates it, with a settings file that uses relative paths.
    pub(crate) fn new() -> Result<Self, Error> {
        let folder = Self::empty()?;
        let settings = format!("{SERVER}{SQLITE}").replace("SECRET", &folder.secret);
        fs::write(folder.path.join("settings.toml"), settings)
            .and_then(|()| fs::write(&folder.handled, ""))
            .map_err(io(folder.path.display()))?;
        Ok(folder)
    }

    /// Creates it without a server.
    pub(crate) fn empty() -> Result<Self, Error> {
        let secret = Uuid::now_v7().to_string();
        let path = std::env::temp_dir().join(format!("offhook-durability-{secret}"));
        fs::create_dir(&path).map_err(io(path.display()))?;
        Ok(Self {
            handled: path.join("handled.jsonl"),
            path,
            secret,
        })
    }

    /// Creates the folder of an instance, which relays everything to `subscriber`.
    pub(crate) fn instance(
        &self,
        name: &str,
        database: &str,
        subscriber: &str,
    ) -> Result<(), Error> {
        let path = self.path.join(name);
        let settings = format!("{SERVER}{POSTGRES}").replace("SECRET", &self.secret);
        let settings = settings.replace("DATABASE", database).replace("NAME", name);
        let settings = settings.replace("SUBSCRIBER", subscriber);
        fs::create_dir(&path)
            .and_then(|()| fs::write(path.join("settings.toml"), settings))
            .map_err(io(path.display()))
    }

    /// Keeps the folder for inspection, and returns its path.
    pub(crate) fn keep(self) -> PathBuf {
        let path = self.path.clone();
        std::mem::forget(self);
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // If this fails, the system cleans its temporary folder later.
        let _ = fs::remove_dir_all(&self.path);
    }
}

const SERVER: &str = r#"
[server]
bind = "127.0.0.1:0"

[admin]
bind = "127.0.0.1:0"

[[sources]]
name = "verify"
secrets = ["SECRET"]
"#;

const SQLITE: &str = r#"
[journal]
engine = "sqlite"
path = "journal"

[[handlers]]
name = "verify"
use = "jsonl"
path = "handled.jsonl"
order = "conversation"
"#;

/// With the shortest lease, so that the run is short.
const POSTGRES: &str = r#"
[journal]
engine = "postgres"
url = "DATABASE"
instance = "NAME"
lease = "4s"

[relay]
allow_private = true

[[subscriptions]]
name = "verify"
session = "*"
webhook_url = "SUBSCRIBER"
order = "conversation"
"#;
