//! [`Controls`]: what an administrator can ask of a running consumer.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::positions::Positions;
use super::progress::Progress;
use super::saved::Suspended;
use crate::Timestamp;
use crate::journal::{Position, Seq, Share, Unavailable};

/// A handle to one running consumer.
#[derive(Debug, Clone)]
pub(crate) struct Controls {
    name: String,
    share: Share,
    commands: mpsc::Sender<Command>,
}

/// A command, and where its answer goes.
#[derive(Debug)]
pub(super) enum Command {
    Status(oneshot::Sender<Status>),
    Pause(bool, oneshot::Sender<Result<(), Unavailable>>),
    Replay {
        events: Vec<Position>,
        /// The pause between two events.
        pause: Duration,
        answer: oneshot::Sender<Result<(), Unavailable>>,
    },
}

/// The state of a consumer in one share.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) consumer: ConsumerStatus,
    pub(crate) progress: Progress,
    pub(crate) replaying: Positions,
    pub(crate) retrying: Positions,
}

/// The state of a consumer, in all shares together.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerStatus {
    pub(crate) paused: bool,
    /// Events that are not settled, and events to be replayed.
    pub(crate) lag: u64,
    /// Every event up to here is settled.
    pub(crate) floor: Seq,
    /// Attempts that run now.
    pub(crate) in_flight: usize,
    /// When the first failure since the last success happened.
    pub(crate) failing_since: Option<Timestamp>,
    /// Set while the consumer is suspended because nothing succeeded for too long. It starts nothing until
    /// it is resumed.
    pub(crate) suspended: Option<Suspended>,
}

impl ConsumerStatus {
    /// Combines the states of two shares.
    pub(super) fn and(self, other: Self) -> Self {
        let failing = [self.failing_since, other.failing_since];
        Self {
            paused: self.paused || other.paused,
            lag: self.lag + other.lag,
            floor: self.floor.min(other.floor),
            in_flight: self.in_flight + other.in_flight,
            failing_since: failing.into_iter().flatten().min(),
            suspended: self.suspended.or(other.suspended),
        }
    }
}

impl Controls {
    pub(super) fn new(name: &str, share: Share) -> (Self, mpsc::Receiver<Command>) {
        let (commands, obeyed) = mpsc::channel(MAX_WAITING);
        let controls = Self {
            name: name.to_owned(),
            share,
            commands,
        };
        (controls, obeyed)
    }

    /// The consumer's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The share in which this consumer runs.
    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// Whether both handles have the same consumer name and the same share.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.name == other.name && self.share == other.share
    }

    /// The consumer's state; `None` when it has ended.
    pub(crate) async fn status(&self) -> Option<Status> {
        self.ask(Command::Status).await
    }

    /// Pauses the consumer, or resumes it, also when it was suspended. `None` when it has ended.
    ///
    /// # Errors
    ///
    /// When this cannot be made durable now. It still takes effect, but is lost if the process ends
    /// before it is saved.
    pub(crate) async fn pause(&self, paused: bool) -> Option<Result<(), Unavailable>> {
        self.ask(|answer| Command::Pause(paused, answer)).await
    }

    /// Replays these events, with a pause between two of them. Returns when the replay will happen even
    /// if the process ends; `None` when the consumer has ended.
    ///
    /// # Errors
    ///
    /// As [`Controls::pause`].
    pub(crate) async fn replay(
        &self,
        events: Vec<Position>,
        pause: Duration,
    ) -> Option<Result<(), Unavailable>> {
        self.ask(|answer| Command::Replay {
            events,
            pause,
            answer,
        })
        .await
    }

    /// Returns when the consumer has ended: no attempt runs, and nothing more is saved.
    pub(super) async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Whether the consumer has ended, so that another with its name may start.
    pub(super) fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Whether both handles are for the same run of the consumer, not only for the same name.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.commands.same_channel(&other.commands)
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, asked) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        asked.await.ok()
    }
}

const MAX_WAITING: usize = 16;
