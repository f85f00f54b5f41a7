//! [`Pool`]: the refused requests that are kept, within the limits of the settings.
//!
//! When there are too many, or they hold too many bytes, the first of these goes: the oldest that is misdirected, if
//! such have more than an eighth of the places; the oldest that nothing explains; the oldest that waits for its
//! diagnosis; the oldest that is explained; the oldest that is left. So a flood of any kind leaves what matters.

use std::collections::BTreeMap;
use std::sync::Arc;

use uuid::Uuid;

use super::diagnosis::Diagnosis;
use super::kept::Kept;
use super::settings::RefusedSettings;
use crate::Timestamp;

/// The requests by their ids, which are in the order in which they came.
#[derive(Default)]
pub(super) struct Pool {
    entries: BTreeMap<Uuid, Entry>,
    limits: RefusedSettings,
    /// What is held for all entries.
    bytes: usize,
    /// How many are not kept, or not any more.
    pub(super) dropped: u64,
}

/// A request with its diagnosis.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) kept: Arc<Kept>,
    pub(super) diagnosis: Diagnosis,
    /// How often this path was asked for.
    pub(super) count: u64,
    /// When the last of them came.
    pub(super) last_at: Timestamp,
    /// Whether it was counted and told that it is explained.
    pub(super) was_told: bool,
}

/// Which requests are meant.
#[derive(Debug, Default)]
pub(crate) struct Selection {
    pub(crate) source: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) status: Option<u16>,
    pub(crate) explained: Option<bool>,
    pub(crate) from: Option<Timestamp>,
    pub(crate) to: Option<Timestamp>,
}

impl Selection {
    fn matches(&self, entry: &Entry) -> bool {
        let kept = &entry.kept;
        let is = |wanted: &Option<String>, found: Option<&str>| {
            wanted.is_none() || wanted.as_deref() == found
        };
        is(&self.source, kept.source.as_deref())
            && is(&self.reason, entry.reason())
            && self.status.is_none_or(|status| status == kept.status)
            && { self.explained }.is_none_or(|wanted| wanted == entry.diagnosis.is_explained())
            && self.from.is_none_or(|from| entry.last_at >= from)
            && self.to.is_none_or(|to| kept.at < to)
    }
}

impl Entry {
    pub(super) fn new(kept: Kept, diagnosis: Diagnosis) -> Self {
        Self {
            last_at: kept.at,
            kept: Arc::new(kept),
            diagnosis,
            count: 1,
            was_told: false,
        }
    }

    /// The name of the first finding.
    pub(super) fn reason(&self) -> Option<&'static str> {
        let finding = self.diagnosis.findings().first();
        finding.map(|finding| finding.reason)
    }

    fn is_same_path(&self, other: &Kept) -> bool {
        let own = &self.kept;
        own.is_misdirected()
            && (own.cause, &own.path, &own.method) == (other.cause, &other.path, &other.method)
    }
}

impl Pool {
    /// From now on there is room for so much.
    pub(super) fn set_limits(&mut self, limits: RefusedSettings) {
        self.limits = limits;
        self.shrink();
    }

    /// Adds a request. Of a path that was asked for before only the count is kept.
    pub(super) fn add(&mut self, entry: Entry) {
        if entry.kept.is_misdirected() {
            let mut entries = self.entries.values_mut();
            if let Some(same) = entries.find(|same| same.is_same_path(&entry.kept)) {
                same.count += 1;
                same.last_at = entry.last_at;
                return;
            }
        }
        self.bytes += entry.kept.size();
        self.entries.insert(entry.kept.id, entry);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.entries.len() > self.limits.keep || self.bytes > self.limits.total {
            let Some(id) = self.first_to_go() else { return };
            self.remove(id);
            self.dropped += 1;
        }
    }

