//! Where subscriptions come from at the start: the settings, and the documents of the journal.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::super::subscription::{Ended, Key, Subscription};
use super::super::{RelayClient, RelayError, RelayOptions, RelaySettings, SubscriptionSettings};
use super::{DEFINED, Entry, KEPT, Registry};
use crate::clock::Clock;
use crate::dispatch::HandlerOptions;
use crate::engine::Pipeline;
use crate::telemetry::Metrics;
use crate::{Error, escape_controls};

impl Registry {
    /// Starts what the settings define and what the journal has kept.
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
            let clock = Arc::clone(clock);
            let client = RelayClient::with(options.guard(), &options, clock, None);
            client.map_err(Error::relay)
        };
        let own = defined.iter().filter_map(|one| one.options.timeout);
        let own = own.map(|timeout| Ok((timeout, client(timeout)?)));
        let registry = Arc::new(Self {
            client: client(relay.options.timeout)?,
            clients: own.collect::<Result<_, Error>>()?,
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
        let _one = self.changes.lock().await;
        let mut altered = BTreeSet::new();
        for one in defined {
            altered.extend(self.define(one).await?);
        }
        let journal = self.pipeline.journal();
        let kept = journal.documents(KEPT).await.map_err(Error::journal)?;
        for document in kept {
            let subscription = match Subscription::from_document(&document.value) {
                Ok(subscription) => subscription,
                Err(error) => {
                    let name = escape_controls(&document.key);
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
            let Subscription { key, active, .. } = &entry.subscription;
            if !active {
                log::warn!(
                    "subscription {key}: not active, nothing is sent{}",
                    why(&entry)
                );
                continue;
            }
            self.pipeline.add(self.consumer(&entry)).await?;
            if altered.contains(key) {
                self.let_go_on(&entry).await;
            }
        }
        Ok(())
    }

    /// Takes one of the settings in, with what is known of it from before; its key, where that was
    /// sent elsewhere or got other events.
    async fn define(&self, settings: SubscriptionSettings) -> Result<Option<Key>, Error> {
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
        let known = self.pipeline.journal().documents(&document).await;
        let mut known = known.map_err(Error::journal)?.into_iter();
        let known = known.find(|known| known.key == document);
        let known = known.and_then(|known| Subscription::from_document(&known.value).ok());
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
        let entry = Entry::new(subscription, Some(settings.options));
        if known.is_none_or(|known| known.updated_at != entry.subscription.updated_at) {
            self.keep(&entry).await.map_err(Error::journal)?;
        }
        self.lock().insert(entry.subscription.key.clone(), entry);
        Ok(altered)
    }
}

/// Why it is not active, where the subscriber has ended it.
fn why(entry: &Entry) -> String {
    let ended = entry.subscription.ended.as_ref();
    let why = |ended: &Ended| format!(" since {}: {}", ended.at, escape_controls(&ended.reason));
    ended.map(why).unwrap_or_default()
}
