//! Reads settings.toml and the environment into validated [`Settings`].
//!
//! 1. `load.rs`: the `config` crate merges the file and the `OFFHOOK__…` variables into one tree.
//! 2. One file for the sections of each subject (`sections.rs`, `sources.rs`, …): the settings as plain
//!    data, and which key sets which field. `spot.rs` derives the reading from these lists. `kinds.rs`
//!    says how each kind of value is written and which values are allowed.
//! 3. `check.rs`: checks that need all settings together, such as two sources on one path, or an admin
//!    listener without a token on a public address.
//!
//! What must hold: every problem is reported, not only the first, with its place, what was found and what
//! is allowed (`spot.rs`); no message shows what may be a secret; nothing starts while there is a problem.

mod certificate;
mod check;
mod files;
mod gateways;
mod handlers;
mod journal;
mod kinds;
mod load;
mod relay;
mod sections;
mod shown;
mod sources;
mod spot;
#[cfg(test)]
mod tests;
mod tls;
mod warnings;

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::Source;
use crate::dispatch::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, HandlerOptions};
use crate::signature::Encoding;
use gateways::{gateway, hide_path_tokens};
use handlers::handler;
use relay::subscription;
use sources::source;
use spot::{Keys, Spot};

pub use crate::error::{Problem, Problems};
pub use crate::refused::RefusedSettings;
pub use crate::relay::{RelaySettings, SubscriptionSettings};
pub use crate::signature::DOCUMENTED_KEY;
pub use crate::telemetry::{LogFormat, LogSettings};
pub(crate) use certificate::{Certificate, Certificates};
pub use gateways::GatewaySettings;
pub use handlers::{HandlerSettings, Use};
pub(crate) use journal::KeptSettings;
pub use journal::{DatabaseTls, Durability, JournalSettings, PostgresSettings, SqliteSettings};
pub(crate) use load::MAX_FILE;
pub use sections::{AdminSettings, ServerSettings, ShowBodies};
pub use tls::{TlsSettings, TlsVersion};

/// All settings of a server, validated.
///
/// Two settings are equal if all values are equal, secrets included. Serialized settings hold no
/// secrets.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Settings {
    /// `[server]`: the public listener.
    pub server: ServerSettings,
    /// `[admin]`: the admin listener; `None` turns it off.
    pub admin: Option<AdminSettings>,
    /// `[log]`: the lines on standard error.
    pub log: LogSettings,
    /// `[refused]`: the refused requests that are kept in memory.
    pub refused: RefusedSettings,
    /// `[[sources]]`: who may send. Default: none.
    pub sources: Vec<Source>,
    /// `[journal]`: whether and where events are stored.
    pub journal: JournalSettings,
    /// `[dispatch]`: the defaults of handlers and subscriptions.
    pub dispatch: HandlerOptions,
    /// `[[handlers]]`: the ready-made handlers. Default: none.
    pub handlers: Vec<HandlerSettings>,
    /// `[relay]`: the settings for every subscriber.
    pub relay: RelaySettings,
    /// `[[subscriptions]]`: the subscriptions that the API cannot change. Default: none.
    pub subscriptions: Vec<SubscriptionSettings>,
    /// `[[gateways]]`: the gateways that are told our public URL at the start. Default: none.
    pub gateways: Vec<GatewaySettings>,
}

impl Keys for Settings {
    fn fill(&mut self, table: &Spot<'_>) {
        table.section("server", &mut self.server);
        // The section turns the admin listener on.
        table.read("admin", |spot| {
            spot.table(|admin| self.admin.get_or_insert_default().fill(admin))
        });
        table.section("log", &mut self.log);
        table.section("refused", &mut self.refused);
        table.section("journal", &mut self.journal);
        table.section("dispatch", &mut self.dispatch);
        table.section("relay", &mut self.relay);
        table.list("sources", &mut self.sources, source);
        table.list("handlers", &mut self.handlers, handler);
        table.list("subscriptions", &mut self.subscriptions, subscription);
        table.list("gateways", &mut self.gateways, gateway);
        hide_path_tokens(&mut self.gateways, &self.sources);
    }
}

impl Settings {
    /// A hash of all settings, in 16 hexadecimal digits, to see whether two servers run with the same
    /// settings. Secrets are left out, because they could be guessed from the hash, and so is what is in the files
    /// that the settings name.
    ///
    /// Instances that share a database differ in their addresses, `journal.instance` and `journal.path`, which
    /// are left out with that engine.
    pub fn fingerprint(&self) -> String {
        let mut shared = self.clone();
        if let JournalSettings::Postgres(postgres) = &mut shared.journal {
            postgres.instance.clear();
            postgres.path = "data".into();
            shared.server.bind = ServerSettings::default().bind;
            if let Some(admin) = &mut shared.admin {
                admin.bind = AdminSettings::default().bind;
            }
        }
        let written = serde_json::to_vec(&shared).expect("texts, numbers and lists can be written");
        let mut hasher = Sha256::new_with_prefix(written);
        // A query may be a token and is not written, but a different query is a different place.
        for subscription in &self.subscriptions {
            hasher.update(&subscription.webhook_url);
        }
        Encoding::Hex.encode(&hasher.finalize()[..8])
    }

    /// These settings with every option of handlers and subscriptions filled in from `[dispatch]`,
    /// `[relay]` and the defaults.
    pub fn effective(&self) -> Self {
        let fill = |options: &mut HandlerOptions, timeout| {
            *options = options.clone().or(&self.dispatch);
            options.order.get_or_insert_default();
            options.timeout = Some(timeout);
            options.concurrency.get_or_insert(DEFAULT_CONCURRENCY);
            options.retry.get_or_insert_default();
            options.monotonic.get_or_insert_default();
        };
        let mut settings = self.clone();
        for HandlerSettings { options, .. } in &mut settings.handlers {
            let timeout = options.timeout.or(self.dispatch.timeout);
            fill(options, timeout.unwrap_or(DEFAULT_TIMEOUT));
        }
        for SubscriptionSettings { options, .. } in &mut settings.subscriptions {
            let timeout = options.timeout.unwrap_or(self.relay.options.timeout);
            fill(options, timeout);
        }
        settings
    }
}
