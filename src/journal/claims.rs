//! [`Claims`]: what makes a newly received event a duplicate of a kept one.
//!
//! The newest claims are in memory, up to a limit; older ones of the window are in sealed runs on the
//! disk: sorted, written once, with a filter in memory that spares nearly every look at the disk.
//! Inside the window the answer is always right. Sealing happens on the journal's own thread between
//! two batches and costs one sequential write for every [`RUN`] events.

mod filter;
mod hot;
mod run;
mod sealed;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::record::{Claim, ClaimKey};
use crate::journal::Seq;

use hot::Hot;
use sealed::Sealed;

/// One claim that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) key: ClaimKey,
    pub(crate) seq: Seq,
    /// Until when it makes others duplicates, in milliseconds since 1970.
    pub(crate) until: i64,
}

/// All claims of the windows.
#[derive(Debug)]
pub(crate) struct Claims {
    hot: Hot,
    sealed: Sealed,
    run_length: usize,
    /// With so many in memory the oldest are sealed.
    seal_at: usize,
}

impl Claims {
    /// Opens the sealed runs in `folder`, and forgets those whose time is over and those of another
    /// log: `head` is the log's newest event.
    pub(crate) fn open(folder: &Path, head: Seq, now: i64) -> io::Result<Self> {
        Self::with_run_length(folder, head, now, RUN)
    }

    fn with_run_length(folder: &Path, head: Seq, now: i64, run_length: usize) -> io::Result<Self> {
        let mut sealed = Sealed::open(folder, head, run_length)?;
        sealed.expire(now)?;
        Ok(Self {
            hot: Hot::default(),
            sealed,
            run_length,
            seal_at: run_length + eighth(run_length),
        })
    }

    /// Claims up to here are in sealed runs; later ones are to be made again from the log.
    pub(crate) fn sealed_up_to(&self) -> Seq {
        self.sealed.last_seq().unwrap_or(0)
    }

    /// The event that holds this claim at `now`.
    ///
    /// # Errors
    ///
    /// When a sealed run cannot be read.
    pub(crate) fn holder(&self, claim: Claim, now: i64) -> io::Result<Option<Seq>> {
        let newest = match self.hot.newest(claim.key) {
            None => self.sealed.newest(claim.key)?,
            hot => hot,
        };
        let held = newest.filter(|made| claim.is_held_until(made.until, now));
        Ok(held.map(|made| made.seq))
    }

    /// Makes a claim.
    pub(crate) fn make(&mut self, made: Made) {
        self.hot.push(made);
    }

    /// Takes back every claim of events after `seq`: their append has failed.
    pub(crate) fn take_back_after(&mut self, seq: Seq) {
        self.hot.take_back_after(seq);
    }

    /// Seals the oldest claims into a run when there are too many in memory.
    ///
    /// # Errors
    ///
    /// When the run cannot be written; the claims stay in memory then, and it is tried again when
    /// there are an eighth of a run more.
    pub(crate) fn tidy(&mut self, now: i64) -> io::Result<()> {
        if self.hot.len() < self.seal_at {
            return Ok(());
        }
        // A try costs as much as a run, so it is not made for each batch.
        self.seal_at = self.hot.len() + eighth(self.run_length);
        self.sealed.expire(now)?;
        self.seal_oldest()?;
        self.seal_at = self.run_length + eighth(self.run_length);
        Ok(())
    }

    /// Sees to it that the claims of events up to `seq` outlive the events, which leave the log that
    /// claims in memory are made from again.
    ///
    /// # Errors
    ///
    /// When a run cannot be written; nothing may leave the log then.
    pub(crate) fn outlive(&mut self, seq: Seq, now: i64) -> io::Result<()> {
        let leaving = |made: &&Made| made.seq <= seq;
        while { self.hot.iter() }
            .take_while(leaving)
            .any(|made| made.until > now)
        {
            self.seal_oldest()?;
        }
        Ok(())
    }

