//! [`Writer`]: the one thread that writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, OpenFlags};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::oneshot;

use super::super::claims::Claims;
use super::super::record::{Appended, Entry, Record};
use super::super::tail::Tail;
use super::super::{Change, Unavailable};
use super::answer::{Answer, answer_all};
use super::block::Block;
use super::queue::{self, Queue};
use super::{OpenError, schema, store};
use crate::Timestamp;
use crate::clock::Clock;
use crate::journal::Seq;
use crate::telemetry::JournalMetrics;

/// Something to write, and who waits for it.
#[derive(Debug)]
pub(super) enum Operation {
    Append(Entry, Answer),
    Save(Change, oneshot::Sender<Result<(), Unavailable>>),
    ForgetConsumer(String, oneshot::Sender<Result<(), Unavailable>>),
    PutDocument(
        String,
        Option<Vec<u8>>,
        oneshot::Sender<Result<(), Unavailable>>,
    ),
    ForgetDead(
        String,
        Vec<Seq>,
        oneshot::Sender<Result<usize, Unavailable>>,
    ),
    Trim(Seq, oneshot::Sender<Result<usize, Unavailable>>),
}

pub(super) struct Writer {
    path: PathBuf,
    claims_folder: PathBuf,
    clock: Arc<dyn Clock>,
    tail: Arc<Tail>,
    ready: Arc<AtomicBool>,
    metrics: JournalMetrics,
    state: State,
    /// Lets the thread wait for a time.
    timer: Runtime,
}

enum State {
    Open(Box<Open>),
    /// A write has failed; the next try to open is not before this.
    Failed {
        retry_at: Instant,
        why: String,
    },
}

struct Open {
    database: Connection,
    claims: Claims,
    head: Seq,
    /// When the newest event was made durable, in milliseconds since 1970.
    kept_at: i64,
    /// Where the events of a commit are put together.
    block: Block,
    /// About how many bytes the WAL has got since it was brought into the database.
    wal: usize,
}

impl Writer {
    pub(super) fn open(
        path: &Path,
        claims_folder: PathBuf,
        ready: Arc<AtomicBool>,
        metrics: JournalMetrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let database = store::open_writer(path, OpenFlags::default())?;
        let now = clock.now().as_millisecond();
        let open = Open::start(database, &claims_folder, now)?;
        let timer = Builder::new_current_thread().enable_time().build();
        Ok(Self {
            path: path.to_owned(),
            claims_folder,
            tail: Arc::new(Tail::new(open.head)),
            ready,
            metrics,
            clock,
            state: State::Open(Box::new(open)),
            timer: timer.map_err(|error| OpenError::io(path, error))?,
        })
    }

    pub(super) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Writes until nobody can ask for more.
    pub(super) fn run(mut self, queue: &Queue) {
        let _closed = queue.closed_at_end();
        let unpark = queue::unpark(std::thread::current());
        let mut batch = Vec::new();
        let _ended = NotReady(Arc::clone(&self.ready));
        loop {
            self.recover(queue, &mut batch);
            queue.take(&mut batch, &unpark);
            if batch.is_empty() {
                return;
            }
            self.write(&mut batch);
        }
    }

    /// Opens a journal that has failed again, when it is time to try and nothing is asked meanwhile:
    /// who looks whether it is ready before he sends would wait for ever otherwise.
    fn recover(&mut self, queue: &Queue, batch: &mut Vec<Operation>) {
        while let State::Failed { retry_at, .. } = &self.state {
            let pause = retry_at.saturating_duration_since(self.clock.monotonic());
            let asked = self.timer.block_on(async {
                tokio::select! {
                    biased;
                    () = std::future::poll_fn(|context| queue.poll_take(batch, context)) => true,
                    () = self.clock.sleep(pause) => false,
                }
            });
            if asked {
                return;
            }
            // Where it fails again there is another try.
            drop(self.reopened());
        }
    }

