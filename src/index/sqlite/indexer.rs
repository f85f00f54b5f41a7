//! [`Indexer`]: the task that follows the journal and fills the index.
//!
//! Waking a thread for each commit would cost more than the indexing. So the first news wakes the
//! indexer, which then gathers more for [`GATHER`] and takes everything. A search ends the wait
//! early. Without news there is no timer.

use std::borrow::Borrow;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::{Sleep, sleep};
use uuid::Uuid;

use super::inbox::{Inbox, Trouble};
use super::query::Snapshot;
use super::schema::{BUILT_AGAIN, Failure, Result};
use super::writer::IndexWriter;
use crate::dialect::Decoder;
use crate::journal::{Journal, Position, Readers, Record, Seq, Unavailable};
use crate::telemetry::{ONGOING, Throttle};

/// The writing side of an index.
pub(crate) struct Indexer {
    writer: IndexWriter,
    /// The connections of searches.
    readers: Arc<Readers>,
    inbox: Arc<Inbox>,
    /// When the data in memory is written; `None` if there is none.
    due: Option<Pin<Box<Sleep>>>,
    /// Whether the journal may have deletions that the index does not know.
    deletions: bool,
    /// The deletions that the tail had told of.
    heard_deletions: u64,
    /// The number up to which the tail had told that bodies were removed.
    heard_removed: Seq,
    /// Whether it has had everything since it was built.
    was_complete: bool,
}

impl Indexer {
    pub(super) fn new(writer: IndexWriter, readers: Arc<Readers>, inbox: Arc<Inbox>) -> Self {
        Self {
            writer,
            readers,
            inbox,
            due: None,
            deletions: true,
            heard_deletions: 0,
            heard_removed: 0,
            was_complete: true,
        }
    }

    /// Follows the journal until `stop` says so and the last consumer has ended.
    pub(crate) async fn run(
        mut self,
        journal: Arc<dyn Journal>,
        decoder: Arc<Decoder>,
        mut stop: watch::Receiver<bool>,
    ) {
        let (journal, told) = (journal.as_ref(), Throttle::every(ONGOING));
        while let Err(error) = self.follow(journal, &decoder, &mut stop).await {
            let stopping = *stop.borrow();
            if error.is_damage() {
                log::warn!("{error}: {BUILT_AGAIN}");
                if matches!(error, Failure::OfAnother) {
                    // Other events have these numbers now.
                    drop(self.inbox.take());
                    self.writer.forget_attempts();
                }
                let was_complete = self.was_complete;
                match block_in_place(|| self.begin_again()) {
                    Ok(()) if was_complete && !stopping => continue,
                    Ok(()) => {}
                    Err(error) => {
                        log::warn!("{error}; searches find nothing until it can be built");
                    }
                }
            } else if stopping {
                log::warn!("{error}; what was not indexed is indexed after the next start");
            } else if let Some(unsaid) = told.pass() {
                let more = Throttle::more(unsaid);
                log::warn!("{error}; until indexing works again searches show nothing newer{more}");
            }
            self.inbox.set_away(true);
            if stopping {
                return;
            }
            tokio::select! {
                () = sleep(STUMBLE_PAUSE) => {}
                _ = stop.changed() => {}
            }
            self.inbox.set_away(false);
        }
        if let Err(error) = block_in_place(|| self.writer.purge()) {
            log::warn!("{error}; what was deleted may still be in unused parts of index.db");
        }
    }

    /// Replaces the index by an empty one, while no search reads it.
    fn begin_again(&mut self) -> Result<()> {
        self.was_complete = false;
        self.due = None;
        let (writer, inbox) = (&mut self.writer, &self.inbox);
        self.readers.while_closed(|| {
            // It was of the index of before.
            inbox.take_trouble();
            writer.begin_again()
        })
    }

    /// Looks into what searches have reported.
    fn check(&self) -> Result<()> {
        match self.inbox.take_trouble() {
            Some(Trouble::Damage) => Err(Failure::Damaged),
            Some(Trouble::Unclear) if block_in_place(|| self.writer.has_moved()) => {
                Err(Failure::Moved)
            }
            _ => Ok(()),
        }
    }

