//! [`Shared`]: what the handle, the desks and the tasks of one instance have in common.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

use super::asking::Asking;
use super::following::Following;
use super::grants::Grants;
use super::link::Link;
use super::options::PostgresOptions;
use super::peers::Peers;
use super::reading::Bulk;
use super::schema::Known;
use super::verify::Verifier;
use crate::clock::Clock;
use crate::journal::{Gathered, Seq, Share, Version};
use crate::telemetry::AppendLock;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: PostgresOptions,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) times: Times,
    pub(super) known: Known,
    pub(super) verifier: Arc<Verifier>,
    pub(super) following: Arc<Following>,
    pub(super) documents: watch::Sender<Version>,
    /// The newest change of a document that the program has applied.
    pub(super) applied: AtomicU64,
    /// For everything that has no connection of its own.
    pub(super) link: Link,
    /// For the records that consumers and the index read.
    pub(super) bulk: Bulk,
    pub(super) grants: Grants,
    pub(super) news: Arc<News>,
    pub(super) counts: Counts,
    /// Takes note of how long appends wait for the others, once there are metrics.
    pub(super) append_lock: OnceLock<AppendLock>,
    /// Whether the writer has a connection.
    pub(super) is_writing: AtomicBool,
    /// Whether a synchronous standby was connected at the last beat, or none is needed.
    pub(super) has_standby: AtomicBool,
    /// Why the database could lose what it acknowledges, at the last beat.
    unfit: Mutex<Option<String>>,
    /// Whether a task has ended by a panic.
    pub(super) broken: watch::Sender<bool>,
    identity: Mutex<Uuid>,
    pub(super) peers: Peers,
    /// Until when the shares may be used, as time since boot.
    lease_until: Mutex<Duration>,
    /// The longest lease of all instances.
    longest_lease: Mutex<Duration>,
}

/// What other instances say, and what this one has to say.
#[derive(Debug)]
pub(super) struct News {
    /// Of this instance, in what it tells.
    pub(super) id: Uuid,
    /// The newest body that others must be told of.
    pub(super) head: AtomicU64,
    pub(super) to_tell: Notify,
    /// A share was given back, or another instance has joined.
    pub(super) shares: Notify,
    /// The newest numbers of commands and notes that are known.
    pub(super) commands: watch::Sender<u64>,
    pub(super) notes: watch::Sender<u64>,
    /// What is to be told beside the newest body.
    sayings: Mutex<Vec<String>>,
    asking: [Asking; 2],
    /// What others tell that nobody needs.
    pub(super) told: broadcast::Sender<Arc<str>>,
}

/// Where times come from that are stored.
#[derive(Debug, Default)]
pub(super) struct Times(Option<Arc<dyn Clock>>);

/// What has happened since the start.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) appends: AtomicU64,
    pub(super) unknown_found: AtomicU64,
    pub(super) unknown_absent: AtomicU64,
    pub(super) fenced: AtomicU64,
    pub(super) taken: AtomicU64,
}

impl Times {
    /// A test's clock in place of the database's.
    #[cfg(test)]
    pub(super) fn of(clock: Arc<dyn Clock>) -> Self {
        Self(Some(clock))
    }

    /// Returns the time to use; `None` for the database's.
    pub(super) fn now(&self) -> Option<i64> {
        self.0.as_ref().map(|clock| clock.now().as_millisecond())
    }
}

impl News {
    /// Whatever others tell is heard by whoever listens then.
    pub(super) fn new(id: Uuid) -> Self {
        Self {
            id,
            head: AtomicU64::default(),
            to_tell: Notify::default(),
            shares: Notify::default(),
            commands: watch::Sender::default(),
            notes: watch::Sender::default(),
            sayings: Mutex::default(),
            asking: Default::default(),
            told: broadcast::Sender::new(MOST_TOLD),
        }
    }

    /// The questions for this.
    pub(super) fn asking(&self, what: Gathered) -> &Asking {
        let [notes, progress] = &self.asking;
        match what {
            Gathered::Notes => notes,
            Gathered::Progress => progress,
        }
    }

    /// Takes what is to be told beside the newest body.
    pub(super) fn take_sayings(&self) -> Vec<String> {
        std::mem::take(&mut *self.sayings())
    }

