//! [`Runner`]: one consumer on its way along a journal.
//!
//! It reads ahead until enough may start, and no further than [`READ_AHEAD`] events; starts what the
//! [`Schedule`] says; turns outcomes into progress, retries and dead letters; and saves all of that a
//! little later: what was not saved when the process is killed is handed over once more. It waits for
//! something to happen and never polls.

mod alarm;
mod attempts;
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
use super::observer::AttemptObserver;
use super::progress::{Progress, Saved, Suspended, Waiting};
use super::retry::Retry;
use super::schedule::Schedule;
use crate::Timestamp;
use crate::clock::Clock;
use crate::dialect::Decoder;
use crate::journal::{Change, DeadLetter, Journal, Seq, SeqMap, Unavailable};

use alarm::Alarm;
use attempts::Ended;
use reading::{Next, READ_AHEAD};

/// One consumer on its way along a journal.
pub(crate) struct Runner {
    consumer: Arc<Consumer>,
    journal: Arc<dyn Journal>,
    decoder: Arc<Decoder>,
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
    observer: Box<dyn AttemptObserver>,
    /// Since when something was done that is not saved.
    unsaved_since: Option<Instant>,
    /// Since when events of others were passed by, and that is not saved.
    passed_by_since: Option<Instant>,
    /// After a failure of the journal nothing is asked of it before this.
    resume_at: Option<Instant>,
    /// What both clocks showed at the last step.
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
        decoder: Arc<Decoder>,
        clock: Arc<dyn Clock>,
        observer: Box<dyn AttemptObserver>,
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
        let now = clock.now();
        let waiting = saved.waiting.iter();
        let remembered = waiting.map(|waiting| {
            let due = still_due(waiting.due, saved.saved_at, now);
            (waiting.seq, Waiting { due, ..*waiting })
        });
        let (controls, commands) = Controls::new(consumer.name());
        let monotonic = consumer.is_monotonic().then(Monotonic::default);
        let runner = Self {
            schedule: Schedule::new(consumer.concurrency()),
            read_ahead: READ_AHEAD,
            next: Next::default(),
            retry: consumer.retry(),
            consumer,
            journal,
            decoder,
            cursor: saved.progress.floor(),
            remembered: remembered.collect(),
            seen: (now, clock.monotonic()),
            clock,
            progress: saved.progress,
            running: FuturesUnordered::new(),
            dead: Vec::new(),
            revived: Vec::new(),
            replays: saved.replaying.iter().map(|seq| (seq, now)).collect(),
            replaying: saved.replaying,
            monotonic,
            paused: saved.paused,
            failing_since: saved.failing_since.map(|since| since.min(now)),
            suspended: saved.suspended,
            commands,
            observer,
            unsaved_since: None,
            passed_by_since: None,
            resume_at: None,
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
        // What cannot be saved now is handed over once more after the next start.
        drop(self.save().await);
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
            // Whoever stops us may not wait for the last one.
            let save_at = self
                .save_at()
                .map(|at| self.resume_at.unwrap_or(at).max(at));
            let clock = Arc::clone(&self.clock);
            let save = async {
                match save_at {
                    Some(at) => {
                        clock
                            .sleep(at.saturating_duration_since(clock.monotonic()))
                            .await;
                    }
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = &mut broken_off => self.running.clear(),
                () = save => drop(self.save().await),
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
        self.look_at_the_clock(now);
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
            // Tried again in a while.
            drop(self.save().await);
        }
        more
    }

    /// Retries wait until a time of day, which may be set back: nobody waits longer because of that.
    fn look_at_the_clock(&mut self, monotonic: Instant) {
        let now = self.clock.now();
        let (seen, at) = std::mem::replace(&mut self.seen, (now, monotonic));
        let passed = monotonic.saturating_duration_since(at);
        let expected = seen.saturating_add(passed).unwrap_or(Timestamp::MAX);
        let back = Duration::try_from(expected.duration_since(now)).unwrap_or_default();
        if back < SET_BACK {
            return;
        }
        log::info!(
            "{}: the clock was set back by {back:.1?}; what waits for a retry does not wait longer",
            self.consumer.name()
        );
        let earlier = |at: Timestamp| at.saturating_sub(back).unwrap_or(Timestamp::MIN);
        self.schedule.set_back(back);
        for waiting in self.remembered.values_mut() {
            let back = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
            waiting.due = waiting.due.saturating_sub(back);
        }
        self.replays
            .iter_mut()
            .for_each(|(_, at)| *at = earlier(*at));
        self.failing_since = self.failing_since.map(earlier);
        self.unsaved();
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

/// When a retry is due that was to be due at `due` when it was saved (milliseconds since 1970). It waits
/// no longer than it had to then, so a time that was saved under a later clock blocks no lane.
fn still_due(due: i64, saved_at: Option<Timestamp>, now: Timestamp) -> i64 {
    let Some(saved_at) = saved_at else { return due };
    let left = due.saturating_sub(saved_at.as_millisecond()).max(0);
    due.min(now.as_millisecond().saturating_add(left))
}

/// The clock was set back when it shows so much less than it should.
const SET_BACK: Duration = Duration::from_secs(1);

/// After so many attempts that have ended others are started in their place.
const ENDED_AT_ONCE: usize = 64;

#[cfg(test)]
mod tests;
