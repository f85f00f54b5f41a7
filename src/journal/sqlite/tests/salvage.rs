//! A damaged journal is described, and what is whole in it is saved; it stays as it is.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use super::*;
use crate::journal::{Desks as _, Documents as _, FilesError, salvage, verify};

const BODIES: u128 = 120;
/// Retention has removed so many of them.
const REMOVED: Seq = 20;
const PAGE: usize = 16 * 1024;

fn data(folder: &TestFolder) -> PathBuf {
    folder.path().join("data")
}

/// A body that takes a good part of a page.
fn long(number: u128) -> crate::Received {
    let mut received = body(&format!("{number}:{}", "x".repeat(2000)));
    received.id = Uuid::from_u128(number);
    received
}

/// Writes a journal and stops it.
async fn write(folder: &TestFolder) -> Arc<FakeClock> {
    let clock = clock();
    let journal = open_in(&data(folder), &clock);
    for start in (0..BODIES).step_by(10) {
        let key = |number: u128| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let more = (start..start + 10)
            .map(|number| journal.append(entry(long(number), key(number), WINDOW)));
        let newest = futures_util::future::join_all(more).await;
        assert!(newest.iter().all(Result::is_ok));
    }
    trim_all(&journal, REMOVED).await;
    let desk = journal.desk(0).await.unwrap();
    save(
        desk.as_ref(),
        "handler:a",
        br#"{"floor":100}"#,
        vec![letter(57, "no")],
    )
    .await;
    put(&journal, "subscription/a/b", Some(b"{}")).await;
    journal.close().await;
    clock
}

fn open_in(folder: &Path, clock: &Arc<FakeClock>) -> Sqlite {
    Sqlite::open(folder, JournalMetrics::unrecorded(), clock.clone()).unwrap()
}

/// All files of a folder with what is in them.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.clone(), std::fs::read(path).unwrap());
        }
    }
    all
}

