//! The same for what happens seldom: a run of claims is sealed, events are trimmed, the WAL is brought
//! into the database by itself.
//!
//! Every run begins with a copy of one journal, whose events have all been handled, and a size that it
//! is far above: at its start the server trims nearly all of them, and seals their claims before,
//! which last for days. Long events fill the WAL in some runs until it is checkpointed. Only the calls
//! on the files that a part is about are counted, so that the same number is always about the same.

use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use futures_util::future::join_all;
use offhook::testing::{TestEvent, TestRequest};

use super::disk::{Disk, Fault, calls, insist, met, try_each, wait, wants_all};
use crate::served::{JSONL, Served, handled, kept, settings, until};
use crate::support::{Folder, KEY, secret};

#[test]
fn every_call_that_seals_claims_may_fail() {
    fail_each(SEALING);
}

#[test]
fn every_call_that_trims_may_fail() {
    fail_each(TRIMMING);
}

#[test]
fn calls_of_a_checkpoint_may_fail() {
    fail_each(CHECKPOINT);
}

#[test]
fn calls_that_begin_the_wal_again_may_fail() {
    fail_each(WAL_AGAIN);
}

/// What the faults of a test are about.
#[derive(Debug, Clone, Copy)]
struct Part {
    name: &'static str,
    files: (&'static str, &'static str),
    /// How many long events there are.
    long: usize,
    /// Whether every call fails in every way.
    every: bool,
    /// How many calls a full disk lasts. Without end where the others go on: these files are not needed
    /// to acknowledge an event.
    full: usize,
    /// Which calls fail, where not every one is asked for: their indexes, by all the calls.
    some: fn(&[&str]) -> Vec<usize>,
    /// Which calls fail, where every one is asked for.
    all: fn(&[&str]) -> Vec<usize>,
    /// How much of the faults must be met, in per cent: where progress is saved depends on time.
    met: usize,
}

impl Part {
    /// Where nothing is trimmed all pages of the long events stay, whatever time it takes.
    fn trims(self) -> bool {
        self.long == 0
    }

    /// How long a fault is waited for: where all are met until they are, within reason.
    fn patience(self) -> Duration {
        match self.met {
            100 => Duration::from_secs(20),
            _ => Duration::from_millis(400),
        }
    }
}

const SEALING: Part = Part {
    name: "sealing",
    files: ("journal/claims", ""),
    long: 0,
    every: true,
    full: FOR_EVER,
    some: first_segment,
    all: first_segment,
    met: 100,
};

/// The calls that write the first segment. Every run makes them; how many segments follow depends on how
/// often retention looks at the size while messages arrive.
fn first_segment(calls: &[&str]) -> Vec<usize> {
    let is_in_folder = |call: &&str| call.ends_with("/journal/claims works");
    let last = calls.iter().position(is_in_folder).expect("a segment");
    (0..=last).collect()
}

const TRIMMING: Part = Part {
    name: "trimming",
    files: ("journal", "journal.db-wal"),
    long: 0,
    every: false,
    full: 3,
    // The trim comes first.
    some: |calls| (0..calls.len().min(16)).collect(),
    all: |calls| (0..calls.len()).collect(),
    met: 100,
};

const CHECKPOINT: Part = Part {
    name: "checkpoint",
    files: ("journal", "journal.db"),
    long: LONG_EVENTS,
    every: false,
    full: FOR_EVER,
    // The first page, some between, the last calls; and syncs of passes that are beside commits and not.
    some: |calls| {
        let last = calls.len() - 1;
        let mut some = vec![
            1,
            last / 4,
            last / 2,
            3 * last / 4,
            last - 2,
            last - 1,
            last,
        ];
        let is_sync = |index: &usize| calls[*index].contains("sync ");
        let syncs: Vec<usize> = (0..last).filter(is_sync).collect();
        some.extend([0, syncs.len() / 2, syncs.len() - 1].map(|which| syncs[which]));
        some.sort_unstable();
        some.dedup();
        some
    },
    all: |calls| (0..calls.len()).collect(),
    met: 80,
};

