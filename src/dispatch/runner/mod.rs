//! [`Runner`]: drives one consumer along a journal, in one share.
//!
//! It reads on to the end of the journal; starts what the [`Schedule`] says; turns outcomes into progress,
//! retries and dead letters; and saves all of that a little later. Attempts run in tasks of their own, and
//! everything that waits for the disk (reading, saving) goes on beside them. After a kill, events whose
//! progress was not saved are delivered again. The runner waits for something to happen and never polls.
//!
//! This file has its state, with `context.rs`, `failures.rs`, `fetching.rs`, `handed_over.rs` and `unsaved.rs`. `run.rs` has
//! the loop; `reading.rs`, `replaying.rs`, `attempts.rs`, `saving.rs` and `commands.rs` are the steps of one turn;
//! `tasks.rs` makes the attempts, and `telling.rs` tells of them.

mod attempts;
mod bodies;
mod bookmark;
mod commands;
mod context;
mod failures;
mod fetching;
mod handed_over;
mod reading;
mod replaying;
mod run;
mod saving;
mod tasks;
mod telling;
#[cfg(test)]
pub(super) mod tests;
mod unsaved;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, watch};

pub(crate) use self::context::{DispatchTuning, RunnerContext};
use self::failures::FailureLog;
use self::fetching::{Fetching, Reading};
use self::handed_over::Replaying;
use self::tasks::Attempts;
use self::unsaved::Unsaved;
use super::consumer::{AttemptObserver, Consumer};
use super::controls::{Command, ConsumerControls};
use super::lane::SessionHasher;
use super::large::OwnRoom;
use super::monotonic::Monotonic;
use super::records::Next;
use super::saved::{Row, Saved, Waiting};
use super::schedule::{Limits, Retry, Schedule};
use crate::Timestamp;
use crate::journal::Unavailable;

/// Drives one consumer along a journal, in one share.
pub(crate) struct Runner {
    consumer: Arc<Consumer>,
    context: RunnerContext,
    observer: Arc<dyn AttemptObserver>,
    commands: mpsc::Receiver<Command>,
    /// What is saved of the consumer. Its retries are in the schedule instead.
    state: Saved,
    /// How long attempts have failed without a success.
    failing: Option<Failing>,
    /// Why the last attempt failed.
    last_failure: Option<String>,
    failures: FailureLog,
    /// The state that was told last.
    told: &'static str,
    /// When the lag was noted last.
    lag_noted: Option<Instant>,
    schedule: Schedule,
    hasher: SessionHasher,
    reading: Reading,
    replaying: Replaying,
    attempts: Attempts,
    /// Large bodies of its attempts.
    own_room: Arc<OwnRoom>,
    /// Reads from the disk.
    fetches: FuturesUnordered<Fetching>,
    unsaved: Unsaved,
    /// Set when statuses only go forward.
    monotonic: Option<Monotonic>,
    /// After a failure of the journal, the time before which the runner does not use it.
    resume_at: Option<Instant>,
    /// Another instance has taken the share, or the journal has gone back: nothing more is started or saved.
    fenced: bool,
    /// How often the log has gone back.
    resets: watch::Receiver<u64>,
    /// The time of both clocks at the last step.
    seen: (Timestamp, Instant),
}

/// The state of a consumer that works.
const RUNNING: &str = "running";

/// How long attempts have failed, by the monotonic clock.
#[derive(Debug, Clone, Copy)]
struct Failing {
    /// The time that was saved before this process began.
    before: Duration,
    since: Instant,
}

impl Failing {
    fn lasted(self, now: Instant) -> Duration {
        self.before + now.saturating_duration_since(self.since)
    }
}

/// Whether a runner continues, and how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Ending {
    GoOn,
    /// Running attempts finish first.
    Finish,
    /// Running attempts are dropped, as if they had not started.
    BreakOff,
    /// As `BreakOff`, and nothing more is saved, because another instance may have the share, or time is short.
    Abandon,
}

impl Runner {
    /// Continues where the consumer was saved last. On a single machine a new consumer starts from now.
    ///
    /// # Errors
    ///
    /// When the journal cannot say how far the consumer had come, and when several instances share it and nothing is saved.
    pub(crate) async fn new(
        consumer: Arc<Consumer>,
        context: RunnerContext,
        observer: Arc<dyn AttemptObserver>,
    ) -> Result<(Self, ConsumerControls), Unavailable> {
        let (controls, commands) = ConsumerControls::new(consumer.name(), context.desk.share());
        let state = saved(&context, consumer.name()).await?;
        let parts = RunnerParts {
            consumer,
            context,
            observer,
            commands,
        };
        Ok((Self::with(state, parts), controls))
    }

