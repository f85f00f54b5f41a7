//! [`Sqlite`]: the handle on a journal in one database file.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::runtime::Builder;
use tokio::sync::watch;

use super::commit::{Step, Trimmed};
use super::delete::DELETE_BYTES;
use super::files::{check_length, wal_of};
use super::folder::{self, OpenError};
use super::operation::Queue;
use super::readers::Readers;
use super::rekey::KeysOf;
use super::wal::WalScan;
use super::writer::{JournalWriter, MAX_BATCH_BYTES, Shared};
use super::{dead, delete, reading, rows, store};
use crate::clock::Clock;
use crate::journal::{
    Appended, DeadLetters, Deletion, Desk, Desks, Document, Documents, Entry, Expected, Log,
    NamedLetter, Position, ProgressChange, PutError, Record, SavedProgress, Seq, Share, Tail,
    Unavailable, Version,
};
use crate::telemetry::JournalMetrics;

#[derive(Debug)]
pub(crate) struct Sqlite {
    pub(super) queue: Queue,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(super) readers: Arc<Readers>,
    shared: Arc<Shared>,
}

/// The desk of the only share.
#[derive(Debug)]
struct SqliteDesk {
    queue: Queue,
    readers: Arc<Readers>,
    shared: Arc<Shared>,
    epoch: u64,
}

impl Sqlite {
    /// Opens the journal in `folder`, and creates it if there is none. The dedup keys of an older one stay
    /// as they are.
    #[cfg(test)]
    pub(crate) fn open(
        folder: &Path,
        metrics: JournalMetrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        Self::open_with(folder, metrics, clock, None)
    }

    /// Opens the journal in `folder`, and creates it if there is none. `keys_of` makes the dedup keys of an
    /// older one again.
    pub(crate) fn open_with(
        folder: &Path,
        metrics: JournalMetrics,
        clock: Arc<dyn Clock>,
        keys_of: Option<KeysOf<'_>>,
    ) -> Result<Self, OpenError> {
        let io = |error| OpenError::io(folder, error);
        folder::create(folder).map_err(io)?;
        let lock = folder::lock(folder)?;
        let database = folder.join(folder::FILE);
        folder::missing(folder, &database)?;
        folder::create_private(&database).map_err(io)?;
        folder::make_files_private(folder);
        let readers = Readers::new(&database);
        if !readers.lock().map_err(io)? {
            return Err(OpenError::InUse(folder.to_owned()));
        }
        let wal = WalScan::of(&wal_of(&database)).map_err(io)?;
        check_length(&database, &wal)?;
        let writer = JournalWriter::open(folder, &readers, metrics, clock, keys_of, &wal)?;
        let shared = Arc::clone(&writer.shared);
        let (queue, asked) = Queue::new();
        let closed_at_end = queue.clone();
        let runtime = Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(io)?;
        let locked = Arc::clone(&readers);
        let thread = std::thread::Builder::new()
            .name("offhook-journal".to_owned())
            .spawn(move || {
                // No other process opens the journal until the last write is done.
                let _lock = lock;
                runtime.block_on(writer.run(closed_at_end, asked));
                locked.unlock();
            })
            .map_err(io)?;
        Ok(Self {
            queue,
            thread: Mutex::new(Some(thread)),
            readers,
            shared,
        })
    }

