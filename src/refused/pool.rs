//! [`Pool`]: the refused requests that are kept, within the limits of the settings.
//!
//! When there are too many, or they hold too many bytes, the first of these goes:
//!
//! 1. the oldest that is misdirected, if such have more than an eighth of the places or of the bytes;
//! 2. the oldest without its body, if such have more than an eighth;
//! 3. the oldest that is looked into, and vouched for by nothing;
//! 4. the oldest that waits for its diagnosis, if such have more than a quarter;
//! 5. of the source that has the most explained requests, by number or by bytes, the oldest of the reason that has the
//!    most;
//! 6. the oldest that waits; the oldest without its body; the oldest that is misdirected.
//!
//! So a flood of any kind leaves what matters, and what comes has a place until it is looked into, also where all
//! others are explained. What can never be verified again takes few places from what can.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::diagnosis::Diagnosis;
use super::kept::Kept;
use super::losses::Losses;
use super::settings::RefusedSettings;
use crate::Timestamp;

/// The requests by their ids, which are in the order in which they came.
#[derive(Default)]
pub(super) struct Pool {
    entries: BTreeMap<Uuid, Entry>,
    /// The same by what becomes of them when there are too many.
    ranks: HashMap<Rank, Ranked>,
    limits: RefusedSettings,
    /// What is held for all entries.
    bytes: usize,
    /// Those that are not kept any more.
    pub(super) losses: Losses,
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
    /// By its last diagnosis, also while it waits for the next.
    rank: Rank,
    /// Why it was refused by its last diagnosis, while it waits for the next, and when it can be accepted now.
    before: Option<&'static str>,
}

/// The requests of a rank.
#[derive(Default)]
struct Ranked {
    ids: BTreeSet<Uuid>,
    /// What is held for them.
    bytes: usize,
}

/// What a request is worth to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Rank {
    Misdirected,
    /// It has no whole body.
    Bodiless,
    Unexplained,
    Pending,
    /// By source and reason.
    Explained(Option<Arc<str>>, &'static str),
}

impl Rank {
    fn of(kept: &Kept, diagnosis: &Diagnosis) -> Self {
        let finding = diagnosis.findings().first();
        match finding {
            _ if kept.is_misdirected() => Self::Misdirected,
            _ if kept.body().is_none() => Self::Bodiless,
            Some(finding) if diagnosis.is_explained() && !is_of_another(finding.reason) => {
                Self::Explained(kept.source.clone(), finding.reason)
            }
            _ if matches!(diagnosis, Diagnosis::Pending) => Self::Pending,
            _ => Self::Unexplained,
        }
    }
}

/// Whether it is signed with a secret that is not for it: who has one tenant's secret must not be able to fill the
/// places of others.
fn is_of_another(reason: &str) -> bool {
    matches!(reason, "own-secrets" | "other-session" | "other-source")
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
            && (is(&self.reason, entry.reason()) || is(&self.reason, entry.before))
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
            rank: Rank::of(&kept, &diagnosis),
            kept: Arc::new(kept),
            diagnosis,
            count: 1,
            was_told: false,
            before: None,
        }
    }

    /// The name of the first finding.
    pub(super) fn reason(&self) -> Option<&'static str> {
        let finding = self.diagnosis.findings().first();
        finding.map(|finding| finding.reason)
    }
}

impl Pool {
    /// From now on there is room for so much.
    pub(super) fn set_limits(&mut self, limits: RefusedSettings) {
        self.limits = limits;
        self.shrink();
    }

    /// Counts another request to a path that was asked for before. Returns whether it was.
    pub(super) fn count_again(&mut self, other: &Kept) -> bool {
        let misdirected = self.ranks.get(&Rank::Misdirected);
        let mut ids = misdirected.into_iter().flat_map(|ranked| &ranked.ids);
        let same = ids.find(|id| {
            let own = self.entries.get(id).map(|entry| &entry.kept);
            own.is_some_and(|own| {
                (own.cause, &own.path, &own.method) == (other.cause, &other.path, &other.method)
            })
        });
        let Some(same) = same.and_then(|id| self.entries.get_mut(id)) else {
            return false;
        };
        same.count += 1;
        same.last_at = other.at;
        true
    }

    /// Adds a request.
    pub(super) fn add(&mut self, entry: Entry) {
        self.bytes += entry.kept.size();
        self.rank(entry.rank.clone(), &entry.kept);
        self.entries.insert(entry.kept.id, entry);
        self.shrink();
    }

    fn rank(&mut self, rank: Rank, kept: &Kept) {
        let ranked = self.ranks.entry(rank).or_default();
        ranked.ids.insert(kept.id);
        ranked.bytes += kept.size();
    }

