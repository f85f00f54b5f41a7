//! [`Pipeline`]: the journal with everything that follows it, as the server and the administrator see
//! it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::{join_all, try_join_all};
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::dispatch::{Dispatch, OpenShare, Renewal};
use super::opened::Opened;
use super::retention::{Keeper, Retention};
use super::shares::Shares;
use super::{commands, gathering, shares};
use crate::clock::Clock;
use crate::dialect::Decoder;
use crate::dispatch::{Consumer, ConsumerControls, Elsewhere, LargeBodies, Runners, Saved};
use crate::index::{Notes, Search};
use crate::journal::{
    AddError, Among, Cluster, Journal, PutError, SavedProgress, Seq, Unavailable, Version,
};
use crate::telemetry::{ConsumerState, Metrics};
use crate::{Error, Timestamp};

/// A journal, its consumers, and its index.
#[derive(Debug)]
pub(crate) struct Pipeline {
    dispatch: Arc<Dispatch>,
    search: Option<Arc<dyn Search>>,
    folder: Option<PathBuf>,
    retention: watch::Sender<Retention>,
    /// Whether this instance does what only one may do.
    housekeeper: watch::Sender<bool>,
}

impl Pipeline {
    /// Starts everything that follows a journal. `large` is the room for large bodies of attempts.
    ///
    /// # Errors
    ///
    /// When threads cannot be started, or the journal cannot say how far the consumers had come.
    pub(crate) fn start(
        opened: Opened,
        consumers: Vec<Consumer>,
        (decoder, large): (Decoder, LargeBodies),
        retention: Retention,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let runners = Runners::new(threads).map_err(|error| Error::Io {
            what: "the threads that run handlers",
            error,
        })?;
        let journal = opened.journal;
        let mut open = BTreeMap::new();
        if opened.cluster.is_none() {
            // One machine dispatches everything.
            let all = Arc::clone(&journal);
            let opened =
                async move { try_join_all((0..all.shares()).map(|share| all.desk(share))).await };
            let opened = wait_for(&runners, opened)?.map_err(Error::journal)?;
            let opened = opened.into_iter().map(|desk| {
                let share = desk.share();
                (share, OpenShare { desk, hold: None })
            });
            open.extend(opened);
        }
        let dispatch = Arc::new(Dispatch {
            journal,
            cluster: opened.cluster,
            runners: Arc::new(runners),
            notes: opened.notes,
            decoder: Arc::new(decoder),
            large: Arc::new(large),
            metrics: metrics.pipeline(),
            clock: Arc::clone(clock),
            open: tokio::sync::Mutex::new(open),
            wanted: Mutex::default(),
            renewed: Mutex::default(),
            opened: Notify::new(),
            left: Notify::new(),
        });
        let housekeeper = watch::Sender::new(dispatch.cluster.is_none());
        let pipeline = Self {
            dispatch,
            search: opened.search,
            folder: opened.folder,
            retention: watch::Sender::new(retention),
            housekeeper,
        };
        // If something fails from here on, dropping it ends what it has started.
        let dispatch = &pipeline.dispatch;
        if let Some(follower) = opened.follower {
            let (journal, decoder) = (Arc::clone(&dispatch.journal), Arc::clone(&dispatch.decoder));
            pipeline.spawn(|stop| follower(journal, decoder, stop));
        }
        for consumer in consumers {
            let adding = Arc::clone(dispatch);
            wait_for(&dispatch.runners, async move { adding.add(consumer).await })??;
        }
        pipeline.begin_housekeeping(metrics);
        Ok(pipeline)
    }

