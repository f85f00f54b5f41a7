//! What changes subscriptions: the document first, then the consumer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use url::Url;

use super::super::shown;
use super::super::subscription::{Key, Subscription};
use super::{DEFINED, Entry, KEPT, MAX_SUBSCRIPTIONS, Registry};
use crate::journal::{Documents, Expected, PutError, Unavailable};
use crate::signature::Secret;
use crate::{Error, EventKind};

/// What a subscription is to be.
pub(crate) struct Wanted {
    pub(crate) key: Key,
    pub(crate) url: Url,
    pub(crate) events: Option<BTreeSet<EventKind>>,
    pub(crate) secret: Option<Secret>,
    pub(crate) active: bool,
}

/// What is to be changed of a subscription.
#[derive(Default)]
pub(crate) struct Change {
    pub(crate) url: Option<Url>,
    pub(crate) events: Option<Option<BTreeSet<EventKind>>>,
    pub(crate) secret: Option<Option<Secret>>,
    pub(crate) active: Option<bool>,
}

/// Why subscriptions are not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("{0} is defined in settings.toml; change it there")]
    Defined(Key),
    #[error("there is no subscription {0}")]
    Unknown(Key),
    #[error("there are {MAX_SUBSCRIPTIONS} subscriptions, and there can be no more")]
    TooMany,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<Error> for ChangeError {
    fn from(error: Error) -> Self {
        Self::Unavailable(Unavailable::Away(error.to_string()))
    }
}

impl Registry {
    /// Sets a subscription whole; whether it is a new one. A new one starts from now, another goes on
    /// where it was.
    ///
    /// # Errors
    ///
    /// When the settings define it, there are too many, or the journal cannot keep it now.
    pub(crate) async fn set(
        self: &Arc<Self>,
        wanted: Wanted,
    ) -> Result<(Entry, bool), ChangeError> {
        let _one = self.changes.lock().await;
        let before = self.get(&wanted.key);
        let now = self.clock.now();
        let subscription = Subscription {
            key: wanted.key,
            url: wanted.url,
            events: wanted.events,
            secret: wanted.secret,
            active: wanted.active,
            ended: None,
            created_at: before
                .as_ref()
                .map_or(now, |entry| entry.subscription.created_at),
            updated_at: now,
        };
        match &before {
            Some(before) => before.changeable()?,
            None => {
                if self.lock().len() >= MAX_SUBSCRIPTIONS {
                    return Err(ChangeError::TooMany);
                }
                // One of its name may have been removed halfway, and left its progress.
                let consumer = subscription.key.consumer();
                self.pipeline.journal().forget_consumer(&consumer).await?;
            }
        }
        let entry = self.put(before.as_ref(), subscription).await?;
        self.let_go_on(&entry).await;
        Ok((entry, before.is_none()))
    }

    /// Changes some of a subscription.
    ///
    /// # Errors
    ///
    /// When there is none, the settings define it, or the journal cannot keep it now.
    pub(crate) async fn change(
        self: &Arc<Self>,
        key: &Key,
        change: Change,
    ) -> Result<Entry, ChangeError> {
        let _one = self.changes.lock().await;
        let unknown = || ChangeError::Unknown(key.clone());
        let before = self.get(key).ok_or_else(unknown)?;
        before.changeable()?;
        let now = self.clock.now();
        let mut after = before.subscription.clone();
        after.url = change.url.unwrap_or(after.url);
        after.events = change.events.unwrap_or(after.events);
        after.secret = change.secret.unwrap_or(after.secret);
        after.activate(change.active);
        after.updated_at = now;
        let entry = self.put(Some(&before), after).await?;
        if change.active == Some(true) {
            self.let_go_on(&entry).await;
        }
        Ok(entry)
    }

    /// Lets the subscription that is this consumer go on, where it is not active; or where it should
    /// run and does not, because the journal could not be asked when it was to start.
    ///
    /// # Errors
    ///
    /// When the journal cannot keep it now.
    pub(crate) async fn resume(self: &Arc<Self>, consumer: &str) -> Result<(), ChangeError> {
        let _one = self.changes.lock().await;
        let entries = self.list(None).into_iter();
        let mut named = entries.filter(|entry| entry.subscription.key.consumer() == consumer);
        let Some(before) = named.next() else {
            return Ok(());
        };
        if before.subscription.active && self.runs(consumer) {
            return Ok(());
        }
        let mut after = before.subscription.clone();
        after.activate(Some(true));
        after.updated_at = self.clock.now();
        self.put(Some(&before), after).await?;
        Ok(())
    }

