//! [`ConsumerControls`]: what an administrator can ask of a running consumer, in all its shares.

use std::time::Duration;

use futures_util::future::join_all;

use super::controls::{ConsumerStatus, Controls, Status};
use super::runner::find::find;
use crate::journal::{Journal, Position, Share, Unavailable};

/// The controls of one consumer's runners, one for each share.
#[derive(Debug, Clone)]
pub(crate) struct ConsumerControls {
    name: String,
    runners: Vec<Controls>,
}

impl ConsumerControls {
    /// Groups the controls of these runners by consumer, in their order.
    pub(crate) fn of(runners: Vec<Controls>) -> Vec<Self> {
        let mut consumers: Vec<Self> = Vec::new();
        for runner in runners {
            match consumers.iter_mut().find(|one| one.name == runner.name()) {
                Some(consumer) => consumer.runners.push(runner),
                None => consumers.push(Self {
                    name: runner.name().to_owned(),
                    runners: vec![runner],
                }),
            }
        }
        consumers
    }

    /// The consumer's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The consumer's state in each share where it runs.
    pub(crate) async fn shares(&self) -> Vec<Status> {
        let statuses = join_all(self.runners.iter().map(Controls::status)).await;
        statuses.into_iter().flatten().collect()
    }

    /// The consumer's state; `None` when it has ended.
    pub(crate) async fn status(&self) -> Option<ConsumerStatus> {
        let shares = self.shares().await.into_iter();
        shares
            .map(|share| share.consumer)
            .reduce(ConsumerStatus::and)
    }

    /// Pauses the consumer, or resumes it, also when it was suspended. `None` when it has ended.
    ///
    /// # Errors
    ///
    /// When this cannot be made durable now. It still takes effect, but is lost if the process ends
    /// before it is saved.
    pub(crate) async fn pause(&self, paused: bool) -> Option<Result<(), Unavailable>> {
        let told = self.runners.iter().map(|runner| runner.pause(paused));
        let told = join_all(told).await;
        told.into_iter().flatten().reduce(Result::and)
    }

    /// Replays these events, with a pause between two of them. Returns when the replay will happen even
    /// if the process ends; `None` when the consumer has ended.
    ///
    /// # Errors
    ///
    /// As [`ConsumerControls::pause`], and when the journal cannot say to which share an event belongs.
    pub(crate) async fn replay(
        &self,
        journal: &dyn Journal,
        events: Vec<Position>,
        pause: Duration,
    ) -> Option<Result<(), Unavailable>> {
        if let [only] = &self.runners[..] {
            return only.replay(events, pause).await;
        }
        // A runner settles events of other shares without reading them, so each is asked only for its
        // own.
        let mut done = None;
        let mut by_share = vec![Vec::new(); self.runners.len()];
        for event in events {
            match share(journal, event).await {
                Ok(Some(share)) => {
                    let of_share = |runner: &Controls| runner.share() == share;
                    if let Some(index) = self.runners.iter().position(of_share) {
                        by_share[index].push(event);
                    }
                }
                // Retention has removed it.
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
        for (runner, events) in self.runners.iter().zip(by_share) {
            match runner.replay(events, pause).await {
                Some(Err(error)) => return Some(Err(error)),
                replayed => done = done.or(replayed),
            }
        }
        done
    }
}

/// The share of an event; `None` when the event is no longer in the journal.
async fn share(journal: &dyn Journal, event: Position) -> Result<Option<Share>, Unavailable> {
    let record = find(journal, event.seq()).await?;
    Ok(record.map(|record| record.parts.view(event.part(), &record.received).share))
}
