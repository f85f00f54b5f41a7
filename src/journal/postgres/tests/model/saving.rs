//! How an instance of the model saves, with everything that may become of a request and its answer.

use fastrand::Rng;

use super::database::{Change, Database};
use super::instance::{Cursor, Instance};
use super::{CONSUMERS, uuid};
use crate::journal::Grant;
use crate::journal::Share;

impl Instance {
    pub(super) fn prepare_save(&mut self, rng: &mut Rng) -> Option<&'static str> {
        if self.save.is_none() {
            let at = rng.usize(..self.cursors.len().max(1));
            let (share, consumer) = *self.cursors.keys().nth(at)?;
            self.save = Some(self.change(share, consumer, rng)?);
        }
        None
    }

    fn change(&self, share: Share, consumer: u8, rng: &mut Rng) -> Option<Change> {
        let cursor = self.cursors.get(&(share, consumer))?;
        Some(Change {
            grant: self.held[&share],
            consumer,
            from: cursor.saved,
            to: cursor.at,
            known: cursor.known.clone(),
            edition: uuid(rng),
        })
    }

    /// The cursor that a change was made of, if its share was not taken anew meanwhile.
    fn cursor_of(&mut self, change: &Change) -> Option<&mut Cursor> {
        let grant = self.held.get(&change.grant.share)?;
        let is_same = (grant.epoch, grant.holder) == (change.grant.epoch, change.grant.holder);
        is_same.then_some(())?;
        self.cursors.get_mut(&(change.grant.share, change.consumer))
    }

    pub(super) fn finish_save(
        &mut self,
        database: &mut Database,
        rng: &mut Rng,
        fault: u8,
    ) -> Option<&'static str> {
        if fault == 3 && !self.late.is_empty() {
            let late = self.late.swap_remove(rng.usize(..self.late.len()));
            database.save(&late);
            return Some("has sent a save that comes late");
        }
        if !self.is_verified {
            return None;
        }
        let Some(change) = self.save.take() else {
            return self.give_back(database, rng);
        };
        let is_sent = fault != 0;
        let is_saved = is_sent && database.save(&change);
        if fault < 2 {
            // Its outcome is unknown.
            if let Some(cursor) = self.cursor_of(&change) {
                cursor.known.push(change.edition);
            }
            if !is_sent {
                self.late.push(change);
            }
            return Some("saves without an answer");
        }
        match self.cursor_of(&change) {
            Some(cursor) if is_saved => {
                cursor.saved = change.to;
                cursor.known = vec![change.edition];
                self.give_back(database, rng)
            }
            _ if is_saved => None,
            _ => {
                self.drop_grant(change.grant);
                Some("is fenced")
            }
        }
    }

    /// Gives back a share that is ending, after its progress is saved.
    fn give_back(&mut self, database: &mut Database, rng: &mut Rng) -> Option<&'static str> {
        let grant = self.held.values().find(|grant| grant.is_ending).copied()?;
        for consumer in 0..CONSUMERS {
            let change = self.change(grant.share, consumer, rng)?;
            if !database.save(&change) {
                break;
            }
        }
        database.give_back(grant);
        self.drop_grant(grant);
        Some("gives a share back")
    }

    fn drop_grant(&mut self, grant: Grant) {
        if self
            .held
            .get(&grant.share)
            .is_some_and(|held| held.epoch == grant.epoch)
        {
            self.held.remove(&grant.share);
            self.cursors.retain(|(share, _), _| *share != grant.share);
        }
    }
}
