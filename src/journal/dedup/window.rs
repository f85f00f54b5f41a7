//! [`DedupWindow`]: the entries of all windows. The newest are in memory ([`Recent`]), the others in
//! segments.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use hashbrown::HashTable;

use super::sealed::Sealed;
use super::segment::DedupEntry;
use super::tuning::DedupTuning;
use crate::journal::{DedupKey, KeyHash, Position, Seq};

#[derive(Debug)]
pub(crate) struct DedupWindow {
    recent: Recent,
    sealed: Sealed,
    tuning: DedupTuning,
    /// Once so many entries are in memory, the oldest are sealed.
    seal_at: usize,
}

impl DedupWindow {
    /// Opens the segments in `folder`. Deletes those whose windows have all ended and those past
    /// `head`, the log's newest body.
    pub(crate) fn open(
        folder: &Path,
        head: Seq,
        now: i64,
        tuning: DedupTuning,
    ) -> io::Result<Self> {
        let mut sealed = Sealed::open(folder, head, tuning)?;
        sealed.expire(now)?;
        Ok(Self {
            recent: Recent::default(),
            sealed,
            seal_at: tuning.seal_at(),
            tuning,
        })
    }

    /// Returns the newest body whose entries are in segments. The caller adds later entries from
    /// the log.
    pub(crate) fn sealed_up_to(&self) -> Seq {
        self.sealed.last_seq().unwrap_or(0)
    }

    /// Returns the event that makes an event with this key a duplicate at `now`.
    pub(crate) fn original(&self, key: DedupKey, now: i64) -> io::Result<Option<Position>> {
        let newest = match self.recent.newest(key.hash) {
            None => self.sealed.newest(key.hash)?,
            recent => recent,
        };
        let original = newest.filter(|entry| key.holds_until(entry.until, now));
        Ok(original.map(|entry| entry.position))
    }

    /// Adds an entry, which becomes the newest.
    pub(crate) fn add(&mut self, entry: DedupEntry) {
        self.recent.push(entry);
    }

    /// Removes the entries of bodies after `seq`, because their append failed.
    pub(crate) fn take_back_after(&mut self, seq: Seq) {
        self.recent.take_back_after(seq);
    }

    /// Seals the oldest entries into a segment if too many are in memory: one sequential write. After
    /// an error they stay in memory, and the next try is made when there are an eighth of a segment
    /// more.
    pub(crate) fn tidy(&mut self, now: i64) -> io::Result<()> {
        if self.recent.order.len() < self.seal_at {
            return Ok(());
        }
        // A try costs as much as a segment, so it is not made for each batch.
        self.seal_at = self.recent.order.len() + self.tuning.eighth();
        self.sealed.expire(now)?;
        self.seal_oldest()?;
        self.seal_at = self.tuning.seal_at();
        Ok(())
    }

    /// Seals the entries of bodies up to `seq`, which leave the log: after a restart the entries in
    /// memory can only be read from the log. After an error the bodies must stay there.
    pub(crate) fn outlive(&mut self, seq: Seq, now: i64) -> io::Result<()> {
        let leaving = |entry: &&DedupEntry| entry.position.seq() <= seq;
        let is_open = |entry: &DedupEntry| entry.until > now;
        while { self.recent.order.iter() }
            .take_while(leaving)
            .any(is_open)
        {
            self.seal_oldest()?;
        }
        Ok(())
    }

    /// The number of a body tells which entries are sealed, so the entries of one body stay together.
    fn seal_oldest(&mut self) -> io::Result<()> {
        let mut entries = self.recent.order.iter();
        let first = entries.by_ref().take(self.tuning.segment_length);
        let mut oldest: Vec<DedupEntry> = first.copied().collect();
        if let Some(last) = oldest.last().map(|entry| entry.position.seq()) {
            oldest.extend(entries.take_while(|entry| entry.position.seq() == last));
        }
        let count = oldest.len();
        self.sealed.seal(oldest)?;
        self.recent.forget_oldest(count);
        Ok(())
    }
}

/// The newest entries: 32 bytes each, and 5 or more for the map from the key to the entry.
#[derive(Debug, Default)]
struct Recent {
    /// Oldest first.
    order: VecDeque<DedupEntry>,
    /// How many entries came before those in `order`. An entry's place is its index in `order` plus
    /// this.
    before: u32,
    /// The place of the newest entry of each key. Keys are hashes already.
    places: HashTable<u32>,
}

impl Recent {
    fn newest(&self, key: KeyHash) -> Option<DedupEntry> {
        let (order, before) = (&self.order, self.before);
        let is_key = |place: &u32| at(order, before, *place).hash == key;
        let place = self.places.find(hash(key), is_key)?;
        Some(*at(order, before, *place))
    }

    fn push(&mut self, entry: DedupEntry) {
        let place = self.before.wrapping_add(self.order.len() as u32);
        self.order.push_back(entry);
        let (order, before) = (&self.order, self.before);
        let found = self.places.entry(
            hash(entry.hash),
            |place| at(order, before, *place).hash == entry.hash,
            |place| hash(at(order, before, *place).hash),
        );
        *found.or_insert(place).get_mut() = place;
    }

    /// Removes the entries of bodies after `seq`. An older entry of the same key does not return:
    /// its window had ended, or there would be no newer one.
    fn take_back_after(&mut self, seq: Seq) {
        while let Some(newest) = self.order.back()
            && newest.position.seq() > seq
        {
            self.forget(self.order.len() - 1);
            self.order.pop_back();
        }
    }

