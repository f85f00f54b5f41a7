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

mod change;
mod follow;
mod reload;
mod start;
mod test_post;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use tokio::time::timeout;

use super::subscription::{Ended, Subscription, SubscriptionKey, shown};
use super::{Guard, RejectedAddress, Relay, RelayClient, RelaySettings, SubscriptionHeaders};
use crate::clock::Clock;
use crate::dispatch::{Consumer, ConsumerControls, ConsumerStatus, HandlerOptions};
use crate::engine::{Backlog, Pipeline, Wanted};
use crate::escape_controls;
use crate::journal::{AddError, Among, Expected, PutError, Unavailable, Version};
use crate::signature::Secrets;
use crate::telemetry::Metrics;

pub(crate) use change::{ChangeError, SubscriptionChange};
pub(crate) use reload::NextRelay;
pub(crate) use test_post::{TestBusy, TestPost};

/// All subscriptions and their consumers.
pub(crate) struct Registry {
    pipeline: Arc<Pipeline>,
    live: ArcSwap<Live>,
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    /// Held during a change.
    changes: tokio::sync::Mutex<()>,
    all: Mutex<BTreeMap<SubscriptionKey, RegisteredSubscription>>,
    /// Those to which a test is sent now.
    tested: Mutex<BTreeSet<SubscriptionKey>>,
}

/// What the settings say for all subscriptions.
struct Live {
    settings: RelaySettings,
    /// The client of subscriptions without a timeout of their own.
    client: Arc<RelayClient>,
    /// The clients of the others, by their timeout.
    clients: BTreeMap<Duration, Arc<RelayClient>>,
    dispatch: HandlerOptions,
}

/// A subscription, as a start of the server tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayedTo {
    /// Its name.
    pub name: String,
    /// The session whose events it gets; `*` for all.
    pub session: String,
    /// Where they are sent, without parts that may be tokens.
    pub url: String,
    /// Whether the settings define it; otherwise the journal has it.
    pub is_defined: bool,
    /// Whether events are sent.
    pub state: RelayState,
}

/// Whether the events of a subscription are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelayState {
    /// They are.
    Active,
    /// They wait, because a user or the subscriber has ended it.
    Inactive,
    /// They wait, because its address may not be posted to.
    Rejected,
}

/// One subscription as it is now.
#[derive(Debug, Clone)]
pub(crate) struct RegisteredSubscription {
    pub(crate) subscription: Subscription,
    /// The options that the settings give it, if they define it.
    defined: Option<HandlerOptions>,
    /// Whether the subscriber has answered 410 to its consumer. Each consumer has a flag of its own, so
    /// that the end of an old one does not end the one that has replaced it.
    gone: Arc<AtomicBool>,
    /// The version of its document, as far as this instance knows it; 0 without one.
    version: Version,
    /// Why the guard, which stays the same until the next reload, does not let anything be sent to its URL.
    rejected: Option<Arc<RejectedAddress>>,
}

impl RegisteredSubscription {
    fn new(subscription: Subscription, defined: Option<HandlerOptions>, guard: &Guard) -> Self {
        Self {
            rejected: guard.check(&subscription.url).err().map(Arc::new),
            subscription,
            defined,
            gone: Arc::default(),
            version: 0,
        }
    }

    /// Whether it has a consumer: it is active, and its URL may be posted to.
    pub(crate) fn has_consumer(&self) -> bool {
        self.subscription.active && self.rejected.is_none()
    }

    /// Why nothing is sent though it is active: its URL may not be posted to, because `[relay]` has changed since
    /// it was registered. Its events wait.
    pub(crate) fn rejected(&self) -> Option<&RejectedAddress> {
        self.rejected.as_deref()
    }

    /// Whether the settings define it. The API cannot change it then.
    pub(crate) fn is_defined(&self) -> bool {
        self.defined.is_some()
    }
}

impl Registry {
    pub(crate) fn guard(&self) -> Guard {
        self.live.load().client.guard().clone()
    }

    /// The subscriptions to a session (`*` is the one for all sessions), or every one, ordered by key.
    pub(crate) fn list(&self, session: Option<&str>) -> Vec<RegisteredSubscription> {
        self.lock()
            .iter()
            .filter(|(key, _)| session.is_none_or(|session| key.session() == session))
            .map(|(_, entry)| entry.clone())
            .collect()
    }

    /// What a user who starts the server should know of all subscriptions.
    pub(crate) fn summary(&self) -> Vec<RelayedTo> {
        let entries = self.list(None).into_iter();
        let summary = entries.map(|entry| {
            let subscription = &entry.subscription;
            let state = if !subscription.active {
                RelayState::Inactive
            } else if entry.rejected().is_some() {
                RelayState::Rejected
            } else {
                RelayState::Active
            };
            RelayedTo {
                name: subscription.key.name().to_owned(),
                session: subscription.key.session().to_owned(),
                url: shown(&subscription.url),
                is_defined: entry.is_defined(),
                state,
            }
        });
        summary.collect()
    }