    async fn follow(
        &mut self,
        journal: &dyn Journal,
        decoder: &Decoder,
        stop: &mut watch::Receiver<bool>,
    ) -> Result<()> {
        let mut head = journal.tail().watch();
        let resets = journal.tail().watch_resets();
        self.compare(journal).await?;
        // Duplicates that come from now on may be those of deleted events.
        self.deletions = true;
        self.erase(journal).await?;
        loop {
            self.check()?;
            if resets.has_changed().unwrap_or(false) {
                return Err(Failure::OfAnother);
            }
            let asked = self.inbox.take_asked();
            let newest = *head.borrow_and_update();
            let abandoned = stop.has_changed().is_err();
            let stopping = *stop.borrow_and_update() || abandoned;
            // Checked first: the last consumer's final notes are taken below.
            let last = !self.inbox.has_consumers();
            self.take_notes()?;
            self.hear_of_others(journal)?;
            self.catch_up(journal, decoder, newest, stopping).await?;
            self.erase(journal).await?;
            self.was_complete = true;
            // Dropping these releases the searches that waited.
            drop(asked);
            let overdue = self.due.as_ref().is_some_and(|due| due.is_elapsed());
            if stopping || overdue {
                self.seal(true)?;
            }
            if abandoned || (stopping && last) {
                return Ok(());
            }
            if self.due.is_none() && self.writer.is_due(true) {
                self.due = Some(Box::pin(sleep(SEAL_AFTER)));
            }
            // Bit by bit: what comes meanwhile waits for one bit at most.
            if block_in_place(|| self.writer.remove_some())? {
                tokio::task::yield_now().await;
                continue;
            }
            self.wait(&mut head, stop).await;
        }
    }

    /// Waits for news and gathers more for a moment, or waits until it is time to write.
    async fn wait(&mut self, head: &mut watch::Receiver<Seq>, stop: &mut watch::Receiver<bool>) {
        let due = async {
            match &mut self.due {
                Some(due) => due.await,
                None => std::future::pending().await,
            }
        };
        // `head` never fails: the caller of `run` holds the journal.
        tokio::select! {
            () = due => return,
            _ = head.changed() => {}
            () = self.inbox.something.notified() => {}
            _ = stop.changed() => return,
        }
        tokio::select! {
            () = sleep(GATHER) => {}
            () = self.inbox.hurry.notified() => {}
            _ = stop.changed() => {}
        }
    }

    /// Catches up with what happened to the journal while the index was not running.
    async fn compare(&mut self, journal: &dyn Journal) -> Result<()> {
        if !self.is_of(journal).await? {
            log::warn!("{}: {BUILT_AGAIN}", Failure::OfAnother);
            block_in_place(|| self.begin_again())?;
        }
        let oldest = journal.read(0, 1).await?;
        let gone = oldest.first().map_or(0, |oldest| oldest.seq - 1);
        block_in_place(|| self.writer.trim(gone))
    }

    /// Returns the id of an indexed body; `None` if it had none, or was deleted.
    fn id_of(&self, body: Seq) -> Result<Option<Uuid>> {
        let all = Snapshot::take(&self.writer.database, &self.writer.unwritten)?;
        let found = all.by_positions(vec![Position::first(body)])?;
        Ok(found.first().map(|entry| entry.id.body()))
    }

    /// Whether the newest body that is indexed is the one that the journal has under that number.
    async fn is_of(&mut self, journal: &dyn Journal) -> Result<bool> {
        let cursor = self.writer.cursor;
        if cursor == 0 || journal.tail().head() < cursor {
            return Ok(cursor == 0);
        }
        let Some(indexed) = block_in_place(|| self.id_of(cursor))? else {
            return Ok(true);
        };
        let found = journal.read(cursor - 1, 1).await?;
        let found = found
            .first()
            .filter(|record| record.seq == cursor && record.missing.is_none());
        Ok(found.is_none_or(|record| record.received.id == indexed))
    }

    /// Goes by what another instance has removed or deleted.
    fn hear_of_others(&mut self, journal: &dyn Journal) -> Result<()> {
        let tail = journal.tail();
        let deletions = tail.deletions();
        self.deletions |= deletions != std::mem::replace(&mut self.heard_deletions, deletions);
        let removed = tail.removed();
        if removed > std::mem::replace(&mut self.heard_removed, removed) {
            block_in_place(|| self.writer.trim(removed))?;
        }
        Ok(())
    }

    /// Erases what was deleted since the last time. What was read of it before is in the index by now.
    async fn erase(&mut self, journal: &dyn Journal) -> Result<()> {
        while self.deletions {
            let known = self.writer.erased.known;
            let new = journal.deletions(known, DELETIONS).await?;
            block_in_place(|| self.writer.erase(&new))?;
            self.deletions = !new.is_empty();
        }
        Ok(())
    }

