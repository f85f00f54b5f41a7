//! Tells those who watch what a consumer does.

use std::time::Instant;

use serde_json::json;
use uuid::Uuid;

use super::Runner;
use crate::EventId;
use crate::dispatch::schedule::Start;
use crate::telemetry::{About, ChangeKind};

impl Runner {
    /// Tells what an attempt has made of its event, and of those that were handed over together with it.
    pub(super) fn tell_state(
        &self,
        Start { position, attempt }: Start,
        (event, about): (EventId, Option<About>),
        (state, outcome): (&str, &str),
        due: Option<Instant>,
    ) {
        let news = &self.consumer.metrics.news;
        if !news.is_heard() {
            return;
        }
        for part in self.reading.parts(position) {
            news.tell(ChangeKind::State, about.clone(), || {
                json!({
                    "id": EventId::new(event.body(), part.part()),
                    "consumer": self.consumer.name(),
                    "attempt": attempt,
                    "outcome": outcome,
                    "state": state,
                    "next_at": due.map(|due| self.time_at(due)),
                })
            });
        }
    }

    /// Notes how far the consumer is behind, once in each minute in which an attempt ends.
    pub(super) fn note_lag(&mut self) {
        let (_, now) = self.seen;
        let metrics = &self.consumer.metrics;
        if let Some(minute) = metrics.new_minute(self.lag_noted, now) {
            let head = self.context.journal.tail().head();
            metrics.lag(self.state.progress.lag(head), now);
            self.lag_noted = Some(minute);
        }
    }

    /// Tells that the consumer is in another state now.
    pub(in crate::dispatch) fn tell_consumer(&self, state: &str, reason: Option<&str>) {
        let consumer = &self.consumer;
        consumer
            .metrics
            .news
            .consumer(consumer.name(), state, reason);
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
