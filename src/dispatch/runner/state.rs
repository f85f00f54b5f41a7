//! [`Runner`]: its state, and how it begins.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use super::next::Next;
use crate::Timestamp;
use crate::clock::Clock;
use crate::dialect::Decoder;
use crate::dispatch::attempt::Outcome;
use crate::dispatch::consumer::Consumer;
use crate::dispatch::controls::{Command, Controls};
use crate::dispatch::monotonic::Monotonic;
use crate::dispatch::observer::AttemptObserver;
use crate::dispatch::positions::Positions;
use crate::dispatch::progress::Progress;
use crate::dispatch::saved::{Saved, Suspended, Waiting};
use crate::dispatch::schedule::{Schedule, Start};
use crate::dispatch::tuning::DispatchTuning;
use crate::journal::{DeadLetter, Desk, Journal, Part, Position, PositionMap, Seq, Unavailable};

/// Drives one consumer along a journal, in one share.
pub(crate) struct Runner {
    pub(super) consumer: Arc<Consumer>,
    pub(super) context: RunnerContext,
    pub(super) observer: Box<dyn AttemptObserver>,
    pub(super) commands: mpsc::Receiver<Command>,
    pub(super) progress: Progress,
    pub(super) schedule: Schedule,
    pub(super) reading: Reading,
    pub(super) running: FuturesUnordered<BoxFuture<'static, Ended>>,
    pub(super) unsaved: Unsaved,
    pub(super) health: Health,
    /// Set when statuses only go forward.
    pub(super) monotonic: Option<Monotonic>,
    /// After a failure of the journal, the time before which the runner does not use it.
    pub(super) resume_at: Option<Instant>,
    /// Another instance has taken the share: nothing more is started or saved.
    pub(super) fenced: bool,
    /// The time of both clocks at the last step.
    pub(super) seen: (Timestamp, Instant),
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

/// How far a runner has read, and what it has to read again.
pub(super) struct Reading {
    /// Every event up to this body is settled or in the schedule.
    pub(super) cursor: Seq,
    pub(super) next: Next,
    /// Saved retries that are not in the schedule yet.
    pub(super) remembered: PositionMap<Waiting>,
    /// For a consumer that takes bodies: the other events of each body whose first event is in the
    /// schedule.
    pub(super) together: PositionMap<Vec<Part>>,
    /// Every event that is to be replayed.
    pub(super) replaying: Positions,
    /// Those replays that are not in the schedule yet, and the earliest time of each.
    pub(super) replays: VecDeque<(Position, Timestamp)>,
}

impl Reading {
    /// The events that are handed over together under this position; usually that one alone.
    pub(super) fn parts(&self, position: Position) -> impl Iterator<Item = Position> + use<'_> {
        let together = self.together.get(&position);
        let alone = together.is_none().then_some(position);
        let parts = together.into_iter().flatten();
        let parts = parts.map(move |part| Position::new(position.seq(), *part));
        alone.into_iter().chain(parts)
    }
}

/// What was done since the last save.
#[derive(Default)]
pub(super) struct Unsaved {
    pub(super) dead: Vec<DeadLetter>,
    /// Replayed events, which are no longer dead letters.
    pub(super) revived: Vec<Position>,
    /// Since when there is unsaved progress.
    pub(super) since: Option<Instant>,
    /// Since when there are skipped events that are not saved.
    pub(super) passed_by_since: Option<Instant>,
}

/// Whether events may be delivered to the consumer.
pub(super) struct Health {
    pub(super) paused: bool,
    pub(super) failing_since: Option<Timestamp>,
    pub(super) suspended: Option<Suspended>,
}

/// An attempt that has ended.
pub(super) struct Ended {
    pub(super) start: Start,
    /// `Err` when the event could not be read.
    pub(super) outcome: Result<Outcome, Unavailable>,
}

/// Whether a runner continues, and how it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dispatch) enum Ending {
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
    ) -> Result<(Self, Controls), Unavailable> {
        let saved = saved(&context, consumer.name()).await?;
        let now = context.clock.now();
        let remembered = saved.waiting.iter().map(|waiting| {
            let due = still_due(waiting.due, saved.saved_at, now);
            (waiting.position, Waiting { due, ..*waiting })
        });
        let reading = Reading {
            cursor: saved.progress.floor(),
            next: Next::new(context.tuning),
            remembered: remembered.collect(),
            together: PositionMap::default(),
            replays: saved
                .replaying
                .iter()
                .map(|position| (position, now))
                .collect(),
            replaying: saved.replaying,
        };
        let health = Health {
            paused: saved.paused,
            failing_since: saved.failing_since.map(|since| since.min(now)),
            suspended: saved.suspended,
        };
        let (controls, commands) = Controls::new(consumer.name(), context.desk.share());
        let runner = Self {
            schedule: Schedule::new(consumer.concurrency(), context.tuning.enough),
            monotonic: consumer.is_monotonic().then(Monotonic::default),
            seen: (now, context.clock.monotonic()),
            consumer,
            context,
            observer,
            commands,
            progress: saved.progress,
            reading,
            running: FuturesUnordered::new(),
            unsaved: Unsaved::default(),
            health,
            resume_at: None,
            fenced: false,
        };
        Ok((runner, controls))
    }
}

/// What was saved of the consumer in this share. A new consumer begins at the current head, in all
/// shares.
async fn saved(context: &RunnerContext, name: &str) -> Result<Saved, Unavailable> {
    let bytes = match context.desk.saved(name).await? {
        Some(bytes) => bytes,
        None => {
            let now = Saved {
                progress: Progress::starting_after(context.journal.tail().head()),
                ..Saved::default()
            };
            context.journal.introduce(name, &now.encode()).await?;
            // Another instance may have saved first, and then its head counts.
            let saved = context.desk.saved(name).await?;
            let gone = || Unavailable::Away(format!("{name} was forgotten in this moment"));
            saved.ok_or_else(gone)?
        }
    };
    // An error, never "nothing saved": the consumer would start from now and skip its unfinished events.
    let unreadable = || Unavailable::Away(format!("the saved progress of {name} cannot be read"));
    Saved::decode(&bytes).ok_or_else(unreadable)
}

/// When a retry is due that was due at `due` when it was saved (milliseconds since 1970). It waits no
/// longer than it had to then, so a time that was saved under a later clock blocks no lane.
fn still_due(due: i64, saved_at: Option<Timestamp>, now: Timestamp) -> i64 {
    let Some(saved_at) = saved_at else { return due };
    let left = due.saturating_sub(saved_at.as_millisecond()).max(0);
    due.min(now.as_millisecond().saturating_add(left))
}
