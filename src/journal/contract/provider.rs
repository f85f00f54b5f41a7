//! [`Provider`]: what makes the journals that the suite tries.

use std::sync::Arc;

use async_trait::async_trait;

use crate::Timestamp;
use crate::clock::Clock;
use crate::clock::FakeClock;
use crate::journal::Journal;

/// Makes the journals that the suite tries.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Opens a journal with nothing in it, whose windows and times go by `clock`.
    async fn open(&self, clock: Arc<dyn Clock>) -> Instances;
}

/// One journal, as two instances see it.
#[derive(Debug, Clone)]
pub struct Instances {
    first: Arc<dyn Journal>,
    second: Arc<dyn Journal>,
}

impl Instances {
    /// Two handles on one journal; the same one twice where an engine has one instance only.
    pub fn new(first: Arc<dyn Journal>, second: Arc<dyn Journal>) -> Self {
        Self { first, second }
    }

    /// The first handle.
    pub fn first(&self) -> &Arc<dyn Journal> {
        &self.first
    }

    /// The second handle.
    pub fn second(&self) -> &Arc<dyn Journal> {
        &self.second
    }

    /// Both in turn: the `number`th user of a journal.
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
