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
//! other events.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use url::Url;

use super::subscription::{Ended, Key, Subscription, without_query};
use super::{Guard, Relay, RelayClient, RelayError, RelayOptions};
use crate::clock::Clock;
use crate::dispatch::{Consumer, Controls, HandlerOptions, Suspended};
use crate::journal::Unavailable;
use crate::metrics::{ConsumerMetrics, Metrics};
use crate::records::Records;
use crate::settings::{RelaySettings, SubscriptionSettings};
use crate::signature::Secret;
use crate::{Error, EventKind, Timestamp, escape_controls};

/// All subscriptions, and the consumers they are.
pub(crate) struct Registry {
    records: Arc<Records>,
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
    /// Counts the consumers it has been, so that what an old one hears does not touch a new one.
    generation: u64,
}

/// What a subscription is to be.
pub(crate) struct Wanted {
    pub(crate) key: Key,
    pub(crate) url: Url,
    pub(crate) events: Option<BTreeSet<EventKind>>,
    pub(crate) secret: Option<Secret>,
    pub(crate) active: bool,
}

/// What is to be changed of a subscription.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) url: Option<Url>,
    pub(crate) events: Option<Option<BTreeSet<EventKind>>>,
    pub(crate) secret: Option<Option<Secret>>,
    pub(crate) active: Option<bool>,
}

/// Why subscriptions are not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("{0} is defined in settings.toml; change it there")]
    Defined(Key),
    #[error("there is no subscription {0}")]
    Unknown(Key),
    #[error("there are {MAX_SUBSCRIPTIONS} subscriptions, and there can be no more")]
    TooMany,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<Error> for ChangeError {
    fn from(error: Error) -> Self {
        Self::Unavailable(Unavailable(error.to_string()))
    }
}

impl Registry {
    /// Starts what the settings define and what the journal has kept.
    pub(crate) fn open(
        records: &Arc<Records>,
        relay: &RelaySettings,
        defined: Vec<SubscriptionSettings>,
        dispatch: &HandlerOptions,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let client = |timeout| {
            let options = RelayOptions {
                timeout,
                ..relay.options.clone()
            };
            RelayClient::with(options.guard(), &options, Arc::clone(clock)).map_err(Error::relay)
        };
        let own = defined.iter().filter_map(|one| one.options.timeout);
        let own = own.map(|timeout| Ok((timeout, client(timeout)?)));
        let registry = Arc::new(Self {
            client: client(relay.options.timeout)?,
            clients: own.collect::<Result<_, Error>>()?,
            records: Arc::clone(records),
            options: relay.options.clone(),
            suspend_after: relay.suspend_after,
            dispatch: dispatch.clone(),
            metrics: Arc::clone(metrics),
            clock: Arc::clone(clock),
            changes: tokio::sync::Mutex::default(),
            all: Mutex::default(),
        });
        let starting = Arc::clone(&registry);
        let started = records.wait_for(async move { starting.start(defined).await });
        started.ok_or_else(|| Error::journal("the threads that run handlers have ended"))??;
        Ok(registry)
    }

    async fn start(self: &Arc<Self>, defined: Vec<SubscriptionSettings>) -> Result<(), Error> {
        let _one = self.changes.lock().await;
        for one in defined {
            self.define(one).await?;
        }
        let journal = self.records.journal();
        let kept = journal.documents(KEPT).await.map_err(Error::journal)?;
        for (document, bytes) in kept {
            let subscription = match Subscription::from_document(&bytes) {
                Ok(subscription) => subscription,
                Err(error) => {
                    let name = escape_controls(&document);
                    log::error!(
                        "the document {name} is left out, so nobody gets its events: {error}"
                    );
                    continue;
                }
            };
            let key = subscription.key.clone();
            if self.get(&key).is_some() {
                log::warn!("subscription {key}: settings.toml defines it too, and that counts");
                continue;
            }
            self.lock().insert(key, Entry::new(subscription, None));
        }
        for entry in self.list(None) {
            if entry.subscription.active {
                self.records.add(self.consumer(&entry)).await?;
            }
        }
        Ok(())
    }

