//! [`Elsewhere`]: the shares of a consumer that other instances dispatch. What they have saved can be read, and
//! commands can be left for them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::progress::{Positions, Progress};
use super::replay::ReplayRequest;
use super::saved::Saved;
use super::status::{ConsumerStatus, EventStates};
use crate::clock::Clock;
use crate::journal::{Cluster, Part, Position, Seq, Share, Tail, Unavailable};

/// What is known of the shares that this instance does not hold.
#[derive(Debug, Clone)]
pub(crate) struct Elsewhere {
    pub(crate) cluster: Arc<dyn Cluster>,
    pub(crate) shares: Share,
    pub(crate) tail: Arc<Tail>,
    pub(crate) clock: Arc<dyn Clock>,
}

/// A command for the holder of a share.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Order {
    Pause(bool),
    Replay {
        id: Uuid,
        request: ReplayRequest,
        events: Differences,
    },
    CancelReplay(Uuid),
    /// These bodies were deleted. It is for all consumers of the share.
    Deleted(Vec<Seq>),
}

/// Events in order: how far the body of each is behind that of the one before, and its part.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Differences(Vec<(u64, Part)>);

impl Differences {
    fn of(events: &[Position]) -> Self {
        let mut events = events.to_vec();
        events.sort_unstable();
        let mut before = 0;
        let differences = events.into_iter().map(|event| {
            let difference = event.seq() - std::mem::replace(&mut before, event.seq());
            (difference, event.part())
        });
        Self(differences.collect())
    }

    pub(super) fn events(self) -> Vec<Position> {
        let mut seq: Seq = 0;
        let events = self.0.into_iter().map(|(difference, part)| {
            seq = seq.saturating_add(difference);
            Position::new(seq, part)
        });
        events.collect()
    }
}

impl Elsewhere {
    /// What was saved last in the shares but these. A share that cannot be read now is left out.
    pub(super) async fn saved(&self, consumer: &str, own: &[Share]) -> Vec<(Share, Saved)> {
        let all = match self.cluster.saved(consumer).await {
            Ok(all) => all,
            Err(error) => {
                log::debug!("{consumer}: other shares cannot be read: {error}");
                return Vec::new();
            }
        };
        let others = all.into_iter().filter(|(share, _)| !own.contains(share));
        let others = others.filter_map(|(share, saved)| Some((share, Saved::decode(&saved)?)));
        others.collect()
    }

    /// The state of a consumer as it was saved. Attempts that run are not known.
    pub(super) fn status(&self, saved: &Saved) -> ConsumerStatus {
        let (progress, now) = (&saved.progress, self.clock.now());
        let replaying = replaying(saved);
        let again = replaying.iter().filter(|event| progress.is_settled(*event));
        let failing = saved.head.failing();
        ConsumerStatus {
            paused: saved.head.paused,
            unsettled: progress.lag(self.tail.head()),
            again: again.count() as u64,
            floor: progress.floor(),
            in_flight: 0,
            in_memory: 0,
            overflowed: 0,
            retrying: saved.retries.len() as u64,
            failing_since: failing.and_then(|lasted| now.checked_sub(lasted).ok()),
            failing_reason: None,
            suspended: saved.head.suspended.clone(),
        }
    }

    /// How many events a consumer has not settled, by its progress in all shares: an event that only some shares
    /// have passed by counts once.
    pub(super) fn unsettled(&self, shares: &[EventStates]) -> u64 {
        let shares: Vec<&Progress> = shares.iter().map(|share| &share.progress).collect();
        Progress::lag_of_all(&shares, self.tail.head())
    }

    /// Leaves a command for the holders of the other shares; returns when they have carried it out.
    pub(super) async fn pause(
        &self,
        consumer: &str,
        own: &[Share],
        paused: bool,
    ) -> Result<(), Unavailable> {
        let left = self.order(consumer, own, &Order::Pause(paused)).await?;
        self.cluster.carried_out(&left).await
    }

