//! Changes of documents, and commands, in the model: what an administrator asks of one instance, and what the others do
//! about it while shares move.
//!
//! There is one subscription. It is made and removed again and again, each time as another one; a change is answered when
//! every living instance has applied it. A command sets a value in each share; it is answered when every holder has saved
//! that.

use fastrand::Rng;
use uuid::Uuid;

use super::database::{Database, Ordered, Subscription};
use super::instance::Instance;
use super::{Log, SHARES, uuid};
use crate::journal::{Grant, Share};

/// What an instance knows of documents, and what it has asked for.
#[derive(Default)]
pub(super) struct Changing {
    /// The subscription that it goes by, and the newest change that it has applied.
    subscription: Option<Subscription>,
    pub(super) applied: u64,
    /// A change that is not answered yet, with the subscription that it has removed.
    change: Option<(u64, Option<Uuid>)>,
    /// A command that is not answered yet.
    command: Option<Ordered>,
    /// A command of a share that is being carried out, and whether its effect is saved.
    order: Option<(Grant, Ordered, bool)>,
}

impl Changing {
    /// As a start reads it.
    pub(super) fn read(database: &Database) -> Self {
        let mut changing = Self::default();
        changing.apply(database);
        changing
    }

    fn apply(&mut self, database: &Database) {
        (self.subscription, self.applied) = database.subscription();
    }

    /// Whether something is not answered yet.
    pub(super) fn waits(&self) -> bool {
        self.change.is_some() || self.command.is_some()
    }

    /// Whether documents are asked for next, and not a command.
    pub(super) fn asks_for_documents(&self, rng: &mut Rng) -> bool {
        match (self.change.is_some(), self.command.is_some()) {
            (true, false) => true,
            (false, true) => false,
            _ => rng.bool(),
        }
    }

    /// What was asked for over connections that have ended is not answered.
    pub(super) fn give_up(&mut self) {
        (self.change, self.command, self.order) = (None, None, None);
        // Changes may have been lost, and their numbers given to others.
        self.applied = 0;
    }
}

impl Instance {
    /// Makes the subscription, or removes it.
    pub(super) fn change_documents(
        &mut self,
        database: &mut Database,
        rng: &mut Rng,
        fault: u8,
        log: &mut Log,
    ) -> Option<&'static str> {
        self.verify(database, rng);
        if let Some((version, removed)) = self.changing.change {
            if !database.is_applied_by_all(version) {
                return None;
            }
            self.changing.change = None;
            log.removed.extend(removed);
            return Some("answers a change");
        }
        if fault == 0 {
            return Some("changes a document, and the request is lost");
        }
        let before = self.changing.subscription;
        let after = before.is_none().then(|| uuid(rng));
        let Some(version) = database.put(before, after) else {
            self.changing.apply(database);
            return Some("is told that another one was faster");
        };
        if fault == 1 {
            return Some("changes a document, and the answer is lost");
        }
        self.changing.subscription = after.map(|id| Subscription { id, version });
        self.changing.change = Some((version, before.map(|before| before.id)));
        Some(match after {
            Some(_) => "makes the subscription",
            None => "removes the subscription",
        })
    }

    /// Goes by the documents that are stored.
    pub(super) fn read_documents(
        &mut self,
        database: &mut Database,
        rng: &mut Rng,
    ) -> Option<&'static str> {
        self.verify(database, rng);
        self.changing.apply(database);
        None
    }

    /// Starts an attempt for the subscription, in a share that it holds.
    pub(super) fn attempt(&self, database: &Database, log: &mut Log) {
        let Some(subscription) = self.changing.subscription else {
            return;
        };
        if self.held.values().any(|grant| !grant.is_ending) {
            log.attempts += 1;
            assert!(
                database.has_gone_back || !log.removed.contains(&subscription.id),
                "an attempt starts after its subscription was removed, and that was answered"
            );
        }
    }

    /// Leaves a command for all shares, or looks whether it was carried out.
    pub(super) fn command(
        &mut self,
        database: &mut Database,
        rng: &mut Rng,
        fault: u8,
        log: &mut Log,
    ) -> Option<&'static str> {
        self.verify(database, rng);
        if let Some(command) = self.changing.command {
            if database.is_left(command) {
                return None;
            }
            self.changing.command = None;
            log.obeyed += 1;
            for share in 0..SHARES {
                assert!(
                    database.has_gone_back || database.value(share) >= command,
                    "{command} was answered, and share {share} has {}",
                    database.value(share)
                );
            }
            return Some("answers a command");
        }
        let command = database.command();
        if fault > 1 {
            self.changing.command = Some(command);
        }
        Some("leaves a command")
    }

    /// Carries out the oldest command of a share that it holds: saves what it changes, and then removes it.
    pub(super) fn obey(
        &mut self,
        database: &mut Database,
        rng: &mut Rng,
        fault: u8,
    ) -> Option<&'static str> {
        if !self.is_verified {
            return None;
        }
        let Some((grant, command, is_saved)) = self.changing.order.take() else {
            let at = rng.usize(..self.held.len().max(1));
            let grant = *self.held.values().nth(at)?;
            let command = database.oldest_command(grant.share)?;
            self.changing.order = Some((grant, command, false));
            return None;
        };
        // The request or its answer is lost: it is looked at again.
        if fault == 0 {
            return None;
        }
        if is_saved {
            database.remove_command(grant, command);
            return Some("has carried out a command");
        }
        let is_saved = database.set_value(grant, command);
        if is_saved && fault > 1 {
            self.changing.order = Some((grant, command, true));
        }
        None
    }
}

