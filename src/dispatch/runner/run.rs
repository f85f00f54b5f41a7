//! The loop of a runner, and its end.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::watch;

use super::alarm::Alarm;
use super::state::{Ending, Runner};
use crate::Timestamp;

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

    /// Takes the other attempts that have ended, so that one step handles all of them.
    fn end_others(&mut self) {
        for _ in 0..ENDED_IN_A_TURN {
            match self.running.next().now_or_never() {
                Some(Some(ended)) => self.ended(ended),
                _ => return,
            }
        }
    }

    /// Waits for the running attempts, or drops them when told to break off.
    async fn finish(&mut self, mut ending: watch::Receiver<Ending>) {
        let broken_off = async {
            // When the sender of `ending` is gone, no order can arrive: it waits for the attempts.
            if ending
                .wait_for(|ending| *ending == Ending::BreakOff)
                .await
                .is_err()
            {
                std::future::pending::<()>().await;
            }
        };
        let mut broken_off = std::pin::pin!(broken_off);
        while !self.running.is_empty() && !self.fenced {
            // Progress is saved on time even if the last attempt takes long.
            let save_at = self
                .save_at()
                .map(|at| self.resume_at.unwrap_or(at).max(at));
            let clock = Arc::clone(&self.context.clock);
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

    /// Does what can be done now and waits only for the journal. Returns whether there is more to do.
    pub(super) async fn step(&mut self) -> bool {
        let now = self.context.clock.monotonic();
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
            // A failed save is tried again later.
            drop(self.save().await);
        }
        more
    }

    /// Whether no attempt may start.
    pub(super) fn rests(&self) -> bool {
        self.fenced || self.health.paused || self.health.suspended.is_some()
    }

    /// How long to wait when nothing happens: until a retry is due, until it is time to save, or until
    /// the journal is asked again.
    fn pause(&self) -> Option<Duration> {
        let now = self.context.clock.monotonic();
        if let Some(at) = self.resume_at {
            return Some(at.saturating_duration_since(now));
        }
        let save = self.save_at().map(|at| at.saturating_duration_since(now));
        let until = |at: Timestamp| {
            Duration::try_from(at.duration_since(self.context.clock.now())).unwrap_or_default()
        };
        let retry = self
            .schedule
            .next_due()
            .filter(|_| !self.rests())
            .map(until);
        let reads_on = self.reads_on();
        let replay = self
            .reading
            .replays
            .front()
            .filter(|_| reads_on)
            .map(|(_, at)| until(*at));
        save.into_iter().chain(retry).chain(replay).min()
    }
}

/// After this many ended attempts, others are started in their place.
const ENDED_IN_A_TURN: usize = 64;
