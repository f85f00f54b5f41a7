//! What an administrator asks for.

use std::time::Duration;

use super::super::controls::{Command, Status};
use super::Runner;
use crate::Timestamp;
use crate::journal::Seq;

impl Runner {
    /// Does what the administrator asks for.
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Pause(paused, answer) => {
                self.paused = paused;
                self.unsaved();
                if !paused && self.suspended.take().is_some() {
                    // It has all the time again that it had at first.
                    self.failing_since = None;
                }
                self.unsaved();
                // Promised only when it outlives the process; who no longer waits needs no answer.
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
        let waiting = waiting.map(|(seq, attempts, _)| (seq, attempts));
        let remembered = self.remembered.values();
        let remembered = remembered.map(|waiting| (waiting.seq, waiting.attempts));
        Status {
            name: self.consumer.name().to_owned(),
            paused: self.paused,
            lag: self.progress.lag(self.journal.tail().head()) + self.replaying.len(),
            floor: self.progress.floor(),
            in_flight: self.schedule.running(),
            failing_since: self.failing_since,
            suspended: self.suspended.clone(),
            progress: self.progress.clone(),
            replaying: self.replaying.clone(),
            retrying: waiting
                .chain(remembered)
                .filter(|(_, attempts)| *attempts > 0)
                .map(|(seq, _)| seq)
                .collect(),
        }
    }

    fn replay(&mut self, events: &[Seq], pause: Duration) {
        self.look_at_the_clock(self.clock.monotonic());
        let now = self.clock.now();
        let mut at = now;
        // Whatever becomes of them now, they are dead letters no more.
        self.dead.retain(|letter| !events.contains(&letter.seq));
        self.revived.extend(events);
        for seq in events {
            if self.schedule.contains(*seq) {
                self.schedule.afresh(*seq, now);
            } else if let Some(waiting) = self.remembered.get_mut(seq) {
                (waiting.attempts, waiting.due) = (0, now.as_millisecond());
            } else if self.progress.is_settled(*seq) && self.replaying.insert(*seq) {
                self.replays.push_back((*seq, at));
                at = at.saturating_add(pause).unwrap_or(Timestamp::MAX);
            }
        }
        self.unsaved();
    }
}
