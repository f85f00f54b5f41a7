//! Starts attempts and handles their outcomes.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;

use super::{Ended, Runner};
use crate::dispatch::consumer::Outcome;
use crate::dispatch::records::events_of;
use crate::dispatch::saved::Suspended;
use crate::dispatch::schedule::Start;
use crate::journal::{DeadLetter, Position};
use crate::{Delivery, Timestamp, escape_controls};

impl Runner {
    /// Starts what may start. Many handlers finish immediately; those attempts end here and never join
    /// the set of running ones. Returns whether more may be ready to start: after a limited number of
    /// immediate successes other work gets its turn.
    pub(super) fn start(&mut self) -> bool {
        let (now, _) = self.seen;
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
                && monotonic.forget(start.position)
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
        let position = start.position;
        let consumer = Arc::clone(&self.consumer);
        let replay = self.state.replaying.contains(position);
        let together = self.reading.together.get(&position).cloned();
        let next = self.reading.next.take(position);
        // All runners count their references to the journal, so an attempt takes one only when it reads.
        let next = next.ok_or_else(|| self.context.clone());
        Box::pin(async move {
            let found = match next {
                Ok(record) => Ok(Some(record)),
                Err(context) => context.record(position.seq()).await,
            };
            let outcome = match found {
                Ok(Some(record)) => {
                    let (part, received) = (position.part(), &record.received);
                    let session = record.parts.view(part, received).session;
                    let delivery = Delivery::new(Arc::clone(received), start.attempt, replay);
                    let delivery = delivery.of_part(part, session);
                    let parts = together.as_deref().unwrap_or(std::slice::from_ref(&part));
                    let events = parts.iter().flat_map(|part| events_of(&record, *part));
                    Ok(consumer.attempt(&delivery, events).await)
                }
                // Retention has removed it in the meantime.
                Ok(None) => Ok(Outcome::Done),
                Err(error) => Err(error),
            };
            (start, outcome)
        })
    }

    /// Handles an attempt that has ended.
    pub(super) fn ended(&mut self, (start, outcome): Ended) {
        // First, so that a pause from now is not mistaken for one from before the clock was set back.
        self.look_at_the_clock();
        let (now, _) = self.seen;
        let Start { position, attempt } = start;
        let outcome = match outcome {
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
            self.state.failing_since = None;
            return self.settle(position);
        }
        let reason = escape_controls(&outcome.to_string()).into_owned();
        self.failed(&reason, now);
        let (name, options) = (self.consumer.name(), &self.consumer.options);
        let retry = options.retry.unwrap_or_default();
        if outcome.is_final() || attempt >= retry.attempts {
            log::warn!(
                "event {position}: {name}: {reason}; attempt {attempt} was the last: dead letter"
            );
            for position in self.reading.parts(position) {
                self.consumer.metrics.dead_letters.inc();
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
        let pause = pause.max(outcome.asked_pause().unwrap_or_default());
        log::info!(
            "event {position}: {name}: {reason}; attempt {attempt}, the next in {pause:.1?}"
        );
        let due = now.saturating_add(pause).unwrap_or(Timestamp::MAX);
        self.consumer.metrics.retries.inc();
        self.schedule.again(position, due);
    }

    /// Records a failure. Suspends the consumer when failures have lasted too long without a success.
    fn failed(&mut self, reason: &str, now: Timestamp) {
        let since = *self.state.failing_since.get_or_insert(now);
        let lasted = Duration::try_from(now.duration_since(since)).unwrap_or_default();
        let after = self.consumer.options.suspend_after;
        if self.state.suspended.is_some() || after.is_none_or(|after| lasted < after) {
            return;
        }
        let name = self.consumer.name();
        log::warn!(
            "{name}: suspended, nothing has succeeded since {since}: {reason}; its events stay in \
             the journal, and `offhook consumers resume '{name}'` resumes it"
        );
        self.state.suspended = Some(Suspended {
            since: now,
            reason: reason.chars().take(MAX_REASON).collect(),
        });
    }

    fn settle(&mut self, position: Position) {
        self.schedule.settled(position);
        let (alone, together) = (position.part(), self.reading.together.remove(&position));
        for part in together.as_deref().unwrap_or(std::slice::from_ref(&alone)) {
            let position = Position::new(position.seq(), *part);
            self.state.progress.settle(position);
            self.state.replaying.remove(position);
        }
        if let Some(monotonic) = &mut self.monotonic {
            monotonic.forget(position);
        }
    }
}

/// How much of the last outcome becomes the reason for a suspension, in characters.
const MAX_REASON: usize = 500;
