//! What is read, and what each problem's message says.

mod environment;
mod gateways;
mod handlers;
mod relay;
mod sections;
mod sources;
mod tls;
mod whole;

use std::time::Duration;

use super::certificate::tests::Files;
use super::*;
use crate::dispatch::HandlerOptions;
use crate::{EventKind, Order, Source};

fn load_with(text: &str, environment: &[(&str, &str)]) -> Result<Settings, Problems> {
    let environment = environment
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    Settings::with_admin().read(text, "settings.toml", environment)
}

fn load(text: &str) -> Result<Settings, Problems> {
    load_with(text, &[])
}

fn problems(text: &str) -> Vec<String> {
    let problems = load(text).expect_err(text);
    problems.list().iter().map(Problem::to_string).collect()
}

/// A valid source, followed by `more`.
fn with_source(more: &str) -> String {
    format!("[[sources]]\nname = \"s\"\nsecrets = [\"a secret\"]\n{more}")
}

/// Checks that each text has one problem with this message, which shows no hidden value.
fn each_has_one_problem(texts: impl IntoIterator<Item = (String, &'static str)>) {
    for (text, expected) in texts {
        let found = problems(&text);
        assert_eq!(found.len(), 1, "{text}\n{found:#?}");
        assert!(found[0].contains(expected), "{expected}\n{}", found[0]);
        assert!(!found[0].contains("hidden"), "{found:?}");
    }
}

/// The same for a valid source followed by each text.
fn with_source_each_has_one_problem(table: &[(&str, &'static str)]) {
    each_has_one_problem(
        table
            .iter()
            .map(|(more, expected)| (with_source(more), *expected)),
    );
}

/// The parser finds fault with a line further on, which is right.
#[test]
fn a_missing_quote_is_named() {
    let open = "[server]\nkeep_alive = \"75s\" # \"\n[[sources]]\nname = \"s\"\nsecrets = [\"a \\\" hidden\", \"hidden]\n\n[journal]\npath = \"x\"\n";
    let found = problems(open);
    assert!(
        found[0].ends_with("; in line 5 a quote is opened and not closed"),
        "{found:?}"
    );
    assert!(!found[0].contains("hidden"), "{found:?}");
    // Other mistakes have no quote to blame.
    for odd in [
        "a = \"\"\"\n\" #\n\"\"\"\nb = '\"'\nc = \"#'\"\nd = [1, 2\n[x]",
        "a = \"\" \"\"",
        "a = 'it' # it's\nb =",
    ] {
        let found = problems(odd);
        assert!(found[0].contains("not TOML"), "{odd}: {found:?}");
        assert!(!found[0].contains("a quote"), "{odd}: {found:?}");
    }
}
