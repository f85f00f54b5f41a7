//! Carries out what another instance has left for a share of this one.

use std::sync::Arc;

use super::controls::ConsumerControls;
use super::elsewhere::{EVERY_CONSUMER, Order};
use crate::journal::{Seq, ShareCommand};

/// The bodies that were deleted, if the command says so; it is for all consumers of its share.
pub(crate) fn deleted_by(command: &ShareCommand) -> Option<Arc<[Seq]>> {
    if command.consumer != EVERY_CONSUMER {
        return None;
    }
    match serde_json::from_slice(&command.body) {
        Ok(Order::Deleted(bodies)) => Some(bodies.into()),
        _ => None,
    }
}

impl ConsumerControls {
    /// Carries out a command that another instance has left for this share. Returns when that is durable; false if
    /// the consumer does not run here any more.
    pub(crate) async fn carry_out(&self, command: &ShareCommand) -> bool {
        let order: Order = match serde_json::from_slice(&command.body) {
            Ok(order) => order,
            Err(error) => {
                log::warn!(
                    "{}: a command of another instance is left out: {error}",
                    self.name()
                );
                return true;
            }
        };
        let done = match order {
            Order::Pause(paused) => self.pause_here(paused).await,
            Order::Replay {
                id,
                request,
                events,
            } => self.replay_here(id, &request, events.events()).await,
            Order::CancelReplay(id) => self.cancel_here(id).await,
            // It is for all consumers.
            Order::Deleted(_) => Some(Ok(())),
        };
        matches!(done, Some(Ok(())))
    }
}
