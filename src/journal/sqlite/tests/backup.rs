//! Backups of a journal that is written meanwhile.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::journal::{Backup, Desks as _, Documents as _, FilesError, backup};

const HOSTILE: &str = "'; DROP TABLE blocks; --\0\n%_\"\u{202e}";

/// The folder of a journal in a folder.
fn inside(folder: &TestFolder, name: &str) -> PathBuf {
    folder.path().join(name)
}

fn open_in(folder: &Path, clock: &Arc<FakeClock>) -> Sqlite {
    Sqlite::open(folder, JournalMetrics::unrecorded(), clock.clone()).unwrap()
}

/// Backs up on another thread, as another process would.
async fn back_up(from: &Path, to: &Path) -> Result<Backup, FilesError> {
    let (from, to) = (from.to_owned(), to.to_owned());
    tokio::task::spawn_blocking(move || backup(&from, &to))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_backup_under_load_has_all_before_it() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open_in(&inside(&folder, "data"), &clock);
    let acknowledged = std::sync::atomic::AtomicU64::new(0);
    let ended = AtomicBool::new(false);
    let text = "x".repeat(2000);
    let append = async {
        let mut number = 0;
        while !ended.load(Ordering::SeqCst) {
            let more = (0..64).map(|one| {
                let mut received = body(&text);
                received.id = Uuid::from_u128(number + one);
                journal.append(entry(received, contract_key(number + one), WINDOW))
            });
            let newest = futures_util::future::join_all(more).await;
            assert!(newest.iter().all(Result::is_ok));
            number += 64;
            acknowledged.store(u64::try_from(number).unwrap(), Ordering::SeqCst);
            let desk = journal.desk(0).await.unwrap();
            // The progress says how far the log was.
            save(desk.as_ref(), "a", &number.to_le_bytes(), vec![]).await;
        }
    };
    let copies = async {
        for name in ["one", "two", "three"] {
            while acknowledged.load(Ordering::SeqCst) < 4000 {
                tokio::task::yield_now().await;
            }
            let before = acknowledged.load(Ordering::SeqCst);
            let to = inside(&folder, name);
            let made = back_up(&inside(&folder, "data"), &to).await.unwrap();
            assert!(
                made.newest >= before && made.events == made.newest,
                "{made:?} {before}"
            );
        }
        ended.store(true, Ordering::SeqCst);
    };
    futures_util::future::join(append, copies).await;
    let wal = std::fs::metadata(inside(&folder, "data/journal.db-wal"))
        .unwrap()
        .len();
    assert!(wal <= 64 * 1024 * 1024, "{wal}");
    for name in ["one", "two", "three"] {
        let copy = open_in(&inside(&folder, name), &clock);
        let head = copy.tail().head();
        let mut all = Vec::new();
        while all.len() < usize::try_from(head).unwrap() {
            all.extend(seqs(&copy, all.len() as Seq, 10_000).await);
        }
        assert!(all.iter().copied().eq(1..=head));
        let saved = copy
            .desk(0)
            .await
            .unwrap()
            .saved("a")
            .await
            .unwrap()
            .unwrap();
        let saved = u128::from_le_bytes(saved.head.try_into().unwrap());
        assert!(
            saved <= head.into() && u128::from(head) - saved <= 64,
            "{saved} {head}"
        );
        // The dedup keys are there.
        for seq in [1, head / 2, head] {
            let again = entry(body("again"), contract_key(u128::from(seq) - 1), WINDOW);
            assert_eq!(copy.append(again).await, Ok(duplicate(seq)));
        }
    }
}

/// Spreads numbers like a hash.
fn contract_key(number: u128) -> u128 {
    number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

#[tokio::test]
async fn a_backup_has_everything_of_a_stopped_journal() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, copy) = (inside(&folder, "data"), inside(&folder, "new/copy"));
    let all = remarkable();
    {
        let journal = open_in(&data, &clock);
        for (number, received) in all.iter().enumerate() {
            new(&journal, entry(received.clone(), number as u128, WINDOW)).await;
        }
        let desk = journal.desk(0).await.unwrap();
        let given_up = vec![letter(1, "a"), letter(2, HOSTILE)];
        save(desk.as_ref(), HOSTILE, b"progress", given_up).await;
        put(&journal, HOSTILE, Some(b"document")).await;
        journal.close().await;
    }
    let before = std::fs::read(data.join("journal.db")).unwrap();
    let made = backup(&data, &copy).unwrap();
    assert_eq!(std::fs::read(data.join("journal.db")).unwrap(), before);
    assert_eq!(
        (made.events, made.newest),
        (all.len() as u64, all.len() as Seq)
    );
    assert_eq!(
        made.bytes,
        std::fs::metadata(copy.join("journal.db")).unwrap().len()
    );
    let modes = [
        (copy.clone(), 0o700),
        (copy.join("claims"), 0o700),
        (copy.join("journal.db"), 0o600),
    ];
    for (path, mode) in modes {
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            mode,
            "{path:?}"
        );
    }
    let journal = open_in(&copy, &clock);
    all_there(&journal, &all).await;
    let saved = journal.desk(0).await.unwrap().saved(HOSTILE).await;
    assert_eq!(saved, Ok(Some(only_head(*b"progress"))));
    assert_eq!(
        letters(&journal, HOSTILE).await,
        [letter(1, "a"), letter(2, HOSTILE)]
    );
    assert_eq!(journal.documents("").await.unwrap()[0].key, HOSTILE);
}

#[tokio::test]
async fn a_backup_of_a_killed_server_has_its_wal() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (data, killed) = (inside(&folder, "data"), inside(&folder, "killed"));
    let journal = open_in(&data, &clock);
    for number in 0..10 {
        new(&journal, numbered(number)).await;
    }
    std::fs::create_dir(&killed).unwrap();
    for name in ["journal.db", "journal.db-wal"] {
        std::fs::copy(data.join(name), killed.join(name)).unwrap();
    }
    assert_eq!(
        backup(&killed, &inside(&folder, "copy")).unwrap().newest,
        10
    );
}

#[tokio::test]
async fn a_backup_goes_nowhere_else() {
    let (folder, clock) = (TestFolder::new(), clock());
    let data = inside(&folder, "data");
    let missing = backup(&data, &inside(&folder, "copy"));
    assert!(
        matches!(missing, Err(FilesError::NoJournal(_))),
        "{missing:?}"
    );
    assert!(!data.exists());
    drop(open_in(&data, &clock));
    for to in ["data", "data/journal.db", ".."] {
        let taken = backup(&data, &inside(&folder, to));
        assert!(matches!(taken, Err(FilesError::Occupied(_))), "{taken:?}");
    }
    // Half a file.
    let file = std::fs::File::options()
        .write(true)
        .open(data.join("journal.db"))
        .unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let damaged = backup(&data, &inside(&folder, "copy"));
    assert!(
        matches!(damaged, Err(FilesError::Damaged { .. })),
        "{damaged:?}"
    );
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
