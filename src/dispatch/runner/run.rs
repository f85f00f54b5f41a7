//! The loop of a runner, its end, and what it knows of the time.

use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use log::Level;
use tokio::sync::watch;

use super::{Ending, Runner};
use crate::clock::Clock;

impl Runner {
    /// Runs until told to end, then saves everything.
    pub(in crate::dispatch) async fn run(&mut self, ending: &mut watch::Receiver<Ending>) {
        let mut head = self.context.journal.tail().watch();
        let mut alarm = Alarm::default();
        while *ending.borrow() == Ending::GoOn && !self.fenced {
            let more = self.step();
            let reads_on = self.reads_on() && self.resume_at.is_none();
            alarm.set(self.pause(), self.context.clock.as_ref());
            tokio::select! {
                () = self.attempts.ended() => self.end(),
                Some(fetched) = self.fetches.next() => self.fetched(fetched),
                saved = self.unsaved.saved() => self.saved(saved),
                Ok(()) = head.changed(), if reads_on => {}
                Ok(()) = self.resets.changed() => self.fenced = true,
                Some(command) = self.commands.recv() => self.obey(command),
                () = tokio::task::yield_now(), if more => {}
                () = alarm.rings() => {}
                changed = ending.changed() => {
                    if changed.is_err() {
                        break;
                    }
                }
            }
        }
        if !self.fenced && *ending.borrow() != Ending::Abandon {
            self.finish(ending).await;
        }
        if let Some(line) = self.failures.line(self.consumer.name(), self.seen.1) {
            line.log(Level::Warn);
        }
        if self.fenced {
            // Running attempts are dropped: the new holder delivers their events again.
            let name = self.consumer.name();
            log::warn!(
                consumer = name;
                "{name}: another instance has taken over, or the journal has gone back; this one stops delivering"
            );
            self.attempts.break_off().await;
            return;
        }
        if *ending.borrow() == Ending::Abandon {
            self.attempts.break_off().await;
            // Another runner that reads what is saved must not be overtaken by this.
            if self.unsaved.saving.is_some() {
                let saved = self.unsaved.saved().await;
                self.saved(saved);
            }
            return;
        }
        if self.failing.is_some() {
            // Since when it fails is known to the next one.
            self.look_at_the_clock();
            self.unsaved();
        }
        // Events whose progress cannot be saved now are delivered again after the next start.
        self.save_all().await;
    }

    /// Takes attempts that have ended, several together, so that one step handles all of them.
    pub(super) fn end(&mut self) {
        self.look_at_the_clock();
        for ended in self.attempts.take_ended(ENDED_IN_A_TURN) {
            self.ended(ended);
        }
    }

    /// Waits for the running attempts, or drops them when told to break off.
    async fn finish(&mut self, ending: &mut watch::Receiver<Ending>) {
        while self.schedule.running() > 0 && !self.fenced {
            self.look_at_the_clock();
            self.save_if_due();
            let save_at = self.unsaved.next_save();
            let save_at = save_at.map(|at| at.max(self.resume_at.unwrap_or(at)));
            let clock = &self.context.clock;
            let pause = save_at.map(|at| at.saturating_duration_since(clock.monotonic()));
            let is_over = |ending: &Ending| *ending >= Ending::BreakOff;
            tokio::select! {
                biased;
                // Without its sender no order can arrive: this waits for the attempts.
                Ok(()) = async { ending.wait_for(is_over).await.map(drop) } => {
                    self.attempts.break_off().await;
                    // Attempts that have ended count.
                    self.look_at_the_clock();
                    for ended in self.attempts.take_ended(usize::MAX) {
                        self.ended(ended);
                    }
                    return;
                }
                saved = self.unsaved.saved() => self.saved(saved),
                // An attempt may run for long, and who asks waits.
                Some(command) = self.commands.recv() => self.obey(command),
                () = clock.sleep(pause.unwrap_or_default()), if pause.is_some() => {
                    self.resume_at = None;
                }
                () = self.attempts.ended() => self.end(),
            }
        }
    }

    /// Does what can be done now, without waiting. Returns whether there is more to do.
    pub(super) fn step(&mut self) -> bool {
        self.look_at_the_clock();
        let (_, now) = self.seen;
        if self.resume_at.is_some_and(|at| now < at) {
            return false;
        }
        self.resume_at = None;
        if let Some(line) = self.failures.line_if_due(self.consumer.name(), now) {
            line.log(Level::Warn);
            self.tell_change();
        }
        self.pass_removed();
        self.hand_over();
        for _ in 0..READS_IN_A_TURN {
            self.read_on();
            if !self.is_behind_in_memory() {
                break;
            }
        }
        self.sweep();
        let more = !self.reads_first() && self.start();
        self.save_if_due();
        more || self.is_sweeping() || self.is_behind_in_memory()
    }

    /// Whether no attempt may start.
    pub(super) fn rests(&self) -> bool {
        let head = &self.state.head;
        self.fenced || head.paused || head.suspended.is_some() || self.context.is_lapsed()
    }

    /// How long to wait when nothing happens: until a retry or a replay is due, until it is time to save or to
    /// log failures, or until the journal is asked again.
    fn pause(&self) -> Option<Duration> {
        let now = self.context.clock.monotonic();
        let at = if self.resume_at.is_some() {
            self.resume_at
        } else {
            let retry = self.schedule.next_due().filter(|_| !self.rests());
            let (save, line) = (self.unsaved.next_save(), self.failures.due());
            // The lease may be renewed after it has passed.
            let lapsed = self.context.is_lapsed().then(|| now + LAPSED_PAUSE);
            let all = [retry, self.next_replay(), save, line, lapsed];
            all.into_iter().flatten().min()
        };
        at.map(|at| at.saturating_duration_since(now))
    }

    /// Notes the time of this step.
    pub(super) fn look_at_the_clock(&mut self) {
        self.seen = (self.context.clock.now(), self.context.clock.monotonic());
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

/// How often a runner looks whether the lease was renewed, once it has passed. Soon it is told to end.
const LAPSED_PAUSE: Duration = Duration::from_millis(200);

/// After this many ended attempts, others are started in their place.
const ENDED_IN_A_TURN: usize = 64;

/// After so many reads from memory, attempts are started.
const READS_IN_A_TURN: usize = 8;

/// A longer wait is interrupted once per day.
const MAX_PAUSE: Duration = Duration::from_secs(24 * 3600);
