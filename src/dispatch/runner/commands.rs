//! Carries out the commands of an administrator.

use tokio::sync::oneshot;

use super::Runner;
use crate::dispatch::controls::{Command, ConsumerStatus, HeldUp, Status};
use crate::dispatch::progress::Positions;

impl Runner {
    /// Carries out a command. A command that changes something is answered when its effect is saved.
    pub(super) fn obey(&mut self, command: Command) {
        self.look_at_the_clock();
        // A caller that has stopped waiting needs no answer.
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::HeldUp(most, answer) => drop(answer.send(self.held_up(most))),
            Command::Pause(paused, answer) => {
                self.state.head.paused = paused;
                if !paused && self.state.head.suspended.take().is_some() {
                    // The consumer gets the full time until suspension again.
                    self.failing = None;
                }
                self.save_and_answer(answer);
            }
            Command::Replay {
                id,
                request,
                events,
                answer,
            } => {
                self.add_replay(id, request, events);
                // What is handed over immediately is no dead letter any more when this is answered.
                self.hand_over();
                self.save_and_answer(answer);
            }
            Command::Replays(answer) => drop(answer.send(self.state.replays.clone())),
            Command::CancelReplay(id, answer) => {
                let saving = self.cancel_replay(id).then(|| {
                    let (saved, saving) = oneshot::channel();
                    self.save_and_answer(saved);
                    saving
                });
                let _ = answer.send(saving);
            }
        }
    }

    pub(super) fn status(&self) -> Status {
        let state = &self.state;
        let mut replaying = state.replaying.clone();
        for replay in &state.replays {
            replay
                .pending
                .iter()
                .for_each(|event| _ = replaying.insert(event));
        }
        let tried = self
            .schedule
            .retries()
            .iter()
            .filter(|(_, retry)| retry.attempts > 0);
        let retrying = tried.flat_map(|(event, _)| self.reading.parts(*event));
        let retrying: Positions = retrying.collect();
        let progress = &state.progress;
        let (head, cursor) = (self.context.journal.tail().head(), self.reading.cursor);
        let in_memory = self.schedule.len();
        let read = progress.unsettled(0, cursor) + state.replaying.len();
        let failing = self.failing.map(|failing| failing.lasted(self.seen.1));
        Status {
            consumer: ConsumerStatus {
                paused: state.head.paused,
                lag: progress.lag(head) + replaying.len(),
                floor: progress.floor(),
                in_flight: self.schedule.running(),
                in_memory,
                overflowed: read.saturating_sub(in_memory as u64),
                retrying: retrying.len(),
                failing_since: failing.and_then(|lasted| self.seen.0.checked_sub(lasted).ok()),
                suspended: state.head.suspended.clone(),
            },
            progress: progress.clone(),
            replaying,
            retrying,
        }
    }

    fn held_up(&self, most: usize) -> Vec<HeldUp> {
        let mut held_up: Vec<_> = self.schedule.held_up().collect();
        held_up.sort_unstable_by_key(|one| (one.due, one.position));
        held_up.truncate(most);
        let shown = held_up.into_iter().map(|one| HeldUp {
            position: one.position,
            attempts: one.attempts,
            next_try: one.due.map(|due| self.time_at(due)),
            behind: one.behind,
            more: one.more,
        });
        shown.collect()
    }
}
