//! A model of the window, with every moment at which a segment can be finished.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::journal::{Part, TestFolder};
use std::time::Duration;

const TUNING: DedupTuning = DedupTuning {
    segment_length: 4,
    segments_per_filter: 2,
};

#[derive(Debug, Clone)]
enum Step {
    /// A batch of appends: keys and the lengths of their windows. A batch that fails is undone.
    Batch {
        events: Vec<(u8, i64)>,
        fails: bool,
    },
    Wait(i64),
    Reopen,
    /// Retention removes the oldest events.
    Trim(prop::sample::Index),
    /// The segment that a thread writes is finished, and the window gets to know it.
    Finish,
    /// The process is killed while a thread writes a segment, or just after that.
    Kill {
        written: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let window = prop_oneof![Just(0), 1..30i64, Just(1000)];
    let events = vec((0..12u8, window), 1..6);
    prop_oneof![
        6 => (events, prop::bool::weighted(0.2))
            .prop_map(|(events, fails)| Step::Batch { events, fails }),
        3 => (0..40i64).prop_map(Step::Wait),
        1 => Just(Step::Reopen),
        1 => any::<prop::sample::Index>().prop_map(Step::Trim),
        2 => Just(Step::Finish),
        1 => any::<bool>().prop_map(|written| Step::Kill { written }),
    ]
}

/// The window as the journal's thread uses it, and a list of every event.
struct World {
    folder: TestFolder,
    entries: DedupWindow,
    log: Vec<DedupEntry>,
    /// Events up to this one are no longer in the log.
    trimmed: Seq,
    now: i64,
}

impl World {
    fn new() -> Self {
        let folder = TestFolder::new();
        let mut entries = DedupWindow::open(folder.path(), 0, 0, TUNING).unwrap();
        entries.is_slow = true;
        Self {
            entries,
            folder,
            log: Vec::new(),
            trimmed: 0,
            now: 0,
        }
    }

    fn head(&self) -> Seq {
        self.log.last().map_or(0, |entry| entry.position.seq())
    }

    /// Returns the right answer, from the list alone.
    fn expected(&self, hash: KeyHash) -> Option<Position> {
        let newest = self.log.iter().rfind(|entry| entry.hash == hash)?;
        (newest.until > self.now).then_some(newest.position)
    }

    fn original(&self, hash: KeyHash) -> Option<Position> {
        // At least half of the longest window here, so that every open window counts.
        let window = Duration::from_secs(1);
        self.entries
            .original(
                DedupKey {
                    hash,
                    window,
                    state: None,
                    named: false,
                },
                self.now,
            )
            .unwrap()
    }

    fn check(&self) {
        for number in 0..13 {
            let original = self.original(key(number));
            assert_eq!(original, self.expected(key(number)), "key {number}");
        }
        let entries = &self.entries;
        let recent = entries.recent.entries.len();
        assert!(recent < TUNING.segment_length || entries.job.is_some());
    }

    fn batch(&mut self, events: &[(u8, i64)], fails: bool) {
        let before = self.log.clone();
        let mut body = self.head();
        // Two events make a body.
        for (index, (number, window)) in events.iter().enumerate() {
            if index % 2 == 0 {
                body = self.head() + 1;
            }
            let key = key(*number);
            let original = self.original(key);
            assert_eq!(original, self.expected(key), "key {number}");
            if original.is_none() {
                let entry = DedupEntry {
                    hash: key,
                    position: Position::new(body, index as Part % 2 + 1),
                    until: self.now + window,
                };
                self.entries.add(entry);
                self.log.push(entry);
            }
        }
        if fails {
            self.log = before;
            self.entries.take_back_after(self.head());
        } else {
            self.entries.tidy(self.now).unwrap();
        }
    }

    /// Lets a thread that writes a segment finish it, and the window get to know it.
    fn finish(&mut self) {
        self.entries.is_slow = false;
        self.entries.tidy_and_wait(self.now).unwrap();
        self.entries.is_slow = true;
        self.entries.tidy(self.now).unwrap();
    }

