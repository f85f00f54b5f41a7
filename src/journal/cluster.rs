//! [`Cluster`]: how the instances that share a journal divide dispatch. [`Grant`]: a part of it.

#[cfg(test)]
mod fake;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use tokio::sync::{broadcast, watch};
use uuid::Uuid;

#[cfg(test)]
pub(crate) use self::fake::FakeCluster;
use super::{Desk, PutError, SavedProgress, Seq, Share, Unavailable, Version};
use crate::Timestamp;
use crate::telemetry::{AppendLock, ClusterState};

/// A journal that several instances share: each dispatches the shares that it holds.
#[async_trait]
#[cfg_attr(not(all(feature = "postgres", feature = "sqlite")), allow(dead_code))]
pub(crate) trait Cluster: Debug + Send + Sync + 'static {
    /// Begins to take a fair part of the shares, and returns those that this instance holds. The housekeeper's has
    /// the number of [shares](super::Desks::shares): its holder does what only one instance may do.
    fn held(&self) -> watch::Receiver<BTreeMap<Share, Grant>>;

    /// Returns until when this instance may use its shares, unless it renews its lease before. Afterwards it must
    /// start no attempt, and break off those that run.
    fn lease_until(&self) -> Instant;

    /// Returns the time by which bodies are stored, whatever the clocks of the instances say.
    ///
    /// # Errors
    ///
    /// If the journal cannot be asked now.
    async fn now(&self) -> Result<Timestamp, Unavailable>;

    /// Returns the number of the newest body that any instance has stored. That of the
    /// [tail](super::Log::tail) may be older.
    ///
    /// # Errors
    ///
    /// If the journal cannot be asked now.
    async fn head(&self) -> Result<Seq, Unavailable>;

    /// Opens the desk of a share that this instance holds.
    ///
    /// # Errors
    ///
    /// [`Unavailable::Ended`] if the journal is closed.
    fn desk_of(&self, grant: Grant) -> Result<Arc<dyn Desk>, Unavailable>;

    /// Returns what was saved last of a consumer in each share, whichever instance holds it.
    ///
    /// # Errors
    ///
    /// If it cannot be read now.
    async fn saved(&self, consumer: &str) -> Result<BTreeMap<Share, SavedProgress>, Unavailable>;

    /// Gives a share back, after everything of it was saved. Another instance takes it immediately.
    ///
    /// # Errors
    ///
    /// If that cannot be stored now; a caller may try again.
    async fn give_back(&self, grant: Grant) -> Result<(), Unavailable>;

    /// Leaves commands for the holders of these shares. Returns their numbers when they are durable.
    ///
    /// # Errors
    ///
    /// If they cannot be stored now.
    async fn command(
        &self,
        consumer: &str,
        commands: &[(Share, Vec<u8>)],
    ) -> Result<Vec<u64>, Unavailable>;

    /// Waits until these commands were carried out. A holder that has vanished is waited for until another has
    /// taken the share.
    ///
    /// # Errors
    ///
    /// If that cannot be known now.
    async fn carried_out(&self, commands: &[u64]) -> Result<(), Unavailable>;

    /// Returns a receiver that is told of new commands.
    fn watch_commands(&self) -> watch::Receiver<u64>;

    /// Returns the commands of a share that are not done, in order.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    async fn commands(&self, share: Share) -> Result<Vec<ShareCommand>, Unavailable>;

    /// Removes a command that was carried out, unless its share is not held by this grant any more: then the next
    /// holder carries it out again.
    ///
    /// # Errors
    ///
    /// If that cannot be stored now.
    async fn remove_command(&self, grant: Grant, id: u64) -> Result<(), Unavailable>;

    /// Says that this instance has applied all changes of documents up to this one.
    fn applied(&self, version: Version);

    /// Waits until every living instance has applied all changes of documents up to this one; without one, those
    /// that are stored now. One that is away is waited for until it is seen dead.
    ///
    /// # Errors
    ///
    /// If that cannot be known now.
    async fn applied_by_all(&self, version: Option<Version>) -> Result<(), Unavailable>;

    /// Leaves a note for the other instances. Returns its number. Notes older than a day are removed.
    ///
    /// # Errors
    ///
    /// If it cannot be stored now.
    async fn add_note(&self, body: &[u8]) -> Result<u64, Unavailable>;

    /// Returns the notes of all instances after this number, at most `most`, in order.
    ///
    /// # Errors
    ///
    /// If they cannot be read now.
    async fn notes(&self, after: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, Unavailable>;

    /// Has the other living instances store what they have not stored yet, and waits until they have, a second at most.
    async fn gather(&self, what: Gathered);

    /// Waits until another instance asks for this. Returns the questions that [`Cluster::gathered`] is to answer.
    async fn asked_for(&self, what: Gathered) -> Vec<Uuid>;

    /// Answers: what has happened here until now is stored.
    fn gathered(&self, what: Gathered, asked: Vec<Uuid>);

    /// Tells the other instances something that none of them needs: it may be lost. It has at most 7,900 bytes.
    fn tell(&self, what: &str);

    /// Returns a receiver of what others tell in this way.
    fn told(&self) -> broadcast::Receiver<Arc<str>>;

    /// Returns a receiver that is told of new notes.
    fn watch_notes(&self) -> watch::Receiver<u64>;

    /// Adds a document that must not be there, and has its consumer start at `head` in all shares, whatever an earlier
    /// one of that name has left. Both or neither. Returns the number of the change when it is durable.
    ///
    /// # Errors
    ///
    /// [`PutError::Conflict`] if there is such a document; [`AddError::TooMany`] if there are too many `among` which it
    /// would be; [`PutError::Unavailable`] if it cannot be stored now.
    async fn add_document(
        &self,
        key: &str,
        among: Among,
        value: Vec<u8>,
        consumer: &str,
        head: &[u8],
    ) -> Result<Version, AddError>;

    /// Removes a consumer's progress from all shares, unless there is a document with this key again.
    ///
    /// # Errors
    ///
    /// If the change cannot be stored now.
    async fn forget_removed(&self, consumer: &str, document: &str) -> Result<(), Unavailable>;

    /// Tells the others which settings this instance runs, by their fingerprint.
    fn runs(&self, settings: String);

    /// Returns what is to be told while living instances run different settings.
    fn differ(&self) -> Option<String>;

    /// How this instance does, for the metrics.
    fn state(&self) -> ClusterState;

    /// From now on tells how long appends wait for those of other instances.
    fn measure(&self, lock: AppendLock);
}

