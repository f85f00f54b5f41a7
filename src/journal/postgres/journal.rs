//! [`Postgres`]: the handle on a journal in a PostgreSQL database.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use uuid::Uuid;

use super::desk::{PostgresDesk, Save};
use super::engine::{self, End};
use super::options::{PostgresError, PostgresOptions};
use super::shared::{Shared, Times};
use super::sql::{number, signed};
use super::writer::Asked;
use super::{deleting, letters};
use crate::clock::Clock;
use crate::journal::{
    Appended, DeadLetters, Deletion, Desk, Desks, Document, Documents, Entry, Expected, Grant, Log,
    NamedLetter, Position, PutError, Record, Seq, Share, Tail, Unavailable, Version,
};

/// A journal in a PostgreSQL database, which several instances may share.
///
/// Each instance has six connections, for moments a seventh one, and a thread. Dropping the handle ends them as [`Log::close`] does, without
/// waiting.
#[derive(Debug)]
pub struct Postgres {
    pub(super) shared: Arc<Shared>,
    /// `None` once the journal is closed.
    queues: Mutex<Option<Queues>>,
    end: watch::Sender<End>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug, Clone)]
struct Queues {
    appends: mpsc::Sender<Asked>,
    saves: mpsc::Sender<Save>,
}

/// What has happened since the journal was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PostgresCounts {
    /// Calls that have stored bodies.
    pub appends: u64,
    /// Appends whose outcome was unknown, and that were found stored later.
    pub unknown_found: u64,
    /// Appends whose outcome was unknown, and that were not stored.
    pub unknown_absent: u64,
    /// Bodies that were acknowledged and are gone, because the database has gone back.
    pub lost: u64,
    /// Saves of a share that another instance had taken.
    pub fenced: u64,
    /// Shares that were taken.
    pub taken: u64,
}

impl Postgres {
    /// Opens the journal, and creates its schema if there is none. Several instances may do so at the same time.
    ///
    /// # Errors
    ///
    /// If the database cannot be reached, or is not fit for a journal.
    pub async fn connect(
        options: PostgresOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, PostgresError> {
        Self::open(options, clock, Times::default()).await
    }

    pub(super) async fn open(
        options: PostgresOptions,
        clock: Arc<dyn Clock>,
        times: Times,
    ) -> Result<Self, PostgresError> {
        let running = engine::start(options, clock, times).await?;
        let queues = Queues {
            appends: running.appends,
            saves: running.saves,
        };
        Ok(Self {
            shared: running.shared,
            queues: Mutex::new(Some(queues)),
            end: running.end,
            thread: Mutex::new(Some(running.thread)),
        })
    }

    /// Begins to take a fair part of the shares, and returns those that this instance holds. While there are changes of
    /// documents that were not [applied](Self::applied), it takes none. The housekeeper's has
    /// the number of [shares](Desks::shares): its holder does what only one instance may do.
    pub fn held(&self) -> watch::Receiver<BTreeMap<Share, Grant>> {
        self.shared.grants.want();
        self.shared.grants.held.subscribe()
    }

    /// Returns until when this instance may use its shares, unless it renews its lease before. Afterwards it must
    /// start no attempt, and break off those that run.
    pub fn lease_until(&self) -> Instant {
        self.shared.lease_until()
    }

    /// Opens the desk of a share that this instance holds.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Ended`] if the journal is closed.
    pub fn desk_of(&self, grant: Grant) -> Result<Arc<dyn Desk>, Unavailable> {
        let saves = self.queues()?.saves;
        Ok(Arc::new(PostgresDesk::new(
            Arc::clone(&self.shared),
            saves,
            grant,
        )))
    }

    /// Gives a share back, after everything of it was saved. Another instance takes it immediately.
    ///
    /// # Errors
    ///
    /// If that cannot be stored now; a caller may try again.
    pub async fn give_back(&self, grant: Grant) -> Result<(), Unavailable> {
        let (no, epoch) = (i32::from(grant.share), signed(grant.epoch));
        self.shared
            .link
            .call(GIVE_BACK, &[&no, &epoch, &grant.holder])
            .await?;
        self.shared.grants.remove(grant);
        Ok(())
    }

    /// Which log it is: another one in each schema, and the same one in a copy of the database.
    pub fn log_id(&self) -> Uuid {
        self.shared.known.log_id
    }

    /// Says that the program has applied all changes of documents up to this one. Whenever the connection was made
    /// again, [`Documents::watch_documents`] tells of the newest change once more, which may be an earlier one: then
    /// this must be said again, after reading all documents.
    pub fn applied(&self, version: Version) {
        if version > *self.shared.documents.borrow() {
            // The database has gone back meanwhile, and it was one that is lost.
            return;
        }
        self.shared.applied.fetch_max(version, Ordering::SeqCst);
        self.shared.grants.look.notify_one();
    }

    /// Returns what has happened since the journal was opened.
    pub fn counts(&self) -> PostgresCounts {
        let counts = &self.shared.counts;
        PostgresCounts {
            appends: counts.appends.load(Ordering::Relaxed),
            unknown_found: counts.unknown_found.load(Ordering::Relaxed),
            unknown_absent: counts.unknown_absent.load(Ordering::Relaxed),
            lost: self.shared.verifier.lost(),
            fenced: counts.fenced.load(Ordering::Relaxed),
            taken: counts.taken.load(Ordering::Relaxed),
        }
    }

    /// Stops everything where it is, as SIGKILL would.
    #[cfg(test)]
    pub(super) fn kill(&self) {
        self.end.send_replace(End::Abruptly);
    }

    fn queues(&self) -> Result<Queues, Unavailable> {
        let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        queues.clone().ok_or(Unavailable::Ended)
    }

    fn end(&self) -> Option<JoinHandle<()>> {
        self.queues
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        self.end.send_if_modified(|end| {
            let is_running = *end == End::Not;
            if is_running {
                *end = End::Gracefully;
            }
            is_running
        });
        self.thread
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

#[async_trait]
impl Log for Postgres {
    async fn append(&self, entry: Entry) -> Result<Appended, Unavailable> {
        let (caller, answered) = oneshot::channel();
        let appends = self.queues()?.appends;
        appends
            .try_send(Asked { entry, caller })
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    Unavailable::Full("too much waits to be written".to_owned())
                }
                mpsc::error::TrySendError::Closed(_) => Unavailable::Ended,
            })?;
        drop(appends);
        let longest = self.shared.options.append_timeout + ANSWERED_WITHIN;
        match timeout(longest, answered).await {
            Ok(answered) => answered.map_err(|_| Unavailable::Ended)?,
            // The writer may have sent it meanwhile.
            Err(_) => Err(Unavailable::Unknown(
                "the database did not answer in time".to_owned(),
            )),
        }
    }