    /// A runner that continues from `state`.
    fn with(mut state: Saved, parts: RunnerParts) -> Self {
        let RunnerParts {
            consumer,
            context,
            observer,
            commands,
        } = parts;
        let tuning = context.tuning;
        let seen = (context.clock.now(), context.clock.monotonic());
        let retry = |waiting: Waiting| Retry {
            attempts: waiting.attempts,
            due: seen.1 + waiting.pause(seen.0),
        };
        let retries = std::mem::take(&mut state.retries).into_iter();
        // A crash may have left the row of an event that is settled.
        let (retries, settled): (Vec<_>, Vec<_>) = retries.partition(|(event, _)| {
            !state.progress.is_settled(*event) || state.replaying.contains(*event)
        });
        let settled = settled.into_iter().map(|(event, _)| Row::Retry(event));
        state.changed.extend(settled);
        let failing = state.head.failing().map(|before| Failing {
            before,
            since: seen.1,
        });
        let last_failure = failing.is_some().then(|| consumer.metrics.last_failure());
        let last_failure = last_failure.flatten();
        let attempts = Attempts::of(Arc::clone(&consumer), &context);
        let mut runner = Self {
            schedule: Schedule::new(Limits {
                slots: consumer.concurrency(),
                memory: tuning.memory,
                lane: tuning.lane,
            }),
            monotonic: (consumer.options.monotonic == Some(true)).then(Monotonic::default),
            hasher: SessionHasher::random(),
            reading: Reading::new(state.progress.floor(), Next::new(tuning.next)),
            replaying: Replaying::new(&state.replaying, &state.progress),
            unsaved: Unsaved::default(),
            failing,
            last_failure,
            failures: FailureLog::default(),
            told: RUNNING,
            lag_noted: None,
            seen,
            consumer,
            resets: context.journal.tail().watch_resets(),
            context,
            observer,
            commands,
            state,
            attempts,
            own_room: Arc::default(),
            fetches: FuturesUnordered::new(),
            resume_at: None,
            fenced: false,
        };
        runner.open_bookmark();
        for (event, waiting) in retries {
            runner.schedule.was_tried(event, retry(waiting));
        }
        runner.resume_replays();
        runner
    }
}

/// What is left of a runner that has panicked.
pub(super) struct RunnerParts {
    consumer: Arc<Consumer>,
    context: RunnerContext,
    observer: Arc<dyn AttemptObserver>,
    commands: mpsc::Receiver<Command>,
}

impl Runner {
    pub(super) fn name(&self) -> &str {
        self.consumer.name()
    }

    pub(super) fn now(&self) -> Instant {
        self.context.clock.monotonic()
    }

    /// Drops the running attempts, and everything that may be half-changed.
    pub(super) async fn into_parts(self) -> RunnerParts {
        self.attempts.break_off().await;
        RunnerParts {
            consumer: self.consumer,
            context: self.context,
            observer: self.observer,
            commands: self.commands,
        }
    }
}

impl RunnerParts {
    pub(super) fn name(&self) -> &str {
        self.consumer.name()
    }

    pub(super) fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        self.context.clock.sleep(pause)
    }

    /// Starts from what was saved.
    ///
    /// # Errors
    ///
    /// When the journal cannot say how far the consumer had come, or panics.
    pub(super) async fn resume(self) -> Result<Runner, (Unavailable, Self)> {
        let saved = AssertUnwindSafe(saved(&self.context, self.consumer.name()));
        let saved = saved.catch_unwind().await;
        match saved.unwrap_or_else(|_| Err(Unavailable::Away("the journal panicked".to_owned()))) {
            Ok(state) => Ok(Runner::with(state, self)),
            Err(error) => Err((error, self)),
        }
    }
}

/// What was saved of the consumer in this share. On a single machine a new consumer begins at the current head, in all
/// shares. Where several instances share the journal, each knows another head.
async fn saved(context: &RunnerContext, name: &str) -> Result<Saved, Unavailable> {
    let mut saved = context.desk.saved(name).await?;
    if saved.is_none() && context.hold.is_some() {
        return Err(Unavailable::Away(format!(
            "nothing is saved of {name}: it was removed, or the database has gone back"
        )));
    }
    if saved.is_none() {
        let now = Saved::starting_after(context.journal.tail().head());
        context.journal.introduce(name, &now.head.encode()).await?;
        // Another instance may have saved first, and then its head counts.
        saved = context.desk.saved(name).await?;
    }
    let gone = || Unavailable::Away(format!("{name} was forgotten in this moment"));
    // An error, never "nothing saved": the consumer would start from now and skip its unfinished events.
    let unreadable = || Unavailable::Away(format!("the saved progress of {name} cannot be read"));
    Saved::decode(&saved.ok_or_else(gone)?).ok_or_else(unreadable)
}
