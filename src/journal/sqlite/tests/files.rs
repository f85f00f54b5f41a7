//! The journal's files: removed, replaced, cut, copied; who may read them, and how long they are.

use std::os::unix::fs::PermissionsExt as _;

use super::damage::copy;
use super::*;
use crate::journal::Missing;

/// Ends the pause before a failed journal is opened again.
fn let_it_try(clock: &FakeClock) {
    clock.advance(Duration::from_secs(2));
}

/// A journal in `data` with 30 events.
async fn filled(folder: &TestFolder, clock: &Arc<FakeClock>) -> (std::path::PathBuf, Sqlite) {
    let data = folder.path().join("data");
    let journal = Sqlite::open(&data, JournalMetrics::unrecorded(), clock.clone()).unwrap();
    for number in 0..30 {
        new(&journal, numbered(number)).await;
    }
    (data, journal)
}

fn opened(data: &Path, clock: &Arc<FakeClock>) -> Sqlite {
    Sqlite::open(data, JournalMetrics::unrecorded(), clock.clone()).unwrap()
}

#[tokio::test]
async fn a_removed_folder_fails_the_journal() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    let away = folder.path().join("away");
    std::fs::rename(&data, &away).unwrap();
    let failed = journal.append(numbered(30)).await.unwrap_err();
    assert!(
        failed.to_string().contains("journal.db was removed"),
        "{failed}"
    );
    assert!(!journal.is_ready());
    // Neither nothing nor other files in its place are taken for it.
    for other in [false, true] {
        if other {
            copy(&away, &data);
        }
        let_it_try(&clock);
        journal.append(numbered(30)).await.unwrap_err();
        assert!(!journal.is_ready());
        assert_eq!(data.join("journal.db").exists(), other);
    }
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&away, &data).unwrap();
    let_it_try(&clock);
    // What failed was written before that was noticed.
    assert_eq!(journal.append(numbered(30)).await, Ok(duplicate(31)));
    assert_eq!(journal.append(numbered(31)).await, Ok(Appended::new(32)));
    journal.close().await;
    drop(journal);
    assert_eq!(seqs(&opened(&data, &clock), 0, 100).await.len(), 32);
}

/// Whatever lost its name, nothing is lost that was acknowledged.
#[tokio::test]
async fn a_removed_log_is_copied_before() {
    let removals: [&[&str]; 3] = [&["-wal"], &["-shm"], &["-wal", "-shm"]];
    for removed in removals {
        for is_noticed in [true, false] {
            let (folder, clock) = (TestFolder::new(), clock());
            let (data, journal) = filled(&folder, &clock).await;
            for suffix in removed {
                std::fs::remove_file(data.join(format!("journal.db{suffix}"))).unwrap();
            }
            let mut acknowledged = 30;
            if is_noticed {
                let failed = journal.append(numbered(30)).await.unwrap_err();
                assert!(failed.to_string().contains("was removed"), "{failed}");
                assert!(!journal.is_ready());
                let_it_try(&clock);
                assert_eq!(journal.append(numbered(30)).await, Ok(duplicate(31)));
                assert_eq!(journal.append(numbered(31)).await, Ok(Appended::new(32)));
                assert_eq!(seqs(&journal, 0, 100).await.len(), 32);
                acknowledged = 32;
            }
            journal.close().await;
            drop(journal);
            let found = seqs(&opened(&data, &clock), 0, 100).await;
            assert_eq!(found.len(), acknowledged, "{removed:?}");
        }
    }
}

