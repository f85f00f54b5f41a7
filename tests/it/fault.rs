//! Every write and sync of the journal fails once (tests/peers/fault.c): what is acknowledged is kept
//! all the same, and the server goes on by itself when the disk does.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use offhook::clock::{Clock as _, SystemClock};
use offhook::testing::{TestEvent, TestRequest, TestResponse};

use crate::served::{JSONL, Served, command, handled, kept, settings, until};
use crate::support::{Folder, KEY, secret};

/// How a call that syncs fails, and how many in a row.
const SYNC_FAULTS: [(&str, usize); 3] = [("lose", 1), ("eio", 1), ("lose", 3)];

/// How any other call fails.
const WRITE_FAULTS: [(&str, usize); 3] = [("eio", 1), ("enospc", 3), ("short", 2)];

const MESSAGES: usize = 20;

/// Runs at once: each mostly waits.
const AT_ONCE: usize = 12;

#[test]
fn every_write_may_fail() {
    fail_each("fault", Life::First);
}

#[test]
fn every_write_may_fail_when_a_killed_server_starts_again() {
    fail_each("fault-again", Life::Second);
}

/// Which server has the disk that fails: the one that makes the journal, or one that finds a journal
/// with half of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    First,
    Second,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    life: Life,
    at: usize,
    kind: &'static str,
    calls: usize,
}

/// Says which fault it was, when the test fails.
struct Told(Fault);

impl Drop for Told {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("^ {:?}", self.0);
        }
    }
}

/// For every call of a run a run in which it fails: in one way, or in every way where
/// OFFHOOK_FAULT_ALL is set.
fn fail_each(name: &str, life: Life) {
    let folder = Folder::new(name);
    let library = compile(&folder.0);
    let calls = wait(count(&library, life));
    let all = std::env::var_os("OFFHOOK_FAULT_ALL").is_some();
    let points = calls.lines().enumerate().flat_map(|(index, call)| {
        let sync = call.contains("sync ");
        let faults = if sync { SYNC_FAULTS } else { WRITE_FAULTS }.into_iter();
        let faults = faults.enumerate();
        let faults = faults.filter(move |(number, _)| all || index % 3 == *number);
        faults.map(move |(_, (kind, calls))| Fault {
            life,
            at: index + 1,
            kind,
            calls,
        })
    });
    let points: Vec<Fault> = points.collect();
    assert!(points.len() > 3 * MESSAGES, "are they counted?\n{calls}");
    let (next, met) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(fault) = points.get(next.fetch_add(1, Ordering::Relaxed)) {
                    met.fetch_add(usize::from(wait(run(&library, *fault))), Ordering::Relaxed);
                }
            });
        }
    });
    let (met, points) = (met.into_inner(), points.len());
    println!(
        "{name}: {} calls, {points} faults, {met} met",
        calls.lines().count()
    );
    // The last are of a stop in good order and saves of progress, which a run that is killed has fewer of,
    // the busier the machine.
    assert!(met * 10 > points * 7, "{met} of {points}");
}

/// The calls of a run without a fault, one a line.
async fn count(library: &Path, life: Life) -> String {
    let folder = Folder::new(&format!("fault-count-{life:?}"));
    settings(&folder, JSONL);
    let mut outcome = Outcome::default();
    outcome.live_before(life, &folder).await;
    let none = Fault {
        life,
        at: 0,
        kind: "eio",
        calls: 0,
    };
    let served = Served::try_start(&mut faulty(&folder, library, none)).unwrap();
    outcome.send_all(&served, MESSAGES).await;
    assert_eq!(outcome.refused, 0);
    until("all handled", async || handled(&folder).len() >= MESSAGES).await;
    served.program.stop();
    log(&folder)
}

/// Sends the messages to a server whose disk fails like this, kills it, and looks at what is left.
/// Whether the fault was met.
async fn run(library: &Path, fault: Fault) -> bool {
    let _told = Told(fault);
    let Fault { life, at, kind, .. } = fault;
    let folder = Folder::new(&format!("fault-{life:?}-{at}-{kind}-{}", fault.calls));
    settings(&folder, JSONL);
    let mut outcome = Outcome::default();
    outcome.live_before(life, &folder).await;
    let context = |said: &str| format!("{fault:?}\n{said}\n{}", log(&folder));
    let met = || log(&folder).lines().any(|line| !line.ends_with("works"));
    let said = match Served::try_start(&mut faulty(&folder, library, fault)) {
        Ok(served) => {
            outcome.check_duplicates(&served).await;
            outcome.send_all(&served, MESSAGES).await;
            // Progress is saved a little later: give the fault its time.
            let met = until("met", async || met());
            let _ = tokio::time::timeout(Duration::from_millis(400), met).await;
            until("ready", async || served.is_ready().await).await;
            served.program.kill()
        }
        // It may refuse to start, and says why.
        Err(said) => {
            assert!(said.contains("error: journal.path"), "{}", context(&said));
            said
        }
    };
    assert!(!said.contains("panicked"), "{}", context(&said));
    assert!(met() || outcome.refused == 0, "{}", context(&said));

    let served = Served::start(&folder);
    outcome.check_duplicates(&served).await;
    outcome.send_all(&served, MESSAGES).await;
    outcome.check_kept(&folder, served, &context(&said)).await;
    met()
}

