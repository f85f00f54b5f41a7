//! From settings.toml and the environment to validated [`Settings`].
//!
//! Reading goes in three steps: the `config` crate merges the file and the `OFFHOOK__…` variables
//! into one tree; `read` takes the tree apart, key by key, and notes every problem instead of
//! stopping at the first; `check` judges what only the whole can tell (two sources on one path, an
//! admin address that is open to the world). Nothing starts while there is a problem.

mod check;
mod environment;
mod gateways;
mod handlers;
mod journal;
mod listeners;
mod problem;
mod read;
mod relay;
mod sources;
mod subscriptions;
mod summary;

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use crate::Source;
use crate::dispatch::HandlerOptions;
use crate::signature::encode_hex;

pub use crate::error::{Problem, Problems};
pub use crate::relay::{RelaySettings, SubscriptionSettings};
pub use check::DOCUMENTED_KEY;
pub(crate) use check::same_handler;
pub use gateways::GatewaySettings;
pub use handlers::{HandlerSettings, Use};
pub use journal::JournalSettings;
pub use listeners::{AdminSettings, ServerSettings};
pub use summary::SubscriptionSummary;
pub use summary::{
    AdminSummary, GatewaySummary, HandlerSummary, LimitsSummary, SourceSummary, Summary, UseSummary,
};

use problem::Notes;
use read::{Place, Table};

/// Everything a server needs to know, validated.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Settings {
    /// `[server]`: the public listener.
    pub server: ServerSettings,
    /// `[admin]`: the admin listener; `None` for none.
    pub admin: Option<AdminSettings>,
    /// `[[sources]]`: who may send.
    pub sources: Vec<Source>,
    /// `[journal]`: whether events are kept.
    pub journal: JournalSettings,
    /// `[dispatch]`: what handlers want where they do not say it themselves.
    pub dispatch: HandlerOptions,
    /// `[[handlers]]`: the ready-made handlers to run.
    pub handlers: Vec<HandlerSettings>,
    /// `[relay]`: what holds for every subscriber.
    pub relay: RelaySettings,
    /// `[[subscriptions]]`: the subscribers that cannot be changed over the API.
    pub subscriptions: Vec<SubscriptionSettings>,
    /// `[[gateways]]`: who is told our public URL when a server starts.
    pub gateways: Vec<GatewaySettings>,
}

impl Settings {
    /// Reads a settings file and the environment's `OFFHOOK__…` overrides.
    ///
    /// # Errors
    ///
    /// Every problem there is, not only the first.
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

    /// Applies the environment's `OFFHOOK__…` overrides to settings made in code.
    ///
    /// # Errors
    ///
    /// Every problem there is, not only the first.
    pub fn with_environment(self) -> Result<Self, Problems> {
        let no_file: Option<config::File<config::FileSourceString, config::FileFormat>> = None;
        Self::from_source(no_file, "the settings", self, std::env::vars_os())
    }

    fn from_source(
        file: Option<impl config::Source + Send + Sync + 'static>,
        shown: &str,
        defaults: Self,
        environment: impl Iterator<Item = (std::ffi::OsString, std::ffi::OsString)>,
    ) -> Result<Self, Problems> {
        let notes = Notes::default();
        let overrides = environment::overrides(environment, &notes);
        let mut builder = config::Config::builder();
        if let Some(file) = file {
            builder = builder.add_source(file);
        }
        let merged = builder.add_source(overrides).build();
        let root = match merged.map(|merged| merged.cache) {
            Ok(root) => root,
            Err(error) => {
                return Err(Problems::one(Problem {
                    place: shown.to_owned(),
                    text: parse_error(&error),
                }));
            }
        };
        let place = Place::root(shown);
        let settings = match Table::of(&place, &root, &notes) {
            Some(table) => Self::read(&table, defaults),
            None => defaults,
        };
        notes.and(settings.check(shown))?;
        Ok(settings)
    }

    fn read(table: &Table<'_>, mut settings: Self) -> Self {
        if let Some(server) = table.table("server") {
            settings.server.read(&server);
        }
        if let Some(admin) = table.table("admin") {
            settings.admin.get_or_insert_default().read(&admin);
        }
        if let Some(journal) = table.table("journal") {
            settings.journal.read(&journal);
        }
        if let Some(dispatch) = table.table("dispatch") {
            settings.dispatch = handlers::read_dispatch(&dispatch, settings.dispatch);
        }
        for source in table.tables("sources") {
            settings.sources.extend(sources::read(&source));
        }
        for handler in table.tables("handlers") {
            settings.handlers.extend(handlers::read(&handler));
        }
        settings.read_relay(table);
        for gateway in table.tables("gateways") {
            settings.gateways.extend(gateways::read(&gateway));
        }
        gateways::hide_path_tokens(&mut settings);
        table.finish();
        settings
    }

    fn read_relay(&mut self, table: &Table<'_>) {
        if let Some(relay) = table.table("relay") {
            relay::read(&mut self.relay, &relay);
        }
        for subscription in table.tables("subscriptions") {
            self.subscriptions
                .extend(subscriptions::read(&subscription));
        }
    }

    /// Tells whether two servers run on the same settings: a hash of all of them, secrets left out.
    pub fn fingerprint(&self) -> String {
        // `Debug` shows everything but what hides itself, and that is secrets.
        let shown = format!("{self:?}");
        let hasher = Sha256::new().chain_update(shown);
        // A query is hidden too, but another one is another place.
        let hasher = self
            .subscriptions
            .iter()
            .fold(hasher, |hasher, one| hasher.chain_update(&one.webhook_url));
        encode_hex(&hasher.finalize()[..8])
    }
}

/// Why a path is no settings file, and what one is.
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

fn with_admin() -> Settings {
    Settings {
        admin: Some(AdminSettings::default()),
        ..Settings::default()
    }
}

/// The parser's words on one line. The line of the file it shows is left out: it may hold a secret.
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

#[cfg(test)]
mod tests;
