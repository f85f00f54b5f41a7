//! A sync of the database file fails between two commits, and the system drops the pages that were copied
//! from the WAL. SQLite counts them as done, so they must be copied again.
//!
//! A reader outside the server keeps a checkpoint from the WAL's end: SQLite does not sync the database
//! file itself then.

use std::time::Duration;

use futures_util::future::join;
use offhook::testing::{TestEvent, TestRequest};
use rusqlite::{Connection, OpenFlags};

use super::disk::{Disk, Fault, calls, insist, wait};
use crate::served::{Served, kept, settings, until};
use crate::support::{Folder, KEY, secret};

#[test]
fn what_a_failed_sync_has_lost_is_copied_again() {
    let disk = Disk::new("copies");
    // Which call it is depends on what else happens at the same time.
    let hit = (0..TRIES).any(|_| {
        let (at, _) = wait(run(&disk, Fault::none(DATABASE)));
        let fault = Fault {
            files: DATABASE,
            at,
            kind: "lose",
            calls: 1,
        };
        wait(run(&disk, fault)).1
    });
    assert!(hit, "no sync of a checkpoint has failed");
}

/// Returns which call was the first sync of a checkpoint, counted from 1, and whether such a sync has failed.
async fn run(disk: &Disk, fault: Fault) -> (usize, bool) {
    let folder = Folder::new(&format!("copies-{}", fault.at));
    settings(&folder, "");
    let served = Served::try_start(&mut disk.server(&folder, fault)).unwrap();
    let mut refused = 0;
    let (mut first, mut rest) = (long(0..1), long(1..LONG));
    send(&served, &mut first, &mut refused).await;
    let before = calls(&folder).lines().count();
    let snapshot = read(&folder);
    let is_sync = |line: &&str| line.contains("sync ");
    let synced = || {
        calls(&folder)
            .lines()
            .skip(before)
            .any(|line| is_sync(&line))
    };
    let sending = async {
        while !synced() {
            let next = rest.next().expect("a checkpoint before that");
            send(&served, &mut [next].into_iter(), &mut refused).await;
            // The checkpoint is made beside that.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    // While it reads, a journal whose sync has failed cannot be opened again.
    let reading = async {
        until("a sync", async || synced()).await;
        drop(snapshot);
    };
    join(sending, reading).await;
    send(&served, &mut rest, &mut refused).await;
    until("ready", async || served.is_ready().await).await;
    let all = calls(&folder);
    let failed = all.lines().find(|line| line.ends_with("fails"));
    let has_failed = failed.is_some_and(|line| is_sync(&line));
    let said = served.program.kill();
    let ids: Vec<_> = (0..LONG).map(|id| id.to_string()).collect();
    assert_eq!(kept(&folder), ids, "{said}");
    let mut lines = all.lines().enumerate().skip(before);
    let sync = lines.find(|(_, line)| is_sync(line));
    (sync.expect("there is one").0 + 1, has_failed)
}

/// Sends each message until it is acknowledged.
async fn send(
    served: &Served,
    messages: &mut impl Iterator<Item = TestRequest>,
    refused: &mut usize,
) {
    for message in messages {
        let answer = insist(served, &message, refused, Duration::ZERO).await;
        let known = answer
            .expect("it lives on")
            .header("offhook-duplicate")
            .is_some();
        assert!(!known);
    }
}

/// Messages that fill the WAL.
fn long(ids: std::ops::Range<usize>) -> std::vec::IntoIter<TestRequest> {
    let text = "x".repeat(1024 * 1024);
    let message = |id: usize| TestEvent::message("a", &text).id(&id.to_string());
    let all: Vec<_> = ids.map(|id| message(id).sign(&secret(KEY))).collect();
    all.into_iter()
}

/// A reader that sees what is there now.
fn read(folder: &Folder) -> Connection {
    let file = folder.0.join("journal/journal.db");
    let database = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    database
        .execute_batch("BEGIN; SELECT count(*) FROM blocks")
        .unwrap();
    database
}

/// How often it is tried to make a sync fail.
const TRIES: usize = 5;

const DATABASE: (&str, &str) = ("journal", "journal.db");

/// How many messages there are, each of a MiB. A checkpoint begins after two.
const LONG: usize = 6;