/// Saves the journal, and checks that it is not changed, that what is saved is what was written, and that the
/// report is right. Returns the numbers that are saved, and what is said of the rest.
async fn saved(folder: &TestFolder, name: &str, clock: &Arc<FakeClock>) -> (Vec<Seq>, String) {
    let (from, to) = (data(folder), folder.path().join(name));
    let before = files(&from);
    let found = verify(&from).unwrap();
    let report = salvage(&from, &to).unwrap();
    assert!(files(&from) == before, "the damaged journal is as it was");
    // All of it may be saved, for example where only an index is damaged.
    assert!(
        report.is_complete() || !found.is_whole(),
        "{found:?} {report:?}"
    );
    let journal = open_in(&to, clock);
    let records = journal.read(0, usize::MAX).await.unwrap();
    let mut there = Vec::new();
    // Retention's numbers do not come back, as damaged ones.
    assert!(records.iter().all(|record| record.seq > REMOVED));
    for record in records.iter().filter(|record| !is_missing(record)) {
        let written = long(u128::from(record.seq) - 1);
        assert_eq!(record.received.body, written.body);
        assert_eq!(record.received.id, written.id);
        there.push(record.seq);
    }
    assert_eq!(report.events, there.len() as u64);
    let is_lost = |seq: &Seq| {
        report
            .lost
            .iter()
            .any(|(first, last)| (first..=last).contains(&seq))
    };
    let known: Vec<Seq> = (REMOVED + 1..=report.newest).collect();
    let (lost, kept): (Vec<Seq>, Vec<Seq>) = known.into_iter().partition(is_lost);
    assert_eq!(kept, there, "{report:?}");
    // What is not saved gets no number again, and is no duplicate.
    let next = new(&journal, entry(long(9999), 9999, WINDOW)).await;
    assert!(next > report.newest, "{next} {report:?}");
    if let Some(lost) = lost.first() {
        let key = u128::from(lost - 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let again = entry(long(u128::from(lost - 1)), key, WINDOW);
        assert_eq!(new(&journal, again).await, next + 1);
    }
    journal.close().await;
    // What the report says is noted in the copy, so that a check of it finds no damage.
    let checked = verify(&to).unwrap();
    assert!(checked.is_whole(), "{checked:?}");
    let is_noted =
        |seq: &Seq| { checked.lost.iter() }.any(|(first, last)| (first..=last).contains(&seq));
    assert!(
        lost.iter().all(is_noted) && !there.iter().any(is_noted),
        "{checked:?} {report:?}"
    );
    let said = [
        found.damaged.iter().map(|one| one.text.clone()).collect(),
        report.left_out,
    ];
    (there, said.concat().join("\n"))
}

/// Whether a record stands for a body that cannot be read.
fn is_missing(record: &crate::journal::Record) -> bool {
    record.missing.is_some()
}

#[tokio::test]
async fn a_whole_journal_is_saved_whole() {
    let folder = TestFolder::new();
    let clock = write(&folder).await;
    let (there, said) = saved(&folder, "saved", &clock).await;
    assert_eq!(there, (REMOVED + 1..=120).collect::<Vec<_>>());
    assert_eq!(said, "");
    let journal = open_in(&folder.path().join("saved"), &clock);
    let saved = journal.desk(0).await.unwrap().saved("handler:a").await;
    assert_eq!(saved, Ok(Some(only_head(*br#"{"floor":100}"#))));
    assert_eq!(letters(&journal, "handler:a").await, [letter(57, "no")]);
    let documents = journal.documents("").await.unwrap();
    assert_eq!(documents[0].key, "subscription/a/b");
    let key = 57u128.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let again = journal.append(entry(long(57), key, WINDOW)).await;
    assert_eq!(again, Ok(duplicate(58)));
}

/// Every page in turn is noise. All that is not on it is saved.
#[tokio::test]
async fn a_garbled_page_costs_what_was_on_it() {
    let folder = TestFolder::new();
    let clock = write(&folder).await;
    let path = data(&folder).join("journal.db");
    let whole = std::fs::read(&path).unwrap();
    let mut refused = 0;
    for page in 0..whole.len() / PAGE {
        let mut bytes = whole.clone();
        bytes[page * PAGE..(page + 1) * PAGE].copy_from_slice(&garbage(PAGE));
        std::fs::write(&path, bytes).unwrap();
        let found = verify(&data(&folder)).unwrap();
        let (there, said) = saved(&folder, &format!("saved{page}"), &clock).await;
        // There are pages that are not in use, since retention has removed what was on them.
        assert!(!found.is_whole() || there.len() == 100, "page {page}");
        // A page has a part of four blocks at most.
        assert!(there.len() >= 50, "page {page}: {} {said}", there.len());
        refused += usize::from(there.len() < 100);
    }
    assert!(refused > 5);
}

#[tokio::test]
async fn half_a_file_is_told_and_saved() {
    let folder = TestFolder::new();
    let clock = write(&folder).await;
    let path = data(&folder).join("journal.db");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    let length = file.metadata().unwrap().len();
    // The first half has the roots of all tables.
    let lengths = [length - 1, length / 4 * 3, length / 3 * 2 + 77];
    for (name, length) in ["a", "b", "c"].into_iter().zip(lengths) {
        file.set_len(length).unwrap();
        assert!(!verify(&data(&folder)).unwrap().is_whole(), "{length}");
        let (there, said) = saved(&folder, name, &clock).await;
        assert!(!there.is_empty() && there.len() < 100, "{said}");
        // The consumer had settled these, so that no new event gets their numbers.
        let copy = open_in(&folder.path().join(name), &clock);
        assert!(copy.tail().head() > 100, "{said}");
    }
}

#[tokio::test]
async fn a_flipped_bit_is_never_saved_as_if_whole() {
    let folder = TestFolder::new();
    let clock = write(&folder).await;
    let path = data(&folder).join("journal.db");
    let file = std::fs::File::options()
        .write(true)
        .read(true)
        .open(&path)
        .unwrap();
    let length = file.metadata().unwrap().len();
    for seed in 0..40_u64 {
        let place = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % length;
        let mut byte = [0];
        file.read_exact_at(&mut byte, place).unwrap();
        file.write_all_at(&[byte[0] ^ 1 << (seed % 8)], place)
            .unwrap();
        // One in the first page may make it another program's.
        if place >= 100 && SUMS {
            saved(&folder, &format!("saved{seed}"), &clock).await;
        } else {
            let _ = verify(&data(&folder));
            let _ = salvage(&data(&folder), &folder.path().join(format!("saved{seed}")));
        }
        file.write_all_at(&byte, place).unwrap();
    }
}

/// Whether bodies have checksums.
const SUMS: bool = true;

#[tokio::test]
async fn damaged_dedup_segments_are_made_again() {
    let folder = TestFolder::new();
    let clock = write(&folder).await;
    let claims = data(&folder).join("claims");
    write_segment(&claims, &entry_of(3, 90, 4_000_000_000_000));
    assert!(verify(&data(&folder)).unwrap().is_whole());
    std::fs::write(claims.join("90.keys"), [1; 33]).unwrap();
    let found = verify(&data(&folder)).unwrap();
    assert!(found.damaged[0].text.contains("90.keys"), "{found:?}");
    let (there, said) = saved(&folder, "saved", &clock).await;
    assert_eq!(there.len(), 100);
    assert!(said.contains("the next start makes them again"), "{said}");
}

#[tokio::test]
async fn what_is_no_journal_is_not_saved() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (from, to) = (data(&folder), folder.path().join("saved"));
    let missing = verify(&from).unwrap_err();
    assert!(matches!(missing, FilesError::NoJournal(_)), "{missing}");
    drop(open_in(&from, &clock));
    let path = from.join("journal.db");
    std::fs::write(&path, "").unwrap();
    for failed in [verify(&from).map(drop), salvage(&from, &to).map(drop)] {
        let failed = failed.unwrap_err();
        assert!(matches!(failed, FilesError::NoJournal(_)), "{failed}");
    }
    std::fs::write(&path, "a text, and not short either ".repeat(4000)).unwrap();
    let found = verify(&from).unwrap();
    assert!(
        found.damaged[0].text.contains("not a database"),
        "{found:?}"
    );
    let nothing = salvage(&from, &to).unwrap_err();
    assert!(matches!(nothing, FilesError::Nothing(_)), "{nothing}");
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other
        .execute_batch("CREATE TABLE other (id); INSERT INTO other VALUES (1)")
        .unwrap();
    drop(other);
    let other = verify(&from).unwrap_err();
    assert!(matches!(other, FilesError::Unknown { .. }), "{other}");
    let nothing = salvage(&from, &to).unwrap_err();
    assert!(matches!(nothing, FilesError::Nothing(_)), "{nothing}");
    assert!(!to.exists() && !folder.path().join("saved.partial").exists());
}

/// An older copy of journal.db is put in its place.
#[tokio::test]
async fn a_loss_that_was_told_is_no_damage() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (from, path) = (data(&folder), data(&folder).join("journal.db"));
    let mut older = Vec::new();
    for numbers in [0..5, 5..8] {
        older = std::fs::read(&path).unwrap_or_default();
        let journal = open_in(&from, &clock);
        for number in numbers {
            new(&journal, numbered(number)).await;
        }
        journal.close().await;
    }
    std::fs::write(&path, older).unwrap();
    let found = verify(&from).unwrap();
    assert_eq!(found.damaged[0].events, Some((6, 8)), "{found:?}");
    for next in [9, 10] {
        let journal = open_in(&from, &clock);
        let found = verify(&from).unwrap();
        assert!(found.is_whole() && found.lost == [(6, 8)], "{found:?}");
        assert_eq!(new(&journal, numbered(u128::from(next))).await, next);
        journal.close().await;
    }
    let database = Connection::open(&path).unwrap();
    let removed = database.execute("DELETE FROM blocks WHERE last = 9", []);
    assert_eq!(removed, Ok(1));
    let found = verify(&from).unwrap();
    assert_eq!(found.damaged[0].events, Some((9, 9)), "{found:?}");
    assert_eq!((found.damaged.len(), found.lost), (1, vec![(6, 8)]));
    let journal = open_in(&from, &clock);
    trim_all(&journal, 9).await;
    journal.close().await;
    let sql = "SELECT count(*) FROM counters WHERE name GLOB 'lost_from_*'";
    assert_eq!(database.query_row(sql, [], |row| row.get(0)), Ok(0));
}

#[tokio::test]
async fn an_open_journal_is_verified_and_not_salvaged() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (from, to) = (data(&folder), folder.path().join("saved"));
    let journal = open_in(&from, &clock);
    for number in 0..10 {
        new(&journal, entry(long(number), number, WINDOW)).await;
    }
    let found = verify(&from).unwrap();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.events, found.newest), (10, 10));
    let open = salvage(&from, &to).unwrap_err();
    assert!(matches!(open, FilesError::InUse(_)), "{open}");
    let inside = salvage(&from, &from.join("saved/deep")).unwrap_err();
    assert!(matches!(inside, FilesError::Inside(_)), "{inside}");
    journal.close().await;
    let taken = salvage(&from, folder.path()).unwrap_err();
    assert!(matches!(taken, FilesError::Occupied(_)), "{taken}");
    assert_eq!(salvage(&from, &to).unwrap().events, 10);
}