/// The server with the library in it.
fn faulty(folder: &Folder, library: &Path, fault: Fault) -> Command {
    let mut command = command(folder);
    command
        .env("LD_PRELOAD", library)
        .env("OFFHOOK_FAULT_DIR", folder.0.join("journal"))
        .env("OFFHOOK_FAULT_LOG", folder.0.join("calls"))
        .env("OFFHOOK_FAULT_AT", fault.at.to_string())
        .env("OFFHOOK_FAULT_CALLS", fault.calls.to_string())
        .env("OFFHOOK_FAULT_KIND", fault.kind);
    command
}

fn log(folder: &Folder) -> String {
    std::fs::read_to_string(folder.0.join("calls")).unwrap_or_default()
}

/// The messages of two conversations in turn; some need several pages.
fn message(id: usize) -> TestRequest {
    let text = "x".repeat([10, 600, 9_000][id % 3]);
    TestEvent::message(["a", "b"][id % 2], &text)
        .id(&id.to_string())
        .sign(&secret(KEY))
}

/// What was answered so far.
#[derive(Debug, Default)]
struct Outcome {
    /// The messages that were answered 200.
    acknowledged: BTreeSet<usize>,
    refused: usize,
}

impl Outcome {
    /// What was before the life that is looked at: nothing, or a server that was killed.
    async fn live_before(&mut self, life: Life, folder: &Folder) {
        if life == Life::Second {
            let served = Served::start(folder);
            self.send_all(&served, MESSAGES / 2).await;
            served.program.kill();
        }
    }

    /// Sends those that are not acknowledged yet, each until it is.
    async fn send_all(&mut self, served: &Served, up_to: usize) {
        for id in 0..up_to {
            if !self.acknowledged.contains(&id) {
                self.send(served, id).await;
            }
        }
    }

    async fn send(&mut self, served: &Served, id: usize) {
        let answer = self.insist(served, id).await;
        // What was answered 503 has claimed nothing.
        assert_eq!(answer.header("offhook-duplicate"), None, "{id}");
        self.acknowledged.insert(id);
    }

    /// What was acknowledged is known.
    async fn check_duplicates(&mut self, served: &Served) {
        for id in self.acknowledged.clone() {
            let answer = self.insist(served, id).await;
            assert_eq!(answer.header("offhook-duplicate"), Some("true"), "{id}");
        }
    }

    /// Sends a message until it is answered 200.
    async fn insist(&mut self, served: &Served, id: usize) -> TestResponse {
        for _ in 0..TRIES {
            let asked = SystemClock.monotonic();
            let answer = message(id).send(served.public).await;
            if answer.status == 200 {
                return answer;
            }
            self.refused += 1;
            assert_eq!(answer.status, 503);
            assert_eq!(answer.text(), r#"{"error":"Temporarily unavailable"}"#);
            assert!(answer.header("retry-after").is_some());
            let ready = served.is_ready().await;
            let took = SystemClock.monotonic() - asked;
            assert!(!ready || took > REOPENED, "ready {took:?} after a 503");
            // Nobody sends anything until it is ready again.
            until("ready again", async || served.is_ready().await).await;
        }
        panic!("message {id} is never acknowledged");
    }

    /// Acknowledged is kept, once; kept is handled, each conversation in its order.
    async fn check_kept(&self, folder: &Folder, served: Served, context: &str) {
        until("all handled", async || {
            let handled = handled(folder);
            let mut acknowledged = self.acknowledged.iter();
            acknowledged.all(|id| handled.contains(&id.to_string()))
        })
        .await;
        served.program.stop();
        let numbers =
            |ids: Vec<String>| -> Vec<usize> { ids.iter().map(|id| id.parse().unwrap()).collect() };
        let (kept, handled) = (numbers(kept(folder)), numbers(handled(folder)));
        for id in 0..MESSAGES {
            let times = kept.iter().filter(|kept| **kept == id).count();
            let expected = usize::from(self.acknowledged.contains(&id));
            assert_eq!(times, expected, "{id} in {kept:?}: {context}");
        }
        assert!(kept.iter().all(|id| handled.contains(id)), "{context}");
        for conversation in 0..2 {
            let mut first = Vec::new();
            for id in handled.iter().filter(|id| *id % 2 == conversation) {
                if !first.contains(id) {
                    first.push(*id);
                }
            }
            assert!(first.is_sorted(), "{first:?}: {context}");
        }
    }
}

fn compile(folder: &Path) -> PathBuf {
    let library = folder.join("fault.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/peers/fault.c");
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]);
    cc.arg(&library).arg(source).arg("-ldl");
    assert!(cc.status().expect("a C compiler").success());
    library
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

/// How often a message is sent at the most.
const TRIES: usize = 10;

/// A journal that has failed is not opened again before this.
const REOPENED: Duration = Duration::from_millis(900);