/// What an instance stores only now and then, unless another one asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// Notes for the indexes of the others.
    #[cfg_attr(not(all(feature = "postgres", feature = "sqlite")), allow(dead_code))]
    Notes,
    /// The progress of consumers.
    Progress,
}

/// How many documents there may be whose keys begin with `prefix`, whichever instances add them.
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Among {
    pub(crate) prefix: &'static str,
    pub(crate) most: usize,
}

/// Why a document was not added.
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AddError {
    /// There are as many as there may be.
    #[error("there are as many documents as there may be")]
    TooMany,
    #[error(transparent)]
    Put(#[from] PutError),
}

/// A living instance, and the fingerprint of the settings that it runs.
#[cfg_attr(not(feature = "postgres"), allow(dead_code))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) settings: String,
}

/// What an administrator asked for, until the holder of the share has done it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), allow(unreachable_pub))]
pub struct ShareCommand {
    /// Its number.
    pub id: u64,
    /// The share that it concerns.
    pub share: Share,
    /// The consumer that it is for.
    pub consumer: String,
    /// Its content.
    pub body: Vec<u8>,
}

/// The right to dispatch a share, and the epoch under which its progress is saved.
///
/// It ends early: when the lease of the instance has passed, when it is no longer among the held ones, or when a
/// save is fenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(feature = "postgres"), allow(unreachable_pub))]
pub struct Grant {
    /// The share; the number of shares for the housekeeper's.
    pub share: Share,
    /// Raised whenever the share is taken.
    pub epoch: u64,
    /// Whether another instance is to have the share: finish what runs, save, and give it back.
    pub is_ending: bool,
    /// The instance that holds it.
    #[cfg_attr(not(feature = "postgres"), allow(dead_code))]
    pub(crate) holder: Uuid,
}

/// Says whether this instance may still use a share.
#[derive(Debug, Clone)]
pub(crate) struct Hold {
    cluster: Arc<dyn Cluster>,
    held: watch::Receiver<BTreeMap<Share, Grant>>,
    grant: Grant,
}

impl Hold {
    pub(crate) fn new(
        cluster: &Arc<dyn Cluster>,
        held: &watch::Receiver<BTreeMap<Share, Grant>>,
        grant: Grant,
    ) -> Self {
        Self {
            cluster: Arc::clone(cluster),
            held: held.clone(),
            grant,
        }
    }

    pub(crate) fn grant(&self) -> Grant {
        self.grant
    }

    /// Whether it may not: another instance may have the share, or the lease has passed. An instance that was taken for
    /// dead has a new lease before it knows all that it has lost.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        let held = self.held.borrow();
        let held = held.get(&self.grant.share);
        let is_held = held.is_some_and(|held| held.is_like(&self.grant));
        !is_held || self.cluster.lease_until() <= now
    }
}

impl Grant {
    /// Whether both are the same right, also if one of them is ending.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        (self.share, self.epoch, self.holder) == (other.share, other.epoch, other.holder)
    }
}
