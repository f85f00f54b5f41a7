//! [`Server`]: runs `offhook serve` as a process that can be killed.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use http::Uri;
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::error::{Error, io};

/// A server process. Dropping it kills it, and waits until it has ended.
pub(crate) struct Server {
    process: Child,
    /// The log of all servers of the run, at the place where this one begins.
    log: File,
    said: String,
}

impl Server {
    /// Starts a server with the settings of the folder.
    pub(crate) fn start(program: &Path, folder: &Path) -> Result<Self, Error> {
        Self::spawn(program, folder).map_err(io("starting offhook"))
    }

    fn spawn(program: &Path, folder: &Path) -> io::Result<Self> {
        let path = folder.join("server.log");
        let output = OpenOptions::new().create(true).append(true).open(&path)?;
        let mut log = File::open(path)?;
        log.seek(SeekFrom::End(0))?;
        let mut command = Command::new(program);
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
    pub(crate) async fn listening(&mut self) -> Result<Uri, Error> {
        let started = Instant::now();
        while started.elapsed() < LONGEST {
            let ended = self.ended()?;
            if let Some(url) = self.url()? {
                return Ok(url);
            }
            if let Some(status) = ended {
                return Err(self.failure(&format!("did not start ({status})")));
            }
            sleep(LOOK).await;
        }
        Err(self.failure("did not start in time"))
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(mut self) -> Result<(), Error> {
        if let Some(status) = self.ended()? {
            return Err(self.failure(&format!("ended by itself ({status})")));
        }
        let killed = self.process.kill().and_then(|()| self.process.wait());
        killed.map(drop).map_err(io(PROCESS))
    }

    /// Asks it to stop, and waits until it has stopped.
    pub(crate) async fn stop(mut self) -> Result<(), Error> {
        kill_process(Pid::from_child(&self.process), Signal::TERM)
            .map_err(|error| io(PROCESS)(error.into()))?;
        let asked = Instant::now();
        while asked.elapsed() < LONGEST {
            match self.ended()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => return Err(self.failure(&format!("stopped badly ({status})"))),
                None => sleep(LOOK).await,
            }
        }
        Err(self.failure("did not stop in time"))
    }

    fn ended(&mut self) -> Result<Option<ExitStatus>, Error> {
        self.process.try_wait().map_err(io(PROCESS))
    }

    /// The URL in its first log line about webhooks.
    fn url(&mut self) -> Result<Option<Uri>, Error> {
        self.read_log().map_err(io("the server's log"))?;
        // The last line may be incomplete.
        let whole = self.said.rfind('\n').map_or("", |end| &self.said[..end]);
        let words = whole.split_whitespace();
        let mut urls = words.filter_map(|word| word.parse::<Uri>().ok());
        Ok(urls.find(|url| url.host().is_some() && url.path() == "/webhook"))
    }

    fn read_log(&mut self) -> io::Result<usize> {
        (&self.log).take(LONGEST_LOG).read_to_string(&mut self.said)
    }

    fn failure(&mut self, what: &str) -> Error {
        // If nothing more can be read, the log so far is enough.
        let _ = self.read_log();
        let said = self.said.trim_end();
        Error(format!("the server {what}; it said:\n{said}"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both only fail if the process has already ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

const PROCESS: &str = "the server's process";

/// How long a start or a stop may take. offhook itself stops within 30 seconds.
const LONGEST: Duration = Duration::from_secs(60);

const LOOK: Duration = Duration::from_millis(5);

const LONGEST_LOG: u64 = 64 * 1024;
