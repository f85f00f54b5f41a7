//! What is damaged on the disk is reported and never handed on; everything else is still served.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;
use crate::journal::contract::change;
use crate::journal::sqlite::files::HeadFile;
use crate::journal::{
    DeadLetters as _, Desks as _, Documents as _, Entry, Log, Missing, ProgressChange, Record,
};
use crate::telemetry::Metrics;

/// The text of the body with this number: some are longer than a page.
fn text(number: u64) -> String {
    let length = if number.is_multiple_of(17) {
        40_000
    } else {
        300
    };
    format!("body {number} {}", "x".repeat(length))
}

fn long_entry(number: u64) -> Entry {
    let mut received = body(&text(number));
    received.id = Uuid::from_u128(number.into());
    entry(received, hash(number), WINDOW)
}

fn hash(number: u64) -> u128 {
    numbered(number.into()).parts[0].key.hash
}

/// Appends these bodies together, so that they share blocks.
async fn append(journal: &dyn Journal, numbers: std::ops::RangeInclusive<u64>) {
    let appends = numbers.map(|number| journal.append(long_entry(number)));
    for appended in futures_util::future::join_all(appends).await {
        assert!(matches!(appended, Ok(Appended::New { .. })), "{appended:?}");
    }
}

async fn all(journal: &dyn Log) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let after = records.last().map_or(0, |record| record.seq);
        let more = journal.read(after, 37).await.unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

/// The numbers that are damaged. The others must have their bytes.
fn damaged(records: &[Record]) -> Vec<Seq> {
    let mut damaged = Vec::new();
    for (record, seq) in records.iter().zip(records[0].seq..) {
        assert_eq!(record.seq, seq, "no number is left out");
        if record.missing == Some(Missing::Damaged) {
            assert!(record.received.body.is_empty());
            damaged.push(seq);
        } else {
            assert!(record.received.body == text(seq), "event {seq} was altered");
        }
    }
    damaged
}

fn open_counted(folder: &Path, clock: &Arc<FakeClock>) -> (Result<Sqlite, OpenError>, Counted) {
    let metrics = Metrics::new().journal();
    let counted = Counted(metrics.damaged.clone());
    (Sqlite::open(folder, metrics, clock.clone()), counted)
}

struct Counted(prometheus_client::metrics::counter::Counter);

impl Counted {
    fn get(&self) -> u64 {
        self.0.get()
    }
}

fn alter(path: &Path, from: &[u8], to: &[u8]) {
    let mut bytes = std::fs::read(path).unwrap();
    let at = bytes.windows(from.len()).position(|window| window == from);
    let at = at.expect("it stands in the file");
    bytes[at..at + to.len()].copy_from_slice(to);
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn an_altered_body_costs_one_event() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    append(&*journal, 1..=100).await;
    journal.close().await;
    drop(journal);
    let path = folder.path().join("journal.db");
    alter(&path, b"body 42 x", b"BODY 42 x");
    let (journal, counted) = open_counted(folder.path(), &clock);
    let journal = journal.unwrap();
    for _ in 0..2 {
        let records = all(&journal).await;
        assert_eq!((records.len(), damaged(&records)), (100, vec![42]));
        assert_eq!(counted.get(), 1, "it is counted once");
    }
    // Its key is whole, so it is known when it comes again.
    assert_eq!(journal.append(long_entry(42)).await, Ok(duplicate(42)));
    assert_eq!(
        journal.append(long_entry(101)).await,
        Ok(Appended::new(101))
    );
}

/// A row that is missing, or whose numbers are not to be trusted, costs its own events.
#[tokio::test]
async fn the_rows_around_a_lost_row_are_served() {
    let damages = [
        "DELETE FROM blocks WHERE last = 30",
        "UPDATE blocks SET first = first + 1 WHERE last = 30",
        "UPDATE blocks SET kept_at = kept_at + 1 WHERE last = 30",
        "UPDATE blocks SET last = 1 << 40 WHERE last = 30",
        "UPDATE blocks SET sums = x'' WHERE last = 30",
        "UPDATE blocks SET format = 9 WHERE last = 30",
    ];
    for damage in damages {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        for first in [1, 11, 21, 31, 41] {
            append(&*journal, first..=first + 9).await;
        }
        drop(journal);
        let first = "SELECT first FROM blocks WHERE last = 30";
        let first: Seq = database(folder.path())
            .query_row(first, [], |row| row.get(0))
            .unwrap();
        database(folder.path()).execute_batch(damage).unwrap();
        let (journal, counted) = open_counted(folder.path(), &clock);
        let journal = journal.unwrap();
        let records = all(&journal).await;
        let lost: Vec<Seq> = (first..=30).collect();
        let count = lost.len() as u64;
        assert_eq!((records.len(), damaged(&records)), (50, lost), "{damage}");
        assert_eq!(counted.get(), count, "{damage}");
        // A consumer that begins anywhere sees the same.
        assert_eq!(seqs(&journal, 24, 3).await, [25, 26, 27]);
        assert_eq!(new(&journal, long_entry(51)).await, 51);
        assert_eq!(trim_all(&journal, 35).await, 35, "{damage}");
        assert_eq!(all(&journal).await[0].seq, 36);
    }
}

