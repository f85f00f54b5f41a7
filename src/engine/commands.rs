//! Carries out the commands that instances have left for the shares of this one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::watch;

use super::dispatch::{Dispatch, OpenShare};
use crate::dispatch::{ConsumerControls, deleted_by};
use crate::journal::{Cluster, Grant, Seq, Unavailable};

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
        let open: Vec<OpenShare> = dispatch.open.lock().await.values().cloned().collect();
        let grants = open
            .iter()
            .filter_map(|open| Some(open.hold.as_ref()?.grant()));
        // At the same time: each waits until its effect is saved.
        let carried = grants.map(async |grant| {
            let carried = carry_out(&dispatch, cluster.as_ref(), grant).await;
            carried.unwrap_or_else(|error| {
                log::debug!("share {}: commands wait: {error}", grant.share);
                true
            })
        });
        let is_left = join_all(carried).await.contains(&true);
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
    grant: Grant,
) -> Result<bool, Unavailable> {
    // Consumers that do not run yet. What is for one of them stays in order; others go on.
    let mut waiting = BTreeSet::new();
    for command in cluster.commands(grant.share).await? {
        if waiting.contains(&command.consumer) {
            continue;
        }
        let running = dispatch.runners.living().controls().into_iter();
        let mut running = running.filter(|one| one.is_in(grant.share));
        if let Some(bodies) = deleted_by(&command) {
            pass_deleted(dispatch, running, &bodies).await;
            cluster.remove_command(grant, command.id).await?;
            continue;
        }
        let is_done = match running.find(|one| one.name() == command.consumer) {
            Some(consumer) => consumer.carry_out(&command).await,
            // Otherwise it is not a consumer by this instance's settings.
            None => !dispatch.is_wanted(&command.consumer),
        };
        if is_done {
            cluster.remove_command(grant, command.id).await?;
        } else {
            waiting.insert(command.consumer);
        }
    }
    Ok(!waiting.is_empty())
}

/// Bodies were deleted: nothing that runs in this share starts an attempt at them any more, nor what starts later.
async fn pass_deleted(
    dispatch: &Dispatch,
    running: impl Iterator<Item = ConsumerControls>,
    bodies: &Arc<[Seq]>,
) {
    let tail = dispatch.journal.tail();
    let is_there = |seq: &&Seq| {
        tail.get(**seq)
            .is_some_and(|record| record.missing.is_none())
    };
    // The news of the deletion itself may come later.
    let there: Vec<Seq> = bodies.iter().filter(is_there).copied().collect();
    if !there.is_empty() {
        tail.delete(&there, dispatch.clock.now());
    }
    let running: Vec<_> = running.collect();
    join_all(running.iter().map(|one| one.deleted(bodies))).await;
}

/// How long to wait for a share that is about to be opened.
const PAUSE: Duration = Duration::from_millis(500);
