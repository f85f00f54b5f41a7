//! Nothing makes the writer late: checkpoints, reads, retention, opening again.

use std::sync::Mutex;

use futures_util::future::{BoxFuture, join_all};

use super::*;
use crate::journal::Documents as _;

/// The WAL's limit, see the module `checkpoint`.
const WAL_LIMIT: u64 = 32 * 1024 * 1024;

/// Appends so many bodies of 4 KiB, 64 at a time.
async fn fill(journal: &Sqlite, numbers: std::ops::Range<u128>) {
    let text = "x".repeat(4096);
    let (start, end) = (numbers.start, numbers.end);
    let senders = (0..64).map(async |sender| {
        for number in (start + sender..end).step_by(64) {
            let mut received = body(&text);
            received.id = Uuid::from_u128(number);
            let appended = journal.append(entry(received, number, WINDOW)).await;
            assert!(matches!(appended, Ok(Appended::New { .. })), "{appended:?}");
        }
    });
    join_all(senders).await;
}

fn wal(folder: &TestFolder) -> u64 {
    let file = folder.path().join("journal.db-wal");
    std::fs::metadata(file).map_or(0, |file| file.len())
}

/// The file never shrinks, so its length at the end is its greatest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_short_under_load() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = try_open(&folder, &clock).unwrap();
    let written = std::sync::atomic::AtomicBool::new(false);
    // Consumers that are far behind read all the time, so that some read always runs.
    let readers = (0..6).map(async |number| {
        let mut after = number;
        while !written.load(std::sync::atomic::Ordering::Relaxed) {
            let records = journal.read(after, 1000).await.unwrap();
            after = records.last().map_or(0, |last| last.seq);
        }
    });
    let write = async {
        fill(&journal, 0..24_000).await;
        written.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    futures_util::future::join(write, join_all(readers)).await;
    let length = wal(&folder);
    assert!(length <= WAL_LIMIT, "{length}");
    journal.close().await;
    assert_eq!(wal(&folder), 0);
    drop(journal);
    let journal = open(&folder, &clock);
    assert_eq!(journal.tail().head(), 24_000);
    assert_eq!(seqs(&*journal, 23_999, 10).await, [24_000]);
}

/// At every moment one of the reads is older than the newest commit, and the WAL cannot begin again while
/// such a read goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wal_stays_short_under_long_reads() {
    const READ: Duration = Duration::from_millis(50);
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = try_open(&folder, &clock).unwrap();
    let written = std::sync::atomic::AtomicBool::new(false);
    let read = |database: &Connection| {
        let snapshot = database.unchecked_transaction()?;
        snapshot.query_row("SELECT count(*) FROM blocks", [], |_| Ok(()))?;
        std::thread::park_timeout(READ);
        snapshot.commit()
    };
    let readers = (0..3).map(async |number| {
        tokio::time::sleep(READ / 3 * number).await;
        while !written.load(std::sync::atomic::Ordering::Relaxed) {
            journal.readers.look_long(read).await.unwrap();
        }
    });
    let write = async {
        for part in 0..56 {
            fill(&journal, 256 * part..256 * (part + 1)).await;
            // A disk that is busy with others needs time for a lap.
            tokio::time::sleep(READ).await;
        }
        written.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    futures_util::future::join(write, join_all(readers)).await;
    let length = wal(&folder);
    assert!(length <= WAL_LIMIT, "{length}");
}

/// The last commit fills the WAL, so that the checkpoint is about to stop the reads while the journal closes.
#[tokio::test]
async fn a_journal_closes_during_a_checkpoint() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = try_open(&folder, &clock).unwrap();
    let appends = (0..3).map(async |number| {
        let received = body(&"x".repeat(7 * 1024 * 1024));
        new(&journal, entry(received, number, WINDOW)).await
    });
    join_all(appends).await;
    let (tell, closed) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(journal);
        let _ = tell.send(());
    });
    let closed = closed.recv_timeout(Duration::from_secs(30));
    closed.expect("it does not wait for itself");
    assert_eq!(wal(&folder), 0);
}

