//! Starts attempts and handles their outcomes.

use std::sync::Arc;
use std::time::Duration;

use log::Level;

use super::bodies::{BodyReading, is_at_hand};
use super::failures::Failure;
use super::tasks::{End, Ended, Planned};
use super::telling::MAX_REASON;
use super::{Failing, Runner};
use crate::dispatch::consumer::Outcome;
use crate::dispatch::saved::{Row, Suspended};
use crate::dispatch::schedule::{Retry, Start};
use crate::escape_controls;
use crate::journal::{DeadLetter, Position};
use crate::telemetry::RecentFailure;

impl Runner {
    /// Starts what may start. Returns whether more may be ready to start: after a limited number other work
    /// gets its turn.
    pub(super) fn start(&mut self) -> bool {
        let (_, now) = self.seen;
        for _ in 0..self.context.tuning.started_in_a_turn {
            if self.rests() || self.unsaved.dead.len() >= MOST_UNSAVED {
                return false;
            }
            let Some(start) = self.schedule.start(now) else {
                return false;
            };
            if self.is_gone(start.position) || self.is_overtaken(start) {
                self.reading.next.take(start.position);
                self.settle(start.position);
                continue;
            }
            self.attempt(start);
        }
        true
    }

    /// Whether the event has left the journal.
    fn is_gone(&self, position: Position) -> bool {
        position.seq() <= self.context.journal.tail().removed()
            || self.is_settled_for_good(position)
    }

    /// Whether the event is settled, and no replay hands it over. In the schedule there is no such event but
    /// those that have left the journal.
    pub(super) fn is_settled_for_good(&self, position: Position) -> bool {
        let is_replayed = |part| self.state.replaying.contains(part);
        self.state.progress.is_settled(position) && !self.reading.parts(position).any(is_replayed)
    }

    /// Whether a later status has overtaken the event before its first attempt. A replay is handed over
    /// all the same.
    fn is_overtaken(&mut self, start: Start) -> bool {
        let Some(monotonic) = &mut self.monotonic else {
            return false;
        };
        start.attempt == 1
            && monotonic.forget(start.position)
            && !self.state.replaying.contains(start.position)
    }

    /// Hands an attempt to the tasks that make them.
    fn attempt(&mut self, start: Start) {
        let position = start.position;
        let is_replayed = |part| self.state.replaying.contains(part);
        let is_replay = self.reading.parts(position).any(is_replayed);
        let together = self.reading.together.get(&position).cloned();
        let record = self.reading.next.take(position);
        let reads_content = self.consumer.reads_content();
        // All runners count their references to the journal, so an attempt takes one only when it reads.
        let at_hand = { record.as_ref() }.is_some_and(|record| is_at_hand(record, reads_content));
        let reading = (!at_hand).then(|| {
            Box::new(BodyReading {
                context: self.context.clone(),
                chunks: Arc::clone(&self.reading.chunks),
                own: Arc::clone(&self.own_room),
                hasher: self.hasher,
                reads_content,
            })
        });
        self.attempts.begin(Planned {
            start,
            is_replay,
            together,
            record,
            reading,
        });
    }