    fn unrank(&mut self, rank: &Rank, kept: &Kept) {
        if let Some(ranked) = self.ranks.get_mut(rank) {
            if ranked.ids.remove(&kept.id) {
                ranked.bytes -= kept.size();
            }
            if ranked.ids.is_empty() {
                self.ranks.remove(rank);
            }
        }
    }

    fn shrink(&mut self) {
        while self.entries.len() > self.limits.keep || self.bytes > self.limits.total {
            let Some(id) = self.first_to_go() else { return };
            if let Some(entry) = self.entries.get(&id) {
                let kept = &entry.kept;
                let source = kept.source.as_ref().filter(|_| !kept.is_misdirected());
                self.losses.add(source, kept.at);
            }
            self.remove(id);
        }
    }

    fn first_to_go(&self) -> Option<Uuid> {
        let RefusedSettings { keep, total, .. } = self.limits;
        // If they have more than this part of the places or of the bytes.
        let beyond = |rank: &Rank, part: usize| {
            let ranked = self.ranks.get(rank)?;
            // A single long one has a place.
            let has_bytes = ranked.ids.len() > 1 && ranked.bytes > total / part;
            let is_beyond = ranked.ids.len() > keep / part || has_bytes;
            ranked.ids.first().copied().filter(|_| is_beyond)
        };
        let oldest = |rank: &Rank| self.ranks.get(rank)?.ids.first().copied();
        // Of the places or of the bytes, whichever is more.
        let part_of = |ranked: &Ranked| {
            let product = |one: usize, other: usize| one as u128 * other as u128;
            product(ranked.ids.len(), total).max(product(ranked.bytes, keep))
        };
        let explained = || {
            let mut sources: HashMap<_, (u128, Vec<&Ranked>)> = HashMap::new();
            for (rank, ranked) in &self.ranks {
                if let Rank::Explained(source, _) = rank {
                    let (part, reasons) = sources.entry(source).or_default();
                    *part += part_of(ranked);
                    reasons.push(ranked);
                }
            }
            let oldest = |reasons: &[&Ranked]| {
                { reasons.iter() }
                    .filter_map(|one| one.ids.first())
                    .min()
                    .copied()
            };
            let sources = sources.into_values();
            let (_, reasons) =
                sources.max_by_key(|(part, reasons)| (*part, Reverse(oldest(reasons))))?;
            let reasons = reasons.into_iter();
            let largest = reasons.max_by_key(|one| (part_of(one), Reverse(one.ids.first())))?;
            largest.ids.first().copied()
        };
        beyond(&Rank::Misdirected, 8)
            .or_else(|| beyond(&Rank::Bodiless, 8))
            .or_else(|| oldest(&Rank::Unexplained))
            .or_else(|| beyond(&Rank::Pending, 4))
            .or_else(explained)
            .or_else(|| oldest(&Rank::Pending))
            .or_else(|| oldest(&Rank::Bodiless))
            .or_else(|| oldest(&Rank::Misdirected))
    }

    /// Forgets a request. Returns whether it was there.
    pub(super) fn remove(&mut self, id: Uuid) -> bool {
        let removed = self.entries.remove(&id);
        if let Some(entry) = &removed {
            self.bytes -= entry.kept.size();
            self.unrank(&entry.rank, &entry.kept);
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
            if entry.kept.body().is_none() {
                continue;
            }
            entry.before = entry.reason().or(entry.before);
            entry.diagnosis = Diagnosis::Pending;
            // What was explained keeps its rank until it is known better.
            if entry.rank == Rank::Unexplained {
                entry.rank = Rank::Pending;
            }
        }
        if let Some(mut unexplained) = self.ranks.remove(&Rank::Unexplained) {
            let pending = self.ranks.entry(Rank::Pending).or_default();
            pending.ids.append(&mut unexplained.ids);
            pending.bytes += unexplained.bytes;
        }
    }

    /// Notes a diagnosis. Returns whether the request is explained for the first time.
    pub(super) fn diagnosed(&mut self, id: Uuid, diagnosis: Diagnosis) -> bool {
        let Some(entry) = self.entries.get_mut(&id) else {
            return false;
        };
        let rank = Rank::of(&entry.kept, &diagnosis);
        let before = std::mem::replace(&mut entry.rank, rank.clone());
        entry.diagnosis = diagnosis;
        // What is accepted now is found by what was wrong with it.
        if entry.reason() != Some("accepted-now") {
            entry.before = None;
        }
        let kept = Arc::clone(&entry.kept);
        let is_new = entry.diagnosis.is_explained() && !entry.was_told;
        entry.was_told |= is_new;
        self.unrank(&before, &kept);
        self.rank(rank, &kept);
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
mod tests;
