//! [`Handshakes`]: how many TLS handshakes a worker has at a time. Each needs memory that nothing else counts, so
//! with [`MOST`] of them the oldest gives way to a new one. A client that really wants to connect needs only a
//! fraction of a second.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::oneshot;

/// The handshakes of one worker.
#[derive(Debug, Default)]
pub(super) struct Handshakes {
    queue: RefCell<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    next: u64,
    /// By number, so the oldest is the first. Dropping a sender tells its handshake to give way.
    running: BTreeMap<u64, oneshot::Sender<()>>,
}

/// A handshake that has begun.
#[derive(Debug)]
pub(super) struct Handshake {
    all: Rc<Handshakes>,
    number: u64,
    told: oneshot::Receiver<()>,
}

impl Handshakes {
    pub(super) fn begin(self: &Rc<Self>) -> Handshake {
        let (sender, told) = oneshot::channel();
        let mut queue = self.queue.borrow_mut();
        if queue.running.len() >= MOST {
            queue.running.pop_first();
        }
        let number = queue.next;
        queue.next += 1;
        queue.running.insert(number, sender);
        Handshake {
            all: Rc::clone(self),
            number,
            told,
        }
    }
}

impl Handshake {
    /// Returns when it has to give way.
    pub(super) async fn gives_way(&mut self) {
        let _ = (&mut self.told).await;
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.all.queue.borrow_mut().running.remove(&self.number);
    }
}

/// The most handshakes of a worker at a time.
const MOST: usize = 256;

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn the_oldest_gives_way() {
        let all = Rc::new(Handshakes::default());
        let mut running: Vec<_> = (0..MOST).map(|_| all.begin()).collect();
        drop(running.remove(7));
        let _next = all.begin();
        assert!(running[0].gives_way().now_or_never().is_none());
        let _another = all.begin();
        assert!(running[0].gives_way().now_or_never().is_some());
        assert!(running[1].gives_way().now_or_never().is_none());
        drop(running);
        assert_eq!(all.queue.borrow().running.len(), 2);
    }
}