    /// Makes the thread panic, and waits until its callers are told.
    #[cfg(test)]
    pub(crate) async fn panic_on_purpose(&self) {
        let panic = |_: &mut Step<'_>| -> rusqlite::Result<Result<(), Unavailable>> {
            panic!("on purpose")
        };
        let _ = self.queue.write(0, panic).await;
    }

    /// Lets the thread write what waits and end. The first call returns the thread's handle.
    fn end(&self) -> Option<JoinHandle<()>> {
        self.queue.close();
        let thread = self.thread.lock();
        thread.unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[async_trait]
impl Log for Sqlite {
    async fn append(&self, entry: Entry) -> Result<Appended, Unavailable> {
        let bytes = entry.received.body.len();
        let append = move |step: &mut Step<'_>| step.append(&entry).map(Ok);
        self.queue.write(bytes, append).await
    }

    async fn read(&self, after: Seq, most: usize) -> Result<Vec<Record>, Unavailable> {
        let shared = Arc::clone(&self.shared);
        let read = move |database: &Connection| {
            // Read first: what was published before is in the database.
            let head = shared.tail.head();
            reading::read(database, after, most, head, &shared.damage)
        };
        self.readers.look_long(read).await
    }

    async fn trim(&self, up_to: Seq) -> Result<usize, Unavailable> {
        loop {
            let trim = move |step: &mut Step<'_>| step.trim(up_to);
            let mut sealing = match self.queue.write_later(TRIM_BYTES, trim).await? {
                Trimmed::Removed(count) => {
                    let trimmed = self.readers.look(reading::trimmed).await?;
                    self.shared.tail.remove_up_to(trimmed);
                    return Ok(count);
                }
                Trimmed::Begun => continue,
                Trimmed::NotSealed(sealing) => sealing,
            };
            // Only a window that is dropped seals nothing more, with the thread that writes.
            sealing.changed().await.map_err(|_| Unavailable::Ended)?;
            if let Some(error) = &*sealing.borrow() {
                let why = format!("dedup entries cannot be sealed, no event is removed: {error}");
                return Err(Unavailable::Away(why));
            }
        }
    }

    async fn delete(&self, bodies: &[Seq]) -> Result<usize, Unavailable> {
        let mut bodies = bodies.to_vec();
        bodies.sort_unstable();
        bodies.dedup();
        let bodies: Arc<[Seq]> = bodies.into();
        let (mut done, mut events, mut damaged) = (0, 0, None);
        while done < bodies.len() {
            let all = Arc::clone(&bodies);
            let delete = move |step: &mut Step<'_>| step.delete(&all[done..]);
            let (deleted, at) = self.queue.write_later(DELETE_BYTES, delete).await?;
            let end = done + deleted.bodies;
            self.shared.tail.delete(&bodies[done..end], at);
            done = end;
            events += deleted.events;
            damaged = damaged.or(deleted.damaged);
        }
        if let Some(seq) = damaged {
            let why = format!(
                "body {seq} cannot be deleted, because its block is damaged; those in other blocks were deleted"
            );
            return Err(Unavailable::Away(why));
        }
        Ok(events)
    }

    async fn deletions(&self, after: u64, most: usize) -> Result<Vec<Deletion>, Unavailable> {
        let deletions = move |database: &Connection| delete::after(database, after, most);
        self.readers.look(deletions).await
    }

    /// The pages of the database in use: what is free is used again, and the file does not grow meanwhile.
    async fn bytes(&self) -> Result<u64, Unavailable> {
        self.readers.look(store::bytes).await
    }

    fn tail(&self) -> &Arc<Tail> {
        &self.shared.tail
    }

    fn is_ready(&self) -> bool {
        self.shared.ready.load(Ordering::Relaxed)
    }

    async fn broken(&self) {
        let mut panicked = self.shared.panicked.subscribe();
        // The sender is in `self`.
        let _ = panicked.wait_for(|panicked| *panicked).await;
    }

    async fn close(&self) {
        let lost = self.shared.lost_heads.load(Ordering::Relaxed);
        if lost > 0 && lost == self.shared.replaced_heads.load(Ordering::Relaxed) {
            // This was a whole run: every consumer that may be meant has asked.
            let remove = |step: &mut Step<'_>| step.beside_log(rows::remove_damaged_heads);
            let removed: Result<(), Unavailable> = self.queue.write(0, remove).await;
            if let Err(error) = removed {
                log::warn!("journal: damaged rows of consumers cannot be removed: {error}");
            }
        }
        if let Some(thread) = self.end() {
            // The thread has ended even if it panicked.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

#[async_trait]
impl Desks for Sqlite {
    fn shares(&self) -> Share {
        1
    }

    async fn desk(&self, _: Share) -> Result<Arc<dyn Desk>, Unavailable> {
        Ok(Arc::new(SqliteDesk {
            queue: self.queue.clone(),
            readers: Arc::clone(&self.readers),
            shared: Arc::clone(&self.shared),
            epoch: self.shared.epoch.fetch_add(1, Ordering::SeqCst) + 1,
        }))
    }

    async fn introduce(&self, consumer: &str, head: &[u8]) -> Result<(), Unavailable> {
        let (consumer, head) = (consumer.to_owned(), head.to_vec());
        let bytes = head.len();
        let introduce = move |step: &mut Step<'_>| {
            step.beside_log(|database| rows::introduce(database, &consumer, &head))
        };
        self.queue.write(bytes, introduce).await
    }

    async fn forget_consumer(&self, consumer: &str) -> Result<(), Unavailable> {
        let consumer = consumer.to_owned();
        let forget = move |step: &mut Step<'_>| {
            step.beside_log(|database| rows::forget_consumer(database, &consumer))
        };
        self.queue.write(0, forget).await
    }
}

#[async_trait]
impl Desk for SqliteDesk {
    fn share(&self) -> Share {
        0
    }

    async fn saved(&self, consumer: &str) -> Result<Option<SavedProgress>, Unavailable> {
        let name = consumer.to_owned();
        let saved = move |database: &Connection| rows::saved(database, &name);
        let found = self.readers.look(saved).await?;
        if found.is_head_lost {
            let name = consumer.to_owned();
            let replace = move |step: &mut Step<'_>| {
                step.beside_log(|database| rows::replace_lost_head(database, &name))
            };
            self.shared.lost_heads.fetch_add(1, Ordering::Relaxed);
            self.queue.write::<_, Unavailable>(0, replace).await?;
            self.shared.replaced_heads.fetch_add(1, Ordering::Relaxed);
        }
        Ok(found.saved)
    }

    async fn save(&self, change: ProgressChange) -> Result<(), Unavailable> {
        let epoch = self.epoch;
        // Each row may be on a page of its own, which is written whole.
        let rows = change.rows.len() * store::PAGE;
        let rows = rows.min(MAX_BATCH_BYTES / 2);
        let bytes = change.head.len() + rows + change.dead.len() * LETTER_BYTES;
        let save = move |step: &mut Step<'_>| step.save(&change, epoch);
        self.queue.write(bytes, save).await
    }
}

#[async_trait]
impl Documents for Sqlite {
    async fn put_document(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        expected: Expected,
    ) -> Result<Version, PutError> {
        let key = key.to_owned();
        let bytes = value.as_ref().map_or(0, Vec::len);
        let put = move |step: &mut Step<'_>| step.put_document(&key, value.as_deref(), expected);
        self.queue.write(bytes, put).await
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<Document>, Unavailable> {
        let prefix = prefix.to_owned();
        let documents = move |database: &Connection| rows::documents(database, &prefix);
        self.readers.look(documents).await
    }

    fn watch_documents(&self) -> watch::Receiver<Version> {
        self.shared.documents.subscribe()
    }
}

#[async_trait]
impl DeadLetters for Sqlite {
    async fn dead_letters(
        &self,
        consumer: Option<&str>,
        before: Option<(Position, &str)>,
        most: usize,
    ) -> Result<Vec<NamedLetter>, Unavailable> {
        let consumer = consumer.map(str::to_owned);
        let before = before.map(|(position, name)| (position, name.to_owned()));
        let list =
            move |database: &Connection| dead::list(database, consumer.as_deref(), before, most);
        self.readers.look_long(list).await
    }

    async fn dead_letters_of(&self, events: &[Position]) -> Result<Vec<NamedLetter>, Unavailable> {
        let events = events.to_vec();
        let of = move |database: &Connection| dead::of(database, &events);
        self.readers.look_long(of).await
    }

    async fn forget_dead_letters(
        &self,
        consumer: &str,
        events: &[Position],
    ) -> Result<usize, Unavailable> {
        let (consumer, events) = (consumer.to_owned(), events.to_vec());
        let bytes = events.len() * LETTER_BYTES;
        let forget = move |step: &mut Step<'_>| {
            step.beside_log(|database| dead::forget(database, &consumer, &events))
        };
        self.queue.write(bytes, forget).await
    }
}

/// Waits until everything requested before is written.
impl Drop for Sqlite {
    fn drop(&mut self) {
        // The next process that opens the journal must find it closed.
        if let Some(thread) = self.end() {
            let _ = thread.join();
        }
    }
}

/// About how many bytes a trim adds to the WAL.
const TRIM_BYTES: usize = 4 * store::PAGE;

/// About how many bytes the row of a dead letter takes.
const LETTER_BYTES: usize = 64;
