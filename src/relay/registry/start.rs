//! The subscriptions at the start: those of the settings, and the documents of the journal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;

use super::super::subscription::{Subscription, SubscriptionKey};
use super::super::{RelaySettings, SubscriptionSettings};
use super::{DEFINED, Live, REGISTERED, RegisteredSubscription, Registry};
use crate::clock::Clock;
use crate::dispatch::HandlerOptions;
use crate::engine::Pipeline;
use crate::journal::PutError;
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
        let live = Live::new(settings, &defined, dispatch, clock, None)?;
        let registry = Arc::new(Self {
            live: ArcSwap::from_pointee(live),
            pipeline: Arc::clone(pipeline),
            metrics: Arc::clone(metrics),
            clock: Arc::clone(clock),
            changes: tokio::sync::Mutex::default(),
            all: Mutex::default(),
            tested: Mutex::default(),
        });
        let starting = Arc::clone(&registry);
        let started = pipeline.wait_for(async move { starting.start(defined).await });
        started.ok_or_else(|| Error::journal("the threads that run handlers have ended"))??;
        registry.begin_to_follow();
        Ok(registry)
    }

    async fn start(self: &Arc<Self>, defined: Vec<SubscriptionSettings>) -> Result<(), Error> {
        let _one_at_a_time = self.changes.lock().await;
        let mut altered = BTreeSet::new();
        for settings in defined {
            let (entry, is_altered) = self.define(settings).await?;
            if is_altered {
                altered.insert(entry.subscription.key.clone());
            }
            self.insert(entry);
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
                let name = key.consumer();
                log::warn!(
                    "subscription {key}: not active, nothing is sent{since}; `offhook consumers resume '{name}'` lets \
                     it go on"
                );
            }
        }
        Ok(())
    }

    /// A subscription of the settings, with what its document holds from earlier runs; and whether the settings
    /// have changed its URL or its events since then.
    pub(super) async fn define(
        &self,
        settings: SubscriptionSettings,
    ) -> Result<(RegisteredSubscription, bool), Error> {
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
        let mut version = 0;
        if let Some((known, stored)) = self.document(&key.document(DEFINED)).await? {
            is_new = false;
            version = stored;
            is_altered = known.url != subscription.url || known.events != subscription.events;
            subscription.created_at = known.created_at;
            if !is_altered {
                subscription.updated_at = known.updated_at;
                subscription.active = known.active;
                subscription.ended = known.ended;
            }
        }
        let options = Some(settings.options);
        let mut entry = RegisteredSubscription::new(subscription, options, &self.guard());
        entry.version = version;
        if is_new || is_altered {
            match self.save(&entry).await {
                Ok(version) => entry.version = version,
                // An instance with the same settings was faster, and this one follows.
                Err(PutError::Conflict) => entry.version = 0,
                Err(error) => return Err(Error::journal(error)),
            }
        }
        Ok((entry, is_altered))
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
                    let mut entry = RegisteredSubscription::new(subscription, None, &guard);
                    entry.version = document.version;
                    self.insert(entry);
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
