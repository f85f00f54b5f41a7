//! [`RefusedRequests`]: takes refused requests, and shows those that are kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use uuid::{ContextV7, Uuid};

use super::capture::{Arrived, Capture, CapturedBody};
use super::diagnosis::of_body;
use super::kept::Kept;
use super::known::{Known, KnownSource};
use super::losses::{Losses, Lost};
use super::pool::{Entry, Selection};
use super::rates::Rates;
use super::settings::RefusedSettings;
use super::shown::{Details, Group, Listed};
use super::thread::{Sent, Shared, run};
use crate::Timestamp;
use crate::clock::Clock;
use crate::signature::Finding;
use crate::telemetry::Metrics;

/// The refused requests that are kept in memory.
pub(crate) struct RefusedRequests {
    shared: Arc<Shared>,
    thread: SyncSender<Sent>,
    rates: Rates,
    /// How many are kept at most.
    keep: AtomicUsize,
    /// Those that were not even taken.
    losses: Mutex<Losses>,
    clock: Arc<dyn Clock>,
    since: Timestamp,
    order: Mutex<ContextV7>,
}

/// A page of refused requests.
pub(crate) struct Page {
    pub(crate) refused: Vec<Listed>,
    pub(crate) groups: Vec<Group>,
    pub(crate) has_more: bool,
    /// Since when they are kept.
    pub(crate) since: Timestamp,
    /// How many were refused since then and are not kept.
    pub(crate) dropped: u64,
}

impl RefusedRequests {
    /// Keeps refused requests from now on, and starts the thread that explains them.
    pub(crate) fn new(
        settings: &RefusedSettings,
        metrics: &Arc<Metrics>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let shared = Arc::new(Shared::new(Arc::clone(metrics)));
        let (thread, inbox) = sync_channel(MOST_ON_THE_WAY);
        let own = Arc::clone(&shared);
        let named = std::thread::Builder::new().name("offhook-refused".to_owned());
        if let Err(error) = named.spawn(move || run(&own, &inbox)) {
            log::warn!("refused requests are not kept: no thread could be started: {error}");
        }
        let refused = Self {
            shared,
            thread,
            rates: Rates::default(),
            keep: AtomicUsize::new(0),
            losses: Mutex::default(),
            since: clock.now(),
            clock,
            order: Mutex::new(ContextV7::new()),
        };
        refused.set_limits(settings);
        refused
    }

    /// From now on there is room for so much.
    pub(crate) fn set_limits(&self, settings: &RefusedSettings) {
        self.keep.store(settings.keep, Ordering::Relaxed);
        let longest = &self.shared.longest_body;
        longest.store(settings.body, Ordering::Relaxed);
        self.shared.pool().set_limits(settings.clone());
    }

    /// These sources are served from now on. What is kept is looked into again.
    pub(crate) fn know(&self, sources: Vec<KnownSource>) {
        let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
        self.rates.keep(&names);
        self.losses().keep(&names);
        self.shared.pool().losses.keep(&names);
        self.shared.known.store(Arc::new(Known::new(sources)));
        self.shared.has_changed.store(true, Ordering::SeqCst);
        // If the channel is full, the thread is awake.
        let _ = self.thread.try_send(Sent::Wake);
    }

