//! Every write and sync of the journal fails once (tests/peers/fault.c): what is acknowledged is kept
//! all the same, and the server goes on by itself when the disk does.

mod broken;
mod copies;
mod disk;
mod retention;
pub mod slow;

use std::collections::BTreeSet;
use std::time::Duration;

use offhook::testing::{TestEvent, TestRequest, TestResponse};

use crate::served::{JSONL, Served, handled, kept, settings, until};
use crate::support::{Folder, KEY, secret};

use disk::{
    ALL, Disk, Fault, REOPENED, SYNC_FAULTS, WRITE_FAULTS, calls, insist, met, try_each, wait,
    wants_all,
};

const MESSAGES: usize = 20;

#[test]
fn every_write_may_fail() {
    fail_each("fault", Life::First);
}

#[test]
fn any_write_may_fail_at_a_restart() {
    fail_each("fault-again", Life::Second);
}

/// Which server has the disk that fails: the one that makes the journal, or one that finds a journal
/// with half of the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Life {
    First,
    Second,
}

/// For every call of a run a run in which it fails: in one way, or in every way where
/// OFFHOOK_FAULT_ALL is set.
fn fail_each(name: &str, life: Life) {
    let disk = Disk::new(name);
    let calls = wait(count(&disk, life));
    let points = calls.lines().enumerate().flat_map(|(index, call)| {
        let sync = call.contains("sync ");
        let faults = if sync { SYNC_FAULTS } else { WRITE_FAULTS }.into_iter();
        let faults = faults.enumerate();
        let faults = faults.filter(move |(number, _)| wants_all() || index % 3 == *number);
        faults.map(move |(_, (kind, calls))| Fault {
            files: ALL,
            at: index + 1,
            kind,
            calls,
        })
    });
    let points: Vec<Fault> = points.collect();
    assert!(points.len() > 3 * MESSAGES, "are they counted?\n{calls}");
    let met = try_each(&points, |fault| wait(run(&disk, life, *fault)));
    let (points, calls) = (points.len(), calls.lines().count());
    println!("{name}: {calls} calls, {points} faults, {met} met");
    // The last are of a stop in good order and saves of progress, which a run that is killed has fewer of,
    // the busier the machine.
    assert!(met * 10 > points * 7, "{met} of {points}");
}

/// The calls of a run without a fault, one a line.
async fn count(disk: &Disk, life: Life) -> String {
    let folder = Folder::new(&format!("fault-count-{life:?}"));
    settings(&folder, JSONL);
    let mut outcome = Outcome::default();
    outcome.live_before(life, &folder).await;
    let served = Served::try_start(&mut disk.server(&folder, Fault::none(ALL))).unwrap();
    outcome.send_all(&served, MESSAGES).await;
    assert_eq!(outcome.refused, 0);
    until("all handled", async || handled(&folder).len() >= MESSAGES).await;
    // No run comes to a graceful end.
    served.program.kill();
    calls(&folder)
}

/// Sends the messages to a server whose disk fails like this, kills it, and looks at what is left.
/// Whether the fault was met.
async fn run(disk: &Disk, life: Life, fault: Fault) -> bool {
    let Fault { at, kind, .. } = fault;
    let folder = Folder::new(&format!("fault-{life:?}-{at}-{kind}-{}", fault.calls));
    settings(&folder, JSONL);
    let mut outcome = Outcome::default();
    outcome.live_before(life, &folder).await;
    let context = |said: &str| format!("{fault:?}\n{said}\n{}", calls(&folder));
    let said = match Served::try_start(&mut disk.server(&folder, fault)) {
        Ok(served) => {
            outcome.check_duplicates(&served).await;
            outcome.may_be_known = fault.calls > 1;
            outcome.send_all(&served, MESSAGES).await;
            outcome.may_be_known = false;
            // Progress is saved a little later: give the fault its time.
            let met = until("met", async || met(&folder));
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
    assert!(met(&folder) || outcome.refused == 0, "{}", context(&said));

    let served = Served::start(&folder);
    outcome.check_duplicates(&served).await;
    outcome.send_all(&served, MESSAGES).await;
    outcome.check_kept(&folder, served, &context(&said)).await;
    met(&folder)
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
    /// Where syncs fail in a row, the outcome of a commit is unknown: it may have been kept.
    may_be_known: bool,
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
        let before = self.refused;
        let answer = self.insist(served, id).await;
        // What was answered 503 has claimed nothing.
        let may_be_known = self.may_be_known && self.refused > before;
        let known = answer.header("offhook-duplicate").is_some();
        assert!(!known || may_be_known, "{id}");
        self.acknowledged.insert(id);
    }

    /// What was acknowledged is known.
    async fn check_duplicates(&mut self, served: &Served) {
        for id in self.acknowledged.clone() {
            let answer = self.insist(served, id).await;
            assert_eq!(answer.header("offhook-duplicate"), Some("true"), "{id}");
        }
    }

    async fn insist(&mut self, served: &Served, id: usize) -> TestResponse {
        let answer = insist(served, &message(id), &mut self.refused, REOPENED).await;
        answer.expect("it lives on")
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
