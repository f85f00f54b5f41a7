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
        let Some(name) = name.to_str() else { continue };
        if let Some(meant) = misspelt(name) {
            let text = format!("not an override, one underscore is missing: {meant}");
            notes.add(format!("environment variable {name}"), text);
            continue;
        }
        if !name.starts_with(PREFIX) {
            continue;
        }
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

/// What `OFFHOOK_SECTION__KEY` must have been meant to be. Other names that begin with `OFFHOOK_` are
/// anybody's, such as those of secrets.
fn misspelt(name: &str) -> Option<String> {
    let rest = name.strip_prefix("OFFHOOK_")?;
    let (section, _) = rest.split_once("__")?;
    let section = section.to_ascii_lowercase();
    SECTIONS
        .contains(&section.as_str())
        .then(|| format!("{PREFIX}{rest}"))
}

const PREFIX: &str = "OFFHOOK__";
const SECTIONS: [&str; 5] = ["server", "admin", "journal", "dispatch", "relay"];
const LISTS: [&str; 4] = ["sources", "handlers", "subscriptions", "gateways"];
