//! [`LargeBodies`]: how much of large bodies attempts hold in memory.
//!
//! An attempt that hangs holds its body. The slots of a consumer bound how many those are, but not how
//! large. So bodies that take more than [`LARGE`] share a budget over all consumers. Beside it each session of
//! each consumer may always have one: neither a consumer nor a session waits for another's attempts.
//!
//! The budget can be resized. What is held stays held: a smaller budget takes back what becomes free first.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::lane::SessionKey;

/// The budget of all consumers.
#[derive(Debug)]
pub(crate) struct LargeBodies {
    /// In KiB.
    shared: Arc<Semaphore>,
    all: AtomicU32,
    /// Notified when `all` changes, which bounds what one body takes.
    resized: Notify,
    /// Bounds how many bodies are decoded at the same time.
    pub(super) decoding: Semaphore,
}

/// The sessions of one consumer that have a large body beside the budget.
#[derive(Debug, Default)]
pub(super) struct OwnRoom {
    sessions: Mutex<HashSet<SessionKey>>,
    freed: Notify,
}

/// The room of one attempt's body; free again when this is dropped.
#[derive(Debug)]
pub(super) enum LargeRoom {
    Shared(#[expect(dead_code, reason = "it is held")] OwnedSemaphorePermit),
    Own(Arc<OwnRoom>, SessionKey),
}

impl LargeBodies {
    /// At most `bytes`, beside the one of each session.
    pub(crate) fn new(bytes: usize) -> Self {
        let all = kib(bytes);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            shared: Arc::new(Semaphore::new(all as usize)),
            all: AtomicU32::new(all),
            resized: Notify::new(),
            decoding: Semaphore::new(cores),
        }
    }

    /// From now on at most `bytes`. If more is held, a task waits for what is too much.
    pub(crate) fn resize(&self, bytes: usize) {
        let all = kib(bytes);
        let before = self.all.swap(all, Ordering::Relaxed);
        if all > before {
            self.shared.add_permits((all - before) as usize);
        } else if all < before {
            let (shared, less) = (Arc::clone(&self.shared), before - all);
            tokio::spawn(async move {
                // Nothing closes it.
                if let Ok(permits) = shared.acquire_many_owned(less).await {
                    permits.forget();
                }
            });
        }
        self.resized.notify_waiters();
    }

    fn permits(&self, bytes: usize) -> u32 {
        kib(bytes).min(self.all.load(Ordering::Relaxed))
    }

    /// Takes room for a body of `bytes`, if there is some now.
    pub(super) fn try_take(
        &self,
        own: &Arc<OwnRoom>,
        session: SessionKey,
        bytes: usize,
    ) -> Option<LargeRoom> {
        if own.lock().insert(session) {
            return Some(LargeRoom::Own(Arc::clone(own), session));
        }
        let permits = self.permits(bytes);
        let permit = Arc::clone(&self.shared).try_acquire_many_owned(permits);
        permit.ok().map(LargeRoom::Shared)
    }

    /// Waits for that room.
    pub(super) async fn take(
        &self,
        own: &Arc<OwnRoom>,
        session: SessionKey,
        bytes: usize,
    ) -> LargeRoom {
        loop {
            let resized = self.resized.notified();
            let permits = self.permits(bytes);
            tokio::select! {
                room = self.take_permits(own, session, permits) => return room,
                // A smaller budget may never have so many.
                () = resized => {}
            }
        }
    }

    async fn take_permits(
        &self,
        own: &Arc<OwnRoom>,
        session: SessionKey,
        permits: u32,
    ) -> LargeRoom {
        let shared = Arc::clone(&self.shared).acquire_many_owned(permits);
        let mut shared = std::pin::pin!(shared);
        loop {
            let freed = own.freed.notified();
            if own.lock().insert(session) {
                return LargeRoom::Own(Arc::clone(own), session);
            }
            tokio::select! {
                () = freed => {}
                permit = &mut shared => match permit {
                    Ok(permit) => return LargeRoom::Shared(permit),
                    // Nothing closes it.
                    Err(_) => std::future::pending().await,
                },
            }
        }
    }
}

impl OwnRoom {
    fn lock(&self) -> MutexGuard<'_, HashSet<SessionKey>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LargeRoom {
    fn drop(&mut self) {
        if let Self::Own(own, session) = self {
            own.lock().remove(session);
            own.freed.notify_waiters();
        }
    }
}

fn kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024))
        .unwrap_or(u32::MAX)
        .max(1)
}

/// A smaller body is held without being counted: a consumer has 64 slots, unless its settings say otherwise.
pub(super) const LARGE: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dispatch::lane::SessionHasher;

    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn each_session_has_room_for_one() {
        let hasher = SessionHasher::random();
        let [bad, good] = ["bad", "good"].map(|session| hasher.key("s", Some(session)));
        let bodies = LargeBodies::new(4 * MIB);
        let (one, other) = (Arc::<OwnRoom>::default(), Arc::<OwnRoom>::default());
        let mut held: Vec<_> = (0..5)
            .map(|_| bodies.try_take(&one, bad, MIB).unwrap())
            .collect();
        assert!(bodies.try_take(&one, bad, MIB).is_none());
        // Neither another session nor another consumer waits for it.
        let free = [
            bodies.try_take(&one, good, 40 * MIB),
            bodies.try_take(&other, bad, 40 * MIB),
        ];
        assert!(free.iter().all(Option::is_some));
        let waits = bodies.take(&one, bad, MIB);
        let mut waits = std::pin::pin!(waits);
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        held.pop();
        let taken = waits.await;
        assert!(matches!(taken, LargeRoom::Shared(_)));
        let waits = bodies.take(&one, bad, 40 * MIB);
        let mut waits = std::pin::pin!(waits);
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        // The first had the session's own room.
        held.remove(0);
        assert!(matches!(waits.await, LargeRoom::Own(..)));
    }

    #[tokio::test]
    async fn a_smaller_budget_waits_for_what_is_held() {
        let key = SessionHasher::random().key("s", Some("one"));
        let bodies = LargeBodies::new(4 * MIB);
        let own = Arc::<OwnRoom>::default();
        let mut held: Vec<_> = (0..5)
            .map(|_| bodies.try_take(&own, key, MIB).unwrap())
            .collect();
        let waits = bodies.take(&own, key, 3 * MIB);
        let mut waits = std::pin::pin!(waits);
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        bodies.resize(MIB);
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(waits.as_mut()).is_pending());
        // Three are taken back, the fourth is what the body may have now.
        held.truncate(1);
        let room = waits.await;
        assert!(matches!(room, LargeRoom::Shared(_)));
        assert!(bodies.try_take(&own, key, MIB).is_none());
        bodies.resize(2 * MIB);
        assert!(bodies.try_take(&own, key, MIB).is_some());
    }
}
