//! [`Runners`]: all consumers of a journal, on threads of their own.

use std::fmt;
use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::controls::Controls;
use super::runner::Runner;

/// All consumers of a journal, running.
pub(crate) struct Runners {
    runtime: Option<Runtime>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    controls: Mutex<Vec<Controls>>,
    stop: watch::Sender<bool>,
}

impl Runners {
    /// The threads; nothing runs yet.
    pub(crate) fn new(threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("offhook-dispatch")
            .enable_all()
            .build()?;
        Ok(Self {
            runtime: Some(runtime),
            tasks: Mutex::default(),
            controls: Mutex::default(),
            stop: watch::Sender::new(false),
        })
    }

    /// Waits for `work` on these threads. Not to be called from an asynchronous context.
    pub(crate) fn wait_for<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let (answer, answered) = std::sync::mpsc::channel();
        self.runtime.as_ref()?.spawn(async move {
            // Who no longer waits needs no answer.
            let _ = answer.send(work.await);
        });
        answered.recv().ok()
    }

    /// Starts a consumer.
    pub(crate) fn start(&self, runner: Runner, controls: Controls) {
        self.controls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(controls);
        if let Some(runtime) = &self.runtime {
            let task = runtime.spawn(runner.run(self.stop.subscribe()));
            self.tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(task);
        }
    }

    /// The ways to all of them.
    pub(crate) fn controls(&self) -> Vec<Controls> {
        self.controls
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Starts something that is told to stop with the consumers.
    pub(crate) fn spawn<F>(&self, task: impl FnOnce(watch::Receiver<bool>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        if let Some(runtime) = &self.runtime {
            let task = runtime.spawn(task(self.stop.subscribe()));
            self.tasks
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(task);
        }
    }

    /// Finishes what runs and saves all progress.
    pub(crate) async fn stop(&self) {
        self.stop.send_replace(true);
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        futures_util::future::join_all(tasks).await;
    }
}

impl Drop for Runners {
    fn drop(&mut self) {
        // Dropping a runtime waits for it, which an asynchronous context must not.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Runners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runners").finish_non_exhaustive()
    }
}
