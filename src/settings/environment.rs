//! Overrides from the environment: `OFFHOOK__SERVER__BIND` sets `bind` in `[server]`.

use std::collections::HashMap;
use std::ffi::OsString;

use super::problem::Notes;

/// The overrides as a source for `config`. Notes variables that cannot be overrides.
pub(super) fn overrides(
    variables: impl Iterator<Item = (OsString, OsString)>,
    notes: &Notes,
) -> config::Environment {
    let mut overrides = HashMap::new();
    for (name, value) in variables {
        let Some(name) = name.to_str() else { continue };
        if let Some(problem) = problem(name) {
            notes.add_variable(name, problem);
        } else if !name.starts_with(PREFIX) {
        } else if let Some(value) = value.to_str() {
            overrides.insert(name.to_owned(), value.to_owned());
        } else {
            notes.add_variable(name, "its value is no text");
        }
    }
    config::Environment::with_prefix("OFFHOOK")
        .prefix_separator("__")
        .separator("__")
        .source(Some(overrides.into_iter().collect()))
}

/// Why a variable cannot be an override. Names that start with `OFFHOOK_` may also have other uses, such
/// as secrets.
fn problem(name: &str) -> Option<String> {
    let rest = name.strip_prefix("OFFHOOK_")?;
    let path = rest.strip_prefix('_');
    let keys: Vec<&str> = path.unwrap_or(rest).split("__").collect();
    let section = keys[0].to_ascii_lowercase();
    let known = SECTIONS.contains(&section.as_str());
    if path.is_none() {
        let misspelt = known && keys.len() > 1;
        let text = format!("not an override, one underscore is missing: {PREFIX}{rest}");
        return misspelt.then_some(text);
    }
    if LISTS.contains(&section.as_str()) {
        let text = format!("[[{section}]] is a list and cannot be overridden by the environment");
        return Some(text);
    }
    let sections = SECTIONS.map(str::to_uppercase).join(", ");
    let text = format!("unknown; it is OFFHOOK__SECTION__KEY with a section of: {sections}");
    let good = known && keys.len() == 2 && !keys[1].is_empty();
    (!good).then_some(text)
}

const PREFIX: &str = "OFFHOOK__";
const SECTIONS: [&str; 5] = ["server", "admin", "journal", "dispatch", "relay"];
const LISTS: [&str; 4] = ["sources", "handlers", "subscriptions", "gateways"];