    fn first_to_go(&self) -> Option<Uuid> {
        let misdirected = |entry: &Entry| entry.kept.is_misdirected();
        let count = { self.entries.values() }
            .filter(|entry| misdirected(entry))
            .count();
        let oldest = |goes: &dyn Fn(&Entry) -> bool| {
            let found = self.entries.iter().find(|(_, entry)| goes(entry));
            found.map(|(id, _)| *id)
        };
        let beyond = (count > self.limits.keep / 8).then(|| oldest(&misdirected));
        let is_pending = |entry: &Entry| matches!(entry.diagnosis, Diagnosis::Pending);
        let is_unexplained = |entry: &Entry| {
            !misdirected(entry) && !is_pending(entry) && !entry.diagnosis.is_explained()
        };
        beyond
            .flatten()
            .or_else(|| oldest(&is_unexplained))
            .or_else(|| oldest(&is_pending))
            .or_else(|| oldest(&|entry| entry.diagnosis.is_explained()))
            .or_else(|| oldest(&|_| true))
    }

    /// Forgets a request. Returns whether it was there.
    pub(super) fn remove(&mut self, id: Uuid) -> bool {
        let removed = self.entries.remove(&id);
        if let Some(entry) = &removed {
            self.bytes -= entry.kept.size();
        }
        removed.is_some()
    }

    /// Forgets all requests of a source, or all. Returns how many.
    pub(super) fn forget(&mut self, source: Option<&str>) -> usize {
        let which = Selection {
            source: source.map(str::to_owned),
            ..Selection::default()
        };
        let ids: Vec<Uuid> = self.selected(&which).map(|entry| entry.kept.id).collect();
        ids.into_iter().filter(|id| self.remove(*id)).count()
    }

    /// The newest request that waits for its diagnosis.
    pub(super) fn newest_pending(&self) -> Option<Arc<Kept>> {
        let mut newest = self.entries.values().rev();
        let found = newest.find(|entry| matches!(entry.diagnosis, Diagnosis::Pending));
        found.map(|entry| Arc::clone(&entry.kept))
    }

    /// The requests that are looked into again, because the settings have changed.
    pub(super) fn diagnose_again(&mut self) {
        for entry in self.entries.values_mut() {
            if entry.kept.body().is_some() {
                entry.diagnosis = Diagnosis::Pending;
            }
        }
    }