/// SQLite finds garbled pages itself, when it reads them.
#[tokio::test]
async fn the_pages_around_garbled_ones_are_served() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for first in (1..=600).step_by(20) {
        append(&*journal, first..=first + 19).await;
    }
    drop(journal);
    let path = folder.path().join("journal.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40_000].copy_from_slice(&garbage(40_000));
    std::fs::write(&path, bytes).unwrap();
    let (journal, counted) = open_counted(folder.path(), &clock);
    let journal = journal.unwrap();
    let records = all(&journal).await;
    let damaged = damaged(&records);
    assert_eq!(records.len(), 600);
    assert!((1..400).contains(&damaged.len()), "{damaged:?}");
    assert_eq!(counted.get(), damaged.len() as u64);
    assert_eq!(new(&journal, long_entry(601)).await, 601);
}

/// A trim up to the end of a block reads no block behind the next one.
#[tokio::test]
async fn a_trim_reads_only_what_it_removes() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for first in (1..=600).step_by(20) {
        append(&*journal, first..=first + 19).await;
    }
    drop(journal);
    let sql = "SELECT last FROM blocks ORDER BY last LIMIT 1 OFFSET 3";
    let end: Seq = database(folder.path())
        .query_row(sql, [], |row| row.get(0))
        .unwrap();
    let path = folder.path().join("journal.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 40_000].copy_from_slice(&garbage(40_000));
    std::fs::write(&path, bytes).unwrap();
    let journal = open(&folder, &clock);
    assert_eq!(trim_all(&*journal, end).await, end as usize);
    assert_eq!(seqs(&*journal, 0, 1).await, [end + 1]);
}

#[tokio::test]
async fn a_deletion_goes_on_behind_damage() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    for first in [1, 11, 21] {
        append(&*journal, first..=first + 9).await;
    }
    drop(journal);
    let damage =
        "UPDATE blocks SET sums = x'' WHERE last = (SELECT min(last) FROM blocks WHERE last >= 15)";
    database(folder.path()).execute_batch(damage).unwrap();
    let journal = open(&folder, &clock);
    let failed = journal.delete(&[5, 15, 25]).await.unwrap_err();
    assert!(failed.to_string().contains("body 15"), "{failed}");
    let records = all(&*journal).await;
    let deleted = { records.iter() }.filter(|one| matches!(one.missing, Some(Missing::Deleted(_))));
    assert_eq!(deleted.map(|one| one.seq).collect::<Vec<_>>(), [5, 25]);
    let deletions = journal.deletions(0, 10).await.unwrap();
    let deleted = deletions
        .iter()
        .map(|deletion| (deletion.number, deletion.seq));
    assert_eq!(deleted.collect::<Vec<_>>(), [(1, 5), (2, 25)]);
    assert!(journal.is_ready());
}

/// The index follows the deletions by their numbers.
#[tokio::test]
async fn a_lost_counter_takes_no_number_of_a_deletion_back() {
    let (folder, clock) = (TestFolder::new(), clock());
    let journal = open(&folder, &clock);
    append(&*journal, 1..=9).await;
    assert_eq!(journal.delete(&[1, 2, 3]).await, Ok(3));
    assert_eq!(trim_all(&*journal, 5).await, 5);
    journal.close().await;
    drop(journal);
    let damage = "UPDATE counters SET sum = sum + 1 WHERE name = 'deletions'";
    database(folder.path()).execute_batch(damage).unwrap();
    let journal = open(&folder, &clock);
    assert_eq!(journal.delete(&[7]).await, Ok(1));
    let new = journal.deletions(3, 10).await.unwrap();
    assert_eq!(new.len(), 1, "{new:?}");
}

