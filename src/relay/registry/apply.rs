//! Brings a subscription into the wanted state: first its document, then its consumer.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::shown;
use super::super::subscription::Subscription;
use super::change::ChangeError;
use super::{DEFINED, REGISTERED, RegisteredSubscription, Registry};
use crate::Error;
use crate::journal::{Expected, PutError, Unavailable};

/// What has to happen to a subscription's consumer when the subscription changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ConsumerAction {
    /// It runs and is right; running attempts are not interrupted.
    Keep,
    /// None runs, and one should.
    Start,
    /// The one that runs has another URL, other events or another secret, or is about to end.
    Replace,
    /// None should run.
    Stop,
}

impl ConsumerAction {
    fn needed(before: Option<&RegisteredSubscription>, after: &Subscription, runs: bool) -> Self {
        if !after.active {
            return Self::Stop;
        }
        if !runs {
            return Self::Start;
        }
        let delivers_as_wanted = before.is_some_and(|before| {
            // A consumer whose subscriber has answered 410 is about to end, but this change came later.
            let is_ending = before.gone.load(Ordering::SeqCst);
            !is_ending && before.subscription.active && before.subscription.is_like(after)
        });
        if delivers_as_wanted {
            Self::Keep
        } else {
            Self::Replace
        }
    }
}

impl Registry {
    /// Stores the subscription as it should be, then changes its consumer.
    pub(super) async fn apply(
        self: &Arc<Self>,
        before: Option<&RegisteredSubscription>,
        after: Subscription,
    ) -> Result<RegisteredSubscription, ChangeError> {
        let runs = self.runs(&after.key.consumer());
        let action = ConsumerAction::needed(before, &after, runs);
        let mut entry = RegisteredSubscription::new(after, None);
        if let Some(before) = before {
            entry.defined.clone_from(&before.defined);
            if action == ConsumerAction::Keep {
                entry.gone = Arc::clone(&before.gone);
            }
        }
        self.save(&entry).await?;
        let key = &entry.subscription.key;
        self.lock().insert(key.clone(), entry.clone());
        self.act(action, &entry).await?;
        let url = shown(&entry.subscription.url);
        match action {
            ConsumerAction::Keep => {}
            ConsumerAction::Start | ConsumerAction::Replace => {
                log::info!("subscription {key}: events go to {url}");
            }
            ConsumerAction::Stop => {
                log::info!("subscription {key}: not active; nothing is sent to {url}");
            }
        }
        Ok(entry)
    }

    async fn act(
        self: &Arc<Self>,
        action: ConsumerAction,
        entry: &RegisteredSubscription,
    ) -> Result<(), Error> {
        match action {
            ConsumerAction::Keep => Ok(()),
            ConsumerAction::Start => self.pipeline.add(self.consumer(entry)).await,
            ConsumerAction::Replace => self.pipeline.replace(self.consumer(entry)).await,
            ConsumerAction::Stop => {
                let consumer = entry.subscription.key.consumer();
                self.pipeline.stop_consumer(&consumer).await;
                Ok(())
            }
        }
    }

    /// Whether the consumer with this name runs.
    pub(super) fn runs(&self, consumer: &str) -> bool {
        let consumers = self.pipeline.consumers();
        consumers.iter().any(|one| one.name() == consumer)
    }

    /// Writes the subscription's document.
    pub(super) async fn save(&self, entry: &RegisteredSubscription) -> Result<(), Unavailable> {
        let key = &entry.subscription.key;
        let (name, document) = if entry.is_defined() {
            // Its secret stays in the settings.
            let without_secret = Subscription {
                secret: None,
                ..entry.subscription.clone()
            };
            (key.document(DEFINED), without_secret.to_document())
        } else {
            (key.document(REGISTERED), entry.subscription.to_document())
        };
        self.put(&name, Some(document)).await
    }

    /// Writes a document, or removes it if the document is `None`. Changes run one after the other, so
    /// the document has not changed since it was read.
    pub(super) async fn put(
        &self,
        name: &str,
        document: Option<Vec<u8>>,
    ) -> Result<(), Unavailable> {
        let journal = self.pipeline.journal();
        match journal
            .put_document(name, document, Expected::Anything)
            .await
        {
            Ok(_) => Ok(()),
            Err(PutError::Unavailable(error)) => Err(error),
            Err(error) => Err(Unavailable::Away(error.to_string())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::subscription::SubscriptionKey;
    use super::*;
    use crate::Timestamp;

    fn to(url: &str, active: bool) -> Subscription {
        Subscription {
            key: SubscriptionKey::new("*", "crm").unwrap(),
            url: url.parse().unwrap(),
            events: None,
            secret: None,
            active,
            ended: None,
            created_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn only_what_must_change_is_done() {
        use ConsumerAction::{Keep, Replace, Start, Stop};
        let active = RegisteredSubscription::new(to("http://a/", true), None);
        let inactive = RegisteredSubscription::new(to("http://a/", false), None);
        let ending = RegisteredSubscription::new(to("http://a/", true), None);
        ending.gone.store(true, Ordering::SeqCst);
        let table = [
            (None, to("http://a/", true), false, Start),
            (None, to("http://a/", false), false, Stop),
            (Some(&active), to("http://a/", true), true, Keep),
            (Some(&active), to("http://b/", true), true, Replace),
            (Some(&active), to("http://a/", true), false, Start),
            (Some(&active), to("http://a/", false), true, Stop),
            (Some(&ending), to("http://a/", true), true, Replace),
            (Some(&inactive), to("http://a/", true), false, Start),
            (Some(&inactive), to("http://a/", true), true, Replace),
        ];
        for (before, after, runs, expected) in table {
            let found = ConsumerAction::needed(before, &after, runs);
            assert_eq!(found, expected, "{before:?} {after:?} {runs}");
        }
    }
}