    /// Brings the oldest claims in memory into a run.
    fn seal_oldest(&mut self) -> io::Result<()> {
        let oldest: Vec<Made> = self.hot.iter().take(self.run_length).copied().collect();
        let count = oldest.len();
        self.sealed.seal(oldest)?;
        self.hot.forget_oldest(count);
        Ok(())
    }
}

impl Claim {
    /// The claim of the event `seq`, received at `at` (milliseconds since 1970).
    pub(crate) fn made(self, seq: Seq, at: i64) -> Made {
        Made {
            key: self.key,
            seq,
            until: at.saturating_add(millis(self.window)),
        }
    }

    /// Whether an earlier claim of the same key, which ends at `until`, makes this one a duplicate.
    ///
    /// One that ends later than in twice the window was made under a clock that was set back since, or
    /// in a window that was longer: nobody knows how old it is. Where two events may look the same, one
    /// that comes twice is better than one that is lost.
    pub(crate) fn is_held_until(self, until: i64, now: i64) -> bool {
        let left = until.saturating_sub(now);
        left > 0 && (self.named || left <= millis(self.window).saturating_mul(2))
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn eighth(of: usize) -> usize {
    of.div_ceil(8)
}

/// How many claims a run has. In memory there are an eighth more, so that what comes again soon is found
/// there; with a batch they are not quite 2¹⁹, beyond which the 22 MB for them double.
const RUN: usize = 460_000;

/// One of the sealed runs in a folder, where there are any.
pub(super) fn any_run(folder: &Path) -> Option<PathBuf> {
    let files = std::fs::read_dir(folder).ok()?;
    let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|extension| extension == "run"))
}

