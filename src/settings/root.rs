//! [`Settings`]: all settings of a server.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::gateways::{self, GatewaySettings, gateway};
use super::handlers::{HandlerSettings, handler};
use super::journal::JournalSettings;
use super::listeners::{AdminSettings, ServerSettings};
use super::sources::source;
use super::spot::{Keys as _, Spot};
use super::subscriptions::subscription;
use super::{dispatch, relay};
use crate::Source;
use crate::dispatch::{DEFAULT_CONCURRENCY, DEFAULT_TIMEOUT, HandlerOptions};
use crate::relay::{RelaySettings, SubscriptionSettings};
use crate::signature::Encoding;

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

impl Settings {
    /// A hash of all settings, in 16 hexadecimal digits, to see whether two servers run with the same
    /// settings. Secrets are left out, because they could be guessed from the hash.
    pub fn fingerprint(&self) -> String {
        let written = serde_json::to_vec(self).expect("texts, numbers and lists can be written");
        let hasher = Sha256::new().chain_update(written);
        // A query may be a token and is not written, but a different query is a different place.
        let urls = self.subscriptions.iter().map(|one| &one.webhook_url);
        let hasher = urls.fold(hasher, |hasher, url| hasher.chain_update(url));
        Encoding::Hex.encode(&hasher.finalize()[..8])
    }

    /// These settings with every option of handlers and subscriptions filled in from `[dispatch]`,
    /// `[relay]` and the defaults.
    pub fn effective(&self) -> Self {
        let mut settings = self.clone();
        let filled = |options: &HandlerOptions, timeout| {
            let mut options = options.clone().or(&self.dispatch);
            options.order.get_or_insert_default();
            options.timeout = Some(timeout);
            options.concurrency.get_or_insert(DEFAULT_CONCURRENCY);
            options.retry.get_or_insert_default();
            options.monotonic.get_or_insert_default();
            options
        };
        for handler in &mut settings.handlers {
            let options = &handler.options;
            let timeout = options.timeout.or(self.dispatch.timeout);
            handler.options = filled(options, timeout.unwrap_or(DEFAULT_TIMEOUT));
        }
        for subscription in &mut settings.subscriptions {
            let options = &subscription.options;
            let timeout = options.timeout.unwrap_or(self.relay.options.timeout);
            subscription.options = filled(options, timeout);
        }
        settings
    }

    /// Reads the keys of a table. Keys that are absent leave these settings unchanged.
    pub(super) fn fill(&mut self, table: &Spot<'_>) {
        table.inside("server", |server| self.server.fill(server));
        table.inside("admin", |admin| {
            self.admin.get_or_insert_default().fill(admin);
        });
        table.inside("journal", |journal| self.journal.fill(journal));
        table.inside("dispatch", |options| {
            dispatch::fill(&mut self.dispatch, options);
        });
        self.sources.extend(list(table, "sources", source));
        self.handlers.extend(list(table, "handlers", handler));
        table.inside("relay", |relay| relay::fill(&mut self.relay, relay));
        self.subscriptions
            .extend(list(table, "subscriptions", subscription));
        self.gateways.extend(list(table, "gateways", gateway));
        gateways::hide_path_tokens(&mut self.gateways, &self.sources);
    }
}

/// The tables of a `[[key]]` list.
fn list<T>(table: &Spot<'_>, key: &'static str, kind: impl Fn(&Spot<'_>) -> Option<T>) -> Vec<T> {
    let example = format!("write [[{key}]]");
    let tables = table.read(key, |spot| spot.each(&example, kind));
    tables.unwrap_or_default()
}
