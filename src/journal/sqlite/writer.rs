//! [`Writer`]: the thread that writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;
use tokio::sync::{mpsc, watch};

use super::commit::Open;
use super::folder::OpenError;
use super::operation::{Operation, parts};
use super::store;
use crate::Timestamp;
use crate::clock::Clock;
use crate::journal::{Appended, Record, Tail, Unavailable, Version};
use crate::telemetry::JournalMetrics;

/// The state that the handle and the thread share.
#[derive(Debug)]
pub(super) struct Shared {
    /// Whether the journal can store what it is given.
    pub(super) ready: AtomicBool,
    /// How often the desk was opened: only the newest desk may save progress.
    pub(super) epoch: AtomicU64,
    /// The newest change of a document.
    pub(super) documents: watch::Sender<Version>,
}

/// The thread that writes.
pub(super) struct Writer {
    path: PathBuf,
    keys_folder: PathBuf,
    clock: Arc<dyn Clock>,
    tail: Arc<Tail>,
    shared: Arc<Shared>,
    metrics: JournalMetrics,
    state: State,
}

enum State {
    Open(Box<Open>),
    /// A write has failed; the next try to open is not before this.
    Failed {
        retry_at: Instant,
        why: Unavailable,
    },
}

impl Writer {
    pub(super) fn open(
        path: &Path,
        keys_folder: PathBuf,
        shared: Arc<Shared>,
        metrics: JournalMetrics,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, OpenError> {
        let database = store::open_writer(path, OpenFlags::default())?;
        let open = Open::start(database, &keys_folder, clock.now().as_millisecond())?;
        shared.documents.send_replace(open.documents);
        Ok(Self {
            path: path.to_owned(),
            keys_folder,
            tail: Arc::new(Tail::new(open.head)),
            shared,
            metrics,
            clock,
            state: State::Open(Box::new(open)),
        })
    }

    pub(super) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Writes until the queue is closed and empty. It has a thread of its own, because it blocks.
    pub(super) async fn run(mut self, mut queue: mpsc::Receiver<Operation>) {
        let _ended = NotReady(Arc::clone(&self.shared));
        let mut batch = Vec::new();
        loop {
            self.next_batch(&mut queue, &mut batch).await;
            if batch.is_empty() {
                return;
            }
            while !batch.is_empty() {
                let rest = batch.split_off(one_commit(&batch));
                self.write(&mut batch);
                batch.extend(rest);
            }
        }
    }

    /// Waits for operations. A failed journal is opened again when it is time to try, also while no
    /// operation arrives: a sender that waits until the journal is ready would otherwise wait forever.
    async fn next_batch(
        &mut self,
        queue: &mut mpsc::Receiver<Operation>,
        batch: &mut Vec<Operation>,
    ) {
        while let State::Failed { retry_at, .. } = &self.state {
            let pause = retry_at.saturating_duration_since(self.clock.monotonic());
            tokio::select! {
                biased;
                _ = queue.recv_many(batch, MAX_BATCH) => return,
                () = self.clock.sleep(pause) => {}
            }
            // After another failure there is another try.
            drop(self.reopened());
        }
        queue.recv_many(batch, MAX_BATCH).await;
    }

    /// Writes a batch in one transaction, and answers each operation in it.
    fn write(&mut self, batch: &mut Vec<Operation>) {
        let written = self.reopened().and_then(|()| self.try_write(batch));
        let failure = written.err();
        for operation in batch.drain(..) {
            operation.answer(failure.as_ref());
        }
        if let State::Open(open) = &mut self.state {
            open.tidy(self.clock.now().as_millisecond());
        }
    }

    fn try_write(&mut self, batch: &mut [Operation]) -> Result<(), Unavailable> {
        let State::Open(open) = &mut self.state else {
            return Err(Unavailable::Ended);
        };
        let now = self.clock.now().as_millisecond();
        let (started, before) = (self.clock.monotonic(), open.head);
        let epoch = self.shared.epoch.load(Ordering::SeqCst);
        match open.commit(batch, now, epoch, self.clock.as_ref()) {
            Ok(commit) => {
                let took = self.clock.monotonic().saturating_duration_since(started);
                self.metrics.batch(open.head - before, took, commit);
                let kept_at = Timestamp::from_millisecond(open.kept_at).unwrap_or_default();
                let records = batch
                    .iter()
                    .filter_map(|operation| record(operation, kept_at));
                self.tail.publish(records);
                self.shared.documents.send_if_modified(|newest| {
                    std::mem::replace(newest, open.documents) != open.documents
                });
                Ok(())
            }
            Err(error) => {
                let why = unavailable(&error);
                log::error!(
                    "journal: a write failed, nothing is acknowledged until one succeeds: {why}"
                );
                // Set before the answers, so that a refused caller finds the journal not ready.
                self.fail(why.clone());
                Err(why)
            }
        }
    }

    /// Opens the database again after a failure, when it is time to try.
    fn reopened(&mut self) -> Result<(), Unavailable> {
        let State::Failed { retry_at, why } = &self.state else {
            return Ok(());
        };
        if self.clock.monotonic() < *retry_at {
            return Err(why.clone());
        }
        let now = self.clock.now().as_millisecond();
        let head = self.tail.head();
        match Open::again(&self.path, &self.keys_folder, now, head) {
            Ok(open) => {
                // If the failed commit left anything behind, it is part of the log now.
                while self.tail.head() < open.head {
                    match store::read(&open.database, self.tail.head(), READ_AT_ONCE) {
                        Ok(records) if records.is_empty() => break,
                        Ok(records) => self.tail.publish(records),
                        Err(error) => {
                            let why = unavailable(&error);
                            self.fail(why.clone());
                            return Err(why);
                        }
                    }
                }
                self.state = State::Open(Box::new(open));
                self.shared.ready.store(true, Ordering::Relaxed);
                log::info!("journal: writing again");
                Ok(())
            }
            Err(error) => {
                let why = Unavailable::Away(error.to_string());
                self.fail(why.clone());
                Err(why)
            }
        }
    }

    fn fail(&mut self, why: Unavailable) {
        self.metrics.failures.inc();
        self.shared.ready.store(false, Ordering::Relaxed);
        self.state = State::Failed {
            retry_at: self.clock.monotonic() + REOPEN_PAUSE,
            why,
        };
    }
}

/// Returns how many operations fit into one commit; at least one.
fn one_commit(batch: &[Operation]) -> usize {
    let mut bytes = 0;
    let fits = |operation: &&Operation| {
        let fits = bytes < MAX_BATCH_BYTES;
        bytes += operation.bytes();
        fits
    };
    batch.iter().take_while(fits).count()
}

/// Returns a record that is now durable, for consumers that keep up.
fn record(operation: &Operation, kept_at: Timestamp) -> Option<Record> {
    let Operation::Append(append) = operation else {
        return None;
    };
    let Some(Appended::New { seq, duplicates }) = &append.appended else {
        return None;
    };
    let entry = &append.entry;
    Some(Record {
        seq: *seq,
        kept_at,
        parts: parts(entry, duplicates),
        received: Arc::clone(&entry.received),
        events: Some(Arc::clone(&entry.events)),
    })
}

fn unavailable(error: &rusqlite::Error) -> Unavailable {
    let text = error.to_string();
    if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
        Unavailable::Full(text)
    } else {
        Unavailable::Away(text)
    }
}

/// Marks the journal as not ready when the thread ends, also by a panic.
struct NotReady(Arc<Shared>);

impl Drop for NotReady {
    fn drop(&mut self) {
        self.0.ready.store(false, Ordering::Relaxed);
    }
}

const MAX_BATCH: usize = 1024;
pub(super) const MAX_BATCH_BYTES: usize = 8 * 1024 * 1024;

/// How many records are read together.
const READ_AT_ONCE: usize = 1024;

/// The pause between a failure and the next try.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