    async fn read(&self, after: Seq, most: usize) -> Result<Vec<Record>, Unavailable> {
        let (bulk, shares) = (&self.shared.bulk, self.shared.shares());
        bulk.records(after, most, shares).await
    }

    async fn trim(&self, up_to: Seq) -> Result<usize, Unavailable> {
        let rows = self.shared.link.call(TRIM, &[&signed(up_to)]).await?;
        let (gone, removed) = (number(&rows[0], 0), number(&rows[0], 1));
        self.shared.following.tail().remove_up_to(gone);
        Ok(removed as usize)
    }

    async fn delete(&self, bodies: &[Seq]) -> Result<usize, Unavailable> {
        deleting::delete(&self.shared, bodies).await
    }

    async fn deletions(&self, after: u64, most: usize) -> Result<Vec<Deletion>, Unavailable> {
        deleting::after(&self.shared.link, after, most).await
    }

    async fn bytes(&self) -> Result<u64, Unavailable> {
        let rows = self.shared.link.read(BYTES, &[]).await?;
        Ok(number(&rows[0], 0))
    }

    fn tail(&self) -> &Arc<Tail> {
        self.shared.following.tail()
    }

    fn is_ready(&self) -> bool {
        let has_standby = self.shared.has_standby.load(Ordering::SeqCst);
        let is_durable = has_standby && self.shared.unfit().is_none();
        self.shared.is_writing.load(Ordering::SeqCst) && self.shared.is_lease_valid() && is_durable
    }

    async fn broken(&self) {
        let mut broken = self.shared.broken.subscribe();
        // The sender is in `self`.
        let _ = broken.wait_for(|broken| *broken).await;
    }

