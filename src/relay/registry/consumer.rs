//! What a subscription does once it is kept: its consumer, and the end that a subscriber brings.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::super::Relay;
use super::super::subscription::{Ended, Key, Subscription};
use super::{Entry, Registry};
use crate::dispatch::Consumer;
use crate::escape_controls;

impl Registry {
    /// The consumer that it is to be.
    pub(super) fn consumer(self: &Arc<Self>, entry: &Entry) -> Consumer {
        let Subscription {
            key, url, secret, ..
        } = &entry.subscription;
        let own = entry.defined.clone().unwrap_or_default();
        let client = own.timeout.and_then(|timeout| self.clients.get(&timeout));
        let (told, ending, gone) = (Arc::downgrade(self), key.clone(), Arc::clone(&entry.gone));
        let relay = Relay::with_client(url.clone(), secret.clone(), client.unwrap_or(&self.client));
        let relay = relay.on_gone(Arc::new(move |reason: &str| {
            end_soon(&told, ending.clone(), Arc::clone(&gone), reason.to_owned());
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
        let clock = Arc::clone(&self.clock);
        Consumer::new(name, Arc::new(relay), options, &self.metrics, clock)
    }

    /// Ends its suspension, where it is suspended. A pause is the administrator's, and stays.
    pub(super) async fn let_go_on(&self, entry: &Entry) {
        let name = entry.subscription.key.consumer();
        let mut consumers = self.pipeline.consumers().into_iter();
        let Some(consumer) = consumers.find(|one| one.name() == name) else {
            return;
        };
        let status = consumer.status().await;
        if status.is_some_and(|status| status.suspended.is_some() && !status.paused) {
            // One that has ended in between is suspended no more either.
            let _ = consumer.pause(false).await;
        }
    }

    /// The subscriber has said that it wants no more.
    pub(super) async fn end(&self, key: &Key, gone: &Arc<AtomicBool>, reason: String) {
        let _one = self.changes.lock().await;
        let Some(mut entry) = self.get(key) else {
            return;
        };
        if !Arc::ptr_eq(&entry.gone, gone) || !entry.subscription.active {
            return;
        }
        let at = self.clock.now();
        entry.subscription.active = false;
        entry.subscription.updated_at = at;
        log::warn!("subscription {key} has ended: {}", escape_controls(&reason));
        entry.subscription.ended = Some(Ended { at, reason });
        self.lock().insert(key.clone(), entry.clone());
        // Here the consumer comes first: the subscriber wants no more, and would say so again.
        self.pipeline.stop_consumer(&key.consumer()).await;
        if let Err(error) = self.keep(&entry).await {
            log::warn!("subscription {key}: that it has ended may be forgotten: {error}");
        }
    }
}

/// Ends a subscription from within an attempt of its consumer, which must not wait for its own end.
fn end_soon(registry: &Weak<Registry>, key: Key, gone: Arc<AtomicBool>, reason: String) {
    gone.store(true, Ordering::SeqCst);
    let Some(registry) = registry.upgrade() else {
        return;
    };
    tokio::spawn(async move { registry.end(&key, &gone, reason).await });
}

/// How much later than the relay itself its consumer loses patience.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(1);
