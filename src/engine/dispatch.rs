//! [`Dispatch`]: which consumers are to run, and in which shares of the journal.
//!
//! One machine has all shares from the start. Where several instances share the journal, `shares.rs` opens and closes
//! shares; each consumer then runs in the open ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{join_all, try_join_all};
use tokio::sync::Notify;

use crate::Error;
use crate::clock::Clock;
use crate::dialect::Decoder;
use crate::dispatch::{
    Consumer, ConsumerControls, DispatchTuning, Elsewhere, Ending, LargeBodies, Outcome, Runner,
    RunnerContext, Runners, Saved,
};
use crate::index::Notes;
use crate::journal::{Cluster, Desk, Hold, Journal, SavedProgress, Seq, Share, Unavailable};
use crate::telemetry::PipelineMetrics;

/// The consumers of a journal, and the shares that are open.
#[derive(Debug)]
pub(super) struct Dispatch {
    pub(super) journal: Arc<dyn Journal>,
    /// What the instances that share the journal divide; `None` on a single machine.
    pub(super) cluster: Option<Arc<dyn Cluster>>,
    pub(super) runners: Arc<Runners>,
    pub(super) notes: Arc<dyn Notes>,
    pub(super) decoder: Arc<Decoder>,
    pub(super) large: Arc<LargeBodies>,
    pub(super) metrics: PipelineMetrics,
    pub(super) clock: Arc<dyn Clock>,
    /// The open shares. Held while a consumer or a share is added or removed, so that changes happen
    /// one after the other.
    pub(super) open: tokio::sync::Mutex<BTreeMap<Share, OpenShare>>,
    /// The consumers that are to run.
    pub(super) wanted: Mutex<BTreeMap<String, WantedConsumer>>,
    /// Those that are not among them for now, because they are started again.
    pub(super) renewed: Mutex<Vec<String>>,
    /// Told when a share was opened.
    pub(super) opened: Notify,
    /// Told when a consumer cannot start in an open share yet.
    pub(super) left: Notify,
}

/// A share that this instance dispatches.
#[derive(Debug, Clone)]
pub(super) struct OpenShare {
    pub(super) desk: Arc<dyn Desk>,
    /// For how long; `None` on a single machine.
    pub(super) hold: Option<Hold>,
}

/// A consumer that is to run.
#[derive(Debug, Clone)]
pub(super) struct WantedConsumer {
    consumer: Arc<Consumer>,
    /// Where it starts if the journal that several instances share does not know it any more; 0 on a single machine.
    start: Seq,
}

/// A consumer that is started again, as long as this lives: what is asked of it waits, and is not taken for a
/// command to one that is none here.
pub(crate) struct Renewal<'a> {
    dispatch: &'a Dispatch,
    name: String,
}

/// The runners of a consumer that can be started.
type Made = Vec<(Runner, ConsumerControls)>;

impl Dispatch {
    /// Adds a consumer; see [`Pipeline::add`](super::Pipeline::add).
    pub(super) async fn add(&self, consumer: Consumer) -> Result<(), Error> {
        let open = self.open.lock().await;
        self.check_startable(consumer.name())?;
        if self.cluster.is_none() {
            return self.begin(&open, consumer).await;
        }
        // So it starts at the same event in shares that another instance holds.
        let start = self.introduce(consumer.name()).await;
        let start = start.map_err(Error::journal)?;
        self.begin_shared(&open, consumer, start).await;
        Ok(())
    }

    /// Starts a consumer in place of the one with its name, whose attempts are broken off.
    pub(super) async fn replace(&self, consumer: Consumer) -> Result<(), Error> {
        let open = self.open.lock().await;
        let _renewal = self.renewal(consumer.name());
        self.end(consumer.name()).await;
        self.check_startable(consumer.name())?;
        if self.cluster.is_none() {
            return self.begin(&open, consumer).await;
        }
        // All instances know it already.
        let start = self.journal.tail().head();
        self.begin_shared(&open, consumer, start).await;
        Ok(())
    }

    /// Stops a consumer. Its attempts are broken off, and its progress is kept.
    pub(super) async fn stop_consumer(&self, name: &str) {
        let _open = self.open.lock().await;
        self.end(name).await;
    }

    /// Stops a consumer, and deletes its progress and its metrics.
    pub(super) async fn remove(&self, name: &str) -> Result<(), Error> {
        let _open = self.open.lock().await;
        self.end(name).await;
        self.forget_metrics(name);
        let forgotten = self.journal.forget_consumer(name).await;
        forgotten.map_err(Error::journal)
    }

    /// Stops a consumer when its running attempts have ended.
    pub(super) async fn drain(&self, name: &str) {
        {
            // A share that opens has started it already, or leaves it out.
            let _open = self.open.lock().await;
            self.wanted().remove(name);
        }
        self.runners.drain(name).await;
        let _open = self.open.lock().await;
        // Another change may have started it again.
        if !self.wanted().contains_key(name) {
            self.metrics.stopped(name);
        }
    }

