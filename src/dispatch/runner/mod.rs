//! [`Runner`]: drives one consumer along a journal, in one share.
//!
//! It reads ahead until enough events may start, within a limit; starts what the [`Schedule`] says; turns
//! outcomes into progress, retries and dead letters; and saves all of that a little later. After a kill,
//! events whose progress was not saved are delivered again. It waits for something to happen and never
//! polls.
//!
//! This file has its state, `run.rs` the loop; `reading.rs`, `attempts.rs` and `saving.rs` are the steps
//! of one turn of the loop.

mod attempts;
mod reading;
mod run;
mod saving;
#[cfg(test)]
pub(super) mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::consumer::{AttemptObserver, Consumer, Outcome};
use super::controls::{Command, ConsumerControls};
use super::monotonic::Monotonic;
use super::progress::Progress;
use super::records::{Next, decoded, find};
use super::saved::{Saved, Waiting};
use super::schedule::{Schedule, Start};
use crate::Timestamp;
use crate::clock::Clock;
use crate::dialect::Decoder;
use crate::journal::{
    DeadLetter, Desk, Journal, Part, Position, PositionMap, Record, Seq, Unavailable,
};

/// Drives one consumer along a journal, in one share.
pub(crate) struct Runner {
    consumer: Arc<Consumer>,
    context: RunnerContext,
    observer: Box<dyn AttemptObserver>,
    commands: mpsc::Receiver<Command>,
    /// What is saved of the consumer, except the events that wait for a retry.
    state: Saved,
    schedule: Schedule,
    reading: Reading,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    unsaved: Unsaved,
    /// Set when statuses only go forward.
    monotonic: Option<Monotonic>,
    /// After a failure of the journal, the time before which the runner does not use it.
    resume_at: Option<Instant>,
    /// Another instance has taken the share: nothing more is started or saved.
    fenced: bool,
    /// The time of both clocks at the last step.
    seen: (Timestamp, Instant),
}

/// What all runners of a share have in common.
#[derive(Debug, Clone)]
pub(crate) struct RunnerContext {
    pub(crate) journal: Arc<dyn Journal>,
    /// Stores the progress in this share.
    pub(crate) desk: Arc<dyn Desk>,
    pub(crate) decoder: Arc<Decoder>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tuning: DispatchTuning,
}

impl RunnerContext {
    /// The record with its events; `None` when it is no longer in the journal.
    async fn record(&self, seq: Seq) -> Result<Option<Arc<Record>>, Unavailable> {
        let record = find(self.journal.as_ref(), seq).await?;
        Ok(record.map(|record| decoded(record, &self.decoder)))
    }
}

/// Limits on the work of a runner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DispatchTuning {
    /// How many events of a consumer are known; most bodies are read only when they are due.
    pub(super) read_ahead: usize,
    /// How many records are read at a time.
    pub(super) read_in_a_turn: usize,
    /// This many waiting first attempts are enough, even when there are few slots.
    pub(super) enough: usize,
    /// After this many attempts that finished immediately, other work gets its turn.
    pub(super) done_in_a_turn: usize,
}

impl Default for DispatchTuning {
    fn default() -> Self {
        Self {
            read_ahead: 16_384,
            read_in_a_turn: 128,
            enough: 64,
            done_in_a_turn: 128,
        }
    }
}

/// How far a runner has read, and what it has to read again.
struct Reading {
    /// Every event up to this body is settled or in the schedule.
    cursor: Seq,
    next: Next,
    /// Saved retries that are not in the schedule yet.
    remembered: PositionMap<Waiting>,
    /// For a consumer that takes bodies: the other events of each body whose first event is in the
    /// schedule.
    together: PositionMap<Vec<Part>>,
    /// Events to be replayed that are not in the schedule yet, and the earliest time of each.
    replays: VecDeque<(Position, Timestamp)>,
}

