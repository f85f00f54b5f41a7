//! Carries out the commands of an administrator.

use std::time::Instant;

use tokio::sync::oneshot;

use super::Runner;
use crate::dispatch::controls::{Command, HeldUp};
use crate::dispatch::progress::Positions;
use crate::dispatch::status::{ConsumerStatus, EventStates};
use crate::journal::Position;

impl Runner {
    /// Carries out a command. A command that changes something is answered when its effect is saved.
    pub(super) fn obey(&mut self, command: Command) {
        self.look_at_the_clock();
        self.pass_removed();
        // A caller that has stopped waiting needs no answer.
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Events(answer) => drop(answer.send(self.events())),
            Command::HeldUp(most, answer) => drop(answer.send(self.held_up(most))),
            Command::Pause(paused, answer) => {
                self.state.head.paused = paused;
                if !paused && self.state.head.suspended.take().is_some() {
                    // The consumer gets the full time until suspension again.
                    self.failing = None;
                }
                self.tell_change();
                self.save_and_answer(answer);
            }
            Command::Replay {
                id,
                request,
                events,
                answer,
            } => {
                // Another instance's command may be carried out twice.
                if self.state.replay(id).is_none() {
                    self.add_replay(id, request, events);
                }
                // What is handed over immediately is no dead letter any more when this is answered.
                self.hand_over();
                self.save_and_answer(answer);
            }
            Command::Save(answer) => self.save_now(answer),
            Command::Deleted(bodies, answer) => {
                self.pass_deleted(&bodies);
                let _ = answer.send(());
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

    pub(super) fn status(&self) -> ConsumerStatus {
        let (state, progress) = (&self.state, &self.state.progress);
        // What has left the journal may be in the schedule for a while, but waits for nothing.
        let handed_over = state.replaying.iter().filter(|event| self.stays(*event));
        let settled = handed_over.filter(|event| progress.is_settled(*event));
        let settled = settled.count() as u64;
        let mut pending = state.replays.iter();
        let replaying = if pending.any(|replay| !replay.pending.is_empty()) {
            // The others are counted as events that are not settled.
            let replaying = self.replaying();
            replaying
                .iter()
                .filter(|event| progress.is_settled(*event))
                .count() as u64
        } else {
            settled
        };
        let (head, cursor) = (self.context.journal.tail().head(), self.reading.cursor);
        let in_memory = self.schedule.len();
        let read = progress.unsettled(0, cursor) + settled;
        let failing = self.failing.map(|failing| failing.lasted(self.seen.1));
        ConsumerStatus {
            paused: state.head.paused,
            unsettled: progress.lag(head),
            again: replaying,
            floor: progress.floor(),
            in_flight: self.schedule.running(),
            in_memory,
            overflowed: read.saturating_sub(in_memory as u64),
            retrying: self.retrying().count() as u64,
            failing_since: failing.and_then(|lasted| self.seen.0.checked_sub(lasted).ok()),
            failing_reason: failing.and(self.last_failure.clone()),
            suspended: state.head.suspended.clone(),
        }
    }

    fn events(&self) -> EventStates {
        EventStates {
            progress: self.state.progress.clone(),
            replaying: self.replaying(),
            retrying: self.retrying().collect(),
        }
    }

    /// Events that are handed over again, or will be.
    fn replaying(&self) -> Positions {
        let replays = self.state.replays.iter();
        let pending = replays.flat_map(|replay| replay.pending.iter());
        let all = self.state.replaying.iter().chain(pending);
        all.filter(|event| self.stays(*event)).collect()
    }

    /// Events that were tried and wait for a retry.
    fn retrying(&self) -> impl Iterator<Item = Position> {
        let tried = self.schedule.retries().iter();
        let tried = tried.filter(|(_, retry)| retry.attempts > 0);
        let tried = tried.flat_map(|(event, _)| self.reading.parts(*event));
        tried.filter(|event| self.waits(*event))
    }

    /// Whether retention has not removed the event.
    fn stays(&self, event: Position) -> bool {
        event.seq() > self.reading.removed
    }

    /// Whether an event in the schedule has not left the journal.
    fn waits(&self, event: Position) -> bool {
        self.stays(event) && !self.is_settled_for_good(event)
    }

    fn held_up(&self, most: usize) -> HeldUp {
        let next_try = |due: Option<Instant>| due.map(|due| self.time_at(due));
        let conversations = self.schedule.held_up();
        let conversations = conversations.filter(|one| self.waits(one.position));
        let sessions = self.schedule.held_up_sessions();
        let sessions = sessions.filter(|one| self.waits(one.position));
        let mut held_up = HeldUp {
            conversations: conversations.map(|one| (one, next_try(one.due))).collect(),
            sessions: sessions.map(|one| (one, next_try(one.due))).collect(),
            options: Some(self.consumer.options.clone()),
        };
        held_up.keep(most);
        held_up
    }
}
