//! Attempts: what starts, and what becomes of it.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::super::attempt::Outcome;
use super::super::progress::Suspended;
use super::super::schedule::Start;
use super::Runner;
use super::reading::find;
use crate::journal::{DeadLetter, Seq, Unavailable};
use crate::{Delivery, Timestamp, escape_controls};

/// An attempt that has ended.
pub(super) struct Ended {
    start: Start,
    /// `Err` when the event could not be read.
    outcome: Result<Outcome, Unavailable>,
}

impl Runner {
    /// Starts what may start. Many handlers are done at once: those are ended here, without a detour
    /// over the others that run. Returns whether there may be more to start: after so many that were
    /// done at once others have their turn.
    pub(super) fn start(&mut self) -> bool {
        let now = self.clock.now();
        let mut done_at_once = 0;
        while !self.rests() {
            if done_at_once == DONE_AT_ONCE {
                return true;
            }
            let Some(start) = self.schedule.start(now) else {
                break;
            };
            if let Some(monotonic) = &mut self.monotonic
                && start.attempt == 1
                && monotonic.is_overtaken(start.seq)
            {
                self.settle(start.seq);
                self.unsaved();
                continue;
            }
            let mut attempt = self.attempt(start);
            // Whoever is not done is looked at again with those that run, and wakes them then.
            match attempt.poll_unpin(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(ended) => {
                    self.ended(ended);
                    done_at_once += 1;
                }
                Poll::Pending => self.running.push(attempt),
            }
        }
        false
    }

    fn attempt(&mut self, start: Start) -> BoxFuture<'static, Ended> {
        let consumer = Arc::clone(&self.consumer);
        let journal = Arc::clone(&self.journal);
        let decoder = Arc::clone(&self.decoder);
        let replay = self.replaying.contains(start.seq);
        let next = self.next.take(start.seq);
        Box::pin(async move {
            let found = match next {
                Some(record) => Ok(Some(record)),
                None => find(journal.as_ref(), start.seq).await,
            };
            let outcome = match found {
                Ok(Some(record)) => {
                    let (record, events) = record.decoded(|received| decoder.decode(received));
                    let received = Arc::clone(&record.received);
                    let delivery = Delivery::new(received, start.attempt, replay);
                    Ok(consumer.attempt(&delivery, &events).await)
                }
                // Retention has removed it since.
                Ok(None) => Ok(Outcome::Done),
                Err(error) => Err(error),
            };
            Ended { start, outcome }
        })
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        let Start { seq, attempt } = ended.start;
        let now = self.clock.now();
        let outcome = match ended.outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                self.schedule.not_started(seq);
                return self.stumble("cannot read the journal", &error);
            }
        };
        self.unsaved();
        self.observer.attempted(seq, attempt, &outcome, now);
        if matches!(outcome, Outcome::Done) {
            self.failing_since = None;
            return self.settle(seq);
        }
        // So that a pause from now is not taken for one from before the clock was set back.
        self.look_at_the_clock(self.clock.monotonic());
        let reason = outcome.to_string();
        let reason = escape_controls(&reason).into_owned();
        self.failed(&reason, now);
        let name = self.consumer.name();
        if outcome.is_final() || attempt >= self.retry.attempts {
            log::warn!(
                "event {seq}: {name}: {reason}; attempt {attempt} was the last: dead letter"
            );
            self.consumer.metrics().dead_letter();
            self.dead.push(DeadLetter {
                seq,
                attempts: attempt,
                reason,
                at: now,
            });
            return self.settle(seq);
        }
        let pause = self.retry.pause(attempt, fastrand::f64());
        let pause = outcome
            .asked_pause()
            .map_or(pause, |asked| asked.max(pause));
        log::info!("event {seq}: {name}: {reason}; attempt {attempt}, the next in {pause:.1?}");
        let due = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        self.consumer.metrics().retry();
        self.schedule.again(seq, due);
    }

    /// Nothing succeeds: when that has lasted too long, nothing more starts.
    fn failed(&mut self, reason: &str, now: Timestamp) {
        let since = *self.failing_since.get_or_insert(now);
        let lasted = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let after = self.consumer.suspend_after();
        if self.suspended.is_some() || after.is_none_or(|after| lasted < after) {
            return;
        }
        let name = self.consumer.name();
        log::warn!(
            "{name}: suspended, nothing has succeeded since {since}: {reason}; its events are kept, \
             and `offhook consumers resume '{name}'` lets it go on"
        );
        self.suspended = Some(Suspended {
            since: now,
            reason: reason.chars().take(MAX_REASON).collect(),
        });
    }

    fn settle(&mut self, seq: Seq) {
        self.schedule.settled(seq);
        self.progress.settle(seq);
        self.replaying.remove(seq);
        if let Some(monotonic) = &mut self.monotonic {
            monotonic.settled(seq);
        }
    }
}

/// After so many attempts that were done at once others have their turn.
const DONE_AT_ONCE: usize = if cfg!(test) { 3 } else { 128 };

/// How much of the last outcome is kept as the reason of a suspension, in characters.
const MAX_REASON: usize = 500;