    /// Handles an attempt that has ended.
    pub(super) fn ended(&mut self, (start, end): Ended) {
        self.note_lag();
        let Start { position, attempt } = start;
        let made = match end {
            End::Made(made) => made,
            End::Removed => {
                // The event has left the journal. Retention has counted what it has removed.
                return self.settle(position);
            }
            End::Unread(error) => {
                self.schedule.not_started(position);
                return self.stumble("cannot read the journal", &error);
            }
            // The runner is told to end, or the lease is renewed.
            End::Lapsed => return self.schedule.not_started(position),
        };
        let (at, now) = self.seen;
        for part in self.reading.parts(position) {
            self.observer.attempted(part, attempt, &made, at);
        }
        let (event, about, outcome) = (made.event, made.about, made.outcome);
        if matches!(outcome, Outcome::Done) {
            self.tell_state(start, (event, &about), ("done", "done"), None);
            return self.succeeded(start);
        }
        let reason = escape_controls(&outcome.to_string()).into_owned();
        self.failed(&reason);
        if self.is_gone(position) {
            // It has no other attempt, and is no dead letter.
            return self.settle(position);
        }
        let retry = self.consumer.options.retry.unwrap_or_default();
        let is_last = outcome.is_final() || attempt >= retry.attempts;
        let pause = retry.pause(attempt, fastrand::f64());
        let pause = pause.max(outcome.asked_pause().unwrap_or_default());
        let failure = Failure {
            event,
            attempt,
            reason: reason.clone(),
            pause: (!is_last).then_some(pause),
            is_rejected: outcome.is_final(),
        };
        let name = self.consumer.name();
        if let Some(line) = self.failures.failed(name, position, failure, self.seen) {
            line.log(Level::Warn);
        }
        self.tell_change();
        let due = now + pause.min(LONGEST_PAUSE);
        let (state, due_then) = if is_last {
            ("dead", None)
        } else {
            ("retrying", Some(due))
        };
        self.tell_state(start, (event, &about), (state, &reason), due_then);
        let failure = RecentFailure {
            at,
            event,
            attempt,
            outcome: reason.chars().take(MAX_REASON).collect(),
            next_at: due_then.map(|due| self.time_at(due)),
        };
        self.consumer.metrics.failed(failure, now);
        if is_last {
            return self.give_up(start, &reason);
        }
        self.consumer.metrics.retries.inc();
        let attempts = attempt;
        self.schedule.again(position, Retry { attempts, due });
        self.has_retry(position);
        self.replay_after_failure(position);
    }

    fn succeeded(&mut self, Start { position, attempt }: Start) {
        self.failing = None;
        self.settle(position);
        let recovers = attempt > 1 || self.schedule.retries().is_empty();
        let name = self.consumer.name();
        if let Some(line) = self.failures.succeeded(name, recovers, self.seen.1) {
            line.log(Level::Info);
        }
        self.tell_change();
    }

    /// The event becomes a dead letter, with those that were handed over together with it.
    fn give_up(&mut self, Start { position, attempt }: Start, reason: &str) {
        let (at, now) = self.seen;
        for position in self.reading.parts(position) {
            self.consumer.metrics.gave_up(now);
            self.unsaved.dead.push(DeadLetter {
                position,
                attempts: attempt,
                reason: reason.to_owned(),
                at,
            });
        }
        self.settle(position);
    }

    /// Notes that the retry of an event is to be saved.
    pub(super) fn has_retry(&mut self, position: Position) {
        self.failed_again();
        self.state.changed.insert(Row::Retry(position));
    }

    /// Records a failure. Suspends the consumer when failures have lasted too long without a success.
    fn failed(&mut self, reason: &str) {
        let (at, now) = self.seen;
        let reason: String = reason.chars().take(MAX_REASON).collect();
        self.last_failure = Some(reason.clone());
        let failing = *self.failing.get_or_insert(Failing {
            before: Duration::ZERO,
            since: now,
        });
        let lasted = failing.lasted(now);
        let after = self.consumer.options.suspend_after;
        if self.state.head.suspended.is_some() || after.is_none_or(|after| lasted < after) {
            return;
        }
        let name = self.consumer.name();
        log::warn!(
            consumer = name, outcome = "suspended";
            "{name}: suspended, nothing has succeeded for {lasted:.0?}: {reason}; its events stay in \
             the journal, and `offhook consumers resume '{name}'` resumes it"
        );
        self.unsaved();
        self.state.head.suspended = Some(Suspended { since: at, reason });
    }

    /// Settles a running event, with those that were handed over together with it.
    pub(super) fn settle(&mut self, position: Position) {
        self.unsaved();
        self.schedule.settled(position);
        let (alone, together) = (position.part(), self.reading.together.remove(&position));
        for part in together.as_deref().unwrap_or(std::slice::from_ref(&alone)) {
            let position = Position::new(position.seq(), *part);
            self.state.progress.settle(position);
            self.state.replaying.remove(position);
            self.forget_retry(position);
            self.replaying.settled(position);
        }
        if let Some(monotonic) = &mut self.monotonic {
            monotonic.forget(position);
        }
    }

    /// Forgets the attempts of an event.
    pub(super) fn forget_retry(&mut self, position: Position) {
        if self.schedule.forget_retry(position) {
            self.state.changed.insert(Row::Retry(position));
        }
    }
}

/// While so many dead letters cannot be saved, nothing more is started.
const MOST_UNSAVED: usize = 10_000;

/// No retry waits longer, whatever a handler asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(366 * 24 * 3600);
