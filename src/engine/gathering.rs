//! Has consumers save their progress when another instance asks for it: what events they only pass by is saved seldom.

use std::sync::Arc;
use std::time::Duration;

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
    while !*stop.borrow_and_update() {
        tokio::select! {
            _ = stop.changed() => {}
            asked = cluster.asked_for(Gathered::Progress) => {
                let running = dispatch.runners.living().controls();
                let saved = join_all(running.iter().map(|consumer| consumer.save()));
                // Who asks does not wait longer.
                if timeout(LONGEST, saved).await.is_ok() {
                    cluster.gathered(Gathered::Progress, asked);
                }
            }
        }
    }
}

const LONGEST: Duration = Duration::from_secs(1);
