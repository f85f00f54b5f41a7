//! [`run_as_first_process`]: reaps orphans, where this is the first process of a container.
//!
//! The system makes orphans the children of the first process, and each one that has ended stays in the
//! table of processes until that process has asked for its exit status. A server that asked for all exit
//! statuses would take those that `exec` and other code wait for. So the first process only reaps, and the
//! server is its child.

use std::future::poll_fn;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};
use std::task::Poll;

use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};
use tokio::signal::unix::{SignalKind, signal};

/// Runs the program once more as a child if this is the first process (1) of its namespace, as the program of a
/// container is. Returns the child's exit status when it has ended. Returns `None` immediately if this is not
/// the first process.
///
/// Until then it passes on the signals that end or reload a server, and reaps the processes that the programs
/// of [`ExecHandler`](crate::ExecHandler) leave running. Without it each of these stays as a zombie after its
/// end. `docker run --init` does the same.
///
/// The command `offhook serve` calls it. A program of your own calls it at the beginning of `main`:
///
/// ```no_run
/// use std::process::ExitCode;
///
/// fn main() -> ExitCode {
///     match offhook::run_as_first_process() {
///         Ok(Some(status)) => return status,
///         Ok(None) => {}
///         Err(error) => eprintln!("zombies may stay: {error}"),
///     }
///     // Start the server here.
///     ExitCode::SUCCESS
/// }
/// ```
///
/// # Errors
///
/// When the child cannot be started. The caller can start the server all the same.
pub fn run_as_first_process() -> io::Result<Option<ExitCode>> {
    if !getpid().is_init() {
        return Ok(None);
    }
    // On a thread of its own, because the caller may have a runtime.
    let status = std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("offhook-init".to_owned());
        let ran = thread.spawn_scoped(scope, run)?.join();
        ran.unwrap_or_else(|_| Err(io::Error::other("its thread has panicked")))
    });
    Ok(Some(ExitCode::from(status?)))
}

/// Starts the child and waits until it has ended. Returns its exit status.
fn run() -> io::Result<u8> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    runtime.block_on(async {
        // Before the child is there, so that no signal is missed.
        let mut signals = Vec::new();
        for number in PASSED_ON.into_iter().chain([Signal::CHILD]) {
            signals.push((number, signal(SignalKind::from_raw(number.as_raw()))?));
        }
        let child = Pid::from_child(&start()?);
        loop {
            let next = poll_fn(|cx| {
                let came = signals
                    .iter_mut()
                    .find_map(|(number, came)| came.poll_recv(cx).is_ready().then_some(*number));
                came.map_or(Poll::Pending, Poll::Ready)
            });
            match next.await {
                Signal::CHILD => {
                    if let Some(status) = reap(child) {
                        return Ok(status);
                    }
                }
                // It may have ended a moment ago.
                other => drop(kill_process(child, other)),
            }
        }
    })
}

/// Starts this program again, with the same arguments.
fn start() -> io::Result<std::process::Child> {
    let mut arguments = std::env::args_os();
    let mut command = Command::new(std::env::current_exe()?);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // In a group of its own, so that Ctrl-C comes once: passed on by this process.
    command.args(arguments).process_group(0).spawn()
}

/// Reaps every process that has ended. Returns the exit status of `child`, if it is one of them.
fn reap(child: Pid) -> Option<u8> {
    let mut ended = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            let by_signal = || 128 + status.terminating_signal().unwrap_or_default();
            let status = status.exit_status().unwrap_or_else(by_signal);
            ended = Some(u8::try_from(status).unwrap_or(u8::MAX));
        }
    }
    ended
}

/// The signals that users and container engines send to a server.
const PASSED_ON: [Signal; 6] = [
    Signal::HUP,
    Signal::INT,
    Signal::QUIT,
    Signal::TERM,
    Signal::USR1,
    Signal::USR2,
];
