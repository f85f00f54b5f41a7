//! What an administrator asks for.

use std::time::Duration;

use super::super::controls::{Command, Status};
use super::super::schedule::Seq;
use super::Runner;
use crate::Timestamp;

impl Runner {
    /// Does what the administrator asks for.
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Pause(paused, answer) => {
                self.paused = paused;
                if !paused && self.suspended.take().is_some() {
                    // It has all the time again that it had at first.
                    self.failing_since = None;
                }
                self.save().await;
                // Who no longer waits needs no answer.
                let _ = answer.send(());
            }
            Command::Replay {
                events,
                pause,
                answer,
            } => {
                self.replay(&events, pause);
                // Promised only when it outlives the process.
                self.save().await;
                // Who no longer waits needs no answer.
                let _ = answer.send(());
            }
        }
    }

    fn status(&self) -> Status {
        let waiting = self.schedule.waiting();
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
                .filter(|(_, attempts, _)| *attempts > 0)
                .map(|(seq, ..)| seq)
                .collect(),
        }
    }

    fn replay(&mut self, events: &[Seq], pause: Duration) {
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
