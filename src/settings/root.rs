//! [`Settings`]: everything a server needs to know.

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
use crate::signature::encode_hex;

/// Everything a server needs to know, validated.
///
/// Two settings are equal when all of them are, secrets too. Serialized, they hold no secret.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
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
    /// Tells whether two servers run on the same settings: 16 hexadecimal digits, a hash of all of them
    /// but the secrets, which could be guessed from it.
    pub fn fingerprint(&self) -> String {
        let written = serde_json::to_vec(self).expect("texts, numbers and lists can be written");
        let hasher = Sha256::new().chain_update(written);
        // A query may be a token and is not written, but another one is another place.
        let urls = self.subscriptions.iter().map(|one| &one.webhook_url);
        let hasher = urls.fold(hasher, |hasher, url| hasher.chain_update(url));
        encode_hex(&hasher.finalize()[..8])
    }

    /// The same settings with what handlers and subscriptions leave to `[dispatch]`, `[relay]` and the
    /// defaults filled in.
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

    /// Reads what is there over these settings.
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