const WAL_AGAIN: Part = Part {
    name: "wal-again",
    files: ("journal/journal.db", ""),
    long: LONG_EVENTS,
    every: false,
    full: 3,
    // The sync before a checkpoint; and after it the header, its sync, and the first page.
    some: |calls| {
        let (first, last) = pages(calls);
        vec![first - 1, last + 3, last + 4, last + 5]
    },
    // From that sync on. The pages of the database are the checkpoint's, and of those that one commit adds
    // to the WAL the first and the last stand for all: only with the last one they count.
    all: |calls| {
        let (first, _) = pages(calls);
        let is_inner = |index: usize| {
            let alike = |other: usize| calls.get(other).is_some_and(|call| is_added(call));
            alike(index - 1) && alike(index) && alike(index + 1)
        };
        let is_meant = |index: &usize| !is_page(&calls[*index]) && !is_inner(*index);
        (first - 1..calls.len()).filter(is_meant).collect()
    },
    met: 80,
};

/// The first and the last page that checkpoints write.
fn pages(calls: &[&str]) -> (usize, usize) {
    let first = calls.iter().position(is_page).expect("a checkpoint");
    let last = calls.iter().rposition(is_page).expect("a checkpoint");
    (first, last)
}

fn is_page(call: &&str) -> bool {
    call.contains("write64") && call.contains("journal.db ")
}

fn is_added(call: &str) -> bool {
    call.contains("write64") && call.contains("journal.db-wal ")
}

