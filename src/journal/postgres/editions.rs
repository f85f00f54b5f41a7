//! [`Editions`]: what the progress that is stored must be for a save to count.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

/// The editions that the stored progress of each consumer may have: the one that was read or saved last, and those
/// of saves without an answer. A save names them; where the database has another one, it has gone back, and lacks
/// what the change was made from.
#[derive(Debug, Default)]
pub(super) struct Editions(Mutex<HashMap<String, Known>>);

pub(super) type Known = Arc<Vec<Uuid>>;

impl Editions {
    /// Takes note of what was read. If that was possible, a save may be under way, and what it becomes counts.
    pub(super) fn read(&self, consumer: &str, edition: Uuid) {
        let mut editions = self.lock();
        let known = editions.get(consumer);
        if !known.is_some_and(|known| known.contains(&edition)) {
            editions.insert(consumer.to_owned(), Arc::new(vec![edition]));
        }
    }

    pub(super) fn forget(&self, consumer: &str) {
        self.lock().remove(consumer);
    }

    /// Returns what the stored progress may be; `None` if that was never read.
    pub(super) fn known(&self, consumer: &str) -> Option<Known> {
        self.lock().get(consumer).map(Arc::clone)
    }

    /// Takes note of a save that was made from `known`. If something else was read meanwhile, that counts.
    pub(super) fn saved(
        &self,
        consumer: &str,
        known: Option<&Known>,
        edition: Uuid,
        is_certain: bool,
    ) {
        let mut editions = self.lock();
        if editions.get(consumer).map(Arc::as_ptr) != known.map(Arc::as_ptr) {
            return;
        }
        let mut possible = vec![edition];
        match (is_certain, known) {
            (true, _) => {}
            (false, Some(known)) => possible.extend(known.iter()),
            // Whatever is stored, the next save may be made from it.
            (false, None) => return,
        }
        // If that leaves out what is stored, the share begins again.
        possible.truncate(MAX_POSSIBLE);
        editions.insert(consumer.to_owned(), Arc::new(possible));
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// So many editions may the stored progress have.
const MAX_POSSIBLE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_without_an_answer_leaves_two_possibilities() {
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        let editions = Editions::default();
        let known = |editions: &Editions| editions.known("a").map(|known| known.to_vec());
        // Nobody has read it: everything is possible.
        editions.saved("a", None, one, false);
        assert_eq!(known(&editions), None);
        editions.read("a", one);
        let before = editions.known("a");
        editions.saved("a", before.as_ref(), two, false);
        assert_eq!(known(&editions), Some(vec![two, one]));
        let before = editions.known("a");
        editions.saved("a", before.as_ref(), three, true);
        assert_eq!(known(&editions), Some(vec![three]));
        assert_eq!(editions.known("b"), None);
    }

    #[test]
    fn what_was_read_meanwhile_counts() {
        let [one, two, three] = [1, 2, 3].map(Uuid::from_u128);
        let editions = Editions::default();
        let known = |editions: &Editions| editions.known("a").map(|known| known.to_vec());
        editions.read("a", one);
        let before = editions.known("a");
        editions.read("a", one);
        editions.saved("a", before.as_ref(), two, true);
        assert_eq!(known(&editions), Some(vec![two]));
        // Another one was read: of a consumer that was added again.
        let before = editions.known("a");
        editions.read("a", three);
        editions.saved("a", before.as_ref(), one, true);
        assert_eq!(known(&editions), Some(vec![three]));
        editions.forget("a");
        editions.saved("a", before.as_ref(), two, true);
        assert_eq!(editions.known("a"), None);
    }
}