    /// Takes one of the settings in, with what is known of it from before.
    async fn define(&self, settings: SubscriptionSettings) -> Result<(), Error> {
        let now = self.clock.now();
        let key = Key::new(settings.session, settings.name).map_err(Error::relay)?;
        let url = self.client.guard().url(&settings.webhook_url);
        let mut subscription = Subscription {
            key,
            url: url.map_err(|refusal| Error::relay(RelayError::Url(refusal)))?,
            events: settings.options.events.clone(),
            secret: settings.secret,
            active: true,
            ended: None,
            created_at: now,
            updated_at: now,
        };
        let document = subscription.key.document(DEFINED);
        let known = self.records.journal().documents(&document).await;
        let mut known = known.map_err(Error::journal)?.into_iter();
        let known = known.find(|(name, _)| *name == document);
        let known = known.and_then(|(_, bytes)| Subscription::from_document(&bytes).ok());
        if let Some(known) = &known {
            subscription.created_at = known.created_at;
            if known.url == subscription.url && known.events == subscription.events {
                subscription.updated_at = known.updated_at;
                subscription.active = known.active;
                subscription.ended.clone_from(&known.ended);
            }
        }
        let entry = Entry::new(subscription, Some(settings.options));
        if known.is_none_or(|known| known.updated_at != entry.subscription.updated_at) {
            self.keep(&entry).await.map_err(Error::journal)?;
        }
        self.lock().insert(entry.subscription.key.clone(), entry);
        Ok(())
    }

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

    /// Sets a subscription whole; whether it is a new one. A new one starts from now, another goes on
    /// where it was.
    ///
    /// # Errors
    ///
    /// When the settings define it, there are too many, or the journal cannot keep it now.
    pub(crate) async fn set(
        self: &Arc<Self>,
        wanted: Wanted,
    ) -> Result<(Entry, bool), ChangeError> {
        let _one = self.changes.lock().await;
        let before = self.get(&wanted.key);
        let now = self.clock.now();
        let subscription = Subscription {
            key: wanted.key,
            url: wanted.url,
            events: wanted.events,
            secret: wanted.secret,
            active: wanted.active,
            ended: None,
            created_at: before
                .as_ref()
                .map_or(now, |entry| entry.subscription.created_at),
            updated_at: now,
        };
        match &before {
            Some(before) => before.changeable()?,
            None => {
                if self.lock().len() >= MAX_SUBSCRIPTIONS {
                    return Err(ChangeError::TooMany);
                }
                // One of its name may have been removed halfway, and left its progress.
                let consumer = subscription.key.consumer();
                self.records.journal().forget_consumer(&consumer).await?;
            }
        }
        let entry = self.put(before.as_ref(), subscription).await?;
        self.let_go_on(&entry).await;
        Ok((entry, before.is_none()))
    }

    /// Changes some of a subscription.
    ///
    /// # Errors
    ///
    /// When there is none, the settings define it, or the journal cannot keep it now.
    pub(crate) async fn change(
        self: &Arc<Self>,
        key: &Key,
        change: Change,
    ) -> Result<Entry, ChangeError> {
        let _one = self.changes.lock().await;
        let unknown = || ChangeError::Unknown(key.clone());
        let before = self.get(key).ok_or_else(unknown)?;
        before.changeable()?;
        let now = self.clock.now();
        let mut after = before.subscription.clone();
        after.url = change.url.unwrap_or(after.url);
        after.events = change.events.unwrap_or(after.events);
        after.secret = change.secret.unwrap_or(after.secret);
        after.activate(change.active);
        after.updated_at = now;
        let entry = self.put(Some(&before), after).await?;
        if change.active == Some(true) {
            self.let_go_on(&entry).await;
        }
        Ok(entry)
    }

    /// Ends its suspension, where it is suspended. A pause is the administrator's, and stays.
    async fn let_go_on(&self, entry: &Entry) {
        let name = entry.subscription.key.consumer();
        let mut consumers = self.records.consumers().into_iter();
        let Some(consumer) = consumers.find(|one| one.name() == name) else {
            return;
        };
        let status = consumer.status().await;
        if status.is_some_and(|status| status.suspended.is_some() && !status.paused) {
            // One that has ended in between is suspended no more either.
            let _ = consumer.pause(false).await;
        }
    }

