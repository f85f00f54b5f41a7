//! Carries out the commands that other instances have left for the shares of this one.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::dispatch::Dispatch;
use crate::journal::{Cluster, Share, Unavailable};

/// Carries out commands in their order, until told to stop. A command is removed when its effect is saved; after a
/// crash in between it is carried out again, which changes nothing.
pub(super) async fn run(
    dispatch: Arc<Dispatch>,
    cluster: Arc<dyn Cluster>,
    mut stop: watch::Receiver<bool>,
) {
    let mut newest = cluster.watch_commands();
    while !*stop.borrow() {
        newest.borrow_and_update();
        let shares: Vec<Share> = dispatch.open.lock().await.keys().copied().collect();
        let mut is_left = false;
        for share in shares {
            is_left |= match carry_out(&dispatch, cluster.as_ref(), share).await {
                Ok(is_left) => is_left,
                Err(error) => {
                    log::debug!("share {share}: commands wait: {error}");
                    true
                }
            };
        }
        let again = async {
            match is_left {
                true => dispatch.clock.sleep(PAUSE).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stop.changed() => {}
            () = again => {}
            () = dispatch.opened.notified() => {}
            changed = newest.changed() => {
                if changed.is_err() {
                    return;
                }
            }
        }
    }
}

/// Carries out the commands of a share. Returns whether one is left.
async fn carry_out(
    dispatch: &Dispatch,
    cluster: &dyn Cluster,
    share: Share,
) -> Result<bool, Unavailable> {
    for command in cluster.commands(share).await? {
        let running = dispatch.runners.living().controls().into_iter();
        let mut running = running.filter(|one| one.name() == command.consumer);
        match running.find(|one| one.is_in(share)) {
            // Others behind it wait, so that they stay in order.
            Some(consumer) if !consumer.carry_out(&command).await => return Ok(true),
            Some(_) => {}
            None if dispatch.is_wanted(&command.consumer) => return Ok(true),
            // Not a consumer by this instance's settings.
            None => {}
        }
        cluster.remove_command(command.id).await?;
    }
    Ok(false)
}

/// How long to wait for a share that is about to be opened.
const PAUSE: Duration = Duration::from_millis(500);