    /// Starts what only one instance does: a single machine always, otherwise while this one holds that share.
    fn begin_housekeeping(&self, metrics: &Arc<Metrics>) {
        let dispatch = &self.dispatch;
        let keeper = Keeper {
            retention: self.retention(),
            next: self.retention.subscribe(),
            is_housekeeper: self.housekeeper.subscribe(),
            journal: Arc::clone(&dispatch.journal),
            notes: Arc::clone(&dispatch.notes),
            consumers: dispatch.runners.living().clone(),
            shared: dispatch.cluster.is_some().then(|| Arc::clone(dispatch)),
            metrics: Arc::clone(metrics),
            clock: Arc::clone(&dispatch.clock),
        };
        dispatch.runners.spawn(|stop| keeper.run(stop));
        if let Some(cluster) = &dispatch.cluster {
            cluster.measure(dispatch.metrics.append_lock());
            let shares = Shares::new(dispatch, cluster, self.housekeeper.clone());
            dispatch.runners.spawn(|stop| shares.run(stop));
            let starting = Arc::clone(dispatch);
            dispatch
                .runners
                .spawn(|stop| shares::start_left(starting, stop));
            let (gathering, asked) = (Arc::clone(dispatch), Arc::clone(cluster));
            dispatch
                .runners
                .spawn(|stop| gathering::run(gathering, asked, stop));
        }
    }

    /// Carries out what other instances ask of the consumers here, from now on. Call it when all consumers were added:
    /// what is asked of one that is none here is done with.
    pub(crate) fn obey(&self) {
        if let Some(cluster) = self.cluster() {
            let (obeying, cluster) = (Arc::clone(&self.dispatch), Arc::clone(cluster));
            self.spawn(|stop| commands::run(obeying, cluster, stop));
        }
    }