/// Another program reads while the log loses its name, and after that for a while.
#[tokio::test]
async fn a_removed_log_waits_for_other_readers() {
    // A read that is older than the newest commit hinders the copy, any other the new log.
    for is_older in [true, false] {
        let (folder, clock) = (TestFolder::new(), clock());
        let (data, journal) = filled(&folder, &clock).await;
        let other = database(&data);
        let read = other.unchecked_transaction().unwrap();
        let count = "SELECT count(*) FROM blocks";
        read.query_row(count, [], |_| Ok(())).unwrap();
        let mut known = 30;
        if is_older {
            new(&journal, numbered(30)).await;
            known = 31;
        }
        std::fs::remove_file(data.join("journal.db-wal")).unwrap();
        // Writes nothing.
        let last = || numbered(known - 1);
        for _ in 0..2 {
            journal.append(last()).await.unwrap_err();
            assert!(!journal.is_ready(), "{is_older}");
            let_it_try(&clock);
        }
        drop(read);
        drop(other);
        let_it_try(&clock);
        let mut appended = journal.append(last()).await;
        // It may have tried just before.
        for _ in 0..2 {
            if appended.is_err() {
                let_it_try(&clock);
                appended = journal.append(last()).await;
            }
        }
        assert_eq!(appended, Ok(duplicate(known as Seq)), "{is_older}");
        let next = journal.append(numbered(100)).await;
        assert_eq!(next, Ok(Appended::new(known as Seq + 1)));
        journal.close().await;
        drop(journal);
        let found = seqs(&opened(&data, &clock), 0, 100).await;
        assert_eq!(found.len(), known as usize + 1, "{is_older}");
    }
}

/// Another file with the name of the log is not written to, and nothing is acknowledged beside it.
#[tokio::test]
async fn a_replaced_log_fails_the_journal() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    let wal = data.join("journal.db-wal");
    std::fs::remove_file(&wal).unwrap();
    std::fs::write(&wal, "another").unwrap();
    journal.append(numbered(30)).await.unwrap_err();
    let_it_try(&clock);
    journal.append(numbered(30)).await.unwrap_err();
    assert_eq!(std::fs::read(&wal).unwrap(), b"another");
    std::fs::remove_file(&wal).unwrap();
    let_it_try(&clock);
    assert_eq!(journal.append(numbered(30)).await, Ok(duplicate(31)));
}

#[tokio::test]
async fn after_a_stop_one_file_is_the_journal() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    // Reads are under way while it stops.
    let reads = (0..8).map(async |_| seqs(&journal, 0, 100).await.len());
    assert_eq!(futures_util::future::join_all(reads).await, [30; 8]);
    journal.close().await;
    assert!(!data.join("journal.db-wal").exists());
    let alone = folder.path().join("alone");
    std::fs::create_dir(&alone).unwrap();
    std::fs::copy(data.join("journal.db"), alone.join("journal.db")).unwrap();
    assert_eq!(seqs(&opened(&alone, &clock), 0, 100).await.len(), 30);
}

/// As after a power cut on a disk that lied, or when somebody restores half of the files.
#[tokio::test]
async fn a_log_that_ends_earlier_is_told() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    // How far the log went is noted after the answer, and before the next commit.
    put(&journal, "a", Some(b"document")).await;
    let killed = folder.path().join("killed");
    copy(&data, &killed);
    drop(journal);
    let wal = killed.join("journal.db-wal");
    let bytes = std::fs::read(&wal).unwrap();
    std::fs::write(&wal, &bytes[..bytes.len() / 2]).unwrap();
    for _ in 0..2 {
        let journal = opened(&killed, &clock);
        assert_eq!(journal.tail().head(), 30);
        let records = journal.read(0, 100).await.unwrap();
        let numbers: Vec<Seq> = records.iter().map(|record| record.seq).collect();
        assert_eq!(numbers, (1..=30).collect::<Vec<_>>());
        let lost = { records.iter() }.filter(|record| record.missing == Some(Missing::Damaged));
        let lost: Vec<Seq> = lost.map(|record| record.seq).collect();
        assert!((2..30).contains(&lost.len()), "{lost:?}");
        assert_eq!(lost.last(), Some(&30));
    }
    let journal = opened(&killed, &clock);
    // No number is given twice, and what is lost is no duplicate.
    assert_eq!(journal.append(numbered(29)).await, Ok(Appended::new(31)));
}

