//! Loads [`Settings`] from the settings file and the environment.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, ErrorKind};
use std::path::Path;

use config::{Config, ConfigError, File, FileFormat, Map};

use super::spot::{Keys as _, Notes, Spot};
use super::{AdminSettings, Certificates, Settings};
use crate::error::{self, Problem, Problems};
use crate::signature::read_all;

impl Settings {
    /// Loads a settings file and applies the `OFFHOOK__…` environment variables.
    ///
    /// # Errors
    ///
    /// When the settings are invalid. The error lists every problem, not only the first.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Problems> {
        let (settings, problems) = Self::load_with_problems(path)?;
        Problems::none_of(problems)?;
        Ok(settings)
    }

    /// Loads what can be read of settings that may have problems, and the problems. A key with a problem
    /// has its default.
    ///
    /// This is for programs that need a part of the settings, such as the address of the admin listener.
    /// They look for problems of that part by [`Problem::keys`]. A server needs [`Settings::load`].
    ///
    /// # Errors
    ///
    /// When the file cannot be read, or is not TOML.
    pub fn load_with_problems(path: impl AsRef<Path>) -> Result<(Self, Vec<Problem>), Problems> {
        Self::load_with_certificates(path.as_ref(), &mut Certificates::default())
    }

    /// As [`Settings::load_with_problems`]. Adds the certificates that the settings name.
    pub(crate) fn load_with_certificates(
        path: &Path,
        certificates: &mut Certificates,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        let shown = path.display().to_string();
        // The settings of a start may come from a pipe.
        let bytes = std::fs::File::open(path).and_then(|file| read_all(file, MAX_FILE));
        let text = bytes.and_then(|bytes| {
            String::from_utf8(bytes).map_err(|_| io::Error::from(ErrorKind::InvalidData))
        });
        let text = text.map_err(|error| unreadable(&shown, &error))?;
        let read = Self::with_admin().read_all(&text, &shown, std::env::vars_os());
        let (settings, mut problems) = read?;
        let notes = Notes::new(&shown);
        settings.judge_certificates(certificates, &notes);
        problems.extend(notes.into_problems());
        Ok((settings, problems))
    }

    /// Applies the `OFFHOOK__…` environment variables to settings made in code.
    ///
    /// # Errors
    ///
    /// When the settings are invalid. The error lists every problem, not only the first.
    pub fn with_environment(self) -> Result<Self, Problems> {
        self.read("", "the settings", std::env::vars_os())
    }

    /// The settings that a file or a program changes: the defaults, with an admin listener.
    pub(crate) fn with_admin() -> Self {
        Self {
            admin: Some(AdminSettings::default()),
            ..Self::default()
        }
    }

    /// These settings, changed by the text of a file and the environment. `shown` names the file.
    pub(super) fn read(
        self,
        text: &str,
        shown: &str,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Problems> {
        let (settings, problems) = self.read_all(text, shown, environment)?;
        Problems::none_of(problems)?;
        Ok(settings)
    }

    /// As [`Settings::read`], with the problems beside what could be read. Fails if that is nothing.
    fn read_all(
        mut self,
        text: &str,
        shown: &str,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Result<(Self, Vec<Problem>), Problems> {
        let mut notes = Notes::new(shown);
        let overrides = overrides(environment, &mut notes);
        let merged = Config::builder()
            .add_source(File::from_str(text, FileFormat::Toml))
            .add_source(overrides)
            .build()
            .map_err(|error| Problems::at(shown, parse_error(&error, text)))?;
        let root = Spot::new(&merged.cache.kind, String::new(), &notes);
        root.table(|table| self.fill(table));
        notes.end_reading();
        self.judge(&[], &notes);
        Ok((self, notes.into_problems()))
    }
}

/// Why the file cannot be read, and what a settings file is.
fn unreadable(shown: &str, error: &io::Error) -> Problems {
    let folder = || std::env::current_dir().map(|folder| folder.display().to_string());
    let text = match error.kind() {
        ErrorKind::NotFound => format!(
            "there is no such file (looked from {}); it holds at least [[sources]] with a name and secrets",
            folder().unwrap_or_else(|_| "here".to_owned())
        ),
        ErrorKind::IsADirectory => "this is not a file; the settings are a TOML file".to_owned(),
        ErrorKind::InvalidData => "this is not UTF-8 text; the settings are a TOML file".to_owned(),
        _ => error::unreadable(Path::new(shown), error),
    };
    Problems::at(shown, text)
}

/// The parser's error on one line, without the quoted line of the file, which may hold a secret.
fn parse_error(error: &ConfigError, text: &str) -> String {
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
    let mut told = told.collect::<Vec<_>>().join(": ");
    // The parser goes on behind a text without its end, and finds fault with a line that is right.
    if let Some(line) = line_of_open_quote(text) {
        let _ = write!(told, "; in line {line} a quote is opened and not closed");
    }
    told
}

/// The first line in which a text of one line does not end, counted from 1.
fn line_of_open_quote(text: &str) -> Option<usize> {
    let mut rest = text;
    loop {
        rest = &rest[rest.find(['"', '\'', '#'])?..];
        let quotes = ["#", "\"\"\"", "'''", "\"", "'"];
        let quotes = quotes.into_iter().find(|quotes| rest.starts_with(quotes))?;
        let inner = &rest[quotes.len()..];
        let line = inner.lines().next().unwrap_or_default();
        rest = match quotes.len() {
            1 if quotes == "#" => &inner[line.len()..],
            1 => match behind(line, quotes) {
                Some(after) => &inner[line.len() - after.len()..],
                None => return Some(text[..text.len() - rest.len()].matches('\n').count() + 1),
            },
            _ => behind(inner, quotes)?,
        };
    }
}

/// What is behind the quotes that end a text.
fn behind<'a>(text: &'a str, quotes: &str) -> Option<&'a str> {
    let is_escaped = |at: usize| {
        let before = text.as_bytes()[..at].iter().rev();
        let slashes = before.take_while(|byte| **byte == b'\\').count();
        quotes.starts_with('"') && slashes % 2 == 1
    };
    let mut found = text.match_indices(quotes);
    let (at, _) = found.find(|(at, _)| !is_escaped(*at))?;
    Some(&text[at + quotes.len()..])
}

