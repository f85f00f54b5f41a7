//! Who sends when: the loop around all connections.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::bail;
use hdrhistogram::Histogram;
use offhook::clock::{Clock as _, SystemClock};
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, Event, EventData, EventFlags};

use super::requests::Batch;
use super::socket::Socket;
use super::to::To;

/// When requests are sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// As soon as a connection has its answer, for so long.
    Closed(Duration),
    /// As soon as a connection has its answer, until the batch is used up.
    All,
    /// So many a second, evenly, whether the receiver keeps up or not, until the batch is used up.
    Open(f64),
}

/// What came of it.
pub(crate) struct Loaded {
    /// Requests answered while the clock ran.
    pub(crate) in_time: u64,
    /// All requests answered, with those that were on their way at the end.
    pub(crate) answered: u64,
    /// How long the clock ran.
    pub(crate) time: Duration,
    /// From the request (its scheduled time, for [`Pace::Open`]) to the whole answer, in µs.
    pub(crate) latency: Histogram<u64>,
}

impl Loaded {
    /// Answers per second.
    pub(crate) fn rate(&self) -> f64 {
        self.in_time as f64 / self.time.as_secs_f64()
    }
}

/// Sends the batch's requests over so many connections.
///
/// # Errors
///
/// The first answer that is no success, and a receiver that is silent for [`PATIENCE`].
pub(crate) fn load(
    to: &To,
    batch: &Batch,
    connections: usize,
    pace: Pace,
) -> anyhow::Result<Loaded> {
    let mut driver = Driver::connect(to, batch, connections, pace)?;
    driver.run()?;
    Ok(Loaded {
        in_time: driver.in_time,
        answered: driver.answered,
        time: driver.stopped.saturating_duration_since(driver.start),
        latency: driver.latency,
    })
}

struct Driver<'a> {
    batch: &'a Batch,
    pace: Pace,
    epoll: OwnedFd,
    sockets: Vec<Socket>,
    /// Those with nothing on their way, the longest idle one first.
    idle: VecDeque<usize>,
    next: usize,
    start: Instant,
    /// The last answer that counts.
    stopped: Instant,
    in_time: u64,
    answered: u64,
    latency: Histogram<u64>,
}

impl<'a> Driver<'a> {
    fn connect(to: &To, batch: &'a Batch, connections: usize, pace: Pace) -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let mut sockets = Vec::with_capacity(connections);
        for number in 0..connections {
            let socket = Socket::connect(to, number)?;
            epoll::add(&epoll, &socket, EventData::new_u64(number as u64), WATCHED)?;
            sockets.push(socket);
        }
        let start = SystemClock.monotonic();
        Ok(Self {
            batch,
            pace,
            epoll,
            idle: (0..sockets.len()).collect(),
            sockets,
            next: 0,
            start,
            stopped: start,
            in_time: 0,
            answered: 0,
            latency: Histogram::new(3)?,
        })
    }

