//! Follows changes of subscriptions that other instances make, and waits until all have applied one.
//!
//! A change is a document of the journal with a version. Each instance makes its subscriptions what the documents
//! say, and then reports the version. A change is answered when every living instance has reported it: after the
//! answer no instance sends to an old URL, or for a subscription that was removed.

use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;

use super::super::subscription::{Subscription, SubscriptionKey, shown};
use super::{DEFINED, REGISTERED, RegisteredSubscription, Registry};
use crate::engine::Pipeline;
use crate::journal::{Document, Unavailable, Version};
use crate::{Error, escape_controls};

impl Registry {
    /// Begins to follow, if several instances share the journal.
    pub(super) fn begin_to_follow(self: &Arc<Self>) {
        if self.pipeline.is_shared() {
            let registry = Arc::downgrade(self);
            let versions = self.pipeline.journal().watch_documents();
            self.pipeline.spawn(|stop| follow(registry, versions, stop));
        }
    }

    /// Waits until every living instance has applied this version of the documents.
    ///
    /// # Errors
    ///
    /// When that cannot be known now. The change is stored, and the others follow.
    pub(super) async fn applied_by_all(&self, version: Option<Version>) -> Result<(), Unavailable> {
        match self.pipeline.cluster() {
            Some(cluster) => cluster.applied_by_all(version).await,
            None => Ok(()),
        }
    }

    /// Makes the subscriptions what the documents say.
    async fn apply_stored(self: &Arc<Self>) -> Result<(), Error> {
        let _one_at_a_time = self.changes.lock().await;
        self.apply_stored_now().await
    }

    /// The same, within a change.
    pub(super) async fn apply_stored_now(self: &Arc<Self>) -> Result<(), Error> {
        let journal = self.pipeline.journal();
        let registered = journal
            .documents(REGISTERED)
            .await
            .map_err(Error::journal)?;
        let defined = journal.documents(DEFINED).await.map_err(Error::journal)?;
        let mut stored = BTreeSet::new();
        for document in &defined {
            let Some(known) = read(document) else {
                continue;
            };
            stored.insert(known.key.clone());
            if let Some(entry) = self
                .get(&known.key)
                .filter(RegisteredSubscription::is_defined)
            {
                self.apply_end(entry, &known, document.version).await?;
            }
        }
        for mut entry in self.list(None) {
            if entry.is_defined() && !stored.contains(&entry.subscription.key) {
                // An instance whose settings lack it has removed its document.
                entry.version = 0;
                self.insert(entry);
            }
        }
        let mut stored = BTreeSet::new();
        for document in &registered {
            let Some(wanted) = read(document) else {
                continue;
            };
            stored.insert(wanted.key.clone());
            let known = self.get(&wanted.key);
            let is_known = known
                .as_ref()
                .is_some_and(|known| known.is_defined() || known.version == document.version);
            if !is_known {
                self.apply_registered(known, wanted, document.version)
                    .await?;
            }
        }
        let gone = self.list(None).into_iter();
        let gone = gone.filter(|entry| !entry.is_defined());
        let gone = gone.map(|entry| entry.subscription.key);
        for key in gone.filter(|key| !stored.contains(key)).collect::<Vec<_>>() {
            self.lock().remove(&key);
            self.pipeline.dismiss(&key.consumer()).await;
            log::info!("subscription {key}: removed by another instance");
        }
        Ok(())
    }

    /// The subscriber of a subscription of the settings has ended it, or a user lets it go on.
    async fn apply_end(
        self: &Arc<Self>,
        mut entry: RegisteredSubscription,
        known: &Subscription,
        version: Version,
    ) -> Result<(), Error> {
        let own = &entry.subscription;
        // Other settings made the document: they count where they are.
        let is_same = own.url == known.url && own.events == known.events;
        if !is_same || entry.version == version {
            return Ok(());
        }
        let was_active = own.active;
        entry.version = version;
        entry.subscription.active = known.active;
        entry.subscription.ended.clone_from(&known.ended);
        entry.subscription.updated_at = known.updated_at;
        if was_active != known.active {
            entry.gone = Arc::default();
            self.run(&entry, None).await?;
        }
        self.insert(entry);
        Ok(())
    }

    async fn apply_registered(
        self: &Arc<Self>,
        before: Option<RegisteredSubscription>,
        wanted: Subscription,
        version: Version,
    ) -> Result<(), Error> {
        let mut entry = RegisteredSubscription::new(wanted, None, &self.guard());
        entry.version = version;
        let consumer = entry.subscription.key.consumer();
        let before = before.filter(|_| self.controls(&consumer).is_some());
        let staying = before.filter(|before| before.can_stay(&entry.subscription));
        if let Some(before) = &staying {
            entry.gone = Arc::clone(&before.gone);
        }
        self.run(&entry, staying.as_ref()).await?;
        let (key, url) = (&entry.subscription.key, shown(&entry.subscription.url));
        log::info!("subscription {key}: changed by another instance; its URL is {url}");
        self.insert(entry);
        Ok(())
    }

    /// Starts the consumer of a subscription, unless the one that runs stays; or stops it.
    async fn run(
        self: &Arc<Self>,
        entry: &RegisteredSubscription,
        staying: Option<&RegisteredSubscription>,
    ) -> Result<(), Error> {
        if !entry.has_consumer() {
            let consumer = entry.subscription.key.consumer();
            self.pipeline.stop_consumer(&consumer).await;
            return Ok(());
        }
        match staying {
            Some(_) => Ok(()),
            None => match self.pipeline.replace(self.consumer(entry)).await {
                // What cannot start while everything stops sends nothing.
                Err(_) if self.pipeline.has_stopped() => Ok(()),
                replaced => replaced,
            },
        }
    }

    /// Forgets how far the consumer of a removed subscription had come, when no instance runs it any more.
    pub(super) async fn forget_removed(&self, key: &SubscriptionKey) -> Result<(), Unavailable> {
        match self.pipeline.cluster() {
            Some(cluster) => {
                let document = key.document(REGISTERED);
                cluster.forget_removed(&key.consumer(), &document).await
            }
            None => Ok(()),
        }
    }
}

/// Applies each version and reports it, until told to stop.
async fn follow(
    registry: Weak<Registry>,
    mut versions: watch::Receiver<Version>,
    mut stop: watch::Receiver<bool>,
) {
    while !*stop.borrow() {
        let version = *versions.borrow_and_update();
        let Some(registry) = registry.upgrade() else {
            return;
        };
        let applied = registry.apply_stored().await;
        let (pipeline, clock) = (Arc::clone(&registry.pipeline), Arc::clone(&registry.clock));
        drop(registry);
        match applied {
            // Not even during a stop it may be said of a change that it was made: what runs goes on for a while.
            Err(error) => {
                log::warn!("changes of subscriptions by other instances wait: {error}");
                tokio::select! {
                    () = clock.sleep(PAUSE) => {}
                    _ = stop.changed() => {}
                }
                continue;
            }
            Ok(()) => report(&pipeline, version),
        }
        drop(pipeline);
        tokio::select! {
            changed = versions.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            _ = stop.changed() => {}
        }
    }
}

fn report(pipeline: &Pipeline, version: Version) {
    if let Some(cluster) = pipeline.cluster() {
        cluster.applied(version);
    }
}

fn read(document: &Document) -> Option<Subscription> {
    let read = Subscription::from_document(&document.value);
    if let Err(error) = &read {
        log::debug!(
            "the document {} cannot be read: {error}",
            escape_controls(&document.key)
        );
    }
    read.ok()
}

/// The pause before documents that cannot be read are read again.
const PAUSE: Duration = Duration::from_secs(1);