/// The overrides as a source for `config`: `OFFHOOK__SERVER__BIND` sets `bind` in `[server]`. Notes
/// variables that cannot be overrides.
fn overrides(
    variables: impl Iterator<Item = (OsString, OsString)>,
    notes: &mut Notes,
) -> config::Environment {
    let mut overrides = Map::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else {
            continue;
        };
        if let Some(problem) = problem(&name) {
            notes.add_variable(&name, problem);
        } else if let Some(keys) = name.strip_prefix(PREFIX) {
            let keys = keys.to_ascii_lowercase().replace("__", ".");
            notes.overridden.push(keys);
            match value.into_string() {
                Ok(value) => drop(overrides.insert(name, value)),
                Err(_) => notes.add_variable(&name, "its value is not UTF-8 text"),
            }
        }
    }
    config::Environment::with_prefix("OFFHOOK")
        .prefix_separator("__")
        .separator("__")
        .source(Some(overrides))
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
    if known && keys.len() > 2 {
        let key = keys.join(".").to_ascii_lowercase();
        return Some(format!(
            "{key} is unknown here: only the keys of a section can be overridden, and this is deeper: set it in the file"
        ));
    }
    let sections = SECTIONS.map(str::to_uppercase).join(", ");
    let text = format!("unknown; it is OFFHOOK__SECTION__KEY with a section of: {sections}");
    let good = known && keys.len() == 2 && !keys[1].is_empty();
    (!good).then_some(text)
}

/// The longest settings file, in bytes.
pub(crate) const MAX_FILE: u64 = 16 * 1024 * 1024;

const PREFIX: &str = "OFFHOOK__";
const SECTIONS: [&str; 7] = [
    "server", "admin", "log", "refused", "journal", "dispatch", "relay",
];
const LISTS: [&str; 4] = ["sources", "handlers", "subscriptions", "gateways"];
