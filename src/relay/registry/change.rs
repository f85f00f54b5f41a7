//! Changes of subscriptions by the API: registering, changing, resuming and removing.
//!
//! A change stores the subscription's document first, and then changes its consumer.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use url::Url;

use super::super::subscription::{Subscription, SubscriptionKey, shown};
use super::super::{RejectedAddress, SubscriptionHeaders};
use super::{MAX_SUBSCRIPTIONS, REGISTERED, RegisteredSubscription, Registry};
use crate::journal::{AddError, PutError, Unavailable, Version};
use crate::signature::Secrets;
use crate::{Error, EventKind};

/// The fields to change of a subscription. `None` leaves a field as it is.
#[derive(Clone, Default)]
pub(crate) struct SubscriptionChange {
    pub(crate) url: Option<Url>,
    pub(crate) events: Option<Option<BTreeSet<EventKind>>>,
    pub(crate) secrets: Option<Secrets>,
    pub(crate) headers: Option<SubscriptionHeaders>,
    pub(crate) active: Option<bool>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ChangeError {
    #[error("{0} is defined in settings.toml; change it there")]
    Defined(SubscriptionKey),
    #[error(
        "{0} is defined in settings.toml; change it there, or let it go on as it is: offhook consumers resume '{1}'"
    )]
    DefinedInactive(SubscriptionKey, String),
    #[error("there is no subscription {0}")]
    Unknown(SubscriptionKey),
    #[error("{} exists: replace it? Its secret and its headers are removed, unless given again", .0.name())]
    Exists(SubscriptionKey),
    #[error("{0} is not resumed: {1}")]
    Rejected(SubscriptionKey, RejectedAddress),
    #[error("there are {MAX_SUBSCRIPTIONS} subscriptions, and there can be no more")]
    TooMany,
    /// Another instance has changed it first, and this one goes by that now.
    #[error("other requests change {0} at the same time; read it again, then repeat the change")]
    Conflict(SubscriptionKey),
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<Error> for ChangeError {
    fn from(error: Error) -> Self {
        Self::Unavailable(Unavailable::Away(error.to_string()))
    }
}

impl Registry {
    /// Replaces the subscription with this key, or adds it; its times are set here. Returns whether it
    /// is new.
    ///
    /// A new subscription starts from now. A replaced one goes on where it was; with `only_new` none is replaced.
    pub(crate) async fn set(
        self: &Arc<Self>,
        wanted: Subscription,
        only_new: bool,
    ) -> Result<(RegisteredSubscription, bool), ChangeError> {
        let mut tries = 0;
        let set = loop {
            if self.pipeline.is_shared() && self.get(&wanted.key).is_none() {
                // Another instance may still run an earlier one that was removed.
                self.applied_by_all(None).await?;
            }
            let set = self.set_now(wanted.clone(), only_new).await;
            if !is_overtaken(&set, &mut tries) {
                break set?;
            }
        };
        self.applied_by_all(Some(set.0.version)).await?;
        Ok(set)
    }

