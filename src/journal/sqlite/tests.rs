//! What a durable engine must do besides the contract, and which files it must not change.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use rusqlite::Connection;
use uuid::Uuid;

use super::Sqlite;
use super::commit::Step;
use super::folder::OpenError;
use crate::Timestamp;
use crate::clock::Clock;
use crate::clock::FakeClock;
use crate::journal::contract::{
    Instances, Provider, WINDOW, all_there, body, duplicate, entry, letter, letters, new, numbered,
    only_head, put, remarkable, save, seqs, trim_all,
};
use crate::journal::dedup::DedupEntry;
use crate::journal::{
    Appended, Document, Journal, Log as _, Position, Seq, TestFolder, Unavailable,
};
use crate::telemetry::JournalMetrics;

/// Journals in their own folders, which are removed after the test.
#[derive(Default)]
struct InFolders(std::sync::Mutex<Vec<TestFolder>>);

#[async_trait]
impl Provider for InFolders {
    async fn open(&self, clock: Arc<dyn Clock>) -> Instances {
        let folder = TestFolder::new();
        let journal = Sqlite::open(folder.path(), JournalMetrics::unrecorded(), clock).unwrap();
        self.0.lock().unwrap().push(folder);
        let journal: Arc<dyn Journal> = Arc::new(journal);
        Instances::new(Arc::clone(&journal), journal)
    }
}

mod backup;
mod damage;
mod files;
mod isolation;
mod salvage;

mod contract {
    use super::InFolders;

    crate::journal_contract!(InFolders::default());
}

#[tokio::test]
async fn long_bodies_are_read_in_small_batches() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for number in 0..5 {
        let mut received = body(&"x".repeat(6 * 1024 * 1024));
        received.id = Uuid::from_u128(number);
        new(&*journal, entry(received, number, WINDOW)).await;
    }
    let mut read = Vec::new();
    while read.len() < 5 {
        let part = seqs(&*journal, read.len() as Seq, 100).await;
        assert!((1..=2).contains(&part.len()), "{part:?}");
        read.extend(part);
    }
    assert_eq!(read, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn everything_is_there() {
    let (folder, clock) = (TestFolder::new(), clock());
    let all = remarkable();
    let (progress, given_up) = (b"progress".to_vec(), vec![letter(1, "a"), letter(2, "b")]);
    {
        let journal = open(&folder, &clock);
        for (number, received) in all.iter().enumerate() {
            new(&*journal, entry(received.clone(), number as u128, WINDOW)).await;
        }
        let desk = journal.desk(0).await.unwrap();
        save(desk.as_ref(), "a", &progress, given_up.clone()).await;
        save(desk.as_ref(), "forgotten", &progress, vec![]).await;
        journal.forget_consumer("forgotten").await.unwrap();
        put(&*journal, "kept", Some(b"document")).await;
        put(&*journal, "removed", Some(b"document")).await;
        put(&*journal, "removed", None).await;
    }
    for _ in 0..2 {
        let journal = open(&folder, &clock);
        assert!(journal.is_ready());
        assert_eq!(journal.tail().head(), all.len() as Seq);
        all_there(&*journal, &all).await;
        let desk = journal.desk(0).await.unwrap();
        assert_eq!(desk.saved("a").await, Ok(Some(only_head(progress.clone()))));
        assert_eq!(letters(&*journal, "a").await, given_up);
        assert_eq!(desk.saved("forgotten").await, Ok(None));
        let kept = Document {
            key: "kept".to_owned(),
            value: b"document".to_vec(),
            version: 1,
        };
        assert_eq!(journal.documents("").await, Ok(vec![kept]));
        // The numbers of changes continue.
        assert_eq!(*journal.watch_documents().borrow(), 3);
    }
    let journal = open(&folder, &clock);
    let next = new(&*journal, numbered(1000)).await;
    assert_eq!(next, all.len() as Seq + 1);
    assert!(journal.tail().get(next).is_some());
}

#[tokio::test]
async fn keys_hold_for_their_windows() {
    let (folder, clock) = (TestFolder::new(), clock());
    let short = || entry(body("short"), 1, Duration::from_secs(60));
    let long = || entry(body("long"), 2, Duration::from_secs(3600));
    {
        let journal = open(&folder, &clock);
        new(&*journal, short()).await;
        new(&*journal, long()).await;
    }
    clock.advance(Duration::from_millis(59_999));
    {
        let journal = open(&folder, &clock);
        assert_eq!(journal.append(short()).await, Ok(duplicate(1)));
        assert_eq!(journal.append(long()).await, Ok(duplicate(2)));
    }
    clock.advance(Duration::from_millis(1));
    let journal = open(&folder, &clock);
    assert_eq!(journal.append(short()).await, Ok(Appended::new(3)));
    assert_eq!(journal.append(long()).await, Ok(duplicate(2)));
}

#[tokio::test]
async fn keys_of_another_database_have_no_effect() {
    let (folder, clock) = (TestFolder::new(), clock());
    let claims = folder.path().join("claims");
    drop(open(&folder, &clock));
    // As after a restored backup: the segments know events that the database does not hold. Their
    // numbers are not given again.
    let now = Clock::now(clock.as_ref()).as_millisecond();
    write_segment(&claims, &entry_of(7, 5, now));
    let journal = open(&folder, &clock);
    assert_eq!(journal.append(numbered(7)).await, Ok(Appended::new(6)));
}

#[tokio::test]
async fn numbers_continue_after_a_trim() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for number in 1..=3 {
        new(&*journal, numbered(number)).await;
    }
    trim_all(&*journal, Seq::MAX).await;
    drop(journal);
    let journal = open(&folder, &clock);
    assert_eq!(journal.tail().head(), 3);
    assert_eq!(seqs(&*journal, 0, 100).await, [3]);
    assert_eq!(new(&*journal, numbered(4)).await, 4);
    // Dedup entries outlive their events.
    for number in 1..=3 {
        let again = journal.append(numbered(number.into())).await;
        assert_eq!(again, Ok(duplicate(number)));
    }
}

