//! The subscriptions at the start: those of the settings, and the documents of the journal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::super::subscription::{Subscription, SubscriptionKey};
use super::super::{RelayClient, RelayOptions, RelaySettings, SubscriptionSettings};
use super::{DEFINED, REGISTERED, RegisteredSubscription, Registry};
use crate::clock::Clock;
use crate::dispatch::HandlerOptions;
use crate::engine::Pipeline;
use crate::telemetry::Metrics;
use crate::{Error, escape_controls};

impl Registry {
    /// Starts the subscriptions that the settings define and those that the journal has stored. Fails
    /// when the HTTP client cannot be set up, the settings have a URL that may not be posted to, or the
    /// journal cannot be read.
    pub(crate) fn open(
        pipeline: &Arc<Pipeline>,
        settings: &RelaySettings,
        defined: Vec<SubscriptionSettings>,
        dispatch: &HandlerOptions,
        metrics: &Arc<Metrics>,
        clock: &Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let client = |timeout| {
            let options = RelayOptions {
                timeout,
                ..settings.options.clone()
            };
            RelayClient::new(options.guard(), &options, Arc::clone(clock), None)
                .map_err(Error::relay)
        };
        let own_timeouts = defined.iter().filter_map(|one| one.options.timeout);
        let registry = Arc::new(Self {
            client: client(settings.options.timeout)?,
            clients: own_timeouts
                .map(|timeout| Ok((timeout, client(timeout)?)))
                .collect::<Result<_, Error>>()?,
            pipeline: Arc::clone(pipeline),
            settings: settings.clone(),
            dispatch: dispatch.clone(),
            metrics: Arc::clone(metrics),
            clock: Arc::clone(clock),
            changes: tokio::sync::Mutex::default(),
            all: Mutex::default(),
        });
        let starting = Arc::clone(&registry);
        let started = pipeline.wait_for(async move { starting.start(defined).await });
        started.ok_or_else(|| Error::journal("the threads that run handlers have ended"))??;
        Ok(registry)
    }

    async fn start(self: &Arc<Self>, defined: Vec<SubscriptionSettings>) -> Result<(), Error> {
        let _one_at_a_time = self.changes.lock().await;
        let mut altered = BTreeSet::new();
        for settings in defined {
            altered.extend(self.define(settings).await?);
        }
        self.load_registered().await?;
        for entry in self.list(None) {
            let Subscription {
                key, active, ended, ..
            } = &entry.subscription;
            if *active {
                if let Some(rejected) = entry.rejected() {
                    // Each attempt would fail, until the events are dead letters.
                    log::warn!("subscription {key}: nothing is sent, its events wait: {rejected}");
                    continue;
                }
                self.pipeline.add(self.consumer(&entry)).await?;
                if altered.contains(key) {
                    self.end_suspension(key).await;
                }
            } else {
                let since = ended.as_ref().map_or_else(String::new, |ended| {
                    format!(" since {}: {}", ended.at, escape_controls(&ended.reason))
                });
                log::warn!("subscription {key}: not active, nothing is sent{since}");
            }
        }
        Ok(())
    }

    /// Adds a subscription of the settings, with what its document holds from earlier runs. Returns its
    /// key if the settings have changed its URL or its events since then.
    async fn define(
        &self,
        settings: SubscriptionSettings,
    ) -> Result<Option<SubscriptionKey>, Error> {
        let now = self.clock.now();
        let key = SubscriptionKey::new(settings.session, settings.name).map_err(Error::relay)?;
        let url = self.guard().url(&settings.webhook_url);
        let url = url.map_err(Error::relay)?;
        let mut subscription = Subscription {
            events: settings.options.events.clone(),
            secrets: settings.secrets,
            headers: settings.headers,
            created_at: now,
            updated_at: now,
            ..Subscription::new(key.clone(), url)
        };
        let (mut is_new, mut is_altered) = (true, false);
        if let Some(known) = self.defined_before(&key).await? {
            is_new = false;
            is_altered = known.url != subscription.url || known.events != subscription.events;
            subscription.created_at = known.created_at;
            if !is_altered {
                subscription.updated_at = known.updated_at;
                subscription.active = known.active;
                subscription.ended = known.ended;
            }
        }
        let entry = RegisteredSubscription::new(subscription, Some(settings.options), self.guard());
        if is_new || is_altered {
            self.save(&entry).await.map_err(Error::journal)?;
        }
        self.insert(entry);
        Ok(is_altered.then_some(key))
    }

    /// The document of a subscription that the settings defined in an earlier run.
    async fn defined_before(&self, key: &SubscriptionKey) -> Result<Option<Subscription>, Error> {
        let name = key.document(DEFINED);
        let found = self.pipeline.journal().documents(&name).await;
        let mut found = found.map_err(Error::journal)?.into_iter();
        let document = found.find(|found| found.key == name);
        Ok(document.and_then(|found| Subscription::from_document(&found.value).ok()))
    }

    async fn load_registered(&self) -> Result<(), Error> {
        let stored = self.pipeline.journal().documents(REGISTERED).await;
        for document in stored.map_err(Error::journal)? {
            match Subscription::from_document(&document.value) {
                Ok(subscription) if self.get(&subscription.key).is_some() => log::warn!(
                    "subscription {}: settings.toml defines it too; its values are used",
                    subscription.key
                ),
                Ok(subscription) => {
                    let guard = self.guard();
                    self.insert(RegisteredSubscription::new(subscription, None, guard));
                }
                Err(error) => log::error!(
                    "the document {} cannot be read, so its subscription gets no events: {error}",
                    escape_controls(&document.key)
                ),
            }
        }
        Ok(())
    }
}