    /// Takes a refused request whose answer is made. Does not wait, and takes the same time whatever the reason is.
    /// Returns the id under which it is kept.
    pub(crate) fn take(&self, arrived: Arrived<'_>) -> Option<Uuid> {
        if self.keep.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let source = arrived.source.map(AsRef::as_ref);
        let now = self.clock.now();
        let lost = { arrived.source.cloned() }.filter(|_| !arrived.cause.is_misdirected());
        let has_body = arrived.request.is_some();
        if !self.rates.pass(source, has_body, self.clock.monotonic()) {
            self.losses().add(lost.as_ref(), now);
            return None;
        }
        let id = self.new_id(now);
        let mut capture = Capture::new(id, now, arrived);
        let length = self.reserve(&mut capture);
        match self.thread.try_send(Sent::Capture(Box::new(capture))) {
            Ok(()) => Some(id),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.shared.on_the_way.fetch_sub(length, Ordering::Relaxed);
                self.losses().add(lost.as_ref(), now);
                None
            }
        }
    }

    /// Counts the body that is on its way to the thread. If others are on their way and there is no room, only its
    /// length goes.
    fn reserve(&self, capture: &mut Capture) -> usize {
        let CapturedBody::Read(request) = &capture.body else {
            return 0;
        };
        let length = request.body.len();
        let others = self.shared.on_the_way.fetch_add(length, Ordering::Relaxed);
        if others == 0 || others + length <= MOST_BYTES_ON_THE_WAY {
            return length;
        }
        self.shared.on_the_way.fetch_sub(length, Ordering::Relaxed);
        capture.body = CapturedBody::Left(length as u64);
        0
    }

    /// Ids are in the order of these calls.
    fn new_id(&self, at: Timestamp) -> Uuid {
        let seconds = u64::try_from(at.as_second()).unwrap_or_default();
        let nanos = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
        Uuid::new_v7(uuid::Timestamp::from_unix(&self.order, seconds, nanos))
    }

    /// Waits until what was taken before is in the pool, but not long: the thread may explain a large body.
    pub(crate) async fn settle(&self) {
        let (done, settled) = oneshot::channel();
        if self.thread.try_send(Sent::Settle(done)).is_ok() {
            let _ = timeout(SETTLE_LIMIT, settled).await;
        }
    }

    /// Those that are meant, the newest first, from the one before `before` on.
    pub(crate) fn page(&self, which: &Selection, before: Option<Uuid>, limit: usize) -> Page {
        let known = self.shared.known.load();
        let pool = self.shared.pool();
        let is_older = |entry: &&Entry| before.is_none_or(|before| entry.kept.id < before);
        let mut older = pool.selected(which).rev().filter(is_older);
        let refused = older
            .by_ref()
            .take(limit)
            .map(|one| Listed::new(one, &known))
            .collect();
        Page {
            refused,
            has_more: older.next().is_some(),
            groups: Group::of(pool.selected(which)),
            since: self.since,
            dropped: self.losses().total() + pool.losses.total(),
        }
    }

    /// What was refused of this source, or of any, and is not kept.
    pub(crate) fn lost(&self, source: Option<&str>) -> Option<Lost> {
        let not_taken = self.losses().of(source);
        let gone = self.shared.pool().losses.of(source);
        not_taken
            .into_iter()
            .chain(gone)
            .reduce(|one, other| one.and(&other))
    }

    fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many are kept of sources; what came to other paths, or with another method, is left out.
    #[cfg(feature = "dashboard")]
    pub(crate) fn count_of_sources(&self) -> usize {
        let pool = self.shared.pool();
        let which = Selection::default();
        let all = pool.selected(&which);
        all.filter(|entry| !entry.kept.is_misdirected()).count()
    }

    /// All that is known of one.
    pub(crate) fn details(&self, id: Uuid) -> Option<Details> {
        let known = self.shared.known.load();
        let pool = self.shared.pool();
        Some(Details::new(pool.get(id)?, &known))
    }

    /// What is wrong with a request, by the settings of now. This may take long.
    pub(crate) fn findings(&self, kept: &Kept) -> Vec<Finding> {
        let known = self.shared.known.load_full();
        of_body(kept, &known).findings().to_vec()
    }

    /// The ids that begin so, in hexadecimal digits and hyphens.
    pub(crate) fn beginning_with(&self, text: &str) -> Vec<Uuid> {
        let all = Selection::default();
        let pool = self.shared.pool();
        let ids = pool.selected(&all).map(|entry| entry.kept.id);
        ids.filter(|id| id.to_string().starts_with(text)).collect()
    }

    /// A request that is kept.
    pub(crate) fn get(&self, id: Uuid) -> Option<Arc<Kept>> {
        let pool = self.shared.pool();
        pool.get(id).map(|entry| Arc::clone(&entry.kept))
    }

    /// Those that are meant and have their bodies, the oldest first.
    pub(crate) fn with_bodies(&self, which: &Selection) -> Vec<Arc<Kept>> {
        let pool = self.shared.pool();
        let selected = pool.selected(which).map(|entry| &entry.kept);
        selected
            .filter(|kept| kept.body().is_some())
            .cloned()
            .collect()
    }

    /// Forgets one. Returns whether it was kept.
    pub(crate) fn remove(&self, id: Uuid) -> bool {
        self.shared.pool().remove(id)
    }

    /// Forgets all of a source, or all. Returns how many.
    pub(crate) fn forget(&self, source: Option<&str>) -> usize {
        self.shared.pool().forget(source)
    }
}

impl std::fmt::Debug for RefusedRequests {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RefusedRequests").finish_non_exhaustive()
    }
}

/// How many requests may be on their way to the thread.
const MOST_ON_THE_WAY: usize = 256;

/// The bytes of their bodies. One body of any length may be on its way.
const MOST_BYTES_ON_THE_WAY: usize = 8 * 1024 * 1024;

const SETTLE_LIMIT: Duration = Duration::from_secs(1);