    fn take_notes(&mut self) -> Result<()> {
        let notes = self.inbox.take();
        self.deletions |= notes.deletions;
        if !notes.attempts.is_empty() {
            self.writer.add_attempts(notes.attempts);
            self.seal(false)?;
        }
        if notes.trimmed > 0 {
            block_in_place(|| self.writer.trim(notes.trimmed))?;
        }
        let mut taken = 0;
        while taken < notes.duplicates.len() {
            taken += self.writer.add_duplicates(&notes.duplicates.segment, taken);
            self.seal(false)?;
        }
        Ok(())
    }

    async fn catch_up(
        &mut self,
        journal: &dyn Journal,
        decoder: &Decoder,
        newest: Seq,
        stopping: bool,
    ) -> Result<()> {
        let tuning = self.writer.tuning;
        while self.writer.cursor < newest {
            let cursor = self.writer.cursor;
            if newest - cursor > tuning.far {
                // The index may lag by a whole journal: searches get what there is, and a stop is
                // immediate.
                drop(self.inbox.take_asked());
                if stopping {
                    return Ok(());
                }
            }
            let records = journal.tail().range(cursor, tuning.read_in_a_turn);
            if records.is_empty() {
                let records = journal.read(cursor, tuning.read_in_a_turn).await?;
                if records.is_empty() {
                    let gone = "a stored body cannot be found".to_owned();
                    return Err(Unavailable::Away(gone).into());
                }
                // Their bodies are decoded again, which takes a while.
                block_in_place(|| self.add(&records, decoder))?;
                self.take_notes()?;
            } else {
                self.add(&records, decoder)?;
            }
        }
        Ok(())
    }

    fn add<R: Borrow<Record>>(&mut self, records: &[R], decoder: &Decoder) -> Result<()> {
        let mut left = records;
        while !left.is_empty() {
            left = &left[self.writer.add_records(left, decoder)..];
            self.seal(false)?;
        }
        Ok(())
    }

    /// Writes everything in memory, or only what has reached the size of a segment or a batch. The
    /// disk may be slow.
    fn seal(&mut self, all: bool) -> Result<()> {
        if all {
            self.due = None;
        }
        if self.writer.is_due(all) {
            block_in_place(|| self.writer.seal(all))?;
        }
        Ok(())
    }
}

impl Drop for Indexer {
    fn drop(&mut self) {
        self.inbox.set_away(true);
    }
}

/// How long news is gathered. At 50,000 events a second these are 2,500 events, a sixth of what the
/// journal's tail can hold.
const GATHER: Duration = Duration::from_millis(50);

/// The longest time that data waits in memory. After a crash the events that were not written are
/// read from the journal again; attempts and duplicates are lost.
const SEAL_AFTER: Duration = Duration::from_secs(2);

/// How many deletions are read together. Erasing them reads every segment that may have one.
const DELETIONS: usize = 65_536;

