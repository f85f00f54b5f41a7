//! [`FakeCluster`]: what an instance sees of others, as a test says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::FutureExt as _;
use tokio::sync::{Notify, broadcast, watch};
use uuid::Uuid;

use super::{AddError, Among, Cluster, Gathered, Grant, ShareCommand};
use crate::Timestamp;
use crate::clock::Clock;
use crate::journal::{
    Desk, Desks as _, Documents as _, Expected, Log as _, Memory, ProgressChange, PutError,
    SavedProgress, Seq, Share, Unavailable, Version,
};
use crate::telemetry::{AppendLock, ClusterState};

/// One instance of several that share a [`Memory`]. It holds what the test gives it.
#[derive(Debug)]
pub(crate) struct FakeCluster {
    journal: Memory,
    /// The clock of the journal.
    clock: Arc<dyn Clock>,
    held: watch::Sender<BTreeMap<Share, Grant>>,
    /// `None` while the lease is renewed in time.
    lease_until: Mutex<Option<Instant>>,
    commands: Arc<Commands>,
    /// Whether every other note is stored, and the answer is lost.
    pub(crate) loses_answers: AtomicBool,
    questions: Questions,
    /// How many bodies others have stored that the tail does not have yet.
    pub(crate) unread: AtomicU64,
    /// How often a desk was opened.
    pub(crate) opened: AtomicUsize,
    /// How often the journal was asked for its time.
    pub(crate) asked_for_time: AtomicUsize,
    saved: Arc<SavedAs>,
    /// What others tell, and what this one has told them.
    elsewhere: broadcast::Sender<Arc<str>>,
    said: Mutex<Vec<String>>,
}

/// What all instances leave for each other.
#[derive(Debug, Default)]
struct Commands {
    all: Mutex<BTreeMap<u64, ShareCommand>>,
    newest: watch::Sender<u64>,
    notes: Mutex<Vec<Vec<u8>>>,
    newest_note: watch::Sender<u64>,
}

/// Others ask for progress.
#[derive(Debug, Default)]
struct Questions {
    was_asked: Notify,
    answered: AtomicUsize,
}

/// How desks answer what was saved.
#[derive(Debug)]
struct SavedAs {
    /// Whether they answer.
    answers: watch::Sender<bool>,
    /// How often they were asked.
    asked: AtomicUsize,
    /// How often progress was saved.
    saves: AtomicUsize,
    /// Consumers whose progress cannot be read.
    unreadable: Mutex<BTreeSet<String>>,
}

impl FakeCluster {
    pub(crate) fn new(journal: &Memory, clock: &Arc<dyn Clock>) -> Self {
        Self {
            journal: journal.clone(),
            clock: Arc::clone(clock),
            held: watch::Sender::default(),
            lease_until: Mutex::default(),
            commands: Arc::default(),
            loses_answers: AtomicBool::default(),
            questions: Questions::default(),
            unread: AtomicU64::default(),
            opened: AtomicUsize::default(),
            asked_for_time: AtomicUsize::default(),
            elsewhere: broadcast::Sender::new(16),
            said: Mutex::default(),
            saved: Arc::new(SavedAs {
                answers: watch::Sender::new(true),
                asked: AtomicUsize::default(),
                saves: AtomicUsize::default(),
                unreadable: Mutex::default(),
            }),
        }
    }

    /// Another instance beside this one.
    pub(crate) fn beside(&self) -> Self {
        Self {
            commands: Arc::clone(&self.commands),
            ..Self::new(&self.journal, &self.clock)
        }
    }

    /// Gives it a share, or wants it back.
    pub(crate) fn grant(&self, share: Share, is_ending: bool) {
        let grant = Grant {
            share,
            epoch: 1,
            is_ending,
            holder: Uuid::nil(),
        };
        self.held.send_modify(|held| {
            held.insert(share, grant);
        });
    }

    /// It cannot renew its lease after this.
    pub(crate) fn ends_at(&self, until: Instant) {
        *self.lease_until.lock().unwrap() = Some(until);
        self.held.send_modify(|_| {});
    }

    /// Whether desks answer what was saved; until then they hang.
    pub(crate) fn answers(&self, answers: bool) {
        self.saved.answers.send_replace(answers);
    }

    /// How often desks were asked what was saved.
    pub(crate) fn asked(&self) -> usize {
        self.saved.asked.load(Ordering::SeqCst)
    }

