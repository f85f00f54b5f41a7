//! [`InFlight`]: the room for bodies in memory, and who gives way when it is full.
//!
//! A quarter of the room is a reserve for the first 64 KiB of each body. Larger bodies share the rest. When
//! that is full, the largest body that is still being received gives way, and its sender is answered 503:
//! first among those from addresses that have proven nothing lately, then among all. So nobody without a
//! secret can use up the room of those who have one.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use futures_util::task::AtomicWaker;
use tokio::sync::Semaphore;

use crate::clock::{Clock as _, SystemClock};

/// A budget of bytes for bodies in memory, shared by its clones.
///
/// The buffer of a body counts, which is at most twice as long as what has arrived: a sender that declares a
/// long body and sends nothing uses none of the budget. A quarter of it is for the first 64 KiB of each body. One body of any size is taken even
/// where the budget is smaller.
#[derive(Debug, Clone)]
pub struct InFlight(Arc<Room>);

#[derive(Debug)]
struct Room {
    /// All of it: the reserve and what is shared.
    limit: AtomicUsize,
    /// Bytes of the reserve that are in use.
    reserved: AtomicUsize,
    bodies: Mutex<Bodies>,
    /// Addresses that have sent a verified request, and when.
    proven: Mutex<HashMap<IpAddr, Instant>>,
    /// Bounds how many bodies are decoded or read at the same time off the threads that serve connections.
    heavy: Arc<Semaphore>,
}

/// What is held beyond the reserve.
#[derive(Debug, Default)]
struct Bodies {
    bytes: usize,
    /// Those of `bytes` whose bodies have been told to give way.
    leaving: usize,
    /// The bodies that are still being received.
    growing: HashMap<u64, Growing>,
    next: u64,
}

#[derive(Debug)]
struct Growing {
    bytes: usize,
    is_stranger: bool,
    evicted: Arc<Evicted>,
}

/// Tells a body that it has to give way.
#[derive(Debug, Default)]
struct Evicted {
    is_set: AtomicBool,
    reader: AtomicWaker,
}

impl InFlight {
    /// At most `limit` bytes at the same time.
    pub fn new(limit: usize) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Room {
            limit: AtomicUsize::new(limit),
            reserved: AtomicUsize::new(0),
            bodies: Mutex::default(),
            proven: Mutex::default(),
            heavy: Arc::new(Semaphore::new(cores)),
        }))
    }

    /// From now on there is room for `limit` bytes. What is held stays held: if that is more, bodies that are being
    /// received give way when the next one needs room.
    pub(crate) fn resize(&self, limit: usize) {
        self.0.limit.store(limit, Ordering::Relaxed);
    }

    /// The bytes held now.
    pub fn used(&self) -> usize {
        self.0.reserved.load(Ordering::Relaxed) + self.0.bodies().bytes
    }

    /// Room for a body from `peer`, of which nothing has arrived.
    pub(super) fn hold(&self, peer: Option<IpAddr>) -> Held {
        Held {
            room: Arc::clone(&self.0),
            peer,
            reserved: 0,
            shared: 0,
            growing: None,
        }
    }

    /// Notes that a request of `peer` was verified.
    pub(super) fn proven(&self, peer: Option<IpAddr>) {
        let Some(peer) = peer else { return };
        let now = SystemClock.monotonic();
        let mut proven = self.0.proven();
        if proven.len() >= MAX_PROVEN {
            proven.retain(|_, at| now.saturating_duration_since(*at) < LATELY / 2);
        }
        if proven.len() < MAX_PROVEN {
            proven.insert(network(peer), now);
        }
    }

    pub(super) fn heavy(&self) -> &Arc<Semaphore> {
        &self.0.heavy
    }
}

impl Room {
    fn reserve(&self) -> usize {
        self.limit.load(Ordering::Relaxed) / 4
    }

    fn shared(&self) -> usize {
        let limit = self.limit.load(Ordering::Relaxed);
        limit - limit / 4
    }