    /// Writes a batch in one transaction, and answers everybody in it.
    fn write(&mut self, batch: &mut Vec<Operation>) {
        if let Err(why) = self.reopened() {
            return refuse(batch, &why);
        }
        let State::Open(open) = &mut self.state else {
            return;
        };
        let now = self.clock.now().as_millisecond();
        let (started, before) = (self.clock.monotonic(), open.head);
        match open.commit(batch, now, self.clock.as_ref()) {
            Ok((outcomes, commit)) => {
                let took = self.clock.monotonic().saturating_duration_since(started);
                self.metrics.batch(open.head - before, took, commit);
                let kept_at = Timestamp::from_millisecond(open.kept_at).unwrap_or_default();
                let records =
                    batch
                        .iter()
                        .zip(&outcomes)
                        .filter_map(|(operation, outcome)| match (operation, outcome) {
                            (
                                Operation::Append(entry, _),
                                Outcome::Appended(Appended::New(seq)),
                            ) => Some(Record {
                                seq: *seq,
                                kept_at,
                                received: Arc::clone(&entry.received),
                                events: Some(Arc::clone(&entry.events)),
                            }),
                            _ => None,
                        });
                self.tail.publish(records);
                answer(batch, outcomes);
                if let Err(error) = open.claims.tidy(now) {
                    log::warn!("journal: claims cannot be sealed, they stay in memory: {error}");
                }
                if open.wal >= CHECKPOINT_BYTES {
                    open.bring_in();
                }
            }
            Err(error) => {
                let why = error.to_string();
                log::error!(
                    "journal: a write failed, nothing is acknowledged until one succeeds: {why}"
                );
                // Whoever is refused finds the journal not ready.
                self.fail(why.clone());
                refuse(batch, &why);
            }
        }
    }

    /// Opens the database again after a failure, when it is time to try.
    fn reopened(&mut self) -> Result<(), String> {
        let State::Failed { retry_at, why } = &self.state else {
            return Ok(());
        };
        if self.clock.monotonic() < *retry_at {
            return Err(why.clone());
        }
        let now = self.clock.now().as_millisecond();
        match Open::again(&self.path, &self.claims_folder, now, self.tail.head()) {
            Ok(open) => {
                // What the failed commit has left behind, if anything, is part of the log now.
                while self.tail.head() < open.head {
                    match store::read(&open.database, self.tail.head(), READ_AT_ONCE) {
                        Ok(records) if records.is_empty() => break,
                        Ok(records) => self.tail.publish(records),
                        Err(error) => {
                            self.fail(error.to_string());
                            return Err(error.to_string());
                        }
                    }
                }
                self.state = State::Open(Box::new(open));
                self.ready.store(true, Ordering::Relaxed);
                log::info!("journal: writing again");
                Ok(())
            }
            Err(error) => {
                self.fail(error.to_string());
                Err(error.to_string())
            }
        }
    }

    fn fail(&mut self, why: String) {
        self.metrics.failure();
        self.ready.store(false, Ordering::Relaxed);
        self.state = State::Failed {
            retry_at: self.clock.monotonic() + REOPEN_PAUSE,
            why,
        };
    }
}

/// Says that nothing is stored any more when the thread ends, also by a panic.
struct NotReady(Arc<AtomicBool>);

impl Drop for NotReady {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

#[derive(Clone, Copy)]
enum Outcome {
    Appended(Appended),
    Saved,
    Removed(usize),
    /// Nothing was removed: the claims of what was to go could not be sealed.
    Unsealed,
}

impl Open {
    /// Opens the journal whose newest event was `known`. None is created: what was acknowledged would
    /// be behind its end.
    fn again(path: &Path, claims: &Path, now: i64, known: Seq) -> Result<Self, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let database = store::open_writer(path, flags)?;
        let found = match schema::check(&database)? {
            0 => 0,
            _ => store::head(&database)?,
        };
        if found < known {
            return Err(OpenError::Replaced { found, known });
        }
        Self::start(database, claims, now)
    }

