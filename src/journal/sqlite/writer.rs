//! [`Writer`]: the thread that writes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rusqlite::OpenFlags;
use tokio::runtime::{Builder, Runtime};

use super::commit::parts;
use super::open_error::OpenError;
use super::operation::{Operation, Outcome, answer, refuse};
use super::queue::{self, Queue};
use super::shared::Shared;
use super::state::Open;
use super::store;
use crate::Timestamp;
use crate::clock::Clock;
use crate::journal::dedup::DedupTuning;
use crate::journal::{Appended, Record, Tail, Unavailable};
use crate::telemetry::JournalMetrics;

pub(super) struct Writer {
    path: PathBuf,
    keys_folder: PathBuf,
    clock: Arc<dyn Clock>,
    tail: Arc<Tail>,
    shared: Arc<Shared>,
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
        let now = clock.now().as_millisecond();
        let open = Open::start(database, &keys_folder, now, DedupTuning::default())?;
        shared.documents.send_replace(open.documents);
        let timer = Builder::new_current_thread().enable_time().build();
        Ok(Self {
            path: path.to_owned(),
            keys_folder,
            tail: Arc::new(Tail::new(open.head)),
            shared,
            metrics,
            clock,
            state: State::Open(Box::new(open)),
            timer: timer.map_err(|error| OpenError::io(path, error))?,
        })
    }

    pub(super) fn tail(&self) -> &Arc<Tail> {
        &self.tail
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self, queue: &Queue) {
        let _closed = queue.closed_at_end();
        let unpark = queue::unpark(std::thread::current());
        let mut batch = Vec::new();
        let _ended = NotReady(Arc::clone(&self.shared));
        loop {
            self.recover(queue, &mut batch);
            queue.take(&mut batch, &unpark);
            if batch.is_empty() {
                return;
            }
            self.write(&mut batch);
        }
    }

    /// Opens a failed journal again when it is time to try and no operation arrives: a sender that
    /// waits until the journal is ready would otherwise wait forever.
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
            // After another failure there is another try.
            drop(self.reopened());
        }
    }

    /// Writes a batch in one transaction, and answers each operation in it.
    fn write(&mut self, batch: &mut Vec<Operation>) {
        if let Err(why) = self.reopened() {
            return refuse(batch, &why);
        }
        let State::Open(open) = &mut self.state else {
            return;
        };
        let now = self.clock.now().as_millisecond();
        let (started, before) = (self.clock.monotonic(), open.head);
        let epoch = self.shared.epoch.load(Ordering::SeqCst);
        match open.commit(batch, now, epoch, self.clock.as_ref()) {
            Ok((outcomes, commit)) => {
                let took = self.clock.monotonic().saturating_duration_since(started);
                self.metrics.batch(open.head - before, took, commit);
                let kept_at = Timestamp::from_millisecond(open.kept_at).unwrap_or_default();
                let durable = batch.iter().zip(&outcomes);
                let records =
                    durable.filter_map(|(operation, outcome)| record(operation, outcome, kept_at));
                self.tail.publish(records);
                self.shared.documents.send_if_modified(|newest| {
                    std::mem::replace(newest, open.documents) != open.documents
                });
                answer(batch, outcomes);
                open.tidy(now);
            }
            Err(error) => {
                let why = unavailable(&error);
                log::error!(
                    "journal: a write failed, nothing is acknowledged until one succeeds: {why}"
                );
                // Set before the answers, so that a refused caller finds the journal not ready.
                self.fail(why.clone());
                refuse(batch, &why);
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
        self.metrics.failure();
        self.shared.ready.store(false, Ordering::Relaxed);
        self.state = State::Failed {
            retry_at: self.clock.monotonic() + REOPEN_PAUSE,
            why,
        };
    }
}

/// Returns a record that is now durable, for consumers that keep up.
fn record(operation: &Operation, outcome: &Outcome, kept_at: Timestamp) -> Option<Record> {
    let Operation::Append(entry, _) = operation else {
        return None;
    };
    let Outcome::Appended(Appended::New { seq, duplicates }) = outcome else {
        return None;
    };
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

/// How many records are read together.
const READ_AT_ONCE: usize = 1024;

/// The pause between a failure and the next try.
const REOPEN_PAUSE: Duration = Duration::from_secs(1);