    fn run(&mut self) -> anyhow::Result<()> {
        let mut events: Vec<Event> = Vec::with_capacity(self.sockets.len());
        let mut now = self.start;
        loop {
            self.send_due(now)?;
            if self.finished(now) {
                return Ok(());
            }
            let timeout = self.timeout(now);
            let limit = Timespec::try_from(timeout)?;
            match epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&limit)) {
                Ok(0) if timeout == PATIENCE => bail!("no answer for {PATIENCE:?}"),
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                let number = event.data.u64() as usize;
                let whole = self.sockets[number].ready(self.batch)?;
                now = SystemClock.monotonic();
                if let Some(since) = whole {
                    self.count(now, since)?;
                    self.idle.push_back(number);
                    self.send_due(now)?;
                }
            }
            now = SystemClock.monotonic();
        }
    }

    /// Sends what is due, as far as connections are free.
    fn send_due(&mut self, now: Instant) -> anyhow::Result<()> {
        while let Some(due) = self.due().filter(|due| *due <= now)
            && !self.over(now)
            && let Some(number) = self.idle.pop_front()
        {
            let since = match self.pace {
                Pace::Open(_) => due,
                Pace::Closed(_) | Pace::All => now,
            };
            let socket = &mut self.sockets[number];
            if socket.renew()? {
                epoll::add(
                    &self.epoll,
                    &*socket,
                    EventData::new_u64(number as u64),
                    WATCHED,
                )?;
            }
            socket.send(self.batch, self.next, since)?;
            self.next += 1;
        }
        Ok(())
    }

    /// When the next request should leave; `None` when the batch is used up.
    fn due(&self) -> Option<Instant> {
        if self.next == self.batch.len() {
            return None;
        }
        Some(match self.pace {
            Pace::Open(rate) => self.start + Duration::from_secs_f64(self.next as f64 / rate),
            Pace::Closed(_) | Pace::All => self.start,
        })
    }

    fn over(&self, now: Instant) -> bool {
        matches!(self.pace, Pace::Closed(time) if now >= self.start + time)
    }

    fn finished(&self, now: Instant) -> bool {
        let nothing_more = self.next == self.batch.len() || self.over(now);
        nothing_more && self.idle.len() == self.sockets.len()
    }

    /// How long to wait for an answer before something else is due. The last stretch before a
    /// scheduled request is spent awake: timers are too coarse for it, and the core is ours.
    fn timeout(&self, now: Instant) -> Duration {
        let Some(due) = self
            .due()
            .filter(|_| !self.idle.is_empty() && !self.over(now))
        else {
            return PATIENCE;
        };
        let left = due.saturating_duration_since(now);
        left.saturating_sub(Duration::from_micros(100))
    }

    fn count(&mut self, now: Instant, since: Instant) -> anyhow::Result<()> {
        self.answered += 1;
        if !self.over(now) {
            self.in_time += 1;
            self.stopped = now;
        }
        let latency = now.saturating_duration_since(since).as_micros();
        self.latency.record(u64::try_from(latency)?)?;
        Ok(())
    }
}

/// Edge-triggered: one call for each thing that happens, none to ask for it again.
const WATCHED: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::ET);

/// A receiver that says nothing for so long has failed.
const PATIENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::Arc;

    use super::super::requests::{Requests, Shape};
    use super::*;
    use crate::servers;

    fn responder() -> To {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the test's process.
        std::thread::spawn(move || servers::fixed::run_on(vec![listener], &Arc::default()));
        address.into()
    }

    fn batch(count: u64, body: usize) -> Batch {
        let shape = Shape {
            body,
            ..Shape::default()
        };
        Requests::new().unwrap().take(count, &shape)
    }

    #[test]
    fn every_request_of_a_batch_is_answered_once() {
        // Longer than a socket's buffers, too.
        for (count, body, connections) in [(1_000, 300, 8), (3, 300, 8), (3, 3 << 20, 2)] {
            let batch = batch(count, body);
            let loaded = load(&responder(), &batch, connections, Pace::All).unwrap();
            assert_eq!((loaded.answered, loaded.in_time), (count, count));
            assert_eq!(loaded.latency.len(), count);
        }
    }

    #[test]
    fn a_timetable_is_kept() {
        let batch = batch(50, 300);
        let loaded = load(&responder(), &batch, 4, Pace::Open(1_000.0)).unwrap();
        assert_eq!(loaded.answered, 50);
        // The last request is due 49 ms after the first, however fast the answers come.
        assert!(
            loaded.time >= Duration::from_millis(49),
            "{:?}",
            loaded.time
        );
    }

    #[test]
    fn a_closed_loop_ends_when_its_batch_does() {
        let batch = batch(100, 300);
        let pace = Pace::Closed(Duration::from_secs(60));
        assert_eq!(load(&responder(), &batch, 4, pace).unwrap().answered, 100);
    }

    #[test]
    fn a_receiver_that_closes_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok(connection) = listener.accept() {
                drop(connection);
            }
        });
        let error = load(&address.into(), &batch(10, 300), 2, Pace::All)
            .err()
            .unwrap();
        let text = format!("{error:#}");
        assert!(!text.is_empty(), "{text}");
    }
}