/// As a power cut leaves the last commit, of which one page has not reached the disk: then no file beside the log
/// knows of its events either.
#[tokio::test]
async fn an_unfinished_commit_is_no_lost_event() {
    for is_known in [false, true] {
        let (folder, clock) = (TestFolder::new(), clock());
        let live = folder.path().join("live");
        let journal = Sqlite::open(&live, JournalMetrics::unrecorded(), clock.clone()).unwrap();
        append(&journal, 1..=5).await;
        let before = std::fs::metadata(live.join("journal.db-wal"))
            .unwrap()
            .len();
        // Longer than a page.
        append(&journal, 17..=17).await;
        let killed = folder.path().join("killed");
        copy(&live, &killed);
        drop(journal);
        let wal = killed.join("journal.db-wal");
        let mut bytes = std::fs::read(&wal).unwrap();
        bytes[before as usize + 100] ^= 1;
        std::fs::write(&wal, bytes).unwrap();
        let mut head = HeadFile::open(&killed).unwrap();
        head.note(if is_known { 6 } else { 5 });
        for next in [7, 8] {
            let (journal, counted) = open_counted(&killed, &clock);
            let journal = journal.unwrap();
            assert_eq!(
                journal.read(5, 1).await.unwrap()[0].missing,
                Some(Missing::Damaged)
            );
            assert_eq!(counted.get(), u64::from(is_known), "{is_known}, {next}");
            assert_eq!(new(&journal, long_entry(100 + next)).await, next);
        }
    }
}

/// Zeros the first page of a table or an index in the file.
fn damage_root(folder: &Path, name: &str) {
    let sql = "SELECT rootpage, page_size FROM sqlite_schema, pragma_page_size WHERE name = ?";
    let found = database(folder).query_row(sql, [name], |row| Ok((row.get(0)?, row.get(1)?)));
    let (root, page): (usize, usize) = found.unwrap();
    let path = folder.join("journal.db");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[(root - 1) * page..][..page].fill(0);
    std::fs::write(&path, bytes).unwrap();
}

#[tokio::test]
async fn damage_beside_the_log_stops_no_event() {
    for name in ["deletions", "dead_letters_by_position", "documents"] {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        append(&*journal, 1..=3).await;
        journal.close().await;
        drop(journal);
        let journal = open(&folder, &clock);
        // Connections read pages again after another one has written.
        let other = "INSERT INTO counters VALUES ('other', 1, 0)";
        database(folder.path()).execute_batch(other).unwrap();
        damage_root(folder.path(), name);
        let desk = journal.desk(0).await.unwrap();
        let save = desk.save(change("a", b"saved", vec![letter(1, "failed")]));
        let put = journal.put_document(
            "key",
            Some(b"1".to_vec()),
            crate::journal::Expected::Anything,
        );
        let append = journal.append(long_entry(4));
        let (saved, put, appended) = futures_util::future::join3(save, put, append).await;
        assert_eq!(appended, Ok(Appended::new(4)), "{name}");
        assert_eq!(saved.is_err(), name != "documents", "{name}: {saved:?}");
        assert_eq!(put.is_err(), name == "documents", "{name}: {put:?}");
        if name == "deletions" {
            assert!(journal.trim(1).await.is_err());
            assert!(journal.delete(&[2]).await.is_err());
            assert_eq!(journal.append(long_entry(5)).await, Ok(Appended::new(5)));
        }
        assert!(journal.is_ready(), "{name}");
        journal.close().await;
        drop((desk, journal));
        let opened = try_open(&folder, &clock);
        assert!(
            matches!(opened, Err(OpenError::Damaged(_))),
            "{name}: {opened:?}"
        );
    }
}

/// A damaged name may be that of any consumer that is started, until each has a head again.
#[tokio::test]
async fn a_lost_head_is_replaced_once() {
    for damage in [
        "UPDATE consumers SET name = 'handler:x' WHERE name = 'handler:a'",
        "UPDATE consumers SET name = CAST(x'68ff' AS TEXT) WHERE name = 'handler:a'",
        "UPDATE consumers SET saved = x'00' WHERE name = 'handler:a'",
    ] {
        let (folder, clock) = (TestFolder::new(), clock());
        let journal = open(&folder, &clock);
        append(&*journal, 1..=3).await;
        let desk = journal.desk(0).await.unwrap();
        save(desk.as_ref(), "handler:a", b"saved", vec![]).await;
        save(desk.as_ref(), "handler:b", b"saved", vec![]).await;
        drop((desk, journal));
        database(folder.path()).execute_batch(damage).unwrap();
        let journal = open(&folder, &clock);
        let desk = journal.desk(0).await.unwrap();
        // What is registered meanwhile starts from now.
        journal.introduce("relay:new", b"now").await.unwrap();
        for (consumer, head) in [
            ("handler:a", ""),
            ("handler:b", "saved"),
            ("relay:new", "now"),
        ] {
            let saved = desk.saved(consumer).await;
            assert_eq!(saved, Ok(Some(only_head(head))), "{damage}: {consumer}");
        }
        journal.close().await;
        drop((desk, journal));
        let journal = open(&folder, &clock);
        let desk = journal.desk(0).await.unwrap();
        assert_eq!(desk.saved("handler:a").await, Ok(Some(only_head(""))));
        assert_eq!(desk.saved("handler:later").await, Ok(None), "{damage}");
    }
}

