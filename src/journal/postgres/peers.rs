//! [`Peers`]: which settings the living instances run.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::journal::Peer;

#[derive(Debug, Default)]
pub(super) struct Peers(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// The fingerprint of the settings that this instance runs.
    own: String,
    all: Vec<Peer>,
    /// Whether another instance lived at the last beat.
    has_others: bool,
}

impl Peers {
    /// This instance runs these settings.
    pub(super) fn runs(&self, settings: String) {
        self.lock().own = settings;
    }

    pub(super) fn own(&self) -> String {
        self.lock().own.clone()
    }

    /// Takes note of what the living instances run, and whether another one is among them. Logs once when they begin to
    /// differ.
    pub(super) fn hear(&self, all: Vec<Peer>, has_others: bool) {
        let mut known = self.lock();
        known.has_others = has_others;
        let (before, now) = (differ(&known.all), differ(&all));
        known.all = all;
        if let Some(text) = now.filter(|_| before.is_none()) {
            log::warn!("journal: {text}");
        }
    }

    /// Whether no other instance lived at the last beat.
    pub(super) fn is_alone(&self) -> bool {
        !self.lock().has_others
    }

    /// Returns what is to be told where they differ.
    pub(super) fn differ(&self) -> Option<String> {
        differ(&self.lock().all)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that has not said yet what it runs is not counted.
fn differ(all: &[Peer]) -> Option<String> {
    let mut said = all.iter().filter(|peer| !peer.settings.is_empty());
    let first = said.next()?;
    said.find(|peer| peer.settings != first.settings)?;
    let all: Vec<_> = { all.iter() }
        .map(|peer| format!("{} runs {}", peer.name, peer.settings))
        .collect();
    Some(format!(
        "the instances run different settings ({}): what a consumer does depends on which of them has its share",
        all.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_other_settings_are_told() {
        let told = |settings: &[&str]| {
            let peers = Peers::default();
            let all = settings.iter().zip(["a", "b", "c"]);
            let all = all.map(|(settings, name)| Peer {
                name: name.to_owned(),
                settings: (*settings).to_owned(),
            });
            peers.hear(all.collect(), true);
            peers.differ()
        };
        for same in [&[][..], &["1"], &["1", "1"], &["1", "", "1"]] {
            assert_eq!(told(same), None, "{same:?}");
        }
        let text = told(&["1", "1", "2"]).unwrap();
        assert!(text.contains("(a runs 1, b runs 1, c runs 2)"), "{text}");
    }
}
