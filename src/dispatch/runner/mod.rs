//! [`Runner`]: one consumer on its way along a journal.
//!
//! It reads ahead until enough may start, and no further than [`READ_AHEAD`] events; starts what the
//! [`Schedule`] says; turns outcomes into progress, retries and dead letters; and saves all of that a
//! little later: what was not saved when the process is killed is handed over once more. It waits for
//! something to happen and never polls.

mod alarm;
mod attempts;
mod clock;
mod commands;
mod reading;
mod saving;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use roaring::RoaringTreemap;
use tokio::sync::{mpsc, watch};

use super::consumer::Consumer;
use super::controls::{Command, Controls};
use super::monotonic::Monotonic;
use super::progress::{Progress, Saved, Suspended, Waiting};
use super::retry::Retry;
use super::schedule::{Schedule, Seq, SeqMap};
use crate::Timestamp;
use crate::clock::Clock;
use crate::dialect::Dialects;
use crate::index::{AttemptLog, ConsumerLog};
use crate::journal::{Change, DeadLetter, Journal, Unavailable};

use alarm::Alarm;
use attempts::Ended;
use reading::{Next, READ_AHEAD};

/// One consumer on its way along a journal.
pub(crate) struct Runner {
    consumer: Arc<Consumer>,
    journal: Arc<dyn Journal>,
    dialects: Arc<Dialects>,
    retry: Retry,
    clock: Arc<dyn Clock>,
    progress: Progress,
    schedule: Schedule,
    /// How many events are known at once.
    read_ahead: usize,
    /// Everything up to here is settled or in the schedule.
    cursor: Seq,
    next: Next,
    /// Retries that were saved and are not in the schedule yet.
    remembered: SeqMap<Waiting>,
    running: FuturesUnordered<BoxFuture<'static, Ended>>,
    dead: Vec<DeadLetter>,
    /// Replayed since the last save: dead letters no more.
    revived: Vec<Seq>,
    /// Every event that is to be handed over once more.
    replaying: RoaringTreemap,
    /// Those of them that are not in the schedule yet, and when each may be.
    replays: VecDeque<(Seq, Timestamp)>,
    /// Where statuses only go forward.
    monotonic: Option<Monotonic>,
    paused: bool,
    failing_since: Option<Timestamp>,
    suspended: Option<Suspended>,
    commands: mpsc::Receiver<Command>,
    attempts: ConsumerLog,
    /// Since when something was done that is not saved.
    unsaved_since: Option<Instant>,
    /// Since when events of others were passed by, and that is not saved.
    passed_by_since: Option<Instant>,
    /// After a failure of the journal nothing is asked of it before this.
    resume_at: Option<Instant>,
    /// What the clock showed at the last step.
    seen: (Timestamp, Instant),
}

/// Whether a runner goes on, and how it is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    GoOn,
    /// What runs is finished first.
    Finish,
    /// What runs is dropped where it is, as if it had not been started.
    BreakOff,
}

impl Runner {
    /// Goes on where the consumer was saved last; a new one starts from now.
    pub(crate) async fn new(
        consumer: Arc<Consumer>,
        journal: Arc<dyn Journal>,
        dialects: Arc<Dialects>,
        clock: Arc<dyn Clock>,
        attempts: AttemptLog,
    ) -> Result<(Self, Controls), Unavailable> {
        let saved = match journal.saved(consumer.name()).await? {
            Some(saved) => saved,
            None => {
                let saved = Saved {
                    progress: Progress::starting_after(journal.tail().head()),
                    ..Saved::default()
                };
                let change = Change {
                    consumer: consumer.name().to_owned(),
                    saved: saved.clone(),
                    revived: Vec::new(),
                    dead: Vec::new(),
                };
                journal.save(change).await?;
                saved
            }
        };
        let remembered = saved.waiting.iter().map(|waiting| (waiting.seq, *waiting));
        let (now, began) = (clock.now(), clock.monotonic());
        let (controls, commands) = Controls::new(consumer.name());
        let attempts = attempts.of(consumer.name());
        let monotonic = consumer.is_monotonic().then(Monotonic::default);
        let runner = Self {
            schedule: Schedule::new(consumer.concurrency()),
            read_ahead: READ_AHEAD,
            next: Next::default(),
            retry: consumer.retry(),
            consumer,
            journal,
            dialects,
            clock,
            cursor: saved.progress.floor(),
            remembered: remembered.collect(),
            progress: saved.progress,
            running: FuturesUnordered::new(),
            dead: Vec::new(),
            revived: Vec::new(),
            replays: saved.replaying.iter().map(|seq| (seq, now)).collect(),
            replaying: saved.replaying,
            monotonic,
            paused: saved.paused,
            failing_since: saved.failing_since,
            suspended: saved.suspended,
            commands,
            attempts,
            unsaved_since: None,
            passed_by_since: None,
            resume_at: None,
            seen: (now, began),
        };
        Ok((runner, controls))
    }

