//! [`Losses`]: what was refused and is not kept, so that nobody takes what is kept for all.

use std::collections::HashMap;
use std::sync::Arc;

use crate::Timestamp;

/// Counts what is not kept, or not any more.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// All of them.
    total: u64,
    /// Those to a source, which may have become events. There are as many sources as are served.
    of_sources: HashMap<Arc<str>, Lost>,
}

/// Refused requests to sources that are not kept, so that they cannot be verified again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost {
    pub(crate) count: u64,
    pub(crate) first: Timestamp,
    pub(crate) last: Timestamp,
}

impl Losses {
    /// One more; `source` is that of a request that could have been verified again.
    pub(super) fn add(&mut self, source: Option<&Arc<str>>, at: Timestamp) {
        self.total += 1;
        if let Some(source) = source {
            let (first, last) = (at, at);
            let lost = { self.of_sources.entry(Arc::clone(source)) };
            let lost = lost.or_insert(Lost {
                count: 0,
                first,
                last,
            });
            *lost = lost.and(&Lost {
                count: 1,
                first,
                last,
            });
        }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Those to this source, or to any; `None` if nothing was lost.
    pub(super) fn of(&self, source: Option<&str>) -> Option<Lost> {
        let all = self.of_sources.iter();
        let meant = all.filter(|(name, _)| source.is_none_or(|source| source == &***name));
        meant
            .map(|(_, lost)| *lost)
            .reduce(|one, other| one.and(&other))
    }

    /// Forgets the sources that are not served any more.
    pub(super) fn keep(&mut self, names: &[&str]) {
        self.of_sources.retain(|name, _| names.contains(&&**name));
    }
}

impl Lost {
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            count: self.count + other.count,
            first: self.first.min(other.first),
            last: self.last.max(other.last),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_by_source() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut losses = Losses::default();
        assert_eq!(losses.of(None), None);
        for (source, second) in [(Some(&a), 3), (Some(&b), 2), (None, 1), (Some(&a), 5)] {
            losses.add(source, at(second));
        }
        let lost = |source| {
            losses
                .of(source)
                .map(|lost| (lost.count, lost.first, lost.last))
        };
        assert_eq!(losses.total(), 4);
        assert_eq!(lost(Some("a")), Some((2, at(3), at(5))));
        assert_eq!(lost(None), Some((3, at(2), at(5))));
        assert_eq!(lost(Some("c")), None);
        losses.keep(&["b"]);
        assert_eq!((losses.of(Some("a")), losses.total()), (None, 4));
    }
}