    pub(super) fn forget_metrics(&self, name: &str) {
        self.metrics.removed(name, &Outcome::NAMES);
    }

    /// Opens a share: starts all consumers in it.
    pub(super) async fn open_share(&self, share: &OpenShare) {
        let mut open = self.open.lock().await;
        open.insert(share.desk.share(), share.clone());
        if self.start_left(share).await {
            self.left.notify_one();
        }
        self.opened.notify_one();
    }

    /// Starts the consumers that could not start yet in an open share. Returns whether one is left.
    pub(super) async fn start_again(&self) -> bool {
        let open = self.open.lock().await;
        let left = open.keys().flat_map(|share| self.left(*share));
        let left: BTreeMap<_, _> = left
            .map(|one| (one.consumer.name().to_owned(), one.start))
            .collect();
        for (name, start) in left {
            if let Err(error) = self.introduce_again(&name, start).await {
                // It is the same with all that are unknown; what is known can start.
                log::debug!("{name}, and others, cannot be added again now: {error}");
                break;
            }
        }
        let left = open.values().map(|share| self.start_left(share));
        join_all(left).await.contains(&true)
    }

    /// Adds a consumer again where the journal does not know it any more: a database that has gone back behind its start
    /// has lost it. It starts no later than at the first event that came since.
    async fn introduce_again(&self, name: &str, start: Seq) -> Result<(), Unavailable> {
        let left = self.journal.tail().reset_since(0).unwrap_or(start);
        let head = Saved::starting_after(left.min(start)).head.encode();
        self.journal.introduce(name, &head).await
    }

    /// The consumers that do not run in a share.
    fn left(&self, share: Share) -> Vec<WantedConsumer> {
        let running = self.runners.living().controls();
        let running = { running.iter() }.filter(|one| one.is_in(share) && !one.has_ended());
        let running: BTreeSet<&str> = running.map(ConsumerControls::name).collect();
        let wanted = self.wanted();
        let left = { wanted.values() }.filter(|one| !running.contains(one.consumer.name()));
        left.cloned().collect()
    }

    /// Starts the consumers that do not run in an open share. Returns whether one is left.
    async fn start_left(&self, open: &OpenShare) -> bool {
        self.start_these(open, self.left(open.desk.share())).await
    }

    /// Starts these consumers, which do not run in an open share. One whose progress cannot be read does not hold up the
    /// others. Returns whether one is left.
    async fn start_these(&self, open: &OpenShare, left: Vec<WantedConsumer>) -> bool {
        let share = open.desk.share();
        let made = join_all(left.iter().map(|one| self.make(&one.consumer, open))).await;
        // The database may have answered so late that another instance has the share.
        let now = self.clock.monotonic();
        if open.hold.as_ref().is_some_and(|hold| hold.is_over(now)) {
            return !left.is_empty();
        }
        let started = left.iter().zip(made).filter_map(|(one, made)| {
            let made = made.map_err(Error::journal);
            let started = made.and_then(|made| self.start(vec![made]));
            Some((one.consumer.name(), started.err()?))
        });
        let failed: Vec<_> = started.collect();
        let is_left = !failed.is_empty() && !self.runners.have_stopped();
        if let Some((name, error)) = failed.first().filter(|_| is_left) {
            // If the database cannot be reached, it is the same with all.
            let others = failed.len() - 1;
            log::warn!(
                "{name}, and {others} other consumers, cannot start in share {share} yet, their events wait: {error}"
            );
        }
        is_left
    }

    /// Closes a share: ends all consumers in it.
    pub(super) async fn close_share(&self, share: Share, how: Ending) {
        self.open.lock().await.remove(&share);
        self.runners.end_share(share, how).await;
    }

    /// The controls of all consumers. One that runs in no share of this instance has no runners.
    pub(super) fn consumers(&self) -> Vec<ConsumerControls> {
        let mut all = ConsumerControls::grouped(self.runners.living().controls());
        if self.cluster.is_some() {
            let wanted = self.wanted();
            let missing = wanted
                .keys()
                .filter(|name| !all.iter().any(|one| one.name() == *name));
            let missing: Vec<_> = missing
                .map(|name| ConsumerControls::without_runners(name))
                .collect();
            all.extend(missing);
            drop(wanted);
        }
        let Some(elsewhere) = self.elsewhere() else {
            return all;
        };
        let all = all.into_iter();
        all.map(|one| one.everywhere(elsewhere.clone())).collect()
    }

    /// The shares that other instances dispatch; `None` on a single machine.
    pub(super) fn elsewhere(&self) -> Option<Elsewhere> {
        Some(Elsewhere {
            cluster: Arc::clone(self.cluster.as_ref()?),
            shares: self.journal.shares(),
            tail: Arc::clone(self.journal.tail()),
            clock: Arc::clone(&self.clock),
        })
    }