    fn start(mut database: Connection, claims_folder: &Path, now: i64) -> Result<Self, OpenError> {
        // Nothing is written to a database that is not ours.
        let version = schema::check(&database)?;
        store::set_up_writer(&database)?;
        schema::migrate(&mut database, version)?;
        // Before the checkpoint writes: a database that is seen to be damaged is left as it is.
        let head = store::head(&database)?;
        let kept_at = store::last_kept_at(&database)?;
        // After a failed fsync nobody knows which part of the WAL is on the disk.
        store::checkpoint(&database)?;
        store::set_up_closing(&database)?;
        let io = |error| OpenError::io(claims_folder, error);
        let mut claims = Claims::open(claims_folder, head, now).map_err(io)?;
        let sealed = claims.sealed_up_to();
        store::claims_after(&database, sealed, |made| {
            if made.until > now {
                claims.make(made);
                // However many there are, few of them are in memory at once.
                claims.tidy(now).map_err(unreadable)?;
            }
            Ok(())
        })?;
        Ok(Self {
            database,
            claims,
            head,
            kept_at,
            block: Block::default(),
            wal: 0,
        })
    }

    /// Brings the WAL into the database, after everybody is answered. Where that fails nothing is lost:
    /// the WAL is kept, and grows until it succeeds or the disk is full, when commits fail.
    fn bring_in(&mut self) {
        self.wal = 0;
        match store::bring_in(&self.database) {
            Ok(0) => {}
            Ok(left) => {
                log::debug!("journal: {left} pages of the WAL are being read and stay in it");
            }
            Err(error) => log::error!(
                "journal: the WAL cannot be brought into the database, and grows until it can: {error}"
            ),
        }
    }

    /// What became of each operation, and how long the commit itself took.
    fn commit(
        &mut self,
        batch: &[Operation],
        now: i64,
        clock: &dyn Clock,
    ) -> Result<(Vec<Outcome>, Duration), Error> {
        let (before, kept_before) = (self.head, self.kept_at);
        // Where the clock was set back, what came later is not older: retention goes by this.
        self.kept_at = self.kept_at.max(now);
        let outcomes = self.try_commit(batch, now, clock);
        self.block.clear();
        if outcomes.is_err() {
            (self.head, self.kept_at) = (before, kept_before);
            self.claims.take_back_after(before);
        }
        outcomes
    }

    fn try_commit(
        &mut self,
        batch: &[Operation],
        now: i64,
        clock: &dyn Clock,
    ) -> Result<(Vec<Outcome>, Duration), Error> {
        // Dropped without a commit it is rolled back.
        let transaction = self.database.transaction()?;
        self.block.kept_at = self.kept_at;
        let mut outcomes = Vec::with_capacity(batch.len());
        for operation in batch {
            if !matches!(operation, Operation::Append(..)) {
                self.wal += store::PAGE + operation.bytes();
            }
            outcomes.push(match operation {
                Operation::Append(entry, _) => {
                    match self.claims.holder(entry.claim, now).map_err(unreadable)? {
                        Some(seq) => Outcome::Appended(Appended::Duplicate(seq)),
                        None => {
                            self.head += 1;
                            let made = entry.claim.made(self.head, now);
                            self.claims.make(made);
                            if self.block.is_full() {
                                self.wal += in_wal(&self.block);
                                store::insert(&transaction, &self.block)?;
                                self.block.clear();
                            }
                            self.block.push(&made, &entry.received);
                            Outcome::Appended(Appended::New(self.head))
                        }
                    }
                }
                Operation::Save(change, _) => {
                    store::save(&transaction, change)?;
                    Outcome::Saved
                }
                Operation::ForgetConsumer(name, _) => {
                    store::forget_consumer(&transaction, name)?;
                    Outcome::Saved
                }
                Operation::PutDocument(key, value, _) => {
                    store::put_document(&transaction, key, value.as_deref())?;
                    Outcome::Saved
                }
                Operation::Trim(up_to, _) => match self.claims.outlive(*up_to, now) {
                    Ok(()) => Outcome::Removed(store::trim(&transaction, *up_to)?),
                    // That is no reason to refuse what others ask for.
                    Err(error) => {
                        log::warn!("journal: claims cannot be sealed, nothing is removed: {error}");
                        Outcome::Unsealed
                    }
                },
                Operation::ForgetDead(consumer, events, _) => {
                    Outcome::Removed(store::forget_dead(&transaction, consumer, events)?)
                }
            });
        }
        if !self.block.is_empty() {
            self.wal += in_wal(&self.block);
            store::insert(&transaction, &self.block)?;
        }
        let started = clock.monotonic();
        transaction.commit()?;
        let took = clock.monotonic().saturating_duration_since(started);
        Ok((outcomes, took))
    }
}

