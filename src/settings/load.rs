//! Loads [`Settings`] from the settings file and the environment.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::environment;
use super::listeners::AdminSettings;
use super::problem::Notes;
use super::root::Settings;
use super::spot::Spot;
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
        let file = config::File::from(PathBuf::from(path)).format(config::FileFormat::Toml);
        Self::from_source(Some(file), &shown, with_admin(), std::env::vars_os())
    }

    /// Applies the `OFFHOOK__…` environment variables to settings made in code.
    ///
    /// # Errors
    ///
    /// When the settings are invalid. The error lists every problem, not only the first.
    pub fn with_environment(self) -> Result<Self, Problems> {
        let no_file: Option<config::File<config::FileSourceString, config::FileFormat>> = None;
        Self::from_source(no_file, "the settings", self, std::env::vars_os())
    }

    pub(super) fn from_source(
        file: Option<impl config::Source + Send + Sync + 'static>,
        shown: &str,
        mut settings: Self,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Problems> {
        let notes = Notes::new(shown);
        let overrides = environment::overrides(environment, &notes);
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(file);
        }
        match builder.add_source(overrides).build() {
            Ok(merged) => {
                let root = Spot::root(&merged.cache.kind, &notes);
                root.table(|table| settings.fill(table));
            }
            Err(error) => {
                return Err(Problems::one(Problem {
                    place: shown.to_owned(),
                    text: parse_error(&error),
                }));
            }
        }
        let whole = Notes::new(shown);
        settings.judge(&whole);
        notes.and(whole).into_result()?;
        Ok(settings)
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

/// The settings that a file changes: the defaults, with an admin listener.
pub(super) fn with_admin() -> Settings {
    Settings {
        admin: Some(AdminSettings::default()),
        ..Settings::default()
    }
}

/// The parser's error on one line, without the quoted line of the file, which may hold a secret.
fn parse_error(error: &config::ConfigError) -> String {
    let words = match error {
        config::ConfigError::FileParse { cause, .. } => format!("not TOML: {cause}"),
        other => other.to_string(),
    };
    let shown = |line: &&str| {
        line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ')
            .starts_with('|')
    };
    let lines = words.lines().map(str::trim_end);
    let told: Vec<_> = lines
        .filter(|line| !line.is_empty() && !shown(line))
        .collect();
    told.join(": ")
}
