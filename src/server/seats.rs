//! [`Seats`]: who may have a connection when there are as many as there may be.
//!
//! A new connection always gets a seat. If there are more than the limit then, another connection gives way:
//! the oldest of the address that has most of those that have proven nothing, unless it is being answered;
//! after them the oldest of the address that has most of the others. So nobody who holds connections keeps
//! others out: an honest sender needs a moment to prove itself, and then others give way first.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use futures_util::task::AtomicWaker;

use crate::signature::network;

/// The seats of one listener.
#[derive(Debug)]
pub(super) struct Seats {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    seats: HashMap<u64, Known>,
    next: u64,
    /// Those that have proven nothing.
    strangers: Rows,
    proven: Rows,
}

#[derive(Debug)]
struct Known {
    address: Option<IpAddr>,
    is_proven: bool,
    shared: Arc<Shared>,
}

/// The seats of each address, by age, and the addresses by how many they have; of those that have as many,
/// the one with the oldest is last.
#[derive(Debug, Default)]
struct Rows {
    of: HashMap<Option<IpAddr>, BTreeSet<u64>>,
    by_count: BTreeSet<(usize, Reverse<u64>, Option<IpAddr>)>,
}

/// What the connection and the other threads know of a seat.
#[derive(Debug, Default)]
struct Shared {
    /// A request is being answered.
    is_busy: AtomicBool,
    is_evicted: AtomicBool,
    connection: AtomicWaker,
}

/// The seat of one connection; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Arc<Seats>,
    id: u64,
    is_proven: AtomicBool,
    shared: Arc<Shared>,
    /// The task that is woken when the connection has to give way.
    registered: RefCell<Option<Waker>>,
}