/// About how many bytes a block adds to the WAL, which gets whole pages: the one that ends the table, and
/// some of its own where it does not fit in there.
fn in_wal(block: &Block) -> usize {
    let own = match block.bytes() {
        bytes if bytes < store::PAGE => 0,
        bytes => bytes.div_ceil(store::PAGE),
    };
    (1 + own) * store::PAGE
}

fn unreadable(error: std::io::Error) -> Error {
    Error::ToSqlConversionFailure(Box::new(error))
}

fn answer(batch: &mut Vec<Operation>, outcomes: Vec<Outcome>) {
    let mut appended = Vec::with_capacity(batch.len());
    for (operation, outcome) in batch.drain(..).zip(outcomes) {
        // Who no longer waits needs no answer.
        match (operation, outcome) {
            (Operation::Append(_, asked), Outcome::Appended(outcome)) => {
                appended.push((asked, Ok(outcome)));
            }
            (
                Operation::Save(_, asked)
                | Operation::ForgetConsumer(_, asked)
                | Operation::PutDocument(_, _, asked),
                _,
            ) => drop(asked.send(Ok(()))),
            (
                Operation::ForgetDead(_, _, asked) | Operation::Trim(_, asked),
                Outcome::Removed(count),
            ) => {
                drop(asked.send(Ok(count)));
            }
            (Operation::Trim(_, asked), Outcome::Unsealed) => {
                let why = "claims cannot be sealed, so no event may leave".to_owned();
                drop(asked.send(Err(Unavailable(why))));
            }
            // An operation has the outcome of its own kind.
            (Operation::Append(..) | Operation::ForgetDead(..) | Operation::Trim(..), _) => {}
        }
    }
    answer_all(appended);
}

fn refuse(batch: &mut Vec<Operation>, why: &str) {
    let mut appends = Vec::new();
    for operation in batch.drain(..) {
        let unavailable = Unavailable(why.to_owned());
        match operation {
            Operation::Append(_, asked) => appends.push((asked, Err(unavailable))),
            Operation::Save(_, asked)
            | Operation::ForgetConsumer(_, asked)
            | Operation::PutDocument(_, _, asked) => drop(asked.send(Err(unavailable))),
            Operation::ForgetDead(_, _, asked) | Operation::Trim(_, asked) => {
                drop(asked.send(Err(unavailable)));
            }
        }
    }
    answer_all(appends);
}

impl Operation {
    /// About how much it has to be written.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(entry, _) => entry.received.body.len(),
            Self::Save(change, _) => change.dead.len() * 64,
            Self::ForgetDead(_, events, _) => events.len() * 64,
            Self::ForgetConsumer(name, _) => name.len(),
            Self::PutDocument(_, value, _) => value.as_ref().map_or(0, Vec::len),
            // So much that it is alone with few others.
            Self::Trim(..) => queue::MAX_BATCH_BYTES / 4,
        }
    }
}

/// How many events are read at once.
const READ_AT_ONCE: usize = 1024;

/// The WAL is brought into the database when it has got so much. Who sends meanwhile waits: with less, or
/// with pages counted that are not there, it would be one request in a hundred at 4,000 a second.
const CHECKPOINT_BYTES: usize = 16 * 1024 * 1024;

/// How long nothing is tried after a failure.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