    /// How often desks have saved progress.
    pub(crate) fn saves(&self) -> usize {
        self.saved.saves.load(Ordering::SeqCst)
    }

    /// Another instance asks for progress.
    pub(crate) fn is_asked(&self) {
        self.questions.was_asked.notify_one();
    }

    /// How many of its questions were answered.
    pub(crate) fn answered(&self) -> usize {
        self.questions.answered.load(Ordering::SeqCst)
    }

    /// Whether the progress of a consumer can be read.
    pub(crate) fn is_readable(&self, consumer: &str, is_so: bool) {
        let mut unreadable = self.saved.unreadable.lock().unwrap();
        if is_so {
            unreadable.remove(consumer);
        } else {
            unreadable.insert(consumer.to_owned());
        }
    }

    /// Another instance tells something. Returns how many have listened.
    pub(crate) fn tell_here(&self, what: &str) -> usize {
        self.elsewhere.send(what.into()).unwrap_or_default()
    }

    /// How much of that was not heard yet.
    pub(crate) fn untold(&self) -> usize {
        self.elsewhere.len()
    }

    /// What this instance has told the others.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// The commands that nobody has carried out.
    pub(crate) fn left(&self) -> Vec<ShareCommand> {
        self.commands
            .all
            .lock()
            .unwrap()
            .values()
            .cloned()
            .collect()
    }
}

#[async_trait]
impl Cluster for FakeCluster {
    fn held(&self) -> watch::Receiver<BTreeMap<Share, Grant>> {
        self.held.subscribe()
    }

    fn lease_until(&self) -> Instant {
        let until = *self.lease_until.lock().unwrap();
        // Longer than a test's clock goes.
        until.unwrap_or_else(|| self.clock.monotonic() + Duration::from_secs(1_000_000_000))
    }

    async fn now(&self) -> Result<Timestamp, Unavailable> {
        self.asked_for_time.fetch_add(1, Ordering::SeqCst);
        Ok(self.clock.now())
    }

    async fn head(&self) -> Result<Seq, Unavailable> {
        Ok(self.journal.tail().head() + self.unread.load(Ordering::SeqCst))
    }

    fn desk_of(&self, grant: Grant) -> Result<Arc<dyn Desk>, Unavailable> {
        self.opened.fetch_add(1, Ordering::SeqCst);
        let desk = self.journal.desk(grant.share).now_or_never();
        let desk = desk.expect("it answers immediately")?;
        let saved = Arc::clone(&self.saved);
        Ok(Arc::new(FakeDesk { desk, saved }))
    }

    async fn saved(&self, consumer: &str) -> Result<BTreeMap<Share, SavedProgress>, Unavailable> {
        Ok(self.journal.saved_everywhere(consumer))
    }

    fn runs(&self, _settings: String) {}

    fn differ(&self) -> Option<String> {
        None
    }

    async fn give_back(&self, grant: Grant) -> Result<(), Unavailable> {
        self.held.send_modify(|held| {
            held.remove(&grant.share);
        });
        Ok(())
    }

    async fn command(
        &self,
        consumer: &str,
        commands: &[(Share, Vec<u8>)],
    ) -> Result<Vec<u64>, Unavailable> {
        let mut all = self.commands.all.lock().unwrap();
        let first = *self.commands.newest.borrow() + 1;
        let ids: Vec<u64> = (first..).take(commands.len()).collect();
        for (id, (share, body)) in ids.iter().zip(commands) {
            let command = ShareCommand {
                id: *id,
                share: *share,
                consumer: consumer.to_owned(),
                body: body.clone(),
            };
            all.insert(*id, command);
        }
        drop(all);
        self.commands
            .newest
            .send_modify(|newest| *newest += ids.len() as u64);
        Ok(ids)
    }