    fn bodies(&self) -> MutexGuard<'_, Bodies> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn proven(&self) -> MutexGuard<'_, HashMap<IpAddr, Instant>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stranger(&self, peer: Option<IpAddr>) -> bool {
        let now = SystemClock.monotonic();
        let at = peer.and_then(|peer| self.proven().get(&network(peer)).copied());
        at.is_none_or(|at| now.saturating_duration_since(at) > LATELY)
    }
}

impl Bodies {
    /// Has the largest body give way, if there is one. Returns whether that is the body `own`.
    fn evict_one(&mut self, own: u64) -> Option<bool> {
        // Of two that are as large, the newer one.
        let rank = |(id, body): &(&u64, &Growing)| (body.is_stranger, body.bytes, **id);
        let (id, _) = self.growing.iter().max_by_key(rank)?;
        let id = *id;
        let body = self.growing.remove(&id)?;
        self.leaving += body.bytes;
        body.evicted.is_set.store(true, Ordering::Relaxed);
        body.evicted.reader.wake();
        Some(id == own)
    }
}

/// The room that one body takes; it is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    room: Arc<Room>,
    peer: Option<IpAddr>,
    /// Bytes of the reserve.
    reserved: usize,
    /// Bytes beyond it.
    shared: usize,
    /// The body's entry in [`Bodies::growing`], once it has one.
    growing: Option<(u64, Arc<Evicted>)>,
}

impl Held {
    /// Takes room for `bytes` in all. Returns whether there was room for it.
    pub(super) fn grow_to(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.reserved + self.shared);
        let first = more.min(RESERVED.saturating_sub(self.reserved + self.shared));
        let before = self.room.reserved.fetch_add(first, Ordering::Relaxed);
        if before + first <= self.room.reserve() {
            self.reserved += first;
            return first == more || self.share(more - first);
        }
        self.room.reserved.fetch_sub(first, Ordering::Relaxed);
        self.share(more)
    }

    /// Takes `more` bytes beyond the reserve.
    fn share(&mut self, more: usize) -> bool {
        let room = Arc::clone(&self.room);
        let mut bodies = room.bodies();
        let id = match &self.growing {
            Some((id, _)) => *id,
            None => {
                let id = bodies.next;
                bodies.next += 1;
                let evicted = Arc::<Evicted>::default();
                self.growing = Some((id, Arc::clone(&evicted)));
                let body = Growing {
                    bytes: 0,
                    is_stranger: room.is_stranger(self.peer),
                    evicted,
                };
                bodies.growing.insert(id, body);
                id
            }
        };
        let Some(body) = bodies.growing.get_mut(&id) else {
            // It has to give way.
            return false;
        };
        body.bytes += more;
        bodies.bytes += more;
        self.shared += more;
        while bodies.bytes - bodies.leaving > room.shared() && bodies.bytes > self.shared {
            if bodies.evict_one(id) != Some(false) {
                return false;
            }
        }
        true
    }

    /// Counts bytes that are in memory already, even where they do not fit.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.room.bodies().bytes += bytes;
        self.shared += bytes;
    }

    /// The body has arrived: it gives way no more. Returns whether it has not been told to before.
    #[must_use]
    pub(super) fn completed(&mut self) -> bool {
        let Some((id, _)) = &self.growing else {
            return true;
        };
        let is_kept = self.room.bodies().growing.remove(id).is_some();
        if is_kept {
            self.growing = None;
        }
        is_kept
    }

    /// Ready when the body has to give way.
    pub(super) fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        let Some((_, evicted)) = &self.growing else {
            return Poll::Pending;
        };
        evicted.reader.register(cx.waker());
        if evicted.is_set.load(Ordering::Relaxed) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room
            .reserved
            .fetch_sub(self.reserved, Ordering::Relaxed);
        if self.shared == 0 && self.growing.is_none() {
            return;
        }
        let mut bodies = self.room.bodies();
        bodies.bytes -= self.shared;
        if let Some((id, evicted)) = &self.growing {
            bodies.growing.remove(id);
            if evicted.is_set.load(Ordering::Relaxed) {
                bodies.leaving -= self.shared;
            }
        }
    }
}

/// Who is told apart: of IPv6 a network, because the holder of one address there has all of it.
pub(crate) fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        address => address,
    }
}

/// The bytes of each body that come from the reserve.
const RESERVED: usize = 64 * 1024;

