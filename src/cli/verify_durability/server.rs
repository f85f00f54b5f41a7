//! [`Server`]: runs this program's own server as a process that can be killed.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use offhook::STOP_TIMEOUT;
use offhook::clock::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use url::Url;

use super::super::output::Failure;
use super::folder::{Folder, SETTINGS};

/// A server process. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Server {
    process: Child,
    /// The log of all servers of the run, read from where this one begins.
    log: File,
    said: String,
}

impl Server {
    /// Starts a server on the folder.
    pub(super) fn start(folder: &Folder) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| Failure::failed(format!("starting offhook: {error}"));
        let said = OpenOptions::new()
            .create(true)
            .append(true)
            .open(folder.log())
            .map_err(failed)?;
        let mut log = File::open(folder.log()).map_err(failed)?;
        log.seek(SeekFrom::End(0)).map_err(failed)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(["serve", "--settings", SETTINGS]);
        command.current_dir(folder.path()).env("RUST_LOG", "warn");
        for (name, _) in std::env::vars_os() {
            // Only the folder's settings must count.
            if name.to_string_lossy().starts_with("OFFHOOK_") {
                command.env_remove(name);
            }
        }
        let stdout = said.try_clone().map_err(failed)?;
        command.stdin(Stdio::null()).stdout(stdout).stderr(said);
        Ok(Self {
            process: command.spawn().map_err(failed)?,
            log,
            said: String::new(),
        })
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
        killed.map_err(|error| self.failure(&error.to_string()))?;
        Ok(())
    }

    /// Asks it to stop, and waits until it has stopped.
    pub(super) async fn stop(mut self) -> Result<(), Failure> {
        let id = i32::try_from(self.process.id())
            .ok()
            .and_then(Pid::from_raw);
        let id = id.ok_or_else(|| Failure::failed("the server has no process id"))?;
        kill_process(id, Signal::TERM).map_err(|error| self.failure(&error.to_string()))?;
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
        ended.map_err(|error| Failure::failed(format!("the server's process: {error}")))
    }

    /// The URL in its first log line about webhooks.
    fn url(&mut self) -> Result<Option<Url>, Failure> {
        let read = (&self.log).take(LONGEST_LOG).read_to_string(&mut self.said);
        read.map_err(|error| Failure::failed(format!("the server's log: {error}")))?;
        // The last line may be incomplete.
        let whole = self.said.rfind('\n').map_or("", |end| &self.said[..end]);
        let words = whole.split_whitespace();
        let mut urls = words.filter_map(|word| Url::parse(word).ok());
        Ok(urls.find(|url| url.path() == "/webhook"))
    }

    fn failure(&self, what: &str) -> Failure {
        let mut said = String::new();
        // If nothing more can be read, the log so far is enough.
        let _ = (&self.log).take(LONGEST_LOG).read_to_string(&mut said);
        let said = [self.said.as_str(), &said].concat();
        Failure::failed(format!("the server {what}; it said:\n{}", said.trim_end()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It only fails if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const START_TIMEOUT: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(5);

const LONGEST_LOG: u64 = 64 * 1024;
