//! [`ConsumerControls`]: what an administrator can ask of a running consumer.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::elsewhere::{Elsewhere, states};
use super::options::HandlerOptions;
use super::records::find;
use super::replay::{Replay, ReplayRequest};
use super::saved::Saved as SavedProgress;
use super::schedule::{Holding, HoldingSession};
use super::status::{ConsumerStatus, EventStates};
use crate::Timestamp;
use crate::journal::{Journal, Position, Seq, Share, Unavailable};

/// A handle to a running consumer: to its runners, one for each share.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerControls {
    name: String,
    runners: Vec<(Share, mpsc::Sender<Command>)>,
    health: Vec<Arc<Health>>,
    /// Its other shares, if several instances share the journal.
    elsewhere: Option<Elsewhere>,
}

/// Whether a runner runs, and how often it has panicked.
#[derive(Debug, Default)]
pub(super) struct Health {
    down: AtomicUsize,
    panics: AtomicU64,
}

impl Health {
    pub(super) fn panicked(&self) {
        self.down.fetch_add(1, Ordering::Relaxed);
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn started(&self) {
        self.down.fetch_sub(1, Ordering::Relaxed);
    }

    fn is_up(&self) -> bool {
        self.down.load(Ordering::Relaxed) == 0
    }

    fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }
}

/// Where the answer goes to something that is answered when it is durable.
pub(super) type Saved = oneshot::Sender<Result<(), Unavailable>>;

/// A command, and where its answer goes.
#[derive(Debug)]
pub(super) enum Command {
    Status(oneshot::Sender<ConsumerStatus>),
    Events(oneshot::Sender<EventStates>),
    HeldUp(usize, oneshot::Sender<HeldUp>),
    Pause(bool, Saved),
    Replay {
        id: Uuid,
        request: ReplayRequest,
        events: Vec<Position>,
        answer: Saved,
    },
    /// Saves what is not saved yet.
    Save(Saved),
    /// These bodies were deleted from the journal.
    Deleted(Arc<[Seq]>, oneshot::Sender<()>),
    Replays(oneshot::Sender<Vec<Replay>>),
    /// Cancels a replay; the answer is `None` when there is none that runs.
    CancelReplay(Uuid, oneshot::Sender<Option<Saving>>),
}

/// Waits until something is durable.
pub(super) type Saving = oneshot::Receiver<Result<(), Unavailable>>;

/// The conversations and sessions that are held up, each with the time of its next try; `None` while an attempt
/// runs, or when it does not wait for a retry.
#[derive(Debug, Clone, Default)]
pub(crate) struct HeldUp {
    /// Those that are tried next first.
    pub(crate) conversations: Vec<(Holding, Option<Timestamp>)>,
    /// Those with the most waiting events first.
    pub(crate) sessions: Vec<(HoldingSession, Option<Timestamp>)>,
    /// How the consumer wants its events, if it could be asked.
    pub(crate) options: Option<HandlerOptions>,
}

impl HeldUp {
    /// Sorts, and keeps the first `most` of each.
    pub(super) fn keep(&mut self, most: usize) {
        self.conversations
            .sort_unstable_by_key(|(one, next_try)| (*next_try, one.position));
        self.conversations.truncate(most);
        self.sessions
            .sort_unstable_by_key(|(one, _)| (Reverse(one.waiting), one.position));
        self.sessions.truncate(most);
    }
}

impl ConsumerControls {
    /// The controls of a consumer in one share, and where its runner receives the commands.
    pub(super) fn new(name: &str, share: Share) -> (Self, mpsc::Receiver<Command>) {
        let (commands, obeyed) = mpsc::channel(MAX_WAITING);
        let controls = Self {
            name: name.to_owned(),
            runners: vec![(share, commands)],
            health: vec![Arc::default()],
            elsewhere: None,
        };
        (controls, obeyed)
    }

