//! [`Server`]: runs this program's own server in a [`Folder`], as a process that can be killed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use offhook::STOP_TIMEOUT;
use offhook::clock::{Clock as _, SystemClock};
use offhook::signature::Secret;
use rustix::process::{Pid, Signal, kill_process};
use url::Url;

use super::super::output::Failure;

/// The settings, the journal, and what the handler received in one run. Dropping it removes the
/// temporary folder, unless it is to be kept.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) secret: Secret,
    /// The file of what the handler received.
    pub(super) handled: PathBuf,
    kept: bool,
}

impl Folder {
    /// Creates it, with a settings file that uses relative paths.
    pub(super) fn new() -> Result<Self, Failure> {
        let secret = uuid::Uuid::now_v7().to_string();
        let path = std::env::temp_dir().join(format!("offhook-durability-{secret}"));
        let handled = path.join("handled.jsonl");
        let settings = SETTINGS.replace("SECRET", &secret);
        fs::create_dir(&path)
            .and_then(|()| fs::write(path.join("settings.toml"), settings))
            .and_then(|()| fs::write(&handled, ""))
            .map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        let secret = Secret::new(secret).map_err(Failure::failed)?;
        Ok(Self {
            path,
            secret,
            handled,
            kept: false,
        })
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
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// A server process. Dropping it kills it, and waits until it has ended.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    /// The log of all servers of the run, at the place where this one begins.
    log: File,
    said: String,
}

impl Server {
    /// Starts a server on the folder.
    pub(super) fn start(folder: &Folder) -> Result<Self, Failure> {
        Self::spawn(&folder.path)
            .map_err(|error| Failure::failed(format!("starting offhook: {error}")))
    }

    fn spawn(folder: &Path) -> io::Result<Self> {
        let path = folder.join("server.log");
        let output = OpenOptions::new().create(true).append(true).open(&path)?;
        let mut log = File::open(path)?;
        log.seek(SeekFrom::End(0))?;
        let mut command = Command::new(std::env::current_exe()?);
        for (name, _) in std::env::vars_os() {
            // Only the folder's settings must count.
            if name.to_string_lossy().starts_with("OFFHOOK_") {
                command.env_remove(name);
            }
        }
        let process = command
            .args(["serve", "--settings", "settings.toml"])
            .current_dir(folder)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()?;
        let said = String::new();
        Ok(Self { process, log, said })
    }

    /// Waits until the server logs where it receives webhooks, and returns that URL.
    pub(super) async fn listening(&mut self) -> Result<Url, Failure> {
        let started = SystemClock.monotonic();
        while SystemClock.monotonic() - started < START_TIMEOUT {
            let ended = self.ended()?;
            if let Some(url) = self.url()? {
                return Ok(url);
            }
            if let Some(status) = ended {
                return Err(self.failure(&format!("did not start ({status})")));
            }
            tokio::time::sleep(LOOK).await;
        }
        Err(self.failure("did not start in time"))
    }

    /// Kills it with SIGKILL.
    pub(super) fn kill(mut self) -> Result<(), Failure> {
        if let Some(status) = self.ended()? {
            return Err(self.failure(&format!("ended by itself ({status})")));
        }
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed.map(drop).map_err(|error| process_failure(&error))
    }

    /// Asks it to stop, and waits until it has stopped.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)
            .map_err(|error| process_failure(&error.into()))?;
        let asked = SystemClock.monotonic();
        while SystemClock.monotonic() - asked < 2 * STOP_TIMEOUT {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(&format!("stopped badly ({status})"))),
                None => tokio::time::sleep(LOOK).await,
            }
        }
        Err(self.failure("did not stop in time"))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Failure> {
        let ended = self.process.try_wait();
        ended.map_err(|error| process_failure(&error))
    }

    /// The URL in its first log line about webhooks.
    fn url(&mut self) -> Result<Option<Url>, Failure> {
        self.read_log()
            .map_err(|error| Failure::failed(format!("the server's log: {error}")))?;
        // The last line may be incomplete.
        let whole = self.said.rfind('\n').map_or("", |end| &self.said[..end]);
        let words = whole.split_whitespace();
        let mut urls = words.filter_map(|word| Url::parse(word).ok());
        Ok(urls.find(|url| url.path() == "/webhook"))
    }

    fn read_log(&mut self) -> io::Result<usize> {
        (&self.log).take(LONGEST_LOG).read_to_string(&mut self.said)
    }

    fn failure(&mut self, what: &str) -> Failure {
        // If nothing more can be read, the log so far is enough.
        let _ = self.read_log();
        let said = self.said.trim_end();
        Failure::failed(format!("the server {what}; it said:\n{said}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both only fail if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn process_failure(error: &io::Error) -> Failure {
    Failure::failed(format!("the server's process: {error}"))
}

const START_TIMEOUT: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(5);

const LONGEST_LOG: u64 = 64 * 1024;

const SETTINGS: &str = r#"
[server]
bind = "127.0.0.1:0"

[admin]
bind = "127.0.0.1:0"

[[sources]]
name = "verify"
secrets = ["SECRET"]

[journal]
engine = "sqlite"
path = "journal"

[[handlers]]
name = "verify"
use = "jsonl"
path = "handled.jsonl"
order = "conversation"
"#;
