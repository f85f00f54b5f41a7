//! Loads [`Settings`] from the settings file and the environment.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Config, ConfigError, File, FileFormat};

use super::spot::{Keys as _, Notes, Spot};
use super::{AdminSettings, Settings};
use crate::error::{Problem, Problems};

impl Settings {
    /// Loads a settings file and applies the `OFFHOOK__…` environment variables.
    ///
    /// # Errors
    ///
    /// When the settings are invalid. The error lists every problem, not only the first.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Problems> {
        let path = path.as_ref();
        let shown = path.display().to_string();
        if !path.is_file() {
            return Err(Problems::one(Problem {
                place: shown,
                text: no_file(path),
            }));
        }
        let file = File::from(PathBuf::from(path)).format(FileFormat::Toml);
        Self::with_admin().read(file, &shown, std::env::vars_os())
    }

    /// Applies the `OFFHOOK__…` environment variables to settings made in code.
    ///
    /// # Errors
    ///
    /// When the settings are invalid. The error lists every problem, not only the first.
    pub fn with_environment(self) -> Result<Self, Problems> {
        let no_file = File::from_str("", FileFormat::Toml);
        self.read(no_file, "the settings", std::env::vars_os())
    }

    /// The settings that a file or a program changes: the defaults, with an admin listener.
    pub(crate) fn with_admin() -> Self {
        Self {
            admin: Some(AdminSettings::default()),
            ..Self::default()
        }
    }

    /// These settings, changed by a file and the environment. `shown` names the file.
    pub(super) fn read(
        mut self,
        file: impl config::Source + Send + Sync + 'static,
        shown: &str,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Problems> {
        let notes = Notes::new(shown);
        let overrides = overrides(environment, &notes);
        let merged = Config::builder().add_source(file).add_source(overrides);
        let merged = merged.build().map_err(|error| {
            Problems::one(Problem {
                place: shown.to_owned(),
                text: parse_error(&error),
            })
        })?;
        Spot::root(&merged.cache.kind, &notes).table(|table| self.fill(table));
        notes.close_sections();
        self.judge(&[], &notes);
        notes.into_result()?;
        Ok(self)
    }
}

/// Why the path is not a settings file, and what a settings file is.
fn no_file(path: &Path) -> String {
    if path.exists() {
        return "this is no file; the settings are a TOML file".to_owned();
    }
    let folder = std::env::current_dir().map(|folder| folder.display().to_string());
    format!(
        "there is no such file (looked from {}); it holds at least [[sources]] with a name and secrets",
        folder.unwrap_or_else(|_| "here".to_owned())
    )
}

/// The parser's error on one line, without the quoted line of the file, which may hold a secret.
fn parse_error(error: &ConfigError) -> String {
    let words = match error {
        ConfigError::FileParse { cause, .. } => format!("not TOML: {cause}"),
        other => other.to_string(),
    };
    let quoted = |line: &str| {
        line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ')
            .starts_with('|')
    };
    let lines = words.lines().map(str::trim_end);
    let told = lines.filter(|line| !line.is_empty() && !quoted(line));
    told.collect::<Vec<_>>().join(": ")
}

/// The overrides as a source for `config`: `OFFHOOK__SERVER__BIND` sets `bind` in `[server]`. Notes
/// variables that cannot be overrides.
fn overrides(
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