#[tokio::test]
async fn another_may_open_a_closed_journal() {
    let (folder, clock) = (TestFolder::new(), clock());
    let first = open(&folder, &clock);
    new(&*first, numbered(1)).await;
    first.close().await;
    assert!(first.append(numbered(2)).await.is_err());
    let second = open(&folder, &clock);
    assert_eq!(new(&*second, numbered(2)).await, 2);
    first.close().await;
    drop(first);
    assert_eq!(new(&*second, numbered(3)).await, 3);
}

#[tokio::test]
async fn an_open_journal_cannot_be_opened_again() {
    let (folder, clock) = (TestFolder::new(), clock());
    let first = open(&folder, &clock);
    for _ in 0..2 {
        let second = try_open(&folder, &clock);
        assert!(matches!(second, Err(OpenError::InUse(_))), "{second:?}");
    }
    assert_eq!(first.append(numbered(1)).await, Ok(Appended::new(1)));
    drop(first);
    assert_eq!(open(&folder, &clock).tail().head(), 1);
}

#[tokio::test]
async fn pending_operations_finish_before_another_opens() {
    let clock = clock();
    for _ in 0..20 {
        let folder = TestFolder::new();
        let journal = open(&folder, &clock);
        // One turn of a task can send only so many messages; this starts another turn.
        tokio::task::yield_now().await;
        // Sent without waiting, like a sender that hangs up.
        let asked: Vec<_> = (0..50)
            .map(|number| {
                let journal = Arc::clone(&journal);
                let mut append = Box::pin(async move { journal.append(numbered(number)).await });
                let _ = futures_util::FutureExt::now_or_never(append.as_mut());
                append
            })
            .collect();
        drop(asked);
        drop(journal);
        let journal = open(&folder, &clock);
        assert_eq!(journal.tail().head(), 50);
        assert_eq!(journal.append(numbered(0)).await, Ok(duplicate(1)));
    }
}

#[tokio::test]
async fn an_unknown_version_is_refused_and_left_alone() {
    for (version, problem) in [(1, "open it once with"), (99, "use the newer offhook")] {
        let (folder, clock) = (TestFolder::new(), clock());
        drop(open(&folder, &clock));
        database(folder.path())
            .pragma_update(None, "user_version", version)
            .unwrap();
        let error = refused(&folder, &clock).to_string();
        assert!(error.contains(&format!("of version {version},")), "{error}");
        assert!(error.contains(problem), "{error}");
    }
}

#[tokio::test]
async fn another_programs_database_is_refused_and_left_alone() {
    let strangers = [
        "CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('Hello');",
        "PRAGMA application_id = 7; CREATE TABLE events (seq INTEGER PRIMARY KEY);",
        "PRAGMA application_id = 7;",
        "PRAGMA user_version = 1;",
    ];
    for stranger in strangers {
        let (folder, clock) = (TestFolder::new(), clock());
        database(folder.path()).execute_batch(stranger).unwrap();
        let error = refused(&folder, &clock);
        assert!(matches!(error, OpenError::NotOurs), "{stranger}: {error:?}");
    }
}

