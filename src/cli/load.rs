//! Sends many events over several connections, as fast as they are answered or at a fixed rate.
//!
//! With a rate, each event has a time to leave. If it leaves late because every connection waits for an
//! answer, its latency still counts from that time. Otherwise a receiver that stalls would also slow
//! down the measurement and look fast ("coordinated omission").

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use futures_util::future::{Either, join_all, select};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use offhook::clock::{Clock as _, SystemClock};

use super::client::{Client, Signed};
use super::tally::{Summary, Tally};

/// How many events, over how many connections, how fast.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) count: u64,
    pub(super) connections: usize,
    /// Events per second; `None` sends as fast as events are answered.
    pub(super) rate: Option<f64>,
}

/// Sends all events, or fewer if Ctrl-C ends the run.
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
        // Ctrl-C cannot be listened to here, so it ends the process as usual.
        senders.await;
    }
    load.bar.finish_and_clear();
    let took = SystemClock.monotonic() - start;
    load.tally
        .borrow()
        .summary(client.url().as_str(), plan.count, took)
}

/// The state of a run. All senders run on one thread, so they share it with `Cell`.
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
    /// One connection: repeatedly sends the next event and waits for its answer.
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

    /// Waits until the event should leave. Returns the time from which its latency counts.
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
        // A connection was free in time, so only the timer was late. Its delay is not the receiver's.
        SystemClock.monotonic()
    }
}

/// A progress bar on standard error, if that is a terminal.
fn progress_bar(count: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(count), ProgressDrawTarget::stderr());
    let template = "{bar:40} {pos}/{len}  {per_sec}  {eta} left";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
