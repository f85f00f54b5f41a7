//! [`Grants`]: the shares that this instance holds.

use std::collections::BTreeMap;

use tokio::sync::{Notify, watch};

use crate::journal::{Grant, Share};

/// The shares that this instance holds.
#[derive(Debug, Default)]
pub(super) struct Grants {
    pub(super) held: watch::Sender<BTreeMap<Share, Grant>>,
    /// Whether shares are wanted at all.
    wanted: watch::Sender<bool>,
    /// Something has changed: look at once.
    pub(super) look: Notify,
}

impl Grants {
    /// Begins to take shares.
    pub(super) fn want(&self) {
        self.wanted.send_replace(true);
        self.look.notify_one();
    }

    /// Forgets a grant that was lost or given back.
    pub(super) fn remove(&self, grant: Grant) {
        self.held.send_if_modified(|held| {
            let is_it = held
                .get(&grant.share)
                .is_some_and(|one| one.is_like(&grant));
            is_it && held.remove(&grant.share).is_some()
        });
    }

    pub(super) fn clear(&self) {
        self.held
            .send_if_modified(|held| !std::mem::take(held).is_empty());
    }

    /// Lets others have all of them, once everything is saved.
    pub(super) fn let_go(&self) {
        self.held.send_if_modified(|held| {
            let is_more = held.values().any(|grant| !grant.is_ending);
            held.values_mut().for_each(|grant| grant.is_ending = true);
            is_more
        });
    }

    pub(super) fn insert(&self, grant: Grant) {
        self.held.send_modify(|held| {
            held.insert(grant.share, grant);
        });
    }

    pub(super) fn is_wanted(&self) -> bool {
        *self.wanted.borrow()
    }
}