/// For how long a verified request speaks for its address.
const LATELY: Duration = Duration::from_secs(600);

/// How many addresses are remembered.
const MAX_PROVEN: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: usize = 1024;

    fn peer(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, number]))
    }

    fn is_evicted(held: &Held) -> bool {
        let cx = Context::from_waker(std::task::Waker::noop());
        held.poll_evicted(&cx).is_ready()
    }

    /// 256 KiB of reserve, 768 KiB to share.
    fn room() -> InFlight {
        InFlight::new(1024 * KIB)
    }

    #[test]
    fn the_largest_stranger_gives_way() {
        let room = room();
        room.proven(peer(1));
        let [mut honest, mut large, mut larger] = [1, 2, 3].map(|number| room.hold(peer(number)));
        assert!(honest.grow_to(400 * KIB));
        assert!(large.grow_to(200 * KIB));
        assert!(larger.grow_to(300 * KIB));
        let mut newcomer = room.hold(peer(4));
        assert!(newcomer.grow_to(250 * KIB));
        assert!(is_evicted(&larger) && !is_evicted(&large) && !is_evicted(&honest));
        // What it held counts until it has gone, but nobody else gives way for that.
        assert!(large.grow_to(250 * KIB));
        assert!(!is_evicted(&newcomer) && !is_evicted(&honest));
        let used = room.used();
        drop(larger);
        assert_eq!(room.used(), used - 300 * KIB);
        // Without strangers the largest of all gives way, even if that is the newcomer.
        drop((large, newcomer));
        room.proven(peer(5));
        let mut late = room.hold(peer(5));
        assert!(!late.grow_to(800 * KIB));
        assert!(is_evicted(&late) && !is_evicted(&honest));
        drop((late, honest));
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn small_bodies_have_a_reserve() {
        let room = room();
        let mut large = room.hold(None);
        assert!(large.grow_to(800 * KIB));
        let mut small: Vec<Held> = (0..3).map(|_| room.hold(None)).collect();
        assert!(small.iter_mut().all(|held| held.grow_to(64 * KIB)));
        assert!(!is_evicted(&large));
        // The reserve is in use, so the next takes from the others.
        let mut next = room.hold(None);
        assert!(next.grow_to(64 * KIB));
        assert!(is_evicted(&large));
    }

    #[test]
    fn a_complete_body_gives_way_no_more() {
        let room = room();
        let mut complete = room.hold(None);
        assert!(complete.grow_to(700 * KIB));
        assert!(complete.completed());
        let mut next = room.hold(peer(1));
        assert!(next.grow_to(64 * KIB));
        assert!(!next.grow_to(300 * KIB));
        assert!(!is_evicted(&complete));
        drop(next);
        drop(complete);
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn one_body_of_any_size_has_room() {
        let room = room();
        let mut alone = room.hold(None);
        assert!(alone.grow_to(5000 * KIB));
        let mut other = room.hold(None);
        assert!(other.grow_to(10 * KIB));
        assert!(other.grow_to(100 * KIB));
        assert!(is_evicted(&alone));
    }

    #[test]
    fn a_smaller_room_keeps_what_is_held() {
        let room = room();
        let mut complete = room.hold(None);
        assert!(complete.grow_to(500 * KIB) && complete.completed());
        let mut growing = room.hold(None);
        assert!(growing.grow_to(200 * KIB));
        room.resize(512 * KIB);
        assert_eq!(room.used(), 700 * KIB);
        assert!(!is_evicted(&growing) && !is_evicted(&complete));
        assert!(!growing.grow_to(210 * KIB), "there is no room for more");
        drop(growing);
        room.resize(2048 * KIB);
        let mut next = room.hold(None);
        assert!(
            next.grow_to(900 * KIB),
            "a larger room is there immediately"
        );
        drop((next, complete));
        assert_eq!(room.used(), 0);
    }

    #[test]
    fn networks_are_told_apart() {
        let network = |address: &str| network(address.parse().unwrap()).to_string();
        assert_eq!(network("10.1.2.3"), "10.1.2.3");
        assert_eq!(network("::ffff:10.1.2.3"), "10.1.2.3");
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