    async fn close(&self) {
        if let Some(thread) = self.end() {
            // The thread has ended even if it panicked.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }
}

#[async_trait]
impl Desks for Postgres {
    fn shares(&self) -> Share {
        self.shared.shares()
    }

    async fn desk(&self, share: Share) -> Result<Arc<dyn Desk>, Unavailable> {
        let holder = self.shared.identity();
        let rows = self
            .shared
            .link
            .call(SEIZE, &[&i32::from(share), &holder])
            .await?;
        let Some(epoch) = rows[0].get::<_, Option<i64>>(0) else {
            return Err(Unavailable::Away(format!(
                "the journal has no share {share}"
            )));
        };
        let epoch = epoch.unsigned_abs();
        self.desk_of(Grant {
            share,
            epoch,
            is_ending: false,
            holder,
        })
    }

    async fn introduce(&self, consumer: &str, head: &[u8]) -> Result<(), Unavailable> {
        self.shared
            .link
            .call(INTRODUCE, &[&consumer.as_bytes(), &head])
            .await
            .map(drop)
    }

    async fn forget_consumer(&self, consumer: &str) -> Result<(), Unavailable> {
        self.shared
            .link
            .call(FORGET, &[&consumer.as_bytes()])
            .await
            .map(drop)
    }
}

#[async_trait]
impl Documents for Postgres {
    async fn put_document(
        &self,
        key: &str,
        value: Option<Vec<u8>>,
        expected: Expected,
    ) -> Result<Version, PutError> {
        let (mode, version) = match expected {
            Expected::Anything => (0i32, 0),
            Expected::Absent => (1, 0),
            Expected::Version(version) => (2, signed(version)),
        };
        let rows = self
            .shared
            .link
            .call(PUT, &[&key.as_bytes(), &value, &mode, &version])
            .await?;
        let version = rows[0].get::<_, Option<i64>>(0).ok_or(PutError::Conflict)?;
        let version = version.unsigned_abs();
        self.shared.heard_documents(version);
        Ok(version)
    }

    async fn documents(&self, prefix: &str) -> Result<Vec<Document>, Unavailable> {
        let prefix = prefix.as_bytes();
        let rows = self
            .shared
            .link
            .read(DOCUMENTS, &[&prefix, &(prefix.len() as i32)])
            .await?;
        let documents = rows.iter().map(|row| {
            let key = String::from_utf8(row.get(0));
            let key =
                key.map_err(|_| Unavailable::Away("a key is not what was written".to_owned()))?;
            Ok(Document {
                key,
                value: row.get(1),
                version: number(row, 2),
            })
        });
        documents.collect()
    }

    fn watch_documents(&self) -> watch::Receiver<Version> {
        self.shared.documents.subscribe()
    }
}

#[async_trait]
impl DeadLetters for Postgres {
    async fn dead_letters(
        &self,
        consumer: Option<&str>,
        before: Option<(Position, &str)>,
        most: usize,
    ) -> Result<Vec<NamedLetter>, Unavailable> {
        letters::list(&self.shared.link, consumer, before, most).await
    }

    async fn dead_letters_of(&self, events: &[Position]) -> Result<Vec<NamedLetter>, Unavailable> {
        letters::of(&self.shared.link, events).await
    }

    async fn forget_dead_letters(
        &self,
        consumer: &str,
        events: &[Position],
    ) -> Result<usize, Unavailable> {
        letters::forget(&self.shared.link, consumer, events).await
    }
}

/// Ends the thread, without waiting for it.
impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// What the writer knows when the time is over comes first.
const ANSWERED_WITHIN: Duration = Duration::from_millis(100);

const GIVE_BACK: &str = "SELECT give_back_1($1, $2, $3)";
const TRIM: &str = "SELECT gone, removed FROM trim_1($1)";
const BYTES: &str = "SELECT coalesce(newest.total - oldest.total + oldest.own, 0)::bigint FROM \
    (SELECT total FROM block ORDER BY last DESC LIMIT 1) newest, \
    (SELECT total, octet_length(sums) + octet_length(bodies) AS own FROM block \
    WHERE last >= (SELECT first_seq FROM meta) ORDER BY last LIMIT 1) oldest \
    UNION ALL SELECT 0 LIMIT 1";
const SEIZE: &str = "SELECT seize_1($1, $2)";
const INTRODUCE: &str = "SELECT introduce_1($1, $2)";
const FORGET: &str = "SELECT forget_consumer_1($1)";
const PUT: &str = "SELECT put_document_1($1, $2, $3, $4)";
const DOCUMENTS: &str = "SELECT key, value, version FROM document \
    WHERE key >= $1 AND substring(key FROM 1 FOR $2) = $1 ORDER BY key";