    /// The controls of a consumer that runs in no share of this instance.
    pub(crate) fn without_runners(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            runners: Vec::new(),
            health: Vec::new(),
            elsewhere: None,
        }
    }

    /// The same for all shares, also those that other instances hold.
    pub(crate) fn everywhere(mut self, elsewhere: Elsewhere) -> Self {
        self.elsewhere = Some(elsewhere);
        self
    }

    /// What was saved last in the shares whose runners have not answered: those of other instances, and one that was
    /// closed since.
    async fn saved_elsewhere<T>(&self, answered: &[(Share, T)]) -> Vec<SavedProgress> {
        let Some(elsewhere) = &self.elsewhere else {
            return Vec::new();
        };
        let own: Vec<Share> = answered.iter().map(|(share, _)| *share).collect();
        elsewhere.saved(&self.name, &own).await
    }

    /// Groups the controls of single shares by consumer, in their order.
    pub(crate) fn grouped(shares: Vec<Self>) -> Vec<Self> {
        let mut consumers: Vec<Self> = Vec::new();
        for share in shares {
            match consumers.iter_mut().find(|one| one.name == share.name) {
                Some(consumer) => {
                    consumer.runners.extend(share.runners);
                    consumer.health.extend(share.health);
                }
                None => consumers.push(share),
            }
        }
        consumers
    }

    /// The health of its first runner.
    pub(super) fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health[0])
    }

    /// Whether all its runners run. One that has panicked starts again after a pause.
    pub(crate) fn is_up(&self) -> bool {
        self.health.iter().all(|one| one.is_up())
    }

    /// How often its runners have panicked.
    pub(crate) fn panics(&self) -> u64 {
        self.health.iter().map(|one| one.panics()).sum()
    }

    /// The consumer's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What the consumer has done with the events of each share.
    pub(crate) async fn events(&self) -> Vec<EventStates> {
        let own = self.ask_all(Command::Events).await;
        let saved = self.saved_elsewhere(&own).await;
        let own = own.into_iter().map(|(_, own)| own);
        own.chain(saved.iter().map(states)).collect()
    }

    /// The consumer's state; `None` when it has ended. Where several instances share the journal, shares in which it has
    /// ended count by what was saved.
    pub(crate) async fn status(&self) -> Option<ConsumerStatus> {
        let mut own = self.ask_all(Command::Status).await;
        let Some(elsewhere) = &self.elsewhere else {
            let own = own.into_iter().map(|(_, own)| own);
            return own.reduce(ConsumerStatus::and);
        };
        let mut progress = self.ask_all(Command::Events).await;
        // One that was closed in between counts as what it has saved.
        own.retain(|(share, _)| progress.iter().any(|(other, _)| other == share));
        progress.retain(|(share, _)| own.iter().any(|(other, _)| other == share));
        let saved = self.saved_elsewhere(&progress).await;
        let own = own.into_iter().map(|(_, own)| own);
        let others = saved.iter().map(|saved| elsewhere.status(saved));
        let mut all = own.chain(others).reduce(ConsumerStatus::and)?;
        let progress = progress.into_iter().map(|(_, own)| own);
        let progress: Vec<_> = progress.chain(saved.iter().map(states)).collect();
        all.unsettled = elsewhere.unsettled(&progress);
        Some(all)
    }

    /// The same of the shares where it runs here.
    pub(crate) async fn own_status(&self) -> Option<ConsumerStatus> {
        let shares = self.ask_all(Command::Status).await.into_iter();
        let mut own = shares.map(|(_, own)| own).reduce(ConsumerStatus::and)?;
        if let Some(elsewhere) = &self.elsewhere {
            let progress = self.ask_all(Command::Events).await.into_iter();
            let progress: Vec<_> = progress.map(|(_, own)| own).collect();
            own.unsettled = elsewhere.unsettled(&progress);
        }
        Some(own)
    }

    /// What is held up; at most `most` conversations and sessions.
    pub(crate) async fn held_up(&self, most: usize) -> HeldUp {
        let mut all = HeldUp::default();
        for (_, share) in self.ask_all(|answer| Command::HeldUp(most, answer)).await {
            all.conversations.extend(share.conversations);
            all.sessions.extend(share.sessions);
            all.options = all.options.or(share.options);
        }
        all.keep(most);
        all
    }

    /// Pauses the consumer, or resumes it, also when it was suspended. `None` when it has ended.
    ///
    /// # Errors
    ///
    /// When this cannot be made durable now. It still takes effect, but is lost if the process ends
    /// before it is saved.
    pub(crate) async fn pause(&self, paused: bool) -> Option<Result<(), Unavailable>> {
        match &self.elsewhere {
            Some(elsewhere) => Some(elsewhere.pause(&self.name, paused).await),
            None => self.pause_here(paused).await,
        }
    }

    /// The same in the shares where it runs here.
    pub(super) async fn pause_here(&self, paused: bool) -> Option<Result<(), Unavailable>> {
        let told = self.ask_all(|answer| Command::Pause(paused, answer)).await;
        told.into_iter().map(|(_, told)| told).reduce(Result::and)
    }

    /// Replays these events. Returns when the replay will happen even if the process ends; `None` when the
    /// consumer has ended.
    ///
    /// # Errors
    ///
    /// As [`ConsumerControls::pause`], and when the journal cannot say to which share an event belongs.
    pub(crate) async fn replay(
        &self,
        journal: &dyn Journal,
        id: Uuid,
        request: &ReplayRequest,
        events: Vec<Position>,
    ) -> Option<Result<(), Unavailable>> {
        let by_share = match self.by_share(journal, events).await {
            Ok(by_share) => by_share,
            Err(error) => return Some(Err(error)),
        };
        if let Some(elsewhere) = &self.elsewhere {
            let asked = (id, request);
            return Some(elsewhere.replay(&self.name, asked, by_share).await);
        }
        let mut done: Option<Result<(), Unavailable>> = None;
        for (share, events) in by_share {
            let mut own = self.runners.iter();
            let Some((_, commands)) = own.find(|(own, _)| *own == share) else {
                continue;
            };
            let saved = ask(commands, replay(id, request, events)).await;
            // Also after one that failed: it has its events.
            done = match (done, saved) {
                (Some(done), Some(saved)) => Some(done.and(saved)),
                (done, saved) => done.or(saved),
            };
        }
        done
    }

    /// Replays events of the only share of these controls. `None` when its runner has ended, or waits to start again.
    pub(super) async fn replay_here(
        &self,
        id: Uuid,
        request: &ReplayRequest,
        events: Vec<Position>,
    ) -> Option<Result<(), Unavailable>> {
        let (_, commands) = self.runners.first().filter(|_| self.is_up())?;
        ask(commands, replay(id, request, events)).await
    }

    /// Settles bodies that were deleted from the journal. When this returns, no attempt at them starts any more;
    /// one that runs goes on.
    pub(crate) async fn deleted(&self, bodies: &Arc<[Seq]>) {
        self.ask_all(|answer| Command::Deleted(Arc::clone(bodies), answer))
            .await;
    }

    /// Has its runners save what they have not saved yet; returns when that is durable, or cannot be.
    pub(crate) async fn save(&self) {
        self.ask_all(Command::Save).await;
    }

    /// The newest replays of the consumer, oldest first.
    pub(crate) async fn replays(&self) -> Vec<Replay> {
        let mut all: Vec<Replay> = Vec::new();
        let own = self.ask_all(Command::Replays).await;
        let saved = self.saved_elsewhere(&own).await.into_iter();
        let own = own.into_iter().flat_map(|(_, own)| own);
        for replay in own.chain(saved.flat_map(|saved| saved.replays)) {
            match all.iter_mut().find(|other| other.id == replay.id) {
                Some(other) => other.add(&replay),
                None => all.push(replay),
            }
        }
        all
    }

    /// Cancels a replay: what it has not handed over is not handed over. `None` when there is no such
    /// replay that runs.
    ///
    /// # Errors
    ///
    /// As [`ConsumerControls::pause`].
    pub(crate) async fn cancel_replay(&self, id: Uuid) -> Option<Result<(), Unavailable>> {
        let Some(elsewhere) = &self.elsewhere else {
            let asked = self.ask_all(|answer| Command::CancelReplay(id, answer));
            let saving = asked.await.into_iter().filter_map(|(_, saving)| saving);
            let saved = join_all(saving.map(saved_by)).await;
            return saved.into_iter().reduce(Result::and);
        };
        match elsewhere.has_replay(&self.name, id).await {
            Ok(true) => Some(elsewhere.cancel_replay(&self.name, id).await),
            Ok(false) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// The same in the only share of these controls; nothing to do when there is no such replay. `None` when its runner
    /// has ended, or waits to start again.
    pub(super) async fn cancel_here(&self, id: Uuid) -> Option<Result<(), Unavailable>> {
        let (_, commands) = self.runners.first().filter(|_| self.is_up())?;
        let asked = ask(commands, |answer| Command::CancelReplay(id, answer)).await?;
        match asked {
            Some(saving) => Some(saved_by(saving).await),
            None => Some(Ok(())),
        }
    }

    /// The events of each share. A runner settles events of other shares without reading them, so it is
    /// asked only for its own.
    async fn by_share(
        &self,
        journal: &dyn Journal,
        events: Vec<Position>,
    ) -> Result<BTreeMap<Share, Vec<Position>>, Unavailable> {
        let mut by_share: BTreeMap<Share, Vec<Position>> = BTreeMap::new();
        if let ([(share, _)], None) = (&self.runners[..], &self.elsewhere) {
            by_share.insert(*share, events);
            return Ok(by_share);
        }
        if self.elsewhere.is_none() {
            // Each is asked, also those without an event.
            by_share.extend(self.runners.iter().map(|(share, _)| (*share, Vec::new())));
        }
        for event in events {
            // Otherwise retention has removed it.
            let Some(record) = find(journal, event.seq()).await? else {
                continue;
            };
            let own = record.parts.view(event.part(), &record.received).share;
            by_share.entry(own).or_default().push(event);
        }
        Ok(by_share)
    }

    /// Whether it runs in this share.
    pub(crate) fn is_in(&self, share: Share) -> bool {
        self.runners.iter().any(|(own, _)| *own == share)
    }

    /// Whether both handles have the same consumer name and the same shares.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        let shares = self.runners.iter().map(|(share, _)| share);
        self.name == other.name && shares.eq(other.runners.iter().map(|(share, _)| share))
    }

    /// Returns when the consumer has ended: no attempt runs, and nothing more is saved.
    pub(super) async fn ended(&self) {
        join_all(self.runners.iter().map(|(_, commands)| commands.closed())).await;
    }

    /// Whether the consumer has ended, so that another with its name may start.
    pub(crate) fn has_ended(&self) -> bool {
        let mut runners = self.runners.iter();
        runners.all(|(_, commands)| commands.is_closed())
    }

    /// Asks all runners at the same time. Those that have ended do not answer, and none does while one
    /// waits to start again.
    async fn ask_all<T>(&self, command: impl Fn(oneshot::Sender<T>) -> Command) -> Vec<(Share, T)> {
        if !self.is_up() {
            return Vec::new();
        }
        let runners = self.runners.iter();
        let answers = runners.map(async |(share, commands)| {
            let answer = ask(commands, &command).await?;
            Some((*share, answer))
        });
        join_all(answers).await.into_iter().flatten().collect()
    }
}

fn replay(
    id: Uuid,
    request: &ReplayRequest,
    events: Vec<Position>,
) -> impl FnOnce(Saved) -> Command {
    let request = request.clone();
    move |answer| Command::Replay {
        id,
        request,
        events,
        answer,
    }
}

async fn saved_by(saving: Saving) -> Result<(), Unavailable> {
    saving.await.unwrap_or(Err(Unavailable::Ended))
}

/// Asks one runner; `None` when it has ended.
async fn ask<T>(
    commands: &mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<T>) -> Command,
) -> Option<T> {
    let (answer, asked) = oneshot::channel();
    commands.send(command(answer)).await.ok()?;
    asked.await.ok()
}

const MAX_WAITING: usize = 16;
