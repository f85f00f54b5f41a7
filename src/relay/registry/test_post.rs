//! Tests of a subscriber: one POST as an attempt would make it, which leaves no trace but at the subscriber.

use std::net::IpAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use super::{RegisteredSubscription, Registry};
use crate::clock::{Clock as _, SystemClock};
use crate::relay::request::Target;
use crate::relay::subscription::SubscriptionKey;
use crate::signature::TEST;
use crate::{Delivery, Received};

/// What a test POST has shown.
#[derive(Debug)]
pub(crate) struct TestPost {
    pub(crate) status: Option<u16>,
    /// Why an attempt would fail.
    pub(crate) verdict: Result<(), String>,
    /// Whether it would not be made again.
    pub(crate) is_final: bool,
    /// The addresses of the host that the guard lets pass.
    pub(crate) resolved: Vec<IpAddr>,
    pub(crate) resolving: Duration,
    pub(crate) first_byte: Option<Duration>,
    pub(crate) took: Duration,
    /// The beginning of the answer's body, with stars in place of signatures and secrets.
    pub(crate) said: Option<String>,
}

/// Why a test is not made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TestBusy {
    /// Another one of the same subscription runs.
    Same,
    /// As many as may run at the same time are of others.
    Others,
}

impl Registry {
    /// Sends a signed test to the subscriber, also if the subscription is suspended or not active. It is not stored,
    /// is no attempt, and is not tried again.
    ///
    /// # Errors
    ///
    /// While another test of it runs, or many of others.
    pub(crate) async fn test(
        &self,
        entry: &RegisteredSubscription,
        session: &str,
        body: Bytes,
    ) -> Result<TestPost, TestBusy> {
        let subscription = &entry.subscription;
        let _alone = Alone::new(self, &subscription.key)?;
        let live = self.live.load_full();
        let (_, client) = live.options(entry);
        let begun = SystemClock.monotonic();
        let vetted = client.guard().vet(&subscription.url).await;
        let resolving = SystemClock.monotonic().saturating_duration_since(begun);
        let mut received = Received::new("offhook-test", body);
        received.id = Uuid::now_v7();
        received.session = Some(session.to_owned());
        received.received_at = self.clock.now();
        let json = Bytes::from_static(b"application/json");
        received.headers = vec![
            ("content-type".into(), json),
            (TEST.into(), Bytes::from_static(b"true")),
        ];
        let delivery = Delivery::new(Arc::new(received), 1, false);
        let mut target = Target::new(
            subscription.url.clone(),
            &subscription.secrets,
            client.guard(),
        );
        target.headers = subscription.headers.clone();
        target.consumer = subscription.key.consumer();
        let resolved = match vetted {
            Ok(resolved) => resolved,
            Err(rejected) => {
                return Ok(TestPost {
                    status: None,
                    verdict: Err(format!("POST {target}: {rejected}")),
                    is_final: false,
                    resolved: Vec::new(),
                    resolving,
                    first_byte: None,
                    took: resolving,
                    said: None,
                });
            }
        };
        let left = LONGEST.saturating_sub(resolving);
        let answer = client.test(&target, &delivery, left).await;
        let verdict = answer.verdict.map_err(|why| match answer.status {
            Some(_) => why,
            None => format!("POST {target}: {why}"),
        });
        Ok(TestPost {
            status: answer.status,
            verdict,
            is_final: answer.is_final,
            resolved: resolved.iter().map(std::net::SocketAddr::ip).collect(),
            resolving,
            first_byte: answer.first_byte,
            took: answer.took,
            said: answer.said,
        })
    }
}

/// No other test of the same subscription runs.
struct Alone<'a>(&'a Registry, &'a SubscriptionKey);

impl<'a> Alone<'a> {
    fn new(registry: &'a Registry, key: &'a SubscriptionKey) -> Result<Self, TestBusy> {
        let tested = registry.tested.lock();
        let mut tested = tested.unwrap_or_else(PoisonError::into_inner);
        if tested.contains(key) {
            return Err(TestBusy::Same);
        }
        // Each runs for its own; many subscriptions must not make many at the same time.
        if tested.len() >= MOST {
            return Err(TestBusy::Others);
        }
        tested.insert(key.clone());
        Ok(Self(registry, key))
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let tested = self.0.tested.lock();
        tested
            .unwrap_or_else(PoisonError::into_inner)
            .remove(self.1);
    }
}

/// How long a test takes at most.
const LONGEST: Duration = Duration::from_secs(15);

/// So many run at the same time.
const MOST: usize = 8;