    /// Notes a diagnosis. Returns whether the request is explained for the first time.
    pub(super) fn diagnosed(&mut self, id: Uuid, diagnosis: Diagnosis) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        entry.diagnosis = diagnosis;
        let is_new = entry.diagnosis.is_explained() && !entry.was_told;
        entry.was_told |= is_new;
        is_new
    }

    pub(super) fn get(&self, id: Uuid) -> Option<&Entry> {
        self.entries.get(&id)
    }

    /// Those that are meant, the oldest first.
    pub(super) fn selected(&self, which: &Selection) -> impl DoubleEndedIterator<Item = &Entry> {
        self.entries.values().filter(|entry| which.matches(entry))
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::cause::Cause;
    use super::super::kept::Body;
    use super::*;
    use crate::signature::Finding;

    fn kept(number: u128, cause: Cause, body: usize) -> Kept {
        Kept {
            id: Uuid::from_u128(number),
            at: Timestamp::UNIX_EPOCH,
            source: Some("s".into()),
            session: None,
            is_session_shown: true,
            path: format!("/{number}"),
            method: "POST".to_owned(),
            peer: None,
            status: cause.status(),
            cause,
            headers: Vec::new(),
            bytes: Some(body as u64),
            body: match cause {
                Cause::Path => Body::Unread,
                _ => Body::Whole(Bytes::from(vec![7; body])),
            },
        }
    }

    fn done(reason: &'static str) -> Diagnosis {
        Diagnosis::OfBody(vec![Finding::new(reason, "why")])
    }

    fn pool(keep: usize, total: usize) -> Pool {
        let mut pool = Pool::default();
        pool.set_limits(RefusedSettings {
            keep,
            total,
            ..RefusedSettings::default()
        });
        pool
    }

    fn ids(pool: &Pool) -> Vec<u128> {
        pool.entries.keys().map(|id| id.as_u128()).collect()
    }

    #[test]
    fn what_matters_least_goes_first() {
        let mut pool = pool(8, usize::MAX);
        let signature = |number| kept(number, Cause::Signature, 1);
        pool.add(Entry::new(signature(1), done("base64")));
        pool.add(Entry::new(signature(2), done("unexplained")));
        pool.add(Entry::new(signature(3), Diagnosis::Pending));
        pool.add(Entry::new(kept(4, Cause::Path, 0), done("path-unknown")));
        pool.add(Entry::new(kept(5, Cause::Path, 0), done("path-unknown")));
        pool.add(Entry::new(signature(6), done("base64")));
        pool.add(Entry::new(signature(7), done("unexplained")));
        pool.add(Entry::new(signature(8), Diagnosis::Pending));
        assert_eq!(ids(&pool), [1, 2, 3, 4, 5, 6, 7, 8]);
        let mut next = 9;
        let mut gone = |pool: &mut Pool| {
            let before = ids(pool);
            pool.add(Entry::new(signature(next), done("base64")));
            next += 1;
            let after = ids(pool);
            before.into_iter().find(|id| !after.contains(id)).unwrap()
        };
        // One of eight may be misdirected.
        let order: Vec<u128> = (0..6).map(|_| gone(&mut pool)).collect();
        assert_eq!(order, [4, 2, 7, 3, 8, 1]);
        assert!(ids(&pool).contains(&5));
        assert_eq!(pool.dropped, 6);
    }

    #[test]
    fn a_path_is_one_entry() {
        let mut pool = pool(8, usize::MAX);
        for _ in 0..100 {
            pool.add(Entry::new(kept(1, Cause::Path, 0), done("path-unknown")));
        }
        assert_eq!(ids(&pool), [1]);
        assert_eq!(pool.get(Uuid::from_u128(1)).unwrap().count, 100);
    }

    #[test]
    fn nothing_is_kept_without_room() {
        let mut pool = pool(0, usize::MAX);
        pool.add(Entry::new(kept(1, Cause::Signature, 1), Diagnosis::Pending));
        assert_eq!((ids(&pool).len(), pool.bytes()), (0, 0));
        pool.set_limits(RefusedSettings {
            total: 100,
            ..RefusedSettings::default()
        });
        pool.add(Entry::new(
            kept(1, Cause::Signature, 1000),
            Diagnosis::Pending,
        ));
        assert_eq!((ids(&pool).len(), pool.bytes()), (0, 0));
    }

    #[test]
    fn a_diagnosis_is_told_once() {
        let mut pool = pool(8, usize::MAX);
        let id = Uuid::from_u128(1);
        pool.add(Entry::new(kept(1, Cause::Signature, 1), Diagnosis::Pending));
        assert_eq!(pool.newest_pending().unwrap().id, id);
        assert!(pool.diagnosed(id, done("base64")));
        pool.diagnose_again();
        assert!(pool.newest_pending().is_some());
        assert!(!pool.diagnosed(id, done("base64")));
        assert!(!pool.diagnosed(Uuid::from_u128(2), done("base64")));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever comes, goes and is set, what is held is counted and within the limits.
        #[test]
        fn what_is_held_is_within_the_limits(
            steps in prop::collection::vec((0..6_u8, 0..40_u128, 0..5000_usize), 1..200),
        ) {
            let mut pool = pool(8, 20_000);
            let mut limits = (8, 20_000);
            for (step, number, size) in steps {
                let id = Uuid::from_u128(number);
                match step {
                    0 => pool.add(Entry::new(kept(1000 + number, Cause::Path, 0), done("path-unknown"))),
                    1 => drop(pool.remove(id)),
                    2 => drop(pool.diagnosed(id, done("base64"))),
                    3 => {
                        limits = (size % 16, size * 10);
                        let (keep, total) = limits;
                        pool.set_limits(RefusedSettings { keep, total, ..RefusedSettings::default() });
                    }
                    _ if pool.get(id).is_none() => {
                        pool.add(Entry::new(kept(number, Cause::Signature, size), Diagnosis::Pending));
                    }
                    _ => {}
                }
                let held: usize = pool.entries.values().map(|entry| entry.kept.size()).sum();
                prop_assert_eq!(pool.bytes(), held);
                prop_assert!(pool.entries.len() <= limits.0 && held <= limits.1);
            }
        }
    }
}
