//! [`Lanes`]: one task at a time within a lane, in order of arrival; different lanes run in parallel.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use super::lane::{Lane, LaneMap};

/// The occupied lanes, each with the tasks that wait for it. A lane uses memory only while it is
/// occupied.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lanes(Arc<Mutex<LaneMap<Waiting>>>);

type Waiting = VecDeque<oneshot::Sender<InLane>>;

impl Lanes {
    /// Takes a place at the end of the lane and waits for the turn. The first poll takes the place;
    /// dropping the returned value ends the turn.
    pub(crate) async fn enter(&self, lane: Lane) -> InLane {
        let turn = match self.lock().entry(lane) {
            Entry::Vacant(empty) => {
                empty.insert(Waiting::new());
                None
            }
            Entry::Occupied(mut waiting) => {
                let (pass, turn) = oneshot::channel();
                waiting.get_mut().push_back(pass);
                Some(turn)
            }
        };
        match turn {
            None => self.in_lane(lane),
            Some(turn) => turn.await.expect("the task in the lane passes it on"),
        }
    }

    fn in_lane(&self, lane: Lane) -> InLane {
        InLane {
            lanes: self.clone(),
            lane,
            over: false,
        }
    }

    /// Removes the next waiting task of the lane; removes the lane itself when none waits.
    fn next(&self, lane: Lane) -> Option<oneshot::Sender<InLane>> {
        let mut lanes = self.lock();
        let next = lanes.get_mut(&lane).and_then(VecDeque::pop_front);
        if next.is_none() {
            lanes.remove(&lane);
        }
        next
    }

    fn lock(&self) -> MutexGuard<'_, LaneMap<Waiting>> {
        // No panic can leave the map half-changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn in a lane.
#[derive(Debug)]
pub(crate) struct InLane {
    lanes: Lanes,
    lane: Lane,
    /// The turn was passed to a task that had already stopped waiting.
    over: bool,
}

impl Drop for InLane {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        while let Some(next) = self.lanes.next(self.lane) {
            match next.send(self.lanes.in_lane(self.lane)) {
                Ok(()) => return,
                Err(mut given_back) => given_back.over = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::Event;
    use crate::dispatch::Order;

    fn lane(session: &str) -> Lane {
        let none: [Event; 0] = [];
        Order::Session.lane("s", Some(session), &none).unwrap()
    }

    #[actix_web::test]
    async fn first_come_first_served_and_nothing_is_left_behind() {
        let lanes = Lanes::default();
        let order = Arc::new(Mutex::new(Vec::new()));
        let first = lanes.enter(lane("a")).await;
        let others: Vec<_> = (0..5)
            .map(|number| {
                let (lanes, order) = (lanes.clone(), Arc::clone(&order));
                actix_rt::spawn(async move {
                    let _turn = lanes.enter(lane("a")).await;
                    order.lock().unwrap().push(number);
                })
            })
            .collect();
        // The other lane is free.
        drop(lanes.enter(lane("b")).await);
        assert!(order.lock().unwrap().is_empty());
        drop(first);
        for other in others {
            other.await.unwrap();
        }
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
        assert!(lanes.lock().is_empty());
    }

    #[actix_web::test]
    async fn who_stops_waiting_leaves_its_place() {
        let lanes = Lanes::default();
        let first = lanes.enter(lane("a")).await;
        let waiting = lanes.enter(lane("a"));
        assert!(
            tokio::time::timeout(Duration::from_millis(1), waiting)
                .await
                .is_err()
        );
        drop(first);
        assert!(lanes.lock().is_empty());
    }
}
