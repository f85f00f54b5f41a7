//! Commands of an administrator.

use std::time::Duration;

use super::state::Runner;
use crate::Timestamp;
use crate::dispatch::controls::{Command, ConsumerStatus, Status};
use crate::journal::Position;

impl Runner {
    /// Carries out a command.
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Pause(paused, answer) => {
                self.health.paused = paused;
                self.unsaved();
                if !paused && self.health.suspended.take().is_some() {
                    // The consumer gets the full time until suspension again.
                    self.health.failing_since = None;
                }
                self.unsaved();
                // Answers only when the change is durable. If the caller has stopped waiting, the answer
                // is discarded.
                let _ = answer.send(self.save().await);
            }
            Command::Replay {
                events,
                pause,
                answer,
            } => {
                self.replay(&events, pause);
                let _ = answer.send(self.save().await);
            }
        }
    }

    fn status(&self) -> Status {
        let waiting = self.schedule.waiting();
        let waiting = waiting.map(|(position, attempts, _)| (position, attempts));
        let remembered = self.reading.remembered.values();
        let remembered = remembered.map(|waiting| (waiting.position, waiting.attempts));
        let tried = waiting
            .chain(remembered)
            .filter(|(_, attempts)| *attempts > 0);
        let (progress, replaying) = (&self.progress, &self.reading.replaying);
        Status {
            consumer: ConsumerStatus {
                paused: self.health.paused,
                lag: progress.lag(self.context.journal.tail().head()) + replaying.len(),
                floor: progress.floor(),
                in_flight: self.schedule.running(),
                failing_since: self.health.failing_since,
                suspended: self.health.suspended.clone(),
            },
            progress: progress.clone(),
            replaying: replaying.clone(),
            retrying: tried
                .flat_map(|(position, _)| self.reading.parts(position))
                .collect(),
        }
    }

    fn replay(&mut self, events: &[Position], pause: Duration) {
        self.look_at_the_clock(self.context.clock.monotonic());
        let now = self.context.clock.now();
        let mut at = now;
        // Replayed events are no longer dead letters.
        let dead = &mut self.unsaved.dead;
        dead.retain(|letter| !events.contains(&letter.position));
        self.unsaved.revived.extend(events);
        for position in events {
            let waits_as = self.group_of(*position);
            if self.schedule.contains(waits_as) {
                self.schedule.afresh(waits_as, now);
            } else if let Some(waiting) = self.reading.remembered.get_mut(position) {
                (waiting.attempts, waiting.due) = (0, now.as_millisecond());
            } else if self.progress.is_settled(*position)
                && self.reading.replaying.insert(*position)
            {
                self.reading.replays.push_back((*position, at));
                at = at.saturating_add(pause).unwrap_or(Timestamp::MAX);
            }
        }
        self.unsaved();
    }
}