    /// The state of each of these consumers; `None` if it does not run, or cannot be asked.
    pub(crate) async fn statuses(
        &self,
        entries: &[RegisteredSubscription],
    ) -> Vec<Option<ConsumerStatus>> {
        let consumers = self.pipeline.consumers().into_iter();
        let consumers: HashMap<String, ConsumerControls> = consumers
            .map(|consumer| (consumer.name().to_owned(), consumer))
            .collect();
        let asked = entries.iter().map(async |entry| {
            let consumer = consumers.get(&entry.subscription.key.consumer())?;
            consumer.status().await
        });
        join_all(asked).await
    }

    /// Returns what waits for each of these subscriptions, whose consumers do not run. `None` where that is not
    /// known in time, and where it needs the index while that does not have all events.
    ///
    /// # Errors
    ///
    /// When the journal or the index cannot be read now.
    pub(crate) async fn backlogs(
        &self,
        entries: &[RegisteredSubscription],
    ) -> Result<Vec<Option<Backlog>>, Unavailable> {
        let mut known = Vec::with_capacity(entries.len());
        let asked = async {
            // The wait is for all of them together.
            let is_indexed = match entries {
                [] => true,
                _ => self.pipeline.is_indexed().await,
            };
            for Subscription { key, events, .. } in entries.iter().map(|entry| &entry.subscription)
            {
                let wanted = Wanted {
                    session: Some(key.session()).filter(|session| *session != "*"),
                    kinds: events.as_ref(),
                };
                let backlog = match is_indexed || wanted.is_all() {
                    true => Some(self.pipeline.backlog(&key.consumer(), &wanted).await?),
                    false => None,
                };
                known.push(backlog);
            }
            Ok(())
        };
        if let Ok(Err(error)) = timeout(LONGEST_COUNT, asked).await {
            return Err(error);
        }
        known.resize_with(entries.len(), || None);
        Ok(known)
    }

    fn consumer(self: &Arc<Self>, entry: &RegisteredSubscription) -> Consumer {
        let subscription = &entry.subscription;
        let live = self.live.load();
        let (options, client) = live.options(entry);
        let relay = Relay::with_client(subscription.url.clone(), &subscription.secrets, client)
            .headers(subscription.headers.clone())
            .consumer(subscription.key.consumer())
            .on_gone(self.ending(entry));
        let (relay, clock) = (Arc::new(relay), Arc::clone(&self.clock));
        Consumer::new(
            subscription.key.consumer(),
            relay,
            options,
            &self.metrics,
            clock,
        )
        .with_grace(TIMEOUT_MARGIN)
    }

    /// What the consumer of this subscription calls when the subscriber has answered 410.
    fn ending(self: &Arc<Self>, entry: &RegisteredSubscription) -> Arc<dyn Fn(&str) + Send + Sync> {
        let (registry, gone) = (Arc::downgrade(self), Arc::clone(&entry.gone));
        let key = entry.subscription.key.clone();
        Arc::new(move |reason| {
            gone.store(true, Ordering::SeqCst);
            if let Some(registry) = registry.upgrade() {
                let (key, gone, reason) = (key.clone(), Arc::clone(&gone), reason.to_owned());
                // A task of its own, because an attempt of the consumer calls this, and must not wait
                // for the end of its consumer.
                tokio::spawn(async move { registry.end(&key, &gone, reason).await });
            }
        })
    }

    /// Ends a subscription because its subscriber has answered 410, unless it was replaced since.
    async fn end(self: &Arc<Self>, key: &SubscriptionKey, gone: &Arc<AtomicBool>, reason: String) {
        let _one_at_a_time = self.changes.lock().await;
        let Some(mut entry) = self.get(key) else {
            return;
        };
        let was_replaced = !Arc::ptr_eq(&entry.gone, gone);
        if was_replaced || !entry.subscription.active {
            return;
        }
        let at = self.clock.now();
        log::warn!(
            "subscription {key} has ended: {}; its further events wait, and `offhook consumers resume '{}'` lets it \
             go on",
            escape_controls(&reason),
            key.consumer()
        );
        entry.subscription.active = false;
        entry.subscription.updated_at = at;
        entry.subscription.ended = Some(Ended { at, reason });
        self.insert(entry.clone());
        // The consumer is stopped before the document is written: it must send nothing more, and if the
        // document is lost, the subscriber answers 410 again.
        self.pipeline.stop_consumer(&key.consumer()).await;
        match self.save(&entry).await {
            Ok(version) => {
                entry.version = version;
                self.insert(entry);
            }
            // What another instance has changed meanwhile counts; it is followed.
            Err(PutError::Conflict) => {
                entry.version = 0;
                self.insert(entry);
                if let Err(error) = self.apply_stored_now().await {
                    log::warn!(
                        "subscription {key}: another instance has changed it, which waits: {error}"
                    );
                }
            }
            Err(error) => {
                log::warn!(
                    "subscription {key}: its end is not stored, so it may start again: {error}"
                );
            }
        }
    }