    /// Keeps the subscription as it is to be, then lets its consumer be so.
    async fn put(
        self: &Arc<Self>,
        before: Option<&Entry>,
        subscription: Subscription,
    ) -> Result<Entry, ChangeError> {
        let key = subscription.key.clone();
        let consumer = key.consumer();
        let same = before.is_some_and(|before| {
            let was = &before.subscription;
            was.active && subscription.active && was.is_like(&subscription)
        });
        let runs = self.runs(&consumer);
        // One that was told that its subscriber is gone is about to end. What is set now comes later.
        let going = before.is_some_and(|before| before.gone.load(Ordering::SeqCst));
        let untouched = same && runs && !going;
        let gone = before.filter(|_| untouched);
        let entry = Entry {
            subscription,
            defined: before.and_then(|before| before.defined.clone()),
            gone: gone.map_or_else(Arc::default, |before| Arc::clone(&before.gone)),
        };
        self.keep(&entry).await?;
        self.lock().insert(key.clone(), entry.clone());
        let url = shown(&entry.subscription.url);
        match (entry.subscription.active, untouched) {
            (false, _) => {
                self.pipeline.stop_consumer(&consumer).await;
                log::info!("subscription {key}: not active; nothing is sent to {url}");
                return Ok(entry);
            }
            (true, true) => return Ok(entry),
            (true, false) if runs => self.pipeline.replace(self.consumer(&entry)).await?,
            (true, false) => self.pipeline.add(self.consumer(&entry)).await?,
        }
        log::info!("subscription {key}: events go to {url}");
        Ok(entry)
    }

    fn runs(&self, consumer: &str) -> bool {
        let consumers = self.pipeline.consumers();
        consumers.iter().any(|one| one.name() == consumer)
    }

    /// Removes a subscription. When this returns nothing more is sent for it, and one of its name
    /// would be a new one. There need be none.
    ///
    /// # Errors
    ///
    /// When the settings define it, or the journal cannot forget it now.
    pub(crate) async fn remove(&self, key: &Key) -> Result<(), ChangeError> {
        let _one = self.changes.lock().await;
        if let Some(entry) = self.get(key) {
            entry.changeable()?;
            self.remove_one(key).await?;
        }
        Ok(())
    }

    /// Removes all of a session's, as [`Registry::remove`] does one.
    ///
    /// # Errors
    ///
    /// When the settings define one of them, and then none is removed, or when the journal cannot
    /// forget one now.
    pub(crate) async fn remove_all(&self, session: &str) -> Result<(), ChangeError> {
        let _one = self.changes.lock().await;
        let entries = self.list(Some(session));
        for entry in &entries {
            entry.changeable()?;
        }
        for entry in &entries {
            self.remove_one(&entry.subscription.key).await?;
        }
        Ok(())
    }

    async fn remove_one(&self, key: &Key) -> Result<(), ChangeError> {
        let journal = self.pipeline.journal();
        put(journal.as_ref(), &key.document(KEPT), None).await?;
        self.lock().remove(key);
        if let Err(error) = self.pipeline.remove(&key.consumer()).await {
            // It is stopped, and a new one of its name forgets the progress first.
            log::warn!("subscription {key}: its progress stays for now: {error}");
        }
        log::info!("subscription {key}: removed");
        Ok(())
    }

    /// Writes the document of what is so.
    pub(super) async fn keep(&self, entry: &Entry) -> Result<(), Unavailable> {
        let key = &entry.subscription.key;
        let (name, document) = match entry.defined {
            None => (key.document(KEPT), entry.subscription.to_document()),
            Some(_) => {
                // The secret is where the settings say.
                let mut public = entry.subscription.clone();
                public.secret = None;
                (key.document(DEFINED), public.to_document())
            }
        };
        let journal = self.pipeline.journal();
        put(journal.as_ref(), &name, Some(document)).await
    }
}

/// Changes come one after the other, so a document is what it was when it was read.
async fn put(
    journal: &dyn Documents,
    name: &str,
    document: Option<Vec<u8>>,
) -> Result<(), Unavailable> {
    let put = journal.put_document(name, document, Expected::Anything);
    match put.await {
        Ok(_) => Ok(()),
        Err(PutError::Unavailable(error)) => Err(error),
        Err(error) => Err(Unavailable::Away(error.to_string())),
    }
}

impl Entry {
    fn changeable(&self) -> Result<(), ChangeError> {
        match self.is_defined() {
            true => Err(ChangeError::Defined(self.subscription.key.clone())),
            false => Ok(()),
        }
    }
}

impl Subscription {
    fn activate(&mut self, active: Option<bool>) {
        self.active = active.unwrap_or(self.active);
        if self.active {
            self.ended = None;
        }
    }
}
