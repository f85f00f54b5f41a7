//! [`Registry`]: all subscriptions, those of the settings and those of the API.
//!
//! Each is a document of the journal first and a consumer then, so whatever the process is killed
//! in the middle of, the documents are the truth when it starts again. Changes come one after the
//! other. A new subscription starts from now; one that is changed, or not active for a while, goes on
//! where it was, as far as events are still kept; nothing is sent for one that is removed once the
//! removal has returned.
//!
//! Those of the settings have a document too, for what the settings cannot know: since when there is
//! one, and whether the subscriber has ended it. It holds until the settings give another URL or
//! other events, and so does a suspension.

mod change;
mod consumer;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::subscription::{Key, Subscription};
use super::{Guard, RelayClient, RelayOptions};
use crate::clock::Clock;
use crate::dispatch::{Controls, HandlerOptions, Suspended};
use crate::engine::Pipeline;
use crate::telemetry::Metrics;

pub(crate) use change::{Change, ChangeError, Wanted};

/// All subscriptions, and the consumers they are.
pub(crate) struct Registry {
    pipeline: Arc<Pipeline>,
    /// The client of those without a timeout of their own.
    client: RelayClient,
    clients: BTreeMap<Duration, RelayClient>,
    options: RelayOptions,
    suspend_after: Duration,
    dispatch: HandlerOptions,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Changes come one after the other.
    changes: tokio::sync::Mutex<()>,
    all: Mutex<BTreeMap<Key, Entry>>,
}

/// One subscription as it is now.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) subscription: Subscription,
    /// What settings.toml says of it, which the API cannot change.
    defined: Option<HandlerOptions>,
    /// Whether its consumer was told that the subscriber is gone. Each consumer has one of its own, so
    /// what an old one hears does not touch a new one.
    gone: Arc<AtomicBool>,
}

impl Registry {
    /// What registration asks where events may be sent.
    pub(crate) fn guard(&self) -> &Guard {
        self.client.guard()
    }

    /// Those to a session (`*` is the one for all), or every one; in the order of their keys.
    pub(crate) fn list(&self, session: Option<&str>) -> Vec<Entry> {
        let all = self.lock();
        let entries = all
            .iter()
            .filter(|(key, _)| session.is_none_or(|session| key.session() == session));
        entries.map(|(_, entry)| entry.clone()).collect()
    }

    /// Which of these are suspended, since when and why.
    pub(crate) async fn suspended(&self, entries: &[Entry]) -> Vec<Option<Suspended>> {
        let consumers = self.pipeline.consumers().into_iter();
        let consumers: HashMap<String, Controls> = consumers
            .map(|consumer| (consumer.name().to_owned(), consumer))
            .collect();
        let asked = entries.iter().map(async |entry| {
            let consumer = consumers.get(&entry.subscription.key.consumer())?;
            consumer.status().await?.suspended
        });
        futures_util::future::join_all(asked).await
    }

    fn get(&self, key: &Key) -> Option<Entry> {
        self.lock().get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        // Nothing here can leave the map half-changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn new(subscription: Subscription, defined: Option<HandlerOptions>) -> Self {
        Self {
            subscription,
            defined,
            gone: Arc::default(),
        }
    }

    /// Whether settings.toml has it, and only settings.toml can change it.
    pub(crate) fn is_defined(&self) -> bool {
        self.defined.is_some()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// Where the documents of the API's subscriptions are.
const KEPT: &str = "subscription/";

/// Where the documents of the settings' subscriptions are.
const DEFINED: &str = "defined-subscription/";

/// How many subscriptions there can be.
const MAX_SUBSCRIPTIONS: usize = 10_000;
