//! Receivers that others wrote, as their documentation has them. `offhook-bench setup` installs what
//! they need, pinned, into `target/bench-peers`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Running, find};
use crate::lab::{self, Lab};
use crate::load::KEY;
use crate::process::{Listening, Process, free_address};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Peer {
    Express,
    Octokit,
    Flask,
    FlaskThreads,
    FlaskDev,
    Webhook,
}

impl Peer {
    pub(super) fn missing(self) -> Option<String> {
        let (tool, library) = match self {
            Self::Express => ("node", Some(node_modules().join("express"))),
            Self::Octokit => ("node", Some(node_modules().join("@octokit/webhooks"))),
            Self::Flask | Self::FlaskThreads => ("python3", Some(python("gunicorn"))),
            Self::FlaskDev => ("python3", Some(python("flask"))),
            Self::Webhook => ("webhook", None),
        };
        if find(tool, &[]).is_none() {
            return Some(format!(
                "{tool} is not installed; `setup` installs it for root"
            ));
        }
        match library {
            Some(library) if !library.exists() => {
                let library = library
                    .strip_prefix(lab::root())
                    .unwrap_or(&library)
                    .display();
                Some(format!("there is no {library}; run `setup` first"))
            }
            _ => None,
        }
    }

    /// Asks for the version of what it runs on; its packages are pinned.
    pub(super) fn version(self) -> Command {
        let mut command = match self {
            Self::Express | Self::Octokit => Command::new("node"),
            Self::Flask | Self::FlaskThreads => Command::new(python("gunicorn")),
            Self::FlaskDev => Command::new(python("python")),
            Self::Webhook => Command::new("webhook"),
        };
        command.arg(if self == Self::Webhook {
            "-version"
        } else {
            "--version"
        });
        command
    }

    pub(super) fn start(self, lab: &Lab, folder: &Path) -> anyhow::Result<Running> {
        let address = free_address()?;
        let mut command = self.command(lab, folder, address)?;
        command.current_dir(folder);
        let on = Listening::Tcp(address);
        let process = Process::start_listening(command, lab.server_core, folder, &on)?;
        Ok(Running::new(address, process))
    }

    fn command(self, lab: &Lab, folder: &Path, address: SocketAddr) -> anyhow::Result<Command> {
        let port = address.port().to_string();
        let receivers = lab.root.join("tests/peers");
        Ok(match self {
            Self::Express => node(&receivers.join("express_app.js"), &port),
            Self::Octokit => node(&lab.root.join("bench/peers/octokit_app.js"), &port),
            Self::Flask | Self::FlaskThreads => {
                let mut command = Command::new(python("gunicorn"));
                if self == Self::FlaskThreads {
                    command.args(["--threads", "4", "--keep-alive", "75"]);
                }
                command.args(["--log-level", "warning", "--bind", &address.to_string()]);
                command.arg("--chdir").arg(receivers).arg("flask_app:app");
                command
            }
            Self::FlaskDev => {
                let mut command = Command::new(python("python"));
                command.arg(receivers.join("flask_app.py")).arg(port);
                command
            }
            Self::Webhook => {
                let hooks = folder.join("hooks.json");
                std::fs::write(&hooks, hook().to_string())?;
                let mut command = Command::new("webhook");
                command
                    .arg("-hooks")
                    .arg(hooks)
                    .args(["-ip", "127.0.0.1", "-port", &port]);
                command.args(["-urlprefix", ""]);
                command
            }
        })
    }
}

/// One hook with the path `/webhook`, as webhook's documentation shows it for a signed sender.
fn hook() -> serde_json::Value {
    serde_json::json!([{
        "id": "webhook",
        "execute-command": "/bin/true",
        "response-message": "{\"status\":\"received\"}",
        "trigger-rule-mismatch-http-response-code": 401,
        "trigger-rule": { "match": {
            "type": "payload-hmac-sha256",
            "secret": KEY,
            "parameter": { "source": "header", "name": "X-Webhook-Signature" },
        }},
    }])
}

fn node(script: &Path, port: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(script).arg(port);
    command
        .env("NODE_PATH", node_modules())
        .env("NODE_ENV", "production");
    command
}

fn node_modules() -> PathBuf {
    lab::peers().join("node/node_modules")
}

fn python(program: &str) -> PathBuf {
    lab::peers().join("python/bin").join(program)
}