/// An older copy of `journal.db` alone, beside what is newer.
#[tokio::test]
async fn an_older_copy_in_place_is_told() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    journal.close().await;
    drop(journal);
    let older = std::fs::read(data.join("journal.db")).unwrap();
    let journal = opened(&data, &clock);
    for number in 30..40 {
        new(&journal, numbered(number)).await;
    }
    journal.close().await;
    drop(journal);
    std::fs::write(data.join("journal.db"), older).unwrap();
    let journal = opened(&data, &clock);
    let records = journal.read(30, 100).await.unwrap();
    let missing = { records.iter() }.filter(|record| record.missing.is_some());
    assert_eq!((records.len(), missing.count()), (10, 10));
}

#[tokio::test]
async fn only_the_owner_can_read_the_files() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    trim_all(&journal, 20).await;
    assert!(std::fs::read_dir(data.join("claims")).unwrap().count() > 0);
    let modes = |expect: (u32, u32)| {
        let mut folders = vec![data.clone()];
        while let Some(folder) = folders.pop() {
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!(mode(&folder), expect.0, "{}", folder.display());
            for file in std::fs::read_dir(&folder).unwrap() {
                let path = file.unwrap().path();
                match path.is_dir() {
                    true => folders.push(path),
                    false => assert_eq!(mode(&path), expect.1, "{}", path.display()),
                }
            }
        }
    };
    modes((0o700, 0o600));
    assert_eq!(std::fs::read(data.join(".gitignore")).unwrap(), b"*\n");
    journal.close().await;
    drop(journal);
    // As an older version left it.
    std::fs::remove_file(data.join(".gitignore")).unwrap();
    std::fs::write(data.join("index.db"), "").unwrap();
    let set = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut all = vec![data.clone()];
    while let Some(path) = all.pop() {
        set(&path, if path.is_dir() { 0o755 } else { 0o644 });
        if path.is_dir() {
            let files = std::fs::read_dir(&path).unwrap();
            all.extend(files.map(|file| file.unwrap().path()));
        }
    }
    let journal = opened(&data, &clock);
    modes((0o700, 0o600));
    assert!(data.join(".gitignore").exists());
    drop(journal);
    // A folder that others use too keeps its permissions.
    set(&data, 0o755);
    std::fs::write(data.join("notes.txt"), "of somebody else").unwrap();
    drop(opened(&data, &clock));
    assert_eq!(
        std::fs::metadata(&data).unwrap().permissions().mode() & 0o777,
        0o755
    );
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_removed_lock_lets_no_other_in() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    std::fs::remove_file(data.join("lock")).unwrap();
    let other = Sqlite::open(&data, JournalMetrics::unrecorded(), clock.clone());
    assert!(matches!(other, Err(OpenError::InUse(_))), "{other:?}");
    drop(journal);
    drop(opened(&data, &clock));
}

/// Closing a file ends the locks of all connections of the process to it, also those of a journal that was
/// opened later.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_closed_journal_has_no_file_open() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    let open = || {
        let files = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        let names = files.filter_map(|file| std::fs::read_link(file.path()).ok());
        let open: Vec<_> = names.filter(|name| name.starts_with(&data)).collect();
        open
    };
    assert_ne!(open().len(), 0);
    journal.close().await;
    assert_eq!(open(), Vec::<std::path::PathBuf>::new());
    drop(journal);
}

/// After so many events the free pages are used again.
#[tokio::test]
async fn a_trimmed_journal_does_not_grow() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, journal) = filled(&folder, &clock).await;
    let long = |number: u128| {
        let mut received = body(&"x".repeat(20_000));
        received.id = Uuid::from_u128(number);
        entry(received, number, Duration::ZERO)
    };
    for number in 100..600 {
        new(&journal, long(number)).await;
        if journal.bytes().await.unwrap() > 3 * 1024 * 1024 {
            let head = journal.tail().head();
            trim_all(&journal, head - 100).await;
        }
    }
    let length = |name: &str| std::fs::metadata(data.join(name)).unwrap().len();
    let (database, wal) = (length("journal.db"), length("journal.db-wal"));
    assert!(database <= 4 * 1024 * 1024, "{database}");
    // A small journal has a short log.
    assert!(wal <= 4 * 1024 * 1024, "{wal}");
}
