//! [`JournalWriter`]: the thread that writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::watch;

use super::checkpoint::save_wal;
use super::commit::{CommitError, OpenDatabase, Step};
use super::damage::Damage;
use super::files::{Gone, OpenFiles};
use super::folder::{FILE, KEYS, OpenError};
use super::known::Known;
use super::operation::{Asked, Queue, Queued};
use super::readers::Readers;
use super::rekey::{KeysOf, rekey};
use super::wal::WalScan;
use super::{reading, schema, store};
use crate::clock::Clock;
use crate::journal::{Record, Tail, Unavailable, Version};
use crate::telemetry::{JournalMetrics, ONGOING, Throttle};

/// The state that the handle and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whether the journal can store what it is given.
    pub(super) ready: AtomicBool,
    /// How often the desk was opened: only the newest desk may save progress.
    pub(super) epoch: AtomicU64,
    /// The newest change of a document.
    pub(super) documents: watch::Sender<Version>,
    pub(super) tail: Arc<Tail>,
    pub(super) damage: Damage,
    /// How many consumers had lost their heads, and how many of those have others now.
    pub(super) lost_heads: AtomicUsize,
    pub(super) replaced_heads: AtomicUsize,
    /// Whether the thread has ended by a panic.
    pub(super) panicked: watch::Sender<bool>,
}

pub(super) struct JournalWriter {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
    metrics: JournalMetrics,
    known: Known,
    state: WriterState,
    /// The files that were opened, also while they are closed after a failure.
    files: OpenFiles,
    /// Whether everything is in the database, so that a new WAL may be begun.
    is_wal_saved: bool,
    /// See [`Abandoned::unsaved`](super::commit::Abandoned::unsaved).
    unsaved: Option<Connection>,
    /// A sync has failed that was not a commit's, so what was copied from the WAL cannot be trusted.
    copies_doubtful: bool,
    readers: Arc<Readers>,
    failures: Throttle,
    /// The log has told of a failure, and not yet of its end.
    is_logged: bool,
}

enum WriterState {
    Open(Box<OpenDatabase>),
    /// A write has failed; the next try to open is not before this.
    Failed {
        retry_at: Instant,
        why: Unavailable,
    },
}

impl JournalWriter {
    pub(super) fn open(
        folder: &Path,
        readers: &Arc<Readers>,
        metrics: JournalMetrics,
        clock: Arc<dyn Clock>,
        keys_of: Option<KeysOf<'_>>,
        wal: &WalScan,
    ) -> Result<Self, OpenError> {
        let path = &folder.join(FILE);
        let database = store::open_writer(path, OpenFlags::default())?;
        schema::check(&database)?;
        // Read before anything writes, so that a database with visible damage is left unchanged.
        schema::check_tables(&database)?;
        let open = OpenDatabase::start(database, path, readers)?;
        let now = clock.now().as_millisecond();
        let damage = Damage::new(metrics.damaged.clone());
        if let Some(keys_of) = keys_of {
            let (head, _) = reading::newest(&open.database)?;
            rekey(
                &open.database,
                &folder.join(KEYS),
                head,
                now,
                keys_of,
                &damage,
            )?;
        }
        let known = Known::read(&open.database, folder, now, wal, &damage)?;
        let shared = Shared {
            ready: AtomicBool::new(true),
            epoch: AtomicU64::new(0),
            documents: watch::Sender::new(known.documents),
            tail: Arc::new(Tail::new(known.head)),
            damage,
            lost_heads: AtomicUsize::new(0),
            replaced_heads: AtomicUsize::new(0),
            panicked: watch::Sender::new(false),
        };
        Ok(Self {
            path: path.to_owned(),
            shared: Arc::new(shared),
            metrics,
            clock,
            known,
            files: open.files.clone(),
            is_wal_saved: false,
            unsaved: None,
            state: WriterState::Open(Box::new(open)),
            copies_doubtful: false,
            readers: Arc::clone(readers),
            failures: Throttle::every(ONGOING),
            is_logged: false,
        })
    }

    /// Writes until `queue` is closed and empty. It has a thread of its own, because it blocks.
    pub(super) async fn run(mut self, queue: Queue, mut asked: Asked) {
        let mut waiting = Vec::new();
        // Dropped first: a caller that a panic leaves without an answer finds the journal not ready.
        let _end = End(Arc::clone(&self.shared), queue);
        loop {
            self.receive(&mut asked, &mut waiting).await;
            if waiting.is_empty() {
                return self.close();
            }
            while !waiting.is_empty() {
                self.write(&mut waiting);
            }
            // One at a time, between the commits that are answered first.
            waiting.extend(asked.later());
            if !waiting.is_empty() {
                self.write(&mut waiting);
            }
        }
    }

