//! The loop of a runner, its end, and what it knows of the time.

use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use super::{Ended, Ending, Runner};
use crate::Timestamp;
use crate::clock::Clock;

impl Runner {
    /// Runs until told to end, then saves everything.
    pub(in crate::dispatch) async fn run(mut self, mut ending: watch::Receiver<Ending>) {
        let mut head = self.context.journal.tail().watch();
        let mut alarm = Alarm::default();
        while *ending.borrow() == Ending::GoOn && !self.fenced {
            let more = self.step().await;
            if self.fenced {
                break;
            }
            let reads_on = self.reads_on() && self.resume_at.is_none();
            alarm.set(self.pause(), self.context.clock.as_ref());
            tokio::select! {
                Some(ended) = self.running.next() => self.end(ended),
                Ok(()) = head.changed(), if reads_on => {}
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
        if !self.fenced {
            self.finish(ending).await;
        }
        if self.fenced {
            // Running attempts are dropped: the new holder delivers their events again.
            let name = self.consumer.name();
            log::warn!("{name}: another instance has taken over; this one stops delivering");
            return;
        }
        // Events whose progress cannot be saved now are delivered again after the next start.
        drop(self.save().await);
    }

    /// Takes an attempt that has ended, and others that have ended as well, so that one step handles all
    /// of them.
    fn end(&mut self, first: Ended) {
        self.ended(first);
        for _ in 0..ENDED_IN_A_TURN {
            let Some(Some(ended)) = self.running.next().now_or_never() else {
                return;
            };
            self.ended(ended);
        }
    }

    /// Waits for the running attempts, or drops them when told to break off.
    async fn finish(&mut self, mut ending: watch::Receiver<Ending>) {
        while !self.running.is_empty() && !self.fenced {
            // Progress is saved on time even if the last attempt takes long.
            let save_at = self.unsaved.save_at;
            let save_at = save_at.map(|at| at.max(self.resume_at.unwrap_or(at)));
            let clock = &self.context.clock;
            let pause = save_at.map(|at| at.saturating_duration_since(clock.monotonic()));
            let is_over = |ending: &Ending| *ending == Ending::BreakOff;
            tokio::select! {
                biased;
                // Without its sender no order can arrive: this waits for the attempts.
                Ok(()) = async { ending.wait_for(is_over).await.map(drop) } => self.running.clear(),
                () = clock.sleep(pause.unwrap_or_default()), if pause.is_some() => {
                    drop(self.save().await);
                }
                Some(ended) = self.running.next() => self.end(ended),
            }
        }
    }

    /// Does what can be done now and waits only for the journal. Returns whether there is more to do.
    pub(super) async fn step(&mut self) -> bool {
        self.look_at_the_clock();
        let (_, now) = self.seen;
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
        if self.unsaved.save_at.is_some_and(|at| at <= now) {
            // A failed save is tried again later.
            drop(self.save().await);
        }
        more
    }

    /// Whether no attempt may start.
    pub(super) fn rests(&self) -> bool {
        self.fenced || self.state.paused || self.state.suspended.is_some()
    }

    /// How long to wait when nothing happens: until a retry or a replay is due, until it is time to save,
    /// or until the journal is asked again.
    fn pause(&self) -> Option<Duration> {
        let clock = &self.context.clock;
        let after = |at: Instant| at.saturating_duration_since(clock.monotonic());
        let until = |at: Timestamp| {
            at.duration_since(clock.now())
                .try_into()
                .unwrap_or_default()
        };
        if self.resume_at.is_some() {
            return self.resume_at.map(after);
        }
        let retry = self.schedule.next_due().filter(|_| !self.rests());
        let replay = self.reading.replays.front().filter(|_| self.reads_on());
        let due = retry.into_iter().chain(replay.map(|(_, at)| *at)).min();
        let save = self.unsaved.save_at.map(after);
        save.into_iter().chain(due.map(until)).min()
    }

    /// Retries wait until a time of day, and the clock may be set back: that must not make them wait
    /// longer.
    pub(super) fn look_at_the_clock(&mut self) {
        let seen = (self.context.clock.now(), self.context.clock.monotonic());
        let (before, at) = std::mem::replace(&mut self.seen, seen);
        let (now, monotonic) = seen;
        let passed = monotonic.saturating_duration_since(at);
        let expected = before.saturating_add(passed).unwrap_or(Timestamp::MAX);
        let back = Duration::try_from(expected.duration_since(now)).unwrap_or_default();
        if back < SET_BACK {
            return;
        }
        log::info!(
            "{}: the clock was set back by {back:.1?}; retries do not wait longer because of it",
            self.consumer.name()
        );
        let earlier = |at: &mut Timestamp| {
            *at = at.saturating_sub(back).unwrap_or(Timestamp::MIN);
        };
        self.schedule.set_back(back);
        let remembered = self.reading.remembered.values_mut();
        remembered.for_each(|waiting| earlier(&mut waiting.due));
        self.reading
            .replays
            .iter_mut()
            .for_each(|(_, at)| earlier(at));
        self.state.failing_since.iter_mut().for_each(earlier);
        self.unsaved();
    }
}

/// The one timer of a runner. It is set again only for an earlier time and may ring too early: that costs
/// less than a timer for each event.
#[derive(Default)]
struct Alarm(Option<(Instant, BoxFuture<'static, ()>)>);

impl Alarm {
    /// Makes it ring after `pause`, or earlier.
    fn set(&mut self, pause: Option<Duration>, clock: &dyn Clock) {
        let Some(pause) = pause else { return };
        let pause = pause.min(MAX_PAUSE);
        let at = clock.monotonic() + pause;
        if self.0.as_ref().is_none_or(|(set, _)| at < *set) {
            self.0 = Some((at, clock.sleep(pause)));
        }
    }

    /// Waits until it rings.
    async fn rings(&mut self) {
        match &mut self.0 {
            Some((_, sleep)) => sleep.await,
            None => std::future::pending().await,
        }
        self.0 = None;
    }
}

/// After this many ended attempts, others are started in their place.
const ENDED_IN_A_TURN: usize = 64;

/// A longer wait is interrupted once per day to read the time again.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);

/// The clock counts as set back when it is this far behind what it should show.
const SET_BACK: Duration = Duration::from_secs(1);
