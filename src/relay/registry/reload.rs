//! Other settings while the registry runs: other subscriptions, and other options for all of them.
//!
//! A subscription whose consumer would be the same is left alone. Otherwise its running attempts are finished, and
//! the next ones are made with what the settings say now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::super::subscription::{Subscription, SubscriptionKey};
use super::super::{RelayClient, RelayOptions, RelaySettings, SubscriptionSettings};
use super::{DEFINED, Live, REGISTERED, RegisteredSubscription, Registry};
use crate::Error;
use crate::clock::Clock;
use crate::dispatch::HandlerOptions;

/// What the settings say next.
pub(crate) struct NextRelay {
    live: Arc<Live>,
    defined: Vec<SubscriptionSettings>,
}

impl Live {
    /// Clients of `before` are used again where they would be the same.
    pub(super) fn new(
        settings: &RelaySettings,
        defined: &[SubscriptionSettings],
        dispatch: &HandlerOptions,
        clock: &Arc<dyn Clock>,
        before: Option<&Self>,
    ) -> Result<Self, Error> {
        let with_timeout = |timeout| RelayOptions {
            timeout,
            ..settings.options.clone()
        };
        let client = |timeout: Duration| {
            let options = with_timeout(timeout);
            match before.and_then(|before| before.known_client(&options)) {
                Some(known) => Ok(known),
                None => RelayClient::new(options.guard(), &options, Arc::clone(clock), None)
                    .map_err(Error::relay),
            }
        };
        let own_timeouts = defined.iter().filter_map(|one| one.options.timeout);
        Ok(Self {
            client: client(settings.options.timeout)?,
            clients: own_timeouts
                .map(|timeout| Ok((timeout, client(timeout)?)))
                .collect::<Result<_, Error>>()?,
            settings: settings.clone(),
            dispatch: dispatch.clone(),
        })
    }

    fn known_client(&self, options: &RelayOptions) -> Option<Arc<RelayClient>> {
        let own = RelayOptions {
            timeout: options.timeout,
            ..self.settings.options.clone()
        };
        if own != *options {
            return None;
        }
        let is_usual = options.timeout == self.settings.options.timeout;
        let usual = is_usual.then_some(&self.client);
        usual
            .or_else(|| self.clients.get(&options.timeout))
            .cloned()
    }
}

impl Registry {
    /// Sets up what the settings say next. Nothing is changed yet.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up.
    pub(crate) fn prepare(
        &self,
        settings: &RelaySettings,
        defined: &[SubscriptionSettings],
        dispatch: &HandlerOptions,
    ) -> Result<NextRelay, Error> {
        let before = self.live.load();
        let live = Live::new(settings, defined, dispatch, &self.clock, Some(&before))?;
        Ok(NextRelay {
            live: Arc::new(live),
            defined: defined.to_vec(),
        })
    }

    /// Takes what the settings say now. While the journal cannot be read or written, that is tried again.
    pub(crate) async fn replace(self: &Arc<Self>, next: NextRelay) {
        let _one_at_a_time = self.changes.lock().await;
        let before = self.live.swap(next.live);
        let known: BTreeMap<SubscriptionKey, RegisteredSubscription> = self.lock().clone();
        let mut altered = BTreeSet::new();
        let mut defined = BTreeSet::new();
        for settings in next.defined {
            let define = || self.define(settings.clone());
            let Some((entry, is_altered)) = self.in_time(define).await else {
                return;
            };
            let key = entry.subscription.key.clone();
            if is_altered {
                altered.insert(key.clone());
            }
            defined.insert(key);
            self.insert(entry);
        }
        let gone = known.values().filter(|entry| entry.is_defined());
        let gone = gone.map(|entry| &entry.subscription.key);
        let gone: Vec<_> = gone.filter(|key| !defined.contains(*key)).collect();
        for key in gone {
            if self.in_time(|| self.undefine(key)).await.is_none() {
                return;
            }
        }
        let mut renewed = Vec::new();
        let guard = self.guard();
        for mut entry in self.list(None) {
            let key = &entry.subscription.key;
            entry.rejected = guard.check(&entry.subscription.url).err().map(Arc::new);
            match known
                .get(key)
                .filter(|known| self.stays(&before, known, &entry))
            {
                Some(known) => {
                    entry.gone = Arc::clone(&known.gone);
                    self.insert(entry);
                }
                None => {
                    self.insert(entry.clone());
                    renewed.push(self.renew(entry, &altered));
                }
            }
        }
        join_all(renewed).await;
    }

    /// Whether the consumer that runs is the one that these settings make.
    fn stays(
        &self,
        before: &Live,
        known: &RegisteredSubscription,
        entry: &RegisteredSubscription,
    ) -> bool {
        let subscription = &entry.subscription;
        if !known.has_consumer() || !entry.has_consumer() {
            return !known.has_consumer() && !entry.has_consumer();
        }
        let now = self.live.load();
        let (old_options, old_client) = before.options(known);
        let (options, client) = now.options(entry);
        let runs = self.controls(&subscription.key.consumer()).is_some();
        let is_same = old_options == options && Arc::ptr_eq(old_client, client);
        is_same && runs && known.can_stay(subscription)
    }

    async fn renew(
        self: &Arc<Self>,
        entry: RegisteredSubscription,
        altered: &BTreeSet<SubscriptionKey>,
    ) {
        let key = &entry.subscription.key;
        if !entry.subscription.active {
            self.pipeline.retire(&key.consumer()).await;
            return;
        }
        if let Some(rejected) = entry.rejected() {
            self.pipeline.retire(&key.consumer()).await;
            log::warn!("subscription {key}: nothing is sent, its events wait: {rejected}");
            return;
        }
        self.pipeline.renew(|| self.consumer(&entry)).await;
        if altered.contains(key) {
            self.end_suspension(key).await;
        }
    }

    /// Removes a subscription that the settings do not define any more. If the API has registered one with its
    /// key, that one is in its place.
    async fn undefine(&self, key: &SubscriptionKey) -> Result<(), Error> {
        let registered = self.document(&key.document(REGISTERED)).await?;
        let put = self.put(&key.document(DEFINED), None).await;
        put.map_err(Error::journal)?;
        if let Some(registered) = registered {
            self.insert(RegisteredSubscription::new(registered, None, &self.guard()));
            return Ok(());
        }
        self.lock().remove(key);
        self.pipeline.remove(&key.consumer()).await?;
        log::info!("subscription {key}: removed");
        Ok(())
    }

    /// The subscription in the document of this name.
    pub(super) async fn document(&self, name: &str) -> Result<Option<Subscription>, Error> {
        let found = self.pipeline.journal().documents(name).await;
        let mut found = found.map_err(Error::journal)?.into_iter();
        let document = found.find(|found| found.key == name);
        Ok(document.and_then(|found| Subscription::from_document(&found.value).ok()))
    }

    /// Does `work`, again and again until it succeeds; `None` if everything stops before.
    async fn in_time<T, F>(&self, work: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        loop {
            match work().await {
                Ok(done) => return Some(done),
                Err(error) => log::warn!("subscriptions wait for the journal: {error}"),
            }
            if self.pipeline.has_stopped() {
                return None;
            }
            self.clock.sleep(PAUSE).await;
        }
    }
}

/// The pause before the journal is asked again.
const PAUSE: Duration = Duration::from_secs(1);