/// The checkpoint waits for the read, and no commit waits for the checkpoint.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_read_delays_no_append() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = try_open(&folder, &clock).unwrap();
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let read = journal.readers.look_long(move |database: &Connection| {
        let begun = database.unchecked_transaction()?;
        begun.query_row("SELECT count(*) FROM blocks", [], |_| Ok(()))?;
        let _ = held.recv();
        begun.commit()
    });
    let mut read = Box::pin(read);
    assert!(futures_util::poll!(read.as_mut()).is_pending());
    tokio::time::sleep(Duration::from_millis(50)).await;
    fill(&journal, 0..6_000).await;
    let before = wal(&folder);
    assert!(before > 16 * 1024 * 1024, "{before}");
    drop(let_go);
    read.await.unwrap();
    // The lap that waited for the read is finished, and the WAL begins again.
    fill(&journal, 6_000..18_000).await;
    assert!(wal(&folder) <= before + WAL_LIMIT, "{}", wal(&folder));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_reads_do_not_wait_for_long_ones() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = try_open(&folder, &clock).unwrap();
    let (let_go, held) = std::sync::mpsc::channel::<()>();
    let held = Arc::new(Mutex::new(held));
    let mut long: Vec<_> = (0..10)
        .map(|_| {
            let held = Arc::clone(&held);
            Box::pin(journal.readers.look_long(move |_| -> rusqlite::Result<()> {
                // The first waits in the channel, the others for the lock.
                let _ = held.lock().unwrap().recv();
                Ok(())
            }))
        })
        .collect();
    for read in &mut long {
        assert!(futures_util::poll!(read.as_mut()).is_pending());
    }
    for _ in 0..100 {
        let documents = tokio::time::timeout(Duration::from_secs(30), journal.documents(""));
        assert_eq!(documents.await.unwrap(), Ok(vec![]));
    }
    drop(let_go);
    for read in long {
        read.await.unwrap();
    }
}

#[tokio::test]
async fn later_operations_let_others_go_ahead() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = try_open(&folder, &clock).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let noted = |name: &'static str| {
        let order = Arc::clone(&order);
        move |_: &mut Step<'_>| -> Made {
            order.lock().unwrap().push(name);
            Ok(Ok(()))
        }
    };
    let hold = move |_: &mut Step<'_>| -> Made {
        let _ = begun.recv();
        Ok(Ok(()))
    };
    let mut hold = Box::pin(journal.queue.write(0, hold));
    assert!(futures_util::poll!(hold.as_mut()).is_pending());
    let mut asked: Vec<BoxFuture<'_, Result<(), Unavailable>>> = vec![
        Box::pin(journal.queue.write_later(0, noted("later"))),
        Box::pin(journal.queue.write_later(0, noted("later"))),
        Box::pin(journal.queue.write(0, noted("first"))),
        Box::pin(journal.queue.write(0, noted("first"))),
    ];
    for one in &mut asked {
        assert!(futures_util::poll!(one.as_mut()).is_pending());
    }
    begin.send(()).unwrap();
    hold.await.unwrap();
    for one in asked {
        one.await.unwrap();
    }
    let order = order.lock().unwrap();
    // The thread may have taken one of the first two before the others came.
    assert_eq!(order.len(), 4);
    assert_eq!(order.last(), Some(&"later"), "{order:?}");
    assert_ne!(order[..2], ["later", "later"], "{order:?}");
}

/// Opening the journal again reads only the dedup keys that a failed commit may have left.
#[tokio::test]
async fn reopening_keeps_the_window_in_memory() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for number in 1..=3 {
        new(&*journal, numbered(number)).await;
    }
    rename(folder.path(), "blocks", "hidden");
    assert!(journal.append(numbered(4)).await.is_err());
    // Nobody can read these keys any more.
    let unreadable = "UPDATE hidden SET claims = x'00'";
    database(folder.path()).execute_batch(unreadable).unwrap();
    rename(folder.path(), "hidden", "blocks");
    clock.advance(Duration::from_secs(1));
    assert_eq!(journal.append(numbered(2)).await, Ok(duplicate(2)));
    assert_eq!(journal.append(numbered(4)).await, Ok(Appended::new(4)));
}

