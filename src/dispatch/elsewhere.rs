//! [`Elsewhere`]: the shares of a consumer that other instances dispatch. What they have saved can be read, and
//! commands can be left for the holders of all shares.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use super::progress::{Positions, Progress};
use super::replay::{Replay, ReplayRequest};
use super::saved::Saved;
use super::status::{ConsumerStatus, EventStates};
use crate::clock::Clock;
use crate::journal::{
    Cluster, Gathered, Part, Position, Seq, Share, ShareCommand, Tail, Unavailable,
};

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
    pub(super) async fn saved(&self, consumer: &str, own: &[Share]) -> Vec<Saved> {
        self.cluster.gather(Gathered::Progress).await;
        let all = match self.cluster.saved(consumer).await {
            Ok(all) => all,
            Err(error) => {
                log::debug!("{consumer}: other shares cannot be read: {error}");
                return Vec::new();
            }
        };
        let others = all.into_iter().filter(|(share, _)| !own.contains(share));
        let others = others.filter_map(|(_, saved)| Saved::decode(&saved));
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

    /// Has the holders of all shares pause a consumer; returns when they have done so. One that goes on does so in any
    /// case when this returns, and soon.
    pub(super) async fn pause(&self, consumer: &str, paused: bool) -> Result<(), Unavailable> {
        let left = self.order(consumer, &Order::Pause(paused)).await?;
        if paused {
            return self.cluster.carried_out(&left).await;
        }
        self.soon_carried_out(&left).await;
        Ok(())
    }

    /// Waits a little, so that what is looked at next shows it. Holders that are away carry it out later.
    async fn soon_carried_out(&self, commands: &[u64]) {
        let _ = timeout(SOON, self.cluster.carried_out(commands)).await;
    }

    /// Tells the holders of all shares, also of those of this instance, that these bodies were deleted: a share may
    /// go to another instance meanwhile. When this returns, no attempt at them starts anywhere any more.
    ///
    /// # Errors
    ///
    /// When that cannot be known now. It still takes effect, later.
    pub(crate) async fn deleted(&self, bodies: &[Seq]) -> Result<(), Unavailable> {
        let order = Order::Deleted(bodies.to_vec());
        let left = self.order(EVERY_CONSUMER, &order).await?;
        self.cluster.carried_out(&left).await
    }

    /// Leaves a replay for the holders of shares, the events of a share in one command: it is durable as a whole when this
    /// returns, and may be carried out twice.
    pub(super) async fn replay(
        &self,
        consumer: &str,
        (id, request): (Uuid, &ReplayRequest),
        by_share: BTreeMap<Share, Vec<Position>>,
    ) -> Result<(), Unavailable> {
        let commands = by_share.into_iter().map(|(share, events)| {
            let order = Order::Replay {
                id,
                request: request.clone(),
                events: Differences::of(&events),
            };
            let body = serde_json::to_vec(&order).expect("numbers and text");
            (share, body)
        });
        let commands: Vec<_> = commands.collect();
        if commands.is_empty() {
            return Ok(());
        }
        let left = self.cluster.command(consumer, &commands).await?;
        self.soon_carried_out(&left).await;
        Ok(())
    }

    /// Whether a replay runs in a share, or is still to begin there.
    pub(super) async fn has_replay(&self, consumer: &str, id: Uuid) -> Result<bool, Unavailable> {
        // First what is still to begin: what begins meanwhile is saved then.
        for share in 0..self.shares {
            let left = self.cluster.commands(share).await?;
            if left.iter().any(|command| replays(command, consumer, id)) {
                return Ok(true);
            }
        }
        let saved = self.cluster.saved(consumer).await?;
        let mut saved = saved.values().filter_map(Saved::decode);
        Ok(saved.any(|saved| saved.replay(id).is_some_and(Replay::is_running)))
    }

    /// Cancels a replay in all shares; returns when that is carried out.
    pub(super) async fn cancel_replay(&self, consumer: &str, id: Uuid) -> Result<(), Unavailable> {
        let left = self.order(consumer, &Order::CancelReplay(id)).await?;
        self.cluster.carried_out(&left).await
    }

    /// Leaves a command for the holders of all shares, also for this instance: in each share commands are carried out in
    /// their order, and one whose share goes to another instance meanwhile is carried out there.
    async fn order(&self, consumer: &str, order: &Order) -> Result<Vec<u64>, Unavailable> {
        let body = serde_json::to_vec(order).expect("numbers and text");
        let commands: Vec<_> = (0..self.shares)
            .map(|share| (share, body.clone()))
            .collect();
        self.cluster.command(consumer, &commands).await
    }
}

/// Whether the command is to begin this replay.
fn replays(command: &ShareCommand, consumer: &str, wanted: Uuid) -> bool {
    if command.consumer != consumer {
        return false;
    }
    match serde_json::from_slice(&command.body) {
        Ok(Order::Replay { id, .. }) => id == wanted,
        _ => false,
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

/// How long an answer waits for what is certain to happen.
const SOON: Duration = Duration::from_secs(1);

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
        let by_share = BTreeMap::from([(0, events.clone())]);
        // Nobody carries it out.
        let left = elsewhere.replay("handler:one", asked, by_share).await;
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
