//! Starts attempts and handles their outcomes.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::find::find;
use super::state::{Ended, Runner};
use crate::dispatch::attempt::Outcome;
use crate::dispatch::saved::Suspended;
use crate::dispatch::schedule::Start;
use crate::journal::{DeadLetter, Part, Position, Record};
use crate::{Delivery, Timestamp, escape_controls};

impl Runner {
    /// Starts what may start. Many handlers finish immediately; those attempts end here and never join
    /// the set of running ones. Returns whether more may be ready to start: after a limited number of
    /// immediate successes other work gets its turn.
    pub(super) fn start(&mut self) -> bool {
        let now = self.context.clock.now();
        let mut done_immediately = 0;
        while !self.rests() {
            if done_immediately == self.context.tuning.done_in_a_turn {
                return true;
            }
            let Some(start) = self.schedule.start(now) else {
                break;
            };
            if let Some(monotonic) = &mut self.monotonic
                && start.attempt == 1
                && monotonic.is_overtaken(start.position)
            {
                self.settle(start.position);
                self.unsaved();
                continue;
            }
            let mut attempt = self.attempt(start);
            // An unfinished attempt joins the running ones, is polled again there, and then registers
            // its waker.
            match attempt.poll_unpin(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(ended) => {
                    self.ended(ended);
                    done_immediately += 1;
                }
                Poll::Pending => self.running.push(attempt),
            }
        }
        false
    }

    fn attempt(&mut self, start: Start) -> BoxFuture<'static, Ended> {
        let consumer = Arc::clone(&self.consumer);
        let journal = Arc::clone(&self.context.journal);
        let decoder = Arc::clone(&self.context.decoder);
        let replay = self.reading.replaying.contains(start.position);
        let next = self.reading.next.take(start.position);
        let together = self.reading.together.get(&start.position).cloned();
        Box::pin(async move {
            let found = match next {
                Some(record) => Ok(Some(record)),
                None => find(journal.as_ref(), start.position.seq()).await,
            };
            let outcome = match found {
                Ok(Some(record)) => {
                    let (record, events) = record.decoded(|received| decoder.decode(received));
                    let (count, part) = (record.parts.count(), start.position.part());
                    let view = record.parts.view(part, &record.received);
                    let received = Arc::clone(&record.received);
                    let delivery =
                        Delivery::new(received, start.attempt, replay).of_part(part, view.session);
                    match together {
                        None => {
                            let own = Record::events_of(count, part, &events);
                            Ok(consumer.attempt(&delivery, own.iter()).await)
                        }
                        Some(parts) => {
                            let own = |part: &Part| Record::events_of(count, *part, &events);
                            let events = parts.iter().flat_map(own);
                            Ok(consumer.attempt(&delivery, events).await)
                        }
                    }
                }
                // Retention has removed it in the meantime.
                Ok(None) => Ok(Outcome::Done),
                Err(error) => Err(error),
            };
            Ended { start, outcome }
        })
    }

    pub(super) fn ended(&mut self, ended: Ended) {
        let Start { position, attempt } = ended.start;
        let now = self.context.clock.now();
        let outcome = match ended.outcome {
            Ok(outcome) => outcome,
            Err(error) => {
                self.schedule.not_started(position);
                return self.stumble("cannot read the journal", &error);
            }
        };
        self.unsaved();
        for part in self.reading.parts(position) {
            self.observer.attempted(part, attempt, &outcome, now);
        }
        if matches!(outcome, Outcome::Done) {
            self.health.failing_since = None;
            return self.settle(position);
        }
        // Checks the clock first, so that a pause from now is not mistaken for one from before the clock
        // was set back.
        self.look_at_the_clock(self.context.clock.monotonic());
        let reason = outcome.to_string();
        let reason = escape_controls(&reason).into_owned();
        self.failed(&reason, now);
        let (name, retry) = (self.consumer.name(), self.consumer.retry());
        if outcome.is_final() || attempt >= retry.attempts {
            log::warn!(
                "event {position}: {name}: {reason}; attempt {attempt} was the last: dead letter"
            );
            for position in self.reading.parts(position) {
                self.consumer.metrics().dead_letter();
                self.unsaved.dead.push(DeadLetter {
                    position,
                    attempts: attempt,
                    reason: reason.clone(),
                    at: now,
                });
            }
            return self.settle(position);
        }
        let pause = retry.pause(attempt, fastrand::f64());
        let pause = outcome
            .asked_pause()
            .map_or(pause, |asked| asked.max(pause));
        log::info!(
            "event {position}: {name}: {reason}; attempt {attempt}, the next in {pause:.1?}"
        );
        let due = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        self.consumer.metrics().retry();
        self.schedule.again(position, due);
    }

    /// Records a failure. Suspends the consumer when failures have lasted too long without a success.
    fn failed(&mut self, reason: &str, now: Timestamp) {
        let since = *self.health.failing_since.get_or_insert(now);
        let lasted = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let after = self.consumer.suspend_after();
        if self.health.suspended.is_some() || after.is_none_or(|after| lasted < after) {
            return;
        }
        let name = self.consumer.name();
        log::warn!(
            "{name}: suspended, nothing has succeeded since {since}: {reason}; its events stay in \
             the journal, and `offhook consumers resume '{name}'` resumes it"
        );
        self.health.suspended = Some(Suspended {
            since: now,
            reason: reason.chars().take(MAX_REASON).collect(),
        });
    }

    fn settle(&mut self, position: Position) {
        self.schedule.settled(position);
        match self.reading.together.remove(&position) {
            None => self.settle_one(position),
            Some(parts) => {
                for part in parts {
                    self.settle_one(Position::new(position.seq(), part));
                }
            }
        }
        if let Some(monotonic) = &mut self.monotonic {
            monotonic.settled(position);
        }
    }

    fn settle_one(&mut self, position: Position) {
        self.progress.settle(position);
        self.reading.replaying.remove(position);
    }
}

/// How much of the last outcome becomes the reason for a suspension, in characters.
const MAX_REASON: usize = 500;