/// What a failed commit left behind is an event, and makes duplicates.
#[tokio::test]
async fn reopening_finds_what_a_failed_commit_left() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    new(&*journal, numbered(1)).await;
    rename(folder.path(), "blocks", "hidden");
    assert!(journal.append(numbered(2)).await.is_err());
    let other = TestFolder::new();
    let another = open(&other, &clock);
    for number in 1..=2 {
        new(&*another, numbered(number)).await;
    }
    another.close().await;
    let copy = format!(
        "ATTACH '{}' AS other; DROP TABLE hidden; CREATE TABLE blocks AS SELECT * FROM other.blocks",
        other.path().join("journal.db").display()
    );
    database(folder.path()).execute_batch(&copy).unwrap();
    clock.advance(Duration::from_secs(1));
    assert_eq!(journal.append(numbered(2)).await, Ok(duplicate(2)));
    assert_eq!(journal.tail().head(), 2);
    assert!(journal.tail().get(2).is_some());
}

/// Retention waits until the keys of what it removes are in a segment, and nobody waits for that.
#[tokio::test]
async fn a_trim_waits_for_its_keys() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for number in 1..=3 {
        new(&*journal, numbered(number)).await;
    }
    assert_eq!(journal.trim(2).await, Ok(2));
    let claims = std::fs::read_dir(folder.path().join("claims")).unwrap();
    assert_eq!(claims.count(), 1);
    drop(journal);
    let journal = open(&folder, &clock);
    for number in 1..=3 {
        let again = journal.append(numbered(number)).await;
        assert_eq!(again, Ok(duplicate(number as Seq)));
    }
}

/// The file of the segment is a pipe: it takes nothing until the test reads it.
#[tokio::test]
async fn a_trim_that_seals_delays_no_append() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = try_open(&folder, &clock).unwrap();
    for number in 1..=3 {
        new(&journal, numbered(number)).await;
    }
    let pipe = folder.path().join("claims/3.unfinished");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let mut trim = Box::pin(journal.trim(2));
    assert!(futures_util::poll!(trim.as_mut()).is_pending());
    let append = async {
        // The trim is asked for before this.
        let nothing = |_: &mut Step<'_>| -> Made { Ok(Ok(())) };
        journal.queue.write_later(0, nothing).await?;
        journal.append(numbered(4)).await
    };
    let appended = tokio::time::timeout(Duration::from_secs(10), append).await;
    let is_sealing = futures_util::poll!(trim.as_mut()).is_pending();
    // A pipe cannot be synced, so the seal fails, and nothing is removed.
    std::thread::spawn(move || std::fs::read(pipe));
    assert!(trim.await.is_err());
    assert_eq!(appended, Ok(Ok(Appended::new(4))), "it waits for the seal");
    assert!(is_sealing);
    assert_eq!(seqs(&journal, 0, 10).await, [1, 2, 3, 4]);
}

/// Each part of a trim is a transaction of its own, between the commits that are answered first.
#[tokio::test]
async fn a_trim_lets_others_go_ahead() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = try_open(&folder, &clock).unwrap();
    for number in 1..=3 {
        new(&journal, entry(body("x"), number, Duration::ZERO)).await;
    }
    let (begin, begun) = std::sync::mpsc::channel::<()>();
    let hold = move |_: &mut Step<'_>| -> Made {
        let _ = begun.recv();
        Ok(Ok(()))
    };
    let nothing = |_: &mut Step<'_>| -> Made { Ok(Ok(())) };
    let first = |step: &mut Step<'_>| -> rusqlite::Result<Result<Seq, Unavailable>> {
        step.beside_log(|database| {
            super::super::reading::trimmed(database).map(|trimmed| trimmed + 1)
        })
    };
    let mut hold = Box::pin(journal.queue.write(0, hold));
    assert!(futures_util::poll!(hold.as_mut()).is_pending());
    // One such operation may go ahead of all others after the one that runs.
    let mut later = Box::pin(journal.queue.write_later(0, nothing));
    let mut trim = Box::pin(journal.trim(2));
    let mut first = Box::pin(journal.queue.write(0, first));
    assert!(futures_util::poll!(later.as_mut()).is_pending());
    assert!(futures_util::poll!(trim.as_mut()).is_pending());
    assert!(futures_util::poll!(first.as_mut()).is_pending());
    begin.send(()).unwrap();
    hold.await.unwrap();
    later.await.unwrap();
    assert_eq!(first.await, Ok(1));
    assert_eq!(trim.await, Ok(2));
}