const STUMBLE_PAUSE: Duration = Duration::from_secs(10);

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use tokio::task::JoinHandle;

    use super::super::Index;
    use super::super::model_tests::SMALL;
    use super::*;
    use crate::EventId;
    use crate::clock::SystemClock;
    use crate::dispatch::{EndedAttempt, Outcome};
    use crate::index::{EventFilter, Search as _};
    use crate::journal::{Appended, DedupKey, Entry, Log as _, Memory, TestFolder};
    use crate::{Event, Received, Timestamp, UnknownEvent, UnknownReason};

    /// An index that follows a journal.
    pub(in super::super) struct World {
        pub(in super::super) index: Index,
        journal: Arc<Memory>,
        stop: watch::Sender<bool>,
        task: JoinHandle<()>,
    }

    impl World {
        pub(in super::super) fn start(folder: &TestFolder, journal: &Arc<Memory>) -> Self {
            let (index, indexer) = Index::tuned(folder.path(), SMALL).unwrap();
            let (stop, stopped) = watch::channel(false);
            let followed = Arc::clone(journal) as Arc<dyn Journal>;
            let decoder = Arc::new(Decoder::new([], 1024));
            Self {
                index,
                journal: Arc::clone(journal),
                stop,
                task: tokio::spawn(indexer.run(followed, decoder, stopped)),
            }
        }

        pub(in super::super) async fn append(&self, number: u64) -> Seq {
            let entry = entry(number);
            match self.journal.append(entry).await.unwrap() {
                Appended::New { seq, .. } => seq,
                Appended::Duplicate(_) => panic!("a duplicate"),
            }
        }

        pub(in super::super) async fn ids(&self) -> Vec<u128> {
            self.try_ids().await.unwrap()
        }

        /// The ids of the newest events, at most 100.
        pub(in super::super) async fn try_ids(&self) -> Result<Vec<u128>, Unavailable> {
            let entries = self.index.newest(EventFilter::default(), 100).await?;
            let ids = entries.iter().map(|entry| entry.id.body().as_u128());
            Ok(ids.collect())
        }

        pub(in super::super) async fn stop(self) {
            self.stop.send_replace(true);
            tokio::time::timeout(Duration::from_secs(10), self.task)
                .await
                .unwrap()
                .unwrap();
        }
    }

    pub(in super::super) fn entry(number: u64) -> Entry {
        let mut received = Received::new("source", "{}");
        received.id = Uuid::from_u128(number.into());
        let key = DedupKey {
            hash: number.into(),
            window: Duration::from_secs(60),
            state: None,
            named: true,
        };
        let event = Event::Unknown(UnknownEvent::new(UnknownReason::NoName));
        Entry::one(Arc::new(received), vec![event].into(), key)
    }

    fn id(number: u128) -> EventId {
        Uuid::from_u128(number).into()
    }

    pub(in super::super) fn made(outcome: Outcome) -> EndedAttempt {
        EndedAttempt {
            event: id(1),
            outcome,
            took: Duration::from_millis(1234),
            about: Vec::new(),
        }
    }

    pub(in super::super) fn journal() -> Arc<Memory> {
        Arc::new(Memory::new(Arc::new(SystemClock), 1))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_search_finds_all_that_happened_before() {
        let folder = TestFolder::new();
        let world = World::start(&folder, &journal());
        let consumer = world.index.notes().consumer("handler:a");
        for number in 1..=100 {
            let seq = world.append(number).await;
            assert_eq!(world.ids().await[0], u128::from(number));
            consumer.attempted(
                Position::first(seq),
                1,
                &made(Outcome::Done),
                Timestamp::UNIX_EPOCH,
            );
            let made = world.index.attempts(Position::first(seq)).await.unwrap();
            assert_eq!((made.len(), &*made[0].outcome), (1, "done"));
        }
        let again = entry(200);
        world.index.notes().duplicate(
            &again.received,
            again.events.known().unwrap(),
            1,
            Position::first(7),
        );
        let found = world
            .index
            .by_id(again.received.id.into())
            .await
            .unwrap()
            .unwrap();
        assert_eq!(
            (found.in_journal(), found.duplicate_of),
            (None, Some(id(7)))
        );
        world.index.notes().trimmed(7);
        assert_eq!(
            world.index.by_id(again.received.id.into()).await.unwrap(),
            None
        );
        assert_eq!(world.ids().await.last(), Some(&8));
        drop(consumer);
        world.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_waits_for_the_last_attempt() {
        let folder = TestFolder::new();
        let journal = journal();
        let world = World::start(&folder, &journal);
        let consumer = world.index.notes().consumer("handler:a");
        for number in 1..=5 {
            world.append(number).await;
        }
        let again = entry(6);
        world.index.notes().duplicate(
            &again.received,
            again.events.known().unwrap(),
            1,
            Position::first(2),
        );
        world.stop.send_replace(true);
        tokio::task::yield_now().await;
        assert!(!world.task.is_finished());
        let failed = made(Outcome::TimedOut(Duration::from_secs(1)));
        consumer.attempted(Position::first(5), 3, &failed, Timestamp::UNIX_EPOCH);
        drop(consumer);
        world.stop().await;

        let world = World::start(&folder, &journal);
        assert_eq!(world.ids().await, [6, 5, 4, 3, 2, 1]);
        let made = world.index.attempts(Position::first(5)).await.unwrap();
        assert_eq!(made.len(), 1);
        assert_eq!(
            (made[0].attempt, &*made[0].outcome, made[0].took_ms),
            (3, "not done after 1s", 1234)
        );
        world.stop().await;
    }

    /// The database is locked by another connection while the indexer writes a segment and removes
    /// one.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_slow_disk_stops_neither_searches_nor_tasks() {
        let folder = TestFolder::new();
        let world = World::start(&folder, &journal());
        for number in 1..=40 {
            world.append(number).await;
        }
        assert_eq!(world.ids().await.len(), 40);
        let other = rusqlite::Connection::open(folder.path().join("index.db")).unwrap();
        for change in [0, 20] {
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            if change > 0 {
                world.index.notes().trimmed(change);
            } else {
                for number in 41..=80 {
                    world.append(number).await;
                }
            }
            // Time for the indexer to meet the lock.
            tokio::time::sleep(Duration::from_millis(200)).await;
            let task = tokio::spawn(async {});
            tokio::time::timeout(Duration::from_secs(2), task)
                .await
                .unwrap()
                .unwrap();
            let search = tokio::time::timeout(Duration::from_secs(3), world.ids());
            assert!(search.await.unwrap().len() >= 40);
            other.execute_batch("COMMIT").unwrap();
            // The indexer goes on, and is done before the lock is taken again.
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        world.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_unusable_index_is_built_again() {
        let folder = TestFolder::new();
        let old = journal();
        let world = World::start(&folder, &old);
        for number in 1..=50 {
            world.append(number).await;
        }
        world.stop().await;

        // An index of an older version.
        let path = folder.path().join("index.db");
        let database = rusqlite::Connection::open(&path).unwrap();
        database.pragma_update(None, "user_version", 2).unwrap();
        drop(database);
        let world = World::start(&folder, &old);
        assert_eq!(world.ids().await.len(), 50);
        world.stop().await;

        // A file that is not a database.
        std::fs::write(&path, "no database").unwrap();
        let world = World::start(&folder, &old);
        assert_eq!(world.ids().await.len(), 50);
        world.stop().await;

        // An index of another journal.
        let world = World::start(&folder, &journal());
        assert!(world.ids().await.is_empty());
        world.append(77).await;
        assert_eq!(world.ids().await, [77]);
        world.stop().await;

        // One that goes further.
        let other = journal();
        for number in 101..=103 {
            other.append(entry(number)).await.unwrap();
        }
        let world = World::start(&folder, &other);
        assert_eq!(world.ids().await, [103, 102, 101]);
        world.stop().await;
    }

    /// Nothing of what a log has lost stays in the index.
    #[tokio::test(flavor = "multi_thread")]
    async fn an_index_follows_a_log_that_goes_back() {
        let folder = TestFolder::new();
        let world = World::start(&folder, &journal());
        for number in 1..=5 {
            world.append(number).await;
        }
        let consumer = world.index.notes().consumer("handler:a");
        let first = Position::first(1);
        consumer.attempted(first, 1, &made(Outcome::Done), Timestamp::UNIX_EPOCH);
        assert_eq!(world.index.attempts(first).await.unwrap().len(), 1);
        world.journal.tail().reset(5);
        let waiting = async {
            while !matches!(world.index.attempts(first).await.as_deref(), Ok([])) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), waiting).await;
        waited.expect("it is built again");
        assert_eq!(world.ids().await, [5, 4, 3, 2, 1]);
        drop(consumer);
        world.stop().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_stop_does_not_wait_for_a_rebuild() {
        let folder = TestFolder::new();
        let journal = journal();
        // More events than the tail holds.
        for number in 1..=20_000 {
            journal.append(entry(number)).await.unwrap();
        }
        let (index, mut indexer) = Index::tuned(folder.path(), SMALL).unwrap();
        let (stop, mut stopped) = watch::channel(true);
        let decoder = Decoder::new([], 1024);
        let followed = indexer.follow(journal.as_ref(), &decoder, &mut stopped);
        followed.await.unwrap();
        assert_eq!(indexer.writer.cursor, 0);
        // What is the only one so far may not stay it.
        assert_eq!(index.between(id(1), id(9), 20_000).await.unwrap(), None);
        drop((index, indexer, stop));

        let world = World::start(&folder, &journal);
        loop {
            let newest = world.index.newest(EventFilter::default(), 1).await.unwrap();
            if newest.first().map(|entry| entry.id) == Some(id(20_000)) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let all = world
            .index
            .positions(EventFilter::default(), 30_000)
            .await
            .unwrap();
        assert!(all.into_iter().eq((1..=20_000).map(Position::first)));
        let found = world.index.between(id(5), id(5), 20_000).await.unwrap();
        assert_eq!(found.unwrap()[0].id, id(5));
        world.stop().await;
    }
}