    /// What was saved last of a consumer in each share; nothing if it is not known.
    pub(super) async fn saved(&self, consumer: &str) -> Result<Vec<SavedProgress>, Unavailable> {
        if let Some(cluster) = &self.cluster {
            return Ok(cluster.saved(consumer).await?.into_values().collect());
        }
        let open: Vec<_> = self.open.lock().await.values().cloned().collect();
        let saved = try_join_all(open.iter().map(|one| one.desk.saved(consumer))).await?;
        Ok(saved.into_iter().flatten().collect())
    }

    /// Whether a consumer of this name is to run, also if it is just being started again.
    pub(super) fn is_wanted(&self, name: &str) -> bool {
        let is_wanted = || self.wanted().contains_key(name);
        let is_renewed = || self.renewed().iter().any(|one| one == name);
        // Twice: it may have been started again in between.
        is_wanted() || is_renewed() || is_wanted()
    }

    /// Notes that a consumer is started again.
    pub(super) fn renewal(&self, name: &str) -> Renewal<'_> {
        self.renewed().push(name.to_owned());
        Renewal {
            dispatch: self,
            name: name.to_owned(),
        }
    }

    fn renewed(&self) -> MutexGuard<'_, Vec<String>> {
        // No panic can leave the list half-changed.
        self.renewed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a consumer that is new start from now in all shares. One that is known goes on where it was. Returns the
    /// newest event.
    pub(super) async fn introduce(&self, name: &str) -> Result<Seq, Unavailable> {
        // What another instance has answered before is not for it, also where the tail does not have it yet.
        let head = match &self.cluster {
            Some(cluster) => cluster.head().await?,
            None => self.journal.tail().head(),
        };
        let now = Saved::starting_after(head);
        self.journal.introduce(name, &now.head.encode()).await?;
        Ok(head)
    }

    fn check_startable(&self, name: &str) -> Result<(), Error> {
        if self.runners.have_stopped() || self.wanted().contains_key(name) {
            let why = format!("{name} runs already, or everything is being stopped");
            return Err(Error::journal(why));
        }
        Ok(())
    }

    /// Starts a consumer on an instance that shares its journal. In an open share in which it cannot start now that
    /// is tried again.
    async fn begin_shared(
        &self,
        open: &BTreeMap<Share, OpenShare>,
        consumer: Consumer,
        start: Seq,
    ) {
        let name = consumer.name().to_owned();
        let consumer = Arc::new(consumer);
        let wanted = WantedConsumer { consumer, start };
        self.metrics.started(&name);
        self.wanted().insert(name, wanted.clone());
        let shares = open.values();
        let left = shares.map(|share| self.start_these(share, vec![wanted.clone()]));
        if join_all(left).await.contains(&true) {
            self.left.notify_one();
        }
    }

    /// Starts a consumer on a single machine.
    async fn begin(
        &self,
        open: &BTreeMap<Share, OpenShare>,
        consumer: Consumer,
    ) -> Result<(), Error> {
        let (name, consumer) = (consumer.name().to_owned(), Arc::new(consumer));
        let made = open.values().map(|share| self.make(&consumer, share));
        let made = try_join_all(made).await.map_err(Error::journal)?;
        if let Err(error) = self.start(made) {
            // In some shares only it would hold up the next try.
            self.runners.end(&name).await;
            return Err(error);
        }
        self.metrics.started(&name);
        self.wanted()
            .insert(name, WantedConsumer { consumer, start: 0 });
        Ok(())
    }

    async fn end(&self, name: &str) {
        self.wanted().remove(name);
        self.runners.end(name).await;
        self.metrics.stopped(name);
    }

    /// Makes the runner of a consumer in a share.
    fn make(
        &self,
        consumer: &Arc<Consumer>,
        share: &OpenShare,
    ) -> impl Future<Output = Result<(Runner, ConsumerControls), Unavailable>> + Send + use<> {
        let context = RunnerContext {
            journal: Arc::clone(&self.journal),
            desk: Arc::clone(&share.desk),
            hold: share.hold.clone(),
            decoder: Arc::clone(&self.decoder),
            large: Arc::clone(&self.large),
            clock: Arc::clone(&self.clock),
            tuning: DispatchTuning::default(),
        };
        let observer = self.notes.consumer(consumer.name());
        Runner::new(Arc::clone(consumer), context, observer)
    }

    fn start(&self, made: Made) -> Result<(), Error> {
        for (runner, controls) in made {
            let name = controls.name().to_owned();
            if !self.runners.start(runner, controls) {
                let why = format!("{name} runs already, or everything is being stopped");
                return Err(Error::journal(why));
            }
        }
        Ok(())
    }

    fn wanted(&self) -> MutexGuard<'_, BTreeMap<String, WantedConsumer>> {
        // No panic can leave the map half-changed.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Renewal<'_> {
    fn drop(&mut self) {
        let mut renewed = self.dispatch.renewed();
        if let Some(at) = renewed.iter().position(|one| *one == self.name) {
            renewed.swap_remove(at);
        }
    }
}
