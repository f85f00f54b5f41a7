//! Overrides from the environment: `OFFHOOK__SERVER__BIND` is `bind` in `[server]`.

use std::collections::HashMap;
use std::ffi::OsString;

use super::problem::Notes;

/// The overrides as a source for `config`. Variables that can be no override are reported.
pub(super) fn overrides(
    variables: impl Iterator<Item = (OsString, OsString)>,
    notes: &Notes,
) -> config::Environment {
    let mut overrides = HashMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
            continue;
        };
        let keys: Vec<&str> = name[PREFIX.len()..].split("__").collect();
        let section = keys[0].to_ascii_lowercase();
        let place = || format!("environment variable {name}");
        if LISTS.contains(&section.as_str()) {
            let text =
                format!("[[{section}]] is a list and cannot be overridden by the environment");
            notes.add(place(), text);
        } else if !SECTIONS.contains(&section.as_str()) || keys.len() != 2 || keys[1].is_empty() {
            let sections = SECTIONS.map(str::to_uppercase).join(", ");
            let text =
                format!("unknown; it is OFFHOOK__SECTION__KEY with a section of: {sections}");
            notes.add(place(), text);
        } else if let Some(value) = value.to_str() {
            overrides.insert(name.to_owned(), value.to_owned());
        } else {
            notes.add(place(), "its value is no text");
        }
    }
    config::Environment::with_prefix("OFFHOOK")
        .prefix_separator("__")
        .separator("__")
        .source(Some(overrides.into_iter().collect()))
}

const PREFIX: &str = "OFFHOOK__";
const SECTIONS: [&str; 5] = ["server", "admin", "journal", "dispatch", "relay"];
const LISTS: [&str; 4] = ["sources", "handlers", "subscriptions", "gateways"];