impl Seats {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            taken: Mutex::default(),
        })
    }

    /// Takes a seat for a connection from `peer`.
    pub(super) fn take(self: &Arc<Self>, peer: Option<IpAddr>) -> Seat {
        let shared = Arc::<Shared>::default();
        let mut taken = self.taken();
        let id = taken.next;
        taken.next += 1;
        let address = peer.map(network);
        taken.strangers.add(address, id);
        let known = Known {
            address,
            is_proven: false,
            shared: Arc::clone(&shared),
        };
        taken.seats.insert(id, known);
        if taken.seats.len() > self.limit {
            taken.evict_one(id);
        }
        drop(taken);
        Seat {
            seats: Arc::clone(self),
            id,
            is_proven: AtomicBool::new(false),
            shared,
            registered: RefCell::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Ends a connection other than `newest`, if one can give way.
    fn evict_one(&mut self, newest: u64) {
        let gives_way =
            |id: &&u64| **id != newest && !self.seats[*id].shared.is_busy.load(Ordering::Relaxed);
        let of = |rows: &Rows| rows.longest_first().find(gives_way).copied();
        if let Some(id) = of(&self.strangers).or_else(|| of(&self.proven))
            && let Some(known) = self.remove(id)
        {
            known.shared.is_evicted.store(true, Ordering::Relaxed);
            known.shared.connection.wake();
        }
    }

    fn remove(&mut self, id: u64) -> Option<Known> {
        let known = self.seats.remove(&id)?;
        let rows = if known.is_proven {
            &mut self.proven
        } else {
            &mut self.strangers
        };
        rows.remove(known.address, id);
        Some(known)
    }
}

impl Rows {
    fn add(&mut self, address: Option<IpAddr>, id: u64) {
        self.change(address, |row| {
            row.insert(id);
        });
    }

    fn remove(&mut self, address: Option<IpAddr>, id: u64) {
        self.change(address, |row| {
            row.remove(&id);
        });
    }

    fn change(&mut self, address: Option<IpAddr>, change: impl FnOnce(&mut BTreeSet<u64>)) {
        let row = self.of.entry(address).or_default();
        let rank = |row: &BTreeSet<u64>| Some((row.len(), Reverse(*row.first()?), address));
        if let Some(rank) = rank(row) {
            self.by_count.remove(&rank);
        }
        change(row);
        match rank(row) {
            Some(rank) => drop(self.by_count.insert(rank)),
            None => drop(self.of.remove(&address)),
        }
    }

    /// All seats: those of the address with most of them first, and of one address the oldest first.
    fn longest_first(&self) -> impl Iterator<Item = &u64> {
        let addresses = self.by_count.iter().rev();
        addresses.flat_map(|(_, _, address)| self.of.get(address).into_iter().flatten())
    }
}

impl Seat {
    /// The other side has proven who it is.
    pub(super) fn prove(&self) {
        if self.is_proven.swap(true, Ordering::Relaxed) {
            return;
        }
        let mut taken = self.seats.taken();
        if let Some(mut known) = taken.remove(self.id) {
            known.is_proven = true;
            taken.proven.add(known.address, self.id);
            taken.seats.insert(self.id, known);
        }
    }

    pub(super) fn set_busy(&self, is_busy: bool) {
        self.shared.is_busy.store(is_busy, Ordering::Relaxed);
    }

    /// Ready when the connection has to give way.
    pub(super) fn poll_evicted(&self, cx: &Context<'_>) -> Poll<()> {
        let mut registered = self.registered.borrow_mut();
        let waker = cx.waker();
        if !registered
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.shared.connection.register(waker);
            *registered = Some(waker.clone());
        }
        if self.shared.is_evicted.load(Ordering::Relaxed) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().remove(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, number]))
    }

    fn evicted(seats: &[Seat]) -> Vec<usize> {
        let cx = Context::from_waker(std::task::Waker::noop());
        let seats = seats.iter().enumerate();
        let evicted = seats.filter(|(_, seat)| seat.poll_evicted(&cx).is_ready());
        evicted.map(|(index, _)| index).collect()
    }

    #[test]
    fn the_oldest_of_most_strangers_gives_way() {
        let seats = Seats::new(6);
        let take = |number| seats.take(peer(number));
        let mut all: Vec<Seat> = [1, 2, 2, 3, 3, 3].map(take).into();
        all[0].prove();
        all[3].set_busy(true);
        assert!(evicted(&all).is_empty());
        all.push(take(4));
        assert_eq!(evicted(&all), [4]);
        all.push(take(4));
        // Three addresses have two each: the one with the oldest.
        assert_eq!(evicted(&all), [1, 4]);
        all.push(take(5));
        // The oldest of this one is busy.
        assert_eq!(evicted(&all), [1, 4, 5]);
        all.push(take(6));
        assert_eq!(evicted(&all), [1, 4, 5, 6]);
        all.push(take(7));
        assert_eq!(evicted(&all), [1, 2, 4, 5, 6]);
    }

    #[test]
    fn proven_connections_give_way_last_and_busy_ones_never() {
        let seats = Seats::new(3);
        let mut all: Vec<Seat> = (1..=3).map(|number| seats.take(peer(number))).collect();
        all[0].prove();
        all[1].prove();
        all[2].set_busy(true);
        all[1].set_busy(true);
        all.push(seats.take(peer(4)));
        assert_eq!(evicted(&all), [0]);
        all[3].set_busy(true);
        all.push(seats.take(peer(5)));
        // Nobody can: there is one more for a while.
        assert_eq!(evicted(&all), [0]);
    }

    #[test]
    fn a_free_seat_is_taken_without_an_eviction() {
        let seats = Seats::new(2);
        let mut all: Vec<Seat> = (1..=2).map(|number| seats.take(peer(number))).collect();
        all.remove(0);
        all.push(seats.take(peer(3)));
        assert!(evicted(&all).is_empty());
        drop(all);
        let taken = seats.taken();
        assert!(taken.seats.is_empty() && taken.strangers.of.is_empty());
        assert!(taken.proven.by_count.is_empty());
    }
}