/// Writes a run of its own into the folder.
#[cfg(test)]
pub(super) fn seal(folder: &Path, claims: &[Made]) -> io::Result<()> {
    run::Run::write(folder, claims.to_vec()).map(drop)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::super::TestFolder;
    use super::*;

    const RUN: usize = 4;

    #[derive(Debug, Clone)]
    enum Step {
        /// A batch of appends: a key, and how long it is claimed. One that fails is taken back.
        Batch {
            events: Vec<(u8, i64)>,
            fails: bool,
        },
        Wait(i64),
        Reopen,
        /// Retention removes the oldest events.
        Trim(prop::sample::Index),
        /// A process that was killed while it wrote a run.
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

    /// Claims as the journal's thread uses them, and what is known of every event.
    struct World {
        folder: TestFolder,
        claims: Claims,
        log: Vec<Made>,
        /// Events up to here are no longer in the log.
        trimmed: Seq,
        now: i64,
    }

    impl World {
        fn new() -> Self {
            let folder = TestFolder::new();
            Self {
                claims: Claims::with_run_length(folder.path(), 0, 0, RUN).unwrap(),
                folder,
                log: Vec::new(),
                trimmed: 0,
                now: 0,
            }
        }

        fn head(&self) -> Seq {
            self.log.len() as Seq
        }

        /// What is right, by the log alone.
        fn expected(&self, key: ClaimKey) -> Option<Seq> {
            let newest = self.log.iter().rfind(|made| made.key == key)?;
            (newest.until > self.now).then_some(newest.seq)
        }

        fn holder(&self, key: ClaimKey) -> Option<Seq> {
            // Longer than any of these: what such a one is held by is what any of them is held by.
            let window = Duration::from_secs(1);
            self.claims
                .holder(
                    Claim {
                        key,
                        window,
                        named: false,
                    },
                    self.now,
                )
                .unwrap()
        }

        fn check(&self) {
            for number in 0..13 {
                let holder = self.holder(key(number));
                assert_eq!(holder, self.expected(key(number)), "key {number}");
            }
            let hot = self.claims.hot.len();
            assert!(hot < 2 * RUN + 6, "{hot}");
        }

        fn batch(&mut self, events: &[(u8, i64)], fails: bool) {
            let before = self.log.clone();
            for (number, window) in events {
                let key = key(*number);
                let holder = self.holder(key);
                assert_eq!(holder, self.expected(key), "key {number}");
                if holder.is_none() {
                    let (seq, until) = (self.head() + 1, self.now + window);
                    let made = Made { key, seq, until };
                    self.claims.make(made);
                    self.log.push(made);
                }
            }
            if fails {
                self.claims.take_back_after(before.len() as Seq);
                self.log = before;
            } else {
                self.claims.tidy(self.now).unwrap();
                assert!(self.claims.hot.len() < 2 * RUN + events.len());
            }
        }

        fn reopen(&mut self) {
            self.claims =
                Claims::with_run_length(self.folder.path(), self.head(), self.now, RUN).unwrap();
            let sealed = self.claims.sealed_up_to().max(self.trimmed);
            for made in self.log.iter().filter(|made| made.seq > sealed) {
                if made.until > self.now {
                    self.claims.make(*made);
                    self.claims.tidy(self.now).unwrap();
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

    /// Spread, as hashes are.
    fn key(number: u8) -> ClaimKey {
        (ClaimKey::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn inside_the_window_the_answer_is_right_whatever_happened(steps in vec(step(), 1..60)) {
            let mut world = World::new();
            for step in steps {
                match step {
                    Step::Batch { events, fails } => world.batch(&events, fails),
                    Step::Wait(time) => world.now += time,
                    Step::Reopen => world.reopen(),
                    Step::Trim(index) => {
                        let up_to = index.index(world.log.len() + 1) as Seq;
                        world.claims.outlive(up_to, world.now).unwrap();
                        world.trimmed = world.trimmed.max(up_to);
                    }
                    Step::Kill => {
                        let unfinished = world.folder.path().join("3.unfinished");
                        std::fs::write(unfinished, [1; 40]).unwrap();
                        world.reopen();
                        prop_assert!(world.files().iter().all(|name| name.ends_with(".run")));
                    }
                }
                world.check();
            }
        }
    }

    #[test]
    fn a_run_is_deleted_when_the_last_of_its_claims_is_over() {
        let mut world = World::new();
        // 1 to 4 are sealed once there are more; one of them is claimed for longer.
        world.batch(&[(0, 10), (1, 10), (2, 50), (3, 10)], false);
        world.batch(&[(4, 99), (5, 99), (6, 99), (7, 99)], false);
        assert_eq!(world.files(), ["4.run".to_owned()].into());
        world.now = 49;
        world.reopen();
        world.check();
        assert_eq!(world.files(), ["4.run".to_owned()].into());
        world.now = 50;
        world.reopen();
        world.check();
        assert_eq!(world.files(), BTreeSet::new());
        // And without an end of the process, when the next run is written.
        world.batch(&[(0, 10), (1, 10), (2, 10), (3, 10)], false);
        assert_eq!(world.files(), ["8.run".to_owned()].into());
        world.now = 99;
        world.batch(&[(8, 9), (9, 9), (10, 9), (11, 9)], false);
        assert_eq!(world.files(), ["12.run".to_owned()].into());
        world.check();
    }

    #[test]
    fn a_run_that_cannot_be_deleted_makes_no_other_one_forgotten() {
        let mut world = World::new();
        world.batch(&[(0, 10), (1, 10), (2, 10), (3, 10)], false);
        world.batch(&[(4, 99), (5, 99), (6, 99), (7, 99)], false);
        world.batch(&[(8, 99), (9, 99), (10, 99), (11, 99)], false);
        assert_eq!(world.files().len(), 2);
        // A folder cannot be deleted as a file.
        let first = world.folder.path().join("4.run");
        std::fs::remove_file(&first).unwrap();
        std::fs::create_dir(&first).unwrap();
        world.now = 10;
        assert!(world.claims.sealed.expire(world.now).is_err());
        world.check();
        // Gone is gone, whoever did it.
        std::fs::remove_dir(&first).unwrap();
        world.claims.sealed.expire(world.now).unwrap();
        assert_eq!(world.files().len(), 1);
        world.check();
    }

    #[test]
    fn what_is_claimed_again_after_its_window_outlives_the_older_claim() {
        let mut world = World::new();
        world.batch(&[(0, 5), (1, 100), (2, 100), (3, 100)], false);
        world.now = 5;
        world.batch(&[(0, 100)], false);
        world.check();
        // The older one is sealed, the newer one is in memory; then both are sealed.
        for number in 4..8 {
            world.batch(&[(number, 100)], false);
            world.check();
        }
        world.reopen();
        world.check();
        assert_eq!(world.expected(key(0)), Some(5));
    }

    #[test]
    fn a_claim_that_is_taken_back_was_never_made() {
        let mut world = World::new();
        world.batch(&[(0, 100), (1, 100)], false);
        world.batch(&[(2, 100), (0, 100), (3, 100)], true);
        world.check();
        assert_eq!(world.holder(key(0)), Some(1));
        assert_eq!(world.holder(key(2)), None);
    }

    #[test]
    fn runs_of_events_that_the_log_does_not_have_are_deleted() {
        let mut world = World::new();
        world.batch(&[(0, 99), (1, 99), (2, 99), (3, 99)], false);
        world.batch(&[(4, 99), (5, 99), (6, 99), (7, 99)], false);
        world.log.truncate(3);
        world.reopen();
        world.check();
        assert_eq!(world.files(), BTreeSet::new());
    }

    #[test]
    fn what_cannot_be_sealed_stays_and_is_not_tried_again_for_each_batch() {
        let mut world = World::new();
        let folder = world.folder.path().to_owned();
        std::fs::remove_dir(&folder).unwrap();
        std::fs::write(&folder, "no folder").unwrap();
        let mut tried = 0;
        for number in 0..16 {
            let made = Made {
                key: key(number),
                seq: Seq::from(number) + 1,
                until: 100,
            };
            world.claims.make(made);
            world.log.push(made);
            // With a run of 64 it would be each eighth; this one is of 4.
            world.claims.run_length = 64;
            tried += usize::from(world.claims.tidy(0).is_err());
            world.claims.run_length = RUN;
        }
        // With the 5th and the 13th.
        assert_eq!(tried, 2);
        for number in 0..13 {
            assert_eq!(world.holder(key(number)), Some(Seq::from(number) + 1));
        }
        std::fs::remove_file(&folder).unwrap();
        std::fs::create_dir(&folder).unwrap();
        world.claims.seal_at = 0;
        world.claims.tidy(0).unwrap();
        assert_eq!(world.files(), ["4.run".to_owned()].into());
    }

    #[test]
    fn a_claim_from_a_clock_that_was_set_back_makes_nothing_a_duplicate_for_long() {
        let (now, minute) = (1_000_000, 60_000);
        let claim = Claim {
            key: 1,
            window: Duration::from_millis(60_000),
            named: false,
        };
        let table = [
            (now - minute, false),
            (now, false),
            (now + 1, true),
            (now + minute, true),
            // Set back by a minute at most: it may well be the same.
            (now + 2 * minute, true),
            // By an hour: whoever takes this for the same loses an event.
            (now + 60 * minute, false),
            (i64::MAX, false),
            (i64::MIN, false),
        ];
        for (until, held) in table {
            assert_eq!(claim.is_held_until(until, now), held, "{}", until - now);
        }
        let named = Claim {
            named: true,
            ..claim
        };
        assert!(named.is_held_until(now + 60 * minute, now) && !named.is_held_until(now, now));
        let window = Duration::ZERO;
        assert!(!Claim { window, ..claim }.is_held_until(now + 1, now));
        let window = Duration::MAX;
        let endless = Claim { window, ..claim };
        assert!(endless.is_held_until(endless.made(1, now).until, now));
    }

    #[test]
    fn a_file_of_somebody_else_is_left_alone() {
        let mut world = World::new();
        std::fs::write(world.folder.path().join("notes.txt"), "mine").unwrap();
        world.reopen();
        assert_eq!(world.files(), ["notes.txt".to_owned()].into());
    }
}