/// Without the counters nothing says what retention has removed, and without the first block not even that.
#[tokio::test]
async fn events_of_retention_are_not_told_as_lost() {
    let folder = TestFolder::new();
    let clock = write(&folder).await;
    let path = data(&folder).join("journal.db");
    let database = Connection::open(&path).unwrap();
    database.execute("DELETE FROM counters", []).unwrap();
    drop(database);
    let (there, _) = saved(&folder, "counters", &clock).await;
    assert_eq!(there.len(), 100);
    let database = Connection::open(&path).unwrap();
    let sql = "UPDATE blocks SET sums = x'00' WHERE last = (SELECT min(last) FROM blocks)";
    database.execute(sql, []).unwrap();
    drop(database);
    let (there, said) = saved(&folder, "first", &clock).await;
    // A block has ten bodies at most.
    assert!((90..100).contains(&there.len()), "{said}");
    let copy = Connection::open(folder.path().join("first/journal.db")).unwrap();
    let sql = "SELECT value FROM counters WHERE name = 'trimmed'";
    let trimmed: Seq = copy.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(trimmed, REMOVED);
}

/// Writes bodies one by one, so that each has a row that fits into a page. Returns the numbers.
async fn write_rows(journal: &Sqlite, count: u128) {
    for number in 0..count {
        new(
            journal,
            entry(long(number), numbered(number).parts[0].key.hash, WINDOW),
        )
        .await;
    }
}