    fn close(self) {
        if let WriterState::Open(open) = self.state {
            open.close(&self.readers);
        } else if let Some(database) = &self.unsaved
            && !save_wal(database, &self.readers)
        {
            log::error!(
                "journal: journal.db-wal was removed, and what it held cannot be copied into journal.db; it is \
                 lost when offhook ends"
            );
        }
    }

    /// Waits for operations. A failed journal is opened again when it is time to try, also while no
    /// operation arrives: a sender that waits until the journal is ready would otherwise wait forever.
    async fn receive(&mut self, asked: &mut Asked, waiting: &mut Vec<Queued>) {
        while let WriterState::Failed { retry_at, .. } = &self.state {
            let pause = retry_at.saturating_duration_since(self.clock.monotonic());
            tokio::select! {
                biased;
                () = asked.receive(waiting, MAX_BATCH) => return,
                () = self.clock.sleep(pause) => {}
            }
            // After another failure there is another try.
            drop(self.reopened());
        }
        asked.receive(waiting, MAX_BATCH).await;
    }

    /// Writes as many operations as fit into one transaction, and answers them.
    fn write(&mut self, waiting: &mut Vec<Queued>) {
        let mut count = one_commit(waiting);
        let written = self
            .reopened()
            .and_then(|()| self.try_write(waiting, &mut count));
        let (mut old, failure) = match written {
            Ok(old) => (old, None),
            Err(failure) => (Vec::new(), Some(failure)),
        };
        // All answers first: one core may serve this thread and the callers.
        for operation in waiting.drain(..count) {
            operation.answer(failure.as_ref(), old.pop());
        }
        if let WriterState::Open(open) = &mut self.state {
            open.tidy(&mut self.known, self.clock.now().as_millisecond());
        }
    }

