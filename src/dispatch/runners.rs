//! [`Runners`]: all consumers of a journal, on their own threads. Consumers can be added and removed.

use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::time::timeout;

use super::consumer::panic_message;
use super::controls::{ConsumerControls, Health};
use super::runner::{Ending, Runner};
use crate::journal::Share;

/// All running consumers of a journal.
#[derive(Debug)]
pub(crate) struct Runners {
    /// Starts tasks, which end immediately when the threads have ended.
    handle: Handle,
    /// The threads, until they are ended.
    runtime: Mutex<Option<Runtime>>,
    living: Living,
    /// Tells the tasks that stop after all consumers; each holds a receiver until it has ended.
    stop: watch::Sender<bool>,
}

/// The consumers that run now, for readers that must not hold them up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Living(Arc<Mutex<Consumers>>);

#[derive(Debug, Default)]
struct Consumers {
    running: Vec<Running>,
    /// No consumer can be added any more.
    stopped: bool,
}

#[derive(Debug)]
struct Running {
    controls: ConsumerControls,
    ending: watch::Sender<Ending>,
}

impl Runners {
    /// Creates the threads; nothing runs yet.
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("offhook-dispatch")
            .enable_all()
            .build()?;
        Ok(Self {
            handle: runtime.handle().clone(),
            runtime: Mutex::new(Some(runtime)),
            living: Living::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// Waits for `work` on these threads. Must not be called from an asynchronous context.
    pub(crate) fn wait_for<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = std::sync::mpsc::channel();
        self.handle.spawn(async move {
            // If the caller has stopped waiting, the answer is discarded.
            let _ = answer.send(work.await);
        });
        answered.recv().ok()
    }

    /// Starts a consumer in its share; `false` when all have been stopped, or when it already runs
    /// there.
    pub(crate) fn start(&self, runner: Runner, controls: ConsumerControls) -> bool {
        let mut consumers = self.living.lock();
        let same = |running: &Running| running.controls.is_of(&controls);
        // The task that waited for its end may have been dropped before that end.
        let over = |running: &Running| same(running) && running.controls.has_ended();
        consumers.running.retain(|running| !over(running));
        if consumers.stopped || consumers.running.iter().any(same) {
            return false;
        }
        let (ending, told) = watch::channel(Ending::GoOn);
        self.handle
            .spawn(supervise(runner, controls.health(), told));
        consumers.running.push(Running { controls, ending });
        true
    }

    /// Ends the consumer of this name in all shares: breaks off its attempts and saves its progress.
    /// When this returns the consumer does nothing more.
    pub(crate) async fn end(&self, name: &str) {
        self.end_as(name, Ending::BreakOff).await;
    }

    /// As [`Runners::end`], but its running attempts are finished.
    pub(crate) async fn drain(&self, name: &str) {
        self.end_as(name, Ending::Finish).await;
    }

    async fn end_as(&self, name: &str, how: Ending) {
        self.end_these(|controls| controls.name() == name, how)
            .await;
    }

    /// Ends all consumers in this share.
    pub(crate) async fn end_share(&self, share: Share, how: Ending) {
        self.end_these(|controls| controls.is_in(share), how).await;
    }

    /// Tells all consumers in this share to end, without waiting for that.
    pub(crate) fn tell_share(&self, share: Share, how: Ending) {
        self.living.tell(|controls| controls.is_in(share), how);
    }

    async fn end_these(&self, which: impl Fn(&ConsumerControls) -> bool, how: Ending) {
        let ended = self.living.tell(&which, how);
        join_all(ended.iter().map(ConsumerControls::ended)).await;
        // They stay in the list until then, so that no others of their names start beside them.
        let over = |controls: &ConsumerControls| which(controls) && controls.has_ended();
        let mut consumers = self.living.lock();
        consumers.running.retain(|running| !over(&running.controls));
    }

    /// Whether no consumer can be added any more.
    pub(crate) fn have_stopped(&self) -> bool {
        self.living.lock().stopped
    }

    /// The running consumers.
    pub(crate) fn living(&self) -> &Living {
        &self.living
    }

    /// Starts a task that is told to stop after all consumers have stopped.
    pub(crate) fn spawn<F>(&self, task: impl FnOnce(watch::Receiver<bool>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (task, runs) = (task(self.stop.subscribe()), self.stop.subscribe());
        self.handle.spawn(async move {
            task.await;
            drop(runs);
        });
    }

    /// Finishes the running attempts and saves all progress; no consumer can be added after that.
    pub(crate) async fn stop(&self) {
        self.end_all(Ending::Finish).await;
    }

    async fn end_all(&self, how: Ending) {
        let consumers = self.tell_all(how);
        join_all(consumers.iter().map(ConsumerControls::ended)).await;
        self.stop.send_replace(true);
        self.stop.closed().await;
    }

    fn tell_all(&self, how: Ending) -> Vec<ConsumerControls> {
        self.living.lock().stopped = true;
        let consumers = self.living.tell(|_| true, how);
        if how == Ending::Abandon {
            // Nothing that the other tasks would have to wait for is saved.
            self.stop.send_replace(true);
        }
        consumers
    }

    /// Ends everything that runs, and begins to save nothing: attempts are dropped, so that programs of `exec` are
    /// killed, and happen again after the next start. Takes at most `limit`; a thread that a handler blocks goes on.
    pub(crate) async fn cut_off(&self, limit: Duration) {
        self.abandon(limit / 2).await;
        if let Some(runtime) = self.take_runtime() {
            // On another thread, because this waits for the runtime's threads.
            let ended = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(limit / 2));
            // It fails only if the caller's runtime ends too.
            let _ = ended.await;
        }
    }

    /// As [`Runners::cut_off`], without waiting for it. `last` happens before the threads end.
    pub(crate) fn leave(self: Arc<Self>, last: impl Future<Output = ()> + Send + 'static) {
        self.tell_all(Ending::Abandon);
        let handle = self.handle.clone();
        handle.spawn(async move {
            self.abandon(LEAVE_LIMIT).await;
            // A journal that cannot be reached must not keep the threads.
            let _ = timeout(LEAVE_LIMIT, last).await;
            if let Some(runtime) = self.take_runtime() {
                runtime.shutdown_background();
            }
        });
    }

    /// Tells all tasks to end, and waits for that for at most `limit`. They end by themselves as far as they can: in one
    /// that blocks its thread while the runtime ends, tokio panics at the next timer.
    async fn abandon(&self, limit: Duration) {
        // What has not ended then is dropped with its thread.
        let _ = timeout(limit, self.end_all(Ending::Abandon)).await;
    }

    fn take_runtime(&self) -> Option<Runtime> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        runtime.take()
    }
}