/// How one and the same call fails in turn. One that syncs takes back what it should have synced.
fn faults(full: usize) -> [(&'static str, usize); 4] {
    [("eio", 1), ("enospc", full), ("short", 2), ("kill", 1)]
}

const SYNC_FAULTS: [(&str, usize); 4] = [("lose", 1), ("eio", 1), ("lose", 3), ("kill", 1)];

/// For calls of a run a run in which it fails. Where OFFHOOK_FAULT_ALL is set, all calls of the part
/// fail in every way; otherwise every call that seals does so, each of the first that trim fails in two
/// ways of four in turn, and of a checkpoint's thousand some fail in one way and the syncs in every way.
fn fail_each(part: Part) {
    let disk = Disk::new(part.name);
    let seed = wait(Seed::new(part));
    let counted = wait(count(&disk, &seed, part));
    let lines: Vec<&str> = counted.lines().collect();
    let some = match wants_all() {
        true => (part.all)(&lines),
        false => (part.some)(&lines),
    };
    let points = some.into_iter().enumerate().flat_map(|(number, index)| {
        let sync = lines[index].contains("sync ");
        let faults = if sync { SYNC_FAULTS } else { faults(part.full) };
        let faults = faults.into_iter().enumerate();
        let every = wants_all() || part.every || (sync && !part.trims());
        let ways = if part.trims() { 2 } else { 4 };
        let faults = faults.filter(move |(which, _)| every || (number + which) % ways == 0);
        faults.map(move |(_, (kind, calls))| Fault {
            files: part.files,
            at: index + 1,
            kind,
            calls,
        })
    });
    let points: Vec<Fault> = points.collect();
    let met = try_each(&points, |fault| wait(run(&disk, &seed, part, *fault)));
    let (name, points, calls) = (part.name, points.len(), lines.len());
    println!("{name}: {calls} calls, {points} faults, {met} met");
    assert!(met * 100 >= points * part.met, "{met} of {points}");
}

/// The calls of a run without a fault, one a line.
async fn count(disk: &Disk, seed: &Seed, part: Part) -> String {
    let none = Fault::none(part.files);
    let folder = seed.copy(part, none);
    let mut life = Life::new(part);
    let served = Served::try_start(&mut disk.server(&folder, none)).unwrap();
    life.go_on(&served, &folder, false).await;
    assert_eq!(life.refused, 0);
    if part.trims() {
        until("trimmed", async || is_trimmed(&folder)).await;
    }
    served.program.kill();
    calls(&folder)
}

/// A server whose disk fails like this trims and takes messages, and is killed; and one with a sound
/// disk goes on. Whether the fault was met.
async fn run(disk: &Disk, seed: &Seed, part: Part, fault: Fault) -> bool {
    let folder = seed.copy(part, fault);
    let kills = fault.kind == "kill";
    let mut life = Life::new(part);
    let context = |said: &str| format!("{fault:?}\n{said}\n{}", calls(&folder));
    let said = match Served::try_start(&mut disk.server(&folder, fault)) {
        Ok(served) => {
            life.go_on(&served, &folder, kills).await;
            let met = until("met", async || met(&folder));
            let _ = tokio::time::timeout(part.patience(), met).await;
            if !kills {
                until("ready", async || served.is_ready().await).await;
                check_duplicates(&served, part, 0..life.acknowledged).await;
            }
            served.program.kill()
        }
        Err(said) => {
            let told = said.contains("error: journal.path");
            assert!(kills || told, "{}", context(&said));
            said
        }
    };
    assert!(!said.contains("panicked"), "{}", context(&said));
    assert!(met(&folder) || life.refused == 0, "{}", context(&said));
    // Opening the database would recover it, and that is left to the server.
    let found = Folder::new(&format!(
        "{}-{}-{}-{}-found",
        part.name, fault.at, fault.kind, fault.calls
    ));
    copy(&folder.0.join("journal"), &found.0.join("journal"));
    seed.check_kept(&found, &life, &context(&said));

    let served = Served::start(&folder);
    check_duplicates(&served, part, 0..life.acknowledged).await;
    life.go_on(&served, &folder, false).await;
    if part.trims() {
        until("trimmed", async || is_trimmed(&folder)).await;
    }
    check_duplicates(&served, part, 0..life.acknowledged).await;
    served.program.stop();
    seed.check_kept(&folder, &life, &context(&said));
    check_handled(&folder, part, &context(&said));
    met(&folder)
}

/// A journal with handled events.
struct Seed {
    folder: Folder,
    /// The events in it, in their order.
    kept: Vec<String>,
}

impl Seed {
    async fn new(part: Part) -> Self {
        let folder = Folder::new(&format!("{}-seed", part.name));
        settings(&folder, &format!("{JSONL}{ONLY_MESSAGES}"));
        let served = Served::start(&folder);
        // Several at once, so that they share blocks, and a trim has to cut one.
        for ids in (0..OLD).collect::<Vec<_>>().chunks(60) {
            let sent = ids.iter().map(|id| send_new(&served, part, *id));
            join_all(sent).await;
        }
        until("all handled", async || handled(&folder).len() >= OLD).await;
        served.program.stop();
        let kept = kept(&folder);
        assert_eq!(kept.len(), OLD);
        Self { folder, kept }
    }

    /// A copy of it, and settings that let less be kept.
    fn copy(&self, part: Part, fault: Fault) -> Folder {
        let Fault {
            at, kind, calls, ..
        } = fault;
        let folder = Folder::new(&format!("{}-{at}-{kind}-{calls}", part.name));
        copy(&self.folder.0.join("journal"), &folder.0.join("journal"));
        let size = match part.trims() {
            true => "retention_size = \"128 KiB\"\n",
            false => "",
        };
        settings(&folder, &format!("{size}{JSONL}{ONLY_MESSAGES}"));
        folder
    }

    /// What is kept is the newest of all that was acknowledged, all of it once and in its order.
    fn check_kept(&self, folder: &Folder, life: &Life, context: &str) {
        let kept = kept(folder);
        let acknowledged = (OLD..life.acknowledged).map(|id| id.to_string());
        let mut all: Vec<String> = self.kept.iter().cloned().chain(acknowledged).collect();
        // What a killed server has not answered may be kept.
        if life.unanswered && kept.last() == Some(&life.acknowledged.to_string()) {
            all.extend(kept.last().cloned());
        }
        assert!(
            !kept.is_empty() && all.ends_with(&kept),
            "{kept:?} of {all:?}: {context}"
        );
    }
}

/// What was answered so far.
struct Life {
    part: Part,
    /// The messages below this were answered 200, those of the seed and others.
    acknowledged: usize,
    /// Whether the next one was sent to a server that has died of it.
    unanswered: bool,
    refused: usize,
}

impl Life {
    fn new(part: Part) -> Self {
        Self {
            part,
            acknowledged: OLD,
            unanswered: false,
            refused: 0,
        }
    }

    /// Sends those that are not acknowledged yet, each until it is, and waits until they are handled.
    async fn go_on(&mut self, served: &Served, folder: &Folder, may_die: bool) {
        while self.acknowledged < end(self.part) {
            // Only the newest event is safe from a limit as low as this one.
            if self.part.trims() && !self.is_handled(served, folder, may_die).await {
                return;
            }
            let id = self.acknowledged;
            let message = message(self.part, id);
            // A trim may have failed before.
            let sent = insist(served, &message, &mut self.refused, Duration::ZERO);
            let Some(answer) = sent.await else {
                assert!(may_die, "it died");
                self.unanswered = true;
                return;
            };
            let known = answer.header("offhook-duplicate").is_some();
            // What was answered 503 has claimed nothing.
            assert!(!known || self.unanswered, "{id}");
            self.unanswered = false;
            self.acknowledged += 1;
        }
        until("all handled", async || {
            let handled = handled(folder);
            let mut ids = (OLD..end(self.part)).filter(|id| !is_long(self.part, *id));
            ids.all(|id| handled.contains(&id.to_string()))
        })
        .await;
    }
}

impl Life {
    /// Waits until the newest event is handled; `false` if the server dies before.
    async fn is_handled(&self, served: &Served, folder: &Folder, may_die: bool) -> bool {
        let newest = (self.acknowledged - 1).to_string();
        let mut is_handled = false;
        until("the newest handled", async || {
            is_handled = self.acknowledged == OLD || handled(folder).contains(&newest);
            is_handled || (may_die && !served.is_alive().await)
        })
        .await;
        is_handled
    }
}

async fn send_new(served: &Served, part: Part, id: usize) {
    let answer = message(part, id).send(served.public).await;
    let known = answer.header("offhook-duplicate");
    assert_eq!((answer.status, known), (200, None), "{id}");
}

/// What was acknowledged is known, also what was trimmed.
async fn check_duplicates(served: &Served, part: Part, ids: std::ops::Range<usize>) {
    let ids: Vec<usize> = ids.filter(|id| !is_long(part, *id)).collect();
    for ids in ids.chunks(60) {
        let sent = ids.iter().map(async |id| {
            let answer = message(part, *id).send(served.public).await;
            let known = answer.header("offhook-duplicate");
            assert_eq!((answer.status, known), (200, Some("true")), "{id}");
        });
        join_all(sent).await;
    }
}

/// All is handled, each of the new conversations in its order.
fn check_handled(folder: &Folder, part: Part, context: &str) {
    let handled = handled(folder);
    let handled: Vec<usize> = handled.iter().map(|id| id.parse().unwrap()).collect();
    for conversation in 0..2 {
        let mut first = Vec::new();
        for id in handled
            .iter()
            .filter(|id| **id >= OLD && **id % 2 == conversation)
        {
            if !first.contains(id) {
                first.push(*id);
            }
        }
        let ids = (OLD..end(part)).filter(|id| *id % 2 == conversation && !is_long(part, *id));
        assert_eq!(first, ids.collect::<Vec<_>>(), "{context}");
    }
}

/// Whether the first event is gone.
fn is_trimmed(folder: &Folder) -> bool {
    let file = folder.0.join("journal/journal.db");
    let read = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let database = rusqlite::Connection::open_with_flags(file, read).unwrap();
    database.busy_timeout(Duration::from_secs(10)).unwrap();
    let first = database.query_row("SELECT min(first) FROM blocks", [], |row| {
        row.get::<_, usize>(0)
    });
    first.unwrap() > 1
}

/// The messages of two conversations in turn; between them the long ones, which no handler wants.
fn message(part: Part, id: usize) -> TestRequest {
    let text = "x".repeat(300);
    let message = TestEvent::message(["a", "b"][id % 2], &text);
    match is_long(part, id) {
        true => LONG[id - OLD - SHORT].clone(),
        false => message.id(&id.to_string()).sign(&secret(KEY)),
    }
}

/// The long messages, signed once.
static LONG: LazyLock<Vec<TestRequest>> = LazyLock::new(|| {
    let text = "x".repeat(1024 * 1024);
    let ids = (OLD + SHORT..).take(LONG_EVENTS);
    let event = |id: usize| TestEvent::status(&id.to_string(), "read").field("text", text.as_str());
    ids.map(|id| event(id).sign(&secret(KEY))).collect()
});

fn is_long(part: Part, id: usize) -> bool {
    (OLD + SHORT..OLD + SHORT + part.long).contains(&id)
}

/// The number after the last message.
fn end(part: Part) -> usize {
    OLD + 2 * SHORT + part.long
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// More calls than there are.
const FOR_EVER: usize = 1_000_000;

const ONLY_MESSAGES: &str = "events = [\"message\"]\n";

/// How many events the seed has: their claims take more than one write.
const OLD: usize = 300;

/// How many long events it takes to fill the WAL.
const LONG_EVENTS: usize = 17;

/// How many messages come before the long ones, and after them.
const SHORT: usize = 4;
