//! The consumer of a subscription: how it is made, and its end when the subscriber answers 410.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::super::Relay;
use super::super::subscription::{Ended, SubscriptionKey};
use super::{RegisteredSubscription, Registry};
use crate::dispatch::Consumer;
use crate::escape_controls;

impl Registry {
    /// Makes the consumer of a subscription.
    pub(super) fn consumer(self: &Arc<Self>, entry: &RegisteredSubscription) -> Consumer {
        let subscription = &entry.subscription;
        let key = &subscription.key;
        let mut options = entry.defined.clone().unwrap_or_default();
        let timeout = options.timeout.unwrap_or(self.settings.options.timeout);
        options.timeout = Some(timeout.saturating_add(TIMEOUT_MARGIN));
        options = options.sessions([key.session()]).or(&self.dispatch);
        options.events.clone_from(&subscription.events);
        options.suspend_after = Some(self.settings.suspend_after);

        let (url, secret) = (subscription.url.clone(), subscription.secret.clone());
        let client = self.clients.get(&timeout).unwrap_or(&self.client);
        let relay = Relay::with_client(url, secret, client).on_gone(self.ending(entry));
        let clock = Arc::clone(&self.clock);
        Consumer::new(
            key.consumer(),
            Arc::new(relay),
            options,
            &self.metrics,
            clock,
        )
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
    pub(super) async fn end(&self, key: &SubscriptionKey, gone: &Arc<AtomicBool>, reason: String) {
        let _one_at_a_time = self.changes.lock().await;
        let Some(mut entry) = self.get(key) else {
            return;
        };
        let was_replaced = !Arc::ptr_eq(&entry.gone, gone);
        if was_replaced || !entry.subscription.active {
            return;
        }
        let at = self.clock.now();
        log::warn!("subscription {key} has ended: {}", escape_controls(&reason));
        entry.subscription.active = false;
        entry.subscription.updated_at = at;
        entry.subscription.ended = Some(Ended { at, reason });
        self.insert(entry.clone());
        // The consumer is stopped before the document is written: it must send nothing more, and if the
        // document is lost, the subscriber answers 410 again.
        self.pipeline.stop_consumer(&key.consumer()).await;
        if let Err(error) = self.save(&entry).await {
            log::warn!("subscription {key}: its end is not stored, so it may start again: {error}");
        }
    }

    /// Ends the suspension of a subscription, if it is suspended. An administrator's pause stays.
    pub(super) async fn end_suspension(&self, key: &SubscriptionKey) {
        let Some(consumer) = self.controls(&key.consumer()) else {
            return;
        };
        let status = consumer.status().await;
        if status.is_some_and(|status| status.suspended.is_some() && !status.paused) {
            // A consumer that has ended in between is not suspended any more either.
            let _ = consumer.pause(false).await;
        }
    }
}

/// How much longer a consumer waits than its relay, whose own error says more about a timeout.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);