#[tokio::test]
async fn a_damaged_file_is_refused_and_left_alone() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("half", |bytes| bytes.truncate(bytes.len() / 2)),
        ("garbage", |bytes| *bytes = garbage(20_000)),
        ("short garbage", |bytes| *bytes = garbage(30)),
        ("first page", |bytes| {
            bytes[..4096].copy_from_slice(&garbage(4096));
        }),
        ("zeros", |bytes| bytes[..4096].fill(0)),
        ("schema", |bytes| {
            bytes[100..4096].copy_from_slice(&garbage(3996));
        }),
    ];
    for (name, damage) in damages {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        new(&*journal, numbered(1)).await;
        drop(journal);
        let path = folder.path().join("journal.db");
        let mut bytes = std::fs::read(&path).unwrap();
        damage(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        let error = refused(&folder, &clock);
        assert!(matches!(error, OpenError::Damaged(_)), "{name}: {error:?}");
        let text = error.to_string();
        assert!(
            text.contains("journal verify") && text.contains("salvage"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn a_missing_journal_is_an_error() {
    type Left = fn(&Path);
    let table: [(&str, Left); 4] = [
        ("head", |folder| {
            std::fs::write(folder.join("head"), [1; 12]).unwrap();
        }),
        ("index.db", |folder| {
            std::fs::write(folder.join("index.db"), "an index").unwrap();
        }),
        ("claims/5.keys", |folder| {
            write_segment(&folder.join("claims"), &entry_of(7, 5, 0));
        }),
        ("journal.db-wal", |folder| {
            std::fs::write(folder.join("journal.db-wal"), "events").unwrap();
        }),
    ];
    for (left, leave) in table {
        for empty in [true, false] {
            let (folder, clock) = (TestFolder::new(), clock());
            drop(open(&folder, &clock));
            let path = folder.path().join("journal.db");
            std::fs::remove_file(&path).unwrap();
            for suffix in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(folder.path().join(format!("journal.db{suffix}")));
            }
            leave(folder.path());
            if empty {
                std::fs::write(&path, "").unwrap();
            }
            let error = try_open(&folder, &clock).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, OpenError::Missing { .. }), "{text}");
            assert!(text.contains(left) && text.contains("backup"), "{text}");
            // No file was created that would make the next try succeed, and none was removed.
            assert!(std::fs::metadata(&path).map_or(0, |file| file.len()) == 0);
            assert!(folder.path().join(left).exists());
            try_open(&folder, &clock).unwrap_err();
        }
    }
    // A process that ended before it wrote anything left nothing to lose.
    let (folder, clock) = (TestFolder::new(), clock());
    std::fs::create_dir(folder.path().join("claims")).unwrap();
    std::fs::write(folder.path().join("journal.db"), "").unwrap();
    assert_eq!(new(&*open(&folder, &clock), numbered(1)).await, 1);
}

#[tokio::test]
async fn folders_are_made_where_there_are_none() {
    let (folder, clock) = (TestFolder::new(), clock());
    let deep = folder.path().join("a/b/c");
    for head in [0, 1] {
        let journal = Sqlite::open(&deep, JournalMetrics::unrecorded(), clock.clone()).unwrap();
        assert_eq!(journal.tail().head(), head);
        new(&journal, numbered(head.into())).await;
    }
}

#[tokio::test]
async fn a_journal_removed_while_open_is_not_replaced() {
    for replaced in [false, true] {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        for number in 1..=3 {
            new(&*journal, numbered(number)).await;
        }
        rename(folder.path(), "blocks", "hidden");
        assert!(journal.append(numbered(4)).await.is_err());
        for suffix in ["", "-wal", "-shm"] {
            let file = folder.path().join(format!("journal.db{suffix}"));
            // A WAL exists only while the database is open.
            let _ = std::fs::rename(&file, folder.path().join(format!("away{suffix}")));
        }
        if replaced {
            let other = TestFolder::new();
            let another = open(&other, &clock);
            new(&*another, numbered(1)).await;
            another.close().await;
            let (from, to) = (other.path(), folder.path());
            std::fs::copy(from.join("journal.db"), to.join("journal.db")).unwrap();
        }
        clock.advance(Duration::from_secs(1));
        let refused = journal.append(numbered(4)).await;
        assert!(refused.is_err(), "{refused:?}");
        assert!(!journal.is_ready());
        assert_eq!(folder.path().join("journal.db").exists(), replaced);
    }
}

#[tokio::test]
async fn an_impossible_trim_refuses_nothing_else() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for number in 1..=3 {
        new(&*journal, numbered(number)).await;
    }
    let claims = folder.path().join("claims");
    std::fs::remove_dir(&claims).unwrap();
    let trimmed = journal.trim(2).await;
    assert!(trimmed.is_err(), "{trimmed:?}");
    assert!(journal.is_ready());
    assert_eq!(new(&*journal, numbered(4)).await, 4);
    assert_eq!(seqs(&*journal, 0, 10).await, [1, 2, 3, 4]);
    std::fs::create_dir(&claims).unwrap();
    assert_eq!(trim_all(&*journal, 2).await, 2);
    assert_eq!(seqs(&*journal, 0, 10).await, [3, 4]);
}