    /// Removes events as retention does. Returns whether the window allowed it.
    fn trim(&mut self, up_to: Seq) -> bool {
        let allowed = self.entries.outlive(up_to, self.now).is_none();
        if allowed {
            self.trimmed = self.trimmed.max(up_to);
        }
        allowed
    }

    /// Ends the process while a thread writes a segment: just before it has its name, or after.
    fn kill(&mut self, written: bool) {
        let Some(job) = &mut self.entries.job else {
            return;
        };
        job.wait();
        let oldest = self.entries.older.as_ref().unwrap();
        let last = oldest.entries.last().unwrap().position.seq();
        let path = self.folder.path().join(format!("{last}.dedup"));
        if !written {
            std::fs::rename(&path, path.with_extension("unfinished")).unwrap();
        }
    }

    fn reopen(&mut self) {
        if let Some(job) = &mut self.entries.job {
            job.wait();
        }
        self.entries =
            DedupWindow::open(self.folder.path(), self.head(), self.now, TUNING).unwrap();
        let sealed = self.entries.sealed_up_to().max(self.trimmed);
        for entry in { self.log.iter() }.filter(|entry| entry.position.seq() > sealed) {
            if entry.until > self.now {
                self.entries.restore(*entry, self.now).unwrap();
            }
        }
        self.entries.is_slow = true;
        self.entries.tidy(self.now).unwrap();
    }

    fn files(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.path()).unwrap();
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }
}

