//! [`suggestion`]: the `[[sources]]` block that would take what was refused.

use std::fmt::Write as _;

use super::finding::Finding;
use super::others::Foreign;
use crate::signature::scheme::Scheme;

/// The block for a sender whose headers are those of another scheme, or whose findings are all explained by keys
/// of `scheme = "hmac"`. The secrets stay where they are: `name` says the source, and a comment stands for them.
pub(crate) fn suggestion(
    name: &str,
    path: &str,
    scheme: &dyn Scheme,
    foreign: Option<&Foreign>,
    findings: &[Finding],
) -> Option<String> {
    let keys = match foreign {
        Some(foreign) => foreign.keys?.to_owned(),
        None => keys(scheme, findings)?,
    };
    Some(format!(
        "[[sources]]\nname = {}\npath = {}\n{keys}\nsecrets = [{SECRET}]\n",
        quoted(name),
        quoted(path),
    ))
}

/// The scheme as `scheme = "hmac"` would write it, with the keys of the findings.
fn keys(scheme: &dyn Scheme, findings: &[Finding]) -> Option<String> {
    let changed: Option<Vec<_>> = findings.iter().map(|finding| finding.key.clone()).collect();
    let changed = changed.filter(|changed| !changed.is_empty())?;
    let mut keys = match scheme.name() {
        "hmac" => scheme.parameters(),
        "x-webhook-signature" => vec![("header", "X-Webhook-Signature".to_owned())],
        // Its keys are made in a way that `hmac` does not know.
        _ => return None,
    };
    for (key, value) in changed {
        match keys.iter_mut().find(|(known, _)| *known == key) {
            Some((_, known)) => *known = value,
            None => keys.push((key, value)),
        }
    }
    let mut text = "scheme = \"hmac\"".to_owned();
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_empty()) {
        // Writing to memory cannot fail.
        let _ = write!(text, "\n{key} = {}", quoted(value));
    }
    Some(text)
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            character if character.is_control() => {
                let _ = write!(quoted, "\\u{:04x}", u32::from(character));
            }
            character => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// A place for the secret; a server that is given this says that the variable is not set.
pub(super) const SECRET: &str = "\"env:THE_SECRET_OF_THE_SENDER\"";