#[tokio::test]
async fn long_bodies_are_trimmed_in_small_batches() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for number in 0..6 {
        let received = body(&"x".repeat(12 * 1024 * 1024));
        new(&*journal, entry(received, number, Duration::ZERO)).await;
    }
    for removed in [1, 1, 1, 1, 1, 0] {
        assert_eq!(journal.trim(Seq::MAX).await, Ok(removed));
    }
    assert_eq!(seqs(&*journal, 0, 10).await, [6]);
}

/// What a block held before it was written again is nowhere in the file.
#[tokio::test]
async fn a_block_that_is_cut_leaves_nothing() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    let text = |number: u128| format!("body {number} {}", "x".repeat(30_000));
    let appends = (1..=20).map(async |number| {
        let mut received = body(&text(number));
        received.id = Uuid::from_u128(number);
        new(&*journal, entry(received, number, WINDOW)).await
    });
    futures_util::future::join_all(appends).await;
    let sql = "SELECT first, last FROM blocks WHERE last > first + 3 ORDER BY last LIMIT 1";
    let (first, last): (Seq, Seq) = database(folder.path())
        .query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    trim_all(&*journal, last - 1).await;
    journal.close().await;
    let bytes = std::fs::read(folder.path().join("journal.db")).unwrap();
    let is_there = |text: &str| {
        bytes
            .windows(text.len())
            .any(|part| part == text.as_bytes())
    };
    let left: Vec<Seq> = (first..last)
        .filter(|seq| is_there(&format!("body {seq} xx")))
        .collect();
    assert_eq!(left, [0; 0]);
}

#[tokio::test]
async fn a_closed_journal_is_not_ready() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    journal.close().await;
    assert!(!journal.is_ready());
}

/// A caller that a panic leaves without an answer must find the journal not ready.
#[tokio::test]
async fn a_panic_is_told_before_its_callers() {
    struct Caller {
        journal: Arc<Sqlite>,
        found_ready: OnceLock<bool>,
    }
    impl Wake for Caller {
        fn wake(self: Arc<Self>) {
            let _ = self.found_ready.set(self.journal.is_ready());
        }
    }
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = Arc::new(try_open(&folder, &clock).unwrap());
    let (panic, told) = std::sync::mpsc::channel();
    let mut asked = std::pin::pin!(journal.queue.write(0, move |_| -> Made {
        told.recv().unwrap();
        panic!("on purpose");
    }));
    let caller = Arc::new(Caller {
        journal: Arc::clone(&journal),
        found_ready: OnceLock::new(),
    });
    let waker = Waker::from(Arc::clone(&caller));
    let mut context = Context::from_waker(&waker);
    assert!(asked.as_mut().poll(&mut context).is_pending());
    panic.send(()).unwrap();
    journal.close().await;
    assert_eq!(caller.found_ready.get(), Some(&false));
    assert_eq!(asked.await, Err(Unavailable::Ended));
    journal.broken().await;
    assert_eq!(journal.append(numbered(1)).await, Err(Unavailable::Ended));
}

type Made = rusqlite::Result<Result<(), Unavailable>>;

