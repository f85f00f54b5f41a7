//! [`HandlerChanges`]: lets each handler run as the settings say now.
//!
//! A handler that changes first finishes its running attempts, which may take as long as their timeout. Later
//! reloads do not wait for that: they only say what is wanted of the handler in the end. Work on one handler is done
//! one after the other, and work on different handlers at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::dispatch::Consumer;
use crate::engine::Pipeline;

/// The handlers that reloads change at the moment, by the names of their consumers.
#[derive(Default)]
pub(crate) struct HandlerChanges(BTreeMap<String, Arc<Slot>>);

/// Makes a consumer as often as it is started.
pub(super) type MakeConsumer = Arc<dyn Fn() -> Consumer + Send + Sync>;

#[derive(Default)]
struct Slot {
    wanted: Mutex<Wanted>,
    /// The number of the wish that was fulfilled last. Held during the work.
    done: tokio::sync::Mutex<u64>,
}

#[derive(Clone, Default)]
struct Wanted {
    /// Counts the wishes.
    number: u64,
    /// `None` if the handler is to end.
    make: Option<MakeConsumer>,
}

impl HandlerChanges {
    /// From now on the handler is wanted like this. The work that is returned has to be done then.
    pub(super) fn want(
        &mut self,
        name: &str,
        make: Option<MakeConsumer>,
        pipeline: &Arc<Pipeline>,
    ) -> impl Future<Output = ()> + Send + use<> {
        // Those that only this map has are done.
        self.0.retain(|_, slot| Arc::strong_count(slot) > 1);
        let slot = Arc::clone(self.0.entry(name.to_owned()).or_default());
        let mut wanted = slot.wanted();
        wanted.number += 1;
        wanted.make = make;
        drop(wanted);
        let (name, pipeline) = (name.to_owned(), Arc::clone(pipeline));
        async move { slot.fulfil(&name, &pipeline).await }
    }
}

impl Slot {
    async fn fulfil(&self, name: &str, pipeline: &Pipeline) {
        let mut done = self.done.lock().await;
        if *done == self.wanted().number {
            return;
        }
        let _renewal = pipeline.renewal(name);
        pipeline.retire(name).await;
        // A later reload may have changed it meanwhile.
        let Wanted { number, make } = self.wanted().clone();
        match make {
            Some(make) => pipeline.renew(|| make()).await,
            None => pipeline.forget_metrics(name),
        }
        *done = number;
    }

    fn wanted(&self) -> MutexGuard<'_, Wanted> {
        // No panic can leave it half-changed.
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
