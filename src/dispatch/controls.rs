//! [`Controls`]: what an administrator may ask of a consumer that runs.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::positions::Positions;
use super::progress::Progress;
use super::saved::Suspended;
use crate::Timestamp;
use crate::journal::{Position, Seq, Share, Unavailable};

/// The way to one consumer that runs.
#[derive(Debug, Clone)]
pub(crate) struct Controls {
    name: String,
    share: Share,
    commands: mpsc::Sender<Command>,
}

/// Something to do, and who waits for it.
#[derive(Debug)]
pub(super) enum Command {
    Status(oneshot::Sender<Status>),
    Pause(bool, oneshot::Sender<Result<(), Unavailable>>),
    Replay {
        events: Vec<Position>,
        /// Between two of them.
        pause: Duration,
        answer: oneshot::Sender<Result<(), Unavailable>>,
    },
}

/// How a consumer is doing.
#[derive(Debug, Clone)]
pub(crate) struct Status {
    pub(crate) paused: bool,
    /// Events that are not settled, and those that are replayed.
    pub(crate) lag: u64,
    /// Everything up to here is settled.
    pub(crate) floor: Seq,
    /// Attempts that run.
    pub(crate) in_flight: usize,
    /// When the first of the failures came that no success has followed.
    pub(crate) failing_since: Option<Timestamp>,
    /// Nothing starts until it is resumed, because nothing has succeeded for long.
    pub(crate) suspended: Option<Suspended>,
    pub(crate) progress: Progress,
    pub(crate) replaying: Positions,
    pub(crate) retrying: Positions,
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

    /// The share that it is the way to.
    pub(super) fn share(&self) -> Share {
        self.share
    }

    /// Whether both are the way to a consumer of one name in one share.
    pub(super) fn is_of(&self, other: &Self) -> bool {
        self.name == other.name && self.share == other.share
    }

    /// How it is doing; `None` when it has ended.
    pub(crate) async fn status(&self) -> Option<Status> {
        self.ask(Command::Status).await
    }

    /// Starts nothing more, or goes on, also where it was suspended. `None` when it has ended.
    ///
    /// # Errors
    ///
    /// When that cannot be made durable now: it holds, unless the process ends before it can.
    pub(crate) async fn pause(&self, paused: bool) -> Option<Result<(), Unavailable>> {
        self.ask(|answer| Command::Pause(paused, answer)).await
    }

    /// Hands these events over once more, with a pause between two of them. Returns when that will
    /// happen even if the process ends; `None` when the consumer has ended.
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

    /// Returns when it has ended: nothing runs any more, and nothing is saved.
    pub(super) async fn ended(&self) {
        self.commands.closed().await;
    }

    /// Whether it has: one of its name may begin.
    pub(super) fn has_ended(&self) -> bool {
        self.commands.is_closed()
    }

    /// Whether both are the way to the same one, and not only to one of the same name.
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
