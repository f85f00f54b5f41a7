//! [`Provider`]: makes the journals that the suite tests.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Timestamp;
use crate::clock::Clock;
use crate::clock::FakeClock;
use crate::journal::Journal;

/// Makes the journals that the suite tests.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Opens an empty journal that takes all times from `clock`.
    async fn open(&self, clock: Arc<dyn Clock>) -> Instances;
}

/// One journal, as two instances see it.
#[derive(Debug, Clone)]
pub struct Instances {
    first: Arc<dyn Journal>,
    second: Arc<dyn Journal>,
}

impl Instances {
    /// Takes two handles on one journal; the same one twice if the engine has one instance only.
    pub fn new(first: Arc<dyn Journal>, second: Arc<dyn Journal>) -> Self {
        Self { first, second }
    }

    /// Returns the first handle.
    pub fn first(&self) -> &Arc<dyn Journal> {
        &self.first
    }

    /// Returns the second handle.
    pub fn second(&self) -> &Arc<dyn Journal> {
        &self.second
    }

    /// Returns the handles in turn, for the `number`th user of a journal.
    pub(super) fn of(&self, number: u64) -> Arc<dyn Journal> {
        let instance = if number.is_multiple_of(2) {
            &self.first
        } else {
            &self.second
        };
        Arc::clone(instance)
    }
}

/// Opens a journal for one case. Its clock stands still until the case moves it.
#[doc(hidden)]
pub async fn open(provider: &dyn Provider) -> (Instances, Arc<FakeClock>) {
    let start = Timestamp::from_second(1_700_000_000).unwrap();
    let clock = Arc::new(FakeClock::new(start));
    let instances = provider.open(Arc::clone(&clock) as Arc<dyn Clock>).await;
    (instances, clock)
}
