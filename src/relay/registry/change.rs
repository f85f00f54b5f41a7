//! Changes of subscriptions by the API: registering, changing, resuming and removing.

use std::collections::BTreeSet;
use std::sync::Arc;

use url::Url;

use super::super::subscription::{Subscription, SubscriptionKey};
use super::{MAX_SUBSCRIPTIONS, REGISTERED, RegisteredSubscription, Registry};
use crate::journal::Unavailable;
use crate::signature::Secret;
use crate::{Error, EventKind};

/// A subscription as a registration asks for it.
pub(crate) struct WantedSubscription {
    pub(crate) key: SubscriptionKey,
    pub(crate) url: Url,
    /// The kinds it wants; `None` for all.
    pub(crate) events: Option<BTreeSet<EventKind>>,
    pub(crate) secret: Option<Secret>,
    pub(crate) active: bool,
}

/// The fields to change of a subscription. `None` leaves a field as it is.
#[derive(Default)]
pub(crate) struct SubscriptionChange {
    pub(crate) url: Option<Url>,
    pub(crate) events: Option<Option<BTreeSet<EventKind>>>,
    pub(crate) secret: Option<Option<Secret>>,
    pub(crate) active: Option<bool>,
}

/// Why a subscription is not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("{0} is defined in settings.toml; change it there")]
    Defined(SubscriptionKey),
    #[error("there is no subscription {0}")]
    Unknown(SubscriptionKey),
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
    /// Replaces the subscription with this key, or adds it. Returns whether it is new.
    ///
    /// A new subscription starts from now. A replaced one goes on where it was.
    ///
    /// # Errors
    ///
    /// When the settings define it, there are too many, or the journal cannot store it now.
    pub(crate) async fn set(
        self: &Arc<Self>,
        wanted: WantedSubscription,
    ) -> Result<(RegisteredSubscription, bool), ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        let before = self.get(&wanted.key);
        match &before {
            Some(before) => before.check_changeable()?,
            None => self.make_room(&wanted.key).await?,
        }
        let now = self.clock.now();
        let created_at = before
            .as_ref()
            .map_or(now, |before| before.subscription.created_at);
        let after = Subscription {
            key: wanted.key,
            url: wanted.url,
            events: wanted.events,
            secret: wanted.secret,
            active: wanted.active,
            ended: None,
            created_at,
            updated_at: now,
        };
        let entry = self.apply(before.as_ref(), after).await?;
        self.end_suspension(&entry).await;
        Ok((entry, before.is_none()))
    }

    /// Prepares for a new subscription.
    async fn make_room(&self, key: &SubscriptionKey) -> Result<(), ChangeError> {
        if self.lock().len() >= MAX_SUBSCRIPTIONS {
            return Err(ChangeError::TooMany);
        }
        // A removal that failed halfway may have left the progress of an old subscription with this
        // name.
        let journal = self.pipeline.journal();
        journal.forget_consumer(&key.consumer()).await?;
        Ok(())
    }

    /// Changes some fields of a subscription.
    ///
    /// # Errors
    ///
    /// When there is none, the settings define it, or the journal cannot store it now.
    pub(crate) async fn change(
        self: &Arc<Self>,
        key: &SubscriptionKey,
        change: SubscriptionChange,
    ) -> Result<RegisteredSubscription, ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        let before = self
            .get(key)
            .ok_or_else(|| ChangeError::Unknown(key.clone()))?;
        before.check_changeable()?;
        let mut after = before.subscription.clone();
        after.url = change.url.unwrap_or(after.url);
        after.events = change.events.unwrap_or(after.events);
        after.secret = change.secret.unwrap_or(after.secret);
        after.active = change.active.unwrap_or(after.active);
        if after.active {
            after.ended = None;
        }
        after.updated_at = self.clock.now();
        let entry = self.apply(Some(&before), after).await?;
        if change.active == Some(true) {
            self.end_suspension(&entry).await;
        }
        Ok(entry)
    }

    /// Activates the subscription with this consumer's name. If it is active but its consumer does not
    /// run, because the journal could not be read at the start, the consumer is started.
    ///
    /// If there is no such subscription, it does nothing.
    ///
    /// # Errors
    ///
    /// When the journal cannot store it now.
    pub(crate) async fn resume(self: &Arc<Self>, consumer: &str) -> Result<(), ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        let all = self.list(None);
        let named = all
            .iter()
            .find(|entry| entry.subscription.key.consumer() == consumer);
        let Some(before) = named else {
            return Ok(());
        };
        if before.subscription.active && self.runs(consumer) {
            return Ok(());
        }
        let after = Subscription {
            active: true,
            ended: None,
            updated_at: self.clock.now(),
            ..before.subscription.clone()
        };
        self.apply(Some(before), after).await?;
        Ok(())
    }

    /// Removes a subscription, if there is one. When this returns, nothing more is sent for it, and a
    /// later subscription with its key is a new one.
    ///
    /// # Errors
    ///
    /// When the settings define it, or the journal cannot remove it now.
    pub(crate) async fn remove(&self, key: &SubscriptionKey) -> Result<(), ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        if let Some(entry) = self.get(key) {
            entry.check_changeable()?;
            self.remove_one(key).await?;
        }
        Ok(())
    }

    /// Removes all subscriptions of a session, as [`Registry::remove`] does one.
    ///
    /// # Errors
    ///
    /// When the settings define one of them, and then none is removed; or when the journal cannot
    /// remove one now.
    pub(crate) async fn remove_all(&self, session: &str) -> Result<(), ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        let entries = self.list(Some(session));
        for entry in &entries {
            entry.check_changeable()?;
        }
        for entry in &entries {
            self.remove_one(&entry.subscription.key).await?;
        }
        Ok(())
    }

    async fn remove_one(&self, key: &SubscriptionKey) -> Result<(), ChangeError> {
        self.put(&key.document(REGISTERED), None).await?;
        self.lock().remove(key);
        if let Err(error) = self.pipeline.remove(&key.consumer()).await {
            // Its consumer is stopped. A new subscription with its name first removes the old progress.
            log::warn!("subscription {key}: its progress is not removed yet: {error}");
        }
        log::info!("subscription {key}: removed");
        Ok(())
    }
}

impl RegisteredSubscription {
    fn check_changeable(&self) -> Result<(), ChangeError> {
        if self.is_defined() {
            return Err(ChangeError::Defined(self.subscription.key.clone()));
        }
        Ok(())
    }
}