    async fn set_now(
        self: &Arc<Self>,
        mut wanted: Subscription,
        only_new: bool,
    ) -> Result<(RegisteredSubscription, bool), ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        let before = self.get(&wanted.key);
        wanted.updated_at = self.clock.now();
        if let Some(before) = &before {
            before.check_changeable()?;
            if only_new {
                return Err(ChangeError::Exists(wanted.key));
            }
            wanted.created_at = before.subscription.created_at;
        } else {
            // Of several instances the journal counts, within the change.
            if !self.pipeline.is_shared() {
                if self.lock().len() >= MAX_SUBSCRIPTIONS {
                    return Err(ChangeError::TooMany);
                }
                // A removal that failed halfway may have left the progress of an old subscription with this
                // name.
                let journal = self.pipeline.journal();
                journal.forget_consumer(&wanted.key.consumer()).await?;
            }
            wanted.created_at = wanted.updated_at;
        }
        let entry = self.apply(before.as_ref(), wanted).await?;
        self.end_suspension(&entry.subscription.key).await;
        Ok((entry, before.is_none()))
    }

    pub(crate) async fn change(
        self: &Arc<Self>,
        key: &SubscriptionKey,
        change: SubscriptionChange,
    ) -> Result<RegisteredSubscription, ChangeError> {
        let mut tries = 0;
        let entry = loop {
            let changed = self.change_now(key, change.clone()).await;
            if !is_overtaken(&changed, &mut tries) {
                break changed?;
            }
        };
        self.applied_by_all(Some(entry.version)).await?;
        Ok(entry)
    }

    async fn change_now(
        self: &Arc<Self>,
        key: &SubscriptionKey,
        change: SubscriptionChange,
    ) -> Result<RegisteredSubscription, ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        let unknown = || ChangeError::Unknown(key.clone());
        let before = self.get(key).ok_or_else(unknown)?;
        before.check_changeable()?;
        let activates = change.active == Some(true);
        let entry = self.change_one(&before, change).await?;
        if activates {
            self.end_suspension(key).await;
        }
        Ok(entry)
    }

    /// Activates the subscription with this consumer's name. If it is active but its consumer does not
    /// run, because the journal could not be read at the start, the consumer is started.
    ///
    /// If there is no such subscription, it does nothing.
    pub(crate) async fn resume(self: &Arc<Self>, consumer: &str) -> Result<(), ChangeError> {
        let mut tries = 0;
        let version = loop {
            let resumed = self.resume_now(consumer).await;
            if !is_overtaken(&resumed, &mut tries) {
                break resumed?;
            }
        };
        Ok(self.applied_by_all(Some(version)).await?)
    }

    async fn resume_now(self: &Arc<Self>, consumer: &str) -> Result<Version, ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        let mut all = self.list(None).into_iter();
        let named = all.find(|entry| entry.subscription.key.consumer() == consumer);
        if let Some(before) = named
            && !(before.subscription.active && self.controls(consumer).is_some())
        {
            if let Some(rejected) = before.rejected() {
                let key = before.subscription.key.clone();
                return Err(ChangeError::Rejected(key, rejected.clone()));
            }
            let activate = SubscriptionChange {
                active: Some(true),
                ..SubscriptionChange::default()
            };
            return Ok(self.change_one(&before, activate).await?.version);
        }
        Ok(0)
    }

    async fn change_one(
        self: &Arc<Self>,
        before: &RegisteredSubscription,
        change: SubscriptionChange,
    ) -> Result<RegisteredSubscription, ChangeError> {
        let mut after = before.subscription.clone();
        after.url = change.url.unwrap_or(after.url);
        after.events = change.events.unwrap_or(after.events);
        after.secrets = change.secrets.unwrap_or(after.secrets);
        after.headers = change.headers.unwrap_or(after.headers);
        after.active = change.active.unwrap_or(after.active);
        if after.active {
            after.ended = None;
        }
        after.updated_at = self.clock.now();
        self.apply(Some(before), after).await
    }

    /// Stores the subscription as it should be, then changes its consumer.
    async fn apply(
        self: &Arc<Self>,
        before: Option<&RegisteredSubscription>,
        after: Subscription,
    ) -> Result<RegisteredSubscription, ChangeError> {
        let consumer = after.key.consumer();
        let running = before.filter(|_| self.controls(&consumer).is_some());
        let staying = running.filter(|before| before.can_stay(&after));
        let defined = before.and_then(|before| before.defined.clone());
        let mut entry = RegisteredSubscription::new(after, defined, &self.guard());
        if let Some(before) = staying {
            entry.gone = Arc::clone(&before.gone);
        }
        entry.version = before.map_or(0, |before| before.version);
        let saved = match before.is_none() && self.pipeline.is_shared() {
            true => match self.add(&entry).await {
                Err(AddError::TooMany) => return Err(ChangeError::TooMany),
                Err(AddError::Put(error)) => Err(error),
                Ok(version) => Ok(version),
            },
            false => self.save(&entry).await,
        };
        entry.version = self.stored(&entry.subscription.key, saved).await?;
        self.insert(entry.clone());
        let (key, url) = (&entry.subscription.key, shown(&entry.subscription.url));
        if !entry.subscription.active {
            self.pipeline.stop_consumer(&consumer).await;
            log::info!("subscription {key}: not active; nothing is sent to {url}");
        } else if let Some(rejected) = entry.rejected() {
            self.pipeline.stop_consumer(&consumer).await;
            log::warn!("subscription {key}: nothing is sent, its events wait: {rejected}");
        } else if staying.is_none() {
            // Where several instances share the journal, its document has introduced it.
            if before.is_none() && !self.pipeline.is_shared() {
                self.pipeline.introduce(&consumer).await?;
            }
            self.pipeline.replace(self.consumer(&entry)).await?;
            let is_same = before.is_some_and(|before| {
                let before = &before.subscription;
                before.active && before.url == entry.subscription.url
            });
            match is_same {
                true => log::info!("subscription {key}: changed; events go to {url} as before"),
                false => log::info!("subscription {key}: events go to {url}"),
            }
        }
        Ok(entry)
    }

    /// Removes a subscription, if there is one. When this returns, nothing more is sent for it, and a
    /// later subscription with its key is a new one.
    pub(crate) async fn remove(self: &Arc<Self>, key: &SubscriptionKey) -> Result<(), ChangeError> {
        self.remove_these(|entry| entry.subscription.key == *key)
            .await
    }

    /// Removes all subscriptions of a session, as [`Registry::remove`] does one. If the settings define
    /// one of them, none is removed.
    pub(crate) async fn remove_all(self: &Arc<Self>, session: &str) -> Result<(), ChangeError> {
        self.remove_these(|entry| entry.subscription.key.session() == session)
            .await
    }

    async fn remove_these(
        self: &Arc<Self>,
        which: impl Fn(&RegisteredSubscription) -> bool + Send + Sync,
    ) -> Result<(), ChangeError> {
        let mut tries = 0;
        loop {
            let removed = self.remove_now(&which).await;
            if !is_overtaken(&removed, &mut tries) {
                return self.removed(removed?).await;
            }
        }
    }

    /// Removes these. Returns the keys of those that were there, and the version of the last change; without one,
    /// another instance may have removed them, and others may not know it yet.
    async fn remove_now(
        self: &Arc<Self>,
        which: &(impl Fn(&RegisteredSubscription) -> bool + Send + Sync),
    ) -> Result<(Vec<SubscriptionKey>, Option<Version>), ChangeError> {
        let _one_at_a_time = self.changes.lock().await;
        let mut entries = self.list(None);
        entries.retain(which);
        for entry in &entries {
            entry.check_changeable()?;
        }
        let (mut keys, mut newest) = (Vec::new(), None);
        for entry in entries {
            let key = entry.subscription.key;
            let put = self
                .put(&key.document(REGISTERED), None, entry.version)
                .await;
            newest = Some(self.stored(&key, put).await?);
            self.lock().remove(&key);
            if self.pipeline.is_shared() {
                // Others may still save its progress.
                self.pipeline.dismiss(&key.consumer()).await;
            } else if let Err(error) = self.pipeline.remove(&key.consumer()).await {
                // Its consumer is stopped. A new subscription with its name first removes the old
                // progress.
                log::warn!("subscription {key}: its progress is not removed yet: {error}");
            }
            log::info!("subscription {key}: removed");
            keys.push(key);
        }
        Ok((keys, newest))
    }

    /// Waits until nothing more is sent for subscriptions that were removed.
    async fn removed(
        &self,
        (keys, version): (Vec<SubscriptionKey>, Option<Version>),
    ) -> Result<(), ChangeError> {
        self.applied_by_all(version).await?;
        for key in keys {
            if let Err(error) = self.forget_removed(&key).await {
                log::warn!("subscription {key}: its progress is not removed yet: {error}");
            }
        }
        Ok(())
    }

    /// The version of a stored change. After another instance's change, this one goes by that first.
    async fn stored(
        self: &Arc<Self>,
        key: &SubscriptionKey,
        put: Result<Version, PutError>,
    ) -> Result<Version, ChangeError> {
        match put {
            Ok(version) => Ok(version),
            Err(PutError::Unavailable(error)) => Err(error.into()),
            Err(_) => {
                self.apply_stored_now().await?;
                Err(ChangeError::Conflict(key.clone()))
            }
        }
    }
}

