//! Carries out what another instance has left for a share of this one.

use super::controls::ConsumerControls;
use super::elsewhere::Order;
use crate::journal::{Position, ShareCommand};

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
            } => {
                let events = events.into_iter();
                let events = events.map(|(seq, part)| Position::new(seq, part));
                self.replay_here(id, &request, events.collect()).await
            }
            // One that does not run any more needs nothing.
            Order::CancelReplay(id) => Some(self.cancel_here(id).await.unwrap_or(Ok(()))),
        };
        matches!(done, Some(Ok(())))
    }
}
