//! Has consumers save their progress when another instance asks for it: what events they only pass by is saved seldom.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::sync::watch;
use tokio::time::timeout;

use super::dispatch::Dispatch;
use crate::journal::{Cluster, Gathered};

/// Answers until told to stop.
pub(super) async fn run(
    dispatch: Arc<Dispatch>,
    cluster: Arc<dyn Cluster>,
    mut stop: watch::Receiver<bool>,
) {
    let mut saved_at: Option<Instant> = None;
    while !*stop.borrow_and_update() {
        tokio::select! {
            _ = stop.changed() => {}
            asked = cluster.asked_for(Gathered::Progress) => {
                let now = dispatch.clock.monotonic();
                if saved_at.is_none_or(|at| now >= at + PAUSE) {
                    let running = dispatch.runners.living().controls();
                    let saved = join_all(running.iter().map(|consumer| consumer.save()));
                    // The instance that asks does not wait longer.
                    if timeout(LONGEST, saved).await.is_err() {
                        continue;
                    }
                    saved_at = Some(now);
                }
                cluster.gathered(Gathered::Progress, asked);
            }
        }
    }
}

const LONGEST: Duration = Duration::from_secs(1);

/// Progress is saved for questions no more often, however many instances ask.
const PAUSE: Duration = Duration::from_secs(2);