/// What a journal holds that is then damaged.
struct Journals {
    clock: Arc<FakeClock>,
    folder: TestFolder,
}

const EVENTS: u64 = 300;
const TRIMMED: u64 = 40;

impl Journals {
    async fn new() -> Self {
        let (folder, clock) = (TestFolder::new(), clock());
        let live = folder.path().join("live");
        let journal = Sqlite::open(&live, JournalMetrics::unrecorded(), clock.clone()).unwrap();
        for first in (1..=EVENTS / 2).step_by(10) {
            append(&journal, first..=first + 9).await;
        }
        trim_all(&journal, TRIMMED).await;
        put(&journal, "subscription/*/crm", Some(b"https://crm.example")).await;
        put(
            &journal,
            "subscription/*/second",
            Some(b"https://second.example"),
        )
        .await;
        let desk = journal.desk(0).await.unwrap();
        for (consumer, saves) in [("handler:a", 3), ("handler:b", 9)] {
            for number in 0..saves {
                let rows = (0..20).map(|row: u8| (vec![b's', row], Some(vec![row; 30])));
                let dead = vec![letter(TRIMMED + 1 + number, "failed")];
                let change = ProgressChange {
                    rows: rows.collect(),
                    ..change(consumer, format!("{consumer} {number}").as_bytes(), dead)
                };
                desk.save(change).await.unwrap();
            }
        }
        journal.close().await;
        drop((desk, journal));
        copy(&live, &folder.path().join("stopped"));
        let journal = Sqlite::open(&live, JournalMetrics::unrecorded(), clock.clone()).unwrap();
        for first in (EVENTS / 2 + 1..=EVENTS).step_by(10) {
            append(&journal, first..=first + 9).await;
        }
        let desk = journal.desk(0).await.unwrap();
        save(desk.as_ref(), "handler:a", b"handler:a 9", vec![]).await;
        // As SIGKILL leaves it.
        copy(&live, &folder.path().join("killed"));
        Self { clock, folder }
    }

    /// Damages a copy, and opens it twice.
    async fn try_one(&self, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let is_killed = random.bool();
        let from = if is_killed { "killed" } else { "stopped" };
        let events = if is_killed { EVENTS } else { EVENTS / 2 };
        let tried = self.folder.path().join("tried");
        let _ = std::fs::remove_dir_all(&tried);
        copy(&self.folder.path().join(from), &tried);
        let (path, what) = damage(&tried, &mut random);
        let case = format!("seed {seed}: {from}, {what} in {}", path.display());
        let is_head = path.file_name().is_some_and(|name| name == "head");
        let mut next = events + 1;
        for time in 1..=2 {
            let before = std::fs::read(tried.join("journal.db")).unwrap();
            let (opened, counted) = open_counted(&tried, &self.clock);
            let journal = match opened {
                Ok(journal) => journal,
                Err(error) => {
                    assert!(error.to_string().len() > 30, "{case}: {error}");
                    let after = std::fs::read(tried.join("journal.db")).unwrap();
                    assert!(after == before, "{case}: refused, and changed: {error}");
                    continue;
                }
            };
            let head = journal.tail().head();
            assert!(
                is_head || head >= next - 1,
                "{case}, time {time}: ends with {head}"
            );
            let case = format!("{case}, time {time}");
            next = self.check(&journal, head, &counted, &case).await;
            journal.close().await;
            if next > head + 1 {
                // From now on there are other bodies under known numbers.
                return;
            }
        }
    }

