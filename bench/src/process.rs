//! A server's process: started on its core, measured with all its children, ended by its id.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, bail};
use offhook::clock::{Clock as _, SystemClock};
use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use tokio::signal::unix::{SignalKind, signal};

use crate::procfs;

/// A process of ours. It ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    /// What it wrote to standard error.
    errors: PathBuf,
}

/// How we speak with a server that is this program itself.
pub(crate) struct Talk {
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Process {
    /// Starts it on one core; its standard error goes to a file in `folder`.
    pub(crate) fn start(mut command: Command, core: usize, folder: &Path) -> anyhow::Result<Self> {
        let shown = command.get_program().to_string_lossy().into_owned();
        let name = shown.rsplit('/').next().unwrap_or_default();
        let errors = folder.join(format!("{name}.stderr"));
        command.stderr(File::create(&errors)?);
        // The reason is what we want to show of it, not the way there.
        command.env("RUST_BACKTRACE", "0");
        // A child has the affinity of the thread that starts it.
        let child = std::thread::scope(|scope| {
            let started = scope.spawn(move || {
                pin(core);
                command.spawn()
            });
            started.join()
        });
        let child = child.map_err(|_| anyhow::anyhow!("starting {shown} panicked"))?;
        let child = child.with_context(|| format!("starting {shown}"))?;
        STARTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(child.id());
        Ok(Self { child, errors })
    }

    /// Starts a server that says on its first line where it is.
    pub(crate) fn start_talking(
        mut command: Command,
        core: usize,
        folder: &Path,
    ) -> anyhow::Result<(Self, SocketAddr, Talk)> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Self::start(command, core, folder)?;
        let questions = process.child.stdin.take().context("no standard input")?;
        let answers = process.child.stdout.take().context("no standard output")?;
        let answers = BufReader::new(answers);
        let mut talk = Talk { questions, answers };
        let line = talk.line().unwrap_or_default();
        let address = line.parse().with_context(|| process.errors())?;
        Ok((process, address, talk))
    }

    /// Starts a server that listens on `address`, and waits until it does.
    pub(crate) fn start_listening(
        mut command: Command,
        core: usize,
        folder: &Path,
        on: &Listening,
    ) -> anyhow::Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let mut process = Self::start(command, core, folder)?;
        let until = SystemClock.monotonic() + START;
        while !on.answers() {
            if process.child.try_wait()?.is_some() {
                bail!("it ended at once: {}", process.errors());
            }
            if SystemClock.monotonic() > until {
                bail!("it does not listen after {START:?}: {}", process.errors());
            }
            pause(Duration::from_millis(20));
        }
        Ok(process)
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The end of what it wrote to standard error.
    fn errors(&self) -> String {
        let text = std::fs::read_to_string(&self.errors).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(5)..].join("\n")
    }

    /// Asks it to end, and after a while no longer asks.
    fn stop(&mut self) -> std::io::Result<()> {
        let id = self.id();
        STARTED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|one| *one != id);
        let family = procfs::family(&[id]);
        end(self.id(), Signal::TERM);
        let until = SystemClock.monotonic() + STOP;
        while self.child.try_wait()?.is_none() {
            if SystemClock.monotonic() > until {
                for process in family {
                    end(process, Signal::KILL);
                }
                self.child.wait()?;
                return Ok(());
            }
            pause(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("process {} cannot be ended: {error}", self.id());
        }
    }
}

impl Talk {
    /// How many events the server has handled so far.
    pub(crate) fn handled(&mut self) -> anyhow::Result<u64> {
        self.questions.write_all(b"\n")?;
        Ok(self.line()?.parse()?)
    }

    /// Lets it begin what it waits with.
    pub(crate) fn open(&mut self) -> anyhow::Result<()> {
        self.questions.write_all(b"open\n")?;
        self.line()?;
        Ok(())
    }

    fn line(&mut self) -> std::io::Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(line.trim().to_owned())
    }
}

/// Where a server listens.
pub(crate) enum Listening {
    Tcp(SocketAddr),
    Unix(PathBuf),
    /// PostgreSQL, with its socket in `folder`; `is_ready` is its program pg_isready. It listens before it lets
    /// anybody in.
    Postgres {
        is_ready: PathBuf,
        folder: PathBuf,
    },
}

impl Listening {
    fn answers(&self) -> bool {
        match self {
            Self::Tcp(address) => TcpStream::connect(address).is_ok(),
            Self::Unix(path) => UnixStream::connect(path).is_ok(),
            Self::Postgres { is_ready, folder } => {
                let mut command = Command::new(is_ready);
                command.arg("-q").arg("-h").arg(folder);
                command.status().is_ok_and(|status| status.success())
            }
        }
    }
}

/// An address that nobody listens on, for servers that cannot say which one they took.
pub(crate) fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

/// Keeps this thread, and what it starts, on one core.
pub(crate) fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    if let Err(error) = sched_setaffinity(None, &cores) {
        eprintln!("not pinned to core {core}: {error}");
    }
}

/// Does nothing for a while. There is no worker here to be blocked.
#[allow(clippy::disallowed_methods)]
pub(crate) fn pause(time: Duration) {
    std::thread::sleep(time);
}

/// Ends everything that runs when we are told to end: databases would go on without us. Then calls
/// `last`, and ends.
#[allow(clippy::exit)] // nobody is left who could return
pub(crate) fn end_all_on_signals(last: impl Fn() + Send + 'static) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::spawn(move || {
        runtime.block_on(async {
            let Ok(mut terminate) = signal(SignalKind::terminate()) else {
                return;
            };
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
            let started = STARTED
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            for process in procfs::family(&started) {
                end(process, Signal::TERM);
            }
            pause(Duration::from_millis(500));
            last();
            std::process::exit(130);
        });
    });
    Ok(())
}

/// What runs, for [`end_all_on_signals`].
static STARTED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn end(process: u32, signal: Signal) {
    if let Some(id) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // One that has ended already is what is wanted.
        let _ = kill_process(id, signal);
    }
}

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_ends_with_its_owner() {
        let folder = std::env::temp_dir();
        let mut command = Command::new("sleep");
        command.arg("60");
        let process = Process::start(command, 0, &folder).unwrap();
        let id = process.id();
        assert_eq!(procfs::family(&[id]), [id]);
        drop(process);
        assert_eq!(procfs::family(&[id]), [] as [u32; 0]);
    }

    #[test]
    fn a_server_that_ends_is_not_awaited() {
        let folder = std::env::temp_dir();
        let mut command = Command::new("sh");
        command.args(["-c", "echo the reason >&2"]);
        let on = Listening::Unix(folder.join("nobody-listens-here"));
        let error = Process::start_listening(command, 0, &folder, &on)
            .err()
            .unwrap();
        assert!(error.to_string().contains("the reason"), "{error}");
    }
}