    fn forget_oldest(&mut self, count: usize) {
        (0..count).for_each(|index| self.forget(index));
        self.order.drain(..count);
        self.before = self.before.wrapping_add(count as u32);
    }

    /// Removes the key of this entry from the map, unless a newer entry has the same key.
    fn forget(&mut self, index: usize) {
        let place = self.before.wrapping_add(index as u32);
        let key = self.order[index].hash;
        if let Ok(found) = self.places.find_entry(hash(key), |other| *other == place) {
            found.remove();
        }
    }
}

fn at(order: &VecDeque<DedupEntry>, before: u32, place: u32) -> &DedupEntry {
    &order[place.wrapping_sub(before) as usize]
}

fn hash(key: KeyHash) -> u64 {
    key as u64
}

#[cfg(test)]
mod tests {
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
        /// The process is killed while it writes a segment.
        Kill,
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
            1 => Just(Step::Kill),
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
            Self {
                entries: DedupWindow::open(folder.path(), 0, 0, TUNING).unwrap(),
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
            let recent = self.entries.recent.order.len();
            assert!(recent < 2 * TUNING.segment_length + 6, "{recent}");
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
                assert!(self.entries.recent.order.len() < 2 * TUNING.segment_length + events.len());
            }
        }

        fn reopen(&mut self) {
            self.entries =
                DedupWindow::open(self.folder.path(), self.head(), self.now, TUNING).unwrap();
            let sealed = self.entries.sealed_up_to().max(self.trimmed);
            for entry in self
                .log
                .iter()
                .filter(|entry| entry.position.seq() > sealed)
            {
                if entry.until > self.now {
                    self.entries.add(*entry);
                    self.entries.tidy(self.now).unwrap();
                }
            }
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
                        let up_to = index.index(world.head() as usize + 1) as Seq;
                        world.entries.outlive(up_to, world.now).unwrap();
                        world.trimmed = world.trimmed.max(up_to);
                    }
                    Step::Kill => {
                        let unfinished = world.folder.path().join("3.unfinished");
                        std::fs::write(unfinished, [1; 40]).unwrap();
                        world.reopen();
                        prop_assert!(world.files().iter().all(|name| name.ends_with(".keys")));
                    }
                }
                world.check();
            }
        }
    }

    #[test]
    fn a_segment_is_deleted_after_its_last_window() {
        let mut world = World::new();
        // 1 to 4 are sealed once there are more; one of them has a longer window.
        world.batch(&[(0, 10), (1, 10), (2, 50), (3, 10)], false);
        world.batch(&[(4, 99), (5, 99), (6, 99), (7, 99)], false);
        assert_eq!(world.files(), ["2.keys".to_owned()].into());
        world.now = 49;
        world.reopen();
        world.check();
        assert_eq!(world.files(), ["2.keys".to_owned()].into());
        world.now = 50;
        world.reopen();
        world.check();
        assert_eq!(world.files(), BTreeSet::new());
        // And without a restart, when the next segment is written.
        world.batch(&[(0, 10), (1, 10), (2, 10), (3, 10)], false);
        assert_eq!(world.files(), ["4.keys".to_owned()].into());
        world.now = 99;
        world.batch(&[(8, 9), (9, 9), (10, 9), (11, 9)], false);
        assert_eq!(world.files(), ["6.keys".to_owned()].into());
        world.check();
    }

    #[test]
    fn an_undeletable_segment_affects_no_other() {
        let mut world = World::new();
        world.batch(&[(0, 10), (1, 10), (2, 10), (3, 10)], false);
        world.batch(&[(4, 99), (5, 99), (6, 99), (7, 99)], false);
        world.batch(&[(8, 99), (9, 99), (10, 99), (11, 99)], false);
        assert_eq!(world.files().len(), 2);
        // A folder cannot be deleted as a file.
        let first = world.folder.path().join("2.keys");
        std::fs::remove_file(&first).unwrap();
        std::fs::create_dir(&first).unwrap();
        world.now = 10;
        assert!(world.entries.sealed.expire(world.now).is_err());
        world.check();
        // The file may be gone for any reason.
        std::fs::remove_dir(&first).unwrap();
        world.entries.sealed.expire(world.now).unwrap();
        assert_eq!(world.files().len(), 1);
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
        world.batch(&[(4, 99), (5, 99), (6, 99), (7, 99)], false);
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
        let mut tried = 0;
        for number in 0..16 {
            let entry = DedupEntry {
                hash: key(number),
                position: Position::first(Seq::from(number) + 1),
                until: 100,
            };
            world.entries.add(entry);
            world.log.push(entry);
            // The retry distance of a segment of 64 entries; the segments themselves have 4.
            world.entries.tuning.segment_length = 64;
            tried += usize::from(world.entries.tidy(0).is_err());
            world.entries.tuning = TUNING;
        }
        // At the 5th and the 13th entry.
        assert_eq!(tried, 2);
        for number in 0..13 {
            let position = Position::first(Seq::from(number) + 1);
            assert_eq!(world.original(key(number)), Some(position));
        }
        std::fs::remove_file(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        world.entries.seal_at = 0;
        world.entries.tidy(0).unwrap();
        assert_eq!(world.files(), ["4.keys".to_owned()].into());
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let mut world = World::new();
        std::fs::write(world.folder.path().join("notes.txt"), "mine").unwrap();
        world.reopen();
        assert_eq!(world.files(), ["notes.txt".to_owned()].into());
    }
}
