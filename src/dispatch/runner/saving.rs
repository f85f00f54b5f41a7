//! Commands of an administrator, and saving: a command is answered when its effect is saved.

use std::time::Duration;

use super::{Runner, Unsaved};
use crate::Timestamp;
use crate::dispatch::controls::{Command, ConsumerStatus, Status};
use crate::dispatch::saved::{Saved, Waiting};
use crate::journal::{Position, ProgressChange, Unavailable};

impl Runner {
    /// Carries out a command.
    pub(super) async fn obey(&mut self, command: Command) {
        match command {
            Command::Status(answer) => drop(answer.send(self.status())),
            Command::Pause(paused, answer) => {
                self.state.paused = paused;
                if !paused && self.state.suspended.take().is_some() {
                    // The consumer gets the full time until suspension again.
                    self.state.failing_since = None;
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
        let state = &self.state;
        let tried = self.waiting().filter(|waiting| waiting.attempts > 0);
        let retrying = tried.flat_map(|waiting| self.reading.parts(waiting.position()));
        Status {
            consumer: ConsumerStatus {
                paused: state.paused,
                lag: state.progress.lag(self.context.journal.tail().head()) + state.replaying.len(),
                floor: state.progress.floor(),
                in_flight: self.schedule.running(),
                failing_since: state.failing_since,
                suspended: state.suspended.clone(),
            },
            progress: state.progress.clone(),
            replaying: state.replaying.clone(),
            retrying: retrying.collect(),
        }
    }

    fn replay(&mut self, events: &[Position], pause: Duration) {
        self.look_at_the_clock();
        let (now, _) = self.seen;
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
                (waiting.attempts, waiting.due) = (0, now);
            } else if self.state.progress.is_settled(*position)
                && self.state.replaying.insert(*position)
            {
                self.reading.replays.push_back((*position, at));
                at = at.saturating_add(pause).unwrap_or(Timestamp::MAX);
            }
        }
        self.unsaved();
    }

    /// Notes that there is progress to save.
    pub(super) fn unsaved(&mut self) {
        self.save_within(SAVE_PAUSE);
    }

    /// Notes that an unwanted event was skipped. If that is forgotten the event is skipped again, so a
    /// thousand consumers that wait for other events write almost nothing.
    pub(super) fn passed_by(&mut self) {
        self.save_within(PASSED_BY_PAUSE);
    }

    fn save_within(&mut self, pause: Duration) {
        let (_, now) = self.seen;
        let at = self.unsaved.save_at.unwrap_or(now + pause);
        self.unsaved.save_at = Some(at.min(now + pause));
    }

    /// Saves all progress, durably. A failed save is tried again later.
    pub(super) async fn save(&mut self) -> Result<(), Unavailable> {
        let saved = Saved {
            waiting: self.waiting().collect(),
            saved_at: Some(self.context.clock.now()),
            ..self.state.clone()
        };
        let change = ProgressChange {
            consumer: self.consumer.name().to_owned(),
            progress: saved.encode(),
            revived: self.unsaved.revived.clone(),
            dead: self.unsaved.dead.clone(),
        };
        let saved = self.context.desk.save(change).await;
        match &saved {
            Ok(()) => {
                self.unsaved = Unsaved::default();
                self.schedule.shrink();
                self.reading.next.shrink();
            }
            Err(error) => self.stumble("cannot save its progress", error),
        }
        saved
    }

    /// The events that were tried and wait for a retry, also those that are not in the schedule yet.
    pub(super) fn waiting(&self) -> impl Iterator<Item = Waiting> {
        let scheduled = self.schedule.waiting();
        let scheduled = scheduled.map(|(event, attempts, due)| Waiting::new(event, attempts, due));
        scheduled.chain(self.reading.remembered.values().copied())
    }

    /// Handles a failure of the journal: rests, or ends when another instance has taken the share.
    pub(super) fn stumble(&mut self, what: &str, error: &Unavailable) {
        if let Unavailable::Fenced(_) = error {
            self.fenced = true;
            return;
        }
        let name = self.consumer.name();
        log::warn!("{name}: {what}: {error}; tried again in a second");
        self.resume_at = Some(self.context.clock.monotonic() + STUMBLE_PAUSE);
    }
}

/// How long progress may stay unsaved. Events whose progress is lost are delivered again.
const SAVE_PAUSE: Duration = Duration::from_millis(100);

/// The same when the only progress is skipped events.
const PASSED_BY_PAUSE: Duration = Duration::from_secs(5);

const STUMBLE_PAUSE: Duration = Duration::from_secs(1);