/// Spreads numbers like a hash.
fn key(number: u8) -> KeyHash {
    (KeyHash::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_inside_the_window_are_right(steps in vec(step(), 1..60)) {
        let mut world = World::new();
        for step in steps {
            match step {
                Step::Batch { events, fails } => world.batch(&events, fails),
                Step::Wait(time) => world.now += time,
                Step::Reopen => world.reopen(),
                Step::Trim(index) => {
                    world.trim(index.index(world.head() as usize + 1) as Seq);
                }
                Step::Finish => world.finish(),
                Step::Kill { written } => {
                    world.kill(written);
                    world.reopen();
                    if let Some(job) = &mut world.entries.job {
                        job.wait();
                    }
                    prop_assert!(world.files().iter().all(|name| name.ends_with(".dedup")));
                }
            }
            world.check();
        }
    }
}

#[test]
fn a_segment_is_deleted_after_its_last_window() {
    let mut world = World::new();
    world.batch(&[(0, 10), (1, 10), (2, 50), (3, 10)], false);
    world.finish();
    assert_eq!(world.files(), ["2.dedup".to_owned()].into());
    world.now = 49;
    world.reopen();
    world.check();
    assert_eq!(world.files(), ["2.dedup".to_owned()].into());
    world.now = 50;
    world.reopen();
    world.check();
    assert_eq!(world.files(), BTreeSet::new());
    // And without a restart, when the next segment is written.
    world.batch(&[(0, 10), (1, 10), (2, 10), (3, 10)], false);
    world.finish();
    assert_eq!(world.files(), ["4.dedup".to_owned()].into());
    world.now = 99;
    world.batch(&[(8, 9), (9, 9), (10, 9), (11, 9)], false);
    world.finish();
    assert_eq!(world.files(), ["6.dedup".to_owned()].into());
    world.check();
}

#[test]
fn an_undeletable_segment_affects_no_other() {
    let mut world = World::new();
    world.batch(&[(0, 10), (1, 10), (2, 10), (3, 10)], false);
    world.finish();
    world.batch(&[(4, 99), (5, 99), (6, 99), (7, 99)], false);
    world.finish();
    assert_eq!(world.files().len(), 2);
    // A folder cannot be deleted as a file.
    let first = world.folder.path().join("2.dedup");
    std::fs::remove_file(&first).unwrap();
    std::fs::create_dir(&first).unwrap();
    world.now = 10;
    world.batch(&[(8, 99), (9, 99), (10, 99), (11, 99)], false);
    world.finish();
    world.check();
    assert_eq!(world.files().len(), 3);
    // The file may be gone for any reason.
    std::fs::remove_dir(&first).unwrap();
    std::fs::write(&first, "").unwrap();
    world.batch(&[(0, 99), (1, 99), (2, 99), (3, 99)], false);
    world.finish();
    assert_eq!(world.files().len(), 3);
    assert!(!first.exists());
    world.check();
}

#[test]
fn a_segment_in_the_making_stops_a_trim() {
    let mut world = World::new();
    world.batch(&[(0, 10), (1, 99), (2, 99), (3, 99)], false);
    assert!(!world.trim(1));
    // The file is there, but the window does not know it yet.
    world.entries.job.as_mut().unwrap().wait();
    assert!(!world.trim(2));
    world.finish();
    assert!(world.trim(2));
    // Of windows that have ended nothing needs to stay.
    world.batch(&[(4, 5), (5, 5)], false);
    assert!(!world.trim(3));
    world.finish();
    world.batch(&[(6, 5), (7, 5)], false);
    world.now = 5;
    assert!(world.trim(4));
    assert!(world.entries.job.is_none());
    world.reopen();
    world.check();
}

#[test]
fn a_new_entry_outlives_an_expired_one() {
    let mut world = World::new();
    world.batch(&[(0, 5), (1, 100), (2, 100), (3, 100)], false);
    world.now = 5;
    world.batch(&[(0, 100)], false);
    world.check();
    // The older entry is sealed and the newer one is in memory; then both are sealed.
    for number in 4..8 {
        world.batch(&[(number, 100)], false);
        world.check();
    }
    world.finish();
    world.check();
    world.reopen();
    world.check();
    assert_eq!(world.expected(key(0)), Some(Position::first(3)));
}

#[test]
fn an_undone_entry_makes_no_duplicate() {
    let mut world = World::new();
    world.batch(&[(0, 100), (1, 100)], false);
    world.batch(&[(2, 100), (0, 100), (3, 100)], true);
    world.check();
    assert_eq!(world.original(key(0)), Some(Position::first(1)));
    assert_eq!(world.original(key(2)), None);
}

#[test]
fn segments_past_the_log_are_deleted() {
    let mut world = World::new();
    world.batch(&[(0, 99), (1, 99), (2, 99), (3, 99)], false);
    world.finish();
    world.log.truncate(2);
    world.reopen();
    world.check();
    assert_eq!(world.files(), BTreeSet::new());
}

#[test]
fn a_failed_seal_keeps_the_entries() {
    let mut world = World::new();
    let folder = world.folder.path().to_owned();
    std::fs::remove_dir(&folder).unwrap();
    std::fs::write(&folder, "no folder").unwrap();
    world.entries.is_slow = false;
    // The distance of two tries with a segment of 64 entries; the segments here have 4.
    world.entries.tuning.segment_length = 64;
    let mut failed = 0;
    for number in 0..128 {
        let entry = DedupEntry {
            hash: key(number),
            position: Position::first(Seq::from(number) + 1),
            until: 100,
        };
        world.entries.add(entry);
        world.log.push(entry);
        failed += usize::from(world.entries.tidy_and_wait(0).is_err());
    }
    // At the 64th, the 72nd, the 80th …
    assert_eq!(failed, 9);
    for number in 0..128 {
        let position = Position::first(Seq::from(number) + 1);
        assert_eq!(world.original(key(number)), Some(position));
    }
    let ended = world.entries.outlive(1, 0).unwrap();
    world.entries.job.as_mut().unwrap().wait();
    assert!(ended.borrow().is_some());
    std::fs::remove_file(&folder).unwrap();
    std::fs::create_dir(&folder).unwrap();
    assert!(world.entries.outlive(1, 0).is_some());
    world.entries.tidy_and_wait(0).unwrap();
    assert_eq!(world.files(), ["64.dedup".to_owned()].into());
    assert!(world.entries.outlive(64, 0).is_none());
}

#[test]
fn a_file_of_somebody_else_is_left_alone() {
    let mut world = World::new();
    std::fs::write(world.folder.path().join("notes.txt"), "mine").unwrap();
    world.reopen();
    assert_eq!(world.files(), ["notes.txt".to_owned()].into());
}