    /// Writes the first `count` operations. One that cannot be written because of damage beside the log is answered
    /// and taken out, and the others are written without it. Returns the records that have left the tail.
    fn try_write(
        &mut self,
        waiting: &mut Vec<Queued>,
        count: &mut usize,
    ) -> Result<Vec<Arc<Record>>, Unavailable> {
        let WriterState::Open(open) = &mut self.state else {
            return Err(Unavailable::Ended);
        };
        let now = self.clock.now().as_millisecond();
        let started = self.clock.monotonic();
        let epoch = self.shared.epoch.load(Ordering::SeqCst);
        let (known, clock) = (&mut self.known, self.clock.as_ref());
        let committed = loop {
            let mut damaged = None;
            // Each operation keeps its outcome.
            let write = |step: &mut Step<'_>| {
                let mut batch = waiting[..*count].iter_mut().enumerate();
                batch.try_for_each(|(at, one)| {
                    let written = one.write(step);
                    damaged = step.met_damage.then_some(at);
                    written
                })
            };
            match (open.commit(known, write, now, epoch, clock), damaged) {
                (Err(CommitError::Write(error)), Some(at)) => {
                    let why = format!("this cannot be stored, the journal is damaged: {error}");
                    let operation = waiting.remove(at);
                    operation.answer(Some(&Unavailable::Away(why)), None);
                    *count -= 1;
                }
                (committed, _) => break committed,
            }
        };
        match committed {
            Ok((records, took)) => {
                let whole = self.clock.monotonic().saturating_duration_since(started);
                self.metrics.batch(records.len() as u64, whole, took);
                let old = self.shared.tail.publish(records);
                if std::mem::take(&mut self.is_logged) {
                    log::info!("journal: writing again");
                }
                let documents = known.documents;
                self.shared
                    .documents
                    .send_if_modified(|newest| std::mem::replace(newest, documents) != documents);
                Ok(old)
            }
            Err(error) => {
                let why = match &error {
                    CommitError::Write(cause) | CommitError::Commit(cause) => unavailable(cause),
                    CommitError::Gone(gone) => Unavailable::Away(self.files.tell(*gone)),
                };
                // A full disk can be opened again each second, and fails at the next write.
                if let Some(unsaid) = self.failures.pass() {
                    let more = Throttle::more(unsaid);
                    self.is_logged = true;
                    log::error!(
                        "journal: a write failed, nothing is acknowledged until one succeeds: {why}{more}"
                    );
                }
                // Set before the answers, so that a refused caller finds the journal not ready.
                let why = self.fail(why);
                Err(match (error, why) {
                    (CommitError::Commit(_) | CommitError::Gone(_), Unavailable::Away(why)) => {
                        Unavailable::Unknown(why)
                    }
                    (_, why) => why,
                })
            }
        }
    }

    /// Opens the database again after a failure, when it is time to try.
    fn reopened(&mut self) -> Result<(), Unavailable> {
        if let WriterState::Open(open) = &self.state
            && let Some(why) = open.failure()
        {
            if let Some(unsaid) = self.failures.pass() {
                let more = Throttle::more(unsaid);
                self.is_logged = true;
                log::error!(
                    "journal: a checkpoint failed, the database is opened again: {why}{more}"
                );
            }
            self.metrics.failures.inc();
            let (why, retry_at) = (Unavailable::Away(why.to_owned()), self.clock.monotonic());
            self.abandon(WriterState::Failed { retry_at, why });
        }
        let WriterState::Failed { retry_at, why } = &self.state else {
            return Ok(());
        };
        if self.clock.monotonic() < *retry_at {
            return Err(why.clone());
        }
        match self.open_again() {
            Ok(open) => {
                self.state = WriterState::Open(Box::new(open));
                self.shared.ready.store(true, Ordering::Relaxed);
                Ok(())
            }
            Err(why) => Err(self.fail(why)),
        }
    }

    fn open_again(&mut self) -> Result<OpenDatabase, Unavailable> {
        let away = |error: OpenError| Unavailable::Away(error.to_string());
        self.save_wal();
        if let Err(gone) = self.files.may_open(self.is_wal_saved) {
            return Err(Unavailable::Away(self.files.tell(gone)));
        }
        if self.copies_doubtful || self.is_wal_saved || self.files.check().is_err() {
            // Without an open connection SQLite forgets what was copied: the next one reads the whole
            // WAL again. It may find a commit that has failed, whose outcome is unknown. And it does not
            // use a file any more that has lost its name.
            self.readers.while_closed(|| {});
        }
        let opened = {
            // A running read would hinder the checkpoint.
            let _no_reads = self.readers.pause();
            OpenDatabase::again(&self.path, &self.readers, self.known.head)
        };
        self.copies_doubtful = match &opened {
            Err(OpenError::Database(error)) => self.copies_doubtful || store::is_sync(error),
            Err(_) => self.copies_doubtful,
            Ok(_) => false,
        };
        if opened.is_err() && self.is_wal_saved {
            // There was none before, and nothing of this one is acknowledged.
            self.files.take_new_log();
        }
        let open = opened.map_err(away)?;
        (self.files, self.is_wal_saved) = (open.files.clone(), false);
        let now = self.clock.now().as_millisecond();
        let caught_up = self.known.catch_up(&open.database, now);
        caught_up.map_err(away)?;
        let tail = &self.shared.tail;
        // If the failed commit left anything behind, it is part of the log now.
        while tail.head() < self.known.head {
            let (after, damage) = (tail.head(), &self.shared.damage);
            let records =
                reading::read(&open.database, after, READ_AT_ONCE, self.known.head, damage);
            let records = records.map_err(|error| unavailable(&error))?;
            if records.is_empty() {
                break;
            }
            tail.publish(records);
        }
        Ok(open)
    }

    /// Tries once more to copy a log that has lost its name, unless it has it again.
    fn save_wal(&mut self) {
        if let Some(database) = self.unsaved.take()
            && self.files.check() == Err(Gone::Wal)
        {
            self.is_wal_saved = save_wal(&database, &self.readers);
            self.unsaved = Some(database).filter(|_| !self.is_wal_saved);
        }
    }

    fn fail(&mut self, why: Unavailable) -> Unavailable {
        self.metrics.failures.inc();
        self.shared.ready.store(false, Ordering::Relaxed);
        self.abandon(WriterState::Failed {
            retry_at: self.clock.monotonic() + REOPEN_PAUSE,
            why: why.clone(),
        });
        why
    }

    /// Closes the database, if it is open.
    fn abandon(&mut self, failed: WriterState) {
        if let WriterState::Open(open) = std::mem::replace(&mut self.state, failed) {
            let abandoned = open.abandon(&self.readers);
            self.copies_doubtful |= abandoned.is_doubtful;
            self.is_wal_saved = abandoned.is_wal_saved;
            self.unsaved = abandoned.unsaved;
        }
    }
}

/// Returns how many operations fit into one commit; at least one.
fn one_commit(waiting: &[Queued]) -> usize {
    let mut bytes = 0;
    let fits = |operation: &&Queued| {
        let fits = bytes < MAX_BATCH_BYTES;
        bytes += operation.bytes();
        fits
    };
    waiting.iter().take_while(fits).count()
}

fn unavailable(error: &rusqlite::Error) -> Unavailable {
    let text = error.to_string();
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
        Unavailable::Full(text)
    } else {
        Unavailable::Away(text)
    }
}

/// Marks the journal as not ready and closes its queue when the thread ends, also by a panic: an
/// operation that came later would wait forever.
struct End(Arc<Shared>, Queue);

impl Drop for End {
    fn drop(&mut self) {
        self.0.ready.store(false, Ordering::Relaxed);
        self.1.close();
        self.0.panicked.send_replace(std::thread::panicking());
    }
}

const MAX_BATCH: usize = 1024;
pub(super) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How many records are read together.
const READ_AT_ONCE: usize = 1024;

/// The pause between a failure and the next try.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
