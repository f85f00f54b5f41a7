//! The subscriptions at the start: those of the settings, and the documents of the journal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::super::subscription::{Subscription, SubscriptionKey};
use super::super::{RelayClient, RelayError, RelayOptions, RelaySettings, SubscriptionSettings};
use super::{DEFINED, REGISTERED, RegisteredSubscription, Registry};
use crate::clock::Clock;
use crate::dispatch::HandlerOptions;
use crate::engine::Pipeline;
use crate::telemetry::Metrics;
use crate::{Error, escape_controls};

impl Registry {
    /// Starts the subscriptions that the settings define and those that the journal has stored.
    ///
    /// # Errors
    ///
    /// When the HTTP client cannot be set up, the settings have a URL that may not be posted to, or the
    /// journal cannot be read.
    pub(crate) fn open(
        pipeline: &Arc<Pipeline>,
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
            RelayClient::with(options.guard(), &options, Arc::clone(clock), None)
                .map_err(Error::relay)
        };
        let own_timeouts = defined.iter().filter_map(|one| one.options.timeout);
        let registry = Arc::new(Self {
            client: client(relay.options.timeout)?,
            clients: own_timeouts
                .map(|timeout| Ok((timeout, client(timeout)?)))
                .collect::<Result<_, Error>>()?,
            pipeline: Arc::clone(pipeline),
            options: relay.options.clone(),
            suspend_after: relay.suspend_after,
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
            let key = &entry.subscription.key;
            if !entry.subscription.active {
                let reason = end_reason(&entry.subscription);
                log::warn!("subscription {key}: not active, nothing is sent{reason}");
                continue;
            }
            self.pipeline.add(self.consumer(&entry)).await?;
            if altered.contains(key) {
                self.end_suspension(&entry).await;
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
        let url = self.client.guard().url(&settings.webhook_url);
        let mut subscription = Subscription {
            key,
            url: url.map_err(|rejected| Error::relay(RelayError::Url(rejected)))?,
            events: settings.options.events.clone(),
            secret: settings.secret,
            active: true,
            ended: None,
            created_at: now,
            updated_at: now,
        };
        let known = self.defined_before(&subscription.key).await?;
        let mut altered = None;
        if let Some(known) = &known {
            subscription.created_at = known.created_at;
            if known.url != subscription.url || known.events != subscription.events {
                altered = Some(subscription.key.clone());
            } else {
                subscription.updated_at = known.updated_at;
                subscription.active = known.active;
                subscription.ended.clone_from(&known.ended);
            }
        }
        let entry = RegisteredSubscription::new(subscription, Some(settings.options));
        if known.is_none_or(|known| known.updated_at != entry.subscription.updated_at) {
            self.save(&entry).await.map_err(Error::journal)?;
        }
        self.lock().insert(entry.subscription.key.clone(), entry);
        Ok(altered)
    }

    /// The document of a subscription that the settings defined in an earlier run.
    async fn defined_before(&self, key: &SubscriptionKey) -> Result<Option<Subscription>, Error> {
        let document = key.document(DEFINED);
        let journal = self.pipeline.journal();
        let found = journal.documents(&document).await.map_err(Error::journal)?;
        Ok(found
            .into_iter()
            .find(|found| found.key == document)
            .and_then(|found| Subscription::from_document(&found.value).ok()))
    }

    /// Loads the subscriptions that the API registered.
    async fn load_registered(&self) -> Result<(), Error> {
        let journal = self.pipeline.journal();
        let stored = journal
            .documents(REGISTERED)
            .await
            .map_err(Error::journal)?;
        for document in stored {
            let subscription = match Subscription::from_document(&document.value) {
                Ok(subscription) => subscription,
                Err(error) => {
                    let name = escape_controls(&document.key);
                    log::error!(
                        "the document {name} cannot be read, so its subscription gets no events: {error}"
                    );
                    continue;
                }
            };
            let key = subscription.key.clone();
            if self.get(&key).is_some() {
                log::warn!("subscription {key}: settings.toml defines it too; its values are used");
                continue;
            }
            self.lock()
                .insert(key, RegisteredSubscription::new(subscription, None));
        }
        Ok(())
    }
}

/// Why a subscription is not active, if its subscriber has ended it.
fn end_reason(subscription: &Subscription) -> String {
    subscription
        .ended
        .as_ref()
        .map_or_else(String::new, |ended| {
            format!(" since {}: {}", ended.at, escape_controls(&ended.reason))
        })
}
