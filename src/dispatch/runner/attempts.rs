//! Attempts: what starts, and what becomes of it.

use std::sync::Arc;

use super::super::attempt::Outcome;
use super::super::schedule::{Seq, Start};
use super::Runner;
use super::reading::find;
use crate::journal::{DeadLetter, Unavailable};
use crate::{Delivery, Event, Timestamp, escape_controls};

/// An attempt that has ended.
pub(super) struct Ended {
    start: Start,
    /// `Err` when the event could not be read.
    outcome: Result<Outcome, Unavailable>,
}

impl Runner {
    pub(super) fn start(&mut self) {
        let now = self.clock.now();
        while !self.paused {
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
            let consumer = Arc::clone(&self.consumer);
            let journal = Arc::clone(&self.journal);
            let dialects = Arc::clone(&self.dialects);
            let replay = self.replaying.contains(start.seq);
            self.running.push(Box::pin(async move {
                let outcome = match find(journal.as_ref(), start.seq).await {
                    Ok(Some(record)) => {
                        let events: Arc<[Event]> = dialects.events(&record);
                        let received = dialects.decoded(&record);
                        let delivery = Delivery::new(received, start.attempt, replay);
                        Ok(consumer.attempt(&delivery, &events).await)
                    }
                    // Retention has removed it since.
                    Ok(None) => Ok(Outcome::Done),
                    Err(error) => Err(error),
                };
                Ended { start, outcome }
            }));
        }
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
        self.attempts
            .note(seq, self.consumer.name(), attempt, &outcome, now);
        if matches!(outcome, Outcome::Done) {
            self.failing_since = None;
            return self.settle(seq);
        }
        self.failing_since.get_or_insert(now);
        let name = self.consumer.name();
        let reason = outcome.to_string();
        let reason = escape_controls(&reason).into_owned();
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

    fn settle(&mut self, seq: Seq) {
        self.schedule.settled(seq);
        self.progress.settle(seq);
        self.replaying.remove(seq);
        if let Some(monotonic) = &mut self.monotonic {
            monotonic.settled(seq);
        }
    }
}