    /// Runs until told to end; everything is saved then.
    pub(super) async fn run(mut self, mut ending: watch::Receiver<Ending>) {
        let mut head = self.journal.tail().watch();
        let mut alarm = Alarm::default();
        while *ending.borrow() == Ending::GoOn {
            let more = self.step().await;
            let reads_on = self.reads_on() && self.resume_at.is_none();
            alarm.set(self.pause(), self.clock.as_ref());
            tokio::select! {
                ended = self.running.next(), if !self.running.is_empty() => {
                    if let Some(ended) = ended {
                        self.ended(ended);
                    }
                    self.end_others();
                }
                changed = head.changed(), if reads_on => {
                    if changed.is_err() {
                        break;
                    }
                }
                Some(command) = self.commands.recv() => self.obey(command).await,
                () = tokio::task::yield_now(), if more => {}
                () = alarm.rings() => {}
                changed = ending.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
        self.finish(ending).await;
        self.save().await;
    }

    /// Ends what has come to its end besides, so that one step does for all of them.
    fn end_others(&mut self) {
        for _ in 0..ENDED_AT_ONCE {
            match self.running.next().now_or_never() {
                Some(Some(ended)) => self.ended(ended),
                _ => return,
            }
        }
    }

    /// Waits for what runs, unless told to break it off.
    async fn finish(&mut self, mut ending: watch::Receiver<Ending>) {
        let broken_off = async {
            // Who can no longer be told waits.
            if ending
                .wait_for(|ending| *ending == Ending::BreakOff)
                .await
                .is_err()
            {
                std::future::pending::<()>().await;
            }
        };
        let mut broken_off = std::pin::pin!(broken_off);
        while !self.running.is_empty() {
            tokio::select! {
                biased;
                () = &mut broken_off => self.running.clear(),
                ended = self.running.next() => {
                    if let Some(ended) = ended {
                        self.ended(ended);
                    }
                }
            }
        }
    }

    /// Does what can be done now, without waiting for anything but the journal; whether there is more.
    async fn step(&mut self) -> bool {
        let now = self.clock.monotonic();
        self.follow_clock();
        if self.resume_at.is_some_and(|at| now < at) {
            return false;
        }
        self.resume_at = None;
        let read = match self.take_replays().await {
            Ok(()) => self.read_ahead().await,
            Err(error) => Err(error),
        };
        if let Err(error) = read {
            self.stumble("cannot read the journal", &error);
            return false;
        }
        let more = self.start() || self.is_behind();
        if self.save_at().is_some_and(|at| at <= now) {
            self.save().await;
        }
        more
    }

    /// Whether nothing may start.
    fn rests(&self) -> bool {
        self.paused || self.suspended.is_some()
    }

    /// How long to wait when nothing happens: until a retry is due, until it is time to save, until
    /// the journal is asked again.
    fn pause(&self) -> Option<Duration> {
        let now = self.clock.monotonic();
        if let Some(at) = self.resume_at {
            return Some(at.saturating_duration_since(now));
        }
        let save = self.save_at().map(|at| at.saturating_duration_since(now));
        let until = |at: Timestamp| {
            Duration::try_from(at.duration_since(self.clock.now())).unwrap_or_default()
        };
        let retry = self
            .schedule
            .next_due()
            .filter(|_| !self.rests())
            .map(until);
        let reads_on = self.reads_on();
        let replay = self
            .replays
            .front()
            .filter(|_| reads_on)
            .map(|(_, at)| until(*at));
        save.into_iter().chain(retry).chain(replay).min()
    }
}

/// After so many attempts that have ended others are started in their place.
const ENDED_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests;
