//! Other settings while the registry runs: other subscriptions, and other options for all of them.
//!
//! A subscription whose consumer would be the same is left alone. Otherwise its running attempts are finished, and
//! the next ones are made with what the settings say now. The API can change subscriptions meanwhile, and so can
//! the next reload: when the attempts have ended, what is wanted then counts.
//!
//! New subscriptions start before others are removed, so that one with a new name misses nothing.

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
use crate::journal::{PutError, Version};

/// What the settings say next.
pub(crate) struct NextRelay {
    live: Arc<Live>,
    defined: Vec<SubscriptionSettings>,
}

/// What is left to do when new subscriptions run.
pub(crate) struct BegunRelay {
    /// How it was before.
    before: Arc<Live>,
    /// Those that the settings define.
    defined: BTreeSet<SubscriptionKey>,
    /// Those of them that are new, and run.
    new: BTreeSet<SubscriptionKey>,
    /// Those that were known.
    known: Vec<SubscriptionSettings>,
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

    /// Goes by what the settings say now, and starts the subscriptions that are new. While the journal cannot be
    /// read or written, that is tried again; `None` if everything stops before.
    pub(crate) async fn begin(self: &Arc<Self>, next: NextRelay) -> Option<BegunRelay> {
        let _one_at_a_time = self.changes.lock().await;
        let mut begun = BegunRelay {
            before: self.live.swap(next.live),
            defined: BTreeSet::new(),
            new: BTreeSet::new(),
            known: Vec::new(),
        };
        for settings in next.defined {
            let key = SubscriptionKey::new(settings.session.clone(), settings.name.clone());
            // The settings were checked.
            let Ok(key) = key else { continue };
            begun.defined.insert(key.clone());
            if self.get(&key).is_some() {
                begun.known.push(settings);
                continue;
            }
            let define = || self.define(settings.clone());
            let (entry, is_altered) = self.in_time(define).await?;
            self.insert(entry);
            self.in_time(|| self.start_consumer(&key)).await?;
            if is_altered {
                self.end_suspension(&key).await;
            }
            begun.new.insert(key);
        }
        Some(begun)
    }

    /// Removes and changes the subscriptions that were known.
    pub(crate) async fn finish(self: &Arc<Self>, begun: BegunRelay) {
        let Some(renewed) = self.change_known(begun).await else {
            return;
        };
        let renewed = renewed.iter();
        join_all(renewed.map(|(key, is_altered)| self.renew(key, *is_altered))).await;
    }

    /// Returns the subscriptions whose consumers have to be renewed, and whether the settings have changed their
    /// URL or events.
    pub(super) async fn change_known(
        self: &Arc<Self>,
        begun: BegunRelay,
    ) -> Option<Vec<(SubscriptionKey, bool)>> {
        let _one_at_a_time = self.changes.lock().await;
        let known: BTreeMap<SubscriptionKey, RegisteredSubscription> = self.lock().clone();
        let mut altered = BTreeSet::new();
        for settings in begun.known {
            let define = || self.define(settings.clone());
            let (entry, is_altered) = self.in_time(define).await?;
            if is_altered {
                altered.insert(entry.subscription.key.clone());
            }
            self.insert(entry);
        }
        let gone = known.values().filter(|entry| entry.is_defined());
        let gone = gone.map(|entry| &entry.subscription.key);
        for key in gone.filter(|key| !begun.defined.contains(*key)) {
            self.in_time(|| self.undefine(key)).await?;
        }
        let mut renewed = Vec::new();
        let guard = self.guard();
        let others = self.list(None).into_iter();
        for mut entry in others.filter(|entry| !begun.new.contains(&entry.subscription.key)) {
            let key = entry.subscription.key.clone();
            entry.rejected = guard.check(&entry.subscription.url).err().map(Arc::new);
            let known = known.get(&key);
            let stays = known.filter(|known| self.stays(&begun.before, known, &entry));
            if let Some(known) = stays {
                entry.gone = Arc::clone(&known.gone);
            } else {
                renewed.push((key.clone(), altered.contains(&key)));
            }
            self.insert(entry);
        }
        Some(renewed)
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

    /// Lets the consumer of a subscription finish its attempts, then starts it as it is wanted now. Changes by the
    /// API do not wait for the attempts.
    pub(super) async fn renew(self: &Arc<Self>, key: &SubscriptionKey, is_altered: bool) {
        let consumer = key.consumer();
        let _renewal = self.pipeline.renewal(&consumer);
        self.pipeline.retire(&consumer).await;
        let start = || async {
            let _one_at_a_time = self.changes.lock().await;
            self.start_consumer(key).await
        };
        if self.in_time(start).await.is_some() && is_altered {
            self.end_suspension(key).await;
        }
    }

    /// Starts the consumer of a subscription unless it runs, or is not to run.
    async fn start_consumer(self: &Arc<Self>, key: &SubscriptionKey) -> Result<(), Error> {
        let Some(entry) = self.get(key).filter(|entry| entry.subscription.active) else {
            return Ok(());
        };
        if let Some(rejected) = entry.rejected() {
            log::warn!("subscription {key}: nothing is sent, its events wait: {rejected}");
            return Ok(());
        }
        if self.controls(&key.consumer()).is_some() {
            return Ok(());
        }
        self.pipeline.add(self.consumer(&entry)).await
    }

    /// Removes a subscription that the settings do not define any more. If the API has registered one with its
    /// key, that one is in its place.
    async fn undefine(&self, key: &SubscriptionKey) -> Result<(), Error> {
        let registered = self.document(&key.document(REGISTERED)).await?;
        let version = self.get(key).map_or(0, |entry| entry.version);
        match self.put(&key.document(DEFINED), None, version).await {
            // Another instance has removed it, or goes by other settings.
            Ok(_) | Err(PutError::Conflict) => {}
            Err(error) => return Err(Error::journal(error)),
        }
        if let Some((registered, version)) = registered {
            let mut entry = RegisteredSubscription::new(registered, None, &self.guard());
            entry.version = version;
            self.insert(entry);
            return Ok(());
        }
        self.lock().remove(key);
        if self.pipeline.is_shared() {
            // The settings of other instances may define it, and then it goes on there where it is.
            self.pipeline.dismiss(&key.consumer()).await;
        } else {
            self.pipeline.remove(&key.consumer()).await?;
        }
        log::info!("subscription {key}: removed");
        Ok(())
    }

    /// The subscription in the document of this name, and its version.
    pub(super) async fn document(
        &self,
        name: &str,
    ) -> Result<Option<(Subscription, Version)>, Error> {
        let found = self.pipeline.journal().documents(name).await;
        let mut found = found.map_err(Error::journal)?.into_iter();
        let document = found.find(|found| found.key == name);
        Ok(document.and_then(|found| {
            let read = Subscription::from_document(&found.value).ok()?;
            Some((read, found.version))
        }))
    }

    /// Does `work`, again and again until it succeeds; `None` if everything stops before.
    async fn in_time<T, F>(&self, work: impl Fn() -> F) -> Option<T>
    where
        F: Future<Output = Result<T, Error>>,
    {
        loop {
            match work().await {
                Ok(done) => return Some(done),
                Err(_) if self.pipeline.has_stopped() => return None,
                Err(error) => log::warn!("subscriptions wait for the journal: {error}"),
            }
            self.clock.sleep(PAUSE).await;
        }
    }
}

/// The pause before the journal is asked again.
const PAUSE: Duration = Duration::from_secs(1);
