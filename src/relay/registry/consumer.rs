//! The consumer of a subscription: how it is made, and its end when the subscriber answers 410.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::Relay;
use super::super::subscription::{Ended, Subscription, SubscriptionKey};
use super::{RegisteredSubscription, Registry};
use crate::dispatch::Consumer;
use crate::escape_controls;

impl Registry {
    /// Makes the consumer of a subscription.
    pub(super) fn consumer(self: &Arc<Self>, entry: &RegisteredSubscription) -> Consumer {
        let Subscription {
            key, url, secret, ..
        } = &entry.subscription;
        let own = entry.defined.clone().unwrap_or_default();
        let client = own
            .timeout
            .and_then(|timeout| self.clients.get(&timeout))
            .unwrap_or(&self.client);
        let (registry, ending) = (Arc::downgrade(self), key.clone());
        let gone = Arc::clone(&entry.gone);
        let relay = Relay::with_client(url.clone(), secret.clone(), client).on_gone(Arc::new(
            move |reason: &str| {
                end_soon(
                    &registry,
                    ending.clone(),
                    Arc::clone(&gone),
                    reason.to_owned(),
                );
            },
        ));
        let timeout = own.timeout.unwrap_or(self.options.timeout);
        let mut options = own
            .timeout(timeout.saturating_add(TIMEOUT_MARGIN))
            .sessions([key.session()])
            .or(&self.dispatch);
        options.events.clone_from(&entry.subscription.events);
        options.suspend_after = Some(self.suspend_after);
        let clock = Arc::clone(&self.clock);
        Consumer::new(
            key.consumer(),
            Arc::new(relay),
            options,
            &self.metrics,
            clock,
        )
    }

    /// Ends the suspension of a subscription, if it is suspended. An administrator's pause stays.
    pub(super) async fn end_suspension(&self, entry: &RegisteredSubscription) {
        let name = entry.subscription.key.consumer();
        let mut consumers = self.pipeline.consumers().into_iter();
        let Some(consumer) = consumers.find(|one| one.name() == name) else {
            return;
        };
        let status = consumer.status().await;
        if status.is_some_and(|status| status.suspended.is_some() && !status.paused) {
            // A consumer that has ended in between is not suspended any more either.
            let _ = consumer.pause(false).await;
        }
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
        self.lock().insert(key.clone(), entry.clone());
        // The consumer is stopped before the document is written: it must send nothing more, and if the
        // document is lost, the subscriber answers 410 again.
        self.pipeline.stop_consumer(&key.consumer()).await;
        if let Err(error) = self.save(&entry).await {
            log::warn!("subscription {key}: its end is not stored, so it may start again: {error}");
        }
    }
}

/// Ends a subscription in a task of its own. An attempt of its consumer calls this, and must not wait
/// for the end of its consumer.
fn end_soon(
    registry: &Weak<Registry>,
    key: SubscriptionKey,
    gone: Arc<AtomicBool>,
    reason: String,
) {
    gone.store(true, Ordering::SeqCst);
    let Some(registry) = registry.upgrade() else {
        return;
    };
    tokio::spawn(async move { registry.end(&key, &gone, reason).await });
}

/// How much longer a consumer waits than its relay, whose own error says more about a timeout.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);