    /// Everything that is served must be what was written. Returns the next number.
    async fn check(&self, journal: &Sqlite, head: Seq, counted: &Counted, case: &str) -> Seq {
        let first = journal.read(0, 1).await.unwrap();
        assert_eq!(first[0].seq, TRIMMED + 1, "{case}");
        let records = all(journal).await;
        let lost = damaged(&records).len() as u64;
        assert_eq!(records.len() as u64, head - TRIMMED, "{case}");
        assert_eq!(
            counted.get(),
            lost,
            "{case}: all that is damaged is counted"
        );
        for document in journal.documents("").await.unwrap_or_default() {
            let url = &document.value[..];
            let expected: &[u8] = match &document.key[..] {
                "subscription/*/crm" => b"https://crm.example",
                "subscription/*/second" => b"https://second.example",
                other => panic!("{case}: {other}"),
            };
            assert_eq!(url, expected, "{case}");
        }
        let desk = journal.desk(0).await.unwrap();
        for consumer in ["handler:a", "handler:b"] {
            let Ok(saved) = desk.saved(consumer).await else {
                continue;
            };
            let saved = saved.unwrap_or_else(|| panic!("{case}: {consumer} would begin from now"));
            let head = String::from_utf8(saved.head).unwrap();
            let number = head.strip_prefix(consumer).map(str::trim);
            let is_known = number.is_none_or(|number| number.parse::<u8>().is_ok());
            assert!(
                is_known && (number.is_some() || head.is_empty()),
                "{case}: {head}"
            );
            for (key, value) in saved.rows {
                assert_eq!((key[0], &value[..]), (b's', &[key[1]; 30][..]), "{case}");
            }
        }
        for (_, letter) in journal
            .dead_letters(None, None, 100)
            .await
            .unwrap_or_default()
        {
            assert_eq!(&letter.reason, "failed", "{case}");
        }
        // Never a wrong answer: an event is new, or a duplicate of the one that it is.
        let mut next = head + 1;
        for number in [TRIMMED - 3, TRIMMED + 2, 100, 140] {
            match journal.append(long_entry(number)).await {
                Ok(Appended::Duplicate(of)) => {
                    assert_eq!(of, [Position::first(number)], "{case}");
                }
                Ok(Appended::New { seq, .. }) => {
                    assert_eq!(seq, next, "{case}");
                    next += 1;
                }
                Err(_) => break,
            }
        }
        next
    }
}

/// Damages one of the files.
fn damage(folder: &Path, random: &mut fastrand::Rng) -> (PathBuf, String) {
    let mut files = BTreeMap::new();
    for name in ["journal.db", "journal.db-wal", "head"] {
        files.insert(
            folder.join(name),
            std::fs::read(folder.join(name)).unwrap_or_default(),
        );
    }
    for file in std::fs::read_dir(folder.join("claims")).unwrap() {
        let path = file.unwrap().path();
        files.insert(path.clone(), std::fs::read(path).unwrap());
    }
    files.retain(|_, bytes| !bytes.is_empty());
    let files: Vec<_> = files.into_iter().collect();
    // The database is by far the largest, and has the most kinds of content.
    let index = if random.bool() {
        0
    } else {
        random.usize(..files.len())
    };
    let index = match index {
        0 => files
            .iter()
            .position(|(path, _)| path.ends_with("journal.db"))
            .unwrap(),
        other => other,
    };
    let (path, mut bytes) = files[index].clone();
    let at = random.usize(..bytes.len());
    let what = match random.u8(..8) {
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            let end = bytes.len().min(at + 4096);
            bytes[at..end].fill(0);
            format!("zeros at {at}")
        }
        2 => {
            // Headers of pages, where structure is.
            let at = at / 16_384 * 16_384 + random.usize(..110).min(bytes.len() - 1);
            let at = at.min(bytes.len() - 1);
            bytes[at] ^= 1 << random.u8(..8);
            format!("a bit at {at}")
        }
        _ => {
            bytes[at] ^= 1 << random.u8(..8);
            format!("a bit at {at}")
        }
    };
    std::fs::write(&path, bytes).unwrap();
    (path, what)
}

/// Copies a folder of files and folders of files.
pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let path = file.unwrap().path();
        let name = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &name);
        } else {
            std::fs::copy(&path, name).unwrap();
        }
    }
}

/// `OFFHOOK_FLIPS=1000` tries more.
#[tokio::test]
async fn any_damage_is_reported_or_harmless() {
    let journals = Journals::new().await;
    let flips = std::env::var("OFFHOOK_FLIPS").ok();
    let flips: u64 = flips.map_or(60, |flips| flips.parse().unwrap());
    for seed in 0..flips {
        journals.try_one(seed).await;
    }
}