/// The pages of tables that have rows, and no other pages below them, by their numbers in the file.
fn leaves(bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let pages = bytes.chunks(PAGE).enumerate();
    pages.filter(|(_, page)| page[0] == 0x0d && page[3..5] != [0, 0])
}

fn holds(page: &[u8], text: &[u8]) -> bool {
    page.windows(text.len()).any(|bytes| bytes == text)
}

/// A page that SQLite no longer uses still has the body, and the row with what is left of it is damaged.
#[tokio::test]
async fn a_deleted_body_does_not_come_back() {
    const DELETED: Seq = 15;
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open_in(&data(&folder), &clock);
    write_rows(&journal, 40).await;
    journal.close().await;
    let path = data(&folder).join("journal.db");
    let body = long(u128::from(DELETED) - 1).body;
    let before = std::fs::read(&path).unwrap();
    let (_, stale) = leaves(&before)
        .find(|(_, page)| holds(page, &body))
        .unwrap();
    let journal = open_in(&data(&folder), &clock);
    assert_eq!(journal.delete(&[DELETED]).await, Ok(1));
    journal.close().await;
    let found = verify(&data(&folder)).unwrap();
    assert!(found.is_whole(), "{found:?}");
    assert_eq!((found.events, found.newest), (39, 40));
    let report = salvage(&data(&folder), &folder.path().join("whole")).unwrap();
    assert!(report.is_complete() && report.events == 39, "{report:?}");
    let database = Connection::open(&path).unwrap();
    let sql = "UPDATE blocks SET sums = x'00' WHERE last = ?";
    assert_eq!(database.execute(sql, [DELETED]), Ok(1));
    drop(database);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes.extend_from_slice(stale);
    std::fs::write(&path, bytes).unwrap();
    let to = folder.path().join("saved");
    let report = salvage(&data(&folder), &to).unwrap();
    assert_eq!(report.events, 39);
    assert_eq!(report.lost, [(DELETED, DELETED)]);
    assert!(!holds(
        &std::fs::read(to.join("journal.db")).unwrap(),
        &body
    ));
}