impl Database {
    fn subscription(&self) -> (Option<Subscription>, u64) {
        (self.state.subscription, self.state.documents)
    }

    /// Writes or removes the subscription, if it is the one that is expected. Returns the number of the change.
    fn put(&mut self, expected: Option<Subscription>, id: Option<Uuid>) -> Option<u64> {
        if self.state.subscription != expected {
            return None;
        }
        let state = self.commit();
        state.documents += 1;
        let version = state.documents;
        state.subscription = id.map(|id| Subscription { id, version });
        Some(version)
    }

    fn is_applied_by_all(&self, version: u64) -> bool {
        let mut all = self.state.instances.values();
        all.all(|one| one.applied >= version)
    }

    /// Leaves a command for every share.
    fn command(&mut self) -> Ordered {
        let state = self.commit();
        state.newest_command += 1;
        let command = state.newest_command;
        state
            .commands
            .extend((0..SHARES).map(|share| (share, command)));
        command
    }

    fn is_left(&self, command: Ordered) -> bool {
        let mut left = self.state.commands.iter();
        left.any(|(_, left)| *left == command)
    }

    fn oldest_command(&self, share: Share) -> Option<Ordered> {
        let mut left = self.state.commands.range((share, 0)..);
        left.next()
            .filter(|left| left.0 == share)
            .map(|left| left.1)
    }

    fn remove_command(&mut self, grant: Grant, command: Ordered) {
        if self.is_held(grant) {
            self.commit().commands.remove(&(grant.share, command));
        }
    }

    fn value(&self, share: Share) -> Ordered {
        self.state.values.get(&share).copied().unwrap_or_default()
    }

    /// Saves what a command changes, unless its share is not held any more. It may be the same again, and never an older
    /// one.
    fn set_value(&mut self, grant: Grant, command: Ordered) -> bool {
        if !self.is_held(grant) {
            return false;
        }
        let before = self.value(grant.share);
        assert!(
            self.has_gone_back || command >= before,
            "the command {command} is carried out after {before} in share {}",
            grant.share
        );
        self.commit().values.insert(grant.share, command);
        true
    }
}

/// What is left when everything has come to rest.
pub(super) fn have_come_to_rest(instances: &[Instance], database: &Database) {
    let (subscription, newest) = database.subscription();
    for instance in instances {
        let changing = &instance.changing;
        assert_eq!(changing.subscription, subscription);
        assert_eq!(changing.applied, newest);
        assert_eq!(changing.change.map(|(version, _)| version), None);
    }
    for share in 0..SHARES as Share {
        assert_eq!(database.oldest_command(share), None, "share {share}");
    }
}
