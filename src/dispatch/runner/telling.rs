//! Tells those who watch what a consumer does.

use std::time::{Duration, Instant};

use serde_json::json;
use uuid::Uuid;

use super::{RUNNING, Runner};
use crate::EventId;
use crate::dispatch::schedule::Start;
use crate::telemetry::{About, ChangeKind};

impl Runner {
    /// Tells what an attempt has made of its event, and of those that were handed over together with it.
    pub(super) fn tell_state(
        &self,
        Start { position, attempt }: Start,
        (event, about): (EventId, &[About]),
        (state, outcome): (&str, &str),
        due: Option<Instant>,
    ) {
        let news = &self.consumer.metrics.news;
        if !news.is_heard() {
            return;
        }
        for (index, part) in self.reading.parts(position).enumerate() {
            news.tell(ChangeKind::State, about.get(index).cloned(), || {
                json!({
                    "id": EventId::new(event.body(), part.part()),
                    "consumer": self.consumer.name(),
                    "attempt": attempt,
                    "outcome": outcome.chars().take(MAX_REASON).collect::<String>(),
                    "state": state,
                    "next_at": due.map(|due| self.time_at(due)),
                })
            });
        }
    }

    /// Notes how far the consumer is behind, once in each second in which an attempt ends.
    pub(super) fn note_lag(&mut self) {
        let (_, now) = self.seen;
        let noted = self.lag_noted;
        if noted.is_none_or(|noted| now.saturating_duration_since(noted) >= LAG_PAUSE) {
            let head = self.context.journal.tail().head();
            let lag = self.state.progress.lag(head);
            self.consumer.metrics.lag(lag, now);
            self.lag_noted = Some(now);
        }
    }

    /// The state of the consumer, and why it is in it. It fails while the log says so: of a consumer that flaps few
    /// changes are told.
    fn consumer_state(&self) -> (&'static str, Option<&str>) {
        let head = &self.state.head;
        match &head.suspended {
            _ if head.paused => ("paused", None),
            Some(suspended) => ("suspended", Some(&suspended.reason)),
            None if self.failures.says_that_it_fails() => ("failing", self.last_failure.as_deref()),
            None => (RUNNING, None),
        }
    }

    /// Tells the state of the consumer, if it is another one than was told.
    pub(super) fn tell_change(&mut self) {
        if self.consumer_state().0 != self.told {
            self.tell_now();
        }
    }

    /// Tells the state of the consumer.
    pub(in crate::dispatch) fn tell_now(&mut self) {
        let (state, reason) = self.consumer_state();
        let news = &self.consumer.metrics.news;
        news.consumer(self.consumer.name(), state, reason);
        self.told = state;
    }

    /// Tells that the consumer starts again.
    pub(in crate::dispatch) fn tell_restart(&self) {
        let news = &self.consumer.metrics.news;
        news.consumer(self.consumer.name(), "restarting", None);
    }

    /// Tells that a replay runs, or has ended.
    pub(super) fn tell_replay(&self, id: Uuid) {
        let news = &self.consumer.metrics.news;
        let Some(replay) = self.state.replay(id) else {
            return;
        };
        news.tell(ChangeKind::Replay, None, || {
            json!({
                "replay": replay.id,
                "consumer": self.consumer.name(),
                "state": replay.state,
                "matched": replay.matched,
                "handed_over": replay.handed_over,
            })
        });
    }
}

/// The lag is counted anew after so long.
const LAG_PAUSE: Duration = Duration::from_secs(1);

/// How much of the last outcome is shown as the reason, in characters.
pub(super) const MAX_REASON: usize = 500;