/// What a failed commit has written may be found after a restart; what failed before was not stored.
#[tokio::test]
async fn only_a_failed_commit_is_unknown() {
    let violated = |deferred: &str| {
        format!(
            "CREATE TABLE parent (id INTEGER PRIMARY KEY);
             CREATE TABLE child (parent REFERENCES parent (id) {deferred});
             INSERT INTO child VALUES (1);"
        )
    };
    for (deferred, is_unknown) in [("", false), ("DEFERRABLE INITIALLY DEFERRED", true)] {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = try_open(&folder, &clock).unwrap();
        let sql = violated(deferred);
        let write = move |step: &mut Step<'_>| -> Made {
            step.beside_log(|database| database.execute_batch(&sql))
        };
        let failed = journal.queue.write(0, write).await.unwrap_err();
        assert_eq!(
            matches!(failed, Unavailable::Unknown(_)),
            is_unknown,
            "{failed:?}"
        );
        // Later operations were not tried, so nothing of them is stored.
        let later = journal.append(numbered(1)).await;
        assert!(matches!(later, Err(Unavailable::Away(_))), "{later:?}");
        clock.advance(Duration::from_secs(2));
        assert_eq!(journal.append(numbered(1)).await, Ok(Appended::new(1)));
    }
}

#[tokio::test]
async fn a_failed_write_stops_acknowledging() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    new(&*journal, numbered(1)).await;

    rename(folder.path(), "blocks", "hidden");
    let refused = journal.append(numbered(2)).await;
    assert!(refused.is_err(), "{refused:?}");
    assert!(!journal.is_ready());
    assert_eq!(journal.tail().head(), 1);

    // Repaired, but not tried yet.
    rename(folder.path(), "hidden", "blocks");
    assert!(journal.append(numbered(2)).await.is_err());
    assert!(!journal.is_ready());

    clock.advance(Duration::from_secs(1));
    // The refused append left no dedup entry.
    assert_eq!(journal.append(numbered(2)).await, Ok(Appended::new(2)));
    assert!(journal.is_ready());
    assert_eq!(journal.append(numbered(1)).await, Ok(duplicate(1)));
    assert_eq!(seqs(&*journal, 0, 10).await, [1, 2]);
}

#[tokio::test]
async fn while_the_damage_lasts_it_keeps_trying() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    rename(folder.path(), "blocks", "hidden");
    for _ in 0..3 {
        assert!(journal.append(numbered(1)).await.is_err());
        assert!(!journal.is_ready());
        clock.advance(Duration::from_secs(1));
    }
    rename(folder.path(), "hidden", "blocks");
    // The journal may have tried just before the repair, and now waits for the next second.
    let mut appended = journal.append(numbered(1)).await;
    for _ in 0..2 {
        if appended.is_err() {
            clock.advance(Duration::from_secs(1));
            appended = journal.append(numbered(1)).await;
        }
    }
    assert_eq!(appended, Ok(Appended::new(1)));
    assert!(journal.is_ready());
}

fn database(folder: &Path) -> Connection {
    Connection::open(folder.join("journal.db")).unwrap()
}

fn rename(folder: &Path, from: &str, to: &str) {
    let rename = format!("ALTER TABLE {from} RENAME TO {to}");
    database(folder).execute_batch(&rename).unwrap();
}

/// Returns why it does not open, and checks that the file is unchanged to the byte.
fn refused(folder: &TestFolder, clock: &Arc<FakeClock>) -> OpenError {
    let path = folder.path().join("journal.db");
    let before = std::fs::read(&path).unwrap();
    let error = try_open(folder, clock).unwrap_err();
    assert!(std::fs::read(&path).unwrap() == before, "the file changed");
    // A second try fails too: the first left nothing that would make it succeed.
    try_open(folder, clock).unwrap_err();
    assert!(std::fs::read(&path).unwrap() == before, "the file changed");
    error
}

fn garbage(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

fn clock() -> Arc<FakeClock> {
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    Arc::new(FakeClock::new(start))
}

fn open(folder: &TestFolder, clock: &Arc<FakeClock>) -> Arc<dyn Journal> {
    Arc::new(try_open(folder, clock).unwrap())
}

fn try_open(folder: &TestFolder, clock: &Arc<FakeClock>) -> Result<Sqlite, OpenError> {
    Sqlite::open(folder.path(), JournalMetrics::unrecorded(), clock.clone())
}

/// The dedup entry of the event with this number, as the body `seq`.
fn entry_of(number: u128, seq: Seq, at: i64) -> DedupEntry {
    let mut entries = DedupEntry::all_of(numbered(number).parts[0].key, Position::first(seq), at);
    entries.next().expect("one of the key")
}

/// Writes a dedup segment that holds only this entry.
fn write_segment(folder: &Path, entry: &DedupEntry) {
    let position = entry.position.to_bits().to_le_bytes();
    let (hash, until) = (entry.hash.to_le_bytes(), entry.until.to_le_bytes());
    let name = format!("{}.keys", entry.position.seq());
    let bytes = [&hash[..], &position[..], &until[..]].concat();
    std::fs::write(folder.join(name), bytes).unwrap();
}
