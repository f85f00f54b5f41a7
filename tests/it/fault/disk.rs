//! [`Disk`]: a disk that fails (tests/peers/fault.c), and the servers that have it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestRequest, TestResponse};

use crate::served::{Served, command, until};
use crate::support::Folder;

/// The library, compiled.
pub struct Disk {
    library: PathBuf,
    _folder: Folder,
}

/// Which calls fail, and how.
#[derive(Debug, Clone, Copy)]
pub struct Fault {
    /// On which files: those with this in their path, and with this at its end.
    pub files: (&'static str, &'static str),
    /// The first call on them that fails, from 1; 0 for none.
    pub at: usize,
    pub kind: &'static str,
    /// How many fail in a row.
    pub calls: usize,
}

/// All files of the journal.
pub const ALL: (&str, &str) = ("journal", "");

/// How a call that syncs fails, and how many in a row.
pub const SYNC_FAULTS: [(&str, usize); 3] = [("lose", 1), ("eio", 1), ("lose", 3)];

/// How any other call fails.
pub const WRITE_FAULTS: [(&str, usize); 3] = [("eio", 1), ("enospc", 3), ("short", 2)];

impl Fault {
    pub fn none(files: (&'static str, &'static str)) -> Self {
        Self {
            files,
            at: 0,
            kind: "eio",
            calls: 0,
        }
    }
}

impl Disk {
    pub fn new(name: &str) -> Self {
        let folder = Folder::new(name);
        let library = compile(&folder, "tests/peers/fault.c");
        Self {
            library,
            _folder: folder,
        }
    }

    /// The server with the library in it.
    pub fn server(&self, folder: &Folder, fault: Fault) -> Command {
        let mut command = command(folder);
        command
            .env("LD_PRELOAD", &self.library)
            .env("OFFHOOK_FAULT_DIR", folder.0.join(fault.files.0))
            .env("OFFHOOK_FAULT_END", fault.files.1)
            .env("OFFHOOK_FAULT_LOG", folder.0.join("calls"))
            .env("OFFHOOK_FAULT_AT", fault.at.to_string())
            .env("OFFHOOK_FAULT_CALLS", fault.calls.to_string())
            .env("OFFHOOK_FAULT_KIND", fault.kind);
        command
    }
}

/// Compiles a library to preload, from a file of the repository.
pub fn compile(folder: &Folder, source: &str) -> PathBuf {
    let library = folder.0.join("preloaded.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
    cc.arg(&library).arg(source).arg("-ldl");
    assert!(cc.status().expect("a C compiler").success());
    library
}

/// The calls so far, one a line.
pub fn calls(folder: &Folder) -> String {
    std::fs::read_to_string(folder.0.join("calls")).unwrap_or_default()
}

/// Whether one of them has failed.
pub fn met(folder: &Folder) -> bool {
    calls(folder).lines().any(|line| !line.ends_with("works"))
}

/// Whether OFFHOOK_FAULT_ALL asks for every fault, and not for some.
pub fn wants_all() -> bool {
    std::env::var_os("OFFHOOK_FAULT_ALL").is_some()
}

/// Does the work for each of them, some at once: each mostly waits. How many were met.
pub fn try_each<T: std::fmt::Debug + Sync>(
    points: &[T],
    work: impl Fn(&T) -> bool + Sync,
) -> usize {
    let (next, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(point) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let _told = Told(point);
                    met.fetch_add(usize::from(work(point)), Ordering::Relaxed);
                }
            });
        }
    });
    met.into_inner()
}

/// Says which fault it was, when the test fails.
struct Told<'a, T: std::fmt::Debug>(&'a T);

impl<T: std::fmt::Debug> Drop for Told<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("^ {:?}", self.0);
        }
    }
}

pub fn wait<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

/// Sends a message until it is answered 200; `None` where the server has died. Each refusal is counted.
/// `closed` is how long the journal is closed at least after a message was refused: no time where it
/// may have failed before the message came.
pub async fn insist(
    served: &Served,
    message: &TestRequest,
    refused: &mut usize,
    closed: Duration,
) -> Option<TestResponse> {
    for _ in 0..TRIES {
        let asked = SystemClock.monotonic();
        let answer = served.try_send(message).await?;
        if answer.status == 200 {
            return Some(answer);
        }
        *refused += 1;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.text(), r#"{"error":"Temporarily unavailable"}"#);
        assert!(answer.header("retry-after").is_some());
        let ready = served.is_ready().await;
        let took = SystemClock.monotonic() - asked;
        assert!(!ready || took >= closed, "ready {took:?} after a 503");
        // Nobody sends anything until it is ready again.
        until("ready again", async || served.is_ready().await).await;
    }
    panic!("a message is never acknowledged");
}

/// Runs at once.
const AT_ONCE: usize = 12;

/// How often a message is sent at the most.
const TRIES: usize = 10;

/// A journal that has failed is not opened again before this.
pub const REOPENED: Duration = Duration::from_millis(900);
