//! Sends many events over several connections, as fast as they are answered or at a given rate.
//!
//! With a rate the events have a timetable, and one that leaves late because every connection waits
//! for an answer is measured from when it should have left. Otherwise a receiver that stands still
//! would slow its own measurement down and look fast ("coordinated omission").

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::{Either, join_all, select};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use offhook::clock::{Clock as _, SystemClock};

use super::client::{Client, Signed};
use super::tally::{Summary, Tally};

/// How many, how wide, how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) count: u64,
    pub(super) connections: usize,
    /// Events per second; `None` for as fast as they are answered.
    pub(super) rate: Option<f64>,
}

/// Sends them all, or those before Ctrl-C.
pub(super) async fn run(plan: Plan, client: &Client, event: impl Fn(u64) -> Signed) -> Summary {
    let start = SystemClock.monotonic();
    let load = Load {
        plan,
        client,
        event,
        start,
        next: Cell::new(0),
        tally: RefCell::new(Tally::new()),
        bar: progress_bar(plan.count),
    };
    let senders = join_all((0..plan.connections).map(|_| load.send()));
    let interrupt = std::pin::pin!(tokio::signal::ctrl_c());
    if let Either::Right((Err(_), senders)) = select(senders, interrupt).await {
        // The system does not tell of Ctrl-C, so it ends the process as ever.
        senders.await;
    }
    load.bar.finish_and_clear();
    let took = SystemClock.monotonic() - start;
    load.tally
        .borrow()
        .summary(client.url().as_str(), plan.count, took)
}

/// All senders run on one thread, so they share by `Cell`.
struct Load<'a, E> {
    plan: Plan,
    client: &'a Client,
    event: E,
    start: Instant,
    next: Cell<u64>,
    tally: RefCell<Tally>,
    bar: ProgressBar,
}

impl<E: Fn(u64) -> Signed> Load<'_, E> {
    /// One connection: takes the next event, waits for its answer, and so on.
    async fn send(&self) {
        while let Some(number) = self.take() {
            let from = self.leave(number).await;
            let answer = self.client.post((self.event)(number)).await;
            let mut tally = self.tally.borrow_mut();
            match answer {
                Ok(answer) => tally.answered(answer.status, answer.at - from),
                Err(error) => tally.failed(error),
            }
            self.bar.inc(1);
        }
    }

    fn take(&self) -> Option<u64> {
        let number = self.next.get();
        self.next.set(number + 1);
        (number < self.plan.count).then_some(number)
    }

    /// Waits until the event should leave. Says from when its latency counts.
    async fn leave(&self, number: u64) -> Instant {
        let now = SystemClock.monotonic();
        let Some(rate) = self.plan.rate else {
            return now;
        };
        let scheduled = self.start + Duration::from_secs_f64(number as f64 / rate);
        if scheduled <= now {
            return scheduled;
        }
        tokio::time::sleep_until(scheduled.into()).await;
        // A connection was free in time. The timer's own delay is not the receiver's.
        SystemClock.monotonic()
    }
}

/// On standard error, where that is a terminal.
fn progress_bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    let template = "{bar:40} {pos}/{len}  {per_sec}  {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