    async fn carried_out(&self, commands: &[u64]) -> Result<(), Unavailable> {
        while self.left().iter().any(|one| commands.contains(&one.id)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    fn watch_commands(&self) -> watch::Receiver<u64> {
        self.commands.newest.subscribe()
    }

    async fn commands(&self, share: Share) -> Result<Vec<ShareCommand>, Unavailable> {
        let mut left = self.left();
        left.retain(|one| one.share == share);
        Ok(left)
    }

    async fn remove_command(&self, grant: Grant, id: u64) -> Result<(), Unavailable> {
        let held = self.held.borrow().get(&grant.share).copied();
        if held.is_some_and(|held| held.is_like(&grant)) {
            self.commands.all.lock().unwrap().remove(&id);
        }
        Ok(())
    }

    fn applied(&self, _: Version) {}

    async fn applied_by_all(&self, _: Option<Version>) -> Result<(), Unavailable> {
        Ok(())
    }

    async fn add_note(&self, body: &[u8]) -> Result<u64, Unavailable> {
        let id = {
            let mut notes = self.commands.notes.lock().unwrap();
            notes.push(body.to_vec());
            notes.len() as u64
        };
        self.commands.newest_note.send_replace(id);
        if self.loses_answers.load(Ordering::SeqCst) && !id.is_multiple_of(2) {
            return Err(Unavailable::Unknown("no answer".to_owned()));
        }
        Ok(id)
    }

    async fn notes(&self, after: u64, most: usize) -> Result<Vec<(u64, Vec<u8>)>, Unavailable> {
        let notes = self.commands.notes.lock().unwrap();
        let notes = (1..).zip(notes.iter().cloned());
        Ok(notes.filter(|(id, _)| *id > after).take(most).collect())
    }

    async fn gather(&self, _: Gathered) {}

    async fn asked_for(&self, what: Gathered) -> Vec<Uuid> {
        if what == Gathered::Notes {
            return std::future::pending().await;
        }
        self.questions.was_asked.notified().await;
        vec![Uuid::now_v7()]
    }

    fn gathered(&self, _: Gathered, asked: Vec<Uuid>) {
        let answered = &self.questions.answered;
        answered.fetch_add(asked.len(), Ordering::SeqCst);
    }

    fn tell(&self, what: &str) {
        self.said.lock().unwrap().push(what.to_owned());
    }

    fn told(&self) -> broadcast::Receiver<Arc<str>> {
        self.elsewhere.subscribe()
    }

    fn watch_notes(&self) -> watch::Receiver<u64> {
        self.commands.newest_note.subscribe()
    }

    async fn add_document(
        &self,
        key: &str,
        among: Among,
        value: Vec<u8>,
        consumer: &str,
        head: &[u8],
    ) -> Result<Version, AddError> {
        let all = self.journal.documents(among.prefix).await;
        let all = all.map_err(PutError::Unavailable)?;
        if all.len() >= among.most && !all.iter().any(|one| one.key == key) {
            return Err(AddError::TooMany);
        }
        let put = self
            .journal
            .put_document(key, Some(value), Expected::Absent);
        let version = put.await?;
        let forgotten = self.journal.forget_consumer(consumer).await;
        forgotten.map_err(PutError::Unavailable)?;
        let introduced = self.journal.introduce(consumer, head).await;
        introduced.map_err(PutError::Unavailable)?;
        Ok(version)
    }

    async fn forget_removed(&self, consumer: &str, _: &str) -> Result<(), Unavailable> {
        self.journal.forget_consumer(consumer).await
    }

    fn state(&self) -> ClusterState {
        ClusterState::default()
    }

    fn measure(&self, _: AppendLock) {}
}

/// A desk that answers as the test says.
#[derive(Debug)]
struct FakeDesk {
    desk: Arc<dyn Desk>,
    saved: Arc<SavedAs>,
}

#[async_trait]
impl Desk for FakeDesk {
    fn share(&self) -> Share {
        self.desk.share()
    }

    async fn saved(&self, consumer: &str) -> Result<Option<SavedProgress>, Unavailable> {
        self.saved.asked.fetch_add(1, Ordering::SeqCst);
        let mut answers = self.saved.answers.subscribe();
        let answers = answers.wait_for(|answers| *answers).await;
        answers.map(drop).expect("the sender is there");
        let is_unreadable = self.saved.unreadable.lock().unwrap().contains(consumer);
        let unreadable = || SavedProgress {
            head: b"?".to_vec(),
            rows: Vec::new(),
        };
        match is_unreadable {
            true => Ok(Some(unreadable())),
            false => self.desk.saved(consumer).await,
        }
    }

    async fn save(&self, change: ProgressChange) -> Result<(), Unavailable> {
        self.saved.saves.fetch_add(1, Ordering::SeqCst);
        self.desk.save(change).await
    }
}