/// Whether a change is made again, because another instance was faster.
fn is_overtaken<T>(changed: &Result<T, ChangeError>, tries: &mut usize) -> bool {
    *tries += 1;
    matches!(changed, Err(ChangeError::Conflict(_))) && *tries <= MOST_TRIES
}

impl RegisteredSubscription {
    fn check_changeable(&self) -> Result<(), ChangeError> {
        let Subscription { key, active, .. } = &self.subscription;
        match (self.is_defined(), active) {
            (false, _) => Ok(()),
            (true, true) => Err(ChangeError::Defined(key.clone())),
            (true, false) => Err(ChangeError::DefinedInactive(key.clone(), key.consumer())),
        }
    }

    /// Whether its consumer, which runs, is right for the changed subscription too. Running attempts are
    /// not interrupted then.
    pub(super) fn can_stay(&self, after: &Subscription) -> bool {
        // A consumer whose subscriber has answered 410 is about to end, but this change came later.
        let is_ending = self.gone.load(Ordering::SeqCst);
        let both_active = self.subscription.active && after.active;
        both_active && !is_ending && self.subscription.is_like(after)
    }
}

/// How often a change is made again that another instance has overtaken.
const MOST_TRIES: usize = 5;

#[cfg(test)]
mod tests {
    use super::super::super::Guard;
    use super::*;

    fn to(url: &str, active: bool) -> Subscription {
        let key = SubscriptionKey::new("*", "crm").unwrap();
        Subscription {
            active,
            ..Subscription::new(key, url.parse().unwrap())
        }
    }

    #[test]
    fn only_what_must_change_is_done() {
        let at = |active| {
            let subscription = to("http://a/", active);
            RegisteredSubscription::new(subscription, None, &Guard::default())
        };
        let (active, inactive, ending) = (at(true), at(false), at(true));
        ending.gone.store(true, Ordering::SeqCst);
        let table = [
            (&active, to("http://a/", true), true),
            (&active, to("http://b/", true), false),
            (&active, to("http://a/", false), false),
            (&ending, to("http://a/", true), false),
            (&inactive, to("http://a/", true), false),
        ];
        for (running, after, stays) in table {
            assert_eq!(running.can_stay(&after), stays, "{running:?} {after:?}");
        }
    }
}