/// Every second page of the log is garbled. A reader finds what is on the others, as a check does.
#[tokio::test]
async fn rows_between_damaged_pages_are_served() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open_in(&data(&folder), &clock);
    write_rows(&journal, 200).await;
    journal.close().await;
    let path = data(&folder).join("journal.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let log = leaves(&bytes).filter(|(_, page)| holds(page, b"xxxxxxxx"));
    let log: Vec<usize> = log.map(|(page, _)| page).collect();
    assert!(log.len() > 20);
    for page in log.iter().skip(1).step_by(2) {
        bytes[page * PAGE..(page + 1) * PAGE].copy_from_slice(&garbage(PAGE));
    }
    std::fs::write(&path, bytes).unwrap();
    let found = verify(&data(&folder)).unwrap();
    assert!((80..130).contains(&found.events), "{found:?}");
    let journal = open_in(&data(&folder), &clock);
    let mut records = Vec::new();
    while records.len() < 200 {
        let more = journal.read(records.len() as Seq, 50).await.unwrap();
        assert!(!more.is_empty());
        records.extend(more);
    }
    let there = records.iter().filter(|record| !is_missing(record));
    assert_eq!(there.count() as u64, found.events);
}

/// Its lock file was removed, or is another one.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_journal_without_its_lock_file_is_open() {
    let (folder, clock) = (TestFolder::new(), clock());
    let (from, to) = (data(&folder), folder.path().join("saved"));
    let journal = open_in(&from, &clock);
    new(&journal, numbered(1)).await;
    std::fs::remove_file(from.join("lock")).unwrap();
    let open = salvage(&from, &to).unwrap_err();
    assert!(matches!(open, FilesError::InUse(_)), "{open}");
    std::fs::write(from.join("lock"), "").unwrap();
    let open = salvage(&from, &to).unwrap_err();
    assert!(matches!(open, FilesError::InUse(_)), "{open}");
    journal.close().await;
    assert_eq!(salvage(&from, &to).unwrap().events, 1);
}

#[tokio::test]
async fn a_start_waits_for_a_check() {
    let (folder, clock) = (TestFolder::new(), clock());
    let from = data(&folder);
    drop(open_in(&from, &clock));
    let held = super::super::folder::hold(&from).unwrap();
    let check = std::thread::spawn(move || {
        std::thread::park_timeout(Duration::from_millis(100));
        drop(held);
    });
    drop(open_in(&from, &clock));
    check.join().unwrap();
}

/// As after a salvage that could not use the dedup segments.
#[tokio::test]
async fn a_deleted_event_sent_again_stays_a_duplicate() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open_in(&data(&folder), &clock);
    for number in 0..3 {
        new(&journal, numbered(number)).await;
    }
    assert_eq!(journal.delete(&[2]).await, Ok(1));
    journal.close().await;
    // Nothing says of which version the keys are.
    let keys_of = |record: &crate::journal::Record| numbered(u128::from(record.seq) - 1).parts;
    let metrics = JournalMetrics::unrecorded();
    let journal =
        Sqlite::open_with(&data(&folder), metrics, clock.clone(), Some(&keys_of)).unwrap();
    for seq in 1..=3 {
        let again = journal.append(numbered(u128::from(seq) - 1)).await;
        assert_eq!(again, Ok(duplicate(seq)));
    }
}

/// Commits, and removals by retention, between two steps of the reader.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_journal_under_load_is_whole() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open_in(&data(&folder), &clock);
    let ended = std::sync::atomic::AtomicBool::new(false);
    let write = async {
        let mut number = 0;
        while !ended.load(std::sync::atomic::Ordering::SeqCst) {
            let more = (number..number + 50).map(|one| {
                let key = one * 0x9e37_79b9_7f4a_7c15_f39c_c060;
                journal.append(entry(long(one), key, WINDOW))
            });
            let newest = futures_util::future::join_all(more).await;
            assert!(newest.iter().all(Result::is_ok));
            number += 50;
            if number > 500 {
                trim_all(&journal, u64::try_from(number).unwrap() - 500).await;
            }
        }
    };
    let check = async {
        for _ in 0..20 {
            let from = data(&folder);
            let found = tokio::task::spawn_blocking(move || verify(&from))
                .await
                .unwrap();
            let found = found.unwrap();
            assert!(found.is_whole(), "{found:?}");
        }
        ended.store(true, std::sync::atomic::Ordering::SeqCst);
    };
    futures_util::future::join(write, check).await;
}
