//! [`Registry`]: all subscriptions, those of the settings and those that the API registered.
//!
//! Each subscription is a document of the journal, and a consumer made from it. A change writes the
//! document first, so after a crash at any moment the documents are right. Changes are made one after
//! the other. A new subscription starts from now. One that is changed, or inactive for a while, goes on
//! where it was, as far as events are still retained. Once a removal has returned, nothing is sent for
//! the subscription.
//!
//! Those of the settings have a document too, for what the settings cannot know: when each was first
//! seen, and whether its subscriber has ended it. The end holds until the settings give another URL or
//! other events, and so does a suspension.

mod apply;
mod change;
mod consumer;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;

use super::subscription::{Subscription, SubscriptionKey};
use super::{Guard, RelayClient, RelayOptions};
use crate::clock::Clock;
use crate::dispatch::{ConsumerControls, HandlerOptions, Suspended};
use crate::engine::Pipeline;
use crate::telemetry::Metrics;

pub(crate) use change::{ChangeError, SubscriptionChange, WantedSubscription};

/// All subscriptions and their consumers.
pub(crate) struct Registry {
    pipeline: Arc<Pipeline>,
    /// The client of subscriptions without a timeout of their own.
    client: RelayClient,
    /// The clients of the others, by their timeout.
    clients: BTreeMap<Duration, RelayClient>,
    options: RelayOptions,
    suspend_after: Duration,
    dispatch: HandlerOptions,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Held during a change.
    changes: tokio::sync::Mutex<()>,
    all: Mutex<BTreeMap<SubscriptionKey, RegisteredSubscription>>,
}

/// One subscription as it is now.
#[derive(Debug, Clone)]
pub(crate) struct RegisteredSubscription {
    pub(crate) subscription: Subscription,
    /// The options that the settings give it, if they define it. The API cannot change it then.
    defined: Option<HandlerOptions>,
    /// Whether the subscriber has answered 410 to its consumer. Each consumer has a flag of its own, so
    /// that the end of an old one does not end the one that has replaced it.
    gone: Arc<AtomicBool>,
}

impl Registry {
    /// Decides where events may be sent.
    pub(crate) fn guard(&self) -> &Guard {
        self.client.guard()
    }

    /// The subscriptions to a session (`*` is the one for all sessions), or every one, ordered by key.
    pub(crate) fn list(&self, session: Option<&str>) -> Vec<RegisteredSubscription> {
        self.lock()
            .iter()
            .filter(|(key, _)| session.is_none_or(|session| key.session() == session))
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// For each of these, since when and why it is suspended; `None` if it is not.
    pub(crate) async fn suspended(
        &self,
        entries: &[RegisteredSubscription],
    ) -> Vec<Option<Suspended>> {
        let consumers: HashMap<String, ConsumerControls> = self
            .pipeline
            .consumers()
            .into_iter()
            .map(|consumer| (consumer.name().to_owned(), consumer))
            .collect();
        let asked = entries.iter().map(async |entry| {
            let consumer = consumers.get(&entry.subscription.key.consumer())?;
            consumer.status().await?.suspended
        });
        join_all(asked).await
    }

    fn get(&self, key: &SubscriptionKey) -> Option<RegisteredSubscription> {
        self.lock().get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SubscriptionKey, RegisteredSubscription>> {
        // No panic can leave the map half-changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RegisteredSubscription {
    fn new(subscription: Subscription, defined: Option<HandlerOptions>) -> Self {
        Self {
            subscription,
            defined,
            gone: Arc::default(),
        }
    }

    /// Whether the settings define it. The API cannot change it then.
    pub(crate) fn is_defined(&self) -> bool {
        self.defined.is_some()
    }
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// The prefix of the documents of subscriptions that the API registered.
const REGISTERED: &str = "subscription/";

/// The prefix of the documents of subscriptions that the settings define.
const DEFINED: &str = "defined-subscription/";

/// How many subscriptions there can be.
const MAX_SUBSCRIPTIONS: usize = 10_000;