/// Runs a consumer to its end. A runner that panics is started again from what it has saved, after a
/// pause. A handler's panic ends its attempt and not the runner.
async fn supervise(mut runner: Runner, health: Arc<Health>, mut told: watch::Receiver<Ending>) {
    let mut pause = RESTART_PAUSE;
    loop {
        let started = runner.now();
        let run = AssertUnwindSafe(runner.run(&mut told)).catch_unwind();
        let Err(panic) = run.await else { return };
        if runner.now() - started > LONGEST_RESTART_PAUSE {
            pause = RESTART_PAUSE;
        }
        health.panicked();
        runner.tell_restart();
        log::error!(
            consumer = runner.name();
            "{}: stopped by a fault of offhook ({}); its events stay in the journal, and it starts again \
             in {pause:.0?}; please report this",
            runner.name(),
            panic_message(panic.as_ref())
        );
        let mut parts = runner.into_parts().await;
        runner = loop {
            let over = told.wait_for(|ending| *ending != Ending::GoOn);
            tokio::select! {
                _ = over => return,
                () = parts.sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_RESTART_PAUSE);
            match parts.resume().await {
                Ok(runner) => break runner,
                Err((error, unstarted)) => {
                    log::warn!(consumer = unstarted.name(); "{}: cannot start again: {error}", unstarted.name());
                    parts = unstarted;
                }
            }
        };
        health.started();
        runner.tell_now();
    }
}

/// The pause before a runner that has panicked starts again; each is twice as long as the one before.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_RESTART_PAUSE: Duration = Duration::from_secs(60);

/// How long tasks that nobody waits for may take to end.
const LEAVE_LIMIT: Duration = Duration::from_secs(5);

impl Living {
    /// The controls of all consumers.
    pub(crate) fn controls(&self) -> Vec<ConsumerControls> {
        let consumers = self.lock();
        let running = consumers.running.iter();
        running.map(|running| running.controls.clone()).collect()
    }

    /// Tells these consumers how to end; one that already breaks off continues to.
    fn tell(
        &self,
        which: impl Fn(&ConsumerControls) -> bool,
        what: Ending,
    ) -> Vec<ConsumerControls> {
        let mut told = Vec::new();
        for Running { controls, ending } in &self.lock().running {
            if which(controls) {
                ending.send_modify(|ending| *ending = what.max(*ending));
                told.push(controls.clone());
            }
        }
        told
    }

    fn lock(&self) -> MutexGuard<'_, Consumers> {
        // No panic can leave the list half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        // Dropping a runtime blocks until it ends, which is not allowed in an asynchronous context.
        if let Some(runtime) = self.take_runtime() {
            runtime.shutdown_background();
        }
    }
}