    fn sayings(&self) -> MutexGuard<'_, Vec<String>> {
        self.sayings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    #[allow(clippy::too_many_arguments)] // the parts of one struct
    pub(super) fn new(
        options: PostgresOptions,
        clock: Arc<dyn Clock>,
        times: Times,
        known: Known,
        verifier: Arc<Verifier>,
        following: Arc<Following>,
        link: Link,
        bulk: Bulk,
        news: Arc<News>,
        identity: Uuid,
    ) -> Self {
        let lease_until = Mutex::new(clock.since_boot());
        let longest_lease = Mutex::new(options.lease);
        Self {
            options,
            clock,
            times,
            known,
            verifier,
            following,
            documents: watch::Sender::new(0),
            applied: AtomicU64::new(0),
            link,
            bulk,
            grants: Grants::default(),
            news,
            counts: Counts::default(),
            append_lock: OnceLock::new(),
            is_writing: AtomicBool::new(true),
            has_standby: AtomicBool::new(true),
            unfit: Mutex::default(),
            broken: watch::Sender::new(false),
            identity: Mutex::new(identity),
            peers: Peers::default(),
            lease_until,
            longest_lease,
        }
    }

    pub(super) fn shares(&self) -> Share {
        self.known.shares
    }

    /// Returns why nothing may be acknowledged now.
    pub(super) fn unfit(&self) -> Option<String> {
        { self.unfit.lock() }
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn set_unfit(&self, now: Option<String>) {
        let mut unfit = self.unfit.lock().unwrap_or_else(PoisonError::into_inner);
        match (&*unfit, &now) {
            (None, Some(why)) => {
                log::error!("journal: events are answered 503 until this is changed: {why}");
            }
            (Some(_), None) => log::info!("journal: the database is fit again"),
            _ => {}
        }
        *unfit = now;
    }

    /// Returns the id under which this instance holds shares.
    pub(super) fn identity(&self) -> Uuid {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins again under another id, because others have declared this instance dead.
    pub(super) fn set_identity(&self, id: Uuid) {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = id;
    }

    /// Returns until when this instance may use its shares, if the machine is not suspended meanwhile.
    pub(super) fn lease_until(&self) -> Instant {
        self.clock.monotonic() + self.lease_left()
    }

    pub(super) fn lease_left(&self) -> Duration {
        let until = *{ self.lease_until.lock() }.unwrap_or_else(PoisonError::into_inner);
        until.saturating_sub(self.clock.since_boot())
    }

    pub(super) fn set_lease(&self, until: Duration) {
        *{ self.lease_until.lock() }.unwrap_or_else(PoisonError::into_inner) = until;
    }

    pub(super) fn is_lease_valid(&self) -> bool {
        !self.lease_left().is_zero()
    }

    /// Returns how long an instance keeps its shares, whichever it is.
    pub(super) fn longest_lease(&self) -> Duration {
        *self
            .longest_lease
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_longest_lease(&self, lease: Duration) {
        *self
            .longest_lease
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = lease;
    }

    /// Takes note of a change of documents.
    pub(super) fn heard_documents(&self, version: Version) {
        heard(&self.documents, version);
    }

    /// Tells the others something else.
    pub(super) fn say(&self, what: String) {
        let mut sayings = self.news.sayings();
        if sayings.len() < MOST_SAYINGS {
            sayings.push(what);
        }
        drop(sayings);
        self.news.to_tell.notify_one();
    }

    /// Makes the others renew immediately, so that they know of this instance.
    pub(super) fn say_joined(&self) {
        self.say("s".to_owned());
    }

    /// Tells the others of a body.
    pub(super) fn tell(&self, head: Seq) {
        self.news.head.fetch_max(head, Ordering::SeqCst);
        self.news.to_tell.notify_one();
    }
}

/// So many messages wait while the database is away; further ones are left out.
const MOST_SAYINGS: usize = 256;

/// So many messages wait for a slow listener.
const MOST_TOLD: usize = 64;

/// Raises a number that is waited for.
pub(super) fn heard(newest: &watch::Sender<u64>, number: u64) {
    newest.send_if_modified(|newest| {
        let is_newer = number > *newest;
        *newest = number.max(*newest);
        is_newer
    });
}
