//! [`Settings::warnings`]: what is allowed, and is likely a mistake.

use super::Settings;
use super::check::guessable;
use crate::Source;

impl Settings {
    /// Likely mistakes of sources and subscriptions, one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let sources = self.sources.iter();
        let all = sources.flat_map(|source| {
            [
                self.told_to_subscribers(source),
                guessed(source),
                source.other_address(),
            ]
        });
        all.flatten().collect()
    }

    /// Its bodies hold a credential, and subscribers get them.
    fn told_to_subscribers(&self, source: &Source) -> Option<String> {
        let fields = source.dialect.secret_fields().join(", ");
        let is_told = !fields.is_empty() && !self.subscriptions.is_empty();
        let name = &source.name;
        is_told.then(|| {
            format!(
                "sources {name}: its bodies hold a credential of the gateway ({fields}), and [[subscriptions]] get bodies as they \
                 come; have the gateway leave it out, or trust each subscriber with it."
            )
        })
    }
}

/// One of its secrets can be guessed. On an address that others reach that is an error.
fn guessed(source: &Source) -> Option<String> {
    let name = &source.name;
    guessable(source).map(|text| format!("sources {name}: {text}."))
}
