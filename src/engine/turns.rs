//! [`Turns`]: keeps the events of a handler in order by lane, and limits its attempts.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::dispatch::{Lane, LaneMap};

/// The turns of one handler's attempts.
#[derive(Debug)]
pub(super) struct Turns {
    /// The occupied lanes, each with the attempts that wait behind the one whose turn it is.
    lanes: Mutex<LaneMap<VecDeque<oneshot::Sender<()>>>>,
    slots: Semaphore,
}

impl Turns {
    /// At most `concurrency` attempts run at the same time.
    pub(super) fn new(concurrency: usize) -> Self {
        Self {
            lanes: Mutex::default(),
            slots: Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS)),
        }
    }

    /// Waits for the lane, then for a free slot, and then for the attempt. The first poll takes the place
    /// in the lane.
    pub(super) async fn in_turn<T>(
        &self,
        lane: Option<Lane>,
        attempt: impl Future<Output = T>,
    ) -> T {
        let mut place = lane.map(|lane| self.enter(lane));
        if let Some(place) = &mut place {
            place.turn_comes().await;
        }
        let _slot = self.slots.acquire().await;
        attempt.await
    }

    /// Takes a place in the lane.
    fn enter(&self, lane: Lane) -> Place<'_> {
        let turn = match self.lanes().entry(lane) {
            Entry::Vacant(free) => {
                // Allocates nothing: most lanes have one event at a time.
                free.insert(VecDeque::new());
                None
            }
            Entry::Occupied(mut waiting) => {
                let (pass_on, turn) = oneshot::channel();
                waiting.get_mut().push_back(pass_on);
                Some(turn)
            }
        };
        Place {
            turns: self,
            lane,
            turn,
        }
    }

    fn lanes(&self) -> MutexGuard<'_, LaneMap<VecDeque<oneshot::Sender<()>>>> {
        // No panic can leave the map half-changed.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a lane. Dropped in its turn it passes the turn on; dropped before, it leaves the line.
struct Place<'a> {
    turns: &'a Turns,
    lane: Lane,
    /// Tells that the turn comes; `None` from then on.
    turn: Option<oneshot::Receiver<()>>,
}

impl Place<'_> {
    async fn turn_comes(&mut self) {
        if let Some(turn) = &mut self.turn {
            // The sender is not dropped before it passes the turn on.
            let _ = turn.await;
            self.turn = None;
        }
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        // Under the lock, so that the turn does not come while this leaves.
        let mut lanes = self.turns.lanes();
        if let Some(turn) = &mut self.turn
            && turn.try_recv().is_err()
        {
            // Its turn has not come, and its sender will be skipped.
            turn.close();
            return;
        }
        let Entry::Occupied(mut waiting) = lanes.entry(self.lane) else {
            return;
        };
        while let Some(next) = waiting.get_mut().pop_front() {
            if next.send(()).is_ok() {
                return;
            }
        }
        waiting.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::future::join_all;
    use futures_util::{join, poll};
    use tokio::sync::oneshot;

    use super::*;
    use crate::dispatch::Order;

    fn lane(session: &str) -> Option<Lane> {
        Order::Session.lane("s", Some(session), &[])
    }

    #[actix_web::test]
    async fn a_lane_goes_in_order_of_arrival() {
        let turns = Turns::new(2);
        let order = Mutex::new(Vec::new());
        let arrives = |number| order.lock().unwrap().push(number);
        let (release, released) = oneshot::channel();
        let first = turns.in_turn(lane("a"), async {
            released.await.unwrap();
            arrives(0);
        });
        let others = (1..6).map(|number| turns.in_turn(lane("a"), async move { arrives(number) }));
        // The other lane is free.
        let other_lane = turns.in_turn(lane("b"), async {
            assert_eq!(*order.lock().unwrap(), [0; 0]);
            release.send(()).unwrap();
        });
        join!(first, join_all(others), other_lane);
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5]);
        assert!(turns.lanes().is_empty());
    }

    /// Also the events that come after the task's budget of tokio is used up.
    #[actix_web::test]
    async fn a_large_body_keeps_its_lanes_in_order() {
        let delivers_all = async {
            let turns = Turns::new(2);
            let order = Mutex::new(Vec::new());
            let attempts = (0..400_usize).map(|number| {
                let order = &order;
                turns.in_turn(lane(&(number % 100).to_string()), async move {
                    order.lock().unwrap().push(number);
                })
            });
            join_all(attempts).await;
            order.into_inner().unwrap()
        };
        // Only a task has a budget.
        let mut order = actix_web::rt::spawn(delivers_all).await.unwrap();
        order.sort_by_key(|number| number % 100);
        assert!(order.chunks(4).all(<[usize]>::is_sorted), "{order:?}");
    }

    /// Also when two of them, on two workers, leave at the same time.
    #[test]
    fn a_lane_goes_with_its_last_event() {
        let turns = Turns::new(2);
        let enter_all = || {
            let runtime = tokio::runtime::Builder::new_current_thread().build();
            runtime.unwrap().block_on(async {
                for number in 0..10_000 {
                    turns.in_turn(lane(&number.to_string()), ready(())).await;
                }
            });
        };
        std::thread::scope(|scope| {
            scope.spawn(enter_all);
            scope.spawn(enter_all);
        });
        assert!(turns.lanes().is_empty());
    }

    #[actix_web::test]
    async fn a_delivery_that_is_dropped_leaves_its_lane() {
        let turns = Turns::new(2);
        for first_leaves_first in [true, false] {
            let mut first = Box::pin(turns.in_turn(lane("a"), pending::<()>()));
            let mut second = Box::pin(turns.in_turn(lane("a"), ready(())));
            assert!(poll!(&mut first).is_pending() && poll!(&mut second).is_pending());
            if first_leaves_first {
                drop(first);
                drop(second);
            } else {
                drop(second);
                drop(first);
            }
            assert!(turns.lanes().is_empty());
        }
    }

    #[actix_web::test]
    async fn no_more_attempts_run_than_there_are_slots() {
        let turns = Turns::new(2);
        let mut running: Vec<_> = ["a", "b", "c"]
            .map(|session| Box::pin(turns.in_turn(lane(session), pending::<()>())))
            .into();
        for attempt in &mut running {
            assert!(poll!(attempt).is_pending());
        }
        assert_eq!(turns.slots.available_permits(), 0);
        let mut next = Box::pin(turns.in_turn(None, ready(())));
        assert!(poll!(&mut next).is_pending());
        drop(running);
        assert!(poll!(&mut next).is_ready());
    }
}