impl Reading {
    /// The events that are handed over together under this position; usually that one alone.
    fn parts(&self, position: Position) -> impl Iterator<Item = Position> + use<'_> {
        let together = self.together.get(&position);
        let alone = together.is_none().then_some(position.part());
        let parts = together.into_iter().flatten().copied().chain(alone);
        parts.map(move |part| Position::new(position.seq(), part))
    }
}

/// What was done since the last save.
#[derive(Default)]
struct Unsaved {
    dead: Vec<DeadLetter>,
    /// Replayed events, which are no longer dead letters.
    revived: Vec<Position>,
    /// When to save; `None` when there is nothing to save.
    save_at: Option<Instant>,
}

/// An attempt that has ended; `Err` when the event could not be read.
type Ended = (Start, Result<Outcome, Unavailable>);

/// Whether a runner continues, and how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ending {
    GoOn,
    /// Running attempts finish first.
    Finish,
    /// Running attempts are dropped, as if they had not started.
    BreakOff,
}

impl Runner {
    /// Continues where the consumer was saved last; a new consumer starts from now.
    ///
    /// # Errors
    ///
    /// When the journal cannot say how far the consumer had come.
    pub(crate) async fn new(
        consumer: Arc<Consumer>,
        context: RunnerContext,
        observer: Box<dyn AttemptObserver>,
    ) -> Result<(Self, ConsumerControls), Unavailable> {
        let mut state = saved(&context, consumer.name()).await?;
        let (now, tuning) = (context.clock.now(), context.tuning);
        state.failing_since = state.failing_since.map(|since| since.min(now));
        let remembered = std::mem::take(&mut state.waiting).into_iter();
        let remembered = remembered.map(|waiting| {
            let due = still_due(waiting.due, state.saved_at, now);
            (waiting.position(), Waiting { due, ..waiting })
        });
        let mut replays: Vec<_> = state.replaying.iter().map(|event| (event, now)).collect();
        replays.sort_unstable();
        let reading = Reading {
            cursor: state.progress.floor(),
            next: Next::new(tuning.enough + tuning.read_in_a_turn),
            remembered: remembered.collect(),
            together: PositionMap::default(),
            replays: replays.into(),
        };
        let monotonic = consumer.options.monotonic == Some(true);
        let (controls, commands) = ConsumerControls::new(consumer.name(), context.desk.share());
        let runner = Self {
            schedule: Schedule::new(consumer.concurrency(), tuning.enough),
            monotonic: monotonic.then(Monotonic::default),
            seen: (now, context.clock.monotonic()),
            consumer,
            context,
            observer,
            commands,
            state,
            reading,
            running: FuturesUnordered::new(),
            unsaved: Unsaved::default(),
            resume_at: None,
            fenced: false,
        };
        Ok((runner, controls))
    }
}

/// What was saved of the consumer in this share. A new consumer begins at the current head, in all
/// shares.
async fn saved(context: &RunnerContext, name: &str) -> Result<Saved, Unavailable> {
    let mut saved = context.desk.saved(name).await?;
    if saved.is_none() {
        let now = Saved {
            progress: Progress::starting_after(context.journal.tail().head()),
            ..Saved::default()
        };
        context.journal.introduce(name, &now.encode()).await?;
        // Another instance may have saved first, and then its head counts.
        saved = context.desk.saved(name).await?;
    }
    let gone = || Unavailable::Away(format!("{name} was forgotten in this moment"));
    // An error, never "nothing saved": the consumer would start from now and skip its unfinished events.
    let unreadable = || Unavailable::Away(format!("the saved progress of {name} cannot be read"));
    Saved::decode(&saved.ok_or_else(gone)?).ok_or_else(unreadable)
}

/// When a retry is due that was due at `due` when it was saved. It waits no longer than it had to then,
/// so a time that was saved under a later clock blocks no lane.
fn still_due(due: Timestamp, saved_at: Option<Timestamp>, now: Timestamp) -> Timestamp {
    let Some(saved_at) = saved_at else { return due };
    let left = Duration::try_from(due.duration_since(saved_at)).unwrap_or_default();
    due.min(now.saturating_add(left).unwrap_or(Timestamp::MAX))
}