    /// Which of these are suspended, since when and why.
    pub(crate) async fn suspended(&self, entries: &[Entry]) -> Vec<Option<Suspended>> {
        let consumers = self.records.consumers().into_iter();
        let consumers: HashMap<String, Controls> = consumers
            .map(|consumer| (consumer.name().to_owned(), consumer))
            .collect();
        let asked = entries.iter().map(async |entry| {
            let consumer = consumers.get(&entry.subscription.key.consumer())?;
            consumer.status().await?.suspended
        });
        futures_util::future::join_all(asked).await
    }

    /// Removes a subscription. When this returns nothing more is sent for it, and one of its name
    /// would be a new one. There need be none.
    ///
    /// # Errors
    ///
    /// When the settings define it, or the journal cannot forget it now.
    pub(crate) async fn remove(&self, key: &Key) -> Result<(), ChangeError> {
        let _one = self.changes.lock().await;
        if let Some(entry) = self.get(key) {
            entry.changeable()?;
            self.remove_one(key).await?;
        }
        Ok(())
    }

    /// Removes all of a session's, as [`Registry::remove`] does one.
    ///
    /// # Errors
    ///
    /// When the settings define one of them, and then none is removed, or when the journal cannot
    /// forget one now.
    pub(crate) async fn remove_all(&self, session: &str) -> Result<(), ChangeError> {
        let _one = self.changes.lock().await;
        let entries = self.list(Some(session));
        for entry in &entries {
            entry.changeable()?;
        }
        for entry in &entries {
            self.remove_one(&entry.subscription.key).await?;
        }
        Ok(())
    }

    async fn remove_one(&self, key: &Key) -> Result<(), ChangeError> {
        let journal = self.records.journal();
        journal.put_document(&key.document(KEPT), None).await?;
        self.lock().remove(key);
        if let Err(error) = self.records.remove(&key.consumer()).await {
            // It is stopped, and a new one of its name forgets the progress first.
            log::warn!("subscription {key}: its progress stays for now: {error}");
        }
        log::info!("subscription {key}: removed");
        Ok(())
    }

    /// Lets the subscription that is this consumer go on, where it is not active; `None` where there
    /// is no such subscription.
    ///
    /// # Errors
    ///
    /// When the journal cannot keep it now.
    pub(crate) async fn resume(
        self: &Arc<Self>,
        consumer: &str,
    ) -> Result<Option<()>, ChangeError> {
        let _one = self.changes.lock().await;
        let entries = self.list(None).into_iter();
        let mut named = entries.filter(|entry| entry.subscription.key.consumer() == consumer);
        let Some(before) = named.next().filter(|entry| !entry.subscription.active) else {
            return Ok(None);
        };
        let mut after = before.subscription.clone();
        after.activate(Some(true));
        after.updated_at = self.clock.now();
        self.put(Some(&before), after).await?;
        Ok(Some(()))
    }

    /// Keeps the subscription as it is to be, then lets its consumer be so.
    async fn put(
        self: &Arc<Self>,
        before: Option<&Entry>,
        subscription: Subscription,
    ) -> Result<Entry, ChangeError> {
        let key = subscription.key.clone();
        let consumer = key.consumer();
        let same = before.is_some_and(|before| {
            let was = &before.subscription;
            was.active && subscription.active && was.is_like(&subscription)
        });
        let consumers = self.records.consumers();
        let runs = consumers.iter().any(|one| one.name() == consumer);
        let untouched = same && runs;
        let generation = before.map_or(0, |before| before.generation);
        let entry = Entry {
            subscription,
            defined: before.and_then(|before| before.defined.clone()),
            generation: generation + u64::from(!untouched),
        };
        self.keep(&entry).await?;
        self.lock().insert(key.clone(), entry.clone());
        let url = without_query(&entry.subscription.url);
        match (entry.subscription.active, untouched) {
            (false, _) => {
                self.records.stop_consumer(&consumer).await;
                log::info!("subscription {key}: not active; nothing is sent to {url}");
                return Ok(entry);
            }
            (true, true) => return Ok(entry),
            (true, false) if runs => self.records.replace(self.consumer(&entry)).await?,
            (true, false) => self.records.add(self.consumer(&entry)).await?,
        }
        log::info!("subscription {key}: events go to {url}");
        Ok(entry)
    }