    /// Ends the suspension of a subscription, if it is suspended. An administrator's pause stays.
    async fn end_suspension(&self, key: &SubscriptionKey) {
        let Some(consumer) = self.controls(&key.consumer()) else {
            return;
        };
        let status = consumer.status().await;
        if status.is_some_and(|status| status.suspended.is_some() && !status.paused) {
            // A consumer that has ended in between is not suspended any more either.
            let _ = consumer.pause(false).await;
        }
    }

    /// The controls of the consumer with this name, if it runs.
    fn controls(&self, consumer: &str) -> Option<ConsumerControls> {
        let mut consumers = self.pipeline.consumers().into_iter();
        consumers.find(|one| one.name() == consumer)
    }

    fn get(&self, key: &SubscriptionKey) -> Option<RegisteredSubscription> {
        self.lock().get(key).cloned()
    }

    fn insert(&self, entry: RegisteredSubscription) {
        self.lock().insert(entry.subscription.key.clone(), entry);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<SubscriptionKey, RegisteredSubscription>> {
        // No panic can leave the map half-changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the document of a subscription. Returns its version.
    async fn save(&self, entry: &RegisteredSubscription) -> Result<Version, PutError> {
        let mut stored = entry.subscription.clone();
        let mut prefix = REGISTERED;
        if entry.is_defined() {
            // Its secrets and its headers stay in the settings.
            stored.secrets = Secrets::default();
            stored.headers = SubscriptionHeaders::default();
            prefix = DEFINED;
        }
        let name = stored.key.document(prefix);
        self.put(&name, Some(stored.to_document()), entry.version)
            .await
    }

    /// Writes the document of a subscription that is new to all instances, and has its consumer start from now. Returns
    /// its version.
    async fn add(&self, entry: &RegisteredSubscription) -> Result<Version, AddError> {
        let Subscription { key, .. } = &entry.subscription;
        let document = entry.subscription.to_document();
        let defined = self.lock().values().filter(|one| one.is_defined()).count();
        let among = Among {
            prefix: REGISTERED,
            most: MAX_SUBSCRIPTIONS.saturating_sub(defined),
        };
        let name = key.document(REGISTERED);
        self.pipeline
            .add_document(&name, among, document, &key.consumer())
            .await
    }

    /// Writes a document, or removes it if the document is `None`. On a single machine changes run one after the
    /// other, so it has not changed since it was read; another instance may have changed it.
    async fn put(
        &self,
        name: &str,
        document: Option<Vec<u8>>,
        version: Version,
    ) -> Result<Version, PutError> {
        let journal = self.pipeline.journal();
        let expected = match (self.pipeline.is_shared(), version) {
            (false, _) => Expected::Anything,
            (true, 0) => Expected::Absent,
            (true, version) => Expected::Version(version),
        };
        journal.put_document(name, document, expected).await
    }
}

impl Live {
    /// The options of a subscription's consumer, and the client that it sends with.
    fn options(&self, entry: &RegisteredSubscription) -> (HandlerOptions, &Arc<RelayClient>) {
        let subscription = &entry.subscription;
        let mut options = entry.defined.clone().unwrap_or_default();
        let timeout = options.timeout.unwrap_or(self.settings.options.timeout);
        options.timeout = Some(timeout);
        options = options
            .sessions([subscription.key.session()])
            .or(&self.dispatch);
        options.events.clone_from(&subscription.events);
        options.suspend_after = Some(self.settings.suspend_after);
        (options, self.clients.get(&timeout).unwrap_or(&self.client))
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").finish_non_exhaustive()
    }
}

/// The prefix of the documents of subscriptions that the API registered.
const REGISTERED: &str = "subscription/";

/// The prefix of the documents of subscriptions that the settings define.
const DEFINED: &str = "defined-subscription/";

/// How much longer a consumer waits than its relay, whose own error says more about a timeout.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);

/// How long what waits for subscriptions is counted for one answer.
const LONGEST_COUNT: Duration = Duration::from_secs(3);

/// How many subscriptions there can be.
const MAX_SUBSCRIPTIONS: usize = 10_000;