    /// Waits for `work` on the threads that run consumers. Must not be called from those threads.
    pub(crate) fn wait_for<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        self.dispatch.runners.wait_for(work)
    }

    /// Adds a consumer: a new one starts from now, a known one continues where it was.
    ///
    /// # Errors
    ///
    /// When a consumer of its name runs, when all have been stopped, or when the journal cannot say how
    /// far it had come. Where several instances share the journal, one that cannot start in a share yet starts there
    /// later.
    pub(crate) async fn add(&self, consumer: Consumer) -> Result<(), Error> {
        self.dispatch.add(consumer).await
    }

    /// Has a consumer that is new start from now, also where the journal has lost how far others had come and
    /// cannot know which. One that is known goes on where it was.
    ///
    /// # Errors
    ///
    /// When the journal cannot store that now.
    pub(crate) async fn introduce(&self, name: &str) -> Result<(), Unavailable> {
        self.dispatch.introduce(name).await.map(drop)
    }

    /// Adds a document to a journal that several instances share. Its consumer is a new one, and starts from now.
    ///
    /// # Errors
    ///
    /// [`PutError::Conflict`] when there is such a document, and on a single machine; [`AddError::TooMany`].
    pub(crate) async fn add_document(
        &self,
        key: &str,
        among: Among,
        value: Vec<u8>,
        consumer: &str,
    ) -> Result<Version, AddError> {
        let cluster = self.cluster().ok_or(PutError::Conflict)?;
        let now = cluster.head().await.map_err(PutError::Unavailable)?;
        let head = Saved::starting_after(now).head.encode();
        cluster
            .add_document(key, among, value, consumer, &head)
            .await
    }

    /// Stops a consumer for good, and removes its metrics. Its progress stays.
    pub(crate) async fn dismiss(&self, name: &str) {
        self.stop_consumer(name).await;
        self.forget_metrics(name);
    }

    /// Starts a consumer in place of the one with its name, which is stopped as
    /// [`Pipeline::stop_consumer`] does. It is not an error if there is none.
    ///
    /// # Errors
    ///
    /// As [`Pipeline::add`]; then neither of them runs. Where several instances share the journal, only when all have
    /// been stopped.
    pub(crate) async fn replace(&self, consumer: Consumer) -> Result<(), Error> {
        self.dispatch.replace(consumer).await
    }

    /// Stops a consumer: its attempts are broken off, and happen again when it is added again; its
    /// progress is kept. When this returns the consumer does nothing more. Stopping an unknown consumer
    /// is not an error.
    pub(crate) async fn stop_consumer(&self, name: &str) {
        self.dispatch.stop_consumer(name).await;
    }

    /// Removes a consumer: its progress and metrics are deleted, its dead letters stay. When this
    /// returns the consumer does nothing more. It need not run.
    ///
    /// # Errors
    ///
    /// When the journal cannot delete its progress now: the consumer is stopped, but a new one of its
    /// name would continue there.
    pub(crate) async fn remove(&self, name: &str) -> Result<(), Error> {
        self.dispatch.remove(name).await
    }

    /// Stops a consumer as [`Pipeline::stop_consumer`] does, but its running attempts are finished.
    pub(crate) async fn retire(&self, name: &str) {
        // Others are not held up while attempts run.
        let mut drained = pin!(self.dispatch.drain(name));
        if timeout(PATIENCE, &mut drained).await.is_err() {
            log::info!(
                consumer = name;
                "{name}: its settings have changed; it waits for its running attempts, then goes by the new ones"
            );
            drained.await;
        }
    }

    /// Removes the metrics of a consumer that was retired for good.
    pub(crate) fn forget_metrics(&self, name: &str) {
        self.dispatch.forget_metrics(name);
    }

    /// As long as what is returned lives, commands for this consumer wait, though it may not run.
    pub(crate) fn renewal(&self, name: &str) -> Renewal<'_> {
        self.dispatch.renewal(name)
    }

    /// Starts the consumer that `make` makes, in place of the one with its name, which is retired. If the journal
    /// cannot say how far it had come, that is tried again until it can, or everything stops; where several instances share the
    /// journal, maybe after this has returned.
    pub(crate) async fn renew(&self, make: impl Fn() -> Consumer) {
        let name = make().name().to_owned();
        let _renewal = self.renewal(&name);
        self.retire(&name).await;
        let mut pause = FIRST_PAUSE;
        while let Err(error) = self.add(make()).await {
            let runs = |one: &ConsumerControls| one.name() == name;
            if self.has_stopped() || self.consumers().iter().any(runs) {
                return;
            }
            log::warn!(consumer = name; "{name}: cannot start yet, its events wait: {error}");
            self.dispatch.clock.sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    pub(crate) fn journal(&self) -> &Arc<dyn Journal> {
        &self.dispatch.journal
    }

    /// What was saved last of a consumer in each share.
    pub(super) async fn saved(&self, consumer: &str) -> Result<Vec<SavedProgress>, Unavailable> {
        self.dispatch.saved(consumer).await
    }

    /// Receives what happens to events outside the journal.
    pub(crate) fn notes(&self) -> &Arc<dyn Notes> {
        &self.dispatch.notes
    }

    /// The search over all events, if there is an index.
    pub(crate) fn search(&self) -> Option<&dyn Search> {
        self.search.as_deref()
    }

    /// Whether all consumers were stopped, for the end.
    pub(crate) fn has_stopped(&self) -> bool {
        self.dispatch.runners.have_stopped()
    }

    /// From now on events are retained like this.
    pub(crate) fn set_retention(&self, retention: Retention) {
        let set = |now: &mut Retention| std::mem::replace(now, retention) != retention;
        self.retention.send_if_modified(set);
    }

    /// The room for large bodies of attempts.
    pub(crate) fn large(&self) -> &LargeBodies {
        &self.dispatch.large
    }

    pub(crate) fn decoder(&self) -> &Arc<Decoder> {
        &self.dispatch.decoder
    }

    /// The shares that other instances dispatch; `None` on a single machine.
    pub(super) fn elsewhere(&self) -> Option<Elsewhere> {
        self.dispatch.elsewhere()
    }

    /// What instances divide that share the journal; `None` on a single machine.
    pub(crate) fn cluster(&self) -> Option<&Arc<dyn Cluster>> {
        self.dispatch.cluster.as_ref()
    }

    /// Whether several instances share the journal.
    pub(crate) fn is_shared(&self) -> bool {
        self.dispatch.cluster.is_some()
    }

    /// Whether this instance does what only one may do.
    pub(crate) fn housekeeper(&self) -> watch::Receiver<bool> {
        self.housekeeper.subscribe()
    }

    /// Starts a task that is told to stop after all consumers have stopped.
    pub(crate) fn spawn<F>(&self, task: impl FnOnce(watch::Receiver<bool>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.dispatch.runners.spawn(task);
    }

    /// The controls of all consumers.
    pub(crate) fn consumers(&self) -> Vec<ConsumerControls> {
        self.dispatch.consumers()
    }

    /// When the oldest event after `floor` was received. A consumer has settled everything up to
    /// `floor`.
    pub(crate) async fn oldest_waiting(
        &self,
        floor: Seq,
    ) -> Result<Option<Timestamp>, Unavailable> {
        let tail = self.journal().tail();
        if floor >= tail.head() {
            return Ok(None);
        }
        if let Some(record) = tail.get(floor + 1) {
            return Ok(Some(record.received.received_at));
        }
        let oldest = self.journal().read(floor, 1).await?;
        Ok(oldest.first().map(|record| record.received.received_at))
    }

    /// Updates the metrics that are computed only on request. A value that cannot be read in time stays
    /// as it was: a disk that hangs must not hide all other metrics.
    pub(crate) async fn measure(&self) {
        let head = self.journal().tail().head();
        self.dispatch.metrics.events.set(head);
        if let Some(cluster) = &self.dispatch.cluster {
            self.dispatch.metrics.set_cluster(cluster.state());
        }
        let consumers = self.consumers();
        let consumers = join_all(consumers.iter().map(|consumer| self.measure_one(consumer)));
        let all = futures_util::future::join(self.measure_files(), consumers);
        // A timeout is not an error.
        let _ = timeout(MEASURE_TIMEOUT, all).await;
    }

    async fn measure_one(&self, consumer: &ConsumerControls) {
        let (name, metrics) = (consumer.name(), &self.dispatch.metrics);
        metrics.set_health(name, consumer.is_up(), consumer.panics());
        let Some(status) = consumer.own_status().await else {
            return;
        };
        let state = ConsumerState {
            lag: status.lag(),
            in_flight: status.in_flight as u64,
            overflowed: status.overflowed,
            retrying: status.retrying,
            suspended: status.suspended.is_some(),
        };
        metrics.set_state(name, state);
        if let Ok(oldest) = self.oldest_waiting(status.floor).await {
            let age = oldest.map(|at| self.dispatch.clock.now().duration_since(at));
            // After the clock was set back, an event may lie in the future; then it has not waited.
            let age = age.and_then(|age| Duration::try_from(age).ok());
            metrics.set_oldest_waiting(consumer.name(), age.unwrap_or_default());
        }
    }

    async fn measure_files(&self) {
        if let Some(bytes) = self.size().await {
            self.dispatch.metrics.bytes.set(bytes);
        }
    }

    /// How many bytes the journal takes on the disk, with all that belongs to it.
    pub(crate) async fn size(&self) -> Option<u64> {
        match self.folder.clone() {
            Some(folder) => {
                let size = tokio::task::spawn_blocking(move || size_of(&folder));
                size.await.ok().and_then(Result::ok)
            }
            None => self.journal().bytes().await.ok(),
        }
    }

    /// The folder of the journal, if it has one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    /// How long events are retained.
    pub(crate) fn retention(&self) -> Retention {
        *self.retention.borrow()
    }

    /// Finishes the consumers' running attempts, and saves their progress.
    pub(crate) async fn stop(&self) {
        self.dispatch.runners.stop().await;
        // The journal waits for those that may still save.
        self.dispatch.open.lock().await.clear();
        self.journal().close().await;
    }

    /// Ends the consumers without finishing anything. Waits for at most `limit`.
    pub(crate) async fn cut_off(&self, limit: Duration) {
        self.dispatch.runners.cut_off(limit).await;
    }
}

impl Drop for Pipeline {
    /// Ends what nobody has any more, because the start was refused or nobody has stopped the receiver.
    fn drop(&mut self) {
        let dispatch = Arc::clone(&self.dispatch);
        let last = async move {
            dispatch.open.lock().await.clear();
            if dispatch.cluster.is_some() {
                // Its shares are for others now.
                dispatch.journal.close().await;
            }
        };
        Arc::clone(&self.dispatch.runners).leave(last);
    }
}

fn wait_for<T: Send + 'static>(
    runners: &Runners,
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, Error> {
    let ended = || Error::journal("the threads that run handlers have ended");
    runners.wait_for(work).ok_or_else(ended)
}

/// The total size in bytes of the files in a folder and its subfolders.
fn size_of(folder: &Path) -> std::io::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size_of(&entry.path())?,
            Ok(metadata) => metadata.len(),
            // The file was deleted in between, as expired dedup segments are.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}

/// The pause before a consumer that cannot start is started again; each is twice as long as the one before.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// After this time the log says that the attempts of a consumer are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long the metrics wait for the journal and its consumers.
const MEASURE_TIMEOUT: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