    /// Writes the document of what is so.
    async fn keep(&self, entry: &Entry) -> Result<(), Unavailable> {
        let key = &entry.subscription.key;
        let (name, document) = match entry.defined {
            None => (key.document(KEPT), entry.subscription.to_document()),
            Some(_) => {
                // The secret is where the settings say.
                let mut public = entry.subscription.clone();
                public.secret = None;
                (key.document(DEFINED), public.to_document())
            }
        };
        let journal = self.records.journal();
        journal.put_document(&name, Some(document)).await
    }

    /// The consumer that it is to be.
    fn consumer(self: &Arc<Self>, entry: &Entry) -> Consumer {
        let Subscription {
            key, url, secret, ..
        } = &entry.subscription;
        let own = entry.defined.clone().unwrap_or_default();
        let client = own.timeout.and_then(|timeout| self.clients.get(&timeout));
        let (told, gone, generation) = (Arc::downgrade(self), key.clone(), entry.generation);
        let relay = Relay::with_client(url.clone(), secret.clone(), client.unwrap_or(&self.client));
        let relay = relay.on_gone(Arc::new(move |reason: &str| {
            end_soon(&told, gone.clone(), generation, reason.to_owned());
        }));
        let timeout = own.timeout.unwrap_or(self.options.timeout);
        let mut options = own
            // The relay says itself, and better, when it was not done in time.
            .timeout(timeout.saturating_add(TIMEOUT_MARGIN))
            .sessions([key.session()])
            .or(&self.dispatch);
        options.events.clone_from(&entry.subscription.events);
        options.suspend_after = Some(self.suspend_after);
        let name = key.consumer();
        let counters = ConsumerMetrics::new(&self.metrics, &name);
        let clock = Arc::clone(&self.clock);
        Consumer::new(name, Arc::new(relay), options, counters, clock)
    }

    /// The subscriber has said that it wants no more.
    async fn end(&self, key: &Key, generation: u64, reason: String) {
        let _one = self.changes.lock().await;
        let Some(mut entry) = self.get(key) else {
            return;
        };
        if entry.generation != generation || !entry.subscription.active {
            return;
        }
        let at: Timestamp = self.clock.now();
        entry.subscription.active = false;
        entry.subscription.updated_at = at;
        log::warn!("subscription {key} has ended: {}", escape_controls(&reason));
        entry.subscription.ended = Some(Ended { at, reason });
        self.lock().insert(key.clone(), entry.clone());
        // Here the consumer comes first: the subscriber wants no more, and would say so again.
        self.records.stop_consumer(&key.consumer()).await;
        if let Err(error) = self.keep(&entry).await {
            log::warn!("subscription {key}: that it has ended may be forgotten: {error}");
        }
    }

    fn get(&self, key: &Key) -> Option<Entry> {
        self.lock().get(key).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Entry>> {
        // Nothing here can leave the map half-changed.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends a subscription from within an attempt of its consumer, which must not wait for its own end.
fn end_soon(registry: &Weak<Registry>, key: Key, generation: u64, reason: String) {
    let Some(registry) = registry.upgrade() else {
        return;
    };
    tokio::spawn(async move { registry.end(&key, generation, reason).await });
}

impl Entry {
    fn new(subscription: Subscription, defined: Option<HandlerOptions>) -> Self {
        Self {
            subscription,
            defined,
            generation: 0,
        }
    }

    /// Whether settings.toml has it, and only settings.toml can change it.
    pub(crate) fn is_defined(&self) -> bool {
        self.defined.is_some()
    }

    fn changeable(&self) -> Result<(), ChangeError> {
        match self.is_defined() {
            true => Err(ChangeError::Defined(self.subscription.key.clone())),
            false => Ok(()),
        }
    }
}

impl Subscription {
    fn activate(&mut self, active: Option<bool>) {
        self.active = active.unwrap_or(self.active);
        if self.active {
            self.ended = None;
        }
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

/// How much later than the relay itself its consumer loses patience.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);