    /// Tells the holders of all shares, also of those of this instance, that these bodies were deleted: a share may
    /// go to another instance meanwhile. When this returns, no attempt at them starts anywhere any more.
    ///
    /// # Errors
    ///
    /// When that cannot be known now. It still takes effect, later.
    pub(crate) async fn deleted(&self, bodies: &[Seq]) -> Result<(), Unavailable> {
        let order = Order::Deleted(bodies.to_vec());
        let left = self.order(EVERY_CONSUMER, &[], &order).await?;
        self.cluster.carried_out(&left).await
    }

    /// Leaves a replay for the holder of a share, all of it in one command: it is durable as a whole when this
    /// returns, and may be carried out twice.
    pub(super) async fn replay(
        &self,
        consumer: &str,
        share: Share,
        (id, request): (Uuid, &ReplayRequest),
        events: &[Position],
    ) -> Result<(), Unavailable> {
        let order = Order::Replay {
            id,
            request: request.clone(),
            events: Differences::of(events),
        };
        let body = serde_json::to_vec(&order).expect("numbers and text");
        let left = self.cluster.command(consumer, &[(share, body)]).await;
        left.map(drop)
    }

    pub(super) async fn cancel_replay(
        &self,
        consumer: &str,
        own: &[Share],
        id: Uuid,
    ) -> Result<(), Unavailable> {
        let left = self.order(consumer, own, &Order::CancelReplay(id)).await?;
        self.cluster.carried_out(&left).await
    }

    async fn order(
        &self,
        consumer: &str,
        own: &[Share],
        order: &Order,
    ) -> Result<Vec<u64>, Unavailable> {
        let body = serde_json::to_vec(order).expect("numbers and text");
        let others = (0..self.shares).filter(|share| !own.contains(share));
        let commands: Vec<_> = others.map(|share| (share, body.clone())).collect();
        match commands.is_empty() {
            true => Ok(Vec::new()),
            false => self.cluster.command(consumer, &commands).await,
        }
    }
}

/// What a consumer has done with each event of a share, as it was saved.
pub(super) fn states(saved: &Saved) -> EventStates {
    EventStates {
        progress: saved.progress.clone(),
        replaying: replaying(saved),
        retrying: saved.retries.keys().copied().collect(),
    }
}

fn replaying(saved: &Saved) -> Positions {
    let pending = saved
        .replays
        .iter()
        .flat_map(|replay| replay.pending.iter());
    saved.replaying.iter().chain(pending).collect()
}

/// In place of a consumer's name: a command for all that run in the share.
pub(super) const EVERY_CONSUMER: &str = "";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::journal::{FakeCluster, Log as _, Memory};

    /// A second command of a replay would be taken for the first one, carried out again.
    #[tokio::test]
    async fn a_large_replay_is_one_command() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let journal = Memory::new(Arc::clone(&clock), 1);
        let cluster = Arc::new(FakeCluster::new(&journal, &clock));
        let elsewhere = Elsewhere {
            cluster: cluster.clone(),
            shares: 1,
            tail: Arc::clone(journal.tail()),
            clock,
        };
        let events = (1..=60_000).map(|number| Position::new(number * 7, 1 + (number % 3) as Part));
        let mut events: Vec<Position> = events.collect();
        events.reverse();
        let asked = (Uuid::nil(), &ReplayRequest::default());
        let left = elsewhere.replay("handler:one", 0, asked, &events).await;
        assert_eq!(left, Ok(()));
        let left = cluster.left();
        assert_eq!(left.len(), 1);
        let Ok(Order::Replay { events: told, .. }) = serde_json::from_slice(&left[0].body) else {
            panic!("it is no replay")
        };
        events.reverse();
        assert_eq!(told.events(), events);
        // Most is a step of one or two digits, and a part.
        assert!(left[0].body.len() < 8 * events.len());
    }
}
